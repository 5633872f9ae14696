"""What a checked topology holds: the client's words, resolved. Every address is settled, every name is known."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from netorder.routes import Graph

if TYPE_CHECKING:
    from netorder.diagnostics import Diagnostic

__all__ = [
    "ANYWHERE",
    "PEERS",
    "PORTS",
    "SSH",
    "HostSpec",
    "Match",
    "NetworkSpec",
    "RouterSpec",
    "RuleSpec",
    "ServiceSpec",
    "Topology",
]

ANYWHERE = IPv4Network("0.0.0.0/0")
SSH = 22
PORTS = {"calculator": 50000, "sum": 50001, "sub": 50002, "mul": 50003, "div": 50004}
PEERS = {"calculator": ("sum", "sub", "mul", "div")}  # which services a service calls


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network; ``gateway`` is the address of ``gateway_router``, both None when no router joins it."""

    name: str
    cidr: IPv4Network
    gateway: IPv4Address | None
    gateway_router: str | None
    allocation_pool: tuple[IPv4Address, IPv4Address]
    dns_nameservers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """A router and its (network, address) pairs."""

    name: str
    external: bool
    interfaces: tuple[tuple[str, IPv4Address], ...]


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service and its TCP port."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A host. ``routes`` are the declared ones, (destination, next hop) pairs; ``groups`` too."""

    name: str
    network: str
    address: IPv4Address
    floating_ip: bool
    image: str
    flavor: str
    user: str
    service: ServiceSpec | None
    groups: tuple[str, ...]
    routes: tuple[tuple[IPv4Network, IPv4Address], ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A protocol and its ports from ``first`` to ``last``; 0 and 0 where the protocol has none."""

    protocol: str
    first: int = 0
    last: int = 0

    def tcp(self, port: int) -> bool:
        """Tell whether TCP ``port`` is one of these."""
        return self.protocol == "tcp" and self.first <= port <= self.last


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """``sources`` may come in to ``targets`` (hosts): by ``matches``, and to each one's own service if ``service``."""

    sources: tuple[IPv4Network, ...]
    targets: tuple[str, ...]
    matches: tuple[Match, ...]
    service: bool


@dataclass(frozen=True, slots=True)
class Topology:
    """A checked topology. ``entries`` are the hosts that let SSH in from outside; ``warnings`` are for people."""

    name: str
    external_network: str | None
    networks: tuple[NetworkSpec, ...]
    routers: tuple[RouterSpec, ...]
    hosts: tuple[HostSpec, ...]
    rules: tuple[RuleSpec, ...]
    entries: frozenset[str]
    warnings: tuple[Diagnostic, ...]

    def graph(self) -> Graph:
        """Return which router joins which networks."""
        return Graph(
            tuple(network.name for network in self.networks),
            {router.name: tuple(name for name, _ in router.interfaces) for router in self.routers},
            {network.name: network.gateway_router for network in self.networks if network.gateway_router},
        )
