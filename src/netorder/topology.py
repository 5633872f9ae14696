"""What a checked topology holds: the client's words, resolved. Every address is assigned, every name is known."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from netorder.cloud_init import accounts, digest
from netorder.ip import IPV4
from netorder.protocols import ANYTHING
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netorder.errors import Diagnostic
    from netorder.ip import Address, Prefix
    from netorder.routing.decide import Routing
    from netorder.routing.ssh_paths import SshPath
    from netorder.routing.tables import Tables

__all__ = [
    "CONTAINERS",
    "GOLDEN",
    "GROUPS",
    "LAST_PORT",
    "MACHINE",
    "MANAGEABLE",
    "NEWEST",
    "NOBODY",
    "OPENSTACK",
    "SNAPSHOT",
    "SSH",
    "TARGETS",
    "TEMPLATE",
    "ApplicationSpec",
    "Check",
    "Container",
    "EgressSpec",
    "FloatingIp",
    "Forward",
    "HostSpec",
    "Interface",
    "Match",
    "NetworkSpec",
    "RouterSpec",
    "RuleSpec",
    "Server",
    "ServerGroupSpec",
    "SubnetSpec",
    "Topology",
    "User",
    "cloud_and_region",
    "default_interface",
    "group_of",
    "in_region",
    "outside_interface",
]

SSH = 22
OPENSTACK, CONTAINERS, MACHINE = "openstack", "containers", "machine"
TARGETS = (OPENSTACK, CONTAINERS, MACHINE)  # who makes networks and hosts
NEWEST = "newest:"  # before the name, where a host's image is the newest that is called so
SNAPSHOT = "snapshot:"  # before the name, where a host's image is a snapshot
# before what the golden image is of (applications with "+" between, or its name), and ":" and an image to begin with
GOLDEN = "golden:"
LAST_PORT = 65535
NOBODY = "65534:65534"  # user and group of that name, by number: an image need not know the names
# what stands for something of the plan in `container`: {{ application.port }}, {{ application.urls.NAME }}
TEMPLATE = re.compile(r"\{\{\s*application\.(\w+)(?:\.([a-z0-9-]+))?\s*\}\}")
# Ansible groups in every inventory, and what each is; playbooks choose hosts by them (inventory/group_vars/<group>.yml)
GROUPS = {
    "netorder": "the group of all hosts",
    "applications": "the group of all hosts with an application",
    "bastions": "the group of the hosts that others are reached through",
    "sealed": "the group of the hosts that SSH does not reach",
    "proxied": "the group of the hosts whose packages come through the controller",
    "absent": "the group of the hosts that the cloud does not have yet",
    "stray": "the group of the servers that the topology does not have",
}
MANAGEABLE = ("addresses", "forwarding")  # what a host may leave to nobody else


@dataclass(frozen=True, slots=True)
class SubnetSpec:
    """A network's prefix of one IP version; ``gateway`` is None when no router joins the network.

    ``allocation_pool`` is None of a network that exists, as the cloud has it, and where there is no address left for
    Neutron's own ports. ``ipv6_address_mode`` is Neutron's, None DHCP (of IPv6: dhcpv6-stateful).
    """

    cidr: Prefix
    gateway: Address | None
    allocation_pool: tuple[Address, Address] | None
    dns_nameservers: tuple[str, ...]
    ipv6_address_mode: str | None = None


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network; ``gateway_router`` has its gateways. Its hosts' ``routes`` live on the host, subnet or router.

    ``mtu`` None is the cloud's. Without ``dhcp`` the cloud tells nobody on it its address, but by config drive. An
    ``existing`` one is called so in the cloud, by name or id; nobody here has its gateway unless there is a
    ``gateway_router``. On a ``reachable`` one the outside reaches hosts at their addresses. ``subnet_pools`` are those
    of the cloud that its prefixes are of, by name or id. ``subnet_of`` is the network on whose network in the cloud its
    subnet and ports are: ``existing`` and ``mtu`` are that one's. ``place`` is where the file says what of that it says
    (FILE:LINE).
    """

    name: str
    subnets: tuple[SubnetSpec, ...]
    gateway_router: str | None
    routes: str
    mtu: int | None = None
    dhcp: bool = True
    existing: str | None = None
    reachable: bool = False
    place: str = field(default="", compare=False)
    subnet_pools: tuple[str, ...] = ()
    subnet_of: str | None = None

    def subnet(self, version: int) -> SubnetSpec | None:
        """Return the subnet of an IP version."""
        return next((subnet for subnet in self.subnets if subnet.cidr.version == version), None)


@dataclass(frozen=True, slots=True)
class Interface:
    """On a network, one address on each of its subnets.

    A host's may have a ``mac`` that the file says or that its address follows from, and ``virtual`` addresses that it
    shares with others.
    """

    network: str
    addresses: tuple[Address, ...]
    mac: str | None = None
    virtual: tuple[Address, ...] = ()

    def address(self, version: int) -> Address | None:
        """Return the address of an IP version."""
        return next((address for address in self.addresses if address.version == version), None)


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """A router. ``routes`` are the declared ones, (destination, next hop) pairs.

    ``external_address`` is what it has on the external network, None what the cloud chooses. With ``snat`` it
    translates what its networks' hosts send there. ``existing`` and ``place`` are as of networks.
    """

    name: str
    external: bool
    external_network: str | None
    interfaces: tuple[Interface, ...]
    routes: tuple[tuple[Prefix, Address], ...]
    external_address: Address | None = None
    snat: bool = True
    existing: str | None = None
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class FloatingIp:
    """A floating address that leads to a host's address on ``network``; ``keep``: it outlives the host.

    ``address`` is the given one, None one that the topology gets.
    """

    network: str
    address: str | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of this machine, at ``address``, that leads to port ``guest`` of a virtual machine; tcp or udp."""

    host: int
    guest: int
    protocol: str = "tcp"
    address: str = "127.0.0.1"

    def __str__(self) -> str:
        return f"{self.protocol} {self.address}:{self.host} to {self.guest}"


@dataclass(frozen=True, slots=True)
class Check:
    """How to see that an application serves: connect to TCP ``port`` or, with a ``path``, ask there by HTTP.

    ``body`` is sent by POST. ``status`` and, where they are not None, ``answer`` (all of it, but for white space at its
    ends) and ``contains`` (a part of it) are what is right.
    """

    port: int
    path: str | None = None
    body: str | None = None
    status: int = 200
    answer: str | None = None
    contains: str | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """How an application runs as a container of its own: an ``image``, or what ``build`` makes it from.

    ``build`` is a directory, relative to that of the topology file. ``command`` follows the image's entry point,
    ``health`` succeeds in the container while it serves. Their words, and the values of ``environment``, may have
    templates such as ``{{ application.port }}``.
    """

    image: str | None
    build: str | None
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    health: tuple[str, ...]
    user: str


@dataclass(frozen=True, slots=True)
class ApplicationSpec:
    """An application on a host: an Ansible role and what it says of it.

    ``role`` is its name, or its directory relative to that of the topology file. ``variables`` are the role's, each
    with its value as JSON. ``calls`` names applications. ``ready`` is who waits until it serves: check or role.
    ``units`` are systemd's. The role runs as root if it does ``become``, and is given Ansible's facts of its host if it
    does ``gather_facts``. ``packages`` says whether it installs some, ``entry_points`` what it offers beside ``main``:
    build, compare, version. ``directory`` is that of the file that declares it, relative to the topology file's; None
    if it is the same. ``place`` is where the file declares it.
    """

    name: str
    role: str
    ports: tuple[Match, ...]
    calls: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    check: Check | None
    ready: str
    units: tuple[str, ...]
    become: bool
    gather_facts: bool
    packages: bool
    entry_points: tuple[str, ...]
    directory: str | None = None
    container: Container | None = None
    place: str = field(default="", compare=False)

    @property
    def port(self) -> int | None:
        """The TCP port that others call: the first one."""
        return next((one.first for one in self.ports if one.protocol == "tcp"), None)


@dataclass(frozen=True, slots=True)
class User:
    """A user that a server gets beside that of its image; ``ssh_authorized_keys`` are public keys."""

    name: str
    ssh_authorized_keys: tuple[str, ...]
    sudo: bool


@dataclass(frozen=True, slots=True)
class Server:
    """What the file says of how Nova starts a host's server; None and nothing is what it leaves to the cloud.

    ``server_group`` is the name of one, ``user_data`` the user's own, ``metadata`` is sorted by key.
    """

    availability_zone: str | None = None
    server_group: str | None = None
    user_data: str | None = None
    config_drive: bool = False
    metadata: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    users: tuple[User, ...] = ()

    @property
    def user_data_parts(self) -> tuple[tuple[str, str], ...]:
        """What cloud-init is given, as (file name, text): the user's own first, which the rest is merged into."""
        own = [("", self.user_data)] if self.user_data is not None else []
        users = [(user.name, user.ssh_authorized_keys, user.sudo) for user in self.users]
        return (*own, *([("", accounts(users))] if users else []))

    @property
    def fields(self) -> dict[str, object]:
        """What a server is compared by. Of user data and users digests, as no API gives them back."""
        users = [f"{digest(repr(self.users))}: {few([user.name for user in self.users])}"] if self.users else []
        return {
            "availability_zone": self.availability_zone,
            "server_group": self.server_group,
            "user_data": digest(self.user_data) if self.user_data is not None else None,
            "users": users[0] if users else None,
            "config_drive": self.config_drive,
            "metadata": [f"{key}={value}" for key, value in self.metadata],
            "tags": sorted(self.tags),
        }


@dataclass(frozen=True, slots=True)
class ServerGroupSpec:
    """A server group and its policy, in Nova's words: affinity or anti-affinity, both also soft."""

    name: str
    policy: str


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A host. ``routes`` are the declared ones, (destination, next hop) pairs; ``groups`` too.

    ``manages`` names what others must not change on it: addresses, forwarding.
    ``proxy`` is how packages reach it: controller or none; ``names`` how it finds others by name: hosts_file or none.
    ``server`` is None where the file says nothing of that.
    ``flavor_place`` (FILE:LINE) is that of its own key `flavor` if it ``has_flavor``, else of its entry.
    Without ``port_security`` nothing is filtered at its ports. ``security_groups`` are existing ones of the cloud's.
    ``forwards``, ``clone`` (of its disk: linked or full), ``clone_of`` (the host whose disk that is, instead of the
    image) and ``memory`` (MiB) are of a virtual machine on this machine. ``loopbacks`` are addresses that it has on no
    network.
    """

    name: str
    interfaces: tuple[Interface, ...]
    floating_ips: tuple[FloatingIp, ...]
    forward: bool
    image: str
    flavor: str
    user: str
    proxy: str
    names: str
    applications: tuple[ApplicationSpec, ...]
    groups: tuple[str, ...]
    routes: tuple[tuple[Prefix, Address], ...]
    manages: tuple[str, ...]
    server: Server | None = None
    flavor_place: str = field(default="", compare=False)
    has_flavor: bool = field(default=False, compare=False)
    port_security: bool = True
    security_groups: tuple[str, ...] = ()
    forwards: tuple[Forward, ...] = ()
    clone: str | None = None
    clone_of: str | None = None
    memory: int | None = None
    loopbacks: tuple[Address, ...] = ()

    @property
    def floating_ip(self) -> bool:
        """Whether it has a floating address."""
        return bool(self.floating_ips)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses that are its own."""
        return tuple(address for interface in self.interfaces for address in interface.addresses)

    @property
    def virtual_addresses(self) -> tuple[Address, ...]:
        """All addresses that it shares with others."""
        return tuple(address for interface in self.interfaces for address in interface.virtual)

    def loopback_networks(self, version: int) -> dict[str, Prefix]:
        """Return the loopback addresses of an IP version, each as a network with nothing else on it, by its name.

        To routing it is a network like others, which the host joins to its own. No name of the file's has a space.
        """
        return {f"{self.name} {one}": ip_network(one) for one in self.loopbacks if one.version == version}

    def address(self, network: str, version: int) -> Address | None:
        """Return the address on a network."""
        return next((one.address(version) for one in self.interfaces if one.network == network), None)


@dataclass(frozen=True, slots=True)
class Match:
    """A protocol, a word of netorder.protocols, and its ports ``first`` to ``last``; 0 and 0 where it has none."""

    protocol: str
    first: int = 0
    last: int = 0

    @property
    def some_ports(self) -> bool:
        """Whether it matches some ports only; Neutron stores a rule for all of them without any."""
        return (self.first, self.last) not in {(0, 0), (1, LAST_PORT)}

    def covers(self, other: Match) -> bool:
        """Tell whether all that ``other`` matches is matched."""
        if self.protocol in (ANYTHING, other.protocol):
            return self.protocol == ANYTHING or (self.first <= other.first and other.last <= self.last)
        return other.protocol.startswith(f"{self.protocol} ")

    def tcp(self, port: int) -> bool:
        """Tell whether TCP ``port`` is one of these."""
        return self.protocol == ANYTHING or (self.protocol == "tcp" and self.first <= port <= self.last)


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """Allows ``sources`` to reach ``targets`` (hosts) by ``matches``, and by the ports of each one's ``applications``.

    Those are named; None stands for all that it has. So may the members of ``security_groups``, which exist in the
    cloud, by name or id: those that are hosts of the topology are among the sources. ``place`` is where the file says
    so (FILE:LINE), which does not make it another rule.
    """

    sources: tuple[Prefix, ...]
    targets: tuple[str, ...]
    matches: tuple[Match, ...]
    applications: tuple[str, ...] | None
    place: str = field(default="", compare=False)
    security_groups: tuple[str, ...] = ()

    def to(self, host: HostSpec) -> frozenset[Match]:
        """Return what it allows to one of its targets."""
        named = self.applications
        return frozenset(self.matches).union(
            *(one.ports for one in host.applications if named is None or one.name in named)
        )


@dataclass(frozen=True, slots=True)
class EgressSpec:
    """Lets ``sources`` (hosts) send what is ``allowed``, to a prefix each; a host sends what all its rules say.

    What ``to_members`` holds goes to the members of a security group that exists in the cloud: those that are hosts of
    the topology are among the prefixes. ``place`` is where the file says so (FILE:LINE).
    """

    sources: tuple[str, ...]
    allowed: tuple[tuple[Match, Prefix], ...]
    to_members: tuple[tuple[Match, str], ...] = ()
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Topology:
    """A checked topology. ``ssh_entries`` are the hosts that allow SSH from outside; ``warnings`` are for people.

    ``key_pair`` is an existing one. ``cloud`` None is the one of the environment; it may be one of its regions.
    ``routings`` (by IP version), ``tables`` (static routes) and ``ssh_paths`` (to each host) follow from the rest.
    ``target`` is who makes it: one of TARGETS.
    """

    name: str
    external_network: str | None
    networks: tuple[NetworkSpec, ...]
    routers: tuple[RouterSpec, ...]
    hosts: tuple[HostSpec, ...]
    rules: tuple[RuleSpec, ...]
    egress: tuple[EgressSpec, ...]
    server_groups: tuple[ServerGroupSpec, ...]
    ssh_entries: frozenset[str]
    routings: Mapping[int, Routing]
    tables: Tables
    ssh_paths: Mapping[str, SshPath | None]
    key_pair: str | None
    cloud: str | None
    warnings: tuple[Diagnostic, ...]
    target: str = OPENSTACK


_IN_REGION = re.compile(r"(.+) \(([^()]+)\)")


def in_region(cloud: str, region: str) -> str:
    """Return how a region of a cloud is written, in a plan and as an argument of playbooks."""
    return f"{cloud} ({region})"


def cloud_and_region(text: str | None) -> tuple[str | None, str | None]:
    """Return the entry of clouds.yaml and the region that a text names; None is what the environment says."""
    found = _IN_REGION.fullmatch(text or "")
    return (found[1], found[2]) if found else (text, None)


def default_interface(networks: Mapping[str, NetworkSpec], host: HostSpec) -> Interface | None:
    """Return by which interface a host sends IPv4 that it has no route for: the first on a network with a gateway."""
    for one in host.interfaces:
        subnet = networks[one.network].subnet(IPV4)
        if subnet and subnet.gateway:
            return one
    return None


def outside_interface(networks: Mapping[str, NetworkSpec], host: HostSpec) -> Interface | None:
    """Return by which interface the outside reaches a host at its own IPv4 address, if by any: its gateway's."""
    one = default_interface(networks, host)
    return one if one and networks[one.network].reachable else None


def group_of(application: str) -> str:
    """Return the inventory group of the hosts with an application; Ansible has no `-` in groups."""
    return f"application_{application.replace('-', '_')}"
