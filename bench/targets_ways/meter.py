"""What processes and files of this machine take: memory, processor, disk. Read from outside, for every way alike."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud import machine

if TYPE_CHECKING:
    from collections.abc import Iterable

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
BLOCK = 512  # bytes of st_blocks
PAUSE = 0.05


def tree(*roots: int) -> list[int]:
    """Return processes and all that descend from them, each once."""
    return list(dict.fromkeys(one for root in roots for one in machine.processes(root)))


def memory(pids: Iterable[int]) -> int:
    """Return the memory (bytes) that processes keep resident; what is shared counts in part (PSS)."""
    total = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            text = (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii")
            total += sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))
    return total


def cpu(pids: Iterable[int]) -> float:
    """Return the processor time (s) of processes, and of those of theirs that have ended."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # proc(5): utime to cstime
    return ticks / TICK


def allocated(*places: Path) -> int:
    """Return the disk (bytes) that files take, each once however many names it has; links are not followed."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for place in places:
        for path in (place, *(place.rglob("*") if place.is_dir() else ())):
            with suppress(FileNotFoundError):
                its = path.lstat()
                if (its.st_dev, its.st_ino) not in seen:
                    seen.add((its.st_dev, its.st_ino))
                    total += its.st_blocks * BLOCK
    return total


def processes() -> int:
    """Return how many processes this machine has."""
    return sum(name.isdigit() for name in os.listdir(PROC))  # noqa: PTH208


def available() -> int:
    """Return the memory (bytes) that is free or can be freed."""
    found = re.search(r"^MemAvailable:\s+(\d+)", (PROC / "meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


class Pulse(threading.Thread):
    """Feels, time and again, how this machine is: how long a process takes to start, how many there are, memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()
        self._beats: list[tuple[float, int, int]] = []

    def run(self) -> None:
        """Feel, until it is stopped."""
        while not self._over.is_set():
            start = time.perf_counter()
            subprocess.run(["true"], check=True)
            self._beats.append(((time.perf_counter() - start) * 1000, processes(), available()))
            time.sleep(PAUSE)

    def stop(self) -> dict[str, float]:
        """Return the medians."""
        self._over.set()
        self.join()
        columns = [statistics.median(column) for column in zip(*self._beats, strict=True)]
        return dict(zip(("spawn", "processes", "available"), columns, strict=True))


def felt(seconds: float) -> dict[str, float]:
    """Return how this machine is for so many seconds."""
    pulse = Pulse()
    pulse.start()
    time.sleep(seconds)
    return pulse.stop()


def disk() -> int:
    """Return the number of this machine's first disk, 0 where none is seen."""
    for line in (PROC / "partitions").read_text(encoding="ascii").splitlines()[2:]:
        major, minor, _, name = line.split()
        if not name.startswith(("loop", "ram", "zram", "sr", "fd")):
            return os.makedev(int(major), int(minor))
    return 0


def own_address() -> str:
    """Return an address of this machine that is not 127.0.0.1, as others have it; nothing where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing: it looks up the route
        return str(probe.getsockname()[0])
    said = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, text=True, check=False).stdout
    every = [its for device in json.loads(said or "[]") for its in device["addr_info"] if its["scope"] == "global"]
    return str(every[0]["local"]) if every else ""


def this_machine() -> dict[str, Any]:
    """Return what is measured on."""
    models = re.findall(r"^model name\s*:\s*(.+)$", (PROC / "cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    total = re.search(r"^MemTotal:\s+(\d+)", (PROC / "meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return {
        "cores": os.cpu_count(),
        "model": models[0].strip() if models else platform.machine(),
        "memory": int(total[1]) << 10 if total else 0,
        "kernel": platform.release(),
        "boot": (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        "load": os.getloadavg()[0],
        "processes": processes(),
        "programs": {
            "Python": platform.python_version(),
            "podman": _version("podman", "--version"),
            "QEMU": _version("qemu-system-x86_64", "--version"),
        },
    }


def _version(*words: str) -> str:
    if shutil.which(words[0]) is None:
        return ""
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(?:\.\d+)+", said)
    return found[0] if found else ""
