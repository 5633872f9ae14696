"""The cloud side: look (observe), compare with the plan, check before the first change, change, take away.

Everything that belongs to a topology carries its marker (:func:`marker`); nothing without it is ever touched, and
what carries it is wholly the topology's, rules and routes inside included. See docs/decisions/0030-reconcile.md.
"""

from __future__ import annotations

__all__ = ["LEAVES", "Change", "CloudError", "Progress", "keypair_name", "marker"]

from collections.abc import Callable
from dataclasses import dataclass, field

# What `-e allow=…` may name.
LEAVES = ("delete", "replace")
Progress = Callable[[str], None]


class CloudError(Exception):
    """Problems to show the user as they are: each says what is wrong and how to mend it."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


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
    def leave(self) -> str | None:
        """What the user must allow before this is done: "delete", "replace" or nothing."""
        return self.action if self.action in LEAVES and not self.lossless else None

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
