"""Changes as text for people: what is changed, and how much stays."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netorder.cloud.change import Change
    from netorder.plan.model import Plan

__all__ = ["diff_text", "unchanged", "unchanged_text"]


def unchanged(plan: Plan, changes: Iterable[Change]) -> dict[str, int]:
    """Return how many planned resources of each kind are as they should be; kinds without any are left out."""
    planned = {
        "network": sum(not network.existing and not network.subnet_of for network in plan.networks),
        "subnet": sum(len(network.subnets) for network in plan.networks if not network.existing),
        "security group": len(plan.security_groups),
        "router": sum(not router.existing for router in plan.routers),
        "router interface": sum(interface.own for router in plan.routers for interface in router.interfaces),
        "port": sum(len(host.ports) for host in plan.hosts),
        "server group": len(plan.server_groups),
        "server": len(plan.hosts),
        "floating IP": sum(len(host.floating) for host in plan.hosts),
        "key pair": 0 if plan.key_pair else 1,
    }
    differing = Counter(change.kind for change in changes if change.action != "delete")
    counts = {kind: count - differing[kind] for kind, count in planned.items()}
    return {kind: count for kind, count in counts.items() if count > 0}


def unchanged_text(counts: Mapping[str, int]) -> str:
    """Write ``unchanged`` for people, in one line."""
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items())


_SIGNS = {"create": "+", "update": "~", "replace": "±", "delete": "-"}


def diff_text(changes: Iterable[Change]) -> str:
    """Write changes for people: a line for each, what goes under it with ``-`` and what comes with ``+``."""
    lines = []
    for change in changes:
        lines.append(f"{_SIGNS[change.action]} {change.action} {change.kind} {change.name}: {change.reason}")
        before, after = change.before or {}, change.after or {}
        for key in dict.fromkeys([*before, *after]):
            old, new = before.get(key), after.get(key)
            if isinstance(old, list) and isinstance(new, list):
                lines += [f"-     {key}: {_plain(value)}" for value in old if value not in new]
                lines += [f"+     {key}: {_plain(value)}" for value in new if value not in old]
                continue
            if key in before and key in after and old == new:
                lines.append(f"      {key}: {_plain(old)}")
                continue
            lines += [f"-     {key}: {_plain(v)}" for v in _each(old)] if key in before else []
            lines += [f"+     {key}: {_plain(v)}" for v in _each(new)] if key in after else []
    return "".join(line + "\n" for line in lines)


def _each(value: object) -> list[object]:
    return value if isinstance(value, list) and value else [value]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "-".join(str(part) for part in value.values())
    return {None: "none", True: "yes", False: "no"}.get(value, str(value)) if not isinstance(value, list) else "none"  # type: ignore[call-overload]
