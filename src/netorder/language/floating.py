"""Floating addresses: which each host gets, by which of its networks, and whether they can lead there.

Those that the file names, and the routers' own, are addresses outside, of which each has one owner.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from netorder.ip import IPV4
from netorder.language.prefixes import why_unusable
from netorder.topology import FloatingIp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netorder.ip import Address
    from netorder.language.assign import Addresses
    from netorder.language.document import Reader
    from netorder.language.resolve import HostEntry, Names
    from netorder.language.yaml_source import Path

__all__ = ["read_floating"]


def read_floating(
    reader: Reader, names: Names, addresses: Addresses, of_routers: Mapping[str, Address]
) -> Mapping[str, tuple[FloatingIp, ...]]:
    """Return the floating addresses of each entry of ``hosts``, the main one first; report those that cannot be.

    ``of_routers`` are what routers have outside, which nobody else can have.
    The main one is that of the network whose gateway is the host's: what comes in there is answered there.
    """
    found = _Floating(reader, names, addresses)
    for router, address in of_routers.items():
        if address.version == IPV4:  # else reported as such
            found.take(f"router `{router}`", ("routers", router, "external", "address"), address)
    return found.read()


class _Floating:
    def __init__(self, reader: Reader, names: Names, addresses: Addresses) -> None:
        self._reader = reader
        self._names = names
        self._addresses = addresses
        self._owners: dict[Address, str] = {}

    def read(self) -> dict[str, tuple[FloatingIp, ...]]:
        found: dict[str, tuple[FloatingIp, ...]] = {}
        for key, entry in self._names.hosts.items():
            mine: dict[str, FloatingIp] = {}
            for path, value in self._items(key):
                one = self._floating(key, entry, path, value)
                if one is None:
                    continue
                if one.network in mine:
                    message = f"host `{key}` has two floating addresses on network `{one.network}`, where it has one "
                    self._reader.error(path, f"{message}address that they could lead to; remove one")
                elif self._leads(key, path, one.network):
                    mine[one.network] = one
            if mine:
                main = self._default_network(entry)
                self._warn_of_replies(key, mine, main)
                found[key] = tuple(sorted(mine.values(), key=lambda one: one.network != main))
        return found

    def _items(self, key: str) -> Iterator[tuple[Path, Any]]:
        path: Path = ("hosts", key, "floating_ip")
        value = self._reader.get(*path)
        if isinstance(value, list):
            yield from self._reader.items(*path)
        elif value is True or isinstance(value, str | dict):
            yield path, value

    def _floating(self, key: str, entry: HostEntry, path: Path, value: Any) -> FloatingIp | None:  # noqa: ANN401 - any data
        reader = self._reader
        network = next(iter(entry.networks), None)
        text, place = (value, path) if isinstance(value, str) else (None, path)
        if isinstance(value, dict):
            text, place = reader.text(*path, "address"), (*path, "address")
            if named := reader.text(*path, "network"):
                if named not in entry.networks:
                    its = ", ".join(f"`{one}`" for one in entry.networks) or "none"
                    message = f"host `{key}` is not on network `{named}`, which its floating address is to lead to"
                    reader.error((*path, "network"), f"{message}; name one of its own: {its}")
                    return None
                network = named
        if network is None:
            return None  # reported as such
        address = reader.address(place, text) if text else None
        if text and (address is None or not self._may_be_given(key, entry, place, address)):
            return None
        keep = reader.true(*path, "keep") if isinstance(value, dict) else False
        if address and keep:
            message = f"`{address}` is a given address, and these are never deleted; remove `keep`"
            reader.error((*path, "keep"), message)
        return FloatingIp(network, str(address) if address else None, keep)

    def _may_be_given(self, key: str, entry: HostEntry, place: Path, address: Address) -> bool:
        """Report an address that no host, or several, can have as their floating one."""
        reader = self._reader
        message = None
        if address.version != IPV4:
            message = f"`{address}` is an IPv6 address, and floating addresses are IPv4; name one of these"
        elif len(entry.names) > 1:
            message = (
                f"`{address}` is one address, and `{key}` is {len(entry.names)} hosts; write `true`, or a host each"
            )
        if message:
            reader.error(place, message)
            return False
        return self.take(f"host `{key}`", place, address)

    def take(self, owner: str, place: Path, address: Address) -> bool:
        """Give an address outside its owner; report one that has another, or cannot be outside."""
        message = None
        if other := self._owners.get(address):
            message = f"`{address}` is given to {other} too; name another here or there"
        elif where := self._inside(address):
            message = f"`{address}` is {where}; name an address of the external network"
        elif reason := why_unusable(ip_network(address)):
            message = f"`{address}` {reason}; name an address of the external network"
        if message:
            self._reader.error(place, message)
            return False
        self._owners[address] = owner
        return True

    def _inside(self, address: Address) -> str | None:
        """Return where in the topology an address is, if anywhere; networks that exist may be outside."""
        for name, its in self._names.networks.items():
            if its.existing is None and any(address in cidr for cidr in self._addresses.subnets.cidrs(name)):
                return f"on network `{name}`"
        loopbacks = self._addresses.loopbacks.items()
        return next((f"host `{name}`'s loopback address" for name, its in loopbacks if address in its), None)

    def _leads(self, key: str, path: Path, network: str) -> bool:
        """Tell whether something leads from a floating address to the host's address on a network; report if not."""
        reader, versions = self._reader, self._addresses.subnets.versions(network)
        if reader.refused("routers") or not versions:
            return True
        which = "its first network" if network == next(iter(self._names.hosts[key].networks)) else "the network"
        user = f"host `{key}` cannot have a floating address"
        router = self._addresses.gateway_routers.get(network)
        if IPV4 not in versions:
            message = f"{user}: {which}, `{network}`, has no IPv4 prefix; floating addresses are IPv4: "
            reader.error(path, f"{message}give it one, or remove this")
            return False
        if router is None or not self._names.routers[router].external:
            reason = f"router `{router}`, the gateway of `{network}`, is not external"
            if router is None:
                reason = f"no router joins network `{network}`"
                own = self._names.networks[network].existing is None
                if own and any(network in one.networks for one in self._names.routers.values()):
                    return False  # its gateway is no router's, which is reported as such
                if self._gateway(network):
                    reason = f"the gateway of network `{network}` is no router of this file"
            reader.error(path, f"{user}: {reason}; join an external router (`external: true`)")
            return False
        return True

    def _gateway(self, network: str) -> Address | None:
        layout = self._addresses.subnets.layouts.get((network, IPV4))
        return layout.gateway if layout else None

    def _default_network(self, entry: HostEntry) -> str | None:
        return next((network for network in entry.networks if self._gateway(network)), None)

    def _warn_of_replies(self, key: str, mine: Mapping[str, FloatingIp], main: str | None) -> None:
        """Warn of floating addresses of which nobody gets an answer, as the host sends it by another interface."""
        if self._reader.get("hosts", key, "routes"):
            return
        for network in mine:
            if main and network != main:
                message = (
                    f"host `{key}` answers by its default gateway, on `{main}`, also what comes in by its floating "
                )
                message += f"address on `{network}`: nobody gets these answers; name `{network}` first in its "
                message += "`networks`, or the places it serves there in its `routes`"
                self._reader.warning(("hosts", key, "floating_ip"), message)
