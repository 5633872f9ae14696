"""What verify finds, made up for tests of the report."""

from __future__ import annotations

from netorder.analysis.probes import from_inside, from_outside
from netorder.analysis.reach import OUTSIDE, Matrix
from netorder.plan.build import build_plan


def measured(topology) -> dict[str, list[dict[str, object]]]:
    """Return the findings of a verify that found everything as planned."""
    matrix = Matrix(build_plan(topology))
    found: dict[str, list[dict[str, object]]] = {}
    for host in matrix.plan.hosts:
        found[host.name] = [{"what": "routes", "expected": "no difference", "found": "no difference", "ok": True}]
        for source, probes in ((host.name, from_inside(matrix, host)), (OUTSIDE, from_outside(matrix, host))):
            for one in probes:
                state = "open" if one.open else "closed"
                its = {"what": f"tcp {one.port} of {one.name}", "expected": state, "found": state, "ok": True}
                found[host.name].append(its | {"from": source, "name": one.name, "port": one.port})
    return found


def wrong(findings, source: str, name: str, port: int, found: str) -> None:
    """Let a connection be otherwise than planned."""
    (one,) = [
        one for its in findings.values() for one in its
        if (one.get("from"), one.get("name"), one.get("port")) == (source, name, port)
    ]  # fmt: skip
    one.update(found=found, ok=False)


def stage(name: str, start: float, seconds: float, **more: object) -> dict[str, object]:
    return {"name": name, "start": start, "seconds": seconds, "hosts": 1, "changed": 0, "failed": 0, **more}
