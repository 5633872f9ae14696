"""The static routes of every host and router for one IP version, and the interfaces that hosts send by.

A host gets a route only where its default gateway does not lead, a router only for what comes to it; both only towards
networks with hosts on them. So each route is needed: without it some pair of hosts is cut.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from netorder.routing.graph import NextHop

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from netorder.routing.graph import Crossing, Graph, Tree

__all__ = ["Routing", "StaticRoutes", "decide"]


@dataclass(frozen=True, slots=True)
class StaticRoutes:
    """The static routes of one IP version: destination (a network) and next hop.

    ``of_networks`` are those that all hosts have which are on that network only, ``of_hosts`` those of the other hosts.
    """

    of_networks: Mapping[str, Sequence[tuple[str, NextHop]]]
    of_hosts: Mapping[str, Mapping[str, NextHop]]
    of_routers: Mapping[str, Sequence[tuple[str, NextHop]]]


@dataclass(frozen=True, eq=False)
class Routing:
    """Which interface each host uses to which network, in one IP version.

    ``homes`` gives each host's networks in the order of its interfaces, ``gateways`` each network's default gateway.
    The gateway of those ``elsewhere`` is no router here: it leads outside, and to no network of these. ``overridden``
    gives, of hosts and routers with declared routes that hold some networks, to whom these lead.
    """

    graph: Graph
    homes: Mapping[str, tuple[str, ...]]
    gateways: Mapping[str, str]
    elsewhere: frozenset[str] = frozenset()
    overridden: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def several(self) -> dict[str, tuple[str, ...]]:
        """The hosts with routes of their own, and their networks: several, or they forward, or have wider routes."""
        own = self.graph.hosts.union(self.overridden)
        return {host: its for host, its in self.homes.items() if len(its) > 1 or host in own}

    @cached_property
    def alone(self) -> set[str]:
        """The networks of the other hosts, which are on one each."""
        return {networks[0] for host, networks in self.homes.items() if host not in self.several and networks}

    @cached_property
    def populated(self) -> list[str]:
        """The networks with hosts on them."""
        with_hosts = {network for networks in self.homes.values() for network in networks}
        return [network for network in self.graph.networks if network in with_hosts]

    def default_network(self, host: str) -> str | None:
        """Return the network whose gateway is the host's: the first one that has one."""
        homes = self.homes.get(host, ())
        return next((network for network in homes if network in self.gateways or network in self.elsewhere), None)

    def egress(self, host: str, destination: str) -> str | None:
        """Return the network by which ``host`` sends to network ``destination``; None when no path leads there."""
        networks = self.homes.get(host, ())
        if destination in networks:
            return destination
        if host not in self.several:
            return networks[0] if networks and self.graph.joined(networks[0], destination) else None
        tree = self.graph.tree(destination)
        if host in self.graph.hosts:
            hop = tree.hops.get(host)
            return hop.network if hop else None
        islands = self.graph.islands
        firsts = {islands[network]: network for network in reversed(networks)}
        best = None
        for network in networks:
            if firsts[islands[network]] == network and network in tree.first:
                length = tree.lengths[tree.first[network]]
                if best is None or length < best[0]:
                    best = (length, network)
        return best[1] if best else None

    @cached_property
    def _egress_networks(self) -> dict[str, set[str]]:
        """For each destination the networks by which some host on them sends to it."""
        parts: dict[int, set[str]] = {}
        for network in self.alone:
            parts.setdefault(self.graph.parts[network], set()).add(network)
        found = {
            destination: parts.get(self.graph.parts[destination], set()) - {destination}
            for destination in self.populated
        }
        for host, networks in self.several.items():
            for destination in self.populated:
                if destination not in networks and (egress := self.egress(host, destination)):
                    found[destination].add(egress)
        return found

    def talks(self, network: str, destination: str) -> bool:
        """Tell whether hosts on both networks send to each other by just these."""
        egress = self._egress_networks
        return network in egress.get(destination, ()) and destination in egress.get(network, ())

    def talking(self, destination: str) -> list[str]:
        """Return the networks with hosts that are on no other one, and send to ``destination``."""
        egress = self._egress_networks
        able = egress[destination] & self.alone
        if destination not in self.alone:
            able = {network for network in able if destination in egress[network]}
        # whoever is on one network only sends by it to all that some path joins
        return [network for network in self.populated if network in able]

    def meets(self, host: str, other: str) -> tuple[str, str] | None:
        """Return the networks on which ``host`` and ``other`` have the addresses by which they talk to each other."""
        mine, its = self.homes.get(host, ()), self.homes.get(other, ())
        for network in mine:
            if network in its:
                return network, network
        for destination in its:
            source = self.egress(host, destination)
            if source and self.egress(other, source) == destination:
                return source, destination
        return None

    def crossings(self, network: str, destination: str) -> tuple[Crossing, ...]:
        """Return the forwarding hosts between two networks, in order."""
        first = self.graph.tree(destination).first.get(network)
        return self.graph.crossings(first, network, destination) if first else ()

    def mirrors(self, router: str, network: str, destination: str) -> bool:
        """Tell whether a path that begins with ``router`` crosses the same forwarding hosts as answers do."""
        if not self.graph.hosts:
            return True
        return self.graph.crossings(router, network, destination) == self.crossings(network, destination)

    def senders(self, destination: str) -> Iterator[Sender]:
        """Yield those who send to ``destination``."""
        tree = self.graph.tree(destination)
        for network in self.talking(destination):
            yield self.sender(None, NextHop(tree.first[network], network), destination)
        yield from self.senders_of_several(destination)

    def senders_of_several(self, destination: str) -> Iterator[Sender]:
        """Yield those of them that have routes of their own."""
        tree = self.graph.tree(destination)
        for host, networks in self.several.items():
            if destination in networks:
                continue
            egress = self.egress(host, destination)
            if egress is None or not self.talks(egress, destination):
                continue
            # a forwarding host may be the first of its network itself; then it knows the next one
            first, hop = tree.first[egress], tree.hops.get(host)
            yield self.sender(host, hop if hop and first == host else NextHop(first, egress), destination)

    def sender(self, host: str | None, hop: NextHop, destination: str) -> Sender:
        """Return a sender, with its gateway if what it sends may go there."""
        gateway = self.gateways.get(hop.network)
        wider = self.overridden.get(host or "", {}).get(destination)
        if wider is not None:
            return Sender(host, wider if wider == hop.router else None, hop)
        if gateway is not None:
            others = host is not None and self.default_network(host) != hop.network
            mirrors = self.mirrors(gateway, hop.network, destination)
            if others or not mirrors or self._enters_elsewhere(gateway, hop, destination):
                gateway = None
        return Sender(host, gateway, hop)

    def _enters_elsewhere(self, gateway: str, hop: NextHop, destination: str) -> bool:
        """Tell whether the gateway leads to a neighbour's loopback address by another network than that shared one.

        The neighbour answers directly.
        """
        if destination not in self.graph.loopbacks or destination not in self.graph.routers[hop.router]:
            return False
        *_, last = (hop, *self.graph.onward(gateway, destination))
        return last.network != hop.network


class Sender(NamedTuple):
    """A sender: a host, or None for all that are on one network only; its best hop; its gateway, if that will do."""

    host: str | None
    gateway: str | None
    hop: NextHop


def decide(
    routing: Routing,
    declared: Mapping[str, Mapping[str, str]],
    forced: Iterable[tuple[str, str]],
    gateway_only: Collection[str],
) -> StaticRoutes:
    """Return every route that is needed.

    ``declared`` are the routes of the file to networks of the topology: host to network to router. ``forced`` (network,
    destination) pairs go by the network's gateway: that is what hosts have before they are configured. So does
    everything from the networks ``gateway_only``.
    """
    graph = routing.graph
    of_networks: dict[str, list[tuple[str, NextHop]]] = {network: [] for network in routing.alone}
    of_hosts: dict[str, dict[str, NextHop]] = {host: {} for host in routing.several}
    of_routers: dict[str, list[tuple[str, NextHop]]] = {router: [] for router in graph.routers}
    by_gateway: dict[str, set[str]] = {}
    for network, destination in forced:
        by_gateway.setdefault(destination, set()).add(network)
    order = {router: index for index, router in enumerate(graph.routers)}
    for destination in routing.populated:
        decision = _Decision(
            routing, destination, graph.tree(destination), by_gateway.get(destination, set()), gateway_only
        )
        for sender in routing.senders(destination) if graph.hosts else decision.carry_most():
            decision.add(sender)
        for routes in declared.values():
            if destination in routes:
                decision.carry(routes[destination])
        for sender in decision.decided():
            if sender.host is None:
                of_networks[sender.hop.network].append((destination, sender.hop))
            else:
                of_hosts[sender.host][destination] = sender.hop
        hops = graph.tree(destination).hops
        for router in sorted(decision.carriers - graph.hosts, key=order.__getitem__):
            hop = hops[router]
            if hop and routing.overridden.get(router, {}).get(destination) != hop.router:
                of_routers[router].append((destination, hop))
    return StaticRoutes(of_networks, of_hosts, of_routers)


@dataclass(slots=True)
class _Decision:
    """What needs a route to one network; ``must`` and ``only`` are networks whose hosts send by their gateway."""

    routing: Routing
    destination: str
    tree: Tree
    must: Collection[str]
    only: Collection[str]
    # routers that need a route, since something comes to them for the destination; the forwarding hosts among these
    carriers: set[str] = field(default_factory=set)
    transits: set[str] = field(default_factory=set)
    undecided: list[tuple[int, int, Sender, bool]] = field(default_factory=list)
    count: int = 0

    def carry_most(self) -> Iterator[Sender]:
        """Let those carry that are the gateway of a sender and as near as can be, and yield the other senders.

        Most are among the former. Where nobody forwards, their length is all that matters.
        """
        lengths, first, gateways = self.tree.lengths, self.tree.first, self.routing.gateways
        for network in self.routing.talking(self.destination):
            gateway = gateways.get(network)
            if gateway is not None and lengths[gateway] == lengths[first[network]]:
                if gateway not in self.carriers:
                    self.carry(gateway)
            else:
                yield self.routing.sender(None, NextHop(first[network], network), self.destination)
        yield from self.routing.senders_of_several(self.destination)

    def carry(self, router: str) -> None:
        """Let ``router`` and those on its path have a route; a forwarding host may do by its gateway, as others."""
        while router not in self.carriers and (hop := self.tree.hops[router]):
            self.carriers.add(router)
            if router in self.routing.graph.hosts:
                self.transits.add(router)
                self._decide(self.routing.sender(router, hop, self.destination), passes=True)
                return
            router = hop.router

    def add(self, sender: Sender) -> None:
        """Let ``sender`` use its gateway where that is as near; else its need is decided later.

        So is that of a forwarding host: what it sends itself goes the path of what it passes on, if there is any.
        """
        if sender.host in self.routing.graph.hosts:
            self._defer(sender, passes=False)
        else:
            self._decide(sender, passes=False)

    def _decide(self, sender: Sender, *, passes: bool) -> None:
        if sender.gateway is not None and self._near(sender):
            self.carry(sender.gateway)
        else:
            self._defer(sender, passes=passes)

    def _near(self, sender: Sender) -> bool:
        network, lengths = sender.hop.network, self.tree.lengths
        must = network in self.must or (sender.host is None and network in self.only)
        return sender.gateway is not None and (must or lengths[sender.gateway] == lengths[sender.hop.router])

    def _defer(self, sender: Sender, *, passes: bool) -> None:
        self.count += 1
        heapq.heappush(self.undecided, (-self.tree.lengths[sender.hop.router], self.count, sender, passes))

    def decided(self) -> Iterator[Sender]:
        """Yield those whose gateway does not lead there: they need a route.

        The farthest first. What is added for those that are nearer is nearer than any gateway that was passed over
        here, so what is decided stays right.
        """
        while self.undecided:
            _, _, sender, passes = heapq.heappop(self.undecided)
            if sender.host in self.routing.graph.hosts and not passes:
                if sender.host in self.transits:
                    continue
                if self._near(sender):
                    self.carry(str(sender.gateway))
                    continue
            if sender.gateway is None or sender.gateway not in self.carriers:
                self.carry(sender.hop.router)
                yield sender
