"""The load generator wrk, run once: what bench/services and bench/targets measure with."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).with_name("load.lua")
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


class Load(NamedTuple):
    """What a run gave: requests a second, and how long half of them, and all but one in a hundred, took at most."""

    count: int
    rate: float
    p50_ms: float
    p99_ms: float


class LoadError(Exception):
    """Requests failed, or there were none."""


def command(url: str, clients: int, seconds: float) -> list[str]:
    """Return the command line."""
    return ["wrk", "--threads=1", f"--connections={clients}", f"--duration={seconds:g}s", "--timeout=30s", "--latency",
            f"--script={SCRIPT}", url]  # fmt: skip


def load(url: str, clients: int, seconds: float, bodies: Path, before: tuple[str, ...] = ()) -> Load:
    """Run it against ``url`` with the requests that are lines of ``bodies``; ``before`` goes before its command."""
    words = [*before, *command(url, clients, seconds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"LOAD": str(bodies)})
    if done.returncode:
        raise LoadError(f"{' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return parse(done.stdout)


def parse(said: str) -> Load:
    """Return the figures of what wrk said. Raises LoadError where requests failed."""
    count, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec:\s+([\d.]+)", said)
    if "Non-2xx" in said or "Socket errors" in said or not count or not rate or not int(count[1]):
        raise LoadError(f"requests failed:\n{said}")
    return Load(int(count[1]), float(rate[1]), _percentile(said, 50), _percentile(said, 99))


def _percentile(said: str, share: int) -> float:
    found = re.search(rf"^\s*{share}(?:\.\d+)?%\s+([\d.]+)(us|ms|s|m)\s*$", said, re.MULTILINE)
    if not found:
        raise LoadError(f"there is no line of {share}%:\n{said}")
    return float(found[1]) * UNITS[found[2]]
