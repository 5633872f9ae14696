"""Commands that the benchmark runs: each in a session of its own, ended with all of it when the benchmark is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 3600.0  # s; five emulated machines on a busy machine
GRACE = 20.0  # s for a command to end what it does
ENDING = (signal.SIGINT, signal.SIGTERM)
SHOWN = 25  # last lines of a command that failed


class FailedError(Exception):
    """A way could not be measured: the reason, with the end of what was printed."""


def run(words: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, text: str = "") -> str:
    """Run a command in the project's directory, and return what it printed, which is in ``log`` too."""
    with log.open("w+b") as sink:
        # files, not pipes: SSH connections that stay open for the next command would hold a pipe open
        stdin = subprocess.PIPE if text else subprocess.DEVNULL
        with started(words, environment or {}, stdin=stdin, stdout=sink, stderr=subprocess.STDOUT) as child:
            child.communicate(text.encode() if text else None, timeout=PATIENCE)
        sink.seek(0)
        said = sink.read().decode(errors="replace")
    if child.returncode:
        tail = "\n".join(said.splitlines()[-SHOWN:])
        raise FailedError(f"{' '.join(words)}\nended with status {child.returncode}; {log} ends:\n{tail}")
    return said


@contextmanager
def started(words: Sequence[str], environment: Mapping[str, str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:  # noqa: ANN401
    """Start a command in a session of its own; where the block fails, end the command with all that it started."""
    child: subprocess.Popen[bytes] | None = None
    try:
        with deferred():  # else it runs on where a signal comes before its number is known here
            child = subprocess.Popen(
                words, cwd=ROOT, env=os.environ | dict(environment), start_new_session=True, **streams
            )
        yield child
    except BaseException:
        if child:
            end(child)
        raise


def end(child: subprocess.Popen[bytes]) -> None:
    """End a command with all that it started."""
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
            return


@contextmanager
def deferred() -> Iterator[None]:
    """Let what would end this process do so after the block."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda found, _frame: came.append(found)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let nobody end the block: it takes away what was made. SIGKILL still does, and the next run takes it away."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def python(*words: str) -> list[str]:
    """Return the command line of a module of this environment."""
    return [sys.executable, "-m", *words]
