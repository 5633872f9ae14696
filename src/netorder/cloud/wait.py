"""Wait until every server runs and its host key is known: one list for each poll, consoles only of those still unknown.

A guest prints its public host keys on the console at boot, in cloud-init's block. That is out of band: the console
comes from the hypervisor through the authenticated API, not over the network being verified.
The ed25519 key is then kept in the server's metadata, where any controller finds it.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from functools import partial
from typing import TYPE_CHECKING

from netorder.cloud.jobs import gather
from netorder.cloud.observe import console_text, fault_text, list_servers
from netorder.cloud.poll import Again, poll
from netorder.cloud.resources.server import IN_MOTION, METADATA, hard_reboot, has_run, is_off
from netorder.errors import CloudError
from netorder.plan.model import Server as Asked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openstack.compute.v2.server import Server

    from netorder.cloud.session import Cloud
    from netorder.plan.model import Plan

__all__ = ["host_key", "wait_for_servers"]

# From request to ACTIVE (s): generous, the image's first download to the hypervisor is in it.
ACTIVE_TIMEOUT = 600
STATUS_POLL = 1.5
STATUS_POLL_LEAST = 1.0
STATUS_POLL_MOST = 5.0
# Consoles cost the hypervisor more than a list costs the API.
CONSOLE_POLL = 5.0

_BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_KEY = re.compile(r"ssh-ed25519 (AAAA[0-9A-Za-z+/]+={0,2})")
# "ssh-ed25519", length-prefixed, then a 32-byte key, length-prefixed (RFC 8709).
_ED25519 = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"
_ED25519_LENGTH = len(_ED25519) + 32


def host_key(console: str) -> str | None:
    """Return the ed25519 host key of the last whole block, as ``ssh-ed25519 AAAA…``; None when there is none.

    A key that the kernel's own messages have run through does not decode to 51 bytes and is passed over.
    """
    found = None
    for block in _BLOCK.findall(console):
        for text in _KEY.findall(block):
            try:
                raw = base64.b64decode(text, validate=True)
            except binascii.Error:
                continue
            if raw.startswith(_ED25519) and len(raw) == _ED25519_LENGTH:
                found = f"ssh-ed25519 {text}"
    return found


def wait_for_servers(
    cloud: Cloud, plan: Plan, *, new: bool, timeout: float, stale: Mapping[str, str] | None = None
) -> tuple[Server, ...]:
    """Wait for all planned servers; return them as last listed, host keys in their metadata.

    ``new``: some have been requested only now. ``timeout`` (s) is for the host keys, counted from the last server's
    becoming active; 0: they are not learned. ``stale`` are keys, by server, that a console may still show, and that
    count no more.
    """
    waiting = _Waiting(cloud, plan, stale or {})
    waiting.until_active(new=new)
    if timeout > 0:
        cloud.phase = "host keys"
        waiting.until_known(timeout)
    return waiting.servers


class _Waiting:
    """The servers being waited for."""

    def __init__(self, cloud: Cloud, plan: Plan, stale: Mapping[str, str]) -> None:
        self.cloud = cloud
        self._stale = stale
        self.plan = plan
        self.servers: tuple[Server, ...] = ()
        self._names = {host.cloud_name: host.name for host in plan.hosts}
        self._start = time.monotonic()
        self._console: dict[str, str] = {}

    def _report(self, text: str) -> None:
        self.cloud.progress(f"{text} ({time.monotonic() - self._start:.0f} s)")

    def _mine(self) -> list[Server]:
        return [server for server in self.servers if server.name in self._names]

    def until_active(self, *, new: bool) -> None:
        """Poll until no server is being built any more; failures are reported together, in Nova's words.

        While servers are being built, only the names of those are listed: for a list with details Nova asks Neutron
        for every server's ports, work that the building then lacks. What became of them the list at the end shows.
        """
        waiting: set[str] = set()
        ready: dict[str, float] = {}  # when a server was first observed not to be in BUILD
        pause, checked, soon = STATUS_POLL, self._start, new

        def check() -> bool | Again[bool]:
            nonlocal waiting, pause, checked, soon
            if soon:
                soon = False
                return Again(STATUS_POLL_LEAST)
            building = list_servers(self.cloud, self.plan.topology, details=False, status="BUILD")
            before, waiting = waiting, {str(server.name) for server in building} & set(self._names)
            now = time.monotonic()
            done, since, checked = before - waiting, now - checked, now
            ready.update(dict.fromkeys(done, now))
            if not waiting:
                self.servers = list_servers(self.cloud, self.plan.topology)
                waiting = {str(s.name) for s in self._mine() if s.status not in {"ACTIVE", "ERROR"} and not is_off(s)}
                if not waiting:
                    return True
            names = ", ".join(sorted(self._names[name] for name in waiting))
            # not longer than the rest will take if it goes on like that
            rest = max(STATUS_POLL_LEAST, len(waiting) * since / len(done)) if done else pause
            wait, pause = min(pause, rest), min(pause * 1.4, STATUS_POLL_MOST)
            late = f"Not running after {ACTIVE_TIMEOUT} s: {names}. See `openstack server show`."
            return Again(wait, (late,), left=f"{len(waiting)} of {len(self._names)}: {names}")

        poll(self.cloud, "servers to run", check, ACTIVE_TIMEOUT)
        mine = self._mine()
        for server in mine:
            if server.status == "ACTIVE":
                self._note(server, "active", ready.get(str(server.name)))
        failed = [s for s in mine if s.status == "ERROR"]
        missing = sorted(set(self._names) - {s.name for s in mine})
        problems = [
            f"Server {s.name}{self._where(str(s.name))} went to ERROR: {fault_text(s)} "
            + (f"{hard_reboot(s)}." if has_run(s) else "Fix the cause and run again: it will be replaced.")
            for s in failed
        ]
        problems += [f"Server {name} was deleted while it was waited for. Run again." for name in missing]
        if problems:
            raise CloudError(*problems)
        self._report(f"servers: all {len(self._names)} active")

    def _where(self, name: str) -> str:
        """Say where a server is to be, as far as the topology says so: that may leave no compute host for it."""
        policies = {group.name: group.policy for group in self.plan.server_groups}
        its = next((host.server for host in self.plan.hosts if host.cloud_name == name and host.server), Asked())
        said = [f"zone {its.availability_zone}"] if its.availability_zone else []
        said += [f"server group {its.server_group}: {policies[its.server_group]}"] if its.server_group else []
        return f" ({', '.join(said)})" if said else ""

    def _note(self, server: Server, stage: str, end: float | None = None) -> None:
        self.cloud.note_times("server", (str(server.name),), stage, self._start, end or time.monotonic())

    def until_known(self, timeout: float) -> None:
        """Read consoles until each server's host key is in its metadata, for ``timeout`` (s) at most."""
        total, listed = len(self._names), True

        def check() -> bool | Again[bool]:
            nonlocal listed
            if not listed:
                self.servers = list_servers(self.cloud, self.plan.topology)
            listed = False
            unknown = [s for s in self._mine() if METADATA["hostkey"] not in (s.metadata or {}) and not is_off(s)]
            stopped = [s for s in unknown if s.status != "ACTIVE" and s.status not in IN_MOTION]
            if stopped:
                names = ", ".join(f"{s.name} ({s.status})" for s in stopped)
                raise CloudError(
                    f"No longer running while its boot was waited for: {names}. See its console, then run again."
                )
            found = gather(self.cloud, [partial(self._learn, server) for server in unknown])
            for server, key in zip(unknown, found, strict=True):
                if key:
                    server.metadata[METADATA["hostkey"]] = key
                    self._note(server, "host key known")
            left = [self._names[s.name] for s, key in zip(unknown, found, strict=True) if not key]
            if not left:
                return True
            late = tuple(self._silent(left, timeout))
            return Again(CONSOLE_POLL, late, left=f"{len(left)} of {total}, still booting: {', '.join(left)}")

        poll(self.cloud, "host keys on the consoles", check, timeout)
        self._report(f"host keys: all {total} known")

    def _learn(self, server: Server) -> str | None:
        printed = console_text(self.cloud, server)
        if printed is None:
            return None  # it is only just starting
        self._console[server.name] = printed
        key = host_key(self._console[server.name])
        if key and key == self._stale.get(str(server.name)):
            return None
        if key:
            self.cloud.conn.compute.set_server_metadata(server.id, **{METADATA["hostkey"]: key})  # type: ignore[no-untyped-call]
        return key

    def _silent(self, hosts: Iterable[str], timeout: float) -> list[str]:
        problems = []
        clouds = {host.name: host.cloud_name for host in self.plan.hosts}
        for host in hosts:
            lines = [line for line in self._console.get(clouds[host], "").splitlines() if line.strip()][-8:]
            tail = "".join(f"\n    {line.rstrip()}" for line in lines) or " (nothing)"
            problems.append(
                f"Host {host}: no ed25519 host key on its console after {timeout:.0f} s. The image must print "
                f"cloud-init's SSH HOST KEY block; a slow guest needs a longer netorder_hostkey_timeout, "
                f"a stuck one is made anew: delete server {clouds[host]} and run again. Its console ends with:{tail}"
            )
        return problems
