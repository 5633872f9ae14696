"""The plan: everything that follows from a topology, before any cloud is asked.

Frozen values only, in a stable order, so that a plan compares, hashes and serialises the same every time.
Addresses and prefixes are kept as their canonical text (RFC 4632 for prefixes), because that is what the cloud's API,
Ansible and people exchange. Names without a prefix are the topology's own; ``cloud_name`` is the name in the cloud,
``<topology>-<name>``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Host",
    "Network",
    "Plan",
    "Port",
    "Route",
    "Router",
    "RouterInterface",
    "Rule",
    "SecurityGroup",
    "Service",
]


@dataclass(frozen=True, slots=True)
class Route:
    """One static route: packets for ``destination`` (prefix) go to ``next_hop`` (address on a connected subnet)."""

    destination: str
    next_hop: str


@dataclass(frozen=True, slots=True)
class Network:
    """One network with its one IPv4 subnet (both carry ``cloud_name``); ``gateway_ip`` is None if no router joins it.

    ``allocation_pool`` (first, last address) is all that Neutron may hand out itself, to its DHCP and metadata ports:
    no planned address lies in it, so the two never meet.
    """

    name: str
    cloud_name: str
    cidr: str
    gateway_ip: str | None
    dns_nameservers: tuple[str, ...]
    allocation_pool: tuple[str, str]


@dataclass(frozen=True, slots=True)
class RouterInterface:
    """A router's port on a network: fixed ``address``, named ``port_name`` in the cloud."""

    network: str
    address: str
    port_name: str


@dataclass(frozen=True, slots=True)
class Router:
    """A Neutron router. ``routes`` are the extra routes (extraroute-atomic) that transit traffic needs."""

    name: str
    cloud_name: str
    external: bool
    interfaces: tuple[RouterInterface, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One security-group rule, in Neutron's terms.

    ``protocol`` None means any; ``port_min``/``port_max`` None means all ports; ``remote_cidr`` None means anywhere.
    ICMP rules carry no ports.
    """

    direction: str  # "ingress" or "egress"
    ethertype: str  # "IPv4" or "IPv6"
    protocol: str | None
    port_min: int | None
    port_max: int | None
    remote_cidr: str | None


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """One security group per host; ``rules`` are all of its rules, the allow-all egress ones included."""

    name: str
    cloud_name: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Port:
    """A host's port: ``cloud_name`` in the cloud, fixed ``address`` on ``network``."""

    cloud_name: str
    network: str
    address: str
    security_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """An application service on a host: its TCP ``port``, and the services it calls, as (name, url) pairs."""

    name: str
    port: int
    peers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Host:
    """A virtual machine.

    ``way_in`` names the hosts to go through to reach it, outermost first: () means its own floating IP,
    ("calculator",) means through calculator; None means that nothing outside reaches it.
    ``groups`` are its inventory groups.
    """

    name: str
    cloud_name: str
    image: str
    flavor: str
    user: str
    port: Port
    floating_ip: bool
    routes: tuple[Route, ...]
    way_in: tuple[str, ...] | None
    groups: tuple[str, ...]
    service: Service | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that follows from one topology. ``external_network`` None means: the cloud's only external network."""

    topology: str
    external_network: str | None
    networks: tuple[Network, ...]
    routers: tuple[Router, ...]
    security_groups: tuple[SecurityGroup, ...]
    hosts: tuple[Host, ...]
