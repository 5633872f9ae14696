"""Server groups, which say what servers share a compute host; Nova changes none of their fields."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from netorder.cloud.change import Change, deletion, server_group_name
from netorder.cloud.jobs import Job, bound
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openstack.compute.v2.server_group import ServerGroup as CloudGroup
    from openstack.connection import Connection

    from netorder.cloud.draft import Draft
    from netorder.cloud.work import Work
    from netorder.plan.model import ServerGroup

__all__ = ["KIND", "ServerGroupChange", "called", "compare", "creations", "delete", "policy_of"]

KIND = "server group"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerGroupChange(Change):
    """A server group to create or replace."""

    group: ServerGroup


def compare(draft: Draft) -> None:
    """Compare the groups, and take up which servers are in one that stays.

    To delete one costs its servers nothing but that they are placed as one likes from then on: it needs no permission.
    """
    topology = draft.plan.topology
    if draft.observed.server_groups is None:
        if wanted := [group.name for group in draft.plan.server_groups]:
            why = "This cloud has no server groups, or does not let this login see them, and the topology needs "
            draft.refuse(KIND, "list", f"{why}{few(wanted)}. Ask the cloud's operator, or remove `server_group`.")
        return
    free = sorted(draft.observed.server_groups, key=lambda one: (not one.member_ids, str(one.id)))
    for group in draft.plan.server_groups:
        full = server_group_name(topology, group.cloud_name)
        found = next((one for one in free if one.name == full), None)
        after: dict[str, object] = {"policy": group.policy}
        if found is None:
            draft.add(ServerGroupChange(KIND, group.cloud_name, "create", "missing", after=after, group=group))
            continue
        free.remove(found)
        change = partial(ServerGroupChange, KIND, group.cloud_name, lossless=True, group=group)
        if draft.differ(change, KIND, {"policy": policy_of(found)}, after, id=found.id):
            draft.ids.server_groups[group.cloud_name] = found.id
            draft.server_groups |= dict.fromkeys(found.member_ids or (), group.name)
    planned = {server_group_name(topology, group.cloud_name) for group in draft.plan.server_groups}
    for one in free:
        why = "a second one of this name" if one.name in planned else "not in the topology"
        draft.add(deletion(KIND, called(one), one.id, why, lossless=True))


def called(group: CloudGroup) -> str:
    """Return what a group is called, without the marker."""
    return str(group.name).partition(" (")[0]


def policy_of(group: CloudGroup) -> str | None:
    """Return a group's policy, which Nova lists as one of several before microversion 2.64."""
    return group.policy or next(iter(group.policies or ()), None)


def creations(work: Work) -> Iterable[Job]:
    """Create groups one by one."""

    def create(change: ServerGroupChange) -> None:
        group = change.group
        name = server_group_name(work.changes.topology, group.cloud_name)
        made = work.conn.compute.create_server_group(name=name, policy=group.policy)
        work.ids.server_groups[group.cloud_name] = made.id

    for change in work.changes.of(ServerGroupChange, "create", "replace"):
        yield Job(KIND, (change.name,), "create", bound(create, change), gives="server groups")


def delete(conn: Connection, change: Change) -> None:
    """Delete a group; servers that are in it stay."""
    conn.compute.delete_server_group(change.id, ignore_missing=False)
