"""What a plan needs of this machine: for each host a disk, hardware, and forwarded ports. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netorder.plan.model import Host, Plan
    from netorder.topology import Forward

__all__ = ["SSH_PORT", "Guest", "wanted"]

MEMORY = 512  # MiB
SSH_PORT = 20022  # the first that is tried, at an address that no other host has
_NAME_SERVER = 3  # of the addresses of the NAT's network
_OWN_MAC = "52:54:00"  # QEMU's


@dataclass(frozen=True, slots=True)
class Guest:
    """A host. ``disk`` is what its disk is made with, ``hardware`` what it starts with, in words.

    Without ``clone of`` its disk is made from the image, else from that of this host; ``depth`` such hosts lie between
    it and the image.
    ``outside`` is its own address of this machine, of 127.0.0.0/8, to which SSH is forwarded.
    """

    host: str
    name: str
    disk: dict[str, str]
    depth: int
    hardware: dict[str, str]
    forwards: tuple[Forward, ...]
    outside: str


def wanted(plan: Plan) -> tuple[Guest, ...]:
    """Return what each host of the plan needs."""
    of = {host.name: host.clone_of for host in plan.hosts}
    return tuple(_guest(plan, host, _depth(of, host.name)) for host in plan.hosts)


def _depth(of: Mapping[str, str | None], host: str) -> int:
    above = of[host]
    return _depth(of, above) + 1 if above else 0


def _guest(plan: Plan, host: Host, depth: int) -> Guest:
    port = host.ports[0]
    network = next(one for one in plan.networks if one.name == port.network)
    subnet = network.subnets[0]
    digest = hashlib.sha256(f"{plan.topology}/{host.name}".encode()).digest()
    return Guest(
        host=host.name,
        name=host.cloud_name,
        # which host it is a clone of is said only while that is in the file: a disk that was made stays
        disk={"image": host.image, "clone": host.clone or "linked", "user": host.user}
        | ({"clone of": host.clone_of} if host.clone_of else {}),
        depth=depth,
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
