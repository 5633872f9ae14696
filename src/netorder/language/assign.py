"""Networks' prefixes, and whose each address is: claimed where the file says so, drawn where it does not."""

from __future__ import annotations

from bisect import bisect
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING

from netorder.ip import IPV4, IPV6, VERSIONS
from netorder.language.subnet_layout import IPV6_LENGTH, LONGEST_PREFIX, Layout, draw, draw_prefix

if TYPE_CHECKING:
    from netorder.ip import Address, Prefix
    from netorder.language.document import Reader
    from netorder.language.subnet_layout import Drawn
    from netorder.language.yaml_source import Path

__all__ = ["Addressing"]

SHORTEST_PREFIX = 8
POOL_LENGTH = 24  # of what a network gets from an IPv4 pool
PRIVATE: tuple[Prefix, ...] = (
    *map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
    IPv6Network("fc00::/7"),
)
UNUSABLE: dict[Prefix, str] = {
    IPv4Network("0.0.0.0/8"): "means `this network` (RFC 1122)",
    IPv4Network("127.0.0.0/8"): "is every host's own loopback",
    IPv4Network("169.254.0.0/16"): "is link-local, where the cloud's metadata service is",
    IPv4Network("224.0.0.0/4"): "is for multicast",
    IPv4Network("240.0.0.0/4"): "is reserved",
    IPv6Network("::/8"): "is reserved (RFC 4291)",
    IPv6Network("64:ff9b::/96"): "is for translation to IPv4 (RFC 6052)",
    IPv6Network("2001:db8::/32"): "is for examples in documents (RFC 3849)",
    IPv6Network("2002::/16"): "is for 6to4 (RFC 3056)",
    IPv6Network("fe80::/10"): "is link-local",
    IPv6Network("fec0::/10"): "is no longer used (RFC 3879)",
    IPv6Network("ff00::/8"): "is for multicast",
}
_EXAMPLES = {4: "192.168.1.0/24", 6: "fd00:0:0:1::/64"}
_RANGES = {4: "10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16", 6: "fd00::/8"}


class Addressing:
    """The subnets by (network, IP version), and the owner, in words, of each address on them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.layouts: dict[tuple[str, int], Layout] = {}
        self._owners: dict[tuple[str, int], dict[int, str]] = {}
        self._starts: dict[int, list[tuple[int, int, str, str]]] = {version: [] for version in VERSIONS}
        self._overlapping: dict[int, list[tuple[int, int, str, str]]] = {version: [] for version in VERSIONS}
        self._declare()
        self._draw_prefixes()

    def versions(self, network: str) -> list[int]:
        """Return the IP versions that a network has usable prefixes of."""
        return [version for version in VERSIONS if (network, version) in self.layouts]

    def cidrs(self, network: str) -> list[Prefix]:
        """Return a network's usable prefixes."""
        return [self.layouts[network, version].cidr for version in self.versions(network)]

    # Prefixes

    def _declare(self) -> None:
        for name in self._reader.mapping("networks"):
            for path, cidr in self._reader.prefixes("networks", name, "cidr"):
                if (name, cidr.version) in self.layouts:
                    message = f"network `{name}` has two IPv{cidr.version} prefixes; it can have one of each IP version"
                    self._reader.error(path, f"{message}: make it two networks")
                elif self._usable(path, cidr):
                    self._check_overlap(path, name, cidr)
                    self._add(name, cidr)

    def _add(self, name: str, cidr: Prefix) -> None:
        self.layouts[name, cidr.version] = Layout(cidr, None)
        self._owners[name, cidr.version] = {}
        for path, gateway in self._reader.addresses("networks", name, "gateway"):
            if gateway.version == cidr.version and self.on_subnet(path, gateway, name, "gateway"):
                self.layouts[name, cidr.version] = Layout(cidr, gateway)

    def check_gateways(self) -> None:
        """Report gateways of an IP version that their network has no prefix of."""
        for name in self._reader.mapping("networks"):
            for path, gateway in self._reader.addresses("networks", name, "gateway"):
                self._has_version(path, gateway, name, "gateway")

    def _check_overlap(self, path: Path, name: str, cidr: Prefix) -> None:
        """Report the network whose prefix overlaps; those known so far do not overlap each other."""
        starts = self._starts[cidr.version]
        first, last = int(cidr.network_address), int(cidr.broadcast_address)
        index = bisect(starts, (first, last, "~", ""))
        near = starts[max(index - 1, 0) : index + 1] + self._overlapping[cidr.version]
        near = [one for one in near if one[0] <= last and first <= one[1]]
        if near:
            self._overlapping[cidr.version].append((first, last, name, str(cidr)))
            message = f"`{cidr}` of network `{name}` overlaps `{near[0][3]}` of network `{near[0][2]}`; choose another"
            self._reader.error(path, message)
        else:
            starts.insert(index, (first, last, name, str(cidr)))

    def _usable(self, path: Path, cidr: Prefix) -> bool:
        if cidr.version == IPV6 and cidr.prefixlen != IPV6_LENGTH:
            base = type(cidr)((int(cidr.network_address) >> 64 << 64, IPV6_LENGTH))
            message = f"`{cidr}` is no /{IPV6_LENGTH}, which every IPv6 network has (RFC 7421); use `{base}`"
        elif cidr.version == IPV4 and cidr.prefixlen > LONGEST_PREFIX:
            usable = max(cidr.num_addresses - 2, 0)
            message = (
                f"`{cidr}` has {usable} usable addresses, too few for a gateway, hosts and the cloud's own ports; "
                f"use a /{LONGEST_PREFIX} or shorter"
            )
        elif cidr.prefixlen < SHORTEST_PREFIX:
            message = f"`{cidr}` is too wide for one network; use a /{SHORTEST_PREFIX} or longer"
        elif reason := _why_not(cidr):
            message = f"`{cidr}` {reason}; use a private range, such as {_EXAMPLES[cidr.version]}"
        else:
            self._warn_of_public(path, cidr)
            return True
        self._reader.error(path, message)
        return False

    def _warn_of_public(self, path: Path, cidr: Prefix) -> None:
        low, high = int(cidr.network_address), int(cidr.broadcast_address)
        if not any(
            one.version == cidr.version and int(one.network_address) <= low and high <= int(one.broadcast_address)
            for one in PRIVATE
        ):
            message = (
                f"`{cidr}` is a public range; unless it is yours, its owners cannot be reached from these hosts: "
                f"use one in {_RANGES[cidr.version]}"
            )
            self._reader.warning(path, message)

    # Prefixes from the pool

    def _draw_prefixes(self) -> None:
        reader = self._reader
        pools = self._pools()
        for name, network in reader.mapping("networks").items():
            if not isinstance(network, dict):
                continue
            length = reader.get("networks", name, "prefix_length")
            if reader.refused("networks", name):
                continue
            if "cidr" in network:
                if length is not None:
                    message = f"network `{name}` has a `cidr`, so it takes nothing from the pool; remove one of the two"
                    reader.error(("networks", name, "prefix_length"), message)
            elif not pools:
                if "pool" not in reader.mapping() and not reader.refused("pool"):
                    mend = "add `cidr:` with a prefix such as 192.168.1.0/24, or a `pool:` for all networks"
                    reader.error(("networks", name), f"network `{name}` has no `cidr`; {mend}", of_key=True)
            else:
                for path, pool in pools:
                    self._draw_prefix(path, pool, name, length if isinstance(length, int) else POOL_LENGTH)

    def _pools(self) -> list[tuple[Path, Prefix]]:
        pools: list[tuple[Path, Prefix]] = []
        for path, pool in self._reader.prefixes("pool"):
            message = None
            if any(other.version == pool.version for _, other in pools):
                message = f"`{pool}` is a second IPv{pool.version} pool; one of each IP version is enough: remove it"
            elif pool.prefixlen < SHORTEST_PREFIX:
                message = f"`{pool}` is too wide; use a /{SHORTEST_PREFIX} or longer"
            elif reason := _why_not(pool):
                message = f"`{pool}` {reason}; use a private range, such as {_RANGES[pool.version].partition(',')[0]}"
            elif pool.version == IPV6 and pool.prefixlen > IPV6_LENGTH:
                message = f"`{pool}` has no room for a /{IPV6_LENGTH}; use a shorter prefix"
            if message:
                self._reader.error(path, message)
            else:
                self._warn_of_public(path, pool)
                pools.append((path, pool))
        return pools

    def _draw_prefix(self, path: Path, pool: Prefix, name: str, length: int) -> None:
        if pool.version == IPV6:
            length = IPV6_LENGTH
        if length < pool.prefixlen:
            message = f"network `{name}` asks for a /{length}, and the pool `{pool}` is smaller; make the pool larger"
            self._reader.error(path, message)
            return
        taken = [layout.cidr for layout in self.layouts.values()]
        drawn = draw_prefix(name, pool, length, taken)
        if drawn is None:
            message = f"the pool `{pool}` has no /{length} left for network `{name}`; make it larger"
            self._reader.error(path, message)
            return
        cidr, wish = drawn
        if cidr != wish:
            message = (
                f"network `{name}` has `{cidr}` of the pool, since `{wish}`, which its name would give, is taken; if "
                f"the networks before it change, it may move: to prevent that, write `cidr: {cidr}`"
            )
            self._reader.warning(("networks", name), message, of_key=True)
        self._add(name, cidr)
        self._starts[cidr.version].append((int(cidr.network_address), int(cidr.broadcast_address), name, str(cidr)))

    # Addresses

    def on_subnet(self, path: Path, address: Address, network: str, what: str) -> bool:
        """Tell whether ``address`` can be used on the network's subnet; report if not."""
        if not self._has_version(path, address, network, what):
            return False
        layout = self.layouts[network, address.version]
        cidr = layout.cidr
        if not int(cidr.network_address) <= int(address) <= int(cidr.broadcast_address):
            message = f"{what} `{address}` is not in `{cidr}` of network `{network}`; use one of {layout.first} to "
            message += str(layout.last)
        elif address == cidr.network_address:
            meaning = "the address of `{}` itself" if address.version == IPV4 else "every router's on `{}`"
            message = f"{what} `{address}` is {meaning.format(cidr)}; use {layout.first} or above"
        elif address.version == IPV4 and address == cidr.broadcast_address:
            message = f"{what} `{address}` is the broadcast address of `{cidr}`; use {layout.last} or below"
        else:
            return True
        self._reader.error(path, message)
        return False

    def _has_version(self, path: Path, address: Address, network: str, what: str) -> bool:
        if (network, address.version) in self.layouts:
            return True
        if self.versions(network) and not self._reader.refused("networks", network):
            has = self.cidrs(network)[0]
            message = f"{what} `{address}`: network `{network}` has no IPv{address.version} prefix, only `{has}`; "
            self._reader.error(path, f"{message}give it one, or remove the address")
        return False

    def owner(self, network: str, address: Address) -> str | None:
        """Return whose an address is."""
        return self._owners[network, address.version].get(int(address))

    def set_gateway(self, network: str, router: str, address: Address) -> None:
        """Make ``address`` the network's gateway."""
        key = network, address.version
        self.layouts[key] = Layout(self.layouts[key].cidr, address)
        self._owners[key][int(address)] = f"router `{router}`, the gateway of `{network}`"

    def claim(self, path: Path, network: str, address: Address, what: str) -> bool:
        """Give the declared ``address`` to ``what``; report when somebody has it, or when it is the cloud's to give."""
        layout, owners = self.layouts[network, address.version], self._owners[network, address.version]
        if int(address) in owners:
            message = f"{what}: `{address}` is taken by {owners[int(address)]}; choose another"
        elif layout.in_pool(address):
            first, last = layout.pool
            message = f"{what}: `{address}` is one of {first} to {last}, left to the cloud's own ports; choose another"
        else:
            owners[int(address)] = what
            return True
        self._reader.error(path, message)
        return False

    def draw_router(self, path: Path, name: str, network: str, version: int) -> Address | None:
        """Return an address for a router, one of the few that hosts do not draw if possible."""
        layout, owners = self.layouts[network, version], self._owners[network, version]
        drawn = draw(name, layout.routers, owners) or draw(name, layout.hosts, owners)
        return self._drawn(path, drawn, network, version, f"router `{name}`")

    def draw_host(self, path: Path, name: str, network: str, version: int) -> Address | None:
        """Return an address for a host; warn when it is not the one that its name gives."""
        layout, owners = self.layouts[network, version], self._owners[network, version]
        drawn = draw(name, layout.hosts, owners, numbered=True)
        if drawn and drawn.number != drawn.wish:
            address, wish = _address(drawn.number, version), _address(drawn.wish, version)
            message = (
                f"host `{name}` has `{address}` on `{network}`, since {owners[drawn.wish]} has `{wish}`, which its "
                f"name would give; if that changes, it may move: to prevent that, write `address: {address}`"
            )
            self._reader.warning(path, message, of_key=True)
        return self._drawn(path, drawn, network, version, f"host `{name}`")

    def _drawn(self, path: Path, drawn: Drawn | None, network: str, version: int, what: str) -> Address | None:
        if drawn is None:
            message = (
                f"{what}: network `{network}` ({self.layouts[network, version].cidr}) is full; use a shorter prefix"
            )
            self._reader.error(path, message, of_key=True)
            return None
        self._owners[network, version][drawn.number] = what
        return _address(drawn.number, version)


def _address(number: int, version: int) -> Address:
    # ip_address takes a small number for an IPv4 address; no usable IPv6 one is so small
    address = ip_address(number)
    assert address.version == version  # noqa: S101
    return address


def _why_not(cidr: Prefix) -> str | None:
    low, high = int(cidr.network_address), int(cidr.broadcast_address)
    for one, why in UNUSABLE.items():
        if one.version == cidr.version and int(one.network_address) <= high and low <= int(one.broadcast_address):
            return why
    return None
