"""From a checked topology to its plan; the plan as plain data and back."""

from __future__ import annotations

import json
from functools import cache, cached_property
from ipaddress import ip_network
from itertools import product
from typing import TYPE_CHECKING, Any

from netorder.ip import IPV4, IPV6
from netorder.plan.model import (
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
    Subnet,
)
from netorder.routing.tables import merged
from netorder.topology import PEERS, SSH, HostSpec, Interface, Match, NetworkSpec, RouterSpec, Topology

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netorder.ip import Address, Prefix
    from netorder.routing.decide import Routing

__all__ = ["build_plan", "from_dict", "to_dict", "to_json"]

EGRESS = (
    Rule("egress", "IPv4", None, None, None, None),
    Rule("egress", "IPv6", None, None, None, None),
)
MOST_PAIRS = 10  # of a port's allowed address pairs, Neutron's default


def build_plan(topology: Topology) -> Plan:
    """Derive everything that follows from ``topology``."""
    return _Planner(topology).plan()


class _Planner:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._tables = topology.tables
        self._hosts = {host.name: host for host in topology.hosts}
        self._networks = {network.name: network for network in topology.networks}
        self._bastions = {way.through[-1] for way in topology.ssh_paths.values() if way and way.through}
        self._shared: dict[tuple[str, int], tuple[Route, ...]] = {}  # by network: its hosts' routes
        self._crossed: dict[tuple[int, str, str], tuple[str, ...]] = {}
        self._made: dict[tuple[Match, Prefix], Rule] = {}
        self._orders: dict[Rule, tuple[str, str, int, int, int, int]] = {}
        self._in_common: dict[tuple[tuple[int, frozenset[Match]], ...], tuple[Rule, ...]] = {}
        self._by_target = self._rules_by_target()
        self._forwarded = self._rules_of_forwarders()

    def plan(self) -> Plan:
        return Plan(
            topology=self._topology.name,
            external_network=self._topology.external_network,
            networks=tuple(self._network(network) for network in self._topology.networks),
            routers=tuple(self._router(router) for router in self._topology.routers),
            security_groups=self._security_groups,
            hosts=tuple(self._host(host) for host in self._topology.hosts),
        )

    def _cloud_name(self, name: str) -> str:
        return f"{self._topology.name}-{name}"

    # Networks and routers

    def _network(self, network: NetworkSpec) -> Network:
        name = self._cloud_name(network.name)
        subnets = []
        for subnet in network.subnets:
            version = subnet.cidr.version
            # a network of both versions has its IPv6 subnet by another name; a dot, which no name of the topology holds
            subnet_name = f"{name}.ipv6" if len(network.subnets) > 1 and version == IPV6 else name
            handed_out = network.routes == "subnet" and version == IPV4  # DHCPv6 has no routes
            subnets.append(
                Subnet(
                    cloud_name=subnet_name,
                    version=version,
                    cidr=str(subnet.cidr),
                    gateway_ip=str(subnet.gateway) if subnet.gateway else None,
                    dns_nameservers=subnet.dns_nameservers,
                    allocation_pool=(str(subnet.allocation_pool[0]), str(subnet.allocation_pool[1])),
                    host_routes=self._tables.of_network(network.name, version) if handed_out else (),
                )
            )
        return Network(network.name, name, tuple(subnets))

    def _router(self, router: RouterSpec) -> Router:
        name = self._cloud_name(router.name)
        declared = sorted(router.routes, key=lambda route: (route[0].version, route[0]))
        return Router(
            name=router.name,
            cloud_name=name,
            external=router.external,
            external_network=router.external_network,
            interfaces=tuple(
                # a dot, as above, so that no two ports are called the same
                RouterInterface(one.network, tuple(map(str, one.addresses)), f"{name}.{one.network}")
                for one in router.interfaces
            ),
            routes=(
                *(Route(str(to), str(via)) for to, via in declared),
                *self._tables.of_router(router.name, 4),
                *self._tables.of_router(router.name, 6),
            ),
        )

    # Hosts

    def _host(self, host: HostSpec) -> Host:
        derived = ["netorder"]
        if host.service:
            derived += ["services", f"service_{host.service.name}"]
        if host.name in self._bastions:
            derived.append("bastions")
        way = self._topology.ssh_paths[host.name]
        return Host(
            name=host.name,
            cloud_name=self._cloud_name(host.name),
            image=host.image,
            flavor=host.flavor,
            user=host.user,
            ports=tuple(self._port(host, index, one) for index, one in enumerate(host.interfaces)),
            gateways=self._gateways(host),
            floating_ip=host.floating_ip,
            forwarding=host.forward,
            routes=self._host_routes(host),
            ssh_path=way.through if way else None,
            ssh_address=str(self._ssh_address(host)),
            groups=(*derived, *host.groups),
            service=self._service(host),
        )

    def _port(self, host: HostSpec, index: int, interface: Interface) -> Port:
        name = self._cloud_name(host.name)
        return Port(
            # the first is named as its host, the others as routers' are
            cloud_name=name if index == 0 else f"{name}.{interface.network}",
            network=interface.network,
            addresses=tuple(map(str, interface.addresses)),
            security_groups=(self._group_of[host.name],),
            allowed_address_pairs=self._pairs.get((host.name, interface.network), ()),
        )

    def _gateways(self, host: HostSpec) -> tuple[str, ...]:
        found = []
        for version, routing in self._topology.routings.items():
            network = routing.default_network(host.name)
            subnet = self._networks[network].subnet(version) if network else None
            if subnet and subnet.gateway:
                found.append(str(subnet.gateway))
        return tuple(found)

    def _ssh_address(self, host: HostSpec) -> Address:
        way = self._topology.ssh_paths[host.name]
        address = host.address(way.target, way.version) if way and way.target else None
        return address or host.interfaces[0].addresses[0]

    def _host_routes(self, host: HostSpec) -> tuple[Route, ...]:
        """Return the declared routes and the derived ones; hosts of one network share theirs."""
        derived = self._derived_routes(host)
        if not host.routes:
            return derived
        routes = {ip_network(route.destination): route for route in derived}
        routes |= {to: Route(str(to), str(via)) for to, via in host.routes}
        return tuple(routes[to] for to in sorted(routes, key=lambda to: (to.version, to)))

    def _derived_routes(self, host: HostSpec) -> tuple[Route, ...]:
        asked = {self._by_prefix[to] for to, _ in host.routes if to in self._by_prefix}
        found: tuple[Route, ...] = ()
        for version, routing in self._topology.routings.items():
            networks = routing.homes[host.name]
            if asked:
                found += self._tables.of_host_without(host.name, version, asked)
            elif host.name in routing.several:
                found += self._tables.of_host(host.name, version)
            elif networks and not (self._networks[networks[0]].routes == "subnet" and version == IPV4):
                its = self._shared_routes(networks[0], version)
                found = (*found, *its) if found else its  # the very same tuple for many hosts: nothing is copied
        return found

    @cached_property
    def _by_prefix(self) -> dict[Prefix, str]:
        return {subnet.cidr: network.name for network in self._topology.networks for subnet in network.subnets}

    def _shared_routes(self, network: str, version: int) -> tuple[Route, ...]:
        key = (network, version)
        if key not in self._shared:
            self._shared[key] = self._tables.of_network(network, version)
        return self._shared[key]

    def _service(self, host: HostSpec) -> Service | None:
        if host.service is None:
            return None
        peers = tuple(
            (name, tuple(self._url(host, copy) for copy in self._serving[name]))
            for name in PEERS.get(host.service.name, ())
        )
        return Service(host.service.name, host.service.port, peers)

    @cached_property
    def _serving(self) -> dict[str, list[HostSpec]]:
        copies: dict[str, list[HostSpec]] = {}
        for host in self._topology.hosts:
            if host.service:
                copies.setdefault(host.service.name, []).append(host)
        return copies

    def _url(self, caller: HostSpec, callee: HostSpec) -> str:
        port = callee.service.port if callee.service else 0
        address = callee.addresses[0]
        for version, routing in self._topology.routings.items():
            if met := routing.meets(caller.name, callee.name):
                address = callee.address(met[1], version) or address
                break
        return f"http://[{address}]:{port}" if address.version == IPV6 else f"http://{address}:{port}"

    # Forwarding hosts

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """The prefixes that may come and go at a forwarding host's port on a network, for others."""
        found: dict[tuple[str, str], dict[int, set[str]]] = {}
        for version, routing in self._topology.routings.items():
            if not routing.graph.hosts:
                continue
            for source in routing.populated:
                for destination in routing.populated:
                    if source != destination and routing.talks(source, destination):
                        for crossing in routing.crossings(source, destination):
                            entry = found.setdefault((crossing.host, crossing.entry), {})
                            entry.setdefault(version, set()).add(destination)
                            leaving = found.setdefault((crossing.host, crossing.exit), {})
                            leaving.setdefault(version, set()).add(source)
        return {key: self._as_pairs(beyond) for key, beyond in found.items()}

    def _as_pairs(self, beyond: dict[int, set[str]]) -> tuple[str, ...]:
        pairs: list[Prefix] = []
        for version, networks in sorted(beyond.items()):
            cidrs = [subnet.cidr for name in networks if (subnet := self._networks[name].subnet(version))]
            prefixes = merged([(int(one.network_address), one.prefixlen) for one in cidrs], cidrs[0].max_prefixlen)
            pairs += [type(cidrs[0])((first, length)) for first, length in prefixes]
        if len(pairs) > MOST_PAIRS:
            pairs = [ip_network("0.0.0.0/0" if version == IPV4 else "::/0") for version in sorted(beyond)]
        return tuple(map(str, pairs))

    def _hosts_between(self, version: int, routing: Routing, source: str, destination: str) -> tuple[str, ...]:
        key = (version, source, destination)
        if key not in self._crossed:
            talk = source != destination and routing.talks(source, destination)
            crossings = routing.crossings(source, destination) if talk else ()
            self._crossed[key] = tuple(crossing.host for crossing in crossings)
        return self._crossed[key]

    def _rules_of_forwarders(self) -> dict[str, set[Rule]]:
        """Return what is let in to forwarding hosts for those behind them: their ports see it pass."""
        found: dict[str, set[Rule]] = {}
        for version, routing in self._topology.routings.items():
            if not routing.graph.hosts:
                continue
            for rule in self._topology.rules:
                targets = {
                    (match, network): None
                    for target in rule.targets
                    for match in self._matches(rule.matches, self._hosts[target] if rule.service else None)
                    for network in routing.homes[target]
                }
                parts = [
                    part
                    for cidr in rule.sources
                    if cidr.version == version
                    for part in self._parts(version, routing, cidr)
                ]
                for (match, destination), (source, part) in product(targets, parts):
                    for host in self._hosts_between(version, routing, source, destination):
                        found.setdefault(host, set()).add(self._ingress(match, part))
        return found

    def _parts(self, version: int, routing: Routing, cidr: Prefix) -> list[tuple[str, Prefix]]:
        """Return the networks that ``cidr`` shares addresses with, and these."""
        low, high = int(cidr.network_address), int(cidr.broadcast_address)
        found = []
        for name in routing.populated:
            subnet = self._networks[name].subnet(version)
            if subnet and int(subnet.cidr.network_address) <= high and low <= int(subnet.cidr.broadcast_address):
                found.append((name, cidr if cidr.prefixlen > subnet.cidr.prefixlen else subnet.cidr))
        return found

    # Security groups

    def _matches(self, matches: Iterable[Match], host: HostSpec | None) -> set[Match]:
        """Return the matches, and that of the host's service if one is given."""
        service = host.service if host else None
        return {*matches, *([Match("tcp", service.port, service.port)] if service else [])}

    def _rules_by_target(self) -> dict[str, list[tuple[int, frozenset[Match]]]]:
        """For each host what is let in to it: which rule, and what that matches there."""
        found: dict[str, list[tuple[int, frozenset[Match]]]] = {host.name: [] for host in self._topology.hosts}
        for index, rule in enumerate(self._topology.rules):
            plain = frozenset(rule.matches)
            for target in rule.targets:
                matches = self._matches(plain, self._hosts[target]) if rule.service else plain
                found[target].append((index, frozenset(matches)))
        return found

    def _common(self, its: tuple[tuple[int, frozenset[Match]], ...]) -> tuple[Rule, ...]:
        """Return the rules, in order, that all hosts have to which the same is let in."""
        if its not in self._in_common:
            ingress = {
                self._ingress(match, cidr)
                for index, matches in its
                for match in matches
                for cidr in self._topology.rules[index].sources
            }
            self._in_common[its] = tuple(sorted(ingress, key=self._order))
        return self._in_common[its]

    def _ingress(self, match: Match, cidr: Prefix) -> Rule:
        key = (match, cidr)
        if key not in self._made:
            remote = str(cidr) if cidr.prefixlen else None
            protocol = "ipv6-icmp" if match.protocol == "icmp" and cidr.version == IPV6 else match.protocol
            rule = Rule("ingress", f"IPv{cidr.version}", protocol, match.first or None, match.last or None, remote)
            self._made[key] = rule
            base, length = (int(cidr.network_address), cidr.prefixlen) if cidr.prefixlen else (0, 0)
            self._orders[rule] = (rule.ethertype, protocol, match.first, match.last, base, length)
        return self._made[key]

    def _order(self, rule: Rule) -> tuple[str, str, int, int, int, int]:
        return self._orders[rule]

    @cached_property
    def _security_groups(self) -> tuple[SecurityGroup, ...]:
        return tuple(
            SecurityGroup(hosts[0].name, self._cloud_name(hosts[0].name), rules)
            for rules, hosts in self._let_in.items()
        )

    @cached_property
    def _group_of(self) -> dict[str, str]:
        """The name of each host's group, which is that of the first host in it."""
        return {host.name: hosts[0].name for hosts in self._let_in.values() for host in hosts}

    @cached_property
    def _let_in(self) -> dict[tuple[Rule, ...], list[HostSpec]]:
        """The hosts that have the same rules, in the order of the first of each.

        Where hosts let each other in, each is also let in by itself, which costs nothing and makes them the same; a
        host alone does without that rule.
        """
        alike: dict[tuple[int, frozenset[str], frozenset[Rule]], list[HostSpec]] = {}
        for host in self._topology.hosts:
            common = self._common(tuple(self._by_target[host.name]))  # the very same tuple for many hosts
            kinds = frozenset(f"IPv{address.version}" for address in host.addresses)
            alike.setdefault((id(common), kinds, self._more(host)), []).append(host)
        found: dict[tuple[Rule, ...], list[HostSpec]] = {}
        for (_, kinds, more), hosts in alike.items():
            rules = self._common(tuple(self._by_target[hosts[0].name]))
            own = {f"{one}/{one.max_prefixlen}" for one in hosts[0].addresses} if len(hosts) == 1 else set[str]()
            rules = tuple(rule for rule in rules if rule.remote_cidr not in own and rule.ethertype in kinds)
            if others := more.difference(rules):
                rules = tuple(sorted((*rules, *others), key=self._order))
            found.setdefault((*EGRESS, *rules), []).extend(hosts)
        return found

    def _more(self, host: HostSpec) -> frozenset[Rule]:
        """Return what is let in to a host that no rule of the topology names it for: others' packets, and SSH."""
        more = set(self._forwarded.get(host.name, ()))
        way = self._topology.ssh_paths[host.name]
        if way and way.through and way.source:
            bastion = self._hosts[way.through[-1]].address(way.source, way.version)
            if bastion:
                more.add(self._ingress(Match("tcp", SSH, SSH), ip_network(bastion)))
        return frozenset(more)


def to_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain data, as JSON has it."""
    data: dict[str, Any] = json.loads(to_json(plan))
    return data


def to_json(plan: Plan) -> str:
    """Return the plan as JSON text that is the same every time and diffs well."""
    return _text(plan, "\n", {}) + "\n"


def _text(value: Any, line: str, known: dict[tuple[int, str], str]) -> str:  # noqa: ANN401 - any value of the model
    """Write a value as JSON, its lines beginning as ``line``; ``known`` has what many share, as hosts their routes.

    json.dumps writes each of the rules and routes of a thousand hosts anew, and indents in Python, not in C.
    """
    if isinstance(value, str | int | None):
        return _scalar(value)
    key = (id(value), line)
    if key in known:
        return known[key]
    deeper = line + " "
    if isinstance(value, tuple):
        items = [_text(item, deeper, known) for item in value]
        text = f"[{deeper}{f',{deeper}'.join(items)}{line}]" if items else "[]"
    else:
        pairs = [f'"{name}": {_text(getattr(value, name), deeper, known)}' for name in value.__dataclass_fields__]
        text = f"{{{deeper}{f',{deeper}'.join(pairs)}{line}}}"
    if isinstance(value, Route | Rule) or (isinstance(value, tuple) and value and isinstance(value[0], Route)):
        known[key] = text
    return text


_scalar = cache(json.dumps)


def from_dict(data: dict[str, Any]) -> Plan:
    """Return the plan that ``to_dict`` gave ``data`` for."""

    def routes(items: list[dict[str, str]]) -> tuple[Route, ...]:
        return tuple(Route(**item) for item in items)

    return Plan(
        topology=data["topology"],
        external_network=data["external_network"],
        networks=tuple(
            Network(
                network["name"],
                network["cloud_name"],
                tuple(
                    Subnet(**_tupled(subnet) | {"host_routes": routes(subnet["host_routes"])})
                    for subnet in network["subnets"]
                ),
            )
            for network in data["networks"]
        ),
        routers=tuple(
            Router(
                **_tupled(router)
                | {
                    "interfaces": tuple(RouterInterface(**_tupled(one)) for one in router["interfaces"]),
                    "routes": routes(router["routes"]),
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
                    "ports": tuple(Port(**_tupled(port)) for port in host["ports"]),
                    "routes": routes(host["routes"]),
                    "service": Service(**_tupled(host["service"])) if host["service"] else None,
                }
            )
            for host in data["hosts"]
        ),
    )


def _tupled(value: dict[str, Any]) -> dict[str, Any]:
    """Return ``value`` with tuples for its lists, and for the lists in these."""
    return {key: _frozen(item) for key, item in value.items()}


def _frozen(item: Any) -> Any:  # noqa: ANN401 - any JSON value
    return tuple(map(_frozen, item)) if isinstance(item, list) else item
