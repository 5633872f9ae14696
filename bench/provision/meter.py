"""What the local cloud does meanwhile, seen from inside: requests to its APIs, processor time of its services.

Its APIs close every connection after one answer, so each request is one TCP connection. Those are counted where they
arrive, for every way of provisioning alike: from outside (the client's) and over loopback (the services' own).
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from localcloud import machine

if TYPE_CHECKING:
    from types import TracebackType

    from localcloud.cloud import Cloud

PORTS = "{ 5000, 8004, 8774, 8778, 9292, 9696 }"
TABLE = f"""
table inet bench {{
  counter client {{ }}
  counter services {{ }}
  chain input {{
    type filter hook input priority -300;
    tcp dport {PORTS} tcp flags & (syn | ack) == syn iifname "lo" counter name services
    tcp dport {PORTS} tcp flags & (syn | ack) == syn iifname != "lo" counter name client
  }}
}}
"""
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """So far: requests, of clients and between services; processor time (s), of the cloud itself and of its guests."""

    client: int
    services: int
    cpu: float
    guests: float

    def __sub__(self, earlier: Reading) -> Reading:
        """Return what came since."""
        return Reading(self.client - earlier.client, self.services - earlier.services, self.cpu - earlier.cpu,
                       self.guests - earlier.guests)  # fmt: skip


class Meter:
    """Counts while its block runs; nothing of it stays in the cloud."""

    def __init__(self, cloud: Cloud) -> None:
        pid = cloud.pid()
        if pid is None:
            raise SystemExit(f"{cloud.entry} is down; fix: make cloud-up")
        self._pid = pid

    def _nft(self, *words: str, text: str | None = None) -> str:
        command = [*machine.entering(self._pid), "nft", *words]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout

    def __enter__(self) -> Self:
        self._nft("-f", "-", text=f"table inet bench\ndelete table inet bench\n{TABLE}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._nft("delete", "table", "inet", "bench")

    def read(self) -> Reading:
        """Return the counts of this moment."""
        found = {
            one["counter"]["name"]: one["counter"]["packets"]
            for one in json.loads(self._nft("-j", "list", "counters", "table", "inet", "bench"))["nftables"]
            if "counter" in one
        }
        return Reading(found["client"], found["services"], *self._cpu())

    def _cpu(self) -> tuple[float, float]:
        """Return the processor time (s) of the cloud's processes, those that have ended included, and of its guests.

        Guests boot in what the cloud leaves idle (their weight is a tenth), so their time is no part of its work.
        """
        ticks = {False: 0, True: 0}
        for one in machine.processes(self._pid):
            try:
                name, rest = Path(f"/proc/{one}/stat").read_text().split("(", 1)[1].rsplit(")", 1)
            except OSError:
                continue
            fields = rest.split()
            ticks[name.startswith("qemu-system")] += sum(map(int, fields[11:15]))  # proc(5): utime to cstime
        return ticks[False] / TICK, ticks[True] / TICK
