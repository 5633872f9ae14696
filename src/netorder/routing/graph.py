"""The ways between networks: which router comes first, which next, and so every static route, for one IP version.

The graph is bipartite: a network knows its routers, a router its networks. Hosts that forward are routers here, but one
of them on a way costs more than any number of routers: hosts are used where no router leads, and what routers join
(an *island*) stays joined when a host is down. Of several shortest ways one is distinguished, the same from both ends:
what filters statefully on the way, the ports of forwarding hosts, must see question and answer.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

__all__ = ["Crossing", "Graph", "NextHop", "Tree", "nearest_to_outside"]


class NextHop(NamedTuple):
    """The next router on a way, and the network on which it is met."""

    router: str
    network: str


class Crossing(NamedTuple):
    """A forwarding host on a way: it gets the packet from one network and passes it on to another."""

    host: str
    entry: str
    exit: str


@dataclass(frozen=True, slots=True)
class Tree:
    """All distinguished ways to one network.

    ``hops``: for each router its next one, None where it is on that network. ``lengths``: how long the way from each
    router is. ``first``: for each other network, the router by which hosts on it best begin.
    """

    hops: dict[str, NextHop | None]
    lengths: dict[str, int]
    first: dict[str, str]


class Graph:
    """``routers`` gives each router's networks as declared, forwarding hosts (``hosts``) included."""

    def __init__(self, networks: Sequence[str], routers: Mapping[str, Sequence[str]], hosts: Collection[str]) -> None:
        self.networks = networks
        self.routers = routers
        self.hosts = frozenset(hosts)
        self.on: dict[str, list[str]] = {network: [] for network in networks}
        for router, its_networks in routers.items():
            for network in its_networks:
                self.on[network].append(router)
        # A way's cost is one number: its length, then a bit for each router and network on it. Two shortest ways over
        # the same routers and networks are the same way, so costs never tie; later declared ones weigh more.
        names = [*networks, *routers]
        self._shift = len(names)
        bits = {name: 1 << index for index, name in enumerate(names)}
        dear = len(routers) + 1
        self._network_cost = {network: bits[network] for network in networks}
        self._router_cost = {
            router: ((dear if router in self.hosts else 1) << self._shift) + bits[router] for router in routers
        }
        self._trees: dict[str, Tree] = {}

    @cached_property
    def islands(self) -> dict[str, int]:
        """A number for each network: the same for networks that routers join."""
        return self._components({router: its for router, its in self.routers.items() if router not in self.hosts})

    @cached_property
    def parts(self) -> dict[str, int]:
        """A number for each network: the same for networks that some way joins."""
        return self._components(self.routers)

    def _components(self, routers: Mapping[str, Iterable[str]]) -> dict[str, int]:
        leader = {network: network for network in self.networks}

        def find(network: str) -> str:
            while leader[network] != network:
                leader[network] = leader[leader[network]]
                network = leader[network]
            return network

        for its_networks in routers.values():
            one, *others = its_networks or [""]
            for other in others:
                leader[find(other)] = find(one)
        numbers: dict[str, int] = {}
        return {network: numbers.setdefault(find(network), len(numbers)) for network in self.networks}

    def joined(self, one: str, other: str) -> bool:
        """Tell whether some way joins the two networks."""
        return self.parts[one] == self.parts[other]

    def through(self, host: str) -> set[str]:
        """Return the networks by which ways lead through a forwarding host: its first on each island.

        On the others it only meets what is on that very network. So whatever is not on a network of its own leaves the
        host by the same interface, before it has any route and after.
        """
        firsts = {self.islands[network]: network for network in reversed(self.routers[host])}
        return set(firsts.values())

    @cached_property
    def _through(self) -> dict[str, set[str]]:
        return {host: self.through(host) for host in self.routers if host in self.hosts}

    def tree(self, destination: str) -> Tree:
        """Return the ways to ``destination`` (Dijkstra's algorithm, each network passed once)."""
        if destination in self._trees:
            return self._trees[destination]
        cost = self._router_cost
        network_cost = self._network_cost
        through = self._through
        tree = Tree({}, {}, {})
        waiting: list[tuple[int, str, NextHop | None]] = [
            (cost[router], router, None) for router in self.on[destination]
        ]
        heapq.heapify(waiting)
        passed = {destination}
        while waiting:
            length, router, hop = heapq.heappop(waiting)
            if router in tree.hops:
                continue
            tree.hops[router] = hop
            tree.lengths[router] = length >> self._shift
            only = through.get(router)
            for network in self.routers[router]:
                if network in passed:
                    continue
                tree.first.setdefault(network, router)
                if only is not None and network not in only:
                    continue
                passed.add(network)
                step = length + network_cost[network]
                following = NextHop(router, network)
                for other in self.on[network]:
                    if other not in tree.hops and (other not in through or network in through[other]):
                        heapq.heappush(waiting, (step + cost[other], other, following))
        tree.first.pop(destination, None)
        self._trees[destination] = tree
        return tree

    def onward(self, router: str, destination: str) -> Iterator[NextHop]:
        """Yield each next hop on the way from ``router`` to ``destination``."""
        hops = self.tree(destination).hops
        while hop := hops[router]:
            yield hop
            router = hop.router

    def crossings(self, router: str, entry: str, destination: str) -> tuple[Crossing, ...]:
        """Return the forwarding hosts on the way from network ``entry`` by ``router`` to ``destination``."""
        if not self.hosts:
            return ()
        found: list[Crossing] = []
        for hop in self.onward(router, destination):
            if router in self.hosts:
                found.append(Crossing(router, entry, hop.network))
            router, entry = hop
        if router in self.hosts:
            found.append(Crossing(router, entry, destination))
        return tuple(found)


def nearest_to_outside(
    networks: Iterable[str], routers: Mapping[str, Collection[str]], external: Collection[str]
) -> dict[str, list[str]]:
    """Return each network's routers, the one with the fewest hops to an external router first, then as declared."""
    joined: dict[str, list[str]] = {network: [] for network in networks}
    for router, its_networks in routers.items():
        for network in its_networks:
            joined[network].append(router)
    distance = dict.fromkeys([router for router in routers if router in external], 0)
    seen: set[str] = set()
    frontier = list(distance)
    while frontier:
        following: list[str] = []
        for router in frontier:
            for network in routers[router]:
                if network in seen:
                    continue
                seen.add(network)
                for other in joined[network]:
                    if other not in distance:
                        distance[other] = distance[router] + 1
                        following.append(other)
        frontier = following
    return {
        network: sorted(its_routers, key=lambda router: distance.get(router, len(routers)))
        for network, its_routers in joined.items()
    }
