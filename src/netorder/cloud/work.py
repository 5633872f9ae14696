"""What the kinds of resources share while their changes are applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from netorder.cloud.change import Change, ChangeSet, Ids, marker
from netorder.cloud.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from openstack.connection import Connection

    from netorder.cloud.facts import Facts
    from netorder.cloud.groups import NormalRule
    from netorder.cloud.session import Cloud

__all__ = ["BULK", "Work"]

C = TypeVar("C", bound=Change)
# A bulk request creates all or nothing; this many at once stays well within common request time-outs.
BULK = 50


@dataclass(slots=True)
class Work:
    """A change set that is being applied.

    ``ids`` grow with what is made; ``floating`` (host name to address) is what the run made or associated; ``batch`` is
    the bulk request (what its job gives) that makes a port; ``default_rules`` are those of new groups, with their ids;
    ``ready`` is the status of each server, by id, of which it is known that Nova takes changes of it.
    """

    cloud: Cloud
    changes: ChangeSet
    facts: Facts
    key: str
    ids: Ids = field(init=False)
    floating: dict[str, str] = field(default_factory=dict)
    batch: dict[str, str] = field(default_factory=dict)
    default_rules: dict[str, dict[NormalRule, str]] = field(default_factory=dict)
    ready: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = self.changes.ids.copy()

    @property
    def conn(self) -> Connection:
        """The SDK's connection."""
        return self.cloud.conn

    @property
    def mark(self) -> str:
        """The ownership marker."""
        return marker(self.changes.topology)

    def batches(self, ports: Iterable[str]) -> frozenset[str]:
        """Return what the bulk requests that make these ports give."""
        return frozenset(self.batch[name] for name in ports if name in self.batch)

    def bulk(
        self,
        kind: str,
        resource: type[Any],
        changes: Sequence[C],
        body: Callable[[Work, C], dict[str, Any]],
        made: Callable[[C, Any], None],
        *needs: str,
        gives: str = "",
    ) -> Iterable[Job]:
        """Create resources of one kind, many in a request; ``made`` gets each change with what came of it."""
        for start in range(0, len(changes), BULK):
            part = {change.name: change for change in changes[start : start + BULK]}

            def call(part: dict[str, C] = part) -> None:
                bodies = [body(self, change) for change in part.values()]
                for one in resource.bulk_create(self.conn.network, bodies):
                    made(part[one.name], one)

            yield Job(kind, tuple(part), "create", call, frozenset(needs), gives or f"{kind}s")
