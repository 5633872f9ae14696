"""What a change of the topology does: resources added, changed, replaced and removed, and the flows it interrupts.

Pure: two plans in, words out. What Neutron and Nova cannot change in place (a prefix, a fixed address, an image) counts
as replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netorder.analysis.reach import OUTSIDE, Matrix, Verdict
from netorder.ip import url_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from netorder.plan.model import Host, Network, Plan, Router, Rule

__all__ = ["Difference", "Flow", "differences", "flows", "render"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One resource that is not the same. ``action`` is added, changed, replaced or removed; ``what`` says in what."""

    action: str
    kind: str
    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Flow:
    """An application's flow of the old plan. ``fate`` is kept, moved, interrupted or ended; ``why`` says by what."""

    source: str
    destination: str
    protocol: str
    port: int | None
    fate: str
    why: str


def differences(old: Plan, new: Plan) -> list[Difference]:
    """Return what the new plan has that the old one has not, and the other way round, in the order of dependence."""
    found: list[Difference] = []
    found += _compare("network", _by_name(old.networks), _by_name(new.networks), _network_aspects)
    found += _compare("router", _by_name(old.routers), _by_name(new.routers), _router_aspects)
    found += _compare("host", _by_name(old.hosts), _by_name(new.hosts), _host_aspects)
    rules = [_rules(plan) for plan in (old, new)]
    for name in rules[0].keys() & rules[1].keys():
        before, after = rules[0][name], rules[1][name]
        if before != after:
            what = f"rules: {len(after - before)} more, {len(before - after)} fewer"
            found.append(Difference("changed", "security group", name, what))
    order = {"network": 0, "router": 1, "security group": 2, "host": 3}
    return sorted(found, key=lambda one: (order[one.kind], one.name))


def _rules(plan: Plan) -> dict[str, frozenset[Rule]]:
    """Return each host's rules: which hosts share a group is nothing that anybody asked for."""
    groups = {group.name: frozenset(group.rules) for group in plan.security_groups}
    return {host.name: groups[host.ports[0].security_groups[0]] for host in plan.hosts}


def _by_name(things: Iterable[Any]) -> dict[str, Any]:
    return {thing.name: thing for thing in things}


def _compare(kind: str, old: Mapping[str, Any], new: Mapping[str, Any], aspects: Any) -> Iterator[Difference]:  # noqa: ANN401
    for name in old.keys() | new.keys():
        if name not in new:
            yield Difference("removed", kind, name, "")
        elif name not in old:
            yield Difference("added", kind, name, "")
        else:
            before, after = aspects(old[name]), aspects(new[name])
            lasting = [word for word in before[0] if before[0][word] != after[0][word]]
            fleeting = [word for word in before[1] if before[1][word] != after[1][word]]
            if lasting or fleeting:
                words = [_change(word, before[0][word], after[0][word]) for word in lasting]
                words += [_change(word, before[1][word], after[1][word]) for word in fleeting]
                yield Difference("replaced" if lasting else "changed", kind, name, "; ".join(words))


def _change(word: str, before: object, after: object) -> str:
    """Say how an aspect changes: ``address: 10.0.0.1 -> 10.0.0.2``; of lists, what is added and removed."""
    if isinstance(before, tuple) and isinstance(after, tuple):
        signs = [f"-{item}" for item in before if item not in after] + [
            f"+{item}" for item in after if item not in before
        ]
        return f"{word}: {', '.join(signs) or 'their order'}"
    return f"{word}: {_word(before)} -> {_word(after)}"


def _word(value: object) -> str:
    return (
        {None: "none", True: "yes", False: "no"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )


Aspects = tuple[dict[str, object], dict[str, object]]  # those that need a replacement, those that change in place


def _routes(routes: Iterable[Any]) -> tuple[str, ...]:
    return tuple(f"{route.destination} via {route.next_hop}" for route in routes)


def _network_aspects(network: Network) -> Aspects:
    lasting: dict[str, object] = {"prefixes": tuple(subnet.cidr for subnet in network.subnets)}
    fleeting: dict[str, object] = {
        "gateways": tuple(subnet.gateway_ip or "none" for subnet in network.subnets),
        "name servers": tuple(server for subnet in network.subnets for server in subnet.dns_nameservers),
        "allocation pools": tuple("-".join(subnet.allocation_pool) for subnet in network.subnets),
        "routes by DHCP": tuple(text for subnet in network.subnets for text in _routes(subnet.host_routes)),
    }
    return lasting, fleeting


def _router_aspects(router: Router) -> Aspects:
    fleeting: dict[str, object] = {
        "external": (router.external_network or True) if router.external else False,
        "interfaces": tuple(f"{one.network} {', '.join(one.addresses)}" for one in router.interfaces),
        "routes": _routes(router.routes),
    }
    return {}, fleeting


def _host_aspects(host: Host) -> Aspects:
    lasting: dict[str, object] = {
        "image": host.image,
        "flavor": host.flavor,
        "interfaces": tuple(f"{port.network} {', '.join(port.addresses)}" for port in host.ports),
    }
    fleeting: dict[str, object] = {
        "floating address": host.floating_ip,
        "forwarding": host.forwarding,
        "lets through": tuple(f"{p.network} {pair}" for p in host.ports for pair in p.allowed_address_pairs),
        "gateways": host.gateways,
        "routes": _routes(host.routes),
        "SSH path": " ".join(host.ssh_path) if host.ssh_path is not None else None,
        "groups": host.groups,
        "service": f"{host.service.name} {host.service.port}" if host.service else None,
        "peers": tuple(f"{name} {url}" for name, urls in host.service.peers for url in urls) if host.service else (),
    }
    return lasting, fleeting


# Flows


def flows(old: Plan, new: Plan) -> list[Flow]:
    """Return what becomes of the old plan's application flows: calls between services, and what the outside may ask."""
    changed = {(one.kind, one.name): one for one in differences(old, new) if one.action in {"replaced", "removed"}}
    before, after = Matrix(old), Matrix(new)
    return [
        Flow(*flow, *_fate(before.explain(*flow), _now(after, flow), changed, flow))
        for flow in _application_flows(old, before)
        if before.verdict(*flow) == "open"
    ]


_Key = tuple[str, str, str, int | None]


def _now(matrix: Matrix, flow: _Key) -> Verdict | None:
    known = {*matrix.hosts, OUTSIDE}
    return matrix.explain(*flow) if flow[0] in known and flow[1] in known else None


def _application_flows(plan: Plan, matrix: Matrix) -> list[_Key]:
    owner = {address: host for host in plan.hosts for address in host.addresses}
    found: dict[_Key, None] = {}
    for host in plan.hosts:
        for url in host.service.calls if host.service else ():
            callee = owner[url_host(url)]
            if callee.service and callee is not host:
                found[host.name, callee.name, "tcp", callee.service.port] = None
        if host.floating_ip:
            for protocol, port in matrix.ports(host.name):
                found[OUTSIDE, host.name, protocol, port] = None
    return list(found)


def _fate(
    before: Verdict, after: Verdict | None, changed: Mapping[tuple[str, str], Difference], flow: _Key
) -> tuple[str, str]:
    if after is None:
        gone = next(name for name in flow[:2] if ("host", name) in changed)
        return "ended", f"host {gone} is removed"
    if after.state != "open":
        return "ended", after.reason
    for hop in (*before.there, *before.back):
        for kind, name in (("host", hop.node), ("router", hop.node), ("network", hop.exit)):
            if name and (kind, name) in changed:
                return "interrupted", f"{kind} {name} is {changed[kind, name].action}"
    if before.address != after.address:
        return "interrupted", f"{flow[1]} is {after.address} now, it was {before.address}"
    ways = [[(hop.node, hop.entry, hop.exit) for hop in (*one.there, *one.back)] for one in (before, after)]
    if ways[0] != ways[1]:
        return "moved", "takes another way: " + " -> ".join(hop.node for hop in after.there)
    return "kept", ""


_SIGNS = {"added": "+", "changed": "~", "replaced": "±", "removed": "-"}


def render(old: Plan, new: Plan) -> str:
    """Return the differences and the fate of the flows as text, ending with a newline."""
    found, fates = differences(old, new), flows(old, new)
    if not found:
        return "no difference\n"
    words = {"changed": "changed in place"}
    lines = []
    for one in found:
        more = f": {one.what}" if one.what else ""
        lines.append(f"{_SIGNS[one.action]} {one.kind} {one.name} {words.get(one.action, one.action)}{more}")
    hit = [flow for flow in fates if flow.fate != "kept"]
    lines.append("")
    lines.append(f"Application flows: {len(fates)}, of which {len(hit)} are touched" + (":" if hit else ""))
    for flow in hit:
        port = f" {flow.port}" if flow.port is not None else ""
        lines.append(f"  {flow.source} -> {flow.destination} {flow.protocol}{port}: {flow.fate}, {flow.why}")
    return "\n".join(lines) + "\n"
