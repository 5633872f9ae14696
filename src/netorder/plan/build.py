"""From a checked topology to its plan."""

from __future__ import annotations

from functools import cached_property
from ipaddress import ip_network
from typing import TYPE_CHECKING

from netorder.ip import ANYWHERE, IPV4, IPV6, VERSIONS, covers, joined
from netorder.plan.model import (
    Application,
    Endpoint,
    FloatingIp,
    Host,
    Network,
    Plan,
    Port,
    Route,
    Router,
    RouterInterface,
    ServerGroup,
    Subnet,
)
from netorder.plan.security_groups import security_groups
from netorder.topology import (
    ApplicationSpec,
    HostSpec,
    Interface,
    NetworkSpec,
    RouterSpec,
    Topology,
    group_of,
    outside_interface,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netorder.ip import Address, Prefix

__all__ = ["build_plan"]

MOST_PAIRS = 10  # of a port's allowed address pairs, Neutron's default


def build_plan(topology: Topology) -> Plan:
    """Derive everything that follows from ``topology``."""
    return _Planner(topology).plan()


class _Planner:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._tables = topology.tables
        self._networks = {network.name: network for network in topology.networks}
        self._bastions = {path.through[-1] for path in topology.ssh_paths.values() if path and path.through}
        self._shared: dict[tuple[str, int], tuple[Route, ...]] = {}  # by network: its hosts' routes
        self._security_groups, self._group_of = security_groups(topology)

    def plan(self) -> Plan:
        return Plan(
            topology=self._topology.name,
            external_network=self._topology.external_network,
            networks=tuple(self._network(network) for network in self._topology.networks),
            routers=tuple(self._router(router) for router in self._topology.routers),
            security_groups=self._security_groups,
            hosts=tuple(self._host(host) for host in self._topology.hosts),
            key_pair=self._topology.key_pair,
            cloud=self._topology.cloud,
            group_places=tuple(_group_places(self._topology).items()),
            server_groups=tuple(
                ServerGroup(group.name, self._cloud_name(group.name), group.policy)
                for group in self._topology.server_groups
            ),
        )

    def _cloud_name(self, name: str) -> str:
        return f"{self._topology.name}-{name}"

    # Networks and routers

    def _network(self, network: NetworkSpec) -> Network:
        parent = self._networks[network.subnet_of] if network.subnet_of else network
        cloud_name = parent.existing or self._cloud_name(parent.name)
        name = self._cloud_name(network.name) if network.subnet_of else cloud_name
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
                    allocation_pool=(str(pool[0]), str(pool[1])) if (pool := subnet.allocation_pool) else None,
                    host_routes=self._tables.of_network(network.name, version) if handed_out else (),
                    dhcp=network.dhcp,
                    ipv6_address_mode=subnet.ipv6_address_mode,
                )
            )
        return Network(
            network.name,
            cloud_name,
            tuple(subnets),
            network.mtu,
            network.existing,
            network.place,
            subnet_pools=network.subnet_pools,
            subnet_of=network.subnet_of,
        )

    def _router(self, router: RouterSpec) -> Router:
        own = self._cloud_name(router.name)
        declared = sorted(router.routes, key=lambda route: (route[0].version, route[0]))
        return Router(
            name=router.name,
            cloud_name=router.existing or own,
            external=router.external,
            external_network=router.external_network,
            interfaces=tuple(
                # a dot, as above, so that no two ports are called the same
                RouterInterface(
                    one.network,
                    tuple(map(str, one.addresses)),
                    f"{own}.{one.network}",
                    own=not (router.existing and self._networks[one.network].existing),
                )
                for one in router.interfaces
            ),
            routes=(
                *(Route(str(to), str(via)) for to, via in declared),
                *self._tables.of_router(router.name, 4),
                *self._tables.of_router(router.name, 6),
            ),
            existing=router.existing,
            place=router.place,
            external_address=str(router.external_address) if router.external_address else None,
            snat=router.snat,
        )

    # Hosts

    def _host(self, host: HostSpec) -> Host:
        derived = ["netorder"]
        if host.applications:
            derived += ["applications", *(group_of(one.name) for one in host.applications)]
        if host.name in self._bastions:
            derived.append("bastions")
        path = self._topology.ssh_paths[host.name]
        return Host(
            name=host.name,
            cloud_name=self._cloud_name(host.name),
            image=host.image,
            flavor=host.flavor,
            user=host.user,
            proxy=host.proxy,
            names=host.names,
            ports=tuple(self._port(host, index, one) for index, one in enumerate(host.interfaces)),
            gateways=self._gateways(host),
            floating_ip=host.floating_ip,
            forwarding=host.forward,
            routes=self._host_routes(host),
            ssh_path=path.through if path else None,
            ssh_address=str(self._ssh_address(host)),
            groups=(*derived, *host.groups),
            applications=tuple(self._application(host, one) for one in host.applications),
            manages=host.manages,
            server=host.server,
            floating_ips=self._floating(host),
            outside_address=self._outside_address(host),
            forwards=host.forwards,
            clone=host.clone,
            clone_of=host.clone_of,
            memory=host.memory,
            loopback_addresses=tuple(map(str, host.loopbacks)),
        )

    def _floating(self, host: HostSpec) -> tuple[FloatingIp, ...] | None:
        plain = (FloatingIp(host.interfaces[0].network),)
        return host.floating_ips if host.floating_ips and host.floating_ips != plain else None

    def _outside_address(self, host: HostSpec) -> str | None:
        one = outside_interface(self._networks, host)
        return str(one.address(IPV4)) if one else None

    def _port(self, host: HostSpec, index: int, interface: Interface) -> Port:
        name = self._cloud_name(host.name)
        return Port(
            # the first is named as its host, the others as routers' are
            cloud_name=name if index == 0 else f"{name}.{interface.network}",
            network=interface.network,
            addresses=tuple(map(str, interface.addresses)),
            security_groups=(self._group_of[host.name],) if host.port_security else (),
            allowed_address_pairs=(self._pairs.get((host.name, interface.network), ()) if host.port_security else ()),
            port_security=host.port_security,
            existing_groups=host.security_groups or None,
            mac_address=interface.mac,
            virtual_addresses=tuple(map(str, interface.virtual)),
        )

    def _gateways(self, host: HostSpec) -> tuple[str, ...]:
        found: list[str] = []
        for version, routing in self._topology.routings.items():
            declared = [via for to, via in host.routes if to.prefixlen == 0 and to.version == version]
            found += map(str, declared)
            network = None if declared else routing.default_network(host.name)
            subnet = self._networks[network].subnet(version) if network else None
            if subnet and subnet.gateway:
                found.append(str(subnet.gateway))
        return tuple(found)

    def _ssh_address(self, host: HostSpec) -> Address:
        path = self._topology.ssh_paths[host.name]
        address = host.address(path.target, path.version) if path and path.target else None
        return address or host.interfaces[0].addresses[0]

    def _host_routes(self, host: HostSpec) -> tuple[Route, ...]:
        """Return the declared routes and the derived ones; hosts of one network share theirs."""
        derived = self._derived_routes(host)
        if not host.routes:
            return derived
        routes = {ip_network(route.destination): route for route in derived}
        routes |= {to: Route(str(to), str(via)) for to, via in host.routes if to.prefixlen}  # else it is a gateway
        return tuple(routes[to] for to in sorted(routes, key=lambda to: (to.version, to)))

    def _derived_routes(self, host: HostSpec) -> tuple[Route, ...]:
        found: tuple[Route, ...] = ()
        for version, routing in self._topology.routings.items():
            networks = routing.homes[host.name]
            mine = (to for to, _ in host.routes if to.version == version)  # a route is one IP version's alone
            declared = {self._by_prefix[to] for to in mine if to in self._by_prefix}
            if declared:
                found += self._tables.of_host_without(host.name, version, declared)
            elif host.name in routing.several:
                found += self._tables.of_host(host.name, version)
            elif networks and not (self._networks[networks[0]].routes == "subnet" and version == IPV4):
                shared = self._shared_routes(networks[0], version)
                found = (*found, *shared) if found else shared  # the very same tuple for many hosts: nothing is copied
        return found

    @cached_property
    def _by_prefix(self) -> dict[Prefix, str]:
        return {subnet.cidr: network.name for network in self._topology.networks for subnet in network.subnets}

    @cached_property
    def _prefixes(self) -> dict[tuple[str, int], Prefix]:
        """The prefix of each network that routing knows, by its IP version: loopback addresses are some."""
        networks = self._topology.networks
        found: dict[tuple[str, int], Prefix] = {
            (one.name, subnet.cidr.version): subnet.cidr for one in networks for subnet in one.subnets
        }
        for host in self._topology.hosts:
            for version in VERSIONS:
                found |= {(name, version): cidr for name, cidr in host.loopback_networks(version).items()}
        return found

    def _shared_routes(self, network: str, version: int) -> tuple[Route, ...]:
        key = (network, version)
        if key not in self._shared:
            self._shared[key] = self._tables.of_network(network, version)
        return self._shared[key]

    # Applications

    def _application(self, host: HostSpec, application: ApplicationSpec) -> Application:
        return Application(
            name=application.name,
            role=application.role,
            tcp_ports=tuple(one.first for one in application.ports if one.protocol == "tcp"),
            udp_ports=tuple(one.first for one in application.ports if one.protocol == "udp"),
            calls=tuple(
                (name, tuple(self._endpoint(host, copy, its) for copy, its in self._running[name]))
                for name in application.calls
            ),
            stage=self._stages[application.name],
            variables=application.variables,
            check=application.check,
            ready=application.ready,
            units=application.units,
            become=application.become,
            gather_facts=application.gather_facts,
            packages=application.packages,
            entry_points=application.entry_points,
            directory=application.directory,
            container=application.container,
            place=application.place,
        )

    @cached_property
    def _running(self) -> dict[str, list[tuple[HostSpec, ApplicationSpec]]]:
        """The hosts of each application, each with what it is there."""
        copies: dict[str, list[tuple[HostSpec, ApplicationSpec]]] = {}
        for host in self._topology.hosts:
            for application in host.applications:
                copies.setdefault(application.name, []).append((host, application))
        return copies

    @cached_property
    def _stages(self) -> dict[str, int]:
        """The stage of each application; of those that call each other, the one that was found first is the last."""
        found: dict[str, int] = {}

        def stage(name: str, callers: tuple[str, ...]) -> int:
            if name not in found:
                calls = [one for one in self._running[name][0][1].calls if one not in (name, *callers)]
                found[name] = max((stage(one, (*callers, name)) + 1 for one in calls), default=0)
            return found[name]

        for name in self._running:
            stage(name, ())
        return found

    def _endpoint(self, caller: HostSpec, callee: HostSpec, application: ApplicationSpec) -> Endpoint:
        address = callee.addresses[0]
        for version, routing in self._topology.routings.items():
            if met := routing.meets(caller.name, callee.name):
                address = callee.address(met[1], version) or address
                break
        return Endpoint(callee.name, str(address), application.port)

    # Forwarding hosts

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """What passes a host's port beside its own addresses, by host and network.

        Those are virtual and loopback addresses, and the prefixes of other hosts whose packets it forwards.
        """
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
                            outgoing = found.setdefault((crossing.host, crossing.exit), {})
                            outgoing.setdefault(version, set()).add(source)
        others = self._outside_pairs()
        virtual = {
            (host.name, one.network): {
                ip_network(address): str(address)
                for address in (*one.virtual, *(its for its in host.loopbacks if one.address(its.version)))
            }
            for host in self._topology.hosts
            for one in host.interfaces
            if one.virtual or host.loopbacks
        }
        for key, its in virtual.items():
            others.setdefault(key, set()).update(its)
        return {
            key: self._as_pairs(found.get(key, {}), others.get(key, set()), virtual.get(key, {}))
            for key in dict.fromkeys([*found, *others])
        }

    def _outside_pairs(self) -> dict[tuple[str, str], set[Prefix]]:
        """Return what passes hosts by declared routes to the outside: there on the side of the senders, they beyond."""
        hosts = {host.name: host for host in self._topology.hosts if host.forward}
        owners: dict[Address, list[tuple[HostSpec, str]]] = {}
        for host in hosts.values():
            for one in host.interfaces:
                for address in (*one.addresses, *one.virtual):
                    owners.setdefault(address, []).append((host, one.network))
        found: dict[tuple[str, str], set[Prefix]] = {}
        senders: tuple[RouterSpec | HostSpec, ...] = (*self._topology.routers, *self._topology.hosts)
        for owner in senders:
            outside = [route for route in owner.routes if route[0] not in self._by_prefix]
            passed = [(to, host, entry) for to, via in outside for host, entry in owners.get(via, ())]
            for to, host, entry in passed:
                found.setdefault((host.name, entry), set()).add(to)
                for there, hop in host.routes:
                    if covers(there, to):
                        leaving = next(
                            one.network
                            for one in host.interfaces
                            if (subnet := self._networks[one.network].subnet(to.version)) and hop in subnet.cidr
                        )
                        found.setdefault((host.name, leaving), set()).update(self._senders(owner, entry, to.version))
        return found

    def _senders(self, owner: RouterSpec | HostSpec, network: str, version: int) -> set[Prefix]:
        """Return the prefixes of those whose packets ``owner`` may send out on a network: its own, or all joined."""
        routing = self._topology.routings[version]
        if isinstance(owner, RouterSpec) or owner.forward:
            senders = [one for one in routing.populated if routing.graph.joined(one, network)]
        else:
            senders = [network, *owner.loopback_networks(version)]
        return {self._prefixes[one, version] for one in senders if (one, version) in self._prefixes}

    def _as_pairs(
        self, beyond: dict[int, set[str]], others: set[Prefix], virtual: Mapping[Prefix, str]
    ) -> tuple[str, ...]:
        inside = {
            self._prefixes[name, version]
            for version, networks in beyond.items()
            for name in networks
            if (name, version) in self._prefixes
        }
        pairs = joined(inside | others)
        if len(pairs) > MOST_PAIRS:
            pairs = [everything for everything in ANYWHERE if any(one.version == everything.version for one in pairs)]
        return tuple(virtual.get(one, str(one)) for one in pairs)


def _group_places(topology: Topology) -> dict[str, str]:
    """Return where rules first name each security group that exists in the cloud."""
    found: dict[str, str] = {}
    for rule in topology.rules:
        for group in rule.security_groups:
            found.setdefault(group, rule.place)
    for limit in topology.egress:
        for _, group in limit.to_members:
            found.setdefault(group, limit.place)
    return found
