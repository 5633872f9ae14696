"""Programs that this command runs for the user: shown as they would be typed, in place of this process or for it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from netorder.errors import NetorderError

__all__ = ["Program", "become", "run"]


@dataclass(frozen=True, slots=True)
class Program:
    """A command line, the ``environment`` that it has beside that of this process, and how to get the program."""

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    install: str = ""

    def __str__(self) -> str:
        """Write it as one types it into a shell."""
        before = [f"{name}={shlex.quote(value)}" for name, value in self.environment]
        return " ".join([*before, shlex.join(self.arguments)])

    @property
    def path(self) -> str:
        """Where the program is: beside this Python (a virtual environment that is not activated), else on PATH."""
        name = self.arguments[0]
        beside = Path(sys.executable).with_name(name)
        found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
        if found is None:
            raise NetorderError(f"{name} is not installed: {self.install}")
        return found


def become(program: Program) -> NoReturn:
    """Run it in place of this process: terminal, signals and exit status are its own."""
    path = program.path
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a program would inherit that
    os.execve(path, program.arguments, os.environ | dict(program.environment))  # noqa: S606 - no shell is wanted


def run(program: Program) -> int:
    """Run it, what it prints on standard error; return its exit status.

    It alone is asked to end: by Ctrl-C as it is in the foreground too, by SIGTERM and SIGHUP since they are passed on.
    """
    path = program.path
    sys.stdout.flush()
    children: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def hand_on(number: int, _frame: object) -> None:
        for child in children:
            child.send_signal(number)
        early.extend([number] if not children else [])

    # what is ignored (nohup) stays so, for the program too
    heard = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, hand_on) for number in heard}
    try:
        child = subprocess.Popen(
            program.arguments, executable=path, stdout=sys.stderr.fileno(), env=os.environ | dict(program.environment)
        )
        children.append(child)
        # not before: a program inherits what is ignored
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in early:
            child.send_signal(number)
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
