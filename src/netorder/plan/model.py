"""The plan: everything that follows from a topology, without querying any cloud.

Frozen values only, in a stable order, so that a plan compares, hashes and serialises the same every time.
Addresses and prefixes are kept as their canonical text (RFC 4632 for IPv4 prefixes, RFC 5952 for IPv6), because that is
what the cloud's API, Ansible and people exchange. Names without a prefix are the topology's own; ``cloud_name`` is the
name in the cloud, ``<topology>-<name>``. Where something has an address of each IP version, IPv4 comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from netorder.ip import joined
from netorder.protocols import ANYTHING, match_text, word_of
from netorder.routing.tables import Route
from netorder.topology import Check, Container, FloatingIp, Forward, Server, User

if TYPE_CHECKING:
    from netorder.ip import Prefix

__all__ = [
    "Application",
    "Check",
    "Container",
    "Endpoint",
    "FloatingIp",
    "Forward",
    "Host",
    "Network",
    "Plan",
    "Port",
    "Route",
    "Router",
    "RouterInterface",
    "Rule",
    "SecurityGroup",
    "Server",
    "ServerGroup",
    "Subnet",
    "User",
]

RARE = {"rare": True}  # of a field that JSON has only where it says something


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network's prefix of one IP version, 4 or 6. ``gateway_ip`` is None if no router joins the network.

    Of an existing network it is known by its prefix; its gateway may be somebody else's, and ``allocation_pool`` is
    None.

    ``allocation_pool`` (first, last address) is all that Neutron may assign itself, to its DHCP and metadata ports: no
    planned address lies in it, so the two never clash; None where it needs none. Without ``dhcp`` hosts learn of their
    addresses from config drives. DHCP gives ``host_routes`` to every port (IPv4 only).
    An IPv6 subnet is advertised by its router, with addresses by DHCPv6 (RFC 8415): planned ones need no EUI-64, and
    its prefix may be longer than a /64. Unless an ``ipv6_address_mode`` of Neutron's has hosts make them up from their
    MAC addresses (slaac, dhcpv6-stateless; RFC 4862).
    """

    cloud_name: str
    version: int
    cidr: str
    gateway_ip: str | None
    dns_nameservers: tuple[str, ...]
    allocation_pool: tuple[str, str] | None
    host_routes: tuple[Route, ...]
    dhcp: bool = True
    ipv6_address_mode: str | None = field(default=None, metadata=RARE)


@dataclass(frozen=True, slots=True)
class Network:
    """One network with its subnets: one IPv4, one IPv6, or one of each. ``mtu`` None is the cloud's.

    ``cloud_name`` is that of the cloud's network on which its subnets and ports are: of a further subnet, of the
    network that it is a ``subnet_of``, whose ``mtu`` and ``existing`` it has too. To all but the cloud it is a network.
    ``existing`` is what one that is not the topology's is called in the cloud, by name or id; ``subnet_pools`` are the
    cloud's that the prefixes are of, so too; ``place`` is where the file says so.
    """

    name: str
    cloud_name: str
    subnets: tuple[Subnet, ...]
    mtu: int | None = None
    existing: str | None = None
    place: str = field(default="", compare=False)
    subnet_pools: tuple[str, ...] = field(default=(), metadata=RARE)
    subnet_of: str | None = field(default=None, metadata=RARE)


@dataclass(frozen=True, slots=True)
class RouterInterface:
    """A router's port on a network: one fixed address on each of its subnets, named ``port_name`` in the cloud.

    ``own`` None or true: the topology's. An existing router's on an existing network is not.
    """

    network: str
    addresses: tuple[str, ...]
    port_name: str
    own: bool = True


@dataclass(frozen=True, slots=True)
class Router:
    """A Neutron router. ``routes`` are the extra routes (extraroute-atomic) that transit traffic needs.

    An ``external`` one joins ``external_network`` (None: the plan's), at ``external_address`` (None: the cloud's
    choice), translates the IPv4 addresses of the networks that it joins if it does ``snat``, and has a default route
    there; no other router has a default route. ``existing`` and ``place`` are as of networks; the routes of such a one
    must be there.
    """

    name: str
    cloud_name: str
    external: bool
    external_network: str | None
    interfaces: tuple[RouterInterface, ...]
    routes: tuple[Route, ...]
    external_address: str | None = None
    snat: bool = True
    existing: str | None = None
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """One security-group rule, in Neutron's terms.

    ``protocol`` is a name that netorder.protocols knows (ipv6-icmp of IPv6), a number as text, or None for any.
    ``port_min``/``port_max`` None means all ports, which Neutron never stores as 1 to 65535; of ICMP they are type and
    code, None any. ``remote_cidr`` None means anywhere, unless ``remote_group`` says whom: the members of a security
    group that is not the topology's, by its name or id.
    """

    direction: str  # "ingress" or "egress"
    ethertype: str  # "IPv4" or "IPv6"
    protocol: str | None
    port_min: int | None
    port_max: int | None
    remote_cidr: str | None
    remote_group: str | None = field(default=None, metadata=RARE)

    @property
    def anywhere(self) -> bool:
        """Whether its other end is anybody."""
        return self.remote_cidr is None and self.remote_group is None

    @property
    def remote(self) -> str:
        """Its other end as people write it: ``anywhere``, a prefix, an address without its length, a group."""
        if self.remote_group is not None:
            return f"security group {self.remote_group}"
        if self.remote_cidr is None:
            return "anywhere"
        return self.remote_cidr.removesuffix("/128" if self.ethertype == "IPv6" else "/32")

    @property
    def word(self) -> str:
        """What it matches apart from ports, a word of netorder.protocols: the same of both IP versions."""
        return word_of(self.protocol, self.port_min, self.port_max)

    @property
    def match(self) -> str:
        """What it matches, for people: ``tcp 22``, ``tcp 1-65535``, ``icmp``, ``icmp echo-request``, ``anything``."""
        return match_text(self.protocol, self.port_min, self.port_max) or ANYTHING


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A security group, for all ports of the hosts with the same rules; it has the name of the first of them.

    ``rules`` are all of its rules, the allow-all egress included, unless it ``is_limited`` what its hosts send.
    """

    name: str
    cloud_name: str
    rules: tuple[Rule, ...]

    @property
    def is_limited(self) -> bool:
        """Whether its hosts send some things only."""
        egress = (rule for rule in self.rules if rule.direction == "egress")
        everything = (rule for rule in egress if rule.protocol is None and rule.anywhere)
        return {rule.ethertype for rule in everything} != {"IPv4", "IPv6"}


# what is no group of the cloud's
_UNFILTERED = SecurityGroup(
    "",
    "",
    tuple(
        Rule(direction, ethertype, None, None, None, None)
        for direction in ("egress", "ingress")
        for ethertype in ("IPv4", "IPv6")
    ),
)


@dataclass(frozen=True, slots=True)
class Port:
    """A host's port: ``cloud_name`` in the cloud, one fixed address on each of the subnets of ``network``.

    Port security drops packets from and to other addresses than its own ``addresses`` and those in the prefixes of
    ``allowed_address_pairs``: for which the host forwards, its loopback addresses, and ``virtual_addresses``, which any
    one of the hosts that share one has. Without it there are no security groups either. ``mac_address`` None is the
    cloud's choice. ``existing_groups`` are security groups that are not the topology's, by name or id.
    """

    cloud_name: str
    network: str
    addresses: tuple[str, ...]
    security_groups: tuple[str, ...]
    allowed_address_pairs: tuple[str, ...]
    port_security: bool = True
    existing_groups: tuple[str, ...] | None = None
    mac_address: str | None = None
    virtual_addresses: tuple[str, ...] = field(default=(), metadata=RARE)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a copy of an application is called: its ``host``, one of its addresses, its first TCP ``port`` if any."""

    host: str
    address: str
    port: int | None

    @property
    def url(self) -> str:
        """As an HTTP URL, without a path (RFC 3986: an IPv6 address in brackets)."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}" if self.port is None else f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Application:
    """An application on a host.

    ``role`` installs it: the name of an Ansible role, or a directory relative to that of the topology file.
    ``variables`` are its, with the values as JSON. ``calls`` are the applications that it calls: names, with the
    endpoints of each copy. ``stage`` is 0 for one that calls no other, and more than that of each that it calls.
    ``ready`` is who waits until it serves: check or role. ``units`` are systemd's. ``packages``: its role installs
    some. ``entry_points`` are those that the role offers beside ``main``. ``directory`` is that of the file that
    declares it, relative to the topology file's; None if it is the same. ``container`` is how it runs as a container of
    its own, ``gather_facts`` whether its role is given Ansible's facts of the host, ``place`` where the file declares
    it.
    """

    name: str
    role: str
    tcp_ports: tuple[int, ...]
    udp_ports: tuple[int, ...]
    calls: tuple[tuple[str, tuple[Endpoint, ...]], ...]
    stage: int
    variables: tuple[tuple[str, str], ...]
    check: Check | None
    ready: str
    units: tuple[str, ...]
    become: bool
    packages: bool
    entry_points: tuple[str, ...]
    directory: str | None = None
    container: Container | None = None
    gather_facts: bool = field(default=False, metadata=RARE)
    place: str = field(default="", compare=False)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All that it calls."""
        return tuple(one for _, copies in self.calls for one in copies)


@dataclass(frozen=True, slots=True)
class ServerGroup:
    """A server group: its members (``Server.server_group``) are placed on compute hosts as ``policy`` says."""

    name: str
    cloud_name: str
    policy: str


@dataclass(frozen=True, slots=True)
class Host:
    """A server of OpenStack, a container or a virtual machine, as the target makes it.

    ``ports`` are in the order of its interfaces. ``gateways`` are its default gateways, at most one of each IP version:
    of the first port with one, or one that is declared, a host's. Others that DHCP and router advertisements give must
    not be used. ``routes`` are the static routes that are configured on the host itself. ``floating_ip``: it has a
    floating address, which belongs to the first port unless ``floating_ips`` say more. At its ``outside_address``, one
    of its own, it is reached from outside without one. A ``forwarding`` host forwards packets between its ports.

    ``ssh_path`` names the hosts that SSH jumps through to reach it, outermost first: () means its own floating IP,
    ("bastion",) means through bastion; None means that it cannot be reached from outside. ``ssh_address`` is its
    address as used by the last of them.
    ``groups`` are its inventory groups. ``manages`` names what of its network others must not change: addresses,
    forwarding. ``proxy`` "controller": while a playbook runs, packages reach it through the controller, over SSH; else
    "none". ``names`` "hosts_file": its /etc/hosts has the others' names; else "none". ``server`` is what the topology
    says of how it is started; None: nothing. ``forwards``, ``clone`` (of its disk: linked, full), ``clone_of`` (the
    host whose disk that is, instead of the image) and ``memory`` (MiB) are of a virtual machine on this machine.
    ``loopback_addresses`` are on none of its ports, and others reach them by routes to it.
    """

    name: str
    cloud_name: str
    image: str
    flavor: str
    user: str
    proxy: str
    names: str
    ports: tuple[Port, ...]
    gateways: tuple[str, ...]
    floating_ip: bool
    forwarding: bool
    routes: tuple[Route, ...]
    ssh_path: tuple[str, ...] | None
    ssh_address: str
    groups: tuple[str, ...]
    applications: tuple[Application, ...]
    manages: tuple[str, ...] = ()
    server: Server | None = None
    floating_ips: tuple[FloatingIp, ...] | None = None
    outside_address: str | None = None
    forwards: tuple[Forward, ...] = field(default=(), metadata=RARE)
    clone: str | None = None
    clone_of: str | None = field(default=None, metadata=RARE)
    memory: int | None = None
    loopback_addresses: tuple[str, ...] = field(default=(), metadata=RARE)

    @property
    def floating(self) -> tuple[FloatingIp, ...]:
        """Its floating addresses, the main one first."""
        return self.floating_ips or ((FloatingIp(self.ports[0].network),) if self.floating_ip else ())

    @property
    def entry(self) -> str | None:
        """Its own IPv4 address to which what comes from outside is delivered, None if it is not reached from there."""
        if not self.floating:
            return self.outside_address
        return next((a for a in self.port(self.floating[0].network).addresses if ":" not in a), None)

    def port(self, network: str) -> Port:
        """Return its port on a network."""
        return next(port for port in self.ports if port.network == network)

    @property
    def partly_known(self) -> bool:
        """Whether more may come in than the plan knows: what security groups that are not the topology's allow."""
        return any(port.existing_groups for port in self.ports)

    @property
    def addresses(self) -> tuple[str, ...]:
        """All its addresses, in the order of its ports."""
        return tuple(address for port in self.ports for address in port.addresses)

    @property
    def tcp_ports(self) -> tuple[int, ...]:
        """The TCP ports of its applications."""
        return tuple(port for one in self.applications for port in one.tcp_ports)

    @property
    def group(self) -> str:
        """The name of its security group in :attr:`Plan.filters`."""
        return next(iter(self.ports[0].security_groups), _UNFILTERED.name)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that follows from one topology. ``external_network`` None means: the cloud's only external network.

    ``key_pair`` is an existing one, None the topology's own; ``cloud`` None the one of the environment.
    ``group_places`` say where the file first names each security group that the other end of a rule is.
    """

    topology: str
    external_network: str | None
    networks: tuple[Network, ...]
    routers: tuple[Router, ...]
    security_groups: tuple[SecurityGroup, ...]
    hosts: tuple[Host, ...]
    server_groups: tuple[ServerGroup, ...] = ()
    key_pair: str | None = None
    cloud: str | None = None
    group_places: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def own(self) -> list[Prefix]:
        """Its own prefixes, neighbours joined: those of its networks, and the hosts' loopback addresses."""
        cidrs = [subnet.cidr for network in self.networks for subnet in network.subnets]
        return joined(map(ip_network, (*cidrs, *(one for host in self.hosts for one in host.loopback_addresses))))

    @property
    def filters(self) -> tuple[SecurityGroup, ...]:
        """The security groups, and what stands for them at ports without: everything passes."""
        open_hosts = any(not port.port_security for host in self.hosts for port in host.ports)
        return (*self.security_groups, _UNFILTERED) if open_hosts else self.security_groups
