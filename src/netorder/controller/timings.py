"""Where the time of a run went: each resource's request, and the critical path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from netorder.text import count, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["FILE", "critical_path", "read", "record", "summary", "text"]

FILE = "times.json"
MOMENT = 0.05  # s; a request may begin this long after the one that it waited for
SHOWN = 60

Time = dict[str, Any]  # kind, name, action; start (s from login) and seconds


def critical_path(times: Sequence[Time]) -> list[Time]:
    """Return the chain of requests that ends with the last one, each begun when the one before it had ended.

    What shortens none of these does not shorten the run. Of the resources of one bulk request the first stands for all.
    """
    chain: list[Time] = []
    before = float("inf")
    while earlier := [time for time in times if _end(time) <= before + MOMENT and time["start"] < before]:
        chain.append(max(earlier, key=_end))
        before = chain[-1]["start"]
    return chain[::-1]


def text(result: Mapping[str, Any], shown: int | None = None) -> str:
    """Write a run's times for people: a table of the resources (the ``shown`` slowest), and the critical path."""
    times, path = result["timings"], critical_path(result["timings"])
    on_path = {id(time) for time in path}
    most = sorted(times, key=lambda time: -time["seconds"])[:shown]
    kept = {id(time) for time in most}
    rows = [
        (f"{t['start']:.1f}", f"{t['seconds']:.1f}", "*" if id(t) in on_path else "", t["kind"], t["name"], t["action"])
        for t in sorted(times, key=lambda time: (time["start"], time["kind"], time["name"]))
        if id(t) in kept
    ]
    head = ("from s", "took s", "", "resource", "name", "what")
    lines = table([head, *rows], numbers=(0, 1))
    if len(times) > len(most):
        lines.append(f"and {count(len(times) - len(most), 'quicker one')}: `netorder times` shows all")
    return "".join(f"{line}\n" for line in [*lines, *summary(result)])


def summary(result: Mapping[str, Any]) -> list[str]:
    """Return the end of it: the critical path, and the whole."""
    path = critical_path(result["timings"])
    steps = " > ".join(f"{t['kind']} {t['name']} {t['seconds']:.1f}" for t in path)
    requests = count(result["requests"]["total"], "request")
    whole = f"in all {result['seconds']:.1f} s, {requests}, which took the cloud {result['api_seconds']:.1f} s"
    return [f"critical path (*): {steps}", f"{whole} (side by side: their sum may be more than the whole)"]


def record(result: Mapping[str, Any], directory: Path) -> None:
    """Keep the times of a run that changed something in ``directory``, for `netorder times`."""
    keys = ("timings", "requests", "api_seconds", "seconds")
    kept = {key: result[key] for key in keys} | {"critical_path": critical_path(result["timings"])}
    (directory / FILE).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def read(directory: Path) -> dict[str, Any] | None:
    """Return what :func:`record` kept, None when no run has."""
    try:
        kept: dict[str, Any] = json.loads((directory / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return kept


def _end(time: Time) -> float:
    return float(time["start"] + time["seconds"])
