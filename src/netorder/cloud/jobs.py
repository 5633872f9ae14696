"""One call to the cloud as a job."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Callable

_DONE = {
    "create": "created", "delete": "deleted", "update": "updated", "replace": "replaced", "stop": "stopping",
    "unplug": "being unplugged",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """One call to the cloud, about the resources ``names`` of one ``kind``.

    It waits for all jobs that give what it ``needs``: words of the caller's own, "" is nothing.
    """

    kind: str
    names: tuple[str, ...]
    action: str
    call: Callable[[], object]
    needs: frozenset[str] = frozenset()
    gives: str = ""

    @property
    def what(self) -> str:
        """Name the resources, briefly where they are many."""
        if len(self.names) == 1:
            return f"{self.kind} {self.names[0]}"
        return f"{len(self.names)} {self.kind}s ({few(self.names, shown=6)})"

    @property
    def done(self) -> str:
        """Name the deed in the past tense."""
        return _DONE[self.action]

    def timed(self) -> tuple[float, float]:
        """Make the call; return when it began and when it ended (monotonic clock)."""
        start = time.monotonic()
        self.call()
        return start, time.monotonic()


def bound(call: Callable[..., object], *args: object, **fields: object) -> Callable[[], object]:
    """Return the call with its arguments, to be made later."""
    return lambda: call(*args, **fields)
