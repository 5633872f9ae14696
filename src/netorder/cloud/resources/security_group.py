"""Security groups and their rules; which of the cloud's stands for which of the plan's says netorder.cloud.groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from openstack.network.v2.security_group import SecurityGroup as CloudGroup

from netorder.cloud.change import Change, deletion
from netorder.cloud.groups import normal_rule, rule_text
from netorder.cloud.jobs import Job, bound, ignore_not_found
from netorder.protocols import number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openstack.connection import Connection

    from netorder.cloud.draft import Draft
    from netorder.cloud.groups import NormalRule
    from netorder.cloud.work import Work
    from netorder.plan.model import SecurityGroup

__all__ = [
    "KIND",
    "GroupChange",
    "compare",
    "compare_surplus",
    "create_body",
    "creations",
    "delete",
    "deletions",
    "rules",
]

KIND = "security group"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange(Change):
    """A group to create or to update. ``found`` are the rules that it has, with their ids."""

    group: SecurityGroup
    found: dict[NormalRule, str] = field(default_factory=dict, compare=False, repr=False)


def compare(draft: Draft) -> None:
    """Compare the name and the rules, which are compared by their meaning."""
    ids, label = draft.existing.groups, draft.groups.label
    for group in draft.plan.security_groups:
        name, found = draft.groups.names[group.cloud_name], draft.groups.found.get(group.cloud_name)
        hosts = ", ".join(draft.groups.members[group.cloud_name])
        planned: dict[str, object] = {
            "name": name,
            "rules": sorted({rule_text(normal_rule(rule, ids), label) for rule in group.rules}),
        }
        change = partial(GroupChange, KIND, name, group=group)
        if found:
            draft.ids.groups[group.name] = found.id
            has = sorted({rule_text(normal_rule(rule), label) for rule in found.security_group_rules or ()})
            observed: dict[str, object] = {"name": found.name, "rules": has}
            change = partial(change, found=_rules(found))
            draft.differ(change, KIND, observed, planned, id=found.id, also={"hosts": hosts})
        else:
            draft.add(change("create", "missing", after={"hosts": hosts, "rules": planned["rules"]}))


def compare_surplus(draft: Draft) -> None:
    """Delete the groups that stand for none of the plan's."""
    for group in draft.groups.surplus:
        lost = draft.groups.goes_with_its_hosts(group)
        why = "not in the topology" if lost else "no host uses it any more"
        draft.add(deletion(KIND, group.name, group.id, why, lossless=not lost))


def _rules(group: CloudGroup) -> dict[NormalRule, str]:
    return {normal_rule(rule): rule["id"] for rule in group.security_group_rules or ()}


def create_body(work: Work, change: GroupChange) -> dict[str, Any]:
    """Return one of a bulk request's bodies; rules cannot be part of it."""
    return {"name": change.group.cloud_name, "description": work.mark}


def creations(work: Work) -> Iterable[Job]:
    """Create groups in bulk."""

    def made(change: GroupChange, one: CloudGroup) -> None:
        work.ids.groups[change.group.name] = one.id
        work.default_rules[change.group.name] = _rules(one)

    yield from work.bulk(KIND, CloudGroup, work.changes.of(GroupChange, "create"), create_body, made)


def rules(work: Work) -> Iterable[Job]:
    """Make each group's rules the planned ones, also those of a new group, which has default rules; and name it."""
    for change in work.changes.of(GroupChange, "create", "update"):
        call = bound(_set_rules, work, change)
        yield Job("rule set", (change.name,), "update", call, frozenset({"security groups"}), "rules")


def _set_rules(work: Work, change: GroupChange) -> None:
    network, group_id = work.conn.network, work.ids.groups[change.group.name]
    found = change.found or work.default_rules.get(change.group.name, {})
    planned = {normal_rule(rule, work.ids.existing_groups): rule for rule in change.group.rules}
    bodies = [_rule_body(work, group_id, rule) for rule in planned if rule not in found]
    if bodies:  # Neutron takes rules in bulk for one group at a time
        list(network.create_security_group_rules(bodies))
    for rule, rule_id in found.items():
        if rule not in planned:
            network.delete_security_group_rule(rule_id)
    if "name" in (change.after or {}):
        network.update_security_group(group_id, name=change.group.cloud_name)


def _rule_body(work: Work, group_id: str, rule: NormalRule) -> dict[str, Any]:
    direction, ethertype, protocol, low, high, remote, remote_group = rule
    return {
        "security_group_id": group_id,
        "direction": direction,
        "ethertype": ethertype,
        "protocol": number(protocol),
        "port_range_min": low,
        "port_range_max": high,
        "remote_ip_prefix": remote,
        "remote_group_id": remote_group,
        "description": work.mark,
    }


def deletions(work: Work) -> Iterable[Job]:
    """Delete groups when the ports that move to others have moved."""
    for change in work.changes.of(Change, "delete"):
        if change.kind == KIND:
            call = bound(ignore_not_found, delete, work.conn, change)
            yield Job(KIND, (change.name,), "delete", call, frozenset({"moves"}))


def delete(conn: Connection, change: Change) -> None:
    """Delete a group with its rules."""
    conn.network.delete_security_group(change.id)
