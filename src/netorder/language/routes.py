"""Routes: those that the file declares, and the routings, static routes and SSH paths that follow from the whole."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from netorder.ip import ANYWHERE, IPV4, VERSIONS, covers, joined, overlap
from netorder.language.outside_routes import check_outside_routes
from netorder.language.prefixes import is_usable, why_nowhere
from netorder.routing.decide import Routing, decide
from netorder.routing.graph import Graph
from netorder.routing.ssh_paths import ssh_paths
from netorder.routing.tables import Tables
from netorder.topology import SSH, RouterSpec, default_interface, outside_interface

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from netorder.ip import Address, Prefix
    from netorder.language.assign import Addresses
    from netorder.language.document import Reader
    from netorder.language.prefixes import Subnets
    from netorder.language.resolve import Names
    from netorder.language.specs import DeclaredRoutes, Specs
    from netorder.language.yaml_source import Path
    from netorder.routing.decide import StaticRoutes
    from netorder.routing.ssh_paths import SshPath
    from netorder.topology import HostSpec, NetworkSpec, RuleSpec

__all__ = ["Routes", "astray", "declared_routes", "derive", "entry_network", "ssh_sources"]


@dataclass(frozen=True, slots=True)
class Routes:
    """What follows from a topology: as in ``Topology``, which has them in the end."""

    routings: Mapping[int, Routing]
    tables: Tables
    ssh_entries: frozenset[str]
    ssh_paths: Mapping[str, SshPath | None]


# Declared


def declared_routes(reader: Reader, names: Names, addresses: Addresses) -> DeclaredRoutes:
    """Return the routes that the file declares, destination and next hop; report those that cannot be.

    Those to networks of the topology are compared with what is derived, by ``derive``.
    """
    found: DeclaredRoutes = {}
    for name, router in names.routers.items():
        mine = {address for network in router.networks for address in addresses.router(name, network)}
        found["routers", name] = _declared(
            reader, addresses, _Owner("router", name, tuple(router.networks), mine, router.external)
        )
    for key, entry in names.hosts.items():
        mine = {address for network in entry.networks for address in addresses.host(entry.names[0], network)}
        found["hosts", key] = _declared(reader, addresses, _Owner("host", key, tuple(entry.networks), mine))
    return found


class _Owner(NamedTuple):
    """The owner of routes: a router or an entry of ``hosts``, its networks and its (first host's) addresses on them."""

    kind: str
    name: str
    networks: tuple[str, ...]
    addresses: Collection[Address]
    external: bool = False

    def __str__(self) -> str:
        return f"{self.kind} `{self.name}`"


def _declared(reader: Reader, addresses: Addresses, owner: _Owner) -> tuple[tuple[Prefix, Address], ...]:
    found: dict[Prefix, Address | None] = {}
    for path, _ in reader.items(f"{owner.kind}s", owner.name, "routes"):
        to = next((to for _, to in reader.prefixes(*path, "to")), None)
        via = next((via for _, via in reader.addresses(*path, "via")), None)
        if to and via and to.version != via.version:
            message = f"next hop `{via}` is no IPv{to.version} address, and `{to}` is reached by one; name another"
            reader.error((*path, "via"), message)
        elif via and owner.networks:
            _check_next_hop(reader, addresses.subnets, owner, (*path, "via"), via)
        if to is None:
            continue
        if wrong := _wrong_destination(addresses, owner, to, again=to in found):
            reader.error((*path, "to"), wrong)
        found[to] = via
    return tuple((to, via) for to, via in found.items() if via)


def _check_next_hop(reader: Reader, its: Subnets, owner: _Owner, path: Path, via: Address) -> None:
    cidrs = [(cidr, network) for network in owner.networks for cidr in its.cidrs(network)]
    if not cidrs:
        return
    on = [network for cidr, network in cidrs if via in cidr]
    if via in owner.addresses:
        reader.error(path, f"next hop `{via}` is {owner} itself; name another")
    elif on or len(cidrs) == 1:
        is_usable(reader, its, path, via, network=(on or owner.networks)[0], what="next hop")
    else:
        prefixes = ", ".join(f"`{cidr}`" for cidr, _ in cidrs)
        reader.error(path, f"next hop `{via}` is on no network of {owner} ({prefixes}); name an address on one")


def _wrong_destination(addresses: Addresses, owner: _Owner, to: Prefix, *, again: bool) -> str | None:
    if to.prefixlen == 0 and owner.external:
        return f"`{to}` is the default route, which an external router has: remove it"
    if again or (reason := why_nowhere(to)):
        wrong = f"{owner} has two routes to `{to}`; remove one"
        return wrong if again else f"`{to}` {reason}, and no next hop passes that on; remove it"
    inside = next(
        (
            (name, layout.cidr)
            for (name, _), layout in addresses.subnets.layouts.items()
            # what is a part of a wider route has routes of its own, which hold
            if overlap(layout.cidr, to) and to.prefixlen >= layout.cidr.prefixlen
        ),
        None,
    )
    if inside is None:
        loopbacks = ((name, one) for name, its in addresses.loopbacks.items() for one in its)
        whose = next((name for name, one in loopbacks if to == ip_network(one)), None)
        return whose and f"`{to}` is host `{whose}`'s loopback address; routes to it are derived: remove it"
    name, cidr = inside
    if name in owner.networks:
        return f"`{to}` overlaps network `{name}`, which {owner} is on; remove it"
    if owner.kind == "router" or to != cidr:
        return f"`{to}` overlaps network `{name}`; routes inside the topology are derived: remove it"
    return None  # compared with what is derived, once that is known


# Derived


def derive(reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...]) -> Routes:
    """Return what follows from the whole; report declared routes that do not agree with it or lead nowhere."""
    check_outside_routes(reader, specs, rules)
    gateways = {network.name: network.gateway_router for network in specs.networks if network.gateway_router}
    routings: dict[int, Routing] = {}
    for version in VERSIONS:
        graph = _graph(specs, version)
        if graph.networks:
            its = {network: router for network, router in gateways.items() if network in graph.on}
            its |= {network: host for network, host in _loopbacks(specs, version).items() if network in graph.on}
            elsewhere = frozenset(
                network.name
                for network in specs.networks
                if network.name not in its and (subnet := network.subnet(version)) and subnet.gateway
            )
            routings[version] = Routing(
                graph, _homes(specs, version), its, elsewhere, overridden=_overridden(specs, version)
            )
    entries = _ssh_entries(specs, rules)
    paths = ssh_paths([host.name for host in specs.hosts], entries, routings)
    decided = {version: _decided(reader, specs, version, routing, paths) for version, routing in routings.items()}
    return Routes(routings, _tables(specs, routings, decided), entries, paths)


def _graph(specs: Specs, version: int) -> Graph:
    """Return which router and which forwarding host joins which networks of an IP version."""
    networks = [network.name for network in specs.networks if network.subnet(version)]
    known = set(networks)
    joined = {
        owner.name: tuple(one.network for one in owner.interfaces if one.network in known)
        for owner in specs.forwarding
        if isinstance(owner, RouterSpec) or len(owner.interfaces) > 1  # a gateway to the outside joins nothing
    }
    loopbacks = _loopbacks(specs, version)
    for host in specs.hosts:
        if own := host.loopback_networks(version):
            joined[host.name] = (*(one.network for one in host.interfaces if one.network in known), *own)
    hosts = frozenset(host.name for host in specs.hosts if host.name in joined)
    return Graph([*networks, *loopbacks], joined, hosts, frozenset(loopbacks))


def _loopbacks(specs: Specs, version: int) -> dict[str, str]:
    """Return the hosts of the loopback addresses of an IP version, by the networks that these are to routing."""
    return {network: host.name for host in specs.hosts for network in host.loopback_networks(version)}


def _homes(specs: Specs, version: int) -> dict[str, tuple[str, ...]]:
    """Return each host's networks of an IP version, in the order of its interfaces.

    On the network of a loopback address is one that has nothing else, behind its host: that answers for it.
    """
    homes = {
        host.name: tuple(one.network for one in host.interfaces if one.address(version) is not None)
        for host in specs.hosts
    }
    return homes | {network: (network,) for network in _loopbacks(specs, version)}


def _overridden(specs: Specs, version: int) -> dict[str, dict[str, str]]:
    """Return where declared routes to what holds networks of the topology, or to all, lead: owner to network to whom.

    That is the owner of the next hop, or nobody.
    """
    cidrs = {one.name: subnet.cidr for one in specs.networks if (subnet := one.subnet(version))}
    cidrs |= {name: cidr for host in specs.hosts for name, cidr in host.loopback_networks(version).items()}
    owners = {address: owner.name for owner in specs.nodes for one in owner.interfaces for address in one.addresses}
    found: dict[str, dict[str, str]] = {}
    for owner in specs.nodes:
        wide = [route for route in owner.routes if route[0].version == version]
        for to, via in sorted(wide, key=lambda route: route[0].prefixlen):
            held = [name for name, cidr in cidrs.items() if covers(to, cidr) and to.prefixlen < cidr.prefixlen]
            if held:
                found.setdefault(owner.name, {}).update(dict.fromkeys(held, owners.get(via, "")))
    return found


def _decided(
    reader: Reader, specs: Specs, version: int, routing: Routing, paths: Mapping[str, SshPath | None]
) -> StaticRoutes:
    modes = {network.name: network.routes for network in specs.networks}
    forced = {
        (str(path.target), str(path.source))
        for path in paths.values()
        if path and path.through and path.version == version and path.target != path.source
        # what DHCP hands out, a host has from the start
        if not (modes[str(path.target)] == "subnet" and version == IPV4)
    }
    only = {network for network, mode in modes.items() if mode == "router"}
    return decide(routing, _declared_inside(reader, specs, version, routing), forced, only)


def _tables(specs: Specs, routings: Mapping[int, Routing], decided: Mapping[int, StaticRoutes]) -> Tables:
    """Return the static routes as prefixes and next hops."""
    prefixes: dict[tuple[str, int], tuple[int, int]] = {
        (network.name, subnet.cidr.version): (int(subnet.cidr.network_address), subnet.cidr.prefixlen)
        for network in specs.networks
        for subnet in network.subnets
    } | {
        (name, version): (int(cidr.network_address), cidr.prefixlen)
        for host in specs.hosts
        for version in VERSIONS
        for name, cidr in host.loopback_networks(version).items()
    }
    addresses: dict[tuple[str, str, int], str] = {
        (owner.name, interface.network, address.version): str(address)
        for owner in specs.nodes
        for interface in owner.interfaces
        for address in interface.addresses
    }
    return Tables(routings, decided, prefixes, addresses)


def ssh_sources(specs: Specs, rules: tuple[RuleSpec, ...]) -> dict[str, list[Prefix]]:
    """Return from where outside each host allows SSH: IPv4 alone, as floating addresses are."""
    own = specs.own
    sources: dict[str, list[Prefix]] = {host.name: [ANYWHERE[0]] for host in specs.hosts if not host.port_security}
    for rule in rules:
        if any(match.tcp(SSH) for match in rule.matches):
            outside = [
                one for one in rule.sources if one.version == IPV4 and not any(covers(mine, one) for mine in own)
            ]
            for target in rule.targets:
                sources.setdefault(target, []).extend(outside)
    return sources


def entry_network(networks: Mapping[str, NetworkSpec], host: HostSpec) -> str | None:
    """Return the network by which SSH from outside comes to a host, None if by none."""
    if host.floating_ips:
        return host.floating_ips[0].network
    one = outside_interface(networks, host)
    return one.network if one else None


def astray(host: HostSpec, gateway: Address, source: Prefix) -> Prefix | None:
    """Return a declared route that keeps all answers to ``source`` from the default ``gateway``; None if some go there.

    Of several the most specific.
    """
    ways = {ANYWHERE[0]: gateway} | {to: via for to, via in host.routes if to.version == IPV4}
    wrong = [to for to, via in ways.items() if via != gateway and overlap(to, source)]
    for to, via in ways.items():
        if via == gateway and overlap(to, source):
            part = source if covers(to, source) else to
            if not any(covers(one, part) for one in joined(one for one in wrong if one.prefixlen > to.prefixlen)):
                return None
    return max(wrong, key=lambda to: to.prefixlen)


def _ssh_entries(specs: Specs, rules: tuple[RuleSpec, ...]) -> frozenset[str]:
    """Return the hosts that are reached from outside, allow SSH from somewhere there, and answer.

    Before they have been configured too: what they have then is a default gateway, and no route of the file's.
    """
    sources = ssh_sources(specs, rules)
    networks = {network.name: network for network in specs.networks}

    def enters(host: HostSpec) -> bool:
        default = default_interface(networks, host)
        subnet = networks[default.network].subnet(IPV4) if default else None
        if not (default and subnet and subnet.gateway) or default.network != entry_network(networks, host):
            return False
        gateway = subnet.gateway
        return any(astray(host, gateway, one) is None for one in sources.get(host.name, ()))

    return frozenset(host.name for host in specs.hosts if enters(host))


# Declared and derived, compared


def _declared_inside(reader: Reader, specs: Specs, version: int, routing: Routing) -> dict[str, dict[str, str]]:
    """Return the declared routes to networks of the topology: host to network to router.

    Reports those that loop, lead nowhere, or on which answers come back by another path.
    """
    found: dict[str, dict[str, str]] = {}
    names = {subnet.cidr: one.name for one in specs.networks for subnet in one.subnets}
    if not any(to in names for host in specs.hosts for to, _ in host.routes):
        return found
    owners = {
        (one.network, address): owner.name
        for owner in specs.nodes
        for one in owner.interfaces
        for address in one.addresses
    }
    forwarding = {owner.name for owner in specs.forwarding}
    reported: set[Path] = set()  # hosts of one entry have the same routes
    for host in specs.hosts:
        for index, (to, via) in enumerate(host.routes):
            if to.version != version or to not in names:
                continue
            path: Path = ("hosts", specs.entries[host.name], "routes", index, "via")
            network = next(
                candidate.name
                for candidate in specs.networks
                if (subnet := candidate.subnet(version)) and via in subnet.cidr
                if host.address(candidate.name, version)
            )
            if path in reported:
                continue
            router = owners.get((network, via))
            if router not in forwarding or router is None:
                whose = f"host `{router}`'s, which does not forward" if router else "nobody's"
                reported.add(path)
                reader.error(path, f"next hop `{via}` is {whose}; name a router on network `{network}`")
            elif message := _wrong_path(routing, host.name, router, network, names[to]):
                reported.add(path)
                reader.error(path, f"next hop `{via}` (`{router}`): {message}")
            else:
                found.setdefault(host.name, {})[names[to]] = router
    return found


def _wrong_path(routing: Routing, host: str, router: str, network: str, destination: str) -> str | None:
    """Say what is wrong with sending what goes from ``network`` to ``destination`` by ``router``."""
    tree = routing.graph.tree(destination)
    if router not in tree.hops or network not in tree.first:
        return f"no path leads from it to network `{destination}`; remove the route, or join them"
    there = [router, *(hop.router for hop in routing.graph.onward(router, destination))]
    if host in there:
        return f"a loop, it sends what is for network `{destination}` back to `{host}`; remove the route"
    if routing.egress(host, destination) != network:
        return f"asymmetric, answers from network `{destination}` do not come to this interface; remove the route"
    first = routing.graph.tree(network).first[destination]
    back = [first, *(hop.router for hop in routing.graph.onward(first, network))][::-1]
    if set(there) == set(back):
        return None
    hop = tree.hops[router]
    if hop and hop.network == network:
        return (
            f"a detour, it sends what is for network `{destination}` back over `{network}`, to `{back[0]}`; name that"
        )
    routers = ", ".join(f"`{one}`" for one in back[::-1])
    return f"asymmetric, answers from network `{destination}` come by {routers}; name `{back[0]}`'s address"
