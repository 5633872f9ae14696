"""What reaches what, on which port, by which path, and why (not): the plan's reachability matrix.

Pure: derived from the plan alone. A packet is followed hop by hop through host routes, gateways and routers, there and
back, as the kernel and Neutron would send it: the source address is that of the interface it is sent from; port
security passes only a port's own addresses and its allowed address pairs; security groups are stateful at each port, so
a packet and its reply must pass the same ones. All addresses within one prefix of the topology are on the same path, so
paths are found once for each pair of host and network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from netorder.ip import IPV4, IPV6, url_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netorder.plan.model import Host, Plan, Port, Route, Router, Rule

__all__ = ["LAST_PORT", "OUTSIDE", "UNUSED_PORT", "Hop", "Matrix", "Verdict"]

OUTSIDE = "outside"
OPEN, CLOSED, NO_ROUTE = "open", "closed", "no route"
UNUSED_PORT = 9  # discard: no service here listens on it and no topology has a reason to open it
SSH = 22
LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Hop:
    """A host, router or the outside on a path; what comes in from network ``entry`` goes out to ``exit``, and why."""

    node: str
    entry: str | None
    exit: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ``state`` (open, closed or no route), the ``reason`` in words, and the paths there and back."""

    state: str
    reason: str
    source_address: str | None
    address: str | None
    there: tuple[Hop, ...]
    back: tuple[Hop, ...]


class _Step(NamedTuple):
    """Where a node sends a packet: out to network ``exit`` (None: to the outside), to ``next_hop`` or to its end."""

    exit: str | None
    next_hop: str | None
    why: str


class _Path(NamedTuple):
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

    def add(self, node: str, entry: str | None, step: _Step | None, *, forwards: bool) -> None:
        """Add what ``node`` does with a packet from network ``entry`` (None: its own); a host ``forwards`` others'."""
        self.passed.add(node)
        self.hops.append(Hop(node, entry, step.exit if step else None, step.why if step else "no route"))
        if entry is None:
            self._first = step.exit if step else None
        elif forwards and step and step.exit:
            self._crossings.append((node, entry, step.exit))

    def ended(self, fault: str | None, last: str | None = None) -> _Path:
        """Return the path as far as it went."""
        return _Path(tuple(self.hops), tuple(self._crossings), self._first, last, fault)


class _Table:
    """The routes of one node, the longest prefix first, by IP version."""

    def __init__(self, routes: Iterable[Route], gateways: Iterable[str]) -> None:
        self._entries: dict[int, list[tuple[int, int, int, str, str]]] = {4: [], 6: []}
        for route in routes:
            prefix = ip_network(route.destination)
            first, last = int(prefix.network_address), int(prefix.broadcast_address)
            why = f"route {route.destination} via {route.next_hop}"
            self._entries[prefix.version].append((-prefix.prefixlen, first, last, route.next_hop, why))
        for gateway in gateways:
            version = 6 if ":" in gateway else 4
            self._entries[version].append((0, 0, (1 << 128) - 1, gateway, f"default gateway {gateway}"))
        for entries in self._entries.values():
            entries.sort()

    def find(self, version: int, first: int) -> tuple[str, str] | None:
        """Return next hop and reason for an address."""
        return next(((hop, why) for _, low, high, hop, why in self._entries[version] if low <= first <= high), None)


class Matrix:
    """The reachability matrix of a plan.

    A source is a host's name, ``outside`` (an IPv4 address that no rule names) or an address outside the topology.
    A destination is a host's name (that of its addresses which the source reaches, IPv4 first), one of its addresses,
    or ``outside``. A protocol is tcp, udp or icmp; the latter means ICMPv6 where the address is IPv6.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hosts: dict[str, Host] = {host.name: host for host in plan.hosts}
        self._routers: dict[str, Router] = {router.name: router for router in plan.routers}
        self._subnets = {
            (network.name, subnet.version): subnet for network in plan.networks for subnet in network.subnets
        }
        self._bases = {key: int(ip_network(subnet.cidr).network_address) for key, subnet in self._subnets.items()}
        self._owners: dict[str, tuple[str, str]] = {}  # address -> its node and network
        for router in plan.routers:
            for interface in router.interfaces:
                self._owners |= dict.fromkeys(interface.addresses, (router.name, interface.network))
        self._ports: dict[tuple[str, str], Port] = {}
        for host in plan.hosts:
            for port in host.ports:
                self._ports[host.name, port.network] = port
                self._owners |= dict.fromkeys(port.addresses, (host.name, port.network))
        self._tables: dict[str, _Table] = {}
        self._shared: dict[tuple[int, tuple[str, ...], tuple[str, ...]], _Table] = {}
        self._steps: dict[tuple[str, str | None, int], _Step | None] = {}
        self._paths: dict[tuple[str, str, int], _Path] = {}
        self._chosen: dict[tuple[str, str], str | None] = {}

    # Sources, destinations, ports

    def is_source(self, end: str) -> bool:
        """Return whether ``end`` can be the source of :meth:`explain`."""
        if end in self.hosts or end == OUTSIDE:
            return True
        try:
            address = ip_address(end)
        except ValueError:
            return False
        return not any(address in ip_network(subnet.cidr) for subnet in self._subnets.values())

    def is_destination(self, end: str) -> bool:
        """Return whether ``end`` can be the destination of :meth:`explain`."""
        return end in self.hosts or end == OUTSIDE or self._owners.get(end, ("", ""))[0] in self.hosts

    @cached_property
    def called(self) -> frozenset[str]:
        """The addresses at which services call other services."""
        services = (host.service for host in self.plan.hosts if host.service)
        return frozenset(url_host(url) for service in services for url in service.calls)

    def destinations(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a host."""
        return self.hosts[host].addresses

    def ports(self, destination: str) -> list[tuple[str, int | None]]:
        """Return the (protocol, port) pairs worth probing at a host or address.

        These are the ends of its rules' ranges and their neighbours, SSH, an unused port, and ICMP.
        """
        host = destination if destination in self.hosts else self._owners[destination][0]
        found: set[tuple[str, int]] = {("tcp", SSH), ("tcp", UNUSED_PORT), ("udp", UNUSED_PORT)}
        for rule in self._rules(host, "ingress"):
            if rule.port_min is not None and rule.port_max is not None and rule.protocol:
                near = (rule.port_min - 1, rule.port_min, rule.port_max, rule.port_max + 1)
                found |= {(rule.protocol, port) for port in near if 1 <= port <= LAST_PORT}
        return [*sorted(found), ("icmp", None)]

    def ranges(self, host: str) -> list[tuple[str, int | None, int | None]]:
        """Return what the rules of a host allow from any source: protocol (icmp stands for ipv6-icmp too), ports."""
        found = {
            ("icmp" if rule.protocol == "ipv6-icmp" else rule.protocol or "tcp", rule.port_min, rule.port_max)
            for rule in self._rules(host, "ingress")
        }
        return sorted(found, key=lambda one: (one[0], one[1] or 0, one[2] or 0))

    def sources(self, host: str, protocol: str, port: int) -> tuple[str, ...]:
        """List the prefixes from which IPv4 rules allow ``port``, each once, in the order of the rules."""
        found = [
            rule.remote_cidr or "0.0.0.0/0"
            for rule in self._rules(host, "ingress")
            if rule.ethertype == "IPv4"
            and rule.protocol in (None, protocol)
            and (rule.port_min is None or rule.port_min <= port <= (rule.port_max or 0))
        ]
        return tuple(dict.fromkeys(found))

    def verdict(self, source: str, destination: str, protocol: str, port: int | None = None) -> str:
        """Return ``open``, ``closed`` or ``no route``."""
        return self.explain(source, destination, protocol, port).state

    # Verdicts

    def explain(self, source: str, destination: str, protocol: str, port: int | None = None) -> Verdict:
        """Return what becomes of a connection and why.

        Raises KeyError for a host that the plan does not have, ValueError for a source that is neither that nor an
        address.
        """
        if destination == OUTSIDE:
            return self._to_outside(source, protocol, port)
        if destination not in self.hosts and destination not in self._owners:
            raise KeyError(destination)
        if source not in self.hosts:
            return self._from_outside(source, destination, protocol, port)
        host = destination if destination in self.hosts else self._owners[destination][0]
        if host not in self.hosts:
            raise KeyError(destination)
        if host == source:
            own = self.destinations(host)[0] if destination in self.hosts else destination
            return Verdict(OPEN, "a host always reaches itself", own, own, (), ())
        address = self._choose(source, host) if destination in self.hosts else destination
        if address is None:
            return Verdict(NO_ROUTE, f"{source} and {host} have no IP version in common", None, None, (), ())
        return self._between(source, address, protocol, port)

    def _between(self, source: str, address: str, protocol: str, port: int | None) -> Verdict:
        host, network = self._owners[address]
        version = 6 if ":" in address else 4
        there = self._path(source, network, version, host)
        own = self._address(source, there.first, version) if there.first else None
        if there.fault or own is None or there.first is None:
            return Verdict(
                NO_ROUTE, there.fault or f"{source} has no IPv{version} address", own, address, there.hops, ()
            )
        back = self._path(host, there.first, version, source)
        fault = back.fault and f"there is no path back: {back.fault}"
        if not fault and back.first != there.last:
            fault = f"{host} replies from its interface on {back.first}, not the one on {there.last} that was addressed"
        if not fault and back.last != there.first:
            fault = f"the reply arrives at {source}'s interface on {back.last}, the packet was sent from {there.first}"
        if not fault and back.crossings != tuple((one, out, into) for one, into, out in reversed(there.crossings)):
            fault = "the reply does not come back through the same forwarding hosts"
        fault = fault or self._spoofed(there, own, address, host)
        if fault:
            return Verdict(NO_ROUTE, fault, own, address, there.hops, back.hops)
        checks = self._filters(there, source, host, own, address)
        state, reason = self._filtered(checks, protocol, port)
        return Verdict(state, reason, own, address, there.hops, back.hops)

    def _choose(self, source: str, host: str) -> str | None:
        """Return the address at which ``source`` reaches ``host``: on a common network, else the first that works."""
        key = (source, host)
        if key not in self._chosen:
            able = [
                address
                for address in self.destinations(host)
                if any((":" in one) == (":" in address) for one in self.destinations(source))
            ]
            near = [a for a in able if (source, self._owners[a][1]) in self._ports and self._address_on(source, a)]
            ordered = sorted([*near, *(a for a in able if a not in near)], key=lambda a: (":" in a, a not in near))
            works = (a for a in ordered if self._between(source, a, "tcp", UNUSED_PORT).state != NO_ROUTE)
            self._chosen[key] = next(works, ordered[0] if ordered else None)
        return self._chosen[key]

    def _address_on(self, host: str, other: str) -> str | None:
        return self._address(host, self._owners[other][1], 6 if ":" in other else 4)

    def _address(self, host: str, network: str, version: int) -> str | None:
        return next((a for a in self._ports[host, network].addresses if (":" in a) == (version == IPV6)), None)

    # Paths

    def _path(self, source: str, network: str, version: int, end: str) -> _Path:
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

    def _follow(self, source: str, network: str, version: int, end: str) -> _Path:
        walk = _Walk()
        node = source
        entry: str | None = None
        while node not in walk.passed:
            step = self._step(node, network, version)
            walk.add(node, entry, step, forwards=node in self.hosts)
            if fault := self._stuck(node, step, network, version):
                return walk.ended(fault)
            following = self._owners[step.next_hop] if step and step.next_hop else (end, network)
            if following[0] == end:
                walk.hops.append(Hop(end, following[1], None, ""))
                return walk.ended(None, following[1])
            node, entry = following
            if node in self.hosts and not self.hosts[node].forwarding:
                walk.hops.append(Hop(node, entry, None, "does not forward"))
                return walk.ended(f"{node} does not forward")
        return walk.ended(f"a loop: {node} gets the packet a second time")

    def _stuck(self, node: str, step: _Step | None, network: str, version: int) -> str | None:
        if step is None:
            return f"{node} has no IPv{version} route to network {network}"
        if step.exit is None:
            return f"{node} sends it to the outside, which has no route to network {network}"
        if step.next_hop is not None and step.next_hop not in self._owners:
            return f"no interface has {step.next_hop}, the next hop of {node}"
        return None

    def _step(self, node: str, network: str | None, version: int) -> _Step | None:
        """Return where ``node`` sends what is for ``network`` (None: for the outside)."""
        key = (node, network, version)
        if key not in self._steps:
            self._steps[key] = self._decide(node, network, version)
        return self._steps[key]

    def _decide(self, node: str, network: str | None, version: int) -> _Step | None:
        if network is not None:
            if network in self._joined[node] and (network, version) in self._subnets:
                return _Step(network, None, "connected")
            if (network, version) not in self._subnets:
                return None
            target = self._bases[network, version]
        else:
            target = (1 << 32) - 2  # no route but a default one leads to it
        found = self._table(node).find(version, target)
        if found is None:
            goes_out = version == IPV4 and node in self._routers and self._routers[node].external
            return _Step(None, None, "default route to the outside") if goes_out else None
        next_hop, why = found
        owner = self._owners.get(next_hop)
        exits = [owner[1]] if owner and owner[1] in self._joined[node] else self._connected(node, next_hop)
        return _Step(exits[0], next_hop, why) if exits else None

    @cached_property
    def _joined(self) -> dict[str, set[str]]:
        joined = {router.name: {one.network for one in router.interfaces} for router in self.plan.routers}
        return joined | {host.name: {port.network for port in host.ports} for host in self.plan.hosts}

    def _connected(self, node: str, address: str) -> list[str]:
        version = 6 if ":" in address else 4
        subnets = ((network, self._subnets.get((network, version))) for network in sorted(self._joined[node]))
        return [network for network, subnet in subnets if subnet and ip_address(address) in ip_network(subnet.cidr)]

    def _table(self, node: str) -> _Table:
        if node not in self._tables:
            if node in self._routers:
                self._tables[node] = _Table(self._routers[node].routes, ())
            else:
                host = self.hosts[node]
                networks = tuple(port.network for port in host.ports)
                key = (id(host.routes), networks, host.gateways)
                if key not in self._shared:
                    subnets = [self._subnets.get((network, version)) for network in networks for version in (4, 6)]
                    handed_out = [route for subnet in subnets if subnet for route in subnet.host_routes]
                    self._shared[key] = _Table([*host.routes, *handed_out], host.gateways)
                self._tables[node] = self._shared[key]
        return self._tables[node]

    # Filters

    def _spoofed(self, there: _Path, own: str, address: str, host: str) -> str | None:
        """Return which port drops the packet or its reply as one from or to another host's address."""
        for forwarder, entry, exit_ in there.crossings:
            if not (self._may_pass(forwarder, entry, address) and self._may_pass(forwarder, exit_, own)):
                return f"{forwarder}'s port security drops it"
        if there.last and not self._may_pass(host, there.last, address):
            return f"{host}'s interface on {there.last} does not receive packets for {address}"
        return None

    def _may_pass(self, host: str, network: str, address: str) -> bool:
        port = self._ports[host, network]
        return address in port.addresses or any(
            low <= int(ip_address(address)) <= high
            for version, low, high in self._pairs(port)
            if (version == IPV6) == (":" in address)
        )

    def _pairs(self, port: Port) -> Iterator[tuple[int, int, int]]:
        for pair in port.allowed_address_pairs:
            prefix = ip_network(pair)
            yield prefix.version, int(prefix.network_address), int(prefix.broadcast_address)

    def _filters(self, there: _Path, source: str, host: str, own: str, address: str) -> Iterator[tuple[str, str, str]]:
        """Yield whose security group sees the packet, in which direction, with which remote address."""
        yield source, "egress", address
        for forwarder, _, _ in there.crossings:
            yield forwarder, "ingress", own
            yield forwarder, "egress", address
        yield host, "ingress", own

    def _filtered(self, checks: Iterable[tuple[str, str, str]], protocol: str, port: int | None) -> tuple[str, str]:
        rule = None
        for node, direction, remote in checks:
            rule = self._rule(node, direction, protocol, port, remote)
            if rule is None:
                what = protocol if port is None else f"{protocol} {port}"
                end = "to" if direction == "egress" else "from"
                return CLOSED, f"no rule of {node} allows {what} {end} {remote}"
        return OPEN, _words(rule) if rule else ""

    def _rules(self, host: str, direction: str) -> list[Rule]:
        return self._by_host[host][direction]

    @cached_property
    def _by_host(self) -> dict[str, dict[str, list[Rule]]]:
        groups = {group.name: group for group in self.plan.security_groups}
        found: dict[str, dict[str, list[Rule]]] = {}
        for host in self.plan.hosts:
            rules = [rule for name in dict.fromkeys(host.ports[0].security_groups) for rule in groups[name].rules]
            found[host.name] = {
                direction: [rule for rule in rules if rule.direction == direction]
                for direction in ("ingress", "egress")
            }
        return found

    def _rule(self, host: str, direction: str, protocol: str, port: int | None, remote: str | None) -> Rule | None:
        """Return the first rule that allows it; ``remote`` None is an IPv4 address that no rule names."""
        version = 6 if remote and ":" in remote else 4
        name = "ipv6-icmp" if protocol == "icmp" and version == IPV6 else protocol
        number = int(ip_address(remote)) if remote else None
        for rule in self._rules(host, direction):
            if rule.ethertype != f"IPv{version}" or rule.protocol not in (None, name):
                continue
            if port is not None and rule.port_min is not None and not rule.port_min <= port <= (rule.port_max or 0):
                continue
            if rule.remote_cidr is None:
                return rule
            low, high = self._range(rule.remote_cidr)
            if number is not None and low <= number <= high:
                return rule
        return None

    def _range(self, cidr: str) -> tuple[int, int]:
        if cidr not in self._ranges:
            prefix = ip_network(cidr)
            self._ranges[cidr] = int(prefix.network_address), int(prefix.broadcast_address)
        return self._ranges[cidr]

    @cached_property
    def _ranges(self) -> dict[str, tuple[int, int]]:
        return {}

    # The outside

    def _from_outside(self, source: str, destination: str, protocol: str, port: int | None) -> Verdict:
        remote = None if source == OUTSIDE else str(ip_address(source))
        name = destination if destination in self.hosts else self._owners[destination][0]
        host = self.hosts[name]
        address = next((a for a in host.ports[0].addresses if ":" not in a), None)
        network = host.ports[0].network
        subnet = self._subnets.get((network, 4))
        gateway = self._owners.get((subnet and subnet.gateway_ip) or "")
        fault = None
        if remote and ":" in remote:
            fault = "nothing comes in from outside by IPv6"
        elif not host.floating_ip or address is None or gateway is None:
            fault = f"{name} has no floating address"
        elif destination not in (name, address):
            fault = f"{name}'s floating address is that of {address}"
        if fault or gateway is None:
            return Verdict(NO_ROUTE, fault or "", remote, address, (), ())
        router = gateway[0]
        there = (
            Hop(OUTSIDE, None, None, f"floating address of {name}"),
            Hop(router, OUTSIDE, network, f"translates the floating address to {address}"),
            Hop(name, network, None, ""),
        )
        table = self._table(name)
        found = table.find(4, int(ip_address(remote)) if remote else (1 << 32) - 2)
        if found is None or self._owners.get(found[0]) != gateway:
            why = f"{name} does not reply through {router}, which has its floating address"
            return Verdict(NO_ROUTE, why, remote, address, there, ())
        back = (
            Hop(name, None, network, found[1]),
            Hop(router, network, OUTSIDE, "translates back"),
            Hop(OUTSIDE, None, None, ""),
        )
        rule = self._rule(name, "ingress", protocol, port, remote)
        if rule is None:
            what = protocol if port is None else f"{protocol} {port}"
            why = f"no rule of {name} allows {what} from {remote or 'anywhere'}"
            return Verdict(CLOSED, why, remote, address, there, back)
        return Verdict(OPEN, _words(rule), remote, address, there, back)

    def _to_outside(self, source: str, protocol: str, port: int | None) -> Verdict:
        step = self._step(source, None, 4)
        if step is None or step.next_hop is None or step.exit is None:
            return Verdict(
                NO_ROUTE, f"{source} has no default gateway", None, None, (Hop(source, None, None, "no route"),), ()
            )
        own = self._address(source, step.exit, 4)
        hops = [Hop(source, None, step.exit, step.why)]
        router = self._owners[step.next_hop][0]
        if not self._routers[router].external:
            hops.append(Hop(router, step.exit, None, "no route"))
            return Verdict(NO_ROUTE, f"{router} does not join the outside", own, None, tuple(hops), ())
        hops += [
            Hop(router, step.exit, OUTSIDE, "translates the source address"),
            Hop(OUTSIDE, None, None, ""),
        ]
        if self._rule(source, "egress", protocol, port, None) is None:
            return Verdict(CLOSED, f"no rule of {source} allows it", own, None, tuple(hops), ())
        back = (
            Hop(OUTSIDE, None, None, "replies"),
            Hop(router, OUTSIDE, step.exit, "translates back"),
            Hop(source, step.exit, None, ""),
        )
        return Verdict(OPEN, "all egress is allowed", own, None, tuple(hops), back)


def _words(rule: Rule) -> str:
    """Return what a rule allows: ``rule: tcp 80 from 10.0.1.0/24``."""
    if rule.port_min is None:
        ports = ""
    elif rule.port_min == rule.port_max:
        ports = f" {rule.port_min}"
    else:
        ports = f" {rule.port_min}-{rule.port_max}"
    end = "from" if rule.direction == "ingress" else "to"
    return f"rule: {rule.protocol or 'anything'}{ports} {end} {rule.remote_cidr or 'anywhere'}"
