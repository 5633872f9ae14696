"""The targets on this machine, each by the same few functions: containers, virtual machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.containers import target as containers
from netorder.machine import target as machine
from netorder.topology import CONTAINERS, MACHINE

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from netorder.cloud.change import Change, Progress
    from netorder.cloud.result import Result
    from netorder.plan.model import Plan

__all__ = ["LOCAL", "health", "hosts", "reconcile", "teardown", "there", "unanswered"]

LOCAL = (CONTAINERS, MACHINE)


def reconcile(
    target: str,
    plan: Plan,
    *,
    files: Path,
    key: str | None,
    check: bool,
    allow: Collection[str],
    hostkey_timeout: float,
    progress: Progress,
) -> Result:
    """Make this machine what the plan says. Raises RefusedError before the first change, CloudError after it."""
    if target == CONTAINERS:
        return containers.reconcile(plan, key=key, check=check, allow=allow, progress=progress)
    return machine.reconcile(
        plan, files=files, key=key, check=check, allow=allow, progress=progress, hostkey_timeout=hostkey_timeout
    )


def teardown(
    target: str, topology: str, *, files: Path, check: bool, snapshots: bool, progress: Progress
) -> list[Change]:
    """Delete all of a topology, its snapshots if asked. Raises CloudError that names what is left."""
    if target == CONTAINERS:
        return containers.teardown(topology, check=check, progress=progress, images=snapshots)
    return machine.teardown(topology, files=files, check=check, progress=progress)


def hosts(target: str, plan: Plan, files: Path) -> tuple[dict[str, dict[str, object]], list[str]]:
    """Return by host its state and its address outside; and the hosts that the plan does not have."""
    return containers.hosts(plan) if target == CONTAINERS else machine.hosts(plan, files)


def health(target: str, plan: Plan) -> dict[str, str]:
    """Return by host why its applications do not serve, "" where they do; nothing of hosts that nobody checks."""
    return containers.health(plan.topology) if target == CONTAINERS else {}


def there(target: str, plan: Plan, files: Path) -> dict[str, int]:
    """Return how many of the planned networks and routers there are."""
    return containers.there(plan) if target == CONTAINERS else machine.there(plan, files)


def unanswered(target: str, topology: str, host: str, files: Path) -> tuple[str, bool]:
    """Return the likely cause why a host does not answer, and whether waiting longer cannot help."""
    if target == CONTAINERS:
        return containers.unanswered(topology, host)
    return machine.unanswered(topology, host, files)
