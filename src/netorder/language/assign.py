"""Whose each address is: declared where the file says so, drawn where it does not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from netorder.ip import IPV4, IPV6, eui64, mac_of
from netorder.language.loopbacks import check_loopbacks
from netorder.language.prefixes import Subnets, is_usable, subnets
from netorder.language.subnet_layout import draw
from netorder.routing.graph import nearest_to_outside

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from netorder.ip import Address
    from netorder.language.document import Reader
    from netorder.language.resolve import Attached, Names
    from netorder.language.subnet_layout import Drawn
    from netorder.language.yaml_source import Path

__all__ = ["Addresses", "assign"]

Declared = dict[str, dict[int, "tuple[Path, Address]"]]  # by network and IP version, with their places
Key = tuple[str, str, int]  # router or host, network and IP version
_VIRTUAL = "the virtual addresses"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The subnets, with gateways where a router has them, and the addresses on them."""

    subnets: Subnets
    gateway_routers: Mapping[str, str]  # by network
    of_routers: Mapping[Key, Address]
    of_hosts: Mapping[Key, Address]
    virtual: Mapping[tuple[str, str], tuple[Address, ...]]  # by entry of `hosts` and network
    macs: Mapping[tuple[str, str], str]  # by host and network: declared ones, and those that addresses follow from
    loopbacks: Mapping[str, tuple[Address, ...]]  # by host

    def router(self, name: str, network: str) -> tuple[Address, ...]:
        """Return a router's addresses on a network."""
        return self._on(self.of_routers, name, network)

    def host(self, name: str, network: str) -> tuple[Address, ...]:
        """Return a host's addresses on a network."""
        return self._on(self.of_hosts, name, network)

    def _on(self, addresses: Mapping[Key, Address], name: str, network: str) -> tuple[Address, ...]:
        keys = ((name, network, version) for version in self.subnets.versions(network))
        return tuple(addresses[key] for key in keys if key in addresses)


def assign(
    reader: Reader, names: Names, loopbacks: Mapping[str, tuple[Address, ...]], macs: Mapping[tuple[str, str], str]
) -> Addresses:
    """Return everybody's addresses; report those that cannot be.

    Declared addresses come before drawn ones, gateways before all. ``macs`` are the declared MAC addresses.
    """
    plain = subnets(reader, [ip_network(one) for its in loopbacks.values() for one in its])
    check_loopbacks(reader, names, loopbacks, plain)
    of_routers = {name: _declared(reader, plain, router.networks) for name, router in names.routers.items()}
    of_hosts = {key: _declared(reader, plain, entry.networks) for key, entry in names.hosts.items()}
    gateway_routers = _gateway_routers(reader, names, plain, of_routers)
    with_gateways = _with_gateways(plain, gateway_routers, of_routers)
    ledger = _Ledger(reader, with_gateways, _of_the_cloud(with_gateways))
    routers = ledger.gateways(gateway_routers)
    routers |= ledger.declared_routers(of_routers, gateway_routers)
    hosts = ledger.declared_hosts(names, of_hosts)
    made_up, macs = ledger.made_up(names, of_hosts, macs)
    hosts |= made_up
    virtual = ledger.virtual(names)
    routers_by_turn = reader.by_turn("routers", names.routers)
    hosts_by_turn = reader.by_turn("hosts", names.hosts)
    for turn in sorted({*routers_by_turn, *hosts_by_turn}):
        routers |= ledger.drawn_routers(names, routers, routers_by_turn.get(turn, ()))
        hosts |= ledger.drawn_hosts(names, hosts, hosts_by_turn.get(turn, ()))
    ledger.report_full()
    return Addresses(with_gateways, gateway_routers, routers, hosts, virtual, macs, loopbacks)


def _of_the_cloud(its: Subnets) -> dict[tuple[str, int], dict[int, str]]:
    """Return the owners of what nobody may draw: Neutron's addresses, where its pool is not where hosts do not draw."""
    taken = {key: dict.fromkeys(layout.pool_among_hosts, "Neutron's pool") for key, layout in its.layouts.items()}
    for key, layout in its.layouts.items():
        if layout.declared_pool:
            first, last = layout.declared_pool
            taken[key] = dict.fromkeys(range(int(first), int(last) + 1), "Neutron's pool")
        if layout.existing and layout.gateway:  # whoever has it; a router of the topology takes it over
            taken[key][int(layout.gateway)] = f"the gateway of `{key[0]}`"
    return taken


# Declared


def _declared(reader: Reader, its: Subnets, attached: Attached) -> Declared:
    """Return the declared addresses that can be used, one for each IP version and network."""
    found: Declared = {}
    for network, path in attached.items():
        mine = found[network] = {}
        for place, address in reader.addresses(*path) if path else ():
            if address.version in mine:
                message = f"`{address}` is a second IPv{address.version} address on network `{network}`; remove one"
                reader.error(place, message)
            elif is_usable(reader, its, place, address, network=network, what="address"):
                mine[address.version] = (place, address)
    return found


# Gateways


def _gateway_routers(reader: Reader, names: Names, its: Subnets, declared: Mapping[str, Declared]) -> dict[str, str]:
    """Return each network's gateway router: the one nearest to the outside, of those that can have its address."""
    joined = {name: tuple(router.networks) for name, router in names.routers.items()}
    external = {name for name, router in names.routers.items() if router.external}
    nearest = nearest_to_outside(names.networks, joined, external)
    found = {}
    for network in names.networks:
        routers = nearest[network]
        for version in its.versions(network):
            gateway = its.layouts[network, version].gateway
            if gateway is None:
                continue
            own = {name: declared[name][network].get(version, (None, None))[1] for name in routers}
            able = [name for name in routers if own[name] == gateway]
            able += [name for name in routers if own[name] is None]
            if not able and names.networks[network].existing:
                routers = []  # whoever has it is not in the topology
                break
            if not able and not reader.refused("routers"):
                message = f"gateway `{gateway}`: no router has it on network `{network}`; give it to one, or remove it"
                reader.error(("networks", network, "gateway"), message)
            routers = able
        if routers:
            found[network] = routers[0]
    return found


def _with_gateways(its: Subnets, gateway_routers: Mapping[str, str], declared: Mapping[str, Declared]) -> Subnets:
    """Return the subnets with the gateways that their routers have, declared there or here, or else the first."""
    layouts = dict(its.layouts)
    for (network, version), layout in its.layouts.items():
        if layout.gateway is None and network in gateway_routers:
            own = declared[gateway_routers[network]][network].get(version)
            layouts[network, version] = replace(layout, gateway=own[1] if own else layout.first)
    return Subnets(layouts)


# Owners


@dataclass(frozen=True, slots=True)
class _Ledger:
    """Assigns addresses, and keeps the owner of each in words, by network, IP version and address as a number."""

    reader: Reader
    subnets: Subnets
    owners: dict[tuple[str, int], dict[int, str]]
    moved: set[tuple[Path, str, int]] = field(default_factory=set)  # entries of several hosts that were warned of
    homeless: dict[tuple[str, int], list[tuple[Path, str]]] = field(default_factory=dict)  # who drew nothing

    def gateways(self, gateway_routers: Mapping[str, str]) -> dict[Key, Address]:
        """Give each network's gateway to its router."""
        found: dict[Key, Address] = {}
        for network, router in gateway_routers.items():
            for version in self.subnets.versions(network):
                layout = self.subnets.layouts[network, version]
                gateway = layout.gateway
                assert gateway is not None  # noqa: S101 - for the type checker: such networks have one
                if layout.pool and layout.in_pool(gateway):
                    key, where = "allocation_pool", "in it; leave that out"
                    if not layout.declared_pool:
                        first, last = layout.pool
                        key = "gateway"
                        where = f"one of {first} to {last}, left to the cloud's own ports; choose another"
                    message = f"the gateway of `{network}`, `{gateway}`, is {where}"
                    self.reader.error(("networks", network, key), message)
                self.owners[network, version][int(gateway)] = f"router `{router}`, the gateway of `{network}`"
                found[router, network, version] = gateway
        return found

    def declared_routers(
        self, declared: Mapping[str, Declared], gateway_routers: Mapping[str, str]
    ) -> dict[Key, Address]:
        """Give routers the addresses declared for them on networks that they are not the gateway of."""
        found: dict[Key, Address] = {}
        for name, networks in declared.items():
            for network, addresses in networks.items():
                for version, (path, address) in addresses.items():
                    if gateway_routers.get(network) != name:
                        self._claim(path, network, address, f"router `{name}`")
                        found[name, network, version] = address
        return found

    def declared_hosts(self, names: Names, declared: Mapping[str, Declared]) -> dict[Key, Address]:
        """Give hosts the addresses declared for them; of a family, the first host the first, the others the next."""
        found: dict[Key, Address] = {}
        for key, networks in declared.items():
            for network, addresses in networks.items():
                for version, (path, first) in addresses.items():
                    if version == IPV6 and names.networks[network].slaac:
                        continue
                    for index, name in enumerate(names.hosts[key].names):
                        address, what = first + index, f"host `{name}`"
                        if index and not is_usable(
                            self.reader, self.subnets, path, address, network=network, what=f"{what}: address"
                        ):
                            break
                        claimed = self._claim(path, network, address, what)
                        if claimed or not index:
                            found[name, network, version] = address
                        if not claimed:
                            break  # the others' addresses are wrong for the same reason
        return found

    def made_up(
        self, names: Names, declared: Mapping[str, Declared], macs: Mapping[tuple[str, str], str]
    ) -> tuple[dict[Key, Address], dict[tuple[str, str], str]]:
        """Return the addresses that hosts make up from their MAC addresses (SLAAC), and everybody's MAC addresses.

        A MAC address is declared, or follows from the declared address, or is drawn.
        """
        found: dict[Key, Address] = {}
        known = dict(macs)
        slaac = {name for name, its in names.networks.items() if its.slaac and (name, IPV6) in self.subnets.layouts}
        for key, entry in names.hosts.items():
            for network in (one for one in entry.networks if one in slaac):
                place, first = declared[key].get(network, {}).get(IPV6, (("hosts", key), None))
                for index, name in enumerate(entry.names):
                    given = first + index if first else None
                    mac = known.get((name, network)) or (mac_of(given) if given else self._draw_mac(key, name, network))
                    address = eui64(self.subnets.layouts[network, IPV6].cidr, mac) if mac else None
                    if given and address != given:
                        why = f"`{address}` from `{mac}`; remove one of the two" if mac else "this from none; remove it"
                        message = f"host `{name}`: addresses on `{network}` follow from MAC addresses, and {why}"
                        self.reader.error(place, message)
                        break
                    if not (mac and address and self._claim(place, network, address, f"host `{name}`")):
                        break
                    found[name, network, IPV6], known[name, network] = address, mac
        return found, known

    def _draw_mac(self, key: str, name: str, network: str) -> str:
        """Return a MAC address of those that nobody is sold (IEEE 802, locally administered), by the host's name."""
        by = " ".join((str(self.reader.text("topology")), self.reader.draw_name("hosts", key, name), network))
        return "02:" + hashlib.sha256(by.encode()).digest()[:5].hex(":")

    def virtual(self, names: Names) -> dict[tuple[str, str], tuple[Address, ...]]:
        """Keep virtual addresses for those that name them, on the one of their networks that each is on."""
        found: dict[tuple[str, str], list[Address]] = {}
        for key, entry in names.hosts.items():
            path = ("hosts", key, "virtual_addresses")
            for place, address in self.reader.addresses(*path):
                network = self._network_of(place, key, entry.networks, address)
                if network is None:
                    continue
                mine = found.setdefault((key, network), [])
                if address in mine:
                    self.reader.error(place, f"host `{key}` has virtual address `{address}` twice; remove one")
                elif self.owners[network, address.version].get(int(address)) == _VIRTUAL or self._claim(
                    place, network, address, _VIRTUAL
                ):
                    mine.append(address)
        return {key: tuple(its) for key, its in found.items()}

    def _network_of(self, path: Path, key: str, networks: Iterable[str], address: Address) -> str | None:
        """Return the network of some that an address is on; report one that is on none, or cannot be used there."""
        its, what = self.subnets, "virtual address"
        cidrs = [(cidr, network) for network in networks for cidr in its.cidrs(network)]
        on = [network for cidr, network in cidrs if address in cidr]
        if on or len(cidrs) == 1:
            network = (on or [cidrs[0][1]])[0]
            return network if is_usable(self.reader, its, path, address, network=network, what=what) else None
        if cidrs:
            prefixes = ", ".join(f"`{cidr}`" for cidr, _ in cidrs)
            message = f"{what} `{address}` is on no network of host `{key}` ({prefixes}); name one on them"
            self.reader.error(path, message)
        return None

    def drawn_routers(self, names: Names, known: Collection[Key], these: Iterable[str]) -> dict[Key, Address]:
        """Let routers draw their other addresses, of the few that hosts do not draw if possible."""
        found: dict[Key, Address] = {}
        for name in these:
            for network in names.routers[name].networks:
                for version in self.subnets.versions(network):
                    if (name, network, version) in known:
                        continue
                    layout, owners = self.subnets.layouts[network, version], self.owners[network, version]
                    by = self.reader.draw_name("routers", name, name)
                    many = ("routers", name) in self.reader.turns  # the few low addresses are too few
                    first = None if many else draw(by, layout.routers, owners)
                    drawn = first or draw(by, layout.hosts, owners, numbered=many, apart=many)
                    if drawn and drawn.number != drawn.wish and not layout.is_link:
                        self._warn_of_move(
                            ("routers", name),
                            f"router `{name}`",
                            network,
                            drawn,
                            others=len(names.routers[name].networks) > 1,
                        )
                    address = self._drawn(("routers", name), drawn, network, version, f"router `{name}`")
                    if address:
                        found[name, network, version] = address
        return found

    def drawn_hosts(self, names: Names, known: Collection[Key], these: Iterable[str]) -> dict[Key, Address]:
        """Let hosts draw their other addresses; warn where it is not the one that the name gives."""
        found: dict[Key, Address] = {}
        for key, entry in ((key, names.hosts[key]) for key in these):
            if self.reader.refused("hosts", key, "address"):
                continue
            for name in entry.names:
                for network in entry.networks:
                    for version in self.subnets.versions(network):
                        if (name, network, version) in known:
                            continue
                        address = self._draw_host(("hosts", key), name, network, version)
                        if address:
                            found[name, network, version] = address
        return found

    def report_full(self) -> None:
        """Report each network that had too few addresses once, at the first that got none."""
        for (network, version), these in self.homeless.items():
            path, first = these[0]
            others = f" and {len(these) - 1} more" if len(these) > 1 else ""
            cidr = self.subnets.layouts[network, version].cidr
            message = f"{first}{others}: network `{network}` ({cidr}) is full; use a shorter prefix"
            self.reader.error(path, message, of_key=True)

    def _claim(self, path: Path, network: str, address: Address, what: str) -> bool:
        """Give the declared ``address`` to ``what``; report when somebody has it, or when it is the cloud's to give."""
        layout, owners = self.subnets.layouts[network, address.version], self.owners[network, address.version]
        if layout.pool and layout.in_pool(address):
            first, last = layout.pool
            message = f"{what}: `{address}` is one of {first} to {last}, left to the cloud's own ports; choose another"
        elif int(address) in owners:
            message = f"{what}: `{address}` is taken by {owners[int(address)]}; choose another"
        else:
            owners[int(address)] = what
            return True
        self.reader.error(path, message)
        return False

    def _draw_host(self, path: Path, name: str, network: str, version: int) -> Address | None:
        layout, owners = self.subnets.layouts[network, version], self.owners[network, version]
        by = self.reader.draw_name("hosts", str(path[-1]), name)
        many = ("hosts", path[-1]) in self.reader.turns
        drawn = draw(by, layout.hosts, owners, numbered=True, apart=many)
        if drawn and drawn.number != drawn.wish and not layout.is_link:
            if name == path[-1]:
                self._warn_of_move(path, f"host `{name}`", network, drawn)
            elif (path, network, version) not in self.moved:
                self.moved.add((path, network, version))
                self._warn_of_move(path, f"host `{name}`", network, drawn, family=True)
        return self._drawn(path, drawn, network, version, f"host `{name}`")

    def _warn_of_move(
        self, path: Path, what: str, network: str, drawn: Drawn, *, family: bool = False, others: bool = False
    ) -> None:
        version = IPV4 if drawn.wish < 1 << 32 else IPV6
        address, wish = _address(drawn.number, version), _address(drawn.wish, version)
        declaration = f"`address: {address}`"
        if path[0] == "routers":
            quoted = f'"{address}"' if version == IPV6 else str(address)
            declaration = f"`networks: {{{network}: {quoted}{', ...' if others else ''}}}`"
        if family:
            declaration = f"an `address:` for `{path[1]}`, from which all its hosts count"
        fix = self.reader.anchor(str(path[0]), str(path[1]), declaration)
        owner = self.owners[network, version][drawn.wish]
        comma = "," if "," in owner else ""  # of a gateway
        message = (
            f"{what} has `{address}` on `{network}`, since {owner}{comma} has `{wish}`, "
            f"which its name would give; if that changes, it may move: to prevent that, {fix}"
        )
        self.reader.warning(path, message, of_key=True)

    def _drawn(self, path: Path, drawn: Drawn | None, network: str, version: int, what: str) -> Address | None:
        if drawn is None:
            self.homeless.setdefault((network, version), []).append((path, what))
            return None
        self.owners[network, version][drawn.number] = what
        return _address(drawn.number, version)


def _address(number: int, version: int) -> Address:
    # ip_address takes a small number for an IPv4 address; no usable IPv6 one is so small
    address = ip_address(number)
    assert address.version == version  # noqa: S101
    return address
