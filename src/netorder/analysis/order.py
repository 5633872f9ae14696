"""In which order hosts start and stop: who is needed by others runs before them, and longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from netorder.plan.model import Host, Plan

__all__ = ["start_order"]


def start_order(plan: Plan, only: Collection[str]) -> list[list[str]]:
    """Return the hosts in the order of their start, those of one step at once; backwards it is that of their stop.

    Forwarding hosts come first, since packets pass them; then applications that are called before those that call them.
    """
    steps: dict[int, list[str]] = {}
    for host in plan.hosts:
        if host.name in only:
            steps.setdefault(_step(host), []).append(host.name)
    return [steps[step] for step in sorted(steps)]


def _step(host: Host) -> int:
    # a forwarding host that calls an application cannot wait for what is behind it
    return -1 if host.forwarding else max((one.stage for one in host.applications), default=0)
