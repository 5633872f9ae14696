"""The networks, routers and hosts of a topology without errors, put together from what the stages found."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from netorder.ip import IPV6, joined
from netorder.language import schema
from netorder.text import is_id
from netorder.topology import (
    GOLDEN,
    MANAGEABLE,
    NEWEST,
    SNAPSHOT,
    Forward,
    HostSpec,
    Interface,
    NetworkSpec,
    RouterSpec,
    SubnetSpec,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netorder.ip import Address, Prefix
    from netorder.language.assign import Addresses
    from netorder.language.clones import Clone
    from netorder.language.document import Reader
    from netorder.language.ports import Ports
    from netorder.language.resolve import HostEntry, Names, NetworkEntry
    from netorder.language.servers import Servers
    from netorder.topology import FloatingIp, Server

__all__ = ["DeclaredRoutes", "Specs", "forwards", "specs"]

DeclaredRoutes = dict[tuple[str, str], "tuple[tuple[Prefix, Address], ...]"]  # by section and name in it


@dataclass(frozen=True, slots=True)
class Specs:
    """The networks, routers and hosts; ``entries`` gives the entry of the file that each host comes from."""

    networks: tuple[NetworkSpec, ...]
    routers: tuple[RouterSpec, ...]
    hosts: tuple[HostSpec, ...]
    entries: Mapping[str, str]

    @property
    def own(self) -> list[Prefix]:
        """The topology's own prefixes, neighbours joined: those of its networks, and the hosts' loopback addresses."""
        loopbacks = (ip_network(one) for host in self.hosts for one in host.loopbacks)
        return joined((*(subnet.cidr for network in self.networks for subnet in network.subnets), *loopbacks))

    @property
    def nodes(self) -> tuple[RouterSpec | HostSpec, ...]:
        """All that has interfaces."""
        return (*self.routers, *self.hosts)

    @property
    def forwarding(self) -> tuple[RouterSpec | HostSpec, ...]:
        """All that passes packets on."""
        return (*self.routers, *(host for host in self.hosts if host.forward))


def specs(  # noqa: PLR0917 - what each stage found
    reader: Reader,
    names: Names,
    addresses: Addresses,
    declared: DeclaredRoutes,
    servers: Servers,
    floating: Mapping[str, tuple[FloatingIp, ...]],
    ports: Ports,
    clones: Mapping[str, Clone],
) -> Specs:
    """Return the specs; there must be no error."""
    return Specs(
        networks=tuple(_network(reader, name, its, addresses) for name, its in names.networks.items()),
        routers=tuple(
            RouterSpec(
                name=name,
                external=router.external,
                external_network=reader.named("routers", name, "external")
                or reader.named("routers", name, "external", "network"),
                interfaces=tuple(Interface(one, addresses.router(name, one)) for one in router.networks),
                routes=declared["routers", name],
                existing=router.existing,
                place=_place(reader, "routers", name, "existing"),
                external_address=ports.outside.get(name),
                snat=reader.get("routers", name, "external", "snat") is not False,
            )
            for name, router in names.routers.items()
        ),
        hosts=tuple(
            _host(
                reader,
                key,
                entry,
                name,
                addresses,
                routes=declared["hosts", key],
                server=servers.of.get(key),
                floating=floating.get(key, ()),
                macs=addresses.macs,
                clone=clones.get(key),
            )
            for key, entry in names.hosts.items()
            for name in entry.names
        ),
        entries={name: key for key, entry in names.hosts.items() for name in entry.names},
    )


def _network(reader: Reader, name: str, its: NetworkEntry, addresses: Addresses) -> NetworkSpec:
    router = addresses.gateway_routers.get(name)
    subnets = []
    for version in addresses.subnets.versions(name):
        layout = addresses.subnets.layouts[name, version]
        servers = tuple(str(server) for server in its.dns_nameservers if server.version == version)
        gateway = layout.gateway if router or its.existing else None
        pool = None if its.existing else layout.pool
        mode = reader.text("networks", name, "ipv6_address_mode") if its.slaac and version == IPV6 else None
        subnets.append(SubnetSpec(layout.cidr, gateway, pool, servers, mode))
    if not its.existing:
        _warn_of_name_servers(reader, name, addresses.subnets.versions(name))
    named = (str(one) for _, one in reader.items("networks", name, "subnet_pool"))
    pools = tuple(dict.fromkeys(one.lower() if is_id(one) else one for one in named))
    return NetworkSpec(
        name,
        tuple(subnets),
        router,
        its.routes,
        reader.get("networks", its.subnet_of or name, "mtu"),
        dhcp=reader.get("networks", name, "dhcp") is not False,
        existing=its.existing,
        reachable=reader.true("networks", name, "reachable"),
        place=_place(reader, "networks", name, "subnet_pool" if pools else "existing"),
        subnet_pools=pools,
        subnet_of=its.subnet_of,
    )


def _warn_of_name_servers(reader: Reader, name: str, versions: list[int]) -> None:
    """Warn of name servers that a network names itself, and that none of its subnets announces."""
    for place, server in reader.addresses("networks", name, "dns_nameservers"):
        if server.version not in versions:
            message = (
                f"name server `{server}`: network `{name}` has no IPv{server.version} prefix, and subnets announce "
            )
            reader.warning(place, f"{message}those of their own version, so hosts are not told of it; remove it")


def _place(reader: Reader, *path: str) -> str:
    file, line, _ = reader.place(path)
    return f"{file}:{line}"


def _host(
    reader: Reader,
    key: str,
    entry: HostEntry,
    name: str,
    addresses: Addresses,
    *,
    routes: tuple[tuple[Prefix, Address], ...],
    server: Server | None,
    floating: tuple[FloatingIp, ...],
    macs: Mapping[tuple[str, str], str],
    clone: Clone | None,
) -> HostSpec:
    origin = clone.origin if clone else key  # whose image and image's user it has

    def setting(word: str, of: str = key) -> str:
        return reader.named("hosts", of, word) or reader.named("defaults", word) or str(schema.default(word))

    groups = reader.items("hosts", key, "security_groups")
    return HostSpec(
        name=name,
        interfaces=tuple(
            Interface(one, addresses.host(name, one), macs.get((name, one)), addresses.virtual.get((key, one), ()))
            for one in entry.networks
        ),
        floating_ips=floating,
        forward=entry.forward,
        image=_image(reader, entry, "hosts", origin)
        or _image(reader, entry, "defaults")
        or str(schema.default("image")),
        flavor=setting("flavor"),
        user=setting("user", origin),
        proxy=setting("proxy"),
        names=setting("names"),
        applications=entry.applications,
        groups=tuple(str(group) for _, group in reader.items("hosts", key, "groups")),
        routes=routes,
        manages=tuple(word for word in MANAGEABLE if reader.true("hosts", key, "manage", word)),
        server=server,
        flavor_place=_place(reader, "hosts", key, "flavor"),
        has_flavor=reader.get("hosts", key, "flavor") is not None,
        port_security=reader.get("hosts", key, "port_security") is not False,
        security_groups=tuple(
            dict.fromkeys(str(group).lower() if is_id(str(group)) else str(group) for _, group in groups)
        ),
        forwards=forwards(reader, key),
        clone=clone.disk if clone else reader.text("hosts", key, "clone"),
        clone_of=clone.of if clone else None,
        memory=reader.get("hosts", key, "memory"),
        loopbacks=addresses.loopbacks.get(name, ()),
    )


def forwards(reader: Reader, entry: str) -> tuple[Forward, ...]:
    """Return the ports of this machine that lead to an entry of ``hosts``, each once."""
    found = [Forward(**one) for _, one in reader.items("hosts", entry, "forward") if isinstance(one, dict)]
    return tuple(dict.fromkeys(found))


def _image(reader: Reader, entry: HostEntry, *path: str) -> str | None:
    """Return the image at ``path``, as the plan has it; report a golden one of no application."""
    if name := reader.text(*path, "image", "newest"):
        return f"{NEWEST}{name}"
    if name := reader.text(*path, "image", "snapshot"):
        return f"{SNAPSHOT}{name}"
    its = reader.get(*path, "image", "golden")
    if not its:
        return reader.named(*path, "image")
    if its is True and not entry.applications:
        message = "`golden: true` is the golden image of a host's applications, and host "
        message += f"`{entry.names[0] if entry.names else path[-1]}` has none; name an `image` for it"
        reader.error((*path, "image"), message)
    kind = "+".join(one.name for one in entry.applications) if its is True else str(its)
    base = reader.named(*path, "image", "base")
    return f"{GOLDEN}{kind}:{base}" if base else f"{GOLDEN}{kind}"
