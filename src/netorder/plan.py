"""From a checked topology to its plan; the plan as plain data and back."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from netorder.model import Host, Network, Plan, Port, Route, Router, RouterInterface, Rule, SecurityGroup, Service
from netorder.routes import ways_in
from netorder.spec import ANYWHERE, PEERS, SSH, HostSpec, Match, RouterSpec, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["from_dict", "plan", "to_dict"]

EGRESS = (
    Rule("egress", "IPv4", None, None, None, None),
    Rule("egress", "IPv6", None, None, None, None),
)


def plan(topology: Topology) -> Plan:
    """Derive everything that follows from ``topology``."""
    return _Planner(topology).plan()


class _Planner:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._graph = topology.graph()
        self._cidrs = {network.name: network.cidr for network in topology.networks}
        self._hosts = {host.name: host for host in topology.hosts}
        self._routers = {
            (router.name, network): str(address)
            for router in topology.routers
            for network, address in router.interfaces
        }
        self._ways = ways_in(self._graph, {host.name: host.network for host in topology.hosts}, topology.entries)
        self._bastions = {way[-1] for way in self._ways.values() if way}

    def plan(self) -> Plan:
        return Plan(
            topology=self._topology.name,
            external_network=self._topology.external_network,
            networks=tuple(
                Network(
                    name=network.name,
                    cloud_name=self._cloud_name(network.name),
                    cidr=str(network.cidr),
                    gateway_ip=str(network.gateway) if network.gateway else None,
                    dns_nameservers=network.dns_nameservers,
                    allocation_pool=(str(network.allocation_pool[0]), str(network.allocation_pool[1])),
                )
                for network in self._topology.networks
            ),
            routers=tuple(self._router(router) for router in self._topology.routers),
            security_groups=tuple(self._security_group(host) for host in self._topology.hosts),
            hosts=tuple(self._host(host) for host in self._topology.hosts),
        )

    def _cloud_name(self, name: str) -> str:
        return f"{self._topology.name}-{name}"

    def _router(self, router: RouterSpec) -> Router:
        return Router(
            name=router.name,
            cloud_name=self._cloud_name(router.name),
            external=router.external,
            interfaces=tuple(
                # a dot, which no name holds, so that no two ports are called the same
                RouterInterface(network, str(address), f"{self._cloud_name(router.name)}.{network}")
                for network, address in router.interfaces
            ),
            routes=tuple(Route(str(cidr), next_hop) for cidr, next_hop in sorted(self._transit_routes[router.name])),
        )

    @cached_property
    def _transit_routes(self) -> dict[str, set[tuple[IPv4Network, str]]]:
        """The (destination, next hop) pairs that each router needs to pass on what comes to it."""
        routes: dict[str, set[tuple[IPv4Network, str]]] = {router.name: set() for router in self._topology.routers}
        done: set[tuple[str, str]] = set()
        for router, destination in self._transits():
            here = router
            # where another way has passed, the rest of this one is known
            while (here, destination) not in done and (hop := self._graph.next_hop(here, destination)):
                done.add((here, destination))
                routes[here].add((self._cidrs[destination], self._routers[hop.router, hop.network]))
                here = hop.router
        return routes

    def _transits(self) -> Iterator[tuple[str, str]]:
        """Yield first router and destination network of all traffic that routers must carry.

        These are the ways from every network to every other, and the answers to SSH of the hosts behind others: static
        routes are what SSH brings them, so until then they answer by their default gateway.
        """
        for source in self._graph.networks:
            for destination in self._graph.networks:
                first = self._graph.first_hop(source, destination)
                if source != destination and first:
                    yield first, destination
        for host, way in self._ways.items():
            source = self._hosts[host].network
            if way and self._hosts[way[-1]].network != source:
                yield self._graph.gateways[source], self._hosts[way[-1]].network

    def _host(self, host: HostSpec) -> Host:
        derived = ["netorder"]
        if host.service:
            derived += ["services", f"service_{host.service.name}"]
        if host.name in self._bastions:
            derived.append("bastions")
        name = self._cloud_name(host.name)
        return Host(
            name=host.name,
            cloud_name=name,
            image=host.image,
            flavor=host.flavor,
            user=host.user,
            port=Port(name, host.network, str(host.address), (host.name,)),
            floating_ip=host.floating_ip,
            routes=self._host_routes(host),
            way_in=self._ways[host.name],
            groups=(*derived, *host.groups),
            service=self._service(host),
        )

    def _host_routes(self, host: HostSpec) -> tuple[Route, ...]:
        """Return the declared routes, and those to all networks that another router than the gateway is nearer to."""
        routes = [(cidr, str(next_hop)) for cidr, next_hop in host.routes]
        for name, cidr in self._cidrs.items():
            first = self._graph.first_hop(host.network, name)
            if name != host.network and first and first != self._graph.gateways[host.network]:
                routes.append((cidr, self._routers[first, host.network]))
        return tuple(Route(str(cidr), next_hop) for cidr, next_hop in sorted(routes))

    def _service(self, host: HostSpec) -> Service | None:
        if host.service is None:
            return None
        first = {other.service.name: other for other in reversed(self._topology.hosts) if other.service}
        peers = tuple((name, _url(first[name])) for name in PEERS.get(host.service.name, ()))
        return Service(host.service.name, host.service.port, peers)

    def _security_group(self, host: HostSpec) -> SecurityGroup:
        ingress: set[Rule] = set()
        for rule in self._topology.rules:
            if host.name not in rule.targets:
                continue
            matches = set(rule.matches)
            if rule.service and host.service:
                matches.add(Match("tcp", host.service.port, host.service.port))
            others = [cidr for cidr in rule.sources if cidr != IPv4Network(host.address)]
            ingress |= {_ingress(match, cidr) for match in matches for cidr in others}
        if way := self._ways[host.name]:
            ingress.add(_ingress(Match("tcp", SSH, SSH), IPv4Network(self._hosts[way[-1]].address)))
        return SecurityGroup(host.name, self._cloud_name(host.name), (*EGRESS, *sorted(ingress, key=_by_port)))


def _url(host: HostSpec) -> str:
    port = host.service.port if host.service else 0
    return f"http://{host.address}:{port}"


def _ingress(match: Match, cidr: IPv4Network) -> Rule:
    remote = None if cidr == ANYWHERE else str(cidr)
    return Rule("ingress", "IPv4", match.protocol, match.first or None, match.last or None, remote)


def _by_port(rule: Rule) -> tuple[str, int, int, IPv4Network]:
    remote = IPv4Network(rule.remote_cidr) if rule.remote_cidr else ANYWHERE
    return rule.protocol or "", rule.port_min or 0, rule.port_max or 0, remote


def to_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain data, as JSON has it; ``json.dumps`` of it is the same every time."""
    data: dict[str, Any] = _plain(dataclasses.asdict(plan))
    return data


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def from_dict(data: dict[str, Any]) -> Plan:
    """Return the plan that ``to_dict`` gave ``data`` for."""
    return Plan(
        topology=data["topology"],
        external_network=data["external_network"],
        networks=tuple(Network(**_tupled(network)) for network in data["networks"]),
        routers=tuple(
            Router(
                **_tupled(router)
                | {
                    "interfaces": tuple(RouterInterface(**interface) for interface in router["interfaces"]),
                    "routes": tuple(Route(**route) for route in router["routes"]),
                }
            )
            for router in data["routers"]
        ),
        security_groups=tuple(
            SecurityGroup(group["name"], group["cloud_name"], tuple(Rule(**rule) for rule in group["rules"]))
            for group in data["security_groups"]
        ),
        hosts=tuple(
            Host(
                **_tupled(host)
                | {
                    "port": Port(**_tupled(host["port"])),
                    "routes": tuple(Route(**route) for route in host["routes"]),
                    "service": Service(**_tupled(host["service"])) if host["service"] else None,
                }
            )
            for host in data["hosts"]
        ),
    )


def _tupled(value: dict[str, Any]) -> dict[str, Any]:
    """Return ``value`` with tuples for its lists, and for the lists in these."""
    return {
        key: tuple(tuple(part) if isinstance(part, list) else part for part in item) if isinstance(item, list) else item
        for key, item in value.items()
    }
