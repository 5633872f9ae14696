"""Security groups: rules in one comparable form, and which group of the cloud stands for which of the plan.

Pure. Hosts with the same rules share a group, so a change of the topology may separate or join them.
"""

from __future__ import annotations

from functools import cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, cast

from netorder.protocols import match_text, normal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from openstack.network.v2.security_group import SecurityGroup as CloudGroup

    from netorder.cloud.observe import Observed
    from netorder.plan.model import Plan, Port, Rule, SecurityGroup

__all__ = ["Groups", "NormalRule", "normal_rule", "rule_text"]

_ALL_PORTS = (1, 65535)  # Neutron stores this range as none (securitygroups_db), but did not always
# direction, ethertype, protocol, ports, remote prefix (or id of an address group), id of a remote security group
NormalRule = tuple[str, str, str | None, int | None, int | None, str | None, str | None]


class Groups:
    """Which group in the cloud stands for which of the plan.

    ``found`` has it by the plan's ``cloud_name``, ``surplus`` are the groups that stand for none, ``members`` are each
    planned group's hosts and ``names`` what it will be called, by its ``cloud_name``: one that is named as any of its
    hosts keeps that name.

    A group that has the planned rules already stands for them, whatever it is called. One whose rules differ is only
    changed if all hosts that use it and stay are planned to: then no host has a rule, not even for a moment,
    that is only another's. Otherwise a new one is made and its hosts move over.
    """

    def __init__(self, plan: Plan, observed: Observed, existing: Mapping[str, str] | None = None) -> None:
        self._cloud_names = names = {group.name: group.cloud_name for group in plan.security_groups}
        self.members: dict[str, list[str]] = {name: [] for name in names.values()}
        self._ports: dict[str, set[str]] = {name: set() for name in names.values()}  # planned, by cloud_name
        for host in plan.hosts:
            for port in host.ports:
                for name in port.security_groups:
                    self._ports[names[name]].add(port.cloud_name)
            for name in dict.fromkeys(name for port in host.ports for name in port.security_groups):
                self.members[names[name]].append(host.name)
        self._existing = existing or {}
        self._used: dict[str, set[str]] = {
            group.id: set() for group in observed.groups
        }  # the ports that have it, by id
        for cloud_port in observed.ports:
            for group_id in cloud_port.security_group_ids or ():
                self._used.setdefault(group_id, set()).add(cloud_port.name)
        self._planned = set().union(*self._ports.values())
        preferred = sorted(observed.groups, key=lambda g: (not self._used[g.id], str(g.created_at or ""), str(g.id)))
        self._free = {group.id: group for group in preferred}  # those in use first, then the older
        self.found: dict[str, CloudGroup] = {}
        self._choose(plan)
        self.surplus = tuple(self._free.values())
        called = {host.name: host.cloud_name for host in plan.hosts}
        self.names = {name: name for name in self.members}
        for name, group in self.found.items():
            if group.name in {called[host] for host in self.members[name]}:
                self.names[name] = group.name
        taken = {*self.names.values()}  # an old one that goes may be called as one that stays or comes
        self._labels = {g.id: f"{g.name} ({g.id})" if g.name in taken else g.name for g in self.surplus}
        self._labels |= {group.id: self.names[name] for name, group in self.found.items()}
        self._labels |= {id_: name for name, id_ in self._existing.items()}

    def _choose(self, plan: Plan) -> None:
        alike: dict[frozenset[NormalRule], list[CloudGroup]] = {}
        for group in self._free.values():
            alike.setdefault(frozenset(map(normal_rule, group.security_group_rules or ())), []).append(group)
        for wanted in plan.security_groups:
            these = alike.get(frozenset(normal_rule(rule, self._existing) for rule in wanted.rules), [])
            order = {group.id: (not self._used[group.id], group.name != wanted.cloud_name) for group in these}
            self._take(wanted, sorted(these, key=lambda group: order[group.id]))
        for same_name in (True, False):
            for wanted in plan.security_groups:
                if wanted.cloud_name not in self.found:
                    mine = [g for g in self._free.values() if (g.name == wanted.cloud_name) is same_name]
                    self._take(wanted, [g for g in mine if self._all_stay(g, wanted)])

    def _take(self, wanted: SecurityGroup, candidates: Iterable[CloudGroup]) -> None:
        group = next((group for group in candidates if group.id in self._free), None)
        if group:
            self.found[wanted.cloud_name] = self._free.pop(group.id)

    def _all_stay(self, group: CloudGroup, wanted: SecurityGroup) -> bool:
        """Return whether the hosts that use this group, and stay, are all planned to use the wanted one."""
        staying = self._used[group.id] & self._planned
        return staying <= self._ports[wanted.cloud_name] and bool(staying or group.name == wanted.cloud_name)

    def label(self, group_id: str) -> str:
        """Return what a port's group is called: by the plan, by its own name, or the id of a foreign one."""
        return self._labels.get(group_id, group_id)

    def planned_labels(self, port: Port) -> list[str]:
        """Return what the groups that a port is planned to have are called."""
        own = [self.names[self._cloud_names[name]] for name in port.security_groups]
        return sorted([*own, *(port.existing_groups or ())])

    def goes_with_its_hosts(self, group: CloudGroup) -> bool:
        """Return whether hosts use this group and none of them stays: then deleting it loses something."""
        return bool(self._used[group.id]) and not self._used[group.id] & self._planned


def normal_rule(rule: Rule | Mapping[str, Any], existing: Mapping[str, str] | None = None) -> NormalRule:
    """Return a planned rule, or one as Neutron lists it, in one comparable form.

    ``existing`` are the ids of the security groups that a plan names. A remote address group, which no plan has, stands
    where the prefix would: such a rule equals no planned one.
    """
    if isinstance(rule, dict):
        get = rule.get
        values = (
            get("direction"),
            get("ethertype"),
            get("protocol"),
            get("port_range_min"),
            get("port_range_max"),
            get("remote_address_group_id") or get("remote_ip_prefix"),
            get("remote_group_id"),
        )
    else:
        planned = cast("Rule", rule)
        name = planned.remote_group
        group = (existing or {}).get(name, name) if name else None
        ends = (planned.remote_cidr, group)
        values = (planned.direction, planned.ethertype, planned.protocol, planned.port_min, planned.port_max, *ends)
    direction, ethertype, protocol, low, high, remote, group = cast("NormalRule", values)
    protocol = normal(protocol, ethertype)
    if (low, high) == _ALL_PORTS:
        low = high = None
    return (direction, ethertype, protocol, low, high, _normal_remote(remote), group or None)


@cache
def _normal_remote(remote: str | None) -> str | None:
    """Return a prefix in one spelling, None for anywhere; the id of an address group as it is."""
    if remote is None:
        return None
    try:
        prefix = ip_network(remote, strict=False)
    except ValueError:
        return remote
    return str(prefix) if prefix.prefixlen else None


def rule_text(rule: NormalRule, label: Callable[[str], str] = str) -> str:
    """Write a rule for people: ``ingress IPv4 tcp 8000 from 192.168.1.88/32``; groups by their ``label``."""
    direction, ethertype, protocol, low, high, remote, group = rule
    what = match_text(protocol, low, high) or "any protocol"
    preposition = "from" if direction == "ingress" else "to"
    end = f"security group {label(group)}" if group else remote or "anywhere"
    return f"{direction} {ethertype} {what} {preposition} {end}"
