"""Who sends what where: the static routes of every host and router for one IP version, and by which interface.

A host gets a route only where its default gateway does not lead, a router only for what comes to it; both only towards
networks with hosts on them. So each route is needed: without it some pair of hosts is cut.
"""

from __future__ import annotations

import heapq
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from netorder.routing.graph import NextHop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netorder.routing.graph import Crossing, Graph

__all__ = ["Routing"]


class Routing:
    """``homes`` gives each host's networks in the order of its interfaces, ``gateways`` each network's default gateway.

    ``asked`` are the routes declared by hand to networks of the topology: host to network to router.
    """

    def __init__(
        self,
        graph: Graph,
        homes: Mapping[str, tuple[str, ...]],
        gateways: Mapping[str, str],
        asked: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.graph = graph
        self.homes = homes
        self.gateways = gateways
        self._asked = asked
        self.several = {host: networks for host, networks in homes.items() if len(networks) > 1 or host in graph.hosts}
        self.alone = {networks[0] for host, networks in homes.items() if host not in self.several and networks}
        self.populated = [network for network in graph.networks if network in self._with_hosts]

    @cached_property
    def _with_hosts(self) -> set[str]:
        return {network for networks in self.homes.values() for network in networks}

    def default_network(self, host: str) -> str | None:
        """Return the network whose gateway is the host's: the first one that has one."""
        return next((network for network in self.homes.get(host, ()) if network in self.gateways), None)

    def leaves_by(self, host: str, destination: str) -> str | None:
        """Return the network by which ``host`` sends to network ``destination``; None when no way leads there."""
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
    def _exits(self) -> dict[str, set[str]]:
        """For each destination the networks by which some host on them leaves for it."""
        parts: dict[int, set[str]] = {}
        for network in self.alone:
            parts.setdefault(self.graph.parts[network], set()).add(network)
        found = {
            destination: parts.get(self.graph.parts[destination], set()) - {destination}
            for destination in self.populated
        }
        for host, networks in self.several.items():
            for destination in self.populated:
                if destination not in networks and (leaving := self.leaves_by(host, destination)):
                    found[destination].add(leaving)
        return found

    def talks(self, network: str, destination: str) -> bool:
        """Tell whether hosts on both networks send to each other by just these."""
        exits = self._exits
        return network in exits.get(destination, ()) and destination in exits.get(network, ())

    def _talking(self, destination: str) -> list[str]:
        """Return the networks with hosts that are on no other one, and send to ``destination``."""
        exits = self._exits
        able = exits[destination] & self.alone
        if destination not in self.alone:
            able = {network for network in able if destination in exits[network]}
        # whoever is alone on its network leaves by it for all that some way joins
        return [network for network in self.populated if network in able]

    def meets(self, host: str, other: str) -> tuple[str, str] | None:
        """Return the networks on which ``host`` and ``other`` have the addresses by which they talk to each other."""
        mine, its = self.homes.get(host, ()), self.homes.get(other, ())
        for network in mine:
            if network in its:
                return network, network
        for destination in its:
            source = self.leaves_by(host, destination)
            if source and self.leaves_by(other, source) == destination:
                return source, destination
        return None

    def crossings(self, network: str, destination: str) -> tuple[Crossing, ...]:
        """Return the forwarding hosts between two networks, in order."""
        first = self.graph.tree(destination).first.get(network)
        return self.graph.crossings(first, network, destination) if first else ()

    def mirrors(self, router: str, network: str, destination: str) -> bool:
        """Tell whether a way that begins with ``router`` crosses the same forwarding hosts as answers do."""
        if not self.graph.hosts:
            return True
        return self.graph.crossings(router, network, destination) == self.crossings(network, destination)

    def decide(self, forced: Iterable[tuple[str, str]], gateway_only: Iterable[str]) -> None:
        """Decide every route.

        ``forced`` (network, destination) pairs go by the network's gateway: that is what hosts have before they are
        configured. So does everything from the networks ``gateway_only``.
        """
        self.network_routes: dict[str, list[tuple[str, NextHop]]] = {network: [] for network in self.alone}
        self.host_routes: dict[str, dict[str, NextHop]] = {host: {} for host in self.several}
        self.router_routes: dict[str, list[tuple[str, NextHop]]] = {router: [] for router in self.graph.routers}
        by_gateway: dict[str, set[str]] = {}
        for network, destination in forced:
            by_gateway.setdefault(destination, set()).add(network)
        only = set(gateway_only)
        for destination in self.populated:
            self._decide(destination, by_gateway.get(destination, set()), only)

    def _decide(self, destination: str, by_gateway: set[str], gateway_only: set[str]) -> None:
        decision = _Decision(self, destination, by_gateway, gateway_only)
        for sender in self._others(destination, decision) if not self.graph.hosts else self.senders(destination):
            decision.turn(sender)
        for routes in self._asked.values():
            if destination in routes:
                decision.carry(routes[destination])
        for sender in decision.decided():
            if sender.host is None:
                self.network_routes[sender.hop.network].append((destination, sender.hop))
            else:
                self.host_routes[sender.host][destination] = sender.hop
        hops = self.graph.tree(destination).hops
        for router in sorted(decision.carriers - self.graph.hosts, key=self._order.__getitem__):
            if hop := hops[router]:
                self.router_routes[router].append((destination, hop))

    @cached_property
    def _order(self) -> dict[str, int]:
        return {router: index for index, router in enumerate(self.graph.routers)}

    def senders(self, destination: str) -> Iterable[Sender]:
        """Yield who has something to send to ``destination``."""
        tree = self.graph.tree(destination)
        for network in self._talking(destination):
            yield self.sender(None, NextHop(tree.first[network], network), destination)
        yield from self._with_several(destination)

    def _with_several(self, destination: str) -> Iterable[Sender]:
        tree = self.graph.tree(destination)
        for host, networks in self.several.items():
            if destination in networks:
                continue
            leaving = self.leaves_by(host, destination)
            if leaving is None or not self.talks(leaving, destination):
                continue
            # a forwarding host may be the first of its network itself; then it knows the next one
            first, hop = tree.first[leaving], tree.hops.get(host)
            yield self.sender(host, hop if hop and first == host else NextHop(first, leaving), destination)

    def _others(self, destination: str, decision: _Decision) -> Iterable[Sender]:
        """Do what is to be done for the senders whose gateway is as near as can be, and yield the others.

        Most are among the former. Where nobody forwards, their length is all that matters.
        """
        tree = self.graph.tree(destination)
        lengths, first, gateways, alone = tree.lengths, tree.first, self.gateways, self._talking(destination)
        for network in alone:
            gateway = gateways.get(network)
            if gateway is not None and lengths[gateway] == lengths[first[network]]:
                if gateway not in decision.carriers:
                    decision.carry(gateway)
            else:
                yield self.sender(None, NextHop(first[network], network), destination)
        yield from self._with_several(destination)

    def sender(self, host: str | None, hop: NextHop, destination: str) -> Sender:
        """Return a sender, with its gateway if what it sends may go there."""
        gateway = self.gateways.get(hop.network)
        if gateway is not None:
            others = host is not None and self.default_network(host) != hop.network
            if others or not self.mirrors(gateway, hop.network, destination):
                gateway = None
        return Sender(host, gateway, hop)


class Sender(NamedTuple):
    """Who sends: a host, or None for all that are on one network only; its best hop; its gateway, if that can do."""

    host: str | None
    gateway: str | None
    hop: NextHop


class _Decision:
    """Who needs a route to one network; ``must`` and ``only`` are networks whose hosts send by their gateway."""

    def __init__(self, routing: Routing, destination: str, must: set[str], only: set[str]) -> None:
        self._routing, self._destination, self._must, self._only = routing, destination, must, only
        self._tree = routing.graph.tree(destination)
        self.carriers: set[str] = set()  # routers that need a route, since something comes to them for the destination
        self._count = 0
        self._transits: set[str] = set()  # forwarding hosts among the carriers
        self._undecided: list[tuple[int, int, Sender, bool]] = []

    def carry(self, router: str) -> None:
        """Let ``router`` and those on its way have a route; a forwarding host may do by its gateway, as others."""
        while router not in self.carriers and (hop := self._tree.hops[router]):
            self.carriers.add(router)
            if router in self._routing.graph.hosts:
                self._transits.add(router)
                self._turn(self._routing.sender(router, hop, self._destination), passes=True)
                return
            router = hop.router

    def turn(self, sender: Sender) -> None:
        """Let ``sender`` use its gateway where that is as near; else its need is decided later.

        So is that of a forwarding host: what it sends itself goes the way of what it passes on, if there is any.
        """
        if sender.host in self._routing.graph.hosts:
            self._wait(sender, passes=False)
        else:
            self._turn(sender, passes=False)

    def _turn(self, sender: Sender, *, passes: bool) -> None:
        if sender.gateway is not None and self._near(sender):
            self.carry(sender.gateway)
        else:
            self._wait(sender, passes=passes)

    def _near(self, sender: Sender) -> bool:
        network, lengths = sender.hop.network, self._tree.lengths
        must = network in self._must or (sender.host is None and network in self._only)
        return sender.gateway is not None and (must or lengths[sender.gateway] == lengths[sender.hop.router])

    def _wait(self, sender: Sender, *, passes: bool) -> None:
        self._count += 1
        heapq.heappush(self._undecided, (-self._tree.lengths[sender.hop.router], self._count, sender, passes))

    def decided(self) -> Iterable[Sender]:
        """Yield those whose gateway does not lead there: they need a route.

        The farthest first. What is added for those that are nearer is nearer than any gateway that was passed over
        here, so what is decided stays right.
        """
        while self._undecided:
            _, _, sender, passes = heapq.heappop(self._undecided)
            if sender.host in self._routing.graph.hosts and not passes:
                if sender.host in self._transits:
                    continue
                if self._near(sender):
                    self.carry(str(sender.gateway))
                    continue
            if sender.gateway is None or sender.gateway not in self.carriers:
                self.carry(sender.hop.router)
                yield sender
