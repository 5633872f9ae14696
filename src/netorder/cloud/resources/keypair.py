"""The key pair that the hosts accept; it is never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from netorder.cloud.change import Change, keypair_marker, keypair_name
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
    """Compare by the public key; another one than the controller's is refused.

    The user's own key pair of that name is used if it holds the controller's key.
    """
    name, key, found = keypair_name(draft.plan.topology), draft.key, draft.observed.keypair
    if draft.plan.key_pair:
        _compare_existing(draft, draft.plan.key_pair)
        return
    foreign = draft.observed.foreign_keypair
    if foreign and not (key and same_key(key, foreign.public_key)):
        draft.refuse(
            KIND,
            "public_key",
            f"Key pair {name} in the cloud is not this topology's, and the hosts need one of that name for "
            f"{_called(key)}. Delete it if nobody needs it (openstack keypair delete {name}), give the topology "
            f"another name, or set netorder_ssh_key to its private key.",
        )
    elif foreign:
        return
    elif not found:
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


def _compare_existing(draft: Draft, name: str) -> None:
    """Compare the key pair that the topology names, and the one that its hosts were made with."""
    pair, key = draft.existing.keypair, draft.key
    if pair is not None and not (key and same_key(key, pair.public_key)):
        draft.refuse(
            KIND,
            "public_key",
            f"Key pair {name} (key_pair) holds another public key than this controller's, which hosts made with it "
            f"would not accept ({_called(key)}). Set netorder_ssh_key to its private key.",
        )
    own = draft.observed.keypair
    if key and own and draft.observed.servers and not same_key(key, own.public_key):
        draft.refuse(
            KIND,
            "public_key",
            f"The hosts were made with key pair {own.name}, which holds another public key than {name} (key_pair): "
            "they would not accept that. Tear down first, or remove `key_pair`.",
        )


def same_key(one: str, other: str) -> bool:
    """Return whether two public keys are the same, whatever their comments."""
    return one.split()[:2] == other.split()[:2]


def _called(key: str | None) -> str:
    return f"this controller's public key ({_tail(key)})" if key else "the public key that this controller will make"


def _tail(key: str) -> str:
    return "…" + key.split()[1][-12:]


def jobs(work: Work) -> Iterable[Job]:
    """Create it, with the marker where the key had a comment."""
    for change in work.changes.of(KeypairChange, "create"):
        mark = keypair_marker(work.changes.topology, work.cloud.project)
        public = " ".join([*work.key.split()[:2], mark])
        call = bound(work.conn.compute.create_keypair, name=change.name, public_key=public)
        yield Job(KIND, (change.name,), "create", call, gives="key pair")


def delete(conn: Connection, change: Change) -> None:
    """Delete it by its name."""
    conn.compute.delete_keypair(change.name)
