"""Which addresses of a subnet are for what, and which of them, or which prefix of a pool, a name draws.

An IPv4 subnet from its first address to its last: the network address, a few low ones (gateway, routers), the hosts, a
few high ones that Neutron hands out itself (DHCP, metadata), the broadcast address. An IPv6 subnet of /112 or shorter
has room for each of these in a range of its own, below the anycast addresses at its top (RFC 2526); a longer one is
laid out as IPv4's, without a broadcast address.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from netorder.ip import IPV4, IPV6, overlap

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from netorder.ip import Address, Prefix

__all__ = ["FEWEST", "IPV6_LENGTH", "LONGEST_LINK", "LONGEST_PREFIX", "Drawn", "Layout", "draw", "draw_prefix"]

LONGEST_PREFIX = {IPV4: 29, IPV6: 125}  # 6 or 7 usable addresses: 1 low, 2 or 3 for hosts, 3 for Neutron
LONGEST_LINK = {IPV4: 30, IPV6: 126}  # without DHCP: 2 or 3 usable addresses
IPV6_LENGTH = 64  # RFC 7421; of what a network gets from a pool
LONGEST_ROOMY = 112  # of IPv6, with a range for each use
ANYCAST = 0x80  # at the top of an IPv6 subnet (RFC 2526)
FEWEST = 3  # addresses for Neutron: two DHCP agents and metadata


def _share(usable: int, most: int) -> int:
    """Return the size of a reserved part: an eighth, and not too few for Neutron."""
    return max(FEWEST, min(most, usable // 8))


@dataclass(frozen=True)
class Layout:
    """The parts of one subnet.

    What hosts draw from depends on the prefix alone, so none moves when others come or a gateway is declared; one whose
    address the gateway (or, on a /27 to /29, the pool that gives way to it) takes draws another. A ``declared_pool`` is
    Neutron's in place of the top. On a /29 or /30 (IPv6: /125 or /126) without ``dhcp`` Neutron has none.

    Of an ``existing`` subnet the cloud knows what it hands out itself: nothing is kept for that here.
    """

    cidr: Prefix
    gateway: Address | None
    dhcp: bool = True
    declared_pool: tuple[Address, Address] | None = None
    existing: bool = False

    @property
    def first(self) -> Address:
        """The first usable address: the gateway, unless another is given."""
        return self.cidr.network_address + 1

    @property
    def last(self) -> Address:
        """The last usable address."""
        return self.cidr.broadcast_address - (self.cidr.version == IPV4)

    @cached_property
    def pool(self) -> tuple[Address, Address] | None:
        """First and last address of Neutron's allocation pool: the subnet's top, beside or below a gateway there."""
        if self._is_roomy:
            return self.cidr[0x100], self.cidr[0x1FF]
        if self.declared_pool or self.has_no_pool:
            return self.declared_pool
        first, last, gateway = self._top, self.last, self.gateway
        if gateway is None or not int(first) <= int(gateway) <= int(last):
            return first, last
        larger = max((first, gateway - 1), (gateway + 1, last), key=lambda part: int(part[1]) - int(part[0]))
        return larger if int(larger[1]) - int(larger[0]) + 1 >= FEWEST else (gateway - FEWEST, gateway - 1)

    @property
    def has_no_pool(self) -> bool:
        """Whether Neutron gets no address of its own, as it needs none."""
        return self.cidr.prefixlen >= LONGEST_PREFIX[self.cidr.version] and not self.dhcp

    @property
    def is_link(self) -> bool:
        """Whether there are two ends' addresses and hardly more."""
        return self.cidr.prefixlen == LONGEST_LINK[self.cidr.version]

    @property
    def _is_roomy(self) -> bool:
        return self.cidr.version == IPV6 and self.cidr.prefixlen <= LONGEST_ROOMY

    @property
    def usable(self) -> int:
        """How many addresses somebody can have."""
        return int(self.last) - int(self.first) + 1

    @property
    def _top(self) -> Address:
        """The first address of the subnet's top, which no host draws from, where it has one."""
        return self.last - (_share(self.usable, 8) - 1)

    @cached_property
    def routers(self) -> range:
        """Addresses (as numbers) from which routers draw theirs."""
        first = int(self.first)
        if self.existing:
            return self.hosts
        if self._is_roomy:
            return range(first, first + 0xFF)
        if self.cidr.prefixlen >= LONGEST_PREFIX[self.cidr.version]:
            return range(first, first + (2 if self.has_no_pool else 1))
        return range(first, first + _share(self.usable, 9))

    @cached_property
    def hosts(self) -> range:
        """Addresses (as numbers) from which hosts draw theirs."""
        if self.existing and (self.cidr.version == IPV4 or self.cidr.prefixlen > IPV6_LENGTH):
            return range(int(self.first) + 1, int(self.last) + 1)
        base, size = int(self.cidr.network_address), self.cidr.num_addresses
        if self._is_roomy and size > 1 << 32:
            return range(base + 0x10000, base + (1 << 32))
        if self._is_roomy:
            return range(base + 0x200, base + size - ANYCAST)
        if self.is_link:
            return self.routers
        return range(self.routers.stop, int(self.last) + 1 if self.has_no_pool else int(self._top))

    @property
    def pool_among_hosts(self) -> range:
        """Addresses (as numbers) that hosts would draw from if the pool did not have them."""
        if self.existing:
            return range(0)
        first, last = self.pool or (self.hosts.stop, self.hosts.stop)
        return range(max(int(first), self.hosts.start), min(int(last) + 1, self.hosts.stop))

    def in_pool(self, address: Address) -> bool:
        """Tell whether Neutron may hand out ``address`` by itself."""
        pool = None if self.existing else self.pool
        return pool is not None and int(pool[0]) <= int(address) <= int(pool[1])


class Drawn(NamedTuple):
    """What was drawn, and what the name would have by itself if nobody else had it."""

    number: int
    wish: int


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def draw(name: str, part: range, taken: Container[int], *, numbered: bool = False, apart: bool = False) -> Drawn | None:
    """Return what ``name`` draws from ``part``: its hash's, or the next free one; None when all are taken.

    The hash makes it a matter of the name alone: no file of what was assigned is needed. ``numbered`` names
    (web-1, web-2, ...) draw neighbours, so that they never want the same; with ``apart``, one that does not get what it
    wants takes none that its neighbours want, if possible.
    """
    if not part:
        return None
    stem, number = _split(name) if numbered else (name, 0)
    start = _hash(stem) + number
    wish = part[start % len(part)]
    if apart and wish in taken:
        start = _hash(name)
    for step in range(len(part)):
        drawn = part[(start + step) % len(part)]
        if drawn not in taken:
            return Drawn(drawn, wish)
    return None


def _split(name: str) -> tuple[str, int]:
    """Return a name without the number at its end, and that number."""
    found = re.fullmatch(r"(.*?[^0-9])([0-9]{1,15})", name)
    return (found[1], int(found[2])) if found else (name, 0)


def draw_prefix(
    name: str, pool: Prefix, length: int, taken: Iterable[Prefix], *, apart: bool = False
) -> tuple[Prefix, Prefix] | None:
    """Return the prefix of ``length`` that network ``name`` draws from ``pool``, and the one that it would like best.

    None when every one overlaps one of ``taken``.
    """
    size = 1 << (pool.max_prefixlen - length)
    low, high = int(pool.network_address), int(pool.broadcast_address)
    within = [one for one in taken if overlap(one, pool)]
    used: set[int] = set()
    for one in within:
        first = max(int(one.network_address), low)
        last = min(int(one.broadcast_address), high)
        if last - first < size << 20:
            used.update(range((first - low) // size, (last - low) // size + 1))
        else:
            return None  # all of the pool but for crumbs
    drawn = draw(name, range(1 << (length - pool.prefixlen)), used, numbered=True, apart=apart)
    if drawn is None:
        return None

    kind = type(pool)
    return kind((low + drawn.number * size, length)), kind((low + drawn.wish * size, length))
