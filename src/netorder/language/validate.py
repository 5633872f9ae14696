"""What follows from a topology as a whole: routings and ways in; and what is wrong with it as a whole."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from netorder.ip import IPV4, VERSIONS
from netorder.routing.decide import Routing
from netorder.routing.ssh_paths import ssh_paths
from netorder.topology import PEERS, SSH, HostSpec, RouterSpec, RuleSpec, Topology

if TYPE_CHECKING:
    from netorder.ip import Address, Prefix
    from netorder.language.document import Reader
    from netorder.language.yaml_source import Path

__all__ = ["check", "derive", "entries"]

MOST_HOST_ROUTES = 20  # of a Neutron subnet, by default (max_subnet_host_routes)


def derive(topology: Topology, reader: Reader) -> Topology:
    """Return the topology with its routings and ways in; report routes asked for by hand that cannot be."""
    routings: dict[int, Routing] = {}
    gateways = {network.name: network.gateway_router for network in topology.networks if network.gateway_router}
    for version in VERSIONS:
        graph = topology.graph(version)
        if not graph.networks:
            continue
        its = {network: router for network, router in gateways.items() if network in graph.on}
        homes = topology.homes(version)
        routings[version] = Routing(graph, homes, its, {})
        if asked := _asked(topology, version, routings[version], reader):
            routings[version] = Routing(graph, homes, its, asked)
    paths = ssh_paths([host.name for host in topology.hosts], topology.entries, routings)
    modes = {network.name: network.routes for network in topology.networks}
    for version, routing in routings.items():
        forced = {
            (way.target, way.source)
            for way in paths.values()
            if way and way.through and way.version == version and way.target != way.source
            # what DHCP hands out, a host has from the start
            if not (modes[str(way.target)] == "subnet" and version == IPV4)
        }
        only = [network for network, mode in modes.items() if mode == "router"]
        routing.decide([(str(one), str(other)) for one, other in forced], only)
    return dataclasses.replace(topology, routings=routings, ssh_paths=paths)


def entries(hosts: tuple[HostSpec, ...], rules: tuple[RuleSpec, ...], own: list[Prefix]) -> frozenset[str]:
    """Return the hosts with a floating address that let SSH in from somewhere outside the topology."""

    def outside(cidr: Prefix) -> bool:
        low, high = int(cidr.network_address), int(cidr.broadcast_address)
        return cidr.version == IPV4 and not any(  # floating addresses are IPv4
            one.version == IPV4 and int(one.network_address) <= low and high <= int(one.broadcast_address)
            for one in own
        )

    let_in = {
        target
        for rule in rules
        if any(match.tcp(SSH) for match in rule.matches) and any(outside(cidr) for cidr in rule.sources)
        for target in rule.targets
    }
    return frozenset(host.name for host in hosts if host.floating_ip and host.name in let_in)


def _asked(topology: Topology, version: int, routing: Routing, reader: Reader) -> dict[str, dict[str, str]]:
    """Return the routes asked for by hand to networks of the topology: host to network to router.

    Reports those that loop, lead nowhere, or on which answers come back another way.
    """
    found: dict[str, dict[str, str]] = {}
    names = {subnet.cidr: one.name for one in topology.networks for subnet in one.subnets}
    if not any(to in names for host in topology.hosts for to, _ in host.routes):
        return found
    everyone: list[RouterSpec | HostSpec] = [*topology.routers, *topology.hosts]
    owners = {
        (one.network, address): owner.name
        for owner in everyone
        for one in owner.interfaces
        for address in one.addresses
    }
    forwarding = {router.name for router in topology.routers} | {host.name for host in topology.hosts if host.forward}
    for host in topology.hosts:
        for index, (to, via) in enumerate(host.routes):
            if to.version != version or to not in names:
                continue
            entry = host.name if host.name in reader.mapping("hosts") else host.name.rpartition("-")[0]
            path: Path = ("hosts", entry, "routes", index, "via")
            network = next(
                subnet_of.name
                for subnet_of in topology.networks
                if (subnet := subnet_of.subnet(version)) and via in subnet.cidr
                if host.address(subnet_of.name, version)
            )
            router = owners.get((network, via))
            if router not in forwarding or router is None:
                whose = f"host `{router}`'s, which does not forward" if router else "nobody's"
                reader.error(path, f"next hop `{via}` is {whose}; name a router on network `{network}`")
            elif message := _wrong_way(routing, host.name, router, network, names[to]):
                reader.error(path, f"next hop `{via}` (`{router}`): {message}")
            else:
                found.setdefault(host.name, {})[names[to]] = router
    return found


def _wrong_way(routing: Routing, host: str, router: str, network: str, destination: str) -> str | None:
    """Say what is wrong with sending what goes from ``network`` to ``destination`` by ``router``."""
    tree = routing.graph.tree(destination)
    if router not in tree.hops or network not in tree.first:
        return f"no way leads from it to network `{destination}`; remove the route, or join them"
    there = [router, *(hop.router for hop in routing.graph.onward(router, destination))]
    if host in there:
        return f"a loop, it sends what is for network `{destination}` back to `{host}`; remove the route"
    if routing.leaves_by(host, destination) != network:
        return f"asymmetric, answers from network `{destination}` do not come to this interface; remove the route"
    first = routing.graph.tree(network).first[destination]
    back = [first, *(hop.router for hop in routing.graph.onward(first, network))][::-1]
    if set(there) == set(back):
        return None
    if tree.hops[router] and tree.hops[router].network == network:  # type: ignore[union-attr]
        return (
            f"a detour, it sends what is for network `{destination}` back over `{network}`, to `{back[0]}`; name that"
        )
    ways = ", ".join(f"`{one}`" for one in back[::-1])
    return f"asymmetric, answers from network `{destination}` come by {ways}; name `{back[0]}`'s address"


def check(topology: Topology, reader: Reader) -> None:
    """Report what only the whole shows: host routes that DHCP cannot hand out, services and SSH that are not let in."""
    _check_subnet_routes(topology, reader)
    _check_announced(topology, reader)
    if not reader.failed:
        _check_services(topology, reader)
        _check_ways_in(topology, reader)


def _check_subnet_routes(topology: Topology, reader: Reader) -> None:
    several = [host for host in topology.hosts if sum(one.address(IPV4) is not None for one in host.interfaces) > 1]
    for network in topology.networks:
        path: Path = ("networks", network.name, "routes")
        if network.routes == "router" and network.gateway_router is None:
            message = f"network `{network.name}` has no router to live on for its hosts' routes; use `host` or `subnet`"
            reader.error(path, message)
        if network.routes != "subnet" or IPV4 not in topology.routings:
            continue
        for host in several:
            if any(one.network == network.name for one in host.interfaces):
                message = (
                    f"host `{host.name}` is on other networks too, where what DHCP gives on `{network.name}` is wrong"
                )
                reader.error(path, f"{message}; use `routes: host` for this network")
                break
        count = len(topology.tables().of_network(network.name, 4))
        if count > MOST_HOST_ROUTES:
            message = f"network `{network.name}` needs {count} routes, and DHCP hands out {MOST_HOST_ROUTES} at most"
            reader.error(path, f"{message}; use `routes: host` or `routes: router`")


def _check_announced(topology: Topology, reader: Reader) -> None:
    """Warn of networks on which hosts learn no address: IPv6 alone, and no router to announce it (RFC 4861)."""
    for network in topology.networks:
        if network.gateway_router is None and network.subnet(IPV4) is None:
            message = f"network `{network.name}` has IPv6 only and no router, so nobody tells its hosts their addresses"
            reader.warning(("networks", network.name), f"{message}; join a router, or add an IPv4 prefix", of_key=True)


def _check_services(topology: Topology, reader: Reader) -> None:
    """Warn of services that are not let in where they call."""
    serving: dict[str, HostSpec] = {}
    for host in topology.hosts:
        if host.service:
            serving.setdefault(host.service.name, host)
    for caller in topology.hosts:
        for peer in PEERS.get(caller.service.name, ()) if caller.service else ():
            callee = serving[peer]
            entry = caller.name if caller.name in reader.mapping("hosts") else caller.name.rpartition("-")[0]
            path: Path = ("hosts", entry, "service")
            if caller.name != callee.name and not _lets_in(topology, caller, callee):
                message = f"`{caller.name}` calls `{callee.name}`, and no rule lets it in; add to `allow:` "
                message += f"`- {{from: {caller.name}, to: {callee.name}, service: true}}`"
                reader.warning(path, message)


def _lets_in(topology: Topology, caller: HostSpec, callee: HostSpec) -> bool:
    """Tell whether some rule lets ``caller`` in to the service of ``callee``."""
    sources: list[Address] = []
    for version, routing in topology.routings.items():
        if met := routing.meets(caller.name, callee.name):
            address = caller.address(met[0], version)
            sources += [address] if address else []
            break
    port = callee.service.port if callee.service else 0
    return any(
        callee.name in rule.targets
        and any(address in cidr for cidr in rule.sources for address in sources)
        and (rule.service or any(match.tcp(port) for match in rule.matches))
        for rule in topology.rules
    )


def _check_ways_in(topology: Topology, reader: Reader) -> None:
    """Warn of hosts that cannot be configured because SSH does not get to them."""
    for host in topology.hosts:
        if topology.ssh_paths[host.name] is not None:
            continue
        entry = host.name if host.name in reader.mapping("hosts") else host.name.rpartition("-")[0]
        mend = "let SSH in from outside to a host with a floating address from which this one can be reached"
        if host.floating_ip:
            mend = f"let it in: add to `allow:` `- {{from: anywhere, to: {host.name}, tcp: {SSH}}}`"
        message = f"host `{host.name}` cannot be configured: SSH does not reach it from outside; {mend}"
        reader.warning(("hosts", entry), message, of_key=True)
