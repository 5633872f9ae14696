"""The course of a run: its stages (plays) and tasks with their times, what they changed, and what they found.

Pure: the callbacks tell it what Ansible tells them. What is kept of it for the report is :meth:`Course.kept`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from netorder.text import count, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Course", "Stage", "stage_line", "stages_table"]

BRIEF = 0.1  # s; tasks that are shorter are not kept


@dataclass
class Task:
    """A task, as many hosts as it may have; ``start`` in seconds from the begin of the run."""

    name: str
    start: float
    end: float
    hosts: set[str] = field(default_factory=set)
    changed: int = 0
    failed: int = 0


@dataclass
class Stage:
    """A play."""

    name: str
    start: float
    end: float = 0.0
    results: int = 0
    changed: int = 0
    pending: int = 0  # what check mode would have changed
    failed: int = 0
    hosts: set[str] = field(default_factory=set)
    tasks: list[Task] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


class Course:
    """What a run did so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin = clock()
        self._wall = time.time()
        self.stages: list[Stage] = []
        self.unanswered: set[str] = set()  # hosts that did not answer
        self.provisioned: dict[str, Any] = {}  # what netorder_provision (or netorder_teardown) returned
        self.findings: dict[str, list[Any]] = {}  # by host, what verify or drift found
        self.drift: dict[str, Any] = {}
        self._on_hosts: list[dict[str, Any]] = []  # what tasks changed there, or would
        self._failed: list[dict[str, str]] = []

    @property
    def now(self) -> float:
        """Seconds from its begin."""
        return self._clock() - self._begin

    @property
    def ran(self) -> list[Stage]:
        """The stages in which something was done."""
        return [stage for stage in self.stages if stage.results or stage.failed]

    def stage(self, name: str) -> Stage | None:
        """Begin a stage; return the one that has ended."""
        before = self.end()
        self.stages.append(Stage(name, self.now))
        return before

    def task(self, name: str) -> None:
        """Begin a task."""
        self._end_task()
        self.stages[-1].tasks.append(Task(name, self.now, self.now))

    def end(self) -> Stage | None:
        """End the stage; return it."""
        if not self.stages or self.stages[-1].end:
            return None
        self._end_task()
        self.stages[-1].end = self.now
        return self.stages[-1]

    def _end_task(self) -> None:
        if self.stages and self.stages[-1].tasks and not self.stages[-1].end:
            self.stages[-1].tasks[-1].end = self.now

    def result(self, host: str, result: Mapping[str, Any], action: str = "", *, check: bool = False) -> None:
        """Note what a task returned, or would have in check mode."""
        stage = self.stages[-1]
        stage.results += 1
        stage.changed += bool(result.get("changed", False)) and not check
        stage.pending += bool(result.get("changed", False)) and check
        stage.hosts.add(host)
        if stage.tasks:
            stage.tasks[-1].hosts.add(host)
            stage.tasks[-1].changed += bool(result.get("changed", False))
        if action in {"netorder_provision", "netorder_teardown"}:
            self.provisioned = dict(result)
        elif result.get("changed", False) and stage.tasks:
            self._on_hosts.append({"host": host, "task": stage.tasks[-1].name, "diff": _diffs(result)})
        facts = result.get("ansible_facts") or {}
        if "netorder_findings" in facts:
            self.findings[host] = list(facts["netorder_findings"])
        if "netorder_differs" in facts:
            self.drift = dict(facts["netorder_differs"])

    def failure(self, host: str, message: str = "", *, counts: bool = True) -> None:
        """Note that a task failed on a host, or that it did not answer, and what it said."""
        stage = self.stages[-1]
        stage.hosts.add(host)
        stage.failed += counts
        if stage.tasks:
            stage.tasks[-1].hosts.add(host)
            stage.tasks[-1].failed += counts
            if counts:
                self._failed.append({"host": host, "task": stage.tasks[-1].name, "message": message})

    def progress(self, playbook: str) -> dict[str, Any]:
        """Return how far it is, as plain values: what :meth:`kept` has of a run, and what it does ``now``, ``at``."""
        stage = self.stages[-1] if self.stages else None
        names = [stage.name, *(task.name for task in stage.tasks[-1:])] if stage else []
        return {
            "playbook": playbook,
            "time": self._moment,
            "seconds": round(self.now, 2),
            "stages": self._stages(),
            "now": names,
            "at": time.time(),
        }

    @property
    def _moment(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(self._wall))

    def _stages(self) -> list[dict[str, Any]]:
        return [
            {
                "name": stage.name,
                "start": round(stage.start, 2),
                "seconds": round((stage.end or self.now) - stage.start, 2),
                "hosts": len(stage.hosts),
                "changed": stage.changed,
                "failed": stage.failed,
                "tasks": [
                    {
                        "name": task.name,
                        "start": round(task.start, 2),
                        "seconds": round(task.end - task.start, 2),
                        "hosts": sorted(task.hosts) if len(task.hosts) <= 1 else len(task.hosts),
                        "changed": task.changed,
                        "failed": task.failed,
                    }
                    for task in stage.tasks
                    if task.end - task.start >= BRIEF
                ],
            }
            for stage in self.ran
        ]

    def kept(self, playbook: str) -> dict[str, Any]:
        """Return what the report shows of it, as plain values: ``runs``, and ``verify`` and ``drift`` if it had them.

        A run that made everything as planned leaves no drift: it is None then.
        """
        moment, stages = self._moment, self._stages()
        run: dict[str, Any] = {"time": moment, "seconds": round(self.now, 2), "stages": stages}
        for key in ("changes", "timings"):
            run[key] = [_plain(one) for one in self.provisioned.get(key, [])]
        found: dict[str, Any] = {"runs": {playbook: run}}
        if hosts := self.provisioned.get("hosts"):
            found["hosts"] = {
                name: {"floating_ip": facts.get("floating_ip")} for name, facts in hosts.items() if facts is not None
            }
        if self.drift:
            found["drift"] = {"time": moment, **self.drift}
        elif self.findings and playbook in {"site", "verify"}:
            found["verify"] = {"time": moment, "findings": self.findings}
            if playbook == "site" and not any(stage.failed for stage in self.stages):
                found["drift"] = None
        return found

    def result_of(self, playbook: str, failed: Iterable[str], *, check: bool) -> dict[str, Any]:
        """Return the run for programs, as plain values (docs/reference/results.md).

        ``failed`` are the hosts that failed in the end: what a playbook handled is not of these.
        """
        still = set(failed)
        return {
            "playbook": playbook,
            "check": check,
            "time": self._moment,
            "seconds": round(self.now, 2),
            "ok": not still,
            "changes": list(self.provisioned.get("changes", [])),
            "needs_allow": list(self.provisioned.get("needs_allow", [])),
            "hosts": {name: facts for name, facts in self.provisioned.get("hosts", {}).items() if facts is not None},
            "on_hosts": self._on_hosts,
            "findings": [{"host": host, **one} for host, found in self.findings.items() for one in found],
            "failed": [one for one in self._failed if one["host"] in still],
        }


def _diffs(result: Mapping[str, Any]) -> list[Any]:
    """Return the diffs of a task, of a loop those of its items."""
    found: list[Any] = []
    items = result.get("results")  # of modules like dnf it is something else
    for one in [result, *([one for one in items if isinstance(one, dict)] if isinstance(items, list) else [])]:
        diff = one.get("diff") if one.get("changed") else None
        found += diff if isinstance(diff, list) else [diff] if diff else []
    return found


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in {"before", "after"}}


def stage_line(stage: Stage) -> str:
    """Return a stage that has ended as a line."""
    parts = [count(len(stage.hosts), "host")] if stage.hosts != {"localhost"} else []
    parts += [f"{stage.changed} changed"] if stage.changed else []
    parts += [f"{stage.pending} would change"] if stage.pending else []
    parts += [f"{stage.failed} failed"] if stage.failed else []
    return f"{stage.name}: {stage.seconds:.1f} s" + (f", {', '.join(parts)}" if parts else "")


def stages_table(course: Course) -> list[str]:
    """Return the stages as a table, with their sum."""
    rows = [("stage", "time", "hosts", "changed", "failed")]
    rows += [
        (one.name, f"{one.seconds:.1f} s", f"{len(one.hosts)}", f"{one.changed + one.pending}", f"{one.failed}")
        for one in course.ran
    ]
    total = course.stages[-1].end - course.stages[0].start
    changed = sum(one.changed + one.pending for one in course.ran)
    failed = sum(one.failed for one in course.ran)
    rows.append(("total", f"{total:.1f} s", "", f"{changed}", f"{failed}"))
    return table(rows, numbers=(1, 2, 3, 4))
