"""What a run is doing now, on a terminal: a line for the stage and one for each host at work, rewritten in place.

Whatever else is printed goes above these lines. The actions run in processes of their own, which print by way of
Ansible; what they say of their progress carries a mark by which it becomes the text of its host's line.
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from netorder.text import count, few

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from netorder.cloud.change import Progress

__all__ = ["LIVE", "Beside", "Board", "Live", "duration", "is_routine", "progress"]

LIVE = "NETORDER_LIVE"  # in the environment while there are such lines: the actions' processes inherit it
TICK = 0.5  # s
MOST = 8  # hosts that have a line each
_MARK, _THEN = "\x1e", "\x1f"  # ASCII's record and unit separators, which no text of ours has
# one line up and cleared; not all below at once: some terminals keep what that clears, to be scrolled back to
_ERASE = "\x1b[A\x1b[2K"
# What is worth a line only while it is so. Anything else that an action says (what stays, what is reverted) is printed.
_ROUTINE = re.compile(r"(still )?waiting for |\S+ answers SSH after \d|.* \([\d.]+ s\)$")


class _Display(Protocol):
    """Ansible's."""

    def display(self, msg: str, *, screen_only: bool = False, log_only: bool = False) -> None:
        """Print a line."""


def is_routine(line: str) -> bool:
    """Return whether a line of progress need not stay on the screen."""
    return bool(_ROUTINE.match(line))


def progress(display: _Display, variables: Mapping[str, Any] | None) -> Progress:
    """Return what an action says its progress with, which is printed where there are no lines to rewrite."""
    host = str((variables or {}).get("inventory_hostname", ""))

    def say(line: str) -> None:
        if os.environ.get(LIVE) and is_routine(line):
            display.display(f"{_MARK}{host}{_THEN}{line}", screen_only=True)
            display.display(f"  {line}", log_only=True)
        else:
            display.display(f"  {line}")

    return say


def duration(seconds: float) -> str:
    """Write a time for people: ``12 s``, ``3 min 05 s``."""
    whole = int(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60:02} s"  # noqa: PLR2004 - two digits


@dataclass
class _Busy:
    since: float
    what: str


class Board:
    """What the lines say."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = self._task = ""
        self._since = 0.0
        self._last: float | None = None
        self._busy: dict[str, _Busy] = {}

    def stage(self, name: str, last: float | None = None) -> None:
        """Begin a stage, which took ``last`` seconds the last time; without a name there is none."""
        self._stage, self._task, self._since, self._last = name, "", self._clock(), last
        self._busy.clear()

    def task(self, name: str) -> None:
        """Begin a task of the stage."""
        self._task = name

    def begin(self, host: str) -> None:
        """Note that a host is at work on the task."""
        self._busy[host] = _Busy(self._clock(), self._task)

    def note(self, host: str, what: str) -> None:
        """Note what it does or waits for."""
        self._busy.setdefault(host, _Busy(self._clock(), what)).what = what

    def end(self, host: str) -> None:
        """Note that it has done the task."""
        self._busy.pop(host, None)

    def lines(self, width: int) -> list[str]:
        """Return the lines, none wider than the screen; of very many hosts the first have one each."""
        if not self._stage:
            return []
        now = self._clock()
        last = f" (last time {duration(self._last)})" if self._last else ""
        task = f" · {self._task}" if self._task and self._task != self._stage else ""
        found = [_fitted(f"{self._stage}{task}", f"{duration(now - self._since)}{last}", width)]
        shown = [*self._busy.items()][:MOST]
        widest = max((len(_name(host)) for host, _ in shown), default=0)
        for host, busy in shown:
            found.append(_fitted(f"  {_name(host):{widest}}  {busy.what}", duration(now - busy.since), width))
        if more := [host for host in self._busy if host not in dict(shown)]:
            found.append(_fitted(f"  and {count(len(more), 'host')} more: {few(more)}", "", width))
        return found


def _name(host: str) -> str:
    return "this machine" if host == "localhost" else host


def _fitted(left: str, right: str, width: int) -> str:
    """Return a line of both, the left one cut where it is too long: the times are always seen."""
    left = " ".join(left.split()) if not left.startswith("  ") else "  " + left.strip().replace("\n", " ")
    room = max(width - 1 - len(right) - 2, 8)
    if len(left) > room:
        left = left[: room - 1] + "…"
    return f"{left}  {right}".rstrip()[: max(width - 1, 8)]


class Live:
    """A terminal that has a board's lines at its end. It stands in for standard output, and is drawn by a thread.

    ``lock`` is the one that who prints here holds meanwhile, if any, and that the stream itself takes: with another one
    beside it printing and drawing would wait for each other.
    """

    def __init__(
        self, stream: TextIO, board: Board, width: Callable[[], int], lock: threading.RLock | None = None
    ) -> None:
        self.board = board
        self._stream = stream
        self._width = width
        self._lock = lock or threading.RLock()
        self._drawn = 0  # lines
        self.asks = False  # whether somebody is asked something, whose answer is not to be drawn over
        self._is_open = False  # whether what was printed last has not ended its line: a question, say
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True, name="netorder-live")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        """Be the terminal in everything else."""
        return getattr(self._stream, name)

    @property
    def lock(self) -> threading.RLock:
        """Held while the board is changed."""
        return self._lock

    def start(self) -> None:
        """Draw the lines from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Draw no more, and remove them."""
        self._done.set()
        with self._lock:
            self.board.stage("")
            self._erase()
            self._stream.flush()

    def write(self, text: str) -> int:
        """Print a text above the lines, or take a marked one for the line of its host."""
        with self._lock:
            if text.startswith(_MARK):
                host, _, what = text[1:].rstrip("\n").partition(_THEN)
                self.board.note(host, what)
                return len(text)
            self.above(text)
            self._stream.write(text)
        return len(text)

    def above(self, text: str) -> None:
        """Make room for a text that is about to be printed on the terminal, by whatever stream."""
        with self._lock:
            self._erase()
            self._is_open = not text.endswith("\n") if text else self._is_open
            self._stream.flush()

    def draw(self) -> None:
        """Draw the lines anew."""
        with self._lock:
            if self._is_open:
                return
            lines = [] if self.asks else self.board.lines(self._width())
            if lines or self._drawn:
                self._stream.write(_ERASE * self._drawn + "".join(f"{line}\n" for line in lines))
                self._stream.flush()
            self._drawn = len(lines)

    def _erase(self) -> None:
        self._stream.write(_ERASE * self._drawn)
        self._drawn = 0

    def _tick(self) -> None:
        while not self._done.wait(TICK):
            self.draw()


class Beside:
    """Another stream to the same terminal (standard error), before which the lines make room."""

    def __init__(self, stream: TextIO, live: Live) -> None:
        self._stream = stream
        self._live = live

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        """Be the stream in everything else."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Print a text above the lines."""
        with self._live.lock:
            self._live.above(text)
            self._stream.write(text)
            self._stream.flush()
        return len(text)
