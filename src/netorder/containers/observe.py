"""What this machine has of a topology: namespaces, cables, filters, containers, and the host keys of these."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.containers import engine, kernel
from netorder.containers.health import FILE
from netorder.containers.wanted import MACHINE, external_prefix, machine_table, prefix, uplink
from netorder.errors import CloudError

if TYPE_CHECKING:
    from netorder.containers.engine import Container
    from netorder.containers.kernel import Space
    from netorder.plan.model import Plan

__all__ = ["PARALLEL", "Seen", "host_key", "observe", "outside"]

PARALLEL = 8
_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]+")
_KEY_FILE = "ssh/ssh_host_ed25519_key.pub"
_PROCESSES = Path("/proc")
_KEY_TIMEOUT = 10.0  # seconds; making it takes a tenth of one


@dataclass(frozen=True, slots=True)
class Seen:
    """The namespaces by name ("" is the machine's own, of which only the topology's table is kept); the containers."""

    spaces: dict[str, Space]
    containers: tuple[Container, ...]
    inodes: dict[str, int] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)  # by container's id: the namespace that it runs in
    health: dict[str, str] = field(default_factory=dict)  # of those that run, by id: the script that checks them
    inotify: int = 128  # instances that root may have on this machine

    def leftovers(self, topology: str) -> list[str]:
        """Name everything, for the end of a teardown."""
        found = [f"container {one.name}" for one in self.containers]
        found += [f"network namespace {space}" for space in self.spaces if space]
        machine = self.spaces.get(MACHINE)
        if machine and machine.ruleset:
            found.append(f"nft table inet {machine_table(topology)}")
        if machine and uplink(topology) in machine.links:
            found.append(f"device {uplink(topology)}")
        return found


def observe(topology: str) -> Seen:
    """Return what there is; changes nothing."""
    inodes = {name: kernel.inode(name) for name in kernel.spaces(prefix(topology))}
    names = [MACHINE, *(name for name, number in inodes.items() if number)]
    with ThreadPoolExecutor(PARALLEL) as pool:
        found = pool.map(lambda name: kernel.read_space(name, "" if name else machine_table(topology)), names)
        its = pool.submit(engine.containers, topology)
        spaces = dict(zip(names, found, strict=True))
        containers = tuple(its.result())
    joined = {one.id: kernel.joined(one.pid) for one in containers if one.runs}
    health = {one.id: _health(one) for one in containers if one.runs}
    return Seen(spaces, containers, inodes, joined, health, kernel.inotify_most())


def _health(container: Container) -> str:
    """Return the script that checks a running container, "" where it has none."""
    try:
        return (_PROCESSES / f"{container.pid}/root{FILE}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def outside(plan: Plan, seen: Seen) -> IPv4Network:
    """Return the prefix of the topology's outside: as it is, else the first that is free; raises CloudError."""
    link = seen.spaces[MACHINE].links.get(uplink(plan.topology))
    if link and link.addresses:
        return IPv4Interface(link.addresses[0]).network
    found = external_prefix(plan, kernel.routes())
    if found is None:
        raise CloudError("no /24 of 172.29.0.0/16 is free on this machine for the outside of the topology: `ip route`")
    return found


def host_key(container: Container) -> str | None:
    """Return a running container's SSH host key; it is made before anything else there starts."""
    # by its process, not by podman's exec, which takes half a second of a processor for each host
    etc = _PROCESSES / f"{container.pid}/root/etc"
    end = time.monotonic() + _KEY_TIMEOUT
    while time.monotonic() < end:
        with suppress(OSError):
            # written last: until then the key may be that of the host which a snapshot was made of
            if (etc / "netorder-instance").read_text(encoding="ascii", errors="replace") == container.instance:
                found = _KEY.search((etc / _KEY_FILE).read_text(encoding="ascii", errors="replace"))
                return found[0] if found else None
        if not etc.parents[1].exists():  # it has ended
            return None
        time.sleep(0.05)
    return None
