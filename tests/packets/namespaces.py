"""Linux network namespaces of this process alone: without a name, so the kernel removes them with the process.

A namespace lives as long as something refers to it. Here that is one file descriptor, closed by ``Namespace.close``
and, whatever ends the process, by the kernel. Nothing is left to clean up after a kill, and two runs cannot meet.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000  # <sched.h>
# Debian's ip and nft are where only root looks
ENVIRONMENT = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(Exception):
    """The kernel refused a namespace, or a command in one."""


def _call(function: str, *arguments: int) -> None:
    # os.unshare and os.setns come with Python 3.12
    if getattr(_libc, function)(*arguments) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise NamespaceError(
            f"{function}: {reason}; network namespaces need root: run `make packets`, which sees to it"
        )


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def isolate() -> None:
    """Move this thread for good to an empty network namespace, so that no mistake of ours reaches the machine's own."""
    _call("unshare", CLONE_NEWNET)


class Namespace:
    """A new network namespace, called ``name`` in messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        before = _current()
        try:
            _call("unshare", CLONE_NEWNET)
            self._descriptor = _current()
            _call("setns", before, CLONE_NEWNET)
        finally:
            os.close(before)

    @property
    def path(self) -> str:
        """What ``ip link … netns`` calls it."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def close(self) -> None:
        """Let the kernel remove it, with all that is in it."""
        os.close(self._descriptor)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make it this thread's namespace: sockets made and processes started meanwhile are in it."""
        before = _current()
        try:
            _call("setns", self._descriptor, CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", before, CLONE_NEWNET)
        finally:
            os.close(before)

    def sysctl(self, settings: dict[str, int | str]) -> None:
        """Set each ``net/...`` of ``settings``; must be entered."""
        for name, value in settings.items():
            Path("/proc/sys/net", name).write_text(str(value), encoding="ascii")

    def ip(self, lines: list[str]) -> None:
        """Give ``lines`` to ``ip -batch``; must be entered."""
        if lines:
            self._run(["ip", "-batch", "-"], lines)

    def nft(self, lines: list[str]) -> None:
        """Give ``lines`` to ``nft -f``; must be entered."""
        if lines:
            self._run(["nft", "-f", "-"], lines)

    def ports(self) -> list[dict[str, Any]]:
        """Return the ports of its bridges, as ``bridge -json link`` shows them; must be entered."""
        ports: list[dict[str, Any]] = json.loads(self._run(["bridge", "-json", "link"], []) or "[]")
        return ports

    def _run(self, command: list[str], lines: list[str]) -> str:
        text = "\n".join(lines) + "\n"
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=ENVIRONMENT)
        if done.returncode != 0:
            numbered = "\n".join(f"{number:4} {line}" for number, line in enumerate(lines, 1))
            raise NamespaceError(f"{self.name}: {' '.join(command)}: {done.stderr.strip()}\n{numbered}")
        return done.stdout
