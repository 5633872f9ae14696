"""Further subnets: networks of the file that are on another one's network in the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.ip import SLAAC
from netorder.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netorder.language.document import Reader
    from netorder.language.yaml_source import Path

__all__ = ["check_further", "check_links", "parent_of"]

KEY = "subnet_of"


def parent_of(reader: Reader, name: str) -> str | None:
    """Return the network that this one is a further subnet of; None of any other, and where that cannot be."""
    parent = reader.text("networks", name, KEY)
    if parent is None or parent == name or parent not in reader.mapping("networks"):
        return None
    return None if KEY in reader.mapping("networks", parent) else parent


def check_further(reader: Reader, name: str) -> None:
    """Report a network that cannot be a further subnet of what it names, and what is said there alone."""
    path: Path = ("networks", name, KEY)
    wanted, parent = reader.text(*path), parent_of(reader, name)
    if wanted is None:
        return
    if parent is None:
        reader.error(path, _why_not(reader, name, wanted))
        return
    for key in ("existing", "mtu"):
        there = reader.get("networks", name, key) is not None
        # of what exists nobody says an MTU, which is reported as such
        if there and not (key == "mtu" and reader.get("networks", parent, "existing")):
            message = f"network `{name}` is a subnet of the network of `{parent}`, whose `{key}` holds for both"
            reader.error(("networks", name, key), f"{message}; say it there, and remove this", of_key=True)
    if (mode := reader.text("networks", parent, "ipv6_address_mode")) in SLAAC:
        message = f"network `{parent}` has `ipv6_address_mode: {mode}`, by which Neutron gives each port on it an IPv6 "
        message += f"address, those of `{name}` too; make it `dhcpv6-stateful` there, or remove this"
        reader.error(path, message)


def _why_not(reader: Reader, name: str, wanted: str) -> str:
    networks = reader.mapping("networks")
    if wanted == name:
        return f"network `{name}` is a subnet of itself; name another network, or remove this"
    if wanted not in networks:
        others = [one for one in networks if one != name and KEY not in reader.mapping("networks", one)]
        fix = did_you_mean(wanted, [*others, *reader.several]) or "; declare it under `networks:`"
        return f"network `{name}` is a subnet of `{wanted}`, and there is no such network{fix}"
    first = reader.text("networks", wanted, KEY)
    fix = f"write `{KEY}: {first}`" if first and first != name else f"remove `{KEY}` from one of them"
    return f"network `{name}` is a subnet of `{wanted}`, which is one of `{first}` itself; {fix}"


def check_links(reader: Reader, entry: str, networks: Iterable[str], parents: Mapping[str, str | None]) -> None:
    """Report a host that is twice on what is one network in the cloud."""
    first: dict[str, str] = {}
    for name in networks:
        link = parents.get(name) or name
        if (other := first.setdefault(link, name)) != name:
            declared = reader.get("hosts", entry, "networks")
            place = name if isinstance(declared, dict) else declared.index(name)
            message = f"host `{entry}` is on `{other}` and `{name}`, which are subnets of one network: with two ports "
            message += "on one link, each answers for the other's address; leave one out, or remove `subnet_of`"
            reader.error(("hosts", entry, "networks", place), message)
