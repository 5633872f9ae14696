"""Jobs run in threads in the order of what they need; what is waited for is polled for a bounded time."""

from __future__ import annotations

import threading
from graphlib import CycleError
from typing import TYPE_CHECKING, Any

import pytest
import requests

from netorder.cloud import poll as module
from netorder.cloud.jobs import Job, gather, run
from netorder.cloud.poll import Again, poll
from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable


class Session:
    """What the runner uses of a cloud's session."""

    def __init__(self) -> None:
        self.reported: list[str] = []
        self.noted: list[str] = []

    def progress(self, line: str) -> None:
        self.reported.append(line)

    def relay(self) -> None: ...

    def note_times(self, _kind: str, names: tuple[str, ...], *_rest: object) -> None:
        self.noted += names


def job(name: str, call: Callable[[], object] = lambda: None, needs: str = "", gives: str = "") -> Job:
    return Job("thing", (name,), "create", call, frozenset(needs.split()), gives)


def fail() -> None:
    raise CloudError("full")


def ran(*jobs: Job) -> tuple[list[str], str]:
    """Return the jobs that ended well, in their order, and the problems."""
    session: Any = Session()
    try:
        run(session, jobs)
    except CloudError as error:
        return session.noted, "; ".join(error.problems)
    return session.noted, ""


def test_a_job_waits_for_all_that_give_what_it_needs():
    """In whatever order they are listed; words that nobody gives hold nobody up."""
    done: list[str] = []
    jobs = [
        job("port", lambda: done.append("port"), "subnets groups nothing"),
        job("subnet", lambda: done.append("subnet"), "networks", "subnets"),
        *(job(f"network {n}", lambda n=n: done.append(f"network {n}"), gives="networks") for n in range(3)),
    ]
    run(Session(), jobs)  # type: ignore[arg-type]
    assert done[3:] == ["subnet", "port"]
    assert sorted(done[:3]) == ["network 0", "network 1", "network 2"]


def test_what_needs_something_that_failed_is_not_tried_the_rest_is():
    found = ran(job("a", fail, gives="x"), job("b", needs="x", gives="y"), job("c", needs="y"), job("d"))
    assert found == (["d"], "thing a: full")


def test_all_failures_are_raised_together():
    names, problems = ran(job("a", fail), job("b", fail), job("c"))
    assert (names, sorted(problems.split("; "))) == (["c"], ["thing a: full", "thing b: full"])


def test_jobs_that_are_ready_start_in_their_order(monkeypatch):
    """With one thread it shows: first in the list, first begun."""
    monkeypatch.setattr("netorder.cloud.jobs.THREADS", 1)
    jobs = [job("a", needs="x"), job("b", gives="x"), job("c"), job("d", needs="x")]
    assert sorted(ran(*jobs)[0]) == ["a", "b", "c", "d"]
    begun: list[str] = []
    jobs = [job(str(n), lambda n=n: begun.append(str(n))) for n in range(20)]
    run(Session(), jobs)  # type: ignore[arg-type]
    assert begun == [str(n) for n in range(20)]


def test_jobs_that_need_each_other_are_an_error():
    with pytest.raises(CycleError):
        ran(job("a", needs="x", gives="y"), job("b", needs="y", gives="x"))


def test_nothing_to_do_is_done():
    assert ran() == ([], "")


def test_gathered_answers_are_in_order_and_made_side_by_side():
    both = threading.Barrier(2, timeout=10)
    assert gather(Session(), [lambda: (both.wait(), 1)[1], lambda: (both.wait(), 2)[1]]) == [1, 2]  # type: ignore[arg-type]


@pytest.fixture
def clock(monkeypatch):
    """Let pauses take no time; return those that were made."""
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "monotonic", lambda: sum(pauses))
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    return pauses


def test_polling_pauses_as_the_check_says_and_ends_with_its_answer(clock):
    answers = iter([Again(1.0), Again(2.5), "there"])
    assert poll(lambda: next(answers), 10) == "there"
    assert clock == [1.0, 2.5]


def test_polling_is_bounded(clock):
    """When the time is over, what the last check said is the error, or the answer to go on with."""
    with pytest.raises(CloudError, match="still not"):
        poll(lambda: Again(4.0, ("still not",)), 10)
    assert clock == [4.0, 4.0, 4.0]
    clock.clear()
    assert poll(lambda: Again(4.0, ("still not",), otherwise="so be it"), 10) == "so be it"


def test_what_a_check_raises_is_in_the_users_words(clock):
    def check() -> object:
        raise requests.ConnectionError("no route to host")

    with pytest.raises(CloudError, match="Nothing answers: no route to host"):
        poll(check, 10)
    assert clock == []
