"""What reaches what, on which port, by which path, and why (not): the plan's reachability matrix.

Pure: derived from the plan alone. A packet and its reply each follow a path (``paths``), from the address of the
interface that they are sent from; at each port they pass its port security and its security groups (``filters``), which
are stateful, so a packet and its reply must pass the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from netorder.analysis.filters import Filters, may_pass
from netorder.analysis.paths import OUTSIDE_IPV4, Hop, Paths
from netorder.ip import url_host
from netorder.topology import LAST_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netorder.analysis.paths import Path
    from netorder.plan.model import Plan, Rule

__all__ = ["LAST_PORT", "OUTSIDE", "UNUSED_PORT", "Hop", "Matrix", "Verdict"]

OUTSIDE = "outside"
OPEN, CLOSED, NO_ROUTE = "open", "closed", "no route"
UNUSED_PORT = 9  # discard: no service here listens on it and no topology has a reason to open it
SSH = 22


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ``state`` (open, closed or no route), the ``reason`` in words, and the paths there and back."""

    state: str
    reason: str
    source_address: str | None
    address: str | None
    there: tuple[Hop, ...]
    back: tuple[Hop, ...]


class Matrix:
    """The reachability matrix of a plan.

    A source is a host's name, ``outside`` (an IPv4 address that no rule names) or an address outside the topology.
    A destination is a host's name (that of its addresses which the source reaches, IPv4 first), one of its addresses,
    or ``outside``. A protocol is tcp, udp or icmp; the latter means ICMPv6 where the address is IPv6.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._paths = Paths(plan)
        self.hosts = self._paths.hosts
        self._filters = Filters(plan)
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
        return not any(address in ip_network(subnet.cidr) for subnet in self._paths.subnets.values())

    def is_destination(self, end: str) -> bool:
        """Return whether ``end`` can be the destination of :meth:`explain`."""
        return end in self.hosts or end == OUTSIDE or self._paths.owners.get(end, ("", ""))[0] in self.hosts

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
        host = self._host(destination)
        found: set[tuple[str, int]] = {("tcp", SSH), ("tcp", UNUSED_PORT), ("udp", UNUSED_PORT)}
        for rule in self._filters.rules(host, "ingress"):
            if rule.protocol in ("tcp", "udp"):
                first, last = rule.port_min or 1, rule.port_max or LAST_PORT
                near = (first - 1, first, last, last + 1)
                found |= {(rule.protocol, port) for port in near if 1 <= port <= LAST_PORT}
        return [*sorted(found), ("icmp", None)]

    def ranges(self, destination: str) -> list[tuple[str, int | None, int | None]]:
        """Return what the rules of a host allow from any source: protocol (icmp stands for ipv6-icmp too), ports.

        The host is given by its name or one of its addresses.
        """
        found = {
            ("icmp", None, None)
            if rule.protocol in ("icmp", "ipv6-icmp")
            else (rule.protocol or "tcp", rule.port_min or 1, rule.port_max or LAST_PORT)
            for rule in self._filters.rules(self._host(destination), "ingress")
        }
        return sorted(found, key=lambda one: (one[0], one[1] or 0, one[2] or 0))

    def sources(self, host: str, protocol: str, port: int) -> tuple[str, ...]:
        """List the prefixes from which IPv4 rules allow ``port``, each once, in the order of the rules."""
        found = [
            rule.remote_cidr or "0.0.0.0/0"
            for rule in self._filters.rules(host, "ingress")
            if rule.ethertype == "IPv4"
            and rule.protocol in (None, protocol)
            and (rule.port_min is None or rule.port_min <= port <= (rule.port_max or 0))
        ]
        return tuple(dict.fromkeys(found))

    def _host(self, destination: str) -> str:
        return destination if destination in self.hosts else self._paths.owners[destination][0]

    def verdict(self, source: str, destination: str, protocol: str, port: int | None = None) -> str:
        """Return ``open``, ``closed`` or ``no route``."""
        return self.explain(source, destination, protocol, port).state

    # Verdicts

    def explain(self, source: str, destination: str, protocol: str, port: int | None = None) -> Verdict:
        """Return what becomes of a connection and why.

        Raises KeyError for a host that the plan does not have, ValueError for a source that is neither that nor an
        address, or where both ends are outside.
        """
        if destination == OUTSIDE:
            if source not in self.hosts:
                raise ValueError(f"{source} and {destination} are both outside")
            return self._to_outside(source, protocol, port)
        if destination not in self.hosts and destination not in self._paths.owners:
            raise KeyError(destination)
        if source not in self.hosts:
            return self._from_outside(source, destination, protocol, port)
        host = self._host(destination)
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
        host, network = self._paths.owners[address]
        version = 6 if ":" in address else 4
        there = self._paths.find(source, network, version, host)
        own = self._paths.address(source, there.first, version) if there.first else None
        if there.fault or own is None or there.first is None:
            return Verdict(
                NO_ROUTE, there.fault or f"{source} has no IPv{version} address", own, address, there.hops, ()
            )
        back = self._paths.find(host, there.first, version, source)
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
        checks = self._checks(there, source, host, own, address)
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
            near = {a for a in able if self._on_the_same_subnet(source, a)}
            ordered = sorted(able, key=lambda a: (":" in a, a not in near))
            works = (a for a in ordered if self._between(source, a, "tcp", UNUSED_PORT).state != NO_ROUTE)
            self._chosen[key] = next(works, ordered[0] if ordered else None)
        return self._chosen[key]

    def _on_the_same_subnet(self, host: str, address: str) -> bool:
        network = self._paths.owners[address][1]
        if (host, network) not in self._paths.ports:
            return False
        return self._paths.address(host, network, 6 if ":" in address else 4) is not None

    def _spoofed(self, there: Path, own: str, address: str, host: str) -> str | None:
        """Return which port drops the packet or its reply as one from or to another host's address."""
        ports = self._paths.ports
        for forwarder, entry, exit_ in there.crossings:
            if not (may_pass(ports[forwarder, entry], address) and may_pass(ports[forwarder, exit_], own)):
                return f"{forwarder}'s port security drops it"
        if there.last and not may_pass(ports[host, there.last], address):
            return f"{host}'s interface on {there.last} does not receive packets for {address}"
        return None

    def _checks(self, there: Path, source: str, host: str, own: str, address: str) -> Iterator[tuple[str, str, str]]:
        """Yield whose security groups see the packet, in which direction, with which remote address."""
        yield source, "egress", address
        for forwarder, _, _ in there.crossings:
            yield forwarder, "ingress", own
            yield forwarder, "egress", address
        yield host, "ingress", own

    def _filtered(self, checks: Iterable[tuple[str, str, str]], protocol: str, port: int | None) -> tuple[str, str]:
        rule = None
        for node, direction, remote in checks:
            rule = self._filters.first(node, direction, protocol, port, remote)
            if rule is None:
                what = protocol if port is None else f"{protocol} {port}"
                end = "to" if direction == "egress" else "from"
                return CLOSED, f"no rule of {node} allows {what} {end} {remote}"
        return OPEN, _words(rule) if rule else ""

    # The outside

    def _from_outside(self, source: str, destination: str, protocol: str, port: int | None) -> Verdict:
        remote = None if source == OUTSIDE else str(ip_address(source))
        name = self._host(destination)
        host = self.hosts[name]
        address = next((a for a in host.ports[0].addresses if ":" not in a), None)
        network = host.ports[0].network
        subnet = self._paths.subnets.get((network, 4))
        gateway = self._paths.owners.get((subnet and subnet.gateway_ip) or "")
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
        table = self._paths.table(name)
        found = table.find(4, int(ip_address(remote)) if remote else OUTSIDE_IPV4)
        if found is None or self._paths.owners.get(found[0]) != gateway:
            why = f"{name} does not reply through {router}, which has its floating address"
            return Verdict(NO_ROUTE, why, remote, address, there, ())
        back = (
            Hop(name, None, network, found[1]),
            Hop(router, network, OUTSIDE, "translates back"),
            Hop(OUTSIDE, None, None, ""),
        )
        rule = self._filters.first(name, "ingress", protocol, port, remote)
        if rule is None:
            what = protocol if port is None else f"{protocol} {port}"
            why = f"no rule of {name} allows {what} from {remote or 'anywhere'}"
            return Verdict(CLOSED, why, remote, address, there, back)
        return Verdict(OPEN, _words(rule), remote, address, there, back)

    def _to_outside(self, source: str, protocol: str, port: int | None) -> Verdict:
        step = self._paths.step(source, None, 4)
        if step is None or step.next_hop is None or step.exit is None:
            return Verdict(
                NO_ROUTE, f"{source} has no default gateway", None, None, (Hop(source, None, None, "no route"),), ()
            )
        own = self._paths.address(source, step.exit, 4)
        hops = [Hop(source, None, step.exit, step.why)]
        router = self._paths.owners[step.next_hop][0]
        if not self._paths.routers[router].external:
            hops.append(Hop(router, step.exit, None, "no route"))
            return Verdict(NO_ROUTE, f"{router} does not join the outside", own, None, tuple(hops), ())
        hops += [
            Hop(router, step.exit, OUTSIDE, "translates the source address"),
            Hop(OUTSIDE, None, None, ""),
        ]
        if self._filters.first(source, "egress", protocol, port, None) is None:
            return Verdict(CLOSED, f"no rule of {source} allows it", own, None, tuple(hops), ())
        back = (
            Hop(OUTSIDE, None, None, "replies"),
            Hop(router, OUTSIDE, step.exit, "translates back"),
            Hop(source, step.exit, None, ""),
        )
        return Verdict(OPEN, "all egress is allowed", own, None, tuple(hops), back)


def _words(rule: Rule) -> str:
    """Return what a rule allows: ``rule: tcp 80 from 10.0.1.0/24``."""
    end = "from" if rule.direction == "ingress" else "to"
    return f"rule: {rule.match} {end} {rule.remote_cidr or 'anywhere'}"
