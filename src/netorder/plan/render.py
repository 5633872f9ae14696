"""The plan as text for people: addresses, SSH paths, routes, services, what is open."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from netorder.ip import covers
from netorder.text import count, few, table
from netorder.topology import CONTAINERS, LAST_PORT, OPENSTACK, SSH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netorder.ip import Prefix
    from netorder.plan.model import FloatingIp, Host, Plan, Rule, User

__all__ = ["names", "render"]


def render(plan: Plan, target: str = OPENSTACK) -> str:
    """Return the plan as text, ending with a newline; ``target`` is who makes it, which says how others come in."""
    its = names(plan)
    sections = (
        ("Networks", _networks(plan, its)),
        ("Routers", _routers(plan)),
        ("Hosts", _hosts(plan, target)),
        ("Servers (what Nova and cloud-init are asked for)", _servers(plan)),
        ("Static routes", _routes(plan, its)),
        ("Applications", _applications(plan, its)),
        ("Open to others (nothing else comes in)", _rules(plan, its)),
        ("May send (others send everything)", _limits(plan, its)),
    )
    parts = [f"{plan.topology}: {_summary(plan, target)}\n"]
    for title, rows in sections:
        if lines := table(rows, indent="  "):
            parts.append("".join(f"{line}\n" for line in [title, *lines]))
    return "\n".join(parts)


def _summary(plan: Plan, target: str) -> str:
    counts = [
        count(len(plan.networks), "network"),
        count(len(plan.routers), "router"),
        count(len(plan.hosts), "host"),
    ]
    if target == OPENSTACK and (floating := sum(len(host.floating) for host in plan.hosts)):
        counts.append(count(floating, "floating address", "floating addresses"))
    if forwards := sum(len(host.forwards) for host in plan.hosts):
        counts.append(count(forwards, "forwarded port"))
    counts += [f"in the cloud {plan.cloud}"] if plan.cloud else []
    outside = plan.external_network or "the cloud's only external network"
    return ", ".join(counts) + (f"; outside is {outside}" if any(router.external for router in plan.routers) else "")


def names(plan: Plan) -> dict[str, str]:
    """Return the name of the network, router or host that has each prefix or address."""
    found = {subnet.cidr: network.name for network in plan.networks for subnet in network.subnets}
    found |= {
        address: router.name
        for router in plan.routers
        for interface in router.interfaces
        for address in interface.addresses
    }
    return found | {one: host.name for host in plan.hosts for one in (*host.addresses, *host.loopback_addresses)}


def _networks(plan: Plan, called: dict[str, str]) -> Iterator[Sequence[str]]:
    for network in plan.networks:
        for index, subnet in enumerate(network.subnets):
            gateway = "no router, so no gateway"
            if subnet.gateway_ip:
                gateway = f"gateway {_named(subnet.gateway_ip, called)}"
            more = f", exists ({network.existing})" if network.existing and not index else ""
            more += f", a subnet of {network.subnet_of}" if network.subnet_of and not index else ""
            more += f", mtu {network.mtu}" if network.mtu and not index else ""
            more += f", of subnet pool {', '.join(network.subnet_pools)}" if network.subnet_pools and not index else ""
            more += "" if subnet.dhcp else ", no DHCP"
            more += f", {subnet.ipv6_address_mode}" if subnet.ipv6_address_mode else ""
            yield "" if index else network.name, subnet.cidr, gateway + more


def _routers(plan: Plan) -> Iterator[Sequence[str]]:
    for router in plan.routers:
        outside = [router.external_address, "" if router.snat else "no translation"]
        more = f" ({', '.join(filter(None, outside))})" if any(outside) else ""
        joins = [f"{router.external_network or 'outside'}{more}"] if router.external else []
        joins += [f"{interface.network} ({', '.join(interface.addresses)})" for interface in router.interfaces]
        there = f"exists ({router.existing}), " if router.existing else ""
        yield router.name, f"{there}joins " + ", ".join(joins)


def _hosts(plan: Plan, target: str) -> Iterator[Sequence[str]]:
    rules = {group.name: group.rules for group in plan.filters}
    own = plan.own
    for host in plan.hosts:
        path = _ssh_path(host, rules[host.group], own, target)
        packages = ", packages through the controller" if host.proxy == "controller" else ""
        about = [f"{host.image}, {host.flavor}", ("routes, " if host.forwarding else "") + path + packages]
        for index, port in enumerate(host.ports):
            virtual = [f"or {one}" for one in port.virtual_addresses]
            addresses = ", ".join((*port.addresses, *virtual)) + (f" ({port.mac_address})" if port.mac_address else "")
            yield ("" if index else host.name), addresses, port.network, *(["", ""] if index else about)
        for address in host.loopback_addresses:
            yield "", address, "loopback", "", ""


def _servers(plan: Plan) -> Iterator[Sequence[str]]:
    policies = {group.name: group.policy for group in plan.server_groups}
    for host in plan.hosts:
        if its := host.server:
            said = [f"zone {its.availability_zone}"] if its.availability_zone else []
            said += [f"group {its.server_group} ({policies[its.server_group]})"] if its.server_group else []
            said += ["own user data"] if its.user_data is not None else []
            said += ["config drive"] if its.config_drive else []
            said += [f"users {', '.join(_user(user) for user in its.users)}"] if its.users else []
            said += [f"tags {', '.join(its.tags)}"] if its.tags else []
            said += [f"metadata {', '.join(f'{key}={value}' for key, value in its.metadata)}"] if its.metadata else []
            yield host.name, "; ".join(said)


def _user(user: User) -> str:
    return f"{user.name} (sudo)" if user.sudo else user.name


def _ssh_path(host: Host, rules: Sequence[Rule], own: Sequence[Prefix], target: str) -> str:
    if host.ssh_path is None:
        path = "SSH does not reach it"
    elif host.ssh_path:
        path = "SSH through " + ", then ".join(host.ssh_path)
    else:
        path = "SSH from " + ", ".join(_ssh_sources(rules, own))
    more = [_floating(one, plain=not host.floating_ips) for one in host.floating] if target == OPENSTACK else []
    more += ["published ports"] if target == CONTAINERS and host.floating else []
    more += [f"port {', '.join(map(str, host.forwards))}"] if host.forwards else []
    more += [f"reached at {host.outside_address}"] if host.outside_address else []
    more += [f"also in {', '.join(groups)}"] if (groups := host.ports[0].existing_groups) else []
    return ", ".join([*more, path])


def _floating(one: FloatingIp, *, plain: bool) -> str:
    if plain:
        return "floating address"
    kept = "kept " if one.keep else ""
    return f"{kept}floating address {one.address or ''}".rstrip() + f" on {one.network}"


def _ssh_sources(rules: Sequence[Rule], own: Sequence[Prefix]) -> list[str]:
    """Return the prefixes outside the topology that may use SSH; ``outside`` where that is all of them."""
    remotes = [
        rule.remote_cidr
        for rule in rules
        if rule.remote_group is None
        and rule.direction == "ingress"
        and rule.ethertype == "IPv4"
        and rule.protocol in (None, "tcp")
        and (rule.port_min or 0) <= SSH <= (rule.port_max or LAST_PORT)
    ]
    prefixes = [ip_network(remote) for remote in remotes if remote]
    some = [str(prefix) for prefix in prefixes if not any(covers(one, prefix) for one in own)]
    return ["outside"] if None in remotes or not some else [cidr.removesuffix("/32") for cidr in some]


def _routes(plan: Plan, called: dict[str, str]) -> Iterator[Sequence[str]]:
    owners = [(host.name, host.routes) for host in plan.hosts]
    owners += [(router.name, router.routes) for router in plan.routers]
    owners += [
        (f"{network.name} (by DHCP)", subnet.host_routes) for network in plan.networks for subnet in network.subnets
    ]
    for owner, routes in owners:
        for index, route in enumerate(routes):
            to = _named(route.destination, called)
            yield "" if index else owner, f"to {to}", f"via {_named(route.next_hop, called)}"


def _named(place: str, called: dict[str, str]) -> str:
    name = called.get(place) or called.get(place.removesuffix("/128" if ":" in place else "/32"))
    return f"{place} ({name})" if name else place


def _applications(plan: Plan, called: dict[str, str]) -> Iterator[Sequence[str]]:
    for host in plan.hosts:
        address = host.ports[0].addresses[0]
        address = f"[{address}]" if ":" in address else address
        for one in host.applications:
            ports = [*map(str, one.tcp_ports), *(f"{port}/udp" for port in one.udp_ports)]
            where = f"{address}:{','.join(ports)}" if ports else address
            calls = ", ".join(called[endpoint.address] for endpoint in one.endpoints)
            yield one.name, where, f"on {host.name}" + (f", calls {calls}" if calls else "")


def _rules(plan: Plan, called: dict[str, str]) -> Iterator[Sequence[str]]:
    members: dict[str, list[str]] = {}
    for host in plan.hosts:
        members.setdefault(host.group, []).append(host.name)
    for group in plan.filters:
        whose = few(members[group.name])
        ingress: dict[str, dict[str, None]] = {}
        for rule in group.rules:
            if rule.direction == "ingress":
                ingress.setdefault(rule.match, {})[_source(rule, called)] = None
        for index, (match, sources) in enumerate(ingress.items()):
            yield "" if index else whose, match, "from " + ", ".join(sources)
        if not ingress:
            yield whose, "nothing", ""


def _limits(plan: Plan, called: dict[str, str]) -> Iterator[Sequence[str]]:
    """Yield what hosts send that are limited."""
    members: dict[str, list[str]] = {}
    for host in plan.hosts:
        members.setdefault(host.group, []).append(host.name)
    for group in plan.security_groups:
        egress: dict[str, dict[str, None]] = {}
        for rule in group.rules if group.is_limited else ():
            if rule.direction == "egress":
                egress.setdefault(rule.match, {})[_source(rule, called)] = None
        for index, (match, targets) in enumerate(egress.items()):
            yield "" if index else few(members[group.name]), match, "to " + ", ".join(targets)


def _source(rule: Rule, called: dict[str, str]) -> str:
    return rule.remote if rule.remote_cidr is None else called.get(rule.remote, rule.remote)
