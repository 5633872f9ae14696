"""Networks' prefixes: those that the file declares, and those that networks draw from the pool."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from netorder.ip import IPV4, IPV6, SLAAC, VERSIONS, covers, overlap
from netorder.language.further import parent_of
from netorder.language.resolve import existing
from netorder.language.subnet_layout import FEWEST, IPV6_LENGTH, LONGEST_LINK, LONGEST_PREFIX, Layout, draw_prefix

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from netorder.ip import Address, Prefix
    from netorder.language.document import Reader
    from netorder.language.yaml_source import Path

__all__ = ["Subnets", "is_usable", "subnets", "warn_of_public", "why_nowhere", "why_unusable"]

SHORTEST_PREFIX = 8
MOST_OF_POOL = 1 << 16  # addresses of a declared allocation pool
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
# What nobody sends from, and no router passes on; others of the unusable, as NAT64's, are somebody's
_NOWHERE: dict[Prefix, str] = {
    one: UNUSABLE[one]
    for one in map(
        ip_network,
        ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "fe80::/10", "ff00::/8"),
    )
} | {IPv6Network("::1/128"): UNUSABLE[IPv4Network("127.0.0.0/8")]}
_EXAMPLES = {IPV4: "192.168.1.0/24", IPV6: "fd00:0:0:1::/64"}
_RANGES = {IPV4: "10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16", IPV6: "fd00::/8"}
_Cidrs = dict[tuple[str, int], "Prefix"]  # by network and IP version


@dataclass(frozen=True, slots=True)
class Subnets:
    """The usable prefixes, laid out, by network and IP version."""

    layouts: Mapping[tuple[str, int], Layout]

    def versions(self, network: str) -> list[int]:
        """Return the IP versions that a network has usable prefixes of."""
        return [version for version in VERSIONS if (network, version) in self.layouts]

    def cidrs(self, network: str) -> list[Prefix]:
        """Return a network's usable prefixes."""
        return [self.layouts[network, version].cidr for version in self.versions(network)]


def subnets(reader: Reader, taken: Iterable[Prefix] = ()) -> Subnets:
    """Return the networks' subnets, with declared gateways; report prefixes and gateways that cannot be.

    None is drawn that holds something ``taken``.
    """
    cidrs = _declared(reader)
    cidrs |= _drawn(reader, cidrs, taken)
    keys = [(name, version) for name in reader.mapping("networks") for version in VERSIONS]
    there = {name for name in reader.mapping("networks") if existing(reader, "networks", name)}
    layouts = {
        key: Layout(
            cidrs[key], None, dhcp=reader.get("networks", key[0], "dhcp") is not False, existing=key[0] in there
        )
        for key in keys
        if key in cidrs
    }
    found = Subnets(dict(layouts))
    for name in reader.mapping("networks"):
        for path, gateway in reader.addresses("networks", name, "gateway"):
            if is_usable(reader, found, path, gateway, network=name, what="gateway"):
                key = name, gateway.version
                layouts[key] = replace(layouts[key], gateway=gateway)
        if pool := _declared_pool(reader, found, name):
            layouts[name, IPV4] = replace(layouts[name, IPV4], declared_pool=pool)
        _check_mode(reader, found, name)
    return Subnets(layouts)


def _check_mode(reader: Reader, its: Subnets, name: str) -> None:
    """Report a way to IPv6 addresses where there are none, or not by it."""
    path = ("networks", name, "ipv6_address_mode")
    mode = reader.text(*path)
    if mode is None or reader.refused("networks", name):
        return
    layout = its.layouts.get((name, IPV6))
    if layout is None:
        if its.versions(name):
            reader.error(path, f"network `{name}` has no IPv6 prefix; add one to its `cidr`, or remove this")
    elif not layout.dhcp and not layout.existing:
        message = f"network `{name}` has `dhcp: false`, with which the cloud advertises nothing"
        reader.error(path, f"{message}; remove one of the two")
    elif mode in SLAAC and layout.cidr.prefixlen != IPV6_LENGTH:
        message = f"hosts make up addresses of a /{IPV6_LENGTH} alone (RFC 4862), and `{layout.cidr}` is none"
        reader.error(path, f"{message}; make it one, or remove this")


def _has_dhcp(reader: Reader, name: str) -> bool:
    return reader.get("networks", name, "dhcp") is not False


def _declared_pool(reader: Reader, its: Subnets, name: str) -> tuple[Address, Address] | None:
    """Return a network's allocation pool as declared; report one that cannot be."""
    path = ("networks", name, "allocation_pool")
    text = reader.text(*path)
    if text is None:
        return None
    ends = [reader.address(path, part) for part in text.split("-")]
    usable = [one for one in ends if one and is_usable(reader, its, path, one, network=name, what="allocation pool:")]
    if len(usable) < len(ends):
        return None
    first, last = usable
    size = int(last) - int(first) + 1
    needed = FEWEST if _has_dhcp(reader, name) else 1
    if size < 1:
        reader.error(path, f"`{text}` is not a range of addresses; write the lower first")
    elif size > MOST_OF_POOL:
        reader.error(path, f"`{text}` has {size} addresses, and {MOST_OF_POOL} are more than enough; make it smaller")
    elif size < needed:
        message = f"`{text}` has room for {size}, and the cloud's own ports (DHCP, metadata) may need {FEWEST}"
        reader.error(path, f"{message}; make it larger")
    else:
        return first, last
    return None


def is_usable(reader: Reader, its: Subnets, path: Path, address: Address, *, network: str, what: str) -> bool:
    """Tell whether ``address``, declared at ``path``, can be used on a subnet of the network; report if not."""
    layout = its.layouts.get((network, address.version))
    if layout is None:
        if its.versions(network) and not reader.refused("networks", network):
            has = its.cidrs(network)[0]
            message = f"{what} `{address}`: network `{network}` has no IPv{address.version} prefix, only `{has}`; "
            reader.error(path, f"{message}give it one, or remove the address")
        return False
    cidr = layout.cidr
    if address not in cidr:
        message = f"{what} `{address}` is not in `{cidr}` of network `{network}`; use one of {layout.first} to "
        message += str(layout.last)
    elif address == cidr.network_address:
        meaning = "the address of `{}` itself" if address.version == IPV4 else "every router's on `{}`"
        message = f"{what} `{address}` is {meaning.format(cidr)}; use {layout.first} or above"
    elif address.version == IPV4 and address == cidr.broadcast_address:
        message = f"{what} `{address}` is the broadcast address of `{cidr}`; use {layout.last} or below"
    else:
        return True
    reader.error(path, message)
    return False


# Declared


def _declared(reader: Reader) -> _Cidrs:
    found: _Cidrs = {}
    # first and last address, network and prefix: sorted and apart; those that overlap one of these
    apart: dict[int, list[tuple[int, int, str, str]]] = {version: [] for version in VERSIONS}
    overlapping: dict[int, list[tuple[int, int, str, str]]] = {version: [] for version in VERSIONS}
    for name in reader.mapping("networks"):
        for path, cidr in reader.prefixes("networks", name, "cidr"):
            version = cidr.version
            if (name, version) in found:
                reader.error(path, _two_of(reader, name, cidr))
                continue
            if version == IPV6 and (parent := parent_of(reader, name)):
                message = f"network `{name}` is a further IPv4 subnet of `{parent}`; of IPv6 one prefix is enough, as "
                message += "a /64 is never full, and a router has one IPv6 port on a network of Neutron's; remove this"
                reader.error(path, message)
                continue
            there = existing(reader, "networks", name) is not None
            wrong = why_unusable(cidr) if there else _wrong_prefix(cidr, dhcp=_has_dhcp(reader, name))
            if wrong:
                reader.error(path, f"`{cidr}` {wrong}" if there else wrong)
                continue
            if not there and reader.get("networks", name, "subnet_pool") is None:  # else the cloud's own to give
                warn_of_public(reader, path, cidr)
            found[name, version] = cidr
            new = (int(cidr.network_address), int(cidr.broadcast_address), name, str(cidr))
            index = bisect(apart[version], (*new[:2], "~", ""))
            neighbours = apart[version][max(index - 1, 0) : index + 1] + overlapping[version]
            other = next((one for one in neighbours if one[0] <= new[1] and new[0] <= one[1]), None)
            if other is None:
                apart[version].insert(index, new)
            else:
                overlapping[version].append(new)
                fix = "choose another"
                if reader.label(path):
                    fix += ", or let it differ by `$number` (`10.0.$number.0/24`)"
                message = f"`{cidr}` of network `{name}` overlaps `{other[3]}` of network `{other[2]}`; {fix}"
                reader.error(path, message)
    return found


def _two_of(reader: Reader, name: str, cidr: Prefix) -> str:
    message = f"network `{name}` has two IPv{cidr.version} prefixes; it can have one of each IP version"
    if cidr.version == IPV6:
        return f"{message}: make it two networks"
    further = f"`{name}-2: {{cidr: {cidr}, subnet_of: {parent_of(reader, name) or name}}}`"
    return f"{message}: make this one a further subnet, {further}"


def _wrong_prefix(cidr: Prefix, *, dhcp: bool) -> str | None:
    """Say what is wrong with ``cidr`` as a network's prefix."""
    prefix, link = LONGEST_PREFIX[cidr.version], LONGEST_LINK[cidr.version]
    if cidr.version == IPV6 and cidr.prefixlen < IPV6_LENGTH:
        use = f"use `{cidr.network_address}/{IPV6_LENGTH}` or longer"
        return f"`{cidr}` is too wide: clouds give addresses of a /{IPV6_LENGTH} or longer by DHCPv6; {use}"
    if cidr.prefixlen > link:
        nobody = "the first or the last address" if cidr.version == IPV4 else "the first address"
        why = f"OpenStack gives nobody {nobody} of a prefix, so two ends have none on it"
        return f"`{cidr}`: {why}; use a /{link} with `dhcp: false`"
    if cidr.prefixlen > prefix and dhcp:
        usable = Layout(cidr, None).usable
        return (
            f"`{cidr}` has {usable} usable addresses, too few for two ends and the cloud's own ports; "
            f"add `dhcp: false`, or use a /{prefix} or shorter"
        )
    if cidr.prefixlen < SHORTEST_PREFIX:
        return f"`{cidr}` is too wide for one network; use a /{SHORTEST_PREFIX} or longer"
    if reason := why_unusable(cidr):
        return f"`{cidr}` {reason}; use a private range, such as {_EXAMPLES[cidr.version]}"
    return None


def why_unusable(cidr: Prefix) -> str | None:
    """Say why nobody can have addresses of ``cidr``."""
    return next((why for one, why in UNUSABLE.items() if overlap(one, cidr)), None)


def why_nowhere(cidr: Prefix) -> str | None:
    """Say why ``cidr`` is behind no router: all of it is some machine's own, a link's, or for many at once."""
    return next((why for one, why in _NOWHERE.items() if covers(one, cidr)), None)


def warn_of_public(reader: Reader, path: Path, cidr: Prefix) -> None:
    """Warn of a prefix that is others', as far as anybody can tell."""
    if not any(covers(one, cidr) for one in PRIVATE):
        message = (
            f"`{cidr}` is a public range; unless it is yours, its owners cannot be reached from these hosts: "
            f"use one in {_RANGES[cidr.version]}"
        )
        reader.warning(path, message)


# Drawn from the pool


def _drawn(reader: Reader, declared: _Cidrs, others: Iterable[Prefix]) -> _Cidrs:
    """Return what networks without a prefix draw from the pool."""
    found: _Cidrs = {}
    lacking: dict[tuple[Path, Prefix, int], list[str]] = {}  # who got nothing, by pool and prefix length
    pools = _pools(reader)
    drawing = reader.by_turn("networks", _without_prefix(reader, pools=bool(pools)))
    for name in (name for names in drawing.values() for name in names):
        length = reader.get("networks", name, "prefix_length")
        further = parent_of(reader, name)
        if further and all(pool.version != IPV4 for _, pool in pools):
            message = f"network `{name}` is a further IPv4 subnet of `{further}`, and the pool has no IPv4 prefix"
            reader.error(("networks", name), f"{message}; add `cidr:`, or an IPv4 prefix to `pool`", of_key=True)
        for path, pool in (one for one in pools if one[1].version == IPV4 or not further):
            taken = [*declared.values(), *found.values(), *others]
            its_length = IPV6_LENGTH if pool.version == IPV6 else length if isinstance(length, int) else POOL_LENGTH
            if cidr := _draw(reader, pool, name=name, length=its_length, taken=taken):
                found[name, cidr.version] = cidr
                if wrong := _wrong_prefix(cidr, dhcp=_has_dhcp(reader, name)):
                    reader.error(("networks", name, "prefix_length"), wrong)
            else:
                lacking.setdefault((path, pool, its_length), []).append(name)
    for (path, pool, length), names in lacking.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        message = f"the pool `{pool}` has no /{length} left for network `{names[0]}`{more}; make it larger"
        if length < pool.prefixlen:
            message = (
                f"network `{names[0]}`{more} asks for a /{length}, and the pool `{pool}` is smaller; make the pool "
            )
            message += "larger"
        reader.error(path, message)
    return found


def _without_prefix(reader: Reader, *, pools: bool) -> Iterator[str]:
    """Yield the networks that draw from the pool; report those that have none to draw from, or say both."""
    for name, network in reader.mapping("networks").items():
        if not isinstance(network, dict) or reader.refused("networks", name):
            continue
        if existing(reader, "networks", name):
            continue
        if "cidr" in network:
            if reader.get("networks", name, "prefix_length") is not None:
                message = f"network `{name}` has a `cidr`, so it takes nothing from the pool; remove one of the two"
                reader.error(("networks", name, "prefix_length"), message)
        elif "subnet_pool" in network:
            continue  # without what it draws from that, which is reported as such
        elif pools:
            yield name
        elif "pool" not in reader.mapping() and not reader.refused("pool"):
            fix = "add `cidr:` with a prefix such as 192.168.1.0/24, or a `pool:` for all networks"
            reader.error(("networks", name), f"network `{name}` has no `cidr`; {fix}", of_key=True)


def _pools(reader: Reader) -> list[tuple[Path, Prefix]]:
    pools: list[tuple[Path, Prefix]] = []
    for path, pool in reader.prefixes("pool"):
        message = None
        if any(other.version == pool.version for _, other in pools):
            message = f"`{pool}` is a second IPv{pool.version} pool; one of each IP version is enough: remove it"
        elif pool.prefixlen < SHORTEST_PREFIX:
            message = f"`{pool}` is too wide; use a /{SHORTEST_PREFIX} or longer"
        elif reason := why_unusable(pool):
            message = f"`{pool}` {reason}; use a private range, such as {_RANGES[pool.version].partition(',')[0]}"
        elif pool.version == IPV6 and pool.prefixlen > IPV6_LENGTH:
            message = f"`{pool}` has no room for a /{IPV6_LENGTH}, which each network gets; use a shorter prefix"
        if message:
            reader.error(path, message)
        else:
            warn_of_public(reader, path, pool)
            pools.append((path, pool))
    return pools


def _draw(reader: Reader, pool: Prefix, *, name: str, length: int, taken: Collection[Prefix]) -> Prefix | None:
    if length < pool.prefixlen:
        return None
    many = ("networks", name) in reader.turns
    drawn = draw_prefix(reader.draw_name("networks", name, name), pool, length, taken, apart=many)
    if drawn is None:
        return None
    cidr, wish = drawn
    if cidr != wish:
        fix = reader.anchor("networks", name, f"`cidr: {cidr}`")
        message = (
            f"network `{name}` has `{cidr}` of the pool, since `{wish}`, which its name would give, is taken; if "
            f"the networks before it change, it may move: to prevent that, {fix}"
        )
        reader.warning(("networks", name), message, of_key=True)
    return cidr
