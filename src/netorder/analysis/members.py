"""What the rules open to members of security groups that exist in the cloud, whom the plan does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netorder.analysis.filters import both, ports_of
from netorder.analysis.verdict import flow_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from netorder.plan.model import Plan, Rule
    from netorder.plan.security_groups import Declarations

__all__ = ["ToMembers", "to_members"]


class ToMembers(NamedTuple):
    """What is ``open`` between ``hosts`` and the members of ``group``, who are sources if ``direction`` is ingress.

    ``rules`` are the places (FILE:LINE) of the rules of ``allow`` that say so.
    """

    group: str
    direction: str
    hosts: tuple[str, ...]
    open: tuple[str, ...]
    rules: tuple[str, ...]


def to_members(
    plan: Plan,
    declarations: Declarations,
    hosts: Collection[str],
    direction: str,
    flow: tuple[str, int | None] | None = None,
) -> Iterator[ToMembers]:
    """Yield what rules open between hosts and members of security groups, or where they open ``flow``."""
    alike: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for group in plan.security_groups:
        its = [host.name for host in plan.hosts if host.group == group.name and host.name in hosts]
        for name, rules in _by_group(group.rules, direction).items() if its else ():
            wanted = [rule for rule in rules if not flow or both([ports_of(rule)], [(*flow, flow[1])])]
            what = tuple(dict.fromkeys(flow_text(*ports_of(rule)) for rule in wanted))
            places = [place for rule in wanted for place in declarations.places(frozenset(its), rule)]
            if what:
                alike.setdefault((name, what, tuple(dict.fromkeys(places))), []).extend(its)
    for (name, what, rules_of), its in alike.items():
        yield ToMembers(name, direction, tuple(its), what, rules_of)


def _by_group(rules: Collection[Rule], direction: str) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        if rule.remote_group is not None and rule.direction == direction:
            found.setdefault(rule.remote_group, []).append(rule)
    return found
