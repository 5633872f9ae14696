"""What reaches what, on which port, by which path, and why (not): the plan's reachability matrix.

Pure: derived from the plan alone. A packet and its reply each follow a path (``paths``), from the address of the
interface that they are sent from; at each port they pass its port security and its security groups (``filters``), which
are stateful, so a packet and its reply must pass the same ones.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from netorder.analysis.filters import Filters, both, may_pass, ports_of
from netorder.analysis.outside import Outside
from netorder.analysis.paths import Hop, Paths
from netorder.analysis.verdict import CLOSED, NO_ROUTE, OPEN, OUTSIDE, Verdict, flow_text, others_allow, rule_text
from netorder.ip import IPV6, covers
from netorder.plan.security_groups import SERVICES
from netorder.protocols import WITH_PORTS
from netorder.topology import LAST_PORT, SSH

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from netorder.analysis.filters import Ports
    from netorder.analysis.paths import Path
    from netorder.ip import Prefix
    from netorder.plan.model import Plan

__all__ = ["LAST_PORT", "OUTSIDE", "UNUSED_PORT", "Hop", "Matrix", "Verdict", "first_address"]

UNUSED_PORT = 9  # discard: no service here listens on it and no topology has a reason to open it
WORLD = "0.0.0.0/0"


class _Routed(NamedTuple):
    """The way of packets to ``host`` from an ``own`` address of the source, and back; by whom they are filtered.

    ``checks`` are (host, direction, remote address).
    """

    host: str
    own: str
    there: tuple[Hop, ...]
    back: tuple[Hop, ...]
    checks: tuple[tuple[str, str, str], ...]


class Matrix:
    """The reachability matrix of a plan.

    A source or destination is a host's name, one of its addresses, ``outside`` (an IPv4 address that no rule and no
    route names) or an address outside the topology; not both are outside. A host's name as destination means that of
    its addresses which the source reaches, IPv4 first. A protocol is a word of netorder.protocols: ``icmp`` is all of
    ICMP, or of ICMPv6 where the address is IPv6, ``ping`` an echo request. A virtual address is any one host's of those
    that share it: open is what is open wherever it is.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._paths = Paths(plan)
        self.hosts = self._paths.hosts
        self._filters = Filters(plan)
        self._outside = Outside(self._paths, self._filters)
        self._chosen: dict[tuple[str, str, bool, bool], str | None] = {}
        self._last: tuple[tuple[str, str, str | None, str | None], _Routed | Verdict] | None = None

    # Sources, destinations, ports

    def is_end(self, end: str) -> bool:
        """Return whether ``end`` can be the source or the destination of :meth:`explain`."""
        return self.host_of(end) is not None or self.is_outside(end)

    def is_outside(self, end: str) -> bool:
        """Return whether ``end`` is ``outside`` or an address outside the topology."""
        if end in self.hosts or end == OUTSIDE:
            return end == OUTSIDE
        try:
            address = ip_address(end)
        except ValueError:
            return False
        return not any(address in prefix for prefix in self._inside if prefix.version == address.version)

    def host_of(self, end: str) -> str | None:
        """Return the host that a name or an address is of, if it is of one."""
        name = end if end in self.hosts else self._paths.owners.get(end, ("", ""))[0]
        return name if name in self.hosts else None

    def node_of(self, address: str) -> str | None:
        """Return the host or router that an address is of."""
        return self._paths.owners.get(address, (None, ""))[0]

    @cached_property
    def _inside(self) -> tuple[Prefix, ...]:
        """The topology's own prefixes, neighbours joined."""
        return tuple(self.plan.own)

    @cached_property
    def called(self) -> frozenset[str]:
        """The addresses at which applications call others."""
        applications = (one for host in self.plan.hosts for one in host.applications)
        return frozenset(endpoint.address for one in applications for endpoint in one.endpoints)

    def destinations(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a host."""
        return self.hosts[host].addresses

    def ports(self, destination: str) -> list[tuple[str, int | None]]:
        """Return the (protocol, port) pairs worth probing at a host or address.

        These are the ends of its rules' ranges and their neighbours, SSH, an unused port, ICMP, and what else is named.
        """
        host = self._host(destination)
        found: set[tuple[str, int]] = {("tcp", SSH), ("tcp", UNUSED_PORT), ("udp", UNUSED_PORT)}
        others = {"icmp"}
        for rule in self._filters.rules(host, "ingress"):
            if rule.word in WITH_PORTS:
                first, last = rule.port_min or 1, rule.port_max or LAST_PORT
                near = (first - 1, first, last, last + 1)
                found |= {(rule.word, port) for port in near if 1 <= port <= LAST_PORT}
            else:
                others.add(rule.word)
        return [*sorted(found), *((word, None) for word in sorted(others))]

    def ranges(self, destination: str, source: str | None = None) -> list[Ports]:
        """Return what the rules of a host allow from any source: protocol (icmp stands for ICMPv6 too), ports.

        Of that, where a ``source`` inside is given, what they allow from one of its addresses, and its own rules let it
        send to anybody. Hosts are given by their names or one of their addresses.
        """
        host, sender = self._host(destination), self.host_of(source) if source else None
        if sender is None:
            found = self._filters.ports(host, "ingress")
        else:
            its = {*self.destinations(sender), *([source] if source and source != sender else [])}
            found = both(self._filters.ports_from(host, its), self._filters.ports(sender, "egress"))
        return sorted(found, key=lambda one: (one[0], one[1] or 0, one[2] or 0))

    def members(self, host: str, protocol: str, port: int | None) -> tuple[str, ...]:
        """List the security groups that are not the topology's whose members a host lets in, wherever they are."""
        return self._filters.members(host, "ingress", protocol, port)

    def limits(self, host: str) -> list[tuple[Ports, str | None]]:
        """List what a limited host may send: what, and to which prefix outside, None is anywhere; else nothing."""
        group = next((one for one in self.plan.security_groups if one.name == self.hosts[host].group), None)
        rules = self._filters.rules(host, "egress") if group and group.is_limited else []
        inside = {rule for rule in rules if rule.remote_cidr and self._is_inside(rule.remote_cidr)}
        outside = [rule for rule in rules if rule not in inside and rule.remote_cidr not in SERVICES]
        return list(dict.fromkeys((ports_of(rule), rule.remote_cidr) for rule in outside))

    def outside_targets(self, source: str, protocol: str, port: int | None) -> tuple[str, ...]:
        """List the prefixes outside the topology, the whole world not among them, to which a connection is open."""
        host = self._host(source)
        return tuple(
            dict.fromkeys(
                prefix
                for _, prefix in self.limits(host)
                if prefix and self.explain(host, first_address(prefix), protocol, port).state == OPEN
            )
        )

    def sources(self, host: str, protocol: str, port: int | None) -> tuple[str, ...]:
        """List the prefixes from which IPv4 rules allow ``port``, each once, in the order of the rules."""
        return tuple(dict.fromkeys(one or WORLD for one in self._filters.remotes(host, protocol, port)))

    def outside_sources(self, destination: str, protocol: str, port: int | None) -> tuple[str, ...]:
        """List the prefixes outside the topology, the whole world not among them, from which a connection is open."""
        host = self._host(destination)
        found = [
            prefix for prefix in self.sources(host, protocol, port) if prefix != WORLD and not self._is_inside(prefix)
        ]
        return tuple(
            prefix for prefix in found if self.explain(first_address(prefix), destination, protocol, port).state == OPEN
        )

    def _is_inside(self, cidr: str) -> bool:
        return any(covers(one, ip_network(cidr)) for one in self._inside)

    def _host(self, destination: str) -> str:
        host = self.host_of(destination)
        if host is None:
            raise KeyError(destination)
        return host

    def verdict(self, source: str, destination: str, protocol: str, port: int | None = None) -> str:
        """Return ``open``, ``closed`` or ``no route``."""
        return self.explain(source, destination, protocol, port).state

    # Verdicts

    def explain(self, source: str, destination: str, protocol: str, port: int | None = None) -> Verdict:
        """Return what becomes of a connection and why.

        Raises KeyError for an end that is neither a host, nor one of its addresses, nor outside; ValueError where both
        are outside.
        """
        for end in (source, destination):
            if not self.is_end(end):
                raise KeyError(end)
        sender, receiver = self.host_of(source), self.host_of(destination)
        if sender is None and receiver is None:
            raise ValueError(f"{source} and {destination} are both outside")
        if sender and receiver and self._paths.sharers.keys() & {source, destination}:
            return self._shared(source, destination, protocol, port)
        if receiver is None:
            remote = None if destination == OUTSIDE else str(ip_address(destination))
            found = self._outside.leaving(str(sender), remote, protocol, port)
        elif sender is None:
            remote = None if source == OUTSIDE else str(ip_address(source))
            return self._outside.arriving(remote, receiver, destination, protocol, port)
        elif sender == receiver:
            own = self.destinations(receiver)[0] if destination == receiver else destination
            return Verdict(OPEN, "a host always reaches itself", own, own, (), ())
        else:
            versions = {":" in source} if source != sender else {True, False}
            address = self._choose(sender, receiver, versions) if destination == receiver else destination
            if address is None:
                why = f"{source} and {receiver} have no IP version in common"
                return Verdict(NO_ROUTE, why, None, None, (), ())
            if self._is_loopback(source) and (":" in source) == (":" in address):
                return self._between(sender, address, protocol, port, own=source)
            found = self._between(sender, address, protocol, port)
        return found if source == sender else self._bound(found, source, str(sender))

    def _is_loopback(self, end: str) -> bool:
        host, network = self._paths.owners.get(end, ("", ""))
        return network in self._paths.loopbacks.get(host, ())

    def _shared(self, source: str, destination: str, protocol: str, port: int | None) -> Verdict:
        """Return the verdict on a connection from or to a virtual address: the worst of those on its hosts."""
        sharers = self._paths.sharers
        senders, receivers = (sharers.get(end) or [str(self.host_of(end))] for end in (source, destination))
        found: list[tuple[str, Verdict]] = []
        for sender in senders:
            for receiver in receivers:
                if sender != receiver:
                    where = receiver if destination in sharers else sender
                    found.append((where, self._where(source, destination, protocol, port, (sender, receiver))))
        if not found:
            return Verdict(OPEN, "a host always reaches itself", source, destination, (), ())
        states = (NO_ROUTE, CLOSED, OPEN)
        where, worst = min(found, key=lambda one: states.index(one[1].state))
        if {one.state for _, one in found} == {worst.state}:
            return found[0][1]
        address = destination if destination in sharers else source
        return replace(worst, reason=f"{worst.reason}, where {where} has {address}")

    def _where(self, source: str, destination: str, protocol: str, port: int | None, hosts: tuple[str, str]) -> Verdict:
        """Return the verdict where the ends are at these hosts."""
        sender, receiver = hosts
        address: str | None = destination
        if destination in self.hosts:
            address = self._choose(sender, receiver, {":" in source})
        if address is None:
            why = f"{source} and {receiver} have no IP version in common"
            return Verdict(NO_ROUTE, why, source, None, (), ())
        own = source if source in self._paths.sharers else None
        found = self._between(sender, address, protocol, port, at=receiver, own=own)
        return found if own or source == sender else self._bound(found, source, sender)

    def _bound(self, found: Verdict, source: str, host: str) -> Verdict:
        """Return the verdict on a connection that ``host`` opens from its own address ``source``."""
        own = found.source_address
        if own is None or own == source or found.state == NO_ROUTE:
            return found
        exit_ = found.there[0].exit
        if (":" in own) != (":" in source):
            why = f"{source} and {found.address} are not of one IP version"
        elif self._is_loopback(source):
            why = (
                f"{source} is a loopback address of {host}, which no router translates, so no replies come from outside"
            )
        elif self._filtered(host):
            why = f"{host} sends it out on {exit_}, where its address is {own}: port security drops it"
        else:
            why = f"{host} sends it out on {exit_}, where its address is {own}, and the replies come in elsewhere"
        return Verdict(NO_ROUTE, why, source, found.address, found.there, (), host)

    def _between(
        self,
        source: str,
        address: str,
        protocol: str,
        port: int | None,
        *,
        at: str | None = None,
        own: str | None = None,
    ) -> Verdict:
        """Return the verdict on a connection of a host, from ``own`` address, to one that is ``at`` a host."""
        key = (source, address, at, own)
        if self._last is None or self._last[0] != key:  # often asked of one port after the other
            self._last = key, self._routed(*key)
        found = self._last[1]
        if isinstance(found, Verdict):
            return found
        rule = None
        for node, direction, remote in found.checks:
            rule = self._filters.first(node, direction, protocol, port, remote)
            if rule is None:
                end = "to" if direction == "egress" else "from"
                why = f"no rule of {node} allows {flow_text(protocol, port)} {end} {remote}"
                why += f"; {unknown}" if (unknown := others_allow(self.hosts[node])) else ""
                return Verdict(CLOSED, why, found.own, address, found.there, found.back, node)
        reason = f"rule of {found.host}: {rule_text(rule)}" if rule else ""
        return Verdict(OPEN, reason, found.own, address, found.there, found.back, rule=rule)

    def _routed(self, source: str, address: str, at: str | None, own: str | None) -> _Routed | Verdict:
        """Return the way there and back, whatever rules say; or the verdict that there is none."""
        host, network = self._paths.owners[address]
        host = at or host
        version = 6 if ":" in address else 4
        there = self._paths.find(source, network, version, host)
        from_loopback = own is not None and self._is_loopback(own)
        if own and not from_loopback and there.first != (its := self._paths.owners[own][1]):
            why = f"{source} sends it out on {there.first}, and {own} is an address on {its}"
            return Verdict(NO_ROUTE, there.fault or why, own, address, there.hops, ())
        own = own or (self._paths.address(source, there.first, version) if there.first else None)
        if there.fault or own is None or there.first is None:
            return Verdict(
                NO_ROUTE, there.fault or f"{source} has no IPv{version} address", own, address, there.hops, ()
            )
        back = self._paths.find(host, self._paths.owners[own][1] if from_loopback else there.first, version, source)
        fault = back.fault and f"there is no path back: {back.fault}"
        if not fault and back.first != there.last and self._filtered(host):
            fault = f"{host} replies from its interface on {back.first}, not the one on {there.last} that was addressed"
        if not fault and back.last != there.first and self._filtered(source):
            fault = f"the reply arrives at {source}'s interface on {back.last}, the packet was sent from {there.first}"
        passed = [(one, out, into) for one, into, out in reversed(there.crossings) if self._filtered(one)]
        if not fault and [crossing for crossing in back.crossings if self._filtered(crossing[0])] != passed:
            fault = "the reply does not come back through the same forwarding hosts"
        if fault:
            return Verdict(NO_ROUTE, fault, own, address, there.hops, back.hops)
        if spoofed := self._spoofed(there, own, address, host):
            node, fault = spoofed
            return Verdict(NO_ROUTE, fault, own, address, there.hops, back.hops, node)
        checks = tuple(self._checks(there, source, host, own, address))
        return _Routed(host, own, there.hops, back.hops, checks)

    def _filtered(self, host: str) -> bool:
        """Tell whether the ports of a host know of answers only what they saw of questions."""
        return self.hosts[host].ports[0].port_security

    def _choose(self, source: str, host: str, versions: Collection[bool]) -> str | None:
        """Return the address at which ``source`` reaches ``host``: on a common network, else the first that works.

        ``versions`` hold whether it may be IPv6.
        """
        key = (source, host, False in versions, True in versions)
        if key not in self._chosen:
            able = [
                address
                for address in self.destinations(host)
                if (":" in address) in versions
                and any((":" in one) == (":" in address) for one in self.destinations(source))
            ]
            near = {a for a in able if self._on_the_same_subnet(source, a)}
            ordered = sorted(able, key=lambda a: (":" in a, a not in near))
            works = (a for a in ordered if self._between(source, a, "tcp", UNUSED_PORT).state != NO_ROUTE)
            # the only one is it, whether it works or not
            self._chosen[key] = ordered[0] if len(ordered) == 1 else next(works, ordered[0] if ordered else None)
        return self._chosen[key]

    def routed_address(self, source: str, host: str, version: int) -> str | None:
        """Return the address of an IP version at which host ``source`` reaches another, whatever rules say; or None."""
        address = self._choose(source, host, {version == IPV6})
        found = address and self._between(source, address, "tcp", UNUSED_PORT).state != NO_ROUTE
        return address if found else None

    def _on_the_same_subnet(self, host: str, address: str) -> bool:
        network = self._paths.owners[address][1]
        if (host, network) not in self._paths.ports:
            return False
        return self._paths.address(host, network, 6 if ":" in address else 4) is not None

    def _spoofed(self, there: Path, own: str, address: str, host: str) -> tuple[str, str] | None:
        """Return whose port drops the packet or its reply as one from or to another host's address, and words."""
        ports = self._paths.ports
        for forwarder, entry, exit_ in there.crossings:
            if not (may_pass(ports[forwarder, entry], address) and may_pass(ports[forwarder, exit_], own)):
                return forwarder, f"{forwarder}'s port security drops it"
        if there.last and not may_pass(ports[host, there.last], address):
            return host, f"{host}'s interface on {there.last} does not receive packets for {address}"
        return None

    def _checks(self, there: Path, source: str, host: str, own: str, address: str) -> Iterator[tuple[str, str, str]]:
        """Yield whose security groups see the packet, in which direction, with which remote address."""
        yield source, "egress", address
        for forwarder, _, _ in there.crossings:
            yield forwarder, "ingress", own
            yield forwarder, "egress", address
        yield host, "ingress", own


def first_address(cidr: str) -> str:
    """Return an address in a prefix: its first."""
    return cidr.partition("/")[0]
