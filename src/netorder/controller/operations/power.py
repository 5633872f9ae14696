"""Stop, start and shelve hosts, in the order of what they need."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from netorder.analysis.order import start_order
from netorder.cloud.locked import locked_problems
from netorder.cloud.power import power as set_power
from netorder.cloud.power import power_changes
from netorder.cloud.reconcile import result_of
from netorder.controller.operations import lacking
from netorder.controller.operations.site import opened, result
from netorder.errors import RefusedError
from netorder.language.load import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netorder.cloud.change import Progress

__all__ = ["power"]


def power(
    *,
    topology: str,
    files: str,
    state: str,
    progress: Progress,
    hosts: Sequence[str] = (),
    check: bool = False,
    target: str | None = None,
) -> dict[str, Any]:
    """Stop, start or shelve all hosts or these, in the order of what they need; return the Ansible result.

    Raises TopologyError, UsageError, LockedError; RefusedError before the first change, CloudError after it.
    """
    read = load(topology, target)
    lacking.require(read.target, "power")
    start = time.monotonic()
    with opened(read, files, progress, check=check, hosts=hosts) as site:
        wanted = [*hosts] or [host.name for host in site.plan.hosts]
        servers = {name: site.host(name)[1] for name in wanted}
        changes, problems = power_changes(state, servers.values())
        problems += locked_problems(site.cloud, servers.values(), changes)
        steps = start_order(site.plan, wanted)
        if state != "started":
            steps.reverse()
        if problems:
            raise RefusedError(result_of(site.cloud, changes, {}, start), *problems)
        differing = {change.id for change in changes}
        todo = [[servers[name] for name in step if servers[name].id in differing] for step in steps]
        todo = [step for step in todo if step]
        lines = [f"step {number}: {', '.join(str(one.name) for one in step)}" for number, step in enumerate(todo, 1)]
        if check:
            return result(site, changes, start, lines=lines)
        site.cloud.phase = "change"
        for line in lines if len(lines) > 1 else ():
            progress(line)
        set_power(site.cloud, state, todo)
        return result(site, changes, start)
