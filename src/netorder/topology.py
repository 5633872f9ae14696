"""What a checked topology holds: the client's words, resolved. Every address is assigned, every name is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netorder.protocols import ANYTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netorder.errors import Diagnostic
    from netorder.ip import Address, Prefix
    from netorder.routing.decide import Routing
    from netorder.routing.ssh_paths import SshPath
    from netorder.routing.tables import Tables

__all__ = [
    "GROUPS",
    "LAST_PORT",
    "MANAGEABLE",
    "PEERS",
    "PORTS",
    "SSH",
    "HostSpec",
    "Interface",
    "Match",
    "NetworkSpec",
    "RouterSpec",
    "RuleSpec",
    "ServiceSpec",
    "SubnetSpec",
    "Topology",
]

SSH = 22
LAST_PORT = 65535
PORTS = {"calculator": 50000, "sum": 50001, "sub": 50002, "mul": 50003, "div": 50004}
# Ansible groups in every inventory, and what each is; playbooks choose hosts by them (inventory/group_vars/<group>.yml)
GROUPS = {
    "netorder": "the group of all hosts",
    "services": "the group of all hosts with a service",
    "bastions": "the group of the hosts that others are reached through",
    "sealed": "the group of the hosts that SSH does not reach",
    "proxied": "the group of the hosts whose packages come through the controller",
    "absent": "the group of the hosts that the cloud does not have yet",
    "stray": "the group of the servers that the topology does not have",
}
MANAGEABLE = ("addresses", "forwarding")  # what a host may leave to nobody else
PEERS = {"calculator": ("sum", "sub", "mul", "div")}  # which services a service calls


@dataclass(frozen=True, slots=True)
class SubnetSpec:
    """A network's prefix of one IP version; ``gateway`` is None when no router joins the network."""

    cidr: Prefix
    gateway: Address | None
    allocation_pool: tuple[Address, Address]
    dns_nameservers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network; ``gateway_router`` has its gateways. Its hosts' ``routes`` live on the host, subnet or router.

    ``mtu`` None is the cloud's.
    """

    name: str
    subnets: tuple[SubnetSpec, ...]
    gateway_router: str | None
    routes: str
    mtu: int | None = None

    def subnet(self, version: int) -> SubnetSpec | None:
        """Return the subnet of an IP version."""
        return next((subnet for subnet in self.subnets if subnet.cidr.version == version), None)


@dataclass(frozen=True, slots=True)
class Interface:
    """On a network, one address on each of its subnets."""

    network: str
    addresses: tuple[Address, ...]

    def address(self, version: int) -> Address | None:
        """Return the address of an IP version."""
        return next((address for address in self.addresses if address.version == version), None)


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """A router. ``routes`` are the declared ones, (destination, next hop) pairs."""

    name: str
    external: bool
    external_network: str | None
    interfaces: tuple[Interface, ...]
    routes: tuple[tuple[Prefix, Address], ...]


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service and its TCP port."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A host. ``routes`` are the declared ones, (destination, next hop) pairs; ``groups`` too.

    ``manages`` names what others must not change on it: addresses, forwarding.
    ``proxy`` is how packages reach it: controller or none; ``names`` how it finds others by name: hosts_file or none.
    Without ``port_security`` nothing is filtered at its ports.
    """

    name: str
    interfaces: tuple[Interface, ...]
    floating_ip: bool
    forward: bool
    image: str
    flavor: str
    user: str
    proxy: str
    names: str
    service: ServiceSpec | None
    groups: tuple[str, ...]
    routes: tuple[tuple[Prefix, Address], ...]
    manages: tuple[str, ...]
    port_security: bool = True

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All its addresses."""
        return tuple(address for interface in self.interfaces for address in interface.addresses)

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

    def tcp(self, port: int) -> bool:
        """Tell whether TCP ``port`` is one of these."""
        return self.protocol == ANYTHING or (self.protocol == "tcp" and self.first <= port <= self.last)


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """Allows ``sources`` to reach ``targets`` (hosts) by ``matches``, and each one's own service if ``service``.

    ``place`` is where the file says so (FILE:LINE), which does not make it another rule.
    """

    sources: tuple[Prefix, ...]
    targets: tuple[str, ...]
    matches: tuple[Match, ...]
    service: bool
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Topology:
    """A checked topology. ``ssh_entries`` are the hosts that allow SSH from outside; ``warnings`` are for people.

    ``routings`` (by IP version), ``tables`` (static routes) and ``ssh_paths`` (to each host) follow from the rest.
    """

    name: str
    external_network: str | None
    networks: tuple[NetworkSpec, ...]
    routers: tuple[RouterSpec, ...]
    hosts: tuple[HostSpec, ...]
    rules: tuple[RuleSpec, ...]
    ssh_entries: frozenset[str]
    routings: Mapping[int, Routing]
    tables: Tables
    ssh_paths: Mapping[str, SshPath | None]
    warnings: tuple[Diagnostic, ...]
