"""Which address goes to whom on a subnet.

A subnet from its first address to its last: the network address, a few low ones (gateway, routers), the hosts, a few
high ones that Neutron hands out itself (DHCP, metadata), the broadcast address.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["LONGEST_PREFIX", "Layout"]

LONGEST_PREFIX = 28  # 14 usable addresses: 3 low, 8 for hosts, 3 for Neutron


def _share(usable: int, most: int) -> int:
    """Return the size of a reserved part: an eighth, at least 3 (for Neutron: two DHCP agents and metadata)."""
    return max(3, min(most, usable // 8))


@dataclass(frozen=True)
class Layout:
    """The parts of one subnet. Depends on the prefix and the gateway alone, so that no host moves when others come."""

    cidr: IPv4Network
    gateway: IPv4Address | None

    @property
    def first(self) -> IPv4Address:
        """The first usable address: the gateway, unless another is given."""
        return self.cidr.network_address + 1

    @property
    def pool(self) -> tuple[IPv4Address, IPv4Address]:
        """First and last address of Neutron's allocation pool: the subnet's top, or just below a gateway there."""
        usable = self.cidr.num_addresses - 2
        last = self.cidr.broadcast_address - 1
        size = _share(usable, 8)
        if self.gateway is not None and last - size < self.gateway <= last:
            last = self.gateway - 1
        return last - (size - 1), last

    @property
    def routers(self) -> range:
        """Addresses (as numbers) from which routers draw theirs."""
        first = int(self.first)
        return range(first, first + _share(self.cidr.num_addresses - 2, 9))

    @property
    def hosts(self) -> range:
        """Addresses (as numbers) from which hosts draw theirs."""
        return range(self.routers.stop, int(self.pool[0]))

    def in_pool(self, address: IPv4Address) -> bool:
        """Tell whether Neutron may hand out ``address`` by itself."""
        first, last = self.pool
        return first <= address <= last


def draw(name: str, part: range, taken: Container[IPv4Address]) -> IPv4Address | None:
    """Return the address that ``name`` draws from ``part``: its hash's, or the next free one; None when all are taken.

    The hash makes the address a matter of the name alone: a new host moves another one only if it is declared before it
    and draws the same address.
    """
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    for step in range(len(part)):
        address = IPv4Address(part[(start + step) % len(part)])
        if address not in taken:
            return address
    return None
