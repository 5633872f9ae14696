"""What a run of any target did, or would do: its result as Ansible gets it, and what needs permission."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from netorder.cloud.preview import diff_text, unchanged_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from netorder.cloud.change import Change

__all__ = ["HostFacts", "Result", "not_allowed"]


@dataclass(frozen=True, slots=True)
class HostFacts:
    """A host as the cloud has it: None where it is not there yet (check mode). ``others`` are more floating IPs.

    ``port`` is that of SSH at the address outside, None the usual one.
    """

    id: str | None
    address: str
    floating_ip: str | None
    hostkey: str | None
    others: tuple[str, ...] = ()
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did, or in check mode would do. ``unchanged`` counts the planned resources of each kind that stay."""

    changes: tuple[Change, ...]
    unchanged: dict[str, int] = field(default_factory=dict)
    hosts: dict[str, HostFacts] = field(default_factory=dict)
    timings: tuple[dict[str, object], ...] = ()
    requests: dict[str, int] = field(default_factory=dict)
    api_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything differed."""
        return bool(self.changes)

    def as_dict(self) -> dict[str, Any]:
        """Return what an Ansible module returns."""
        answer: dict[str, Any] = {
            "changed": self.changed,
            "changes": [change.as_dict() for change in self.changes],
            "unchanged": self.unchanged,
            "needs_allow": sorted({change.permission for change in self.changes if change.permission}),
            "hosts": {name: asdict(host) for name, host in self.hosts.items()},
            "timings": list(self.timings),
            "requests": self.requests,
            "api_seconds": self.api_seconds,
            "seconds": self.seconds,
        }
        if self.changes:
            same = f"= unchanged: {unchanged_text(self.unchanged)}\n" if self.unchanged else ""
            answer["diff"] = {"prepared": diff_text(self.changes) + same}
        return answer


def not_allowed(changes: Iterable[Change], allow: Collection[str]) -> list[str]:
    """Return the problem, if it is one, that changes bring a loss that is not allowed."""
    losses: dict[str, list[str]] = {}
    for change in changes:
        if change.permission and change.permission not in allow:
            losses.setdefault(change.permission, []).append(f"{change.kind} {change.name} ({change.reason})")
    if not losses:
        return []
    what = " and ".join(f"{action} {len(these)}: {'; '.join(these)}" for action, these in losses.items())
    all_of_them = ",".join(sorted({*losses, *allow}))
    return [f"Nothing was changed: this would {what}. If that is meant, allow it: -e allow={all_of_them}"]
