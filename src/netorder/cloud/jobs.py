"""Calls to the cloud as jobs, run in threads in the order of what they need."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, TypeVar

from openstack.exceptions import NotFoundException

from netorder.cloud.errors import explain
from netorder.cloud.waits import Wait
from netorder.errors import CloudError
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from netorder.cloud.session import Cloud

__all__ = ["Job", "bound", "gather", "ignore_not_found", "run"]

T = TypeVar("T")
# More threads than this only queue inside the API services; the session's connection pool holds ten.
THREADS = 8
# What the threads note is shown at least this often (s).
REPORT = 1.0
# A call that takes longer (s) is reported: on a slow one-node cloud, bulk requests take some ten seconds.
SLOW = 10.0

_DONE = {
    "create": "created", "delete": "deleted", "update": "updated", "replace": "replaced", "stop": "stopping",
    "unplug": "being unplugged", "start": "starting", "shelve": "being shelved",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """One call to the cloud, about the resources ``names`` of one ``kind``.

    It waits for all jobs that give what it ``needs``: words of the caller's own, "" is nothing.
    """

    kind: str
    names: tuple[str, ...]
    action: str
    call: Callable[[], object]
    needs: frozenset[str] = frozenset()
    gives: str = ""

    @property
    def what(self) -> str:
        """Name the resources, briefly where they are many."""
        if len(self.names) == 1:
            return f"{self.kind} {self.names[0]}"
        return f"{len(self.names)} {self.kind}s ({few(self.names, shown=6)})"

    @property
    def done(self) -> str:
        """Name the deed in the past tense."""
        return _DONE[self.action]

    def timed(self) -> tuple[float, float]:
        """Make the call; return when it began and when it ended (monotonic clock)."""
        start = time.monotonic()
        self.call()
        return start, time.monotonic()


def bound(call: Callable[..., object], *args: object, **fields: object) -> Callable[[], object]:
    """Return the call with its arguments, to be made later."""
    return lambda: call(*args, **fields)


def ignore_not_found(call: Callable[..., object], *args: object) -> None:
    """Make a call that deletes; what is not found (a killed run's last request, still at work) is deleted already."""
    with suppress(NotFoundException):
        call(*args)


def gather(cloud: Cloud, calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make ``calls`` in threads; return their results in order. The first failure is raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        pending = futures = [pool.submit(call) for call in calls]
        slow = Wait(cloud.waits, "answers of the cloud", cloud.patience, each=" each")
        while pending:
            pending = [*wait(pending, timeout=REPORT).not_done]
            if pending and slow.took >= SLOW and not slow.told:
                cloud.say(slow.opening(f"{len(pending)} of {len(futures)}"))
            cloud.relay()
        slow.done()
        return [future.result() for future in futures]


def run(cloud: Cloud, jobs: Iterable[Job]) -> None:
    """Run ``jobs`` in threads, each as soon as what it ``needs`` is given by others; raise all failures at once.

    Jobs that are ready start in their order. Each that is done is reported, and its times are noted. What needs
    something that failed is not tried; the rest is. Raises CloudError, and CycleError where jobs need each other.
    """
    order, problems = [*jobs], list[str]()
    graph = _graph(order)
    pending: dict[Future[tuple[float, float]], int] = {}
    slow: dict[int, Wait] = {}

    def begin(number: int) -> tuple[float, float]:
        what = f"the cloud to {order[number].action} {order[number].what}"
        slow[number] = Wait(cloud.waits, what, cloud.patience, each=" a request")
        return order[number].timed()

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            while True:
                for number in sorted(graph.get_ready()):
                    pending[pool.submit(begin, number)] = number
                if not pending:
                    break
                done, _ = wait(pending, timeout=REPORT, return_when=FIRST_COMPLETED)
                for number in slow.keys() & pending.values():
                    if slow[number].took >= SLOW and not slow[number].told:
                        cloud.say(slow[number].opening())
                cloud.relay()
                for future in done:
                    number = pending.pop(future)
                    job = order[number]
                    error = future.exception()
                    if error is not None:
                        problems.append(f"{job.what}: {explain(error)}")
                        continue
                    graph.done(number)
                    slow[number].done()
                    start, end = future.result()
                    cloud.progress(f"{job.what}: {job.done} ({end - start:.1f} s)")
                    cloud.note_times(job.kind, job.names, job.action, start, end)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    if problems:
        raise CloudError(*problems)


def _graph(jobs: Sequence[Job]) -> TopologicalSorter[int]:
    """Return the jobs' numbers, each after the numbers of all jobs that give what it needs."""
    givers: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        givers.setdefault(job.gives, []).append(number)
    graph: TopologicalSorter[int] = TopologicalSorter()
    for number, job in enumerate(jobs):
        graph.add(number, *(giver for need in job.needs for giver in givers.get(need, ())))
    graph.prepare()
    return graph
