"""A change of the cloud, and the marks by which a topology's own resources are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["DESTRUCTIVE", "Change", "Progress", "keypair_name", "marker"]

# What `-e allow=…` may name.
DESTRUCTIVE = ("delete", "replace")


Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between plan and cloud, and what is done about it.

    ``action`` is create, update, replace or delete. ``before`` and ``after`` hold what differs, in the topology's
    words. ``id`` is the existing resource; ``wanted`` the plan's object; neither is shown to the user. ``lossless``
    is a deletion or replacement of what nobody has a use for: what a killed run left, or a server in ERROR.
    """

    kind: str
    name: str
    action: str
    reason: str
    before: dict[str, object] | None = None
    after: dict[str, object] | None = None
    id: str | None = field(default=None, compare=False, repr=False)
    wanted: object = field(default=None, compare=False, repr=False)
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


def marker(topology: str) -> str:
    """Return the ownership marker: description of each Neutron resource, tag of each server."""
    return f"netorder:{topology}"


def keypair_name(topology: str) -> str:
    """Return the name of the topology's key pair (key pairs carry no marker: the name is all there is)."""
    return f"{topology}-key"
