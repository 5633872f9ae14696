"""Jobs run in threads in the order of what they need; what is waited for is polled for a bounded time."""

from __future__ import annotations

import re
import threading
import time
from graphlib import CycleError
from typing import TYPE_CHECKING, Any

import pytest
import requests

from netorder.cloud import poll as module
from netorder.cloud.jobs import Job, gather, run
from netorder.cloud.poll import Again, poll, wait_until_none
from netorder.cloud.waits import Waits
from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable


class Session:
    """What the runner uses of a cloud's session."""

    def __init__(self) -> None:
        self.reported: list[str] = []
        self.noted: list[str] = []
        self.waits = Waits()
        self.patience = 90.0

    def progress(self, line: str) -> None:
        self.reported.append(line)

    def say(self, line: str) -> None:
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
    assert poll(Session(), "it", lambda: next(answers), 10) == "there"
    assert clock == [1.0, 2.5]


def test_polling_is_bounded(clock):
    """When the time is over, what the last check said is the error, or the answer to go on with."""
    with pytest.raises(CloudError, match="still not"):
        poll(Session(), "it", lambda: Again(4.0, ("still not",)), 10)
    assert clock == [4.0, 4.0, 4.0]
    clock.clear()
    assert poll(Session(), "it", lambda: Again(4.0, ("still not",), otherwise="so be it"), 10) == "so be it"


def test_what_a_check_raises_is_in_the_users_words(clock):
    def check() -> object:
        raise requests.ConnectionError("no route to host")

    with pytest.raises(CloudError, match="Nothing answers: no route to host"):
        poll(Session(), "it", check, 10)
    assert clock == []


@pytest.mark.usefixtures("clock")
def test_what_is_waited_for_is_said_once_with_its_bound_and_the_last_time(tmp_path):
    """Again only when what is left changes, and not for each change."""
    session = Session()
    session.waits = Waits(tmp_path / "new")
    left = ["a b", "a b", *["b"] * 20, ""]
    for last in ("", "; the last time it took "):
        names = iter(left)
        wait_until_none(session, "servers to stop", lambda names=names: next(names).split())  # type: ignore[arg-type]
        opening, change = session.reported
        assert re.fullmatch(
            rf"waiting for servers to stop since ..:..:.., for 300 s at most({last}\d+ s)?: a, b", opening
        ), opening
        assert (last in opening) is True
        assert re.fullmatch(r"still waiting for servers to stop \(\d+ s\): b", change), change
        session.reported.clear()


@pytest.mark.usefixtures("clock")
def test_short_waits_are_nobodys_concern(tmp_path):
    session = Session()
    session.waits = Waits(tmp_path)
    answers = iter([Again(0.5), Again(0.5), "there"])
    assert poll(session, "it", lambda: next(answers), 10) == "there"  # type: ignore[arg-type]
    assert (session.reported, list(tmp_path.iterdir())) == ([], [])


def test_a_call_that_takes_long_is_reported_while_it_does(monkeypatch):
    """Of those that wait for a thread nothing is said: they have not begun."""
    monkeypatch.setattr("netorder.cloud.jobs.THREADS", 1)
    monkeypatch.setattr("netorder.cloud.jobs.SLOW", 0.05)
    monkeypatch.setattr("netorder.cloud.jobs.REPORT", 0.01)
    session = Session()
    run(session, [job("slow", lambda: time.sleep(0.3)), job("next")])  # type: ignore[arg-type]
    first, *rest = session.reported
    assert re.fullmatch(r"waiting for the cloud to create thing slow since ..:..:.., for 90 s at most a request", first)
    assert not any(line.startswith("waiting") for line in rest)
    session.reported.clear()
    gather(session, [lambda: time.sleep(0.3), lambda: None])  # type: ignore[arg-type]
    assert re.fullmatch(
        r"waiting for answers of the cloud since .*, for 90 s at most each: \d of 2", session.reported[0]
    )


def test_a_note_that_cannot_be_read_is_none(tmp_path):
    waits = Waits(tmp_path)
    waits.note("server a/b to run", 3.21)
    assert (Waits(tmp_path).last("server a/b to run"), waits.last("other"), Waits().last("other")) == (3.2, None, None)
    next(tmp_path.iterdir()).write_text("")
    assert waits.last("server a/b to run") is None
