"""Changes of the cloud, and the marks by which a topology's own resources are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

__all__ = [
    "DESTRUCTIVE",
    "FIXED_ADDRESS",
    "PERMISSIONS",
    "ZERO_DISK",
    "Change",
    "ChangeSet",
    "Ids",
    "Progress",
    "Routes",
    "deletion",
    "kept",
    "kept_for",
    "keypair_marker",
    "keypair_name",
    "marker",
    "server_group_name",
]

# What `-e allow=…` may name.
DESTRUCTIVE = ("delete", "replace")
ZERO_DISK = "zero-disk"
FIXED_ADDRESS = "fixed-address"
PERMISSIONS = (*DESTRUCTIVE, ZERO_DISK, FIXED_ADDRESS)
Progress = Callable[[str], None]
C = TypeVar("C", bound="Change")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between plan and cloud, and what is done about it.

    ``action`` is create, update, replace or delete. ``before`` and ``after`` hold what differs, in the topology's
    words. ``id`` is that of the existing resource. ``lossless`` is a deletion or replacement of what nobody has a use
    for: what a killed run left, or a server that never ran. Each kind of resource adds what its requests are made of.
    """

    kind: str
    name: str
    action: str
    reason: str
    before: dict[str, object] | None = None
    after: dict[str, object] | None = None
    id: str = field(default="", compare=False, repr=False)
    lossless: bool = field(default=False, compare=False, repr=False)

    @property
    def permission(self) -> str | None:
        """What the user must allow before this is done: "delete", "replace" or nothing."""
        return self.action if self.action in DESTRUCTIVE and not self.lossless else None

    def as_dict(self) -> dict[str, object]:
        """Return what Ansible returns for this change."""
        return {
            "kind": self.kind,
            "name": self.name,
            "action": self.action,
            "reason": self.reason,
            "before": self.before,
            "after": self.after,
        }


def deletion(kind: str, name: str, id: str, reason: str, *, lossless: bool = False) -> Change:  # noqa: A002 - the cloud's word
    """Return the deletion of a resource, which is shown by its id."""
    return Change(kind, name, "delete", reason, before={"id": id}, id=id, lossless=lossless)


@dataclass(frozen=True, slots=True)
class Routes:
    """Extra routes (destination, next hop) to ``add`` to a router, or to ``remove`` from it.

    ``router_id`` is empty for a router that does not exist yet.
    """

    router: str
    router_id: str
    verb: str
    routes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids of what exists, by the names in the cloud; groups by the plan's name for them."""

    networks: dict[str, str] = field(default_factory=dict)
    subnets: dict[str, str] = field(default_factory=dict)
    routers: dict[str, str] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    server_groups: dict[str, str] = field(default_factory=dict)
    existing_groups: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Ids:
        """Return a copy, to which is added what a run makes."""
        kinds = (
            self.networks,
            self.subnets,
            self.routers,
            self.ports,
            self.groups,
            self.server_groups,
            self.existing_groups,
        )
        return Ids(*(dict(kind) for kind in kinds))


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """All that makes the cloud match the plan, resolved: applying it needs neither plan nor listing.

    ``problems`` forbid it. ``ids`` are those of what stays. ``first`` are routes that are removed before anything is
    deleted, ``routes`` those that change at the end.
    """

    topology: str
    changes: tuple[Change, ...] = ()
    problems: tuple[str, ...] = ()
    ids: Ids = field(default_factory=Ids)
    first: tuple[Routes, ...] = ()
    routes: tuple[Routes, ...] = ()

    def of(self, kind: type[C], *actions: str) -> list[C]:
        """Return the changes of a kind; where ``actions`` are named, those that are one of them."""
        return [
            change
            for change in self.changes
            if isinstance(change, kind) and change.action in (actions or (change.action,))
        ]


def marker(topology: str) -> str:
    """Return the ownership marker: description of each Neutron resource, tag of each server."""
    return f"netorder:{topology}"


def kept(topology: str, host: str, network: str) -> str:
    """Return the marker of a floating IP that outlives the topology: it notes which host gets it again, and where."""
    return f"{marker(topology)} keep {host} {network}"


def kept_for(topology: str, description: str | None) -> tuple[str, str] | None:
    """Return the host and network that a floating IP with this description is kept for, None if it is not kept."""
    words = str(description or "").split(" ")
    return (words[2], words[3]) if words[:2] == [marker(topology), "keep"] and len(words) == 4 else None  # noqa: PLR2004


def keypair_name(topology: str) -> str:
    """Return the name of the topology's key pair; whether one of this name is ours says its marker."""
    return f"{topology}-key"


def server_group_name(topology: str, cloud_name: str) -> str:
    """Return the name of a server group in the cloud: it ends in the marker, as there is no other place for that."""
    return f"{cloud_name} ({marker(topology)})"


def keypair_marker(topology: str, project: str) -> str:
    """Return the marker of a key pair, which has neither description nor tags: the comment of its public key.

    Key pairs belong to a user, whatever the project: the marker names that too.
    """
    return f"{marker(topology)}@{project}"
