"""What passes between a host and the outside: through an external router, or through a next hop that is declared."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from netorder.analysis.filters import may_pass
from netorder.analysis.paths import ELSEWHERE, Hop
from netorder.analysis.verdict import (
    CLOSED,
    NO_ROUTE,
    OPEN,
    OUTSIDE,
    Verdict,
    flow_text,
    members_text,
    others_allow,
    rule_text,
)
from netorder.ip import IPV4, IPV6
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netorder.analysis.filters import Filters
    from netorder.analysis.paths import Paths, Step
    from netorder.plan.model import Host

__all__ = ["Outside"]


class _Exit(NamedTuple):
    """Where a packet leaves the topology: at the last of ``hops``, a router, a host or an address; or why it does not.

    ``first`` is the network that its source sends it to, ``hosts`` are (host, entry, exit) of forwarding hosts.
    """

    hops: tuple[Hop, ...]
    first: str | None
    hosts: tuple[tuple[str, str, str | None], ...]
    fault: str | None = None

    @property
    def node(self) -> str:
        return self.hops[-1].node


class Outside:
    """What passes between the hosts of a plan and the outside. ``remote`` is an address there, None any."""

    def __init__(self, paths: Paths, filters: Filters) -> None:
        self._paths = paths
        self._filters = filters

    # From outside

    def arriving(self, remote: str | None, name: str, destination: str, protocol: str, port: int | None) -> Verdict:
        """Return what becomes of a connection to host ``name``, addressed by its name or an address of its own."""
        host = self._paths.hosts[name]
        address, fault = self._entry(host, name, destination)
        if remote and ":" in remote:
            fault = "nothing comes in from outside by IPv6"
        if fault or address is None:
            behind = self._gateway_to(remote, name)
            other = behind and f"; whether {behind}, where routes to {remote} end, lets it in is not in the plan"
            return Verdict(NO_ROUTE, f"{fault or ''}{other or ''}", remote, address, (), ())
        network = self._paths.owners[address][1]
        subnet = self._paths.subnets[network, IPV4]
        gateway = self._paths.owners.get(subnet.gateway_ip or "")
        router = gateway[0] if gateway else str(subnet.gateway_ip)
        there = (
            (
                Hop(OUTSIDE, None, None, f"address of {name}"),
                Hop(router, OUTSIDE, network, "the gateway of its network"),
                Hop(name, network, None, ""),
            )
            if address == host.outside_address
            else ()
        ) or (
            Hop(OUTSIDE, None, None, f"floating address of {name}"),
            Hop(router, OUTSIDE, network, f"translates the floating address to {address}"),
            Hop(name, network, None, ""),
        )
        reply = self._walk(name, IPV4, _number(remote, IPV4))
        fault = reply.fault
        if not fault and [hop.node for hop in reply.hops] != [name, router]:
            fault = "it replies by another path, " + " -> ".join(hop.node for hop in reply.hops)
        elif not fault and reply.first != network:
            # from the address on the other one, which its port security lets nothing leave with here
            fault = f"it replies from its interface on {reply.first}, not the one on {network}"
        if fault:
            has = "is its way in" if address == host.outside_address else "has its floating address"
            why = f"{name} does not reply through {router}, which {has}: {fault}"
            return Verdict(NO_ROUTE, why, remote, address, there, reply.hops)
        translated = "" if address == host.outside_address else "translates back"
        back = (reply.hops[0], Hop(router, network, OUTSIDE, translated), Hop(OUTSIDE, None, None, ""))
        rule = self._filters.first(name, "ingress", protocol, port, remote)
        if rule is None:
            why = f"no rule of {name} allows {flow_text(protocol, port)} from {remote or 'anywhere'}"
            known = self._filters.members(name, "ingress", protocol, port)
            why = "; ".join(filter(None, (why, others_allow(host), members_text(known, "ingress"))))
            return Verdict(CLOSED, why, remote, address, there, back, name)
        return Verdict(OPEN, f"rule of {name}: {rule_text(rule)}", remote, address, there, back, rule=rule)

    def _gateway_to(self, remote: str | None, name: str) -> str | None:
        """Return the host where declared routes to an address outside end, perhaps in a tunnel; None if they do not."""
        if remote is None or ":" in remote:
            return None
        out = self._walk(name, IPV4, _number(remote, IPV4))
        return out.node if not out.fault and out.node in self._paths.hosts else None

    def _entry(self, host: Host, name: str, destination: str) -> tuple[str | None, str | None]:
        """Return the address of a host that what comes from outside is delivered to, or why there is none."""
        entries = [host.outside_address] if host.outside_address else []
        entries += [
            address for one in host.floating for address in host.port(one.network).addresses if ":" not in address
        ]
        if not entries:
            return next((one for one in host.ports[0].addresses if ":" not in one), None), (
                f"{name} has no floating address"
            )
        if destination not in (name, *entries):
            return entries[0], f"{name}'s floating address is that of {few(entries)}"
        return (host.entry if destination == name else destination), None

    # To the outside

    def leaving(self, source: str, remote: str | None, protocol: str, port: int | None) -> Verdict:
        """Return what becomes of a connection that host ``source`` opens."""
        version = self._version(source, remote)
        out = self._walk(source, version, _number(remote, version))
        own = self._paths.address(source, out.first, version) if out.first else None
        router = out.node in self._paths.routers
        fault = out.fault or self._untranslated(out, source, own)
        if fault or own is None or out.first is None:
            return Verdict(NO_ROUTE, fault or "", own, remote, out.hops, ())
        for host, entry, exit_ in out.hosts:
            if not self._forwards(host, entry, exit_, own, _text(remote, version)):
                return Verdict(NO_ROUTE, f"{host}'s port security drops it", own, remote, out.hops, (), host)
        end = (Hop(OUTSIDE, None, None, ""),)
        if router:
            back: tuple[Hop, ...] = (
                Hop(OUTSIDE, None, None, "replies"),
                Hop(out.node, OUTSIDE, out.first, "translates back"),
                Hop(source, out.first, None, ""),
            )
            rule = self._filters.first(source, "egress", protocol, port, remote)
            limited = rule and (rule.protocol or rule.remote_cidr)
            reason = f"rule of {source}: {rule_text(rule)}" if rule and limited else "all egress is allowed"
        else:
            reply = self._paths.find(out.node, out.first, version, source) if out.node in self._paths.hosts else None
            if reply and reply.fault:
                fault = f"there is no path back: {reply.fault}"
                return Verdict(NO_ROUTE, fault, own, remote, out.hops, reply.hops)
            back = (Hop(OUTSIDE, None, None, f"replies through {out.node}"), *(reply.hops if reply else ()))
            reason = f"leaves the topology at {out.node}, by {out.hops[-2].why}; what is behind is not in the plan"
        checks = [(source, "egress", remote)]
        for host, _, _ in out.hosts:
            checks += [(host, "ingress", own), (host, "egress", remote)]
        if closed := self._closed(checks, protocol, port):
            node, why = closed
            return Verdict(CLOSED, why, own, remote, (*out.hops, *end), (), node)
        return Verdict(OPEN, reason, own, remote, (*out.hops, *end), back)

    def _closed(
        self, checks: Iterable[tuple[str, str, str | None]], protocol: str, port: int | None
    ) -> tuple[str, str] | None:
        """Return the first (node, direction, remote address) whose security groups do not allow it: node and words."""
        for node, direction, other in checks:
            if self._filters.first(node, direction, protocol, port, other) is None:
                ends = f"to {other or 'the outside'}" if direction == "egress" else f"from {other}"
                known = self._filters.members(node, direction, protocol, port)
                why = f"no rule of {node} allows {flow_text(protocol, port)} {ends}"
                return node, "; ".join(filter(None, (why, members_text(known, direction))))
        return None

    def _untranslated(self, out: _Exit, source: str, own: str | None) -> str | None:
        if own is None:
            return f"{source} has no address of that IP version on {out.first}"
        router = self._paths.routers.get(out.node)
        if router and not router.snat and not self._is_floating(source, own):
            return f"{out.node} does not translate (`snat: false`), and nothing says that the outside knows {own}"
        if out.node in self._paths.routers and out.first not in self._paths.joined[out.node]:
            return f"{out.node} translates only addresses of networks that it joins, and {out.first} is none of them"
        return None

    def _is_floating(self, source: str, own: str) -> bool:
        """Tell whether a floating address stands for an address of the host."""
        host = self._paths.hosts[source]
        return host.floating_ip and own in host.ports[0].addresses

    def _translates(self, node: str, source: str) -> str:
        """Say what a router does to the source address of what it sends out."""
        router = self._paths.routers.get(node)
        is_kept = router is not None and not router.snat and not self._paths.hosts[source].floating_ip
        return "does not translate the source address" if is_kept else "translates the source address"

    def _version(self, source: str, remote: str | None) -> int:
        """Return the IP version of a connection: that of the address, else IPv4 if the source has it."""
        if remote:
            return IPV6 if ":" in remote else IPV4
        return IPV4 if any(":" not in one for one in self._paths.hosts[source].addresses) else IPV6

    def _forwards(self, host: str, entry: str, exit_: str | None, own: str, remote: str) -> bool:
        """Return whether a host's port security passes what is for ``remote``; through no ``exit_``: what it leaves."""
        ports = self._paths.ports
        return may_pass(ports[host, entry], remote) and (exit_ is None or may_pass(ports[host, exit_], own))

    def _walk(self, source: str, version: int, number: int) -> _Exit:
        """Follow a packet to an address outside, by the default routes and the declared ones."""
        paths = self._paths
        hops: list[Hop] = []
        crossed: list[tuple[str, str, str | None]] = []
        node, entry, first = source, None, None
        by: Step | None = None  # the step that led here
        passed: set[str] = set()
        while node not in passed:
            passed.add(node)
            step = paths.step_to_address(node, version, number)
            forwards = node in paths.hosts and entry is not None
            if forwards and not paths.hosts[node].forwarding:
                hops.append(Hop(node, entry, None, "does not forward"))
                return _Exit(tuple(hops), first, tuple(crossed), f"{node} does not forward")
            if forwards and by and not (step and (step.length or self._is_host(step.next_hop))):
                # where the routes to it end: its tunnel, or what else is there, is not in the plan
                hops.append(Hop(node, entry, OUTSIDE, "the last next hop that is declared"))
                return _Exit(tuple(hops), first, (*crossed, (node, str(entry), None)))
            if step is None:
                hops.append(Hop(node, entry, None, "no route"))
                return _Exit(tuple(hops), first, tuple(crossed), self._no_route(node, source, version))
            if step.exit is None:
                hops.append(Hop(node, entry, OUTSIDE, self._translates(node, source)))
                return _Exit(tuple(hops), first, tuple(crossed))
            hops.append(Hop(node, entry, step.exit, step.why))
            first = first or step.exit
            if forwards:
                crossed.append((node, str(entry), step.exit))
            if step.next_hop not in paths.owners:
                hops.append(Hop(str(step.next_hop), step.exit, OUTSIDE, "no host of the plan"))
                return _Exit(tuple(hops), first, tuple(crossed))
            node, entry = paths.owners[step.next_hop]
            by = step
        return _Exit(tuple(hops), first, tuple(crossed), f"a loop: {node} gets the packet a second time")

    def _is_host(self, address: str | None) -> bool:
        return self._paths.owners.get(address or "", ("", ""))[0] in self._paths.hosts

    def _no_route(self, node: str, source: str, version: int) -> str:
        if node == source and not any((":" in one) == (version == IPV6) for one in self._paths.hosts[node].addresses):
            return f"{node} has no IPv{version} address"
        if node in self._paths.hosts:
            return f"{node} has no default gateway"
        if version == IPV6 and self._paths.routers[node].external:
            return f"{node} has no IPv6 route to the outside: IPv6 stays inside the topology"
        return f"{node} does not join the outside"


def _number(remote: str | None, version: int) -> int:
    return int(ip_address(remote)) if remote else ELSEWHERE[version]


def _text(remote: str | None, version: int) -> str:
    return remote or str(ip_address(ELSEWHERE[version]))
