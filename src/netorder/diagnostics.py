"""What is wrong with a topology file, and where: one value for each error or warning."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Diagnostic", "TopologyError", "did_you_mean"]


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One finding; orders by place. ``line`` and ``column`` count from 1; 0 means the file as a whole."""

    path: str
    line: int
    column: int
    severity: str  # "error" or "warning"
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.severity}: {self.message}"


class TopologyError(Exception):
    """The topology cannot be used. ``diagnostics`` holds every error and warning found, by place."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics)))
        super().__init__("\n".join(map(str, self.diagnostics)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean `x`?`` for the known word nearest to ``word``, or nothing when none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
