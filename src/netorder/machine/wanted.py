"""What a plan needs of this machine: for each host a disk, hardware, and forwarded ports. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netorder.plan.model import Host, Plan
    from netorder.topology import Forward

__all__ = ["SSH_PORT", "Guest", "wanted"]

MEMORY = 512  # MiB
SSH_PORT = 20022  # the first that is tried, at an address that no other host has
_NAME_SERVER = 3  # of the addresses of the NAT's network
_OWN_MAC = "52:54:00"  # QEMU's


@dataclass(frozen=True, slots=True)
class Guest:
    """A host. ``disk`` is what its disk was made with, ``hardware`` what it starts with, in words.

    ``outside`` is its own address of this machine, of 127.0.0.0/8, to which SSH is forwarded.
    """

    host: str
    name: str
    disk: dict[str, str]
    hardware: dict[str, str]
    forwards: tuple[Forward, ...]
    outside: str


def wanted(plan: Plan) -> tuple[Guest, ...]:
    """Return what each host of the plan needs."""
    return tuple(_guest(plan, host) for host in plan.hosts)


def _guest(plan: Plan, host: Host) -> Guest:
    port = host.ports[0]
    network = next(one for one in plan.networks if one.name == port.network)
    subnet = network.subnets[0]
    digest = hashlib.sha256(f"{plan.topology}/{host.name}".encode()).digest()
    return Guest(
        host=host.name,
        name=host.cloud_name,
        disk={"image": host.image, "clone": host.clone or "linked", "user": host.user},
        hardware={
            "memory": str(host.memory or MEMORY),
            "address": port.addresses[0],
            "network": subnet.cidr,
            "gateway": str(subnet.gateway_ip),
            "name server": str(ip_network(subnet.cidr)[_NAME_SERVER]),
            "mac address": port.mac_address or ":".join([_OWN_MAC, *(f"{one:02x}" for one in digest[:3])]),
        },
        forwards=host.forwards,
        outside=f"127.{64 + digest[3] % 128}.{digest[4]}.{1 + digest[5] % 254}",
    )
