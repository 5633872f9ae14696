"""What can go wrong, as one hierarchy; each error holds its problems, written for the user: cause, place and fix.

The command turns each kind into the exit status that it has here (docs/reference/exit-statuses.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AccessError",
    "CloudError",
    "Diagnostic",
    "LockedError",
    "NetorderError",
    "RefusedError",
    "TopologyError",
    "UsageError",
]


class NetorderError(Exception):
    """``problems``: each is one sentence or more, to be shown to the user as it is."""

    exit_status: ClassVar[int] = 1

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One finding in a topology file; orders by place. ``line`` and ``column`` count from 1; 0 means the whole file."""

    path: str
    line: int
    column: int
    severity: str  # "error" or "warning"
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.severity}: {self.message}"


class TopologyError(NetorderError):
    """The topology cannot be used. ``diagnostics`` holds every error and warning found, by place."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics)))
        super().__init__(*map(str, self.diagnostics))


class UsageError(NetorderError):
    """The command line names what does not exist, or its options contradict each other."""

    exit_status = 2


class CloudError(NetorderError):
    """The cloud refused, failed, or is not what the plan needs."""

    exit_status = 3


class RefusedError(CloudError):
    """Nothing was changed, because something stands in the way: a loss that is not allowed, or what preflight found.

    ``preview`` (a ``cloud.reconcile.Result``) is what would have been done. It counts nothing as unchanged: a problem
    may be about what no change is about.
    """

    exit_status = 4

    def __init__(self, preview: Any, *problems: str) -> None:  # noqa: ANN401 - this file knows no cloud
        self.preview = preview
        super().__init__(*problems)


class LockedError(NetorderError):
    """Another run is at work on the same topology, or no lock can be had."""

    exit_status = 5


class AccessError(NetorderError):
    """The controller's own SSH key or files cannot be used."""

    exit_status = 6
