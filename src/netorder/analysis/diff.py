"""What a change of the topology does: resources added, changed, replaced and removed, and the flows it interrupts.

Pure: two plans in, words out. :mod:`netorder.plan.lifecycle` says what changes in place and what is replaced, here as
to the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netorder.analysis.reach import OUTSIDE, Matrix, Verdict
from netorder.ip import url_host
from netorder.plan.lifecycle import Effect, changed_fields, effect, exit_router, stops

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from netorder.plan.model import Host, Plan, Port, Route, Router, RouterInterface, Rule, Subnet

__all__ = ["Difference", "Flow", "differences", "flows", "render"]

# In the order of dependence.
_KINDS = (
    "network", "subnet", "router", "router interface", "security group", "port", "host", "floating IP",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """One resource that is not the same. ``action`` is added, changed, replaced or removed; ``what`` says in what.

    ``stops``: what passes it is interrupted meanwhile.
    """

    action: str
    kind: str
    name: str
    what: str
    stops: bool = False


@dataclass(frozen=True, slots=True)
class Flow:
    """An application's flow of the old plan. ``fate`` is kept, moved, interrupted or ended; ``why`` says by what."""

    source: str
    destination: str
    protocol: str
    port: int | None
    fate: str
    why: str


@dataclass(frozen=True, slots=True)
class _Resource:
    """A resource of a plan: ``fields`` as the cloud has them, ``inside`` what only its host's system knows.

    One that is a part of another (``owner``: kind, name) is not named beside it where that comes or goes.
    """

    fields: Mapping[str, object]
    inside: Mapping[str, object] = field(default_factory=dict)
    owner: tuple[str, str] | None = None


_Key = tuple[str, str]  # kind and name


def differences(old: Plan, new: Plan) -> list[Difference]:
    """Return what the new plan has that the old one has not, and the other way round, in the order of dependence."""
    before, after = dict(_resources(old)), dict(_resources(new))
    found: list[Difference] = []
    for key in before.keys() | after.keys():
        was, now = before.get(key), after.get(key)
        if was and now:
            found += _changed(key, was, now)
            continue
        one, others, action = (was, after, "removed") if was else (now, before, "added")
        if one and one.owner in {None} | others.keys():
            found.append(Difference(action, *key, "", stops=action == "removed"))
    return sorted(found, key=lambda one: (_KINDS.index(one.kind), one.name))


def _changed(key: _Key, was: _Resource, now: _Resource) -> Iterator[Difference]:
    kind, name = key
    own, inside = changed_fields(was.fields, now.fields), changed_fields(was.inside, now.inside)
    if not own and not inside:
        return
    kind_there = "server" if kind == "host" else kind
    replaced = bool(own) and effect(kind_there, own) is Effect.REPLACE
    words = [_change(word, was.fields[word], now.fields[word]) for word in own]
    words += [_change(word, was.inside[word], now.inside[word]) for word in inside]
    action = "replaced" if replaced else "changed"
    yield Difference(action, kind, name, "; ".join(words), stops=replaced or stops(kind_there, own))


def _change(word: str, before: object, after: object) -> str:
    """Say how a field changes: ``address: 10.0.0.1 -> 10.0.0.2``; of lists, what is added and removed."""
    if isinstance(before, frozenset) and isinstance(after, frozenset):
        return f"{word}: {len(after - before)} more, {len(before - after)} fewer"
    if isinstance(before, tuple) and isinstance(after, tuple):
        signs = [f"-{item}" for item in before if item not in after] + [
            f"+{item}" for item in after if item not in before
        ]
        return f"{word}: {', '.join(signs) or 'their order'}"
    return f"{word}: {_word(before)} -> {_word(after)}"


def _word(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _resources(plan: Plan) -> Iterator[tuple[_Key, _Resource]]:
    """Return all resources of a plan, by the topology's own names."""
    prefix = f"{plan.topology}-"
    for network in plan.networks:
        whole = ("network", network.name)
        yield whole, _Resource({})
        for subnet in network.subnets:
            yield ("subnet", subnet.cloud_name.removeprefix(prefix)), _Resource(_subnet_fields(subnet), owner=whole)
    for router in plan.routers:
        whole = ("router", router.name)
        yield whole, _Resource(_router_fields(plan, router))
        for interface in router.interfaces:
            name = interface.port_name.removeprefix(prefix)
            yield ("router interface", name), _Resource(_place(interface), owner=whole)
    rules = {group.name: frozenset(group.rules) for group in plan.security_groups}
    for host in plan.hosts:
        whole = ("host", host.name)
        yield whole, _Resource({"image": host.image, "flavor": host.flavor}, _inside(host))
        # which hosts share a group follows from their rules
        yield ("security group", host.name), _Resource(_rules(host, rules), owner=whole)
        for port in host.ports:
            fields = {**_place(port), "allowed_address_pairs": port.allowed_address_pairs}
            yield ("port", port.cloud_name.removeprefix(prefix)), _Resource(fields, owner=whole)
        if host.floating_ip:
            router = exit_router(plan, host)
            outside = {"network": router.external_network or plan.external_network}
            yield ("floating IP", host.name), _Resource(outside, owner=whole)


def _subnet_fields(subnet: Subnet) -> dict[str, object]:
    return {
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway_ip,
        "dns_nameservers": subnet.dns_nameservers,
        "allocation_pools": "-".join(subnet.allocation_pool),
        "host_routes": _routes(subnet.host_routes),
    }


def _router_fields(plan: Plan, router: Router) -> dict[str, object]:
    external = (router.external_network or plan.external_network) if router.external else None
    return {"external": router.external, "external_network": external, "routes": _routes(router.routes)}


def _place(port: Port | RouterInterface) -> dict[str, object]:
    return {"network": port.network, "address": ", ".join(port.addresses)}


def _rules(host: Host, rules: Mapping[str, frozenset[Rule]]) -> dict[str, object]:
    return {"rules": rules[host.ports[0].security_groups[0]]}


def _routes(routes: Iterable[Route]) -> tuple[str, ...]:
    return tuple(f"{route.destination} via {route.next_hop}" for route in routes)


def _inside(host: Host) -> dict[str, object]:
    """Return what changes without the cloud: inside the host, or on the controller."""
    return {
        "user": host.user,
        "forwarding": host.forwarding,
        "gateways": host.gateways,
        "routes": _routes(host.routes),
        "SSH path": " ".join(host.ssh_path) if host.ssh_path is not None else None,
        "groups": host.groups,
        "service": f"{host.service.name} {host.service.port}" if host.service else None,
        "peers": tuple(f"{name} {url}" for name, urls in host.service.peers for url in urls) if host.service else (),
    }


# Flows


def flows(old: Plan, new: Plan) -> list[Flow]:
    """Return what becomes of the old plan's application flows: calls between services and from outside."""
    stopped = _stopped(old, differences(old, new))
    before, after = Matrix(old), Matrix(new)
    return [
        Flow(*flow, *_fate(before.explain(*flow), _now(after, flow), stopped, flow))
        for flow in _application_flows(old, before)
        if before.verdict(*flow) == "open"
    ]


def _stopped(old: Plan, found: Iterable[Difference]) -> dict[_Key, str]:
    """Return what lets nothing pass for a while, and why, by kind and name.

    A host stops for a port that is replaced or unplugged. A router's ``interface`` is named ``router.network``.
    """
    prefix = f"{old.topology}-"
    hosts = {port.cloud_name.removeprefix(prefix): host.name for host in old.hosts for port in host.ports}
    networks = {s.cloud_name.removeprefix(prefix): network.name for network in old.networks for s in network.subnets}
    interfaces = {
        i.port_name.removeprefix(prefix): f"{router.name}.{i.network}"
        for router in old.routers
        for i in router.interfaces
    }
    places = {"port": ("host", hosts), "subnet": ("network", networks), "router interface": ("interface", interfaces)}
    stopped: dict[_Key, str] = {}
    for one in sorted(found, key=lambda one: one.kind in places):  # the whole before its parts
        if one.stops:
            kind, names = places.get(one.kind, (one.kind, {}))
            verb = "restarts" if one.action == "changed" else f"is {one.action}"
            stopped.setdefault((kind, names.get(one.name, one.name)), f"{one.kind} {one.name} {verb}")
    return stopped


_Conversation = tuple[str, str, str, int | None]


def _now(matrix: Matrix, flow: _Conversation) -> Verdict | None:
    known = {*matrix.hosts, OUTSIDE}
    return matrix.explain(*flow) if flow[0] in known and flow[1] in known else None


def _application_flows(plan: Plan, matrix: Matrix) -> list[_Conversation]:
    owner = {address: host for host in plan.hosts for address in host.addresses}
    found: dict[_Conversation, None] = {}
    for host in plan.hosts:
        for url in host.service.calls if host.service else ():
            callee = owner[url_host(url)]
            if callee.service and callee is not host:
                found[host.name, callee.name, "tcp", callee.service.port] = None
        if host.floating_ip:
            for protocol, port in matrix.ports(host.name):
                found[OUTSIDE, host.name, protocol, port] = None
    return list(found)


def _fate(before: Verdict, after: Verdict | None, stopped: Mapping[_Key, str], flow: _Conversation) -> tuple[str, str]:
    if after is None:
        removed = next(name for name in flow[:2] if ("host", name) in stopped)
        return "ended", f"host {removed} is removed"
    if after.state != "open":
        return "ended", after.reason
    hops = (*before.there, *before.back)
    places = [
        ("floating IP", flow[1] if flow[0] == OUTSIDE else ""),
        *(
            place
            for hop in hops
            for place in (
                ("host", hop.node), ("router", hop.node), ("interface", f"{hop.node}.{hop.entry}"),
                ("interface", f"{hop.node}.{hop.exit}"), ("network", str(hop.exit)),
            )
        ),
    ]  # fmt: skip
    if why := next((stopped[place] for place in places if place in stopped), None):
        return "interrupted", why
    if before.address != after.address:
        return "interrupted", f"{flow[1]} is {after.address} now, it was {before.address}"
    paths = [[(hop.node, hop.entry, hop.exit) for hop in (*one.there, *one.back)] for one in (before, after)]
    if paths[0] != paths[1]:
        return "moved", "takes another path: " + " -> ".join(hop.node for hop in after.there)
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
