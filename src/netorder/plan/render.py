"""The plan as text for people: addresses, SSH paths, routes, services, what is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.ip import url_host
from netorder.text import count, few, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netorder.plan.model import Host, Plan, Rule

__all__ = ["render"]


def render(plan: Plan) -> str:
    """Return the plan as text, ending with a newline."""
    names = _names(plan)
    sections = (
        ("Networks", _networks(plan, names)),
        ("Routers", _routers(plan)),
        ("Hosts", _hosts(plan)),
        ("Static routes", _routes(plan, names)),
        ("Services", _services(plan, names)),
        ("Open to others (nothing else comes in)", _rules(plan, names)),
    )
    parts = [f"{plan.topology}: {_summary(plan)}\n"]
    for title, rows in sections:
        if lines := table(rows, indent="  "):
            parts.append("".join(f"{line}\n" for line in [title, *lines]))
    return "\n".join(parts)


def _summary(plan: Plan) -> str:
    counts = [
        count(len(plan.networks), "network"),
        count(len(plan.routers), "router"),
        count(len(plan.hosts), "host"),
    ]
    if floating := sum(host.floating_ip for host in plan.hosts):
        counts.append(count(floating, "floating address", "floating addresses"))
    outside = plan.external_network or "the cloud's only external network"
    return ", ".join(counts) + (f"; outside is {outside}" if any(router.external for router in plan.routers) else "")


def _names(plan: Plan) -> dict[str, str]:
    """Return the name of the network, router or host that has each prefix or address."""
    names = {subnet.cidr: network.name for network in plan.networks for subnet in network.subnets}
    names |= {
        address: router.name
        for router in plan.routers
        for interface in router.interfaces
        for address in interface.addresses
    }
    return names | {address: host.name for host in plan.hosts for address in host.addresses}


def _networks(plan: Plan, names: dict[str, str]) -> Iterator[Sequence[str]]:
    for network in plan.networks:
        for index, subnet in enumerate(network.subnets):
            gateway = "no router, so no gateway"
            if subnet.gateway_ip:
                gateway = f"gateway {subnet.gateway_ip} ({names[subnet.gateway_ip]})"
            yield "" if index else network.name, subnet.cidr, gateway


def _routers(plan: Plan) -> Iterator[Sequence[str]]:
    for router in plan.routers:
        joins = [router.external_network or "outside"] if router.external else []
        joins += [f"{interface.network} ({', '.join(interface.addresses)})" for interface in router.interfaces]
        yield router.name, "joins " + ", ".join(joins)


def _hosts(plan: Plan) -> Iterator[Sequence[str]]:
    for host in plan.hosts:
        about = [f"{host.image}, {host.flavor}", ("routes, " if host.forwarding else "") + _ssh_path(host)]
        for index, port in enumerate(host.ports):
            yield ("" if index else host.name), ", ".join(port.addresses), port.network, *(["", ""] if index else about)


def _ssh_path(host: Host) -> str:
    if host.ssh_path is None:
        path = "SSH does not reach it"
    elif host.ssh_path:
        path = "SSH through " + ", then ".join(host.ssh_path)
    else:
        path = "SSH from outside"
    return f"floating address, {path}" if host.floating_ip else path


def _routes(plan: Plan, names: dict[str, str]) -> Iterator[Sequence[str]]:
    owners = [(host.name, host.routes) for host in plan.hosts]
    owners += [(router.name, router.routes) for router in plan.routers]
    owners += [
        (f"{network.name} (by DHCP)", subnet.host_routes) for network in plan.networks for subnet in network.subnets
    ]
    for owner, routes in owners:
        for index, route in enumerate(routes):
            to = _named(route.destination, names)
            yield "" if index else owner, f"to {to}", f"via {_named(route.next_hop, names)}"


def _named(place: str, names: dict[str, str]) -> str:
    return f"{place} ({names[place]})" if place in names else place


def _services(plan: Plan, names: dict[str, str]) -> Iterator[Sequence[str]]:
    for host in plan.hosts:
        if host.service:
            address = host.ports[0].addresses[0]
            url = f"http://{f'[{address}]' if ':' in address else address}:{host.service.port}"
            calls = ", ".join(names[url_host(peer)] for peer in host.service.calls)
            yield host.service.name, url, f"on {host.name}" + (f", calls {calls}" if calls else "")


def _rules(plan: Plan, names: dict[str, str]) -> Iterator[Sequence[str]]:
    members: dict[str, list[str]] = {}
    for host in plan.hosts:
        members.setdefault(host.ports[0].security_groups[0], []).append(host.name)
    for group in plan.security_groups:
        whose = few(members[group.name])
        ingress: dict[str, dict[str, None]] = {}
        for rule in group.rules:
            if rule.direction == "ingress":
                ingress.setdefault(rule.match, {})[_source(rule, names)] = None
        for index, (match, sources) in enumerate(ingress.items()):
            yield "" if index else whose, match, "from " + ", ".join(sources)
        if not ingress:
            yield whose, "nothing", ""


def _source(rule: Rule, names: dict[str, str]) -> str:
    if rule.remote_cidr is None:
        return "anywhere"
    place = rule.remote_cidr.removesuffix("/128" if rule.ethertype == "IPv6" else "/32")
    return names.get(place, place)
