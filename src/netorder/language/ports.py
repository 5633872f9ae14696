"""What the file says of single ports: MAC addresses of hosts' interfaces, addresses of routers outside."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from netorder.ip import IPV4

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netorder.ip import Address
    from netorder.language.document import Reader
    from netorder.language.resolve import Names
    from netorder.language.yaml_source import Path

__all__ = ["Ports", "read_ports"]

_GROUP = 1 << 40  # of the first octet: for several receivers (IEEE 802)


@dataclass(frozen=True, slots=True)
class Ports:
    """MAC addresses by host and network, and addresses on the external network by router."""

    macs: Mapping[tuple[str, str], str]
    outside: Mapping[str, Address]


def read_ports(reader: Reader, names: Names) -> Ports:
    """Return what the file declares; report what cannot be."""
    outside = {name: address for name in names.routers if (address := _outside(reader, name))}
    return Ports(_macs(reader, names), outside)


def _macs(reader: Reader, names: Names) -> dict[tuple[str, str], str]:
    """Return the MAC addresses of hosts; those of several of one entry are the first one's and the next ones."""
    found: dict[tuple[str, str], str] = {}
    owners: dict[tuple[str, int], str] = {}  # by network and address
    for key, entry in names.hosts.items():
        for network in entry.networks:
            path: Path = ("hosts", key, "mac_address")
            if "networks" in reader.mapping("hosts", key):
                path = ("hosts", key, "networks", network, "mac_address")
            text = reader.text(*path)
            if text is None:
                continue
            first = int(text.replace(":", ""), 16)
            for index, name in enumerate(entry.names):
                mac = first + index
                if message := _wrong(mac, owners.get((network, mac))):
                    reader.error(path, f"`{_text(mac)}` {message}")
                    break
                owners[network, mac] = name
                found[name, network] = _text(mac)
    return found


def _wrong(mac: int, owner: str | None) -> str | None:
    if owner:
        return f"is host `{owner}`'s on the same network already; choose another"
    if mac & _GROUP:
        return "is a group's address (the first octet is odd), which no interface has; choose one such as fa:16:3e:..."
    if not 0 < mac < 1 << 48:
        return "is no address of an interface; choose one such as fa:16:3e:..."
    return None


def _text(mac: int) -> str:
    return (mac % (1 << 48)).to_bytes(6, "big").hex(":")


def _outside(reader: Reader, router: str) -> Address | None:
    named = reader.text("routers", router, "external")
    with suppress(ValueError):
        fix = f"write `{{address: {ip_interface(named or '').ip}}}`"
        message = f"`{named}` is an address, and a text here is the name of an external network; {fix}"
        reader.error(("routers", router, "external"), message)
    path = ("routers", router, "external", "address")
    text = reader.text(*path)
    address = reader.address(path, text) if text else None
    if address and address.version != IPV4:
        reader.error(path, f"`{address}` is no IPv4 address, by which routers join the outside; write that")
    return address
