"""The bare reconciler, without Ansible: ``ours.py up|down FILE KEY REPORT``; the report says where its time went."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cloud.reconcile import reconcile
from netorder.cloud.session import Cloud, connect
from netorder.cloud.teardown import teardown
from netorder.controller import ssh as access
from netorder.language.load import load
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    import requests

Interval = tuple[float, float]


def covered(intervals: list[Interval]) -> float:
    """Return the time (s) during which at least one of the intervals runs."""
    total, end = 0.0, 0.0
    for begin, until in sorted(intervals):
        total += max(0.0, until - max(begin, end))
        end = max(end, until)
    return total


def watch(cloud: Cloud, seen: list[tuple[str, Interval]]) -> None:
    """Note phase, begin and end of every request."""

    def note(response: requests.Response, *_args: object, **_kwargs: object) -> None:
        now = time.monotonic()
        seen.append((cloud.phase, (now - response.elapsed.total_seconds(), now)))

    cloud.conn.session.session.hooks["response"].append(note)


def main(action: str, file: str, key: str, report: str) -> int:
    """Make or take away; write the report."""
    began = time.monotonic()
    wanted = build_plan(load(file))
    seen: list[tuple[str, Interval]] = []
    cloud = connect(lambda _line: None)
    watch(cloud, seen)
    if action == "down":
        teardown(cloud, wanted.topology, check=False)
    else:
        public = access.public_key(Path(key), make=False)
        reconcile(cloud, wanted, key=public, check=False, hostkey_timeout=0)
    took = time.monotonic() - began
    phases = Counter(phase for phase, _ in seen)
    Path(report).write_text(json.dumps({
        "seconds": took, "inside": covered([interval for _, interval in seen]),
        "phases": {phase: {"requests": count, "seconds": covered([i for p, i in seen if p == phase])}
                   for phase, count in phases.items()},
        "own_cpu": time.process_time(),
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
