"""What is said of a wait: for what, since when, how long at most, and how long it took the last time."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HOSTKEY_TIMEOUT", "SPOKEN", "WAITS", "Wait", "Waits"]

WAITS = "waits"  # directory beside those of the topologies: it outlives a teardown, after which it is wanted most
SPOKEN = 2.0  # s; shorter waits are nobody's concern
# Guests under emulation, five at a time on two cores, take up to 200 s to print their keys.
HOSTKEY_TIMEOUT = 600.0


class Waits:
    """How long each wait took the last time: a file for each, as several processes wait at the same time."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory

    @classmethod
    def of(cls, directory: Path) -> Waits:
        """Return those of the topology whose files are in a directory."""
        return cls(directory.parent / WAITS / directory.name)

    def last(self, what: str) -> float | None:
        """Return how long (s) it took the last time; None when that is not known."""
        with suppress(OSError, ValueError):
            if self.directory:
                return float(self._file(self.directory, what).read_text(encoding="utf-8"))
        return None

    def note(self, what: str, seconds: float) -> None:
        """Keep for the next time how long it took."""
        if self.directory:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file(self.directory, what).write_text(f"{seconds:.1f}\n", encoding="utf-8")

    @staticmethod
    def _file(directory: Path, what: str) -> Path:
        return directory / re.sub(r"[^A-Za-z0-9.-]+", "-", what)[:150]


class Wait:
    """One wait for ``what``, a fixed name of it, that begins now and lasts ``seconds`` at most.

    ``each`` says of what, where it is not the whole wait.
    """

    def __init__(self, waits: Waits, what: str, seconds: float, *, each: str = "") -> None:
        self.what = what
        self.told = False
        self._waits = waits
        self._bound = f"{seconds:.0f} s at most{each}"
        self._start = time.monotonic()
        self._clock = time.strftime("%H:%M:%S")

    @property
    def took(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._start

    def opening(self, left: str = "") -> str:
        """Return the line that announces it; ``left`` names what it still lacks."""
        self.told = True
        last = self._waits.last(self.what)
        return (
            f"waiting for {self.what} since {self._clock}, for {self._bound}"
            + ("" if last is None else f"; the last time it took {last:.0f} s")
            + (f": {left}" if left else "")
        )

    def done(self) -> None:
        """Keep how long it took, of a wait that was announced: the others took no time."""
        if self.told:
            self._waits.note(self.what, self.took)
