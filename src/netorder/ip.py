"""IP addresses and prefixes, of either version: types, constants and small functions used everywhere."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ANYWHERE",
    "DHCPV6",
    "IPV4",
    "IPV6",
    "SLAAC",
    "VERSIONS",
    "Address",
    "Prefix",
    "covers",
    "eui64",
    "joined",
    "mac_of",
    "near",
    "overlap",
]

IPV4, IPV6 = 4, 6
VERSIONS = (IPV4, IPV6)

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network

ANYWHERE = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

# Neutron's words for how hosts get their IPv6 addresses (ipv6_address_mode): by DHCPv6, and those by which they make
# them up from their MAC addresses
DHCPV6 = "dhcpv6-stateful"
SLAAC = ("slaac", "dhcpv6-stateless")

_UNIVERSAL = 1 << 57  # of an interface identifier: of a MAC address this bit is the other way round
_MIDDLE = 0xFFFE << 24


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


def eui64(prefix: Prefix, mac: str) -> IPv6Address:
    """Return the address that an interface makes up in an IPv6 ``prefix`` of 64 bits (RFC 4291, appendix A)."""
    number = int(mac.replace(":", ""), 16)
    identifier = (number >> 24 << 40 | _MIDDLE | number & 0xFFFFFF) ^ _UNIVERSAL
    return IPv6Address(int(prefix.network_address) | identifier)


def mac_of(address: Address) -> str | None:
    """Return the MAC address that an IPv6 address follows from; None if it follows from none."""
    identifier = (int(address) & ((1 << 64) - 1)) ^ _UNIVERSAL
    if address.version != IPV6 or identifier & (0xFFFF << 24) != _MIDDLE:
        return None
    return (identifier >> 40 << 24 | identifier & 0xFFFFFF).to_bytes(6, "big").hex(":")


def near(address: str) -> str:
    """Return an address at which a machine reaches a port of its own that listens at ``address``, perhaps any."""
    return "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104 - compared, not bound
