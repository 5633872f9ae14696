"""Hosts whose disk is that of another host: which, how, and whether that can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from netorder.language import schema
from netorder.text import did_you_mean, few

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netorder.language.document import Reader
    from netorder.language.resolve import Names
    from netorder.language.yaml_source import Path

__all__ = ["Clone", "read_clones"]

LINKED, FULL = "linked", "full"


@dataclass(frozen=True, slots=True)
class Clone:
    """What an entry's disk is made from: that of the host ``of``, and at first the image of the entry ``origin``.

    ``disk`` is linked or full.
    """

    of: str
    origin: str
    disk: str


def read_clones(reader: Reader, names: Names) -> Mapping[str, Clone]:
    """Return by entry of ``hosts`` what it is a clone of; report what cannot be."""
    entry_of = {name: entry for entry, its in names.hosts.items() for name in its.names}
    hosts = {entry: host for entry in names.hosts if (host := _cloned(reader, names, entry_of, entry))}
    sources = {entry: entry_of[host] for entry, host in hosts.items()}
    found: dict[str, Clone] = {}
    in_circles: set[str] = set()
    for entry, host in hosts.items():
        line = _line(sources, entry)
        if line[-1] in sources:  # it does not end at an image
            _report_circle(reader, sources, line, in_circles)
            continue
        disk = _disk(reader, line)
        if disk == LINKED and _disk(reader, line[1:]) == FULL:
            message = f"the disk of host `{host}` is a copy, with no image that the disk of another could share"
            reader.error(("hosts", entry, "clone", "disk"), f"{message}; write `disk: full`")
        found[entry] = Clone(host, line[-1], disk)
        _check_origin(reader, entry, found[entry])
    return found


def _cloned(reader: Reader, names: Names, entry_of: Mapping[str, str], entry: str) -> str | None:
    """Return the host that an entry is a clone of; report one that there is not."""
    path: Path = ("hosts", entry, "clone", "of")
    word = reader.text(*path)
    if word is None:
        return None
    message = None
    if word == entry or entry_of.get(word) == entry:
        its = "itself" if names.hosts[entry].names == (entry,) else f"`{word}`, which is of this entry"
        message = f"host `{entry}` is to be a clone of {its}; name another host, or write `clone: linked` for a disk "
        message += "from its image"
    elif word in names.hosts and word not in entry_of:
        its_hosts = names.hosts[word].names
        if its_hosts:
            message = f"`{word}` stands for the hosts {few(its_hosts)}; name the one that host `{entry}` is a clone of"
        else:
            message = f"`{word}` is none: there is none of it now (`count: 0`); name another"
    elif word not in entry_of:
        fix = did_you_mean(word, entry_of) or "; declare it under `hosts:`"
        message = f"host `{entry}` is to be a clone of host `{word}`, and there is no such host{fix}"
    if message:
        reader.error(path, message)
        return None
    return word


def _line(sources: Mapping[str, str], entry: str) -> list[str]:
    """Return an entry, that which it is a clone of, and so on, to one that is none, or that is there already."""
    line = [entry]
    while (above := sources.get(line[-1])) and above not in line:
        line.append(above)
    return line


def _report_circle(reader: Reader, sources: Mapping[str, str], line: list[str], known: set[str]) -> None:
    """Report hosts that are clones of each other, once; those that are clones of these are right once these are."""
    circle = line[line.index(sources[line[-1]]) :]
    if known.isdisjoint(circle):
        shown = " of ".join(f"`{one}`" for one in (*circle, circle[0]))
        message = f"these hosts are clones of each other: {shown}; make one from its image: `clone: linked`"
        reader.error(("hosts", circle[0], "clone", "of"), message)
    known.update(circle)


def _disk(reader: Reader, line: list[str]) -> str:
    """Return how the disk of the first of a line is made: if it does not say so, as that of the next."""
    for entry in line:
        path: Path = ("hosts", entry, "clone")
        if said := reader.text(*path) or reader.text(*path, "disk"):
            return said
    return LINKED


def _check_origin(reader: Reader, entry: str, clone: Clone) -> None:
    """Report an image and a user of a clone's own: its disk has those of the other's."""
    for key, what in (("image", "the image"), ("user", "the image's user")):
        own, *others = (reader.get(*place, key) for place in (("hosts", entry), ("hosts", clone.origin), ("defaults",)))
        its = next((one for one in others if one is not None), schema.default(key))
        if own is not None and own != its and not reader.refused("hosts", entry, key):
            message = f"{what} of host `{entry}` is that of host `{clone.of}`, whose disk it gets"
            reader.error(("hosts", entry, key), f"{message}; remove this")
