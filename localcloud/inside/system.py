"""Paths inside the root file system, the cloud's parameters, and commands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

__all__ = ["CONFIG", "LOGS", "SHARED", "parameters", "run"]

SHARED = Path("/localcloud/shared")  # the host reads and writes here too
LOGS = SHARED / "log"
CONFIG = Path("/localcloud/localcloud/inside/config")  # templates of configuration files


def parameters() -> dict[str, str]:
    """Return what the host decided about this cloud: addresses, secrets, kind of guests, overcommit."""
    values: dict[str, str] = json.loads((SHARED / "parameters.json").read_text())
    return values


def run(command: str | list[str], environment: dict[str, str] | None = None, *, may_fail: bool = False) -> str:
    """Run a command and return its output; a failure (RuntimeError) carries the last lines of it."""
    words = command.split() if isinstance(command, str) else command
    done: subprocess.CompletedProcess[str] = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0 and not may_fail:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise RuntimeError(f"{' '.join(words)[:120]}: status {done.returncode}\n{tail}")
    return done.stdout
