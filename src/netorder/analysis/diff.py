"""What a change of the topology does: resources added, changed, replaced and removed, and the flows it interrupts.

Pure: two plans in, words out. :mod:`netorder.plan.lifecycle` says what changes in place and what is replaced, here as
to the run.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from netorder.analysis.flows import Flow, Place, Stop, flows
from netorder.ip import IPV4, IPV6
from netorder.plan.lifecycle import Effect, address_fields, changed_fields, effect, exit_router, server_fields, stops
from netorder.plan.model import Server
from netorder.plan.render import names
from netorder.protocols import WITH_PORTS, on_wire
from netorder.text import few
from netorder.topology import OPENSTACK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from netorder.plan.model import (
        Application,
        Host,
        Network,
        Plan,
        Port,
        Route,
        Router,
        RouterInterface,
        Rule,
        ServerGroup,
        Subnet,
    )

__all__ = ["Change", "Difference", "change", "differences", "render", "to_json"]

# In the order of dependence.
_KINDS = (
    "topology", "network", "subnet", "router", "router interface", "security group", "port", "server group", "host",
    "floating IP",
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

    @property
    def permission(self) -> str | None:
        """What a run must be allowed for it: "delete", "replace" or nothing."""
        # a group whose hosts are removed, or have another, is of use to nobody
        return (
            None
            if self.kind in {"security group", "server group"}
            else {"removed": "delete", "replaced": "replace"}.get(self.action)
        )


@dataclass(frozen=True, slots=True)
class _Resource:
    """A resource of a plan: ``fields`` as the cloud has them, ``inside`` what only its host's system knows.

    One that is a part of another (``owner``: kind, name) is not named beside it where that comes or goes. ``subnets``
    are those (names in the cloud) that it is, or has addresses on.
    """

    fields: Mapping[str, object]
    inside: Mapping[str, object] = field(default_factory=dict)
    owner: tuple[str, str] | None = None
    subnets: frozenset[str] = frozenset()


_Key = tuple[str, str]  # kind and name


def differences(old: Plan, new: Plan) -> list[Difference]:
    """Return what the new plan has that the old one has not, and the other way round, in the order of dependence.

    Under another name of the topology everything is added, and nothing of the old one is touched.
    """
    if old.topology != new.topology:
        name = Difference("added", "topology", new.topology, f"to the cloud, {old.topology} is another one")
        return [name, *_sorted(Difference("added", *key, "") for key, one in _resources(new) if one.owner is None)]
    staying = frozenset(old.server_groups) & frozenset(new.server_groups)
    before, after = dict(_resources(old, staying)), dict(_resources(new))
    called = _Called(names(old), names(new))
    replaced = {
        cloud_name
        for key in before.keys() & after.keys()
        if key[0] == "subnet" and _is_replaced("subnet", changed_fields(before[key].fields, after[key].fields))
        for cloud_name in before[key].subnets
    }
    found: list[Difference] = []
    for key in before.keys() | after.keys():
        was, now = before.get(key), after.get(key)
        if was and now:
            found += _changed(key, was, now, called, replaced)
            continue
        one, others, action = (was, after, "removed") if was else (now, before, "added")
        if one and one.owner in {None} | others.keys():
            # of a network that stays, a subnet takes only what its own IP version carried
            found.append(
                Difference(action, *key, "", stops=action == "removed" and key[0] not in {"subnet", "server group"})
            )
    return _sorted(_moved(found, before, after))


def _moved(
    found: Sequence[Difference], before: Mapping[_Key, _Resource], after: Mapping[_Key, _Resource]
) -> list[Difference]:
    """Return the differences with floating IPs that move: one that a host loses goes to one that needs one."""
    result = [one for one in found if one.kind != "floating IP" or one.action not in {"added", "removed"}]
    lost = [one for one in found if one.kind == "floating IP" and one.action == "removed"]
    for one in (one for one in found if one.kind == "floating IP" and one.action == "added"):
        network = after[one.kind, one.name].fields.get("network", "")
        old = next((its for its in lost if before[its.kind, its.name].fields.get("network") == network), None)
        if old is None:
            result.append(one)
        else:
            lost.remove(old)
            result.append(replace(one, action="changed", what=f"it was {old.name}'s, its address stays", stops=True))
    return [*result, *lost]


def _sorted(found: Iterable[Difference]) -> list[Difference]:
    return sorted(found, key=lambda one: (_KINDS.index(one.kind), one.name))


def _is_replaced(kind: str, fields: Collection[str]) -> bool:
    return bool(fields) and effect("server" if kind == "host" else kind, fields) is Effect.REPLACE


class _Called(NamedTuple):
    """What has each prefix and address: its name in the old plan, and in the new one."""

    old: Mapping[str, str]
    new: Mapping[str, str]


_STAYING = {"mtu", "mac_address", "external_address", "subnet_pool"}  # what is not said any more is left as it is


def _changed(
    key: _Key, was: _Resource, now: _Resource, called: _Called, replaced_subnets: Collection[str]
) -> Iterator[Difference]:
    kind, name = key
    before, after = server_fields(was.fields, now.fields) if kind == "host" else _addressed(was.fields, now.fields)
    own, inside = changed_fields(before, after), changed_fields(was.inside, now.inside)
    own = [word for word in own if word not in _STAYING or after[word]]
    with_its_subnet = kind != "subnet" and not was.subnets.isdisjoint(replaced_subnets)
    if not own and not inside and not with_its_subnet:
        return
    kind_there = "server" if kind == "host" else kind
    replaced = _is_replaced(kind, own) or with_its_subnet
    words = [_change(word, before[word], after[word], called) for word in own]
    words += [_change(word, was.inside[word], now.inside[word], called) for word in inside]
    action = "replaced" if replaced else "changed"
    what = "; ".join(words) or "its subnet is replaced"
    yield Difference(action, kind, name, what, stops=(replaced and kind != "server group") or stops(kind_there, own))


def _addressed(was: Mapping[str, object], now: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    """Return the fields of a port as the run compares them: whether it is replaced follows from both addresses."""
    old, new = was.get("addresses"), now.get("addresses")
    if not isinstance(old, tuple) or not isinstance(new, tuple):
        return was, now
    had, have = address_fields(old, new)
    other = {"address", "addresses"} - {*had}
    return tuple({name: one[name] for name in one if name not in other} | its for one, its in ((was, had), (now, have)))


def _change(word: str, before: object, after: object, called: _Called) -> str:
    """Say how a field changes: ``address: 10.0.0.1 -> 10.0.0.2``; of lists, what is added and removed."""
    if isinstance(before, frozenset) and isinstance(after, frozenset):
        return f"{word}: {_rule_changes(before, after, called)}"
    if isinstance(before, (tuple, list)) and isinstance(after, (tuple, list)):
        signs = [f"-{item}" for item in before if item not in after] + [
            f"+{item}" for item in after if item not in before
        ]
        return f"{word}: {', '.join(signs) or 'their order'}"
    return f"{word}: {_word(before)} -> {_word(after)}"


def _rule_changes(before: frozenset[Rule], after: frozenset[Rule], called: _Called) -> str:
    """Return rules with the names of their sources: ``-tcp 5432 from app, +tcp 3306 from app``."""
    fewer, more, kept = before - after, after - before, before & after
    old, new = _by_ports(fewer, kept, called.old), _by_ports(more, kept, called.new)
    if moved := [ports for ports in old if old[ports] == new.get(ports)]:
        # the same names by other addresses
        old |= {ports: its for ports, its in _by_ports(fewer, kept, {}).items() if ports in moved}
        new |= {ports: its for ports, its in _by_ports(more, kept, {}).items() if ports in moved}
    return ", ".join(
        f"{sign}{ports} {few(ends)}" for sign, rules in (("-", old), ("+", new)) for ports, ends in rules.items()
    )


def _by_ports(rules: Iterable[Rule], kept: frozenset[Rule], called: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the other ends of rules by protocol, ports and direction.

    ``anywhere`` is said once for both IP versions, and with its version where that of the other one is ``kept``.
    """
    found: dict[str, set[str]] = {}
    for rule in rules:
        what = rule.match if rule.protocol in WITH_PORTS else rule.word
        ports = f"{what} {'from' if rule.direction == 'ingress' else 'to'}"
        end = rule.remote if rule.remote_cidr is None else called.get(rule.remote, rule.remote)
        if rule.remote_cidr is None and not kept.isdisjoint(_of_the_other_version(rule)):
            end += f" by {rule.ethertype}"
        found.setdefault(ports, set()).add(end)
    return {ports: sorted(ends) for ports, ends in sorted(found.items())}


def _of_the_other_version(rule: Rule) -> set[Rule]:
    other = IPV4 if rule.ethertype == "IPv6" else IPV6
    wire = on_wire(rule.word, other)
    if wire is None:
        return set()
    low, high = (rule.port_min, rule.port_max) if rule.protocol in WITH_PORTS else (wire.low, wire.high)
    return {replace(rule, ethertype=f"IPv{other}", protocol=wire.protocol, port_min=low, port_max=high)}


def _word(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _resources(plan: Plan, staying: Collection[ServerGroup] | None = None) -> Iterator[tuple[_Key, _Resource]]:
    """Return all resources of a plan, by the topology's own names; its hosts are in the server groups ``staying``."""
    prefix = f"{plan.topology}-"
    subnets = {(network.name, one.version): one.cloud_name for network in plan.networks for one in network.subnets}
    there = {network.name: f"{network.existing} (exists)" for network in plan.networks if network.existing}

    def its(port: Port | RouterInterface) -> frozenset[str]:
        return frozenset(subnets[port.network, 6 if ":" in address else 4] for address in port.addresses)

    for network in plan.networks:
        if network.existing:
            continue  # no run makes, changes or deletes it
        whole = None if network.subnet_of else ("network", network.name)
        if whole:
            yield whole, _Resource({"mtu": network.mtu})
        for subnet in network.subnets:
            one = _Resource(_subnet_fields(network, subnet), owner=whole, subnets=frozenset({subnet.cloud_name}))
            yield ("subnet", subnet.cloud_name.removeprefix(prefix)), one
    for router in plan.routers:
        whole = ("router", router.name)
        yield whole, _Resource(_router_fields(plan, router))
        for interface in router.interfaces:
            name = interface.port_name.removeprefix(prefix)
            yield ("router interface", name), _Resource(_place(interface, there), owner=whole, subnets=its(interface))
    for group in plan.server_groups:
        yield ("server group", group.name), _Resource({"policy": group.policy})
    yield from _hosts(plan, {group.name for group in (plan.server_groups if staying is None else staying)}, its, there)


def _hosts(
    plan: Plan, groups: Collection[str], its: Callable[[Port], frozenset[str]], there: Mapping[str, str]
) -> Iterator[tuple[_Key, _Resource]]:
    """Return the resources of hosts; ``its`` gives the subnets of a port."""
    prefix = f"{plan.topology}-"
    rules = {group.name: frozenset(group.rules) for group in plan.security_groups}
    for host in plan.hosts:
        whole = ("host", host.name)
        yield whole, _Resource({"image": host.image, "flavor": host.flavor, **_server(host, groups)}, _inside(host))
        # which hosts share a group follows from their rules
        if host.group in rules:
            yield ("security group", host.name), _Resource({"rules": rules[host.group]}, owner=whole)
        for port in host.ports:
            fields = {**_place(port, there), "allowed_address_pairs": port.allowed_address_pairs}
            fields["port_security"] = port.port_security
            fields["security_groups"] = port.existing_groups or ()
            fields["mac_address"] = port.mac_address
            one = _Resource(fields, owner=whole, subnets=its(port))
            yield ("port", port.cloud_name.removeprefix(prefix)), one
        for index, floating in enumerate(host.floating):
            router = exit_router(plan, floating.network)
            name = f"{host.name}.{floating.network}" if index else host.name
            outside: dict[str, object] = {"network": router.external_network or plan.external_network}
            outside |= {"port": floating.network, "keep": floating.keep}
            if floating.address:  # which is known by itself
                name, outside = floating.address, {"port": f"{host.name} on {floating.network}"}
            yield ("floating IP", name), _Resource(outside, owner=whole)


def _server(host: Host, groups: Collection[str]) -> dict[str, object]:
    fields = (host.server or Server()).fields
    return fields | ({} if fields["server_group"] in groups else {"server_group": None})


def _subnet_fields(network: Network, subnet: Subnet) -> dict[str, object]:
    return {
        "cidr": subnet.cidr,
        "network": network.subnet_of or network.name,
        "subnet_pool": ", ".join(network.subnet_pools),
        "gateway_ip": subnet.gateway_ip,
        "dns_nameservers": subnet.dns_nameservers,
        "allocation_pools": "-".join(subnet.allocation_pool or ()),
        "enable_dhcp": subnet.dhcp,
        "ipv6_address_mode": subnet.ipv6_address_mode,
        "host_routes": _routes(subnet.host_routes),
    }


def _router_fields(plan: Plan, router: Router) -> dict[str, object]:
    external = (router.external_network or plan.external_network) if router.external else None
    gateway = {"external_address": router.external_address, "snat": router.snat}
    routes = _routes(router.routes)
    return {"external": router.external, "external_network": external, **gateway, "routes": routes}


def _place(port: Port | RouterInterface, there: Mapping[str, str]) -> dict[str, object]:
    """Return where a port is; a network that exists is compared by what the cloud calls it."""
    return {
        "network": there.get(port.network, port.network),
        "address": ", ".join(port.addresses),
        "addresses": port.addresses,
    }


def _routes(routes: Iterable[Route]) -> tuple[str, ...]:
    return tuple(f"{route.destination} via {route.next_hop}" for route in routes)


def _inside(host: Host) -> dict[str, object]:
    """Return what changes without the cloud: inside the host, or on the controller."""
    return {
        "user": host.user,
        "proxy": host.proxy,
        "names": host.names,
        "forwarding": host.forwarding,
        "manages": host.manages,
        "gateways": host.gateways,
        "loopback_addresses": host.loopback_addresses,
        "routes": _routes(host.routes),
        "SSH network": next((port.network for port in host.ports if host.ssh_address in port.addresses), None),
        "SSH path": " ".join(host.ssh_path) if host.ssh_path is not None else None,
        "groups": host.groups,
        "applications": tuple(f"{one.name} {part}" for one in host.applications for part in _parts(one)),
    }


def _parts(its: Application) -> tuple[str, ...]:
    """Return what an application is on a host, a text for each part of it."""
    return (
        f"role {its.role}",
        *(f"port {port}/tcp" for port in its.tcp_ports),
        *(f"port {port}/udp" for port in its.udp_ports),
        *(f"calls {name} at {one.address} {one.port or ''}".rstrip() for name, copies in its.calls for one in copies),
        *(f"{name} = {value}" for name, value in its.variables),
        *([f"check {json.dumps(asdict(its.check))}"] if its.check else []),
        *(f"unit {unit}" for unit in its.units),
    )


# Flows


def _stopped(old: Plan, found: Iterable[Difference]) -> dict[Place, Stop]:
    """Return what lets nothing pass for a while, and why.

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
    stops: dict[Place, Stop] = {}
    for one in sorted(found, key=lambda one: one.kind in places):  # the whole before its parts
        if one.stops:
            kind, names = places.get(one.kind, (one.kind, {}))
            verb = "restarts" if one.action == "changed" else f"is {one.action}"
            stops.setdefault((kind, names.get(one.name, one.name)), Stop(one.kind, one.name, verb))
    return stops


@dataclass(frozen=True, slots=True)
class Change:
    """All that a change of the topology does. ``renamed`` is (old name, new name) where that is another topology.

    ``moved`` says where it is made elsewhere: the key of the file, its value before and after. ``members`` are the
    security groups with rules that change about members, whose flows are not in the plan.
    """

    differences: tuple[Difference, ...]
    flows: tuple[Flow, ...]
    renamed: tuple[str, str] | None
    moved: tuple[tuple[str, str, str], ...] = ()
    members: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether it does nothing."""
        return not (self.differences or self.moved)

    @property
    def needs_allow(self) -> list[str]:
        """The permissions that a run needs for it, as ``-e allow=`` takes them."""
        return sorted({one.permission for one in self.differences if one.permission})


def change(old: Plan, new: Plan, targets: tuple[str, str] = (OPENSTACK, OPENSTACK)) -> Change:
    """Compare two plans: their resources, and the flows of both. ``targets`` are those that make them."""
    found = differences(old, new)
    clouds = (old.cloud or "the one of OS_CLOUD", new.cloud or "the one of OS_CLOUD")
    moved = [(key, *pair) for key, pair in (("target", targets), ("cloud", clouds)) if pair[0] != pair[1]]
    renamed = (old.topology, new.topology) if old.topology != new.topology else None
    if moved or renamed:
        return Change(tuple(found), (), renamed, tuple(moved))
    fates = flows(old, new, _stopped(old, found)) if found else []
    return Change(tuple(found), tuple(fates), None, members=tuple(sorted(_members(old, new))))


def _members(old: Plan, new: Plan) -> set[str]:
    """Return the security groups whose members some host lets in, or sends to, by one of two plans alone."""

    def about(plan: Plan) -> set[tuple[str, Rule]]:
        rules = {group.name: [rule for rule in group.rules if rule.remote_group] for group in plan.security_groups}
        return {(host.name, rule) for host in plan.hosts for rule in rules.get(host.group, ())}

    return {str(rule.remote_group) for _, rule in about(old) ^ about(new)}


_FATES = ("ended", "interrupted", "moved", "opened")
_SIGNS = {"added": "+", "changed": "~", "replaced": "±", "removed": "-"}


def to_json(done: Change) -> str:
    """Return a change as JSON, with every name, ending with a newline."""
    found = {
        "different": not done.is_none,
        "moved": [{"key": key, "old": old, "new": new} for key, old, new in done.moved],
        "renamed": done.renamed and {"old": done.renamed[0], "new": done.renamed[1]},
        "needs_allow": done.needs_allow,
        "differences": [{**asdict(one), "permission": one.permission} for one in done.differences],
        "flows": [asdict(flow) for flow in done.flows],
        **({"members": list(done.members)} if done.members else {}),
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def render(done: Change) -> str:
    """Return a change as text, ending with a newline."""
    if done.is_none:
        return "no difference\n"
    lines = [*_lines(done.differences), ""] if done.differences else []
    if done.moved:
        lines += [f"{key}: {new}, before {old}" for key, old, new in done.moved]
        lines += [
            "A run creates everything anew there, and leaves what there is as it is: that costs until its teardown,",
            "by the file of before, and its flows go on.",
        ]
        return "\n".join(lines) + "\n"
    if done.renamed:
        old, new = done.renamed
        lines += [
            f"A run of `{new}` creates everything anew, and leaves `{old}` as it is: that costs until its teardown,",
            "and its flows go on. To change what is there, keep the old name in the file.",
        ]
        return "\n".join(lines) + "\n"
    lines += _flow_lines(done.flows)
    if done.members:
        named = few(done.members)
        lines += [f"Not counted: flows of members of security group {named}, who are not in the plan."]
    if done.needs_allow:
        lines += ["", f"A run needs permission for this: -e allow={','.join(done.needs_allow)}"]
    return "\n".join(lines) + "\n"


def _lines(found: Iterable[Difference]) -> list[str]:
    """Return a line for each difference; security groups that change alike share one, as they may in the cloud."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in found:
        key = (one.kind, one.action, one.what if one.kind == "security group" else one.name)
        alike.setdefault(key, []).append(one.name)
    lines = []
    for one in found:
        key = (one.kind, one.action, one.what if one.kind == "security group" else one.name)
        if its := alike.pop(key, []):
            more = f": {one.what}" if one.what else ""
            action = "changed in place" if one.action == "changed" else one.action
            lines.append(f"{_SIGNS[one.action]} {one.kind} {few(its)} {action}{more}")
    return lines


def _flow_lines(found: Iterable[Flow]) -> list[str]:
    counts: Counter[str] = Counter()
    for flow in found:
        counts[flow.fate] += flow.pairs
    before = counts.total() - counts["opened"]
    head = f"Flows: {before} before, {counts.total() - counts['ended']} after"
    if not counts.keys() - {"kept"}:
        return [f"{head}; none is touched"]
    fates = [f"{counts[fate]} {fate}" for fate in _FATES if counts[fate]]
    hit = sorted((flow for flow in found if flow.fate != "kept"), key=lambda flow: _FATES.index(flow.fate))
    return [f"{head}; {', '.join(fates)}:", *(f"  {flow}" for flow in hit)]
