"""In which order hosts start and stop: who is needed by others runs before them, and longer."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection

    from netorder.plan.model import Plan

__all__ = ["start_order"]


def start_order(plan: Plan, only: Collection[str]) -> list[list[str]]:
    """Return the hosts in the order of their start, those of one step at once; backwards it is that of their stop.

    Forwarding hosts come first, since packets pass them; then services that are called before those that call them.
    """
    by_address = {address: host.name for host in plan.hosts for address in host.addresses}
    forwarding = {host.name for host in plan.hosts if host.forwarding}
    needs: dict[str, set[str]] = {}
    for host in plan.hosts:
        urls = host.service.calls if host.service else ()
        called = {by_address.get(str(urlsplit(url).hostname), "") for url in urls} - {"", host.name}
        # a forwarding host that calls a service cannot wait for what is behind it
        needs[host.name] = set() if host.name in forwarding else called | forwarding
    graph = TopologicalSorter(needs)
    graph.prepare()
    steps = []
    while graph.is_active():
        ready = graph.get_ready()
        graph.done(*ready)
        steps.append([host.name for host in plan.hosts if host.name in ready and host.name in only])
    return [step for step in steps if step]
