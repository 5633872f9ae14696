"""Shortest paths between networks that routers join: who is the default gateway, and what comes next on the way.

The graph is bipartite: a network knows its routers, a router its networks. A way is as long as it has routers. Ties go
to the router that is declared first, so that the same topology always gives the same ways; each step is one router
nearer to its destination, so no way loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["Graph", "Hop", "ways_in"]


@dataclass(frozen=True, slots=True)
class Hop:
    """The next router on a way, and the network on which it is met."""

    router: str
    network: str


@dataclass(frozen=True)
class Graph:
    """``routers`` gives each router's networks, as declared; ``gateways`` gives each network's default gateway."""

    networks: Sequence[str]
    routers: Mapping[str, Collection[str]]
    gateways: Mapping[str, str]

    @cached_property
    def routers_on(self) -> dict[str, list[str]]:
        """The routers on each network, in order of declaration."""
        return _routers_on(self.networks, self.routers)

    @cached_property
    def _order(self) -> dict[str, int]:
        return {router: index for index, router in enumerate(self.routers)}

    @cached_property
    def _distances(self) -> dict[str, dict[str, int]]:
        return {network: spread(self.routers_on[network], self.routers, self.routers_on) for network in self.networks}

    def hops(self, source: str, destination: str) -> int | None:
        """Return how many routers lie between two networks; None when no way joins them."""
        if source == destination:
            return 0
        distance = self._distances[destination]
        return min((distance[router] + 1 for router in self.routers_on[source] if router in distance), default=None)

    def first_hop(self, source: str, destination: str) -> str | None:
        """Return the router by which hosts on ``source`` best reach ``destination``; their gateway if it is as near."""
        distance = self._distances[destination]
        near = [router for router in self.routers_on[source] if router in distance]
        gateway = self.gateways.get(source)
        return min(near, key=lambda router: (distance[router], router != gateway, self._order[router]), default=None)

    def next_hop(self, router: str, destination: str) -> Hop | None:
        """Return where ``router`` passes packets for ``destination``; None when it is on that network itself."""
        distance = self._distances[destination]
        if not distance[router]:
            return None
        candidates = (
            (distance[other], self._order[other], position, Hop(other, network))
            for position, network in enumerate(self.routers[router])
            for other in self.routers_on[network]
            if other in distance
        )
        return min(candidates, key=lambda candidate: candidate[:3])[3]

    def onward(self, router: str, destination: str) -> Iterable[tuple[str, Hop]]:
        """Yield each (router, next hop) on the way from ``router`` to ``destination``, its last router excepted."""
        while hop := self.next_hop(router, destination):
            yield router, hop
            router = hop.router


def _routers_on(networks: Iterable[str], routers: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    joined: dict[str, list[str]] = {network: [] for network in networks}
    for router, its_networks in routers.items():
        for network in its_networks:
            joined[network].append(router)
    return joined


def spread(
    starts: Iterable[str], routers: Mapping[str, Collection[str]], routers_on: Mapping[str, Iterable[str]]
) -> dict[str, int]:
    """Return the distance of every router that can be reached from ``starts`` (distance 0), by breadth-first search."""
    distance = dict.fromkeys(starts, 0)
    seen: set[str] = set()
    frontier = list(distance)
    while frontier:
        following: list[str] = []
        for router in frontier:
            for network in routers[router]:
                if network in seen:
                    continue
                seen.add(network)
                for other in routers_on[network]:
                    if other not in distance:
                        distance[other] = distance[router] + 1
                        following.append(other)
        frontier = following
    return distance


def nearest_to_outside(
    networks: Iterable[str], routers: Mapping[str, Collection[str]], external: Collection[str]
) -> dict[str, list[str]]:
    """Return each network's routers, the one with the fewest hops to an external router first, then as declared."""
    joined = _routers_on(networks, routers)
    distance = spread([router for router in routers if router in external], routers, joined)
    return {
        network: sorted(its_routers, key=lambda router: distance.get(router, len(routers)))
        for network, its_routers in joined.items()
    }


def ways_in(graph: Graph, hosts: Mapping[str, str], entries: Collection[str]) -> dict[str, tuple[str, ...] | None]:
    """Return for each host (name to network) the hosts to go through to reach it from outside, outermost first.

    ``entries`` are the hosts that let SSH in from outside. Any other is reached through the entry that is fewest hops
    away, the first declared of several; None when there is no such entry. One step is always enough: wherever a second
    one could go, the first can go too.
    """
    ways: dict[str, tuple[str, ...] | None] = {}
    for name, network in hosts.items():
        if name in entries:
            ways[name] = ()
            continue
        near = [
            (hops, entry)
            for entry, its_network in hosts.items()
            if entry in entries and (hops := graph.hops(its_network, network)) is not None
        ]
        ways[name] = (min(near, key=lambda pair: pair[0])[1],) if near else None
    return ways
