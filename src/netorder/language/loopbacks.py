"""Loopback addresses: those that a host has on no network, and that others reach by routes to the host."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from netorder.language.prefixes import warn_of_public, why_unusable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netorder.ip import Address
    from netorder.language.document import Reader
    from netorder.language.prefixes import Subnets
    from netorder.language.resolve import HostEntry, Names
    from netorder.language.yaml_source import Path

__all__ = ["Loopbacks", "check_loopbacks", "read_loopbacks"]

KEY = "loopback_addresses"
Loopbacks = dict[str, "tuple[Address, ...]"]  # by host


def read_loopbacks(reader: Reader, names: Names) -> Loopbacks:
    """Return the addresses of each host; those of several of one entry are the first one's and the next ones."""
    found: dict[str, list[Address]] = {}
    owners: dict[Address, str] = {}
    for key, entry in names.hosts.items():
        several = len(entry.networks) > 1 and not entry.forward
        if several and reader.get("hosts", key, KEY) is not None:
            message = f"host `{key}` is on several networks and does not forward, so no one way leads to an address of "
            message += "none of them; add `forward: true`, or leave it on one network"
            reader.error(("hosts", key, KEY), message, of_key=True)
        for path, first in reader.addresses("hosts", key, KEY):
            if not several and _is_usable(reader, path, first):
                for index, name in enumerate(entry.names):
                    address = first + index
                    if (owner := owners.setdefault(address, name)) != name or address in found.get(name, ()):
                        message = f"`{address}` is a loopback address of host `{owner}` already; choose another"
                        reader.error(path, message)
                        break
                    found.setdefault(name, []).append(address)
    return {name: tuple(addresses) for name, addresses in found.items()}


def _is_usable(reader: Reader, path: Path, address: Address) -> bool:
    if reason := why_unusable(ip_network(address)):
        reader.error(path, f"loopback address `{address}` {reason}; use one of a private range, such as 10.255.0.1")
        return False
    warn_of_public(reader, path, ip_network(address))
    return True


def check_loopbacks(reader: Reader, names: Names, loopbacks: Mapping[str, tuple[Address, ...]], its: Subnets) -> None:
    """Report addresses that are on some network, and those that no route leads to, as their host has none such."""
    for key, entry in names.hosts.items():
        for name in entry.names:
            wrong = [one for one in loopbacks.get(name, ()) if _report(reader, key, entry, one, its)]
            if wrong:
                break  # the others' addresses are wrong for the same reason


def _report(reader: Reader, key: str, entry: HostEntry, address: Address, its: Subnets) -> bool:
    path: Path = ("hosts", key, KEY)
    on = next((name for (name, _), layout in its.layouts.items() if address in layout.cidr), None)
    versions = {version for network in entry.networks for version in its.versions(network)}
    if on:
        message = f"loopback address `{address}` is on network `{on}`; choose one that is on none, or write "
        reader.error(path, f"{message}`virtual_addresses`, if hosts there share it")
    elif versions and address.version not in versions:
        message = (
            f"host `{key}` is on no network with an IPv{address.version} prefix, so no route leads to its loopback"
        )
        reader.error(path, f"{message} address `{address}`; give its network one, or remove the address")
    else:
        return False
    return True
