"""IP addresses and prefixes, of either version: types, constants and small functions used everywhere."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ANYWHERE", "IPV4", "IPV6", "VERSIONS", "Address", "Prefix", "covers", "joined", "near", "overlap"]

IPV4, IPV6 = 4, 6
VERSIONS = (IPV4, IPV6)

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network

ANYWHERE = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def overlap(one: Prefix, other: Prefix) -> bool:
    """Tell whether two prefixes share an address; never across IP versions."""
    return (
        one.version == other.version
        and int(one.network_address) <= int(other.broadcast_address)
        and int(other.network_address) <= int(one.broadcast_address)
    )


def covers(outer: Prefix, inner: Prefix) -> bool:
    """Tell whether all of ``inner`` lies in ``outer``; never across IP versions."""
    return (
        outer.version == inner.version
        and int(outer.network_address) <= int(inner.network_address)
        and int(inner.broadcast_address) <= int(outer.broadcast_address)
    )


def joined(prefixes: Iterable[Prefix]) -> list[Prefix]:
    """Return the fewest prefixes that hold what these hold and nothing else, IPv4 first."""
    four: list[IPv4Network] = []
    six: list[IPv6Network] = []
    for one in prefixes:
        if isinstance(one, IPv4Network):
            four.append(one)
        else:
            six.append(one)
    return [*collapse_addresses(four), *collapse_addresses(six)]


def near(address: str) -> str:
    """Return an address at which a machine reaches a port of its own that listens at ``address``, perhaps any."""
    return "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104 - compared, not bound
