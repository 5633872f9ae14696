"""One run at a time changes a topology from one controller; the lock ends with its process, however that ends."""

from __future__ import annotations

import ctypes
import fcntl
import multiprocessing
import os
import signal
import socket
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from netorder.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["end_with_parent", "held"]

PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def held(files: Path, topology: str) -> Iterator[None]:
    """Hold the lock ``<files>/<topology>.lock``; LockedError, which names the holder, when another run holds it.

    The kernel gives an flock(2) back when its holder ends. The file itself stays: if it were removed, one run could
    lock the removed file and another one its successor.
    """
    path = files / f"{topology}.lock"
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read().strip() or "unknown"
            raise LockedError(
                f"Another run is at work on {topology}: {holder}. Wait until it has ended, then run again."
            ) from None
        except OSError as error:
            raise LockedError(
                f"{path} cannot be locked: {error.strerror}. Set netorder_files to a directory of a local file system."
            ) from error
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {since}\n")
        file.flush()
        yield


def end_with_parent() -> None:
    """Let the kernel kill this process, a child of multiprocessing's, as soon as its parent ends; on Linux.

    Ansible runs an action in a process with a session of its own, which a killed ansible-playbook would leave at work,
    and holding the lock, for minutes.
    """
    parent = multiprocessing.parent_process()
    if sys.platform == "linux" and parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:  # it ended before the kernel knew
            os.kill(os.getpid(), signal.SIGKILL)
