"""The members of security groups that exist in the cloud, as an end of a rule: ``{security_group: monitoring}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netorder.text import is_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.language.document import Reader
    from netorder.language.resolve import Names
    from netorder.language.yaml_source import Path

__all__ = ["Members", "read_members"]


class Members(NamedTuple):
    """Those of a security group, by its name or id, that ``place`` names; ``hosts`` are those that the file has."""

    place: Path
    group: str
    hosts: tuple[str, ...]


def read_members(reader: Reader, names: Names, *path: str | int) -> Iterator[Members]:
    """Yield the security groups that the end of a rule at ``path`` names; report what cannot be one."""
    for place, end in reader.items(*path):
        if not isinstance(end, dict):
            continue
        for where, word in reader.items(*place, "security_group"):
            if isinstance(word, str):
                group = _spelled(word)
                hosts = tuple(_members(reader, names, group))
                _check_foreign(reader, names, where, word)
                _check_forwarding(reader, names, where, group, hosts)
                yield Members(where, group, hosts)


def _spelled(word: str) -> str:
    return word.lower() if is_id(word) else word


def _members(reader: Reader, names: Names, group: str) -> Iterator[str]:
    """Yield the hosts that say that they are in a group; each has it at all of its ports."""
    for key, entry in names.hosts.items():
        its = [_spelled(word) for _, word in reader.items("hosts", key, "security_groups") if isinstance(word, str)]
        if group in its:
            yield from entry.names


def _check_foreign(reader: Reader, names: Names, place: Path, word: str) -> None:
    """Report what is of this file: its hosts, networks and groups are sources by their names."""
    end = str(place[2])
    kinds = {
        "host": {*names.hosts, *names.entry_of},
        "network": {*names.networks},
        "group": {*names.groups},
    }
    if kind := next((kind for kind, known in kinds.items() if word in known), None):
        message = f"`{word}` is a {kind} of this file, and `security_group` names one that exists in the cloud; write "
        reader.error(place, f"{message}`{end}: {word}`, or the id of a security group that is called so")
    prefix = f"{reader.text('topology')}-"
    if word.startswith(prefix) and (host := word.removeprefix(prefix)) in kinds["host"]:
        message = f"`{word}` is what this topology calls a security group of its own"
        reader.error(place, f"{message}; name its hosts: `{end}: {host}`")


def _check_forwarding(reader: Reader, names: Names, place: Path, group: str, hosts: tuple[str, ...]) -> None:
    """Report members that forward: a port's allowed address pairs are members of its groups too (Neutron's agents)."""
    if name := next((host for host in hosts if names.entry_of[host].forward), None):
        message = f"host `{name}` is in security group `{group}` and forwards, which makes all that it forwards for "
        message += f"members; take `{group}` out of its `security_groups`, or name hosts or prefixes here"
        reader.error(place, message)
