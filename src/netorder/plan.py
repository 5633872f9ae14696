"""From a checked topology to its plan; the plan as data and as text to read."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from netorder.model import (
    Host,
    Network,
    Plan,
    Port,
    Route,
    Router,
    RouterInterface,
    Rule,
    SecurityGroup,
    Service,
)
from netorder.routes import ways_in
from netorder.topology import ANYWHERE, PEERS, SSH, Match

if TYPE_CHECKING:
    from netorder.routes import Graph
    from netorder.topology import HostSpec, Topology

__all__ = ["from_dict", "plan", "to_dict"]

EGRESS = (
    Rule("egress", "IPv4", None, None, None, None),
    Rule("egress", "IPv6", None, None, None, None),
)


def plan(topology: Topology) -> Plan:
    """Derive everything that follows from ``topology``."""
    graph = topology.graph()
    ways = ways_in(graph, {host.name: host.network for host in topology.hosts}, topology.entries)
    return Plan(
        topology=topology.name,
        external_network=topology.external_network,
        networks=tuple(
            Network(
                name=network.name,
                cloud_name=f"{topology.name}-{network.name}",
                cidr=str(network.cidr),
                gateway_ip=str(network.gateway) if network.gateway else None,
                dns_nameservers=network.dns_nameservers,
                allocation_pool=(str(network.allocation_pool[0]), str(network.allocation_pool[1])),
            )
            for network in topology.networks
        ),
        routers=_routers(topology, graph, ways),
        security_groups=tuple(_security_group(topology, host, ways) for host in topology.hosts),
        hosts=tuple(_host(topology, graph, host, ways) for host in topology.hosts),
    )


def _addresses(topology: Topology) -> dict[tuple[str, str], str]:
    """Return each router's address on each of its networks."""
    return {
        (router.name, network): str(address) for router in topology.routers for network, address in router.interfaces
    }


def _routers(topology: Topology, graph: Graph, ways: dict[str, tuple[str, ...] | None]) -> tuple[Router, ...]:
    addresses = _addresses(topology)
    cidrs = {network.name: network.cidr for network in topology.networks}
    routes: dict[str, set[tuple[IPv4Network, str]]] = {router.name: set() for router in topology.routers}
    for start, destination in _transits(topology, graph, ways):
        for router, hop in graph.onward(start, destination):
            routes[router].add((cidrs[destination], addresses[hop.router, hop.network]))
    return tuple(
        Router(
            name=router.name,
            cloud_name=f"{topology.name}-{router.name}",
            external=router.external,
            interfaces=tuple(
                # a dot, which no name holds, so that no two ports are called the same
                RouterInterface(network, str(address), f"{topology.name}-{router.name}.{network}")
                for network, address in router.interfaces
            ),
            routes=tuple(Route(str(cidr), next_hop) for cidr, next_hop in sorted(routes[router.name])),
        )
        for router in topology.routers
    )


def _transits(topology: Topology, graph: Graph, ways: dict[str, tuple[str, ...] | None]) -> set[tuple[str, str]]:
    """Return the (first router, destination network) pairs of all traffic that routers must carry.

    These are the ways from every network to every other, and the answers of hosts to those that SSH comes through: a host
    that has no static route yet, for that is what SSH brings, answers by its default gateway.
    """
    transits = {
        (first, destination)
        for source in graph.networks
        for destination in graph.networks
        if source != destination and (first := graph.first_hop(source, destination))
    }
    network_of = {host.name: host.network for host in topology.hosts}
    for host, way in ways.items():
        gateway = graph.gateways.get(network_of[host])
        if way and gateway and network_of[way[-1]] != network_of[host]:
            transits.add((gateway, network_of[way[-1]]))
    return transits


def _host(topology: Topology, graph: Graph, host: HostSpec, ways: dict[str, tuple[str, ...] | None]) -> Host:
    name = f"{topology.name}-{host.name}"
    is_bastion = any(host.name in (way or ()) for way in ways.values())
    groups = ["netorder"]
    if host.service:
        groups += ["services", f"service_{host.service.name}"]
    if is_bastion:
        groups.append("bastions")
    return Host(
        name=host.name,
        cloud_name=name,
        image=host.image,
        flavor=host.flavor,
        user=host.user,
        port=Port(name, host.network, str(host.address), (host.name,)),
        floating_ip=host.floating_ip,
        routes=_host_routes(topology, graph, host),
        way_in=ways[host.name],
        groups=(*groups, *host.groups),
        service=_service(topology, host),
    )


def _host_routes(topology: Topology, graph: Graph, host: HostSpec) -> tuple[Route, ...]:
    """Return the routes to all networks that are best reached by another router than the default gateway."""
    addresses = _addresses(topology)
    routes = list(host.routes)
    for network in topology.networks:
        if network.name == host.network:
            continue
        first = graph.first_hop(host.network, network.name)
        if first and first != graph.gateways.get(host.network):
            routes.append((network.cidr, addresses[first, host.network]))
    return tuple(Route(str(cidr), str(next_hop)) for cidr, next_hop in sorted(routes, key=lambda route: route[0]))


def _service(topology: Topology, host: HostSpec) -> Service | None:
    if host.service is None:
        return None
    peers = []
    for name in PEERS.get(host.service.name, ()):
        callee = next(other for other in topology.hosts if other.service and other.service.name == name)
        assert callee.service is not None  # noqa: S101 - for the type checker: chosen by its service
        peers.append((name, f"http://{callee.address}:{callee.service.port}"))
    return Service(host.service.name, host.service.port, tuple(peers))


def _security_group(topology: Topology, host: HostSpec, ways: dict[str, tuple[str, ...] | None]) -> SecurityGroup:
    own = IPv4Network(host.address)
    ingress: set[Rule] = set()
    for rule in topology.rules:
        if host.name not in rule.targets:
            continue
        matches = list(rule.matches)
        if rule.service and host.service:
            matches.append(Match("tcp", host.service.port, host.service.port))
        ingress |= {_ingress(match, cidr) for match in matches for cidr in rule.sources if cidr != own}
    if way := ways[host.name]:
        bastion = next(other for other in topology.hosts if other.name == way[-1])
        ingress.add(_ingress(Match("tcp", SSH, SSH), IPv4Network(bastion.address)))
    name = f"{topology.name}-{host.name}"
    return SecurityGroup(host.name, name, (*EGRESS, *sorted(ingress, key=_by_port)))


def _ingress(match: Match, cidr: IPv4Network) -> Rule:
    return Rule("ingress", "IPv4", match.protocol, match.first, match.last, None if cidr == ANYWHERE else str(cidr))


def _by_port(rule: Rule) -> tuple[str, int, int, IPv4Network]:
    remote = IPv4Network(rule.remote_cidr) if rule.remote_cidr else ANYWHERE
    return rule.protocol or "", rule.port_min or 0, rule.port_max or 0, remote


def to_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain data: mappings, lists, texts, numbers. ``json.dumps`` of it is the same every time."""
    data: dict[str, Any] = dataclasses.asdict(plan, dict_factory=dict)
    return _listed(data)  # type: ignore[no-any-return]


def _listed(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return ``value`` with lists for tuples, as JSON would give it back."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value


def from_dict(data: dict[str, Any]) -> Plan:
    """Return the plan that ``to_dict`` gave ``data`` for."""
    return Plan(
        topology=data["topology"],
        external_network=data["external_network"],
        networks=tuple(
            Network(
                **network
                | {
                    "dns_nameservers": tuple(network["dns_nameservers"]),
                    "allocation_pool": tuple(network["allocation_pool"]),
                }
            )
            for network in data["networks"]
        ),
        routers=tuple(
            Router(
                **router
                | {
                    "interfaces": tuple(RouterInterface(**interface) for interface in router["interfaces"]),
                    "routes": tuple(Route(**route) for route in router["routes"]),
                }
            )
            for router in data["routers"]
        ),
        security_groups=tuple(
            SecurityGroup(**group | {"rules": tuple(Rule(**rule) for rule in group["rules"])})
            for group in data["security_groups"]
        ),
        hosts=tuple(_host_from_dict(host) for host in data["hosts"]),
    )


def _host_from_dict(data: dict[str, Any]) -> Host:
    port, service = data["port"], data["service"]
    return Host(
        **data
        | {
            "port": Port(**port | {"security_groups": tuple(port["security_groups"])}),
            "routes": tuple(Route(**route) for route in data["routes"]),
            "way_in": None if data["way_in"] is None else tuple(data["way_in"]),
            "groups": tuple(data["groups"]),
            "service": service and Service(**service | {"peers": tuple(map(tuple, service["peers"]))}),
        }
    )
