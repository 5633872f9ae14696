"""The paths between networks: which router comes first, which next, and so every static route, for one IP version.

The graph is bipartite: a network knows its routers, a router its networks. Hosts that forward are routers here, but one
of them on a path costs more than any number of routers: hosts are used where no router leads, and what routers join
(an *island*) stays joined when a host is down. Of several shortest paths one is distinguished, the same from both ends:
what filters statefully on the path, the ports of forwarding hosts, must see question and answer.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

__all__ = ["Crossing", "Graph", "NextHop", "Tree", "components", "nearest_to_outside"]


class NextHop(NamedTuple):
    """The next router on a path, and the network on which it is met."""

    router: str
    network: str


class Crossing(NamedTuple):
    """A forwarding host on a path: it gets the packet from one network and passes it on to another."""

    host: str
    entry: str
    exit: str


@dataclass(frozen=True, slots=True)
class Tree:
    """All distinguished paths to one network.

    ``hops``: for each router its next one, None where it is on that network. ``lengths``: how long the path from each
    router is. ``first``: for each other network, the router by which hosts on it best begin.
    """

    hops: dict[str, NextHop | None]
    lengths: dict[str, int]
    first: dict[str, str]


def components(nodes: Iterable[str], joints: Iterable[Iterable[str]]) -> dict[str, int]:
    """Return a number for each node, the same for those that ``joints``, each of several nodes, join (union-find).

    What a joint names besides the nodes counts for nothing.
    """
    leader = {node: node for node in nodes}

    def find(node: str) -> str:
        while leader[node] != node:
            leader[node] = node = leader[leader[node]]
        return node

    for joint in joints:
        known = [node for node in joint if node in leader]
        for other in known[1:]:
            leader[find(other)] = find(known[0])
    numbers: dict[str, int] = {}
    return {node: numbers.setdefault(find(node), len(numbers)) for node in leader}


@dataclass(frozen=True, eq=False)
class Graph:
    """``routers`` gives each router's networks as declared, forwarding hosts (``hosts``) included.

    ``loopbacks`` are networks of which one host is the only router, and the only one with anything there.
    """

    networks: Sequence[str]
    routers: Mapping[str, Sequence[str]]
    hosts: frozenset[str]
    loopbacks: frozenset[str] = frozenset()
    _trees: dict[str, Tree] = field(default_factory=dict, init=False, repr=False)  # by destination, as needed

    @cached_property
    def on(self) -> dict[str, list[str]]:
        """The routers on each network."""
        found: dict[str, list[str]] = {network: [] for network in self.networks}
        for router, its_networks in self.routers.items():
            for network in its_networks:
                found[network].append(router)
        return found

    # A path's cost is one number: its length, then a bit for each router and network on it. Two shortest paths over the
    # same routers and networks are the same path, so costs never tie; later declared ones weigh more.

    @property
    def _shift(self) -> int:
        return len(self.networks) + len(self.routers)

    @cached_property
    def _network_cost(self) -> dict[str, int]:
        return {network: 1 << index for index, network in enumerate(self.networks)}

    @cached_property
    def _router_cost(self) -> dict[str, int]:
        of_host = len(self.routers) + 1
        return {
            router: ((of_host if router in self.hosts else 1) << self._shift) + (1 << index)
            for index, router in enumerate(self.routers, len(self.networks))
        }

    @cached_property
    def islands(self) -> dict[str, int]:
        """A number for each network: the same for networks that routers join."""
        return components(self.networks, (its for router, its in self.routers.items() if router not in self.hosts))

    @cached_property
    def parts(self) -> dict[str, int]:
        """A number for each network: the same for networks that some path joins."""
        return components(self.networks, self.routers.values())

    def joined(self, one: str, other: str) -> bool:
        """Tell whether some path joins the two networks."""
        return self.parts[one] == self.parts[other]

    def through(self, host: str) -> set[str]:
        """Return the networks by which paths lead through a forwarding host: its first on each island.

        On the others it only meets what is on that very network. So the host sends
        whatever is not on a network of its own by the same interface, before it has any route and after.
        """
        firsts = {self.islands[network]: network for network in reversed(self.routers[host])}
        return set(firsts.values())

    @cached_property
    def _through(self) -> dict[str, set[str]]:
        return {host: self.through(host) for host in self.routers if host in self.hosts}

    def tree(self, destination: str) -> Tree:
        """Return the paths to ``destination`` (Dijkstra's algorithm, each network passed once)."""
        if destination in self._trees:
            return self._trees[destination]
        cost, shift = self._router_cost, self._shift
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
            tree.lengths[router] = length >> shift
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
        """Yield each next hop on the path from ``router`` to ``destination``."""
        hops = self.tree(destination).hops
        while hop := hops[router]:
            yield hop
            router = hop.router

    def crossings(self, router: str, entry: str, destination: str) -> tuple[Crossing, ...]:
        """Return the forwarding hosts on the path from network ``entry`` by ``router`` to ``destination``.

        A host does not forward what is from or for its own loopback address.
        """
        if not self.hosts:
            return ()
        found: list[Crossing] = []
        for hop in self.onward(router, destination):
            if router in self.hosts:
                found.append(Crossing(router, entry, hop.network))
            router, entry = hop
        if router in self.hosts:
            found.append(Crossing(router, entry, destination))
        return tuple(one for one in found if self.loopbacks.isdisjoint((one.entry, one.exit)))


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
