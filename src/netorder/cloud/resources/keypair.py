"""The key pair that the hosts accept; it goes by name, and is never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from netorder.cloud.change import Change, keypair_name
from netorder.cloud.jobs import Job, bound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openstack.connection import Connection

    from netorder.cloud.draft import Draft
    from netorder.cloud.work import Work

__all__ = ["KIND", "KeypairChange", "compare", "delete", "jobs", "same_key"]

KIND = "key pair"


@dataclass(frozen=True, slots=True)
class KeypairChange(Change):
    """A key pair to create."""


def compare(draft: Draft) -> None:
    """Compare by the public key; another one than the controller's is refused."""
    name, key, found = keypair_name(draft.plan.topology), draft.key, draft.observed.keypair
    if not found:
        after: dict[str, object] = {"public_key": key or "(made on the first run)"}
        draft.add(KeypairChange(KIND, name, "create", "missing", after=after))
    elif key and not same_key(key, found.public_key):
        draft.refuse(
            KIND,
            "public_key",
            f"Key pair {name} in the cloud holds another public key than this controller's ({_tail(key)}), "
            f"which the hosts would not accept. Set netorder_ssh_key to its private key, or tear down first.",
        )
    elif not key:
        draft.refuse(
            KIND,
            "public_key",
            f"Key pair {name} exists in the cloud, but this controller has no private key for it. Set "
            f"netorder_ssh_key to the private key that the hosts were made with, or tear down first.",
        )


def same_key(one: str, other: str) -> bool:
    """Return whether two public keys are the same, whatever their comments."""
    return one.split()[:2] == other.split()[:2]


def _tail(key: str) -> str:
    return "…" + key.split()[1][-12:]


def jobs(work: Work) -> Iterable[Job]:
    """Create it."""
    for change in work.changes.of(KeypairChange, "create"):
        call = bound(work.conn.compute.create_keypair, name=change.name, public_key=work.key)
        yield Job(KIND, (change.name,), "create", call, gives="key pair")


def delete(conn: Connection, change: Change) -> None:
    """Delete it by its name."""
    conn.compute.delete_keypair(change.name)
