"""What this machine has of a topology: namespaces, cables, filters, containers, and the host keys of these."""

from __future__ import annotations

import os
import re
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.containers import engine, kernel
from netorder.containers.health import FILE
from netorder.containers.wanted import (
    MACHINE,
    external_prefix,
    file_names,
    machine_table,
    no_external_prefix,
    prefix,
    uplink,
)
from netorder.errors import CloudError

if TYPE_CHECKING:
    from netorder.containers.engine import Container
    from netorder.containers.kernel import Space
    from netorder.plan.model import Plan

__all__ = ["PARALLEL", "Seen", "host_key", "observe", "outside"]

PARALLEL = 8
_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]+")
_KEY_FILE, _INSTANCE = "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/netorder-instance"
_PROCESSES = Path("/proc")
_LARGEST = 1 << 20  # bytes that are read of a file of a container
_KEY_TIMEOUT = 10.0  # seconds; making it takes a tenth of one


@dataclass(frozen=True, slots=True)
class Seen:
    """The namespaces by name ("" is the machine's own, of which only the topology's table is kept); the containers."""

    spaces: dict[str, Space]
    containers: tuple[Container, ...]
    inodes: dict[str, int] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)  # by container's id: the namespace that it is in
    health: dict[str, str] = field(default_factory=dict)  # of those that run, by id: the script that checks them
    files: dict[str, dict[str, str]] = field(default_factory=dict)  # of those, by id: what wanted.file_names have
    keys: dict[str, str] = field(default_factory=dict)  # of those, by id: the user's authorized_keys, if known
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
    joined = {one.id: kernel.joined(one.pid) for one in containers if one.pid}
    health = {one.id: _health(one) for one in containers if one.runs}
    files = {one.id: {name: _read(one, name) for name in _file_names(one)} for one in containers if one.runs}
    keys = {one.id: _authorized_keys(one) for one in containers if one.runs}
    return Seen(spaces, containers, inodes, joined, health, files, keys, kernel.inotify_most())


def _health(container: Container) -> str:
    """Return the script that checks a running container, "" where it has none."""
    return _read(container, FILE)


def _authorized_keys(container: Container) -> str:
    """Return what lets a container's user in, "" where that cannot be found out."""
    user = container.settings.get("user")
    entries = (line.split(":") for line in _read(container, "/etc/passwd").splitlines())
    home = next((its[5] for its in entries if its[0] == user and len(its) > 5), "")  # noqa: PLR2004
    return _read(container, f"{home}/.ssh/authorized_keys") if home else ""


def _file_names(container: Container) -> list[str]:
    networks = container.settings.get("networks")
    return file_names(len(networks) if isinstance(networks, list) else 0)


def _read(container: Container, file: str) -> str:
    """Return what a file of a container has; nothing, where it is none: root there decides what it is.

    A symbolic link would lead out of the container, a pipe never end, a large file fill the memory.
    """
    *directories, name = file.strip("/").split("/")
    flags = os.O_RDONLY | os.O_CLOEXEC
    with ExitStack() as opened, suppress(OSError):
        where = os.open(_PROCESSES / f"{container.pid}/root", flags | os.O_DIRECTORY)
        opened.callback(os.close, where)
        for one in directories:
            where = os.open(one, flags | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=where)
            opened.callback(os.close, where)
        its = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=where)
        opened.callback(os.close, its)
        if stat.S_ISREG(os.fstat(its).st_mode):
            return os.read(its, _LARGEST).decode(errors="replace")
    return ""


def outside(plan: Plan, seen: Seen) -> IPv4Network:
    """Return the prefix of the topology's outside: as it is, else the first that is free; raises CloudError."""
    link = seen.spaces[MACHINE].links.get(uplink(plan.topology))
    there = [IPv4Interface(one).network for one in link.addresses] if link else []
    if whole := [one for one in there if one.prefixlen < one.max_prefixlen]:
        return whole[0]
    routes = kernel.routes()
    found = external_prefix(plan, routes)
    if found is None:
        raise CloudError(no_external_prefix(plan, routes))
    return found


def host_key(container: Container) -> str | None:
    """Return a running container's SSH host key; it is made before anything else there starts."""
    # by its process, not by podman's exec, which takes half a second of a processor for each host
    process = _PROCESSES / f"{container.pid}"
    end = time.monotonic() + _KEY_TIMEOUT
    while time.monotonic() < end:
        # written last: until then the key may be that of the host which a snapshot was made of
        if _read(container, _INSTANCE) == container.instance:
            found = _KEY.search(_read(container, _KEY_FILE))
            return found[0] if found else None
        if not process.exists():  # it has ended
            return None
        time.sleep(0.05)
    return None
