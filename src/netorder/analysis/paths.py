"""The paths of packets through a plan's hosts and routers, hop by hop, as the kernel and Neutron would send them.

All addresses within one prefix of the topology are on the same path, so paths are found once for each pair of host and
network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from netorder.ip import IPV4, IPV6

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netorder.plan.model import Host, Plan, Port, Route, Router

__all__ = ["ELSEWHERE", "Hop", "Path", "Paths", "Step"]

# An address of each IP version, as a number, to which no route but a default one leads.
ELSEWHERE = {IPV4: (1 << 32) - 2, IPV6: (1 << 128) - 2}


@dataclass(frozen=True, slots=True)
class Hop:
    """A host, router or the outside on a path; what comes in from network ``entry`` goes out to ``exit``, and why."""

    node: str
    entry: str | None
    exit: str | None
    why: str


class Step(NamedTuple):
    """Where a node sends a packet: out to network ``exit`` (None: to the outside), to ``next_hop`` or to its end.

    ``length`` is that of the prefix of the route taken; 0 for a default route.
    """

    exit: str | None
    next_hop: str | None
    why: str
    length: int = 0


class Path(NamedTuple):
    """A packet's path from network ``first`` to network ``last``; ``fault`` says why it ends early.

    ``crossings`` are (host, entry, exit) of forwarding hosts.
    """

    hops: tuple[Hop, ...]
    crossings: tuple[tuple[str, str, str], ...]
    first: str | None
    last: str | None
    fault: str | None


class _Walk:
    """A path while it is followed."""

    def __init__(self) -> None:
        self.hops: list[Hop] = []
        self.passed: set[str] = set()
        self._crossings: list[tuple[str, str, str]] = []
        self._first: str | None = None

    def add(self, node: str, entry: str | None, step: Step | None, *, forwards: bool) -> None:
        """Add what ``node`` does with a packet from network ``entry`` (None: its own); a host ``forwards`` others'."""
        self.passed.add(node)
        self.hops.append(Hop(node, entry, step.exit if step else None, step.why if step else "no route"))
        if entry is None:
            self._first = step.exit if step else None
        elif forwards and step and step.exit:
            self._crossings.append((node, entry, step.exit))

    def ended(self, fault: str | None, last: str | None = None) -> Path:
        """Return the path as far as it went."""
        return Path(tuple(self.hops), tuple(self._crossings), self._first, last, fault)


@cache
def _bounds(cidr: str) -> tuple[int, int, int, int]:
    """Return version, length, first and last address of a prefix, which many nodes have routes to."""
    prefix = ip_network(cidr)
    return prefix.version, prefix.prefixlen, int(prefix.network_address), int(prefix.broadcast_address)


class _Table:
    """The routes of one node, the longest prefix first, by IP version."""

    def __init__(self, routes: Iterable[Route], gateways: Iterable[str]) -> None:
        self._entries: dict[int, list[tuple[int, int, int, str, str]]] = {4: [], 6: []}
        for route in routes:
            version, length, first, last = _bounds(route.destination)
            why = f"route {route.destination} via {route.next_hop}"
            self._entries[version].append((-length, first, last, route.next_hop, why))
        for gateway in gateways:
            version = 6 if ":" in gateway else 4
            self._entries[version].append((0, 0, (1 << 128) - 1, gateway, f"default gateway {gateway}"))
        for entries in self._entries.values():
            entries.sort()

    def find(self, version: int, address: int) -> tuple[str, str, int] | None:
        """Return next hop, reason and prefix length of the route to an address."""
        for length, low, high, hop, why in self._entries[version]:
            if low <= address <= high:
                return hop, why, -length
        return None


class Paths:
    """The paths of a plan; ``owners`` gives the node (host or router) and the network of each address.

    That of a virtual address is the first of the hosts that share it, its ``sharers``. A loopback address is on a
    network of its own, one of its host's ``loopbacks``.
    """

    def __init__(self, plan: Plan) -> None:
        self.hosts: dict[str, Host] = {host.name: host for host in plan.hosts}
        self.routers: dict[str, Router] = {router.name: router for router in plan.routers}
        self.subnets = {
            (network.name, subnet.version): subnet for network in plan.networks for subnet in network.subnets
        }
        self._bases = {key: int(ip_network(subnet.cidr).network_address) for key, subnet in self.subnets.items()}
        self.owners: dict[str, tuple[str, str]] = {}
        for router in plan.routers:
            for interface in router.interfaces:
                self.owners |= dict.fromkeys(interface.addresses, (router.name, interface.network))
        self.ports: dict[tuple[str, str], Port] = {}  # by host and network
        for host in plan.hosts:
            for port in host.ports:
                self.ports[host.name, port.network] = port
                self.owners |= dict.fromkeys(port.addresses, (host.name, port.network))
        self.loopbacks: dict[str, set[str]] = {host.name: set() for host in plan.hosts}  # as networks
        for host in plan.hosts:
            for address in host.loopback_addresses:
                network = f"{host.name} {address}"  # no network of the plan has a space
                self._bases[network, IPV6 if ":" in address else IPV4] = int(ip_address(address))
                self.owners[address] = (host.name, network)
                self.loopbacks[host.name].add(network)
        self.sharers: dict[str, list[str]] = {}
        for host in plan.hosts:
            for port in host.ports:
                for address in port.virtual_addresses:
                    self.sharers.setdefault(address, []).append(host.name)
                    self.owners.setdefault(address, (host.name, port.network))
        self._tables: dict[str, _Table] = {}
        self._shared: dict[tuple[int, tuple[str, ...], tuple[str, ...]], _Table] = {}
        self._steps: dict[tuple[str, str, int], Step | None] = {}
        self._paths: dict[tuple[str, str, int], Path] = {}

    def address(self, host: str, network: str, version: int) -> str | None:
        """Return the address of a host on a network, by IP version."""
        return next((a for a in self.ports[host, network].addresses if (":" in a) == (version == IPV6)), None)

    def find(self, source: str, network: str, version: int, end: str) -> Path:
        """Follow a packet from host ``source`` to host ``end``'s address on ``network``."""
        # a forwarding host receives what is for it on any interface, so the path depends on which host the end is
        key = (source, f"{network} {end}" if self.hosts[end].forwarding else network, version)
        if key not in self._paths:
            self._paths[key] = self._follow(source, network, version, end)
        path = self._paths[key]
        if path.fault is None and path.hops[-1].node != end:
            hop = path.hops[-1]
            path = path._replace(hops=(*path.hops[:-1], Hop(end, hop.entry, None, "")))
        return path

    def _follow(self, source: str, network: str, version: int, end: str) -> Path:
        walk = _Walk()
        node = source
        entry: str | None = None
        while node not in walk.passed:
            step = self.step(node, network, version)
            walk.add(node, entry, step, forwards=node in self.hosts)
            if fault := self._stuck(node, step, network, version):
                return walk.ended(fault)
            following = self.owners[step.next_hop] if step and step.next_hop else (end, network)
            if following[0] == end:
                walk.hops.append(Hop(end, following[1], None, ""))
                return walk.ended(None, following[1])
            node, entry = following
            if node in self.hosts and not self.hosts[node].forwarding:
                walk.hops.append(Hop(node, entry, None, "does not forward"))
                return walk.ended(f"{node} does not forward")
        return walk.ended(f"a loop: {node} gets the packet a second time")

    def _stuck(self, node: str, step: Step | None, network: str, version: int) -> str | None:
        if step is None:
            return f"{node} has no IPv{version} route to network {network}"
        if step.exit is None:
            return f"{node} sends it to the outside, which has no route to network {network}"
        if step.next_hop is not None and step.next_hop not in self.owners:
            return f"no interface has {step.next_hop}, the next hop of {node}"
        return None

    def step(self, node: str, network: str, version: int) -> Step | None:
        """Return where ``node`` sends what is for ``network``."""
        key = (node, network, version)
        if key not in self._steps:
            self._steps[key] = self._decide(node, network, version)
        return self._steps[key]

    def _decide(self, node: str, network: str, version: int) -> Step | None:
        if (network, version) not in self._bases:
            return None
        if network in self.joined[node] or network in self.loopbacks.get(node, ()):
            return Step(network, None, "connected")
        return self.step_to_address(node, version, self._bases[network, version])

    def step_to_address(self, node: str, version: int, address: int) -> Step | None:
        """Return where ``node`` sends what is for an address, given as a number, that is on no network of its own."""
        found = self.table(node).find(version, address)
        if found is None:
            goes_out = version == IPV4 and node in self.routers and self.routers[node].external
            return Step(None, None, "default route to the outside") if goes_out else None
        next_hop, why, length = found
        owner = self.owners.get(next_hop)
        exits = [owner[1]] if owner and owner[1] in self.joined[node] else self._connected(node, next_hop)
        return Step(exits[0], next_hop, why, length) if exits else None

    @cached_property
    def joined(self) -> dict[str, set[str]]:
        """The networks of each router and host."""
        joined = {router.name: {one.network for one in router.interfaces} for router in self.routers.values()}
        return joined | {host.name: {port.network for port in host.ports} for host in self.hosts.values()}

    def _connected(self, node: str, address: str) -> list[str]:
        version = 6 if ":" in address else 4
        subnets = ((network, self.subnets.get((network, version))) for network in sorted(self.joined[node]))
        return [network for network, subnet in subnets if subnet and ip_address(address) in ip_network(subnet.cidr)]

    def table(self, node: str) -> _Table:
        """Return the routes of a node."""
        if node not in self._tables:
            if node in self.routers:
                self._tables[node] = _Table(self.routers[node].routes, ())
            else:
                host = self.hosts[node]
                networks = tuple(port.network for port in host.ports)
                key = (id(host.routes), networks, host.gateways)
                if key not in self._shared:
                    subnets = [self.subnets.get((network, version)) for network in networks for version in (4, 6)]
                    handed_out = [route for subnet in subnets if subnet for route in subnet.host_routes]
                    self._shared[key] = _Table([*host.routes, *handed_out], host.gateways)
                self._tables[node] = self._shared[key]
        return self._tables[node]
