"""Snapshots of hosts: make one, list and remove them, put one onto a host's disk."""

from __future__ import annotations

import subprocess
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from netorder.cloud import golden as goldens
from netorder.cloud import snapshots as images
from netorder.cloud.change import Change, deletion
from netorder.cloud.delete import delete
from netorder.cloud.errors import translate_errors
from netorder.cloud.locked import locked_problems
from netorder.cloud.observe import observe
from netorder.cloud.reconcile import host_facts, not_allowed, result_of
from netorder.cloud.resources.server import METADATA, hard_reboot, has_run
from netorder.cloud.wait import wait_for_servers
from netorder.cloud.waits import HOSTKEY_TIMEOUT
from netorder.controller import ssh as access
from netorder.controller.operations import lacking, on_containers
from netorder.controller.operations.site import SSH_TIMEOUT, check_removal, opened, result
from netorder.errors import CloudError, RefusedError, UsageError
from netorder.language.load import load
from netorder.text import table
from netorder.topology import CONTAINERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Progress
    from netorder.controller.operations.site import Site
    from netorder.plan.model import Host

__all__ = ["restore", "restore_problems", "snapshot", "snapshots", "synced"]

# What has a disk of its own; awk is in every image that has a shell.
SYNC = r"""sync && awk '$1 ~ "^/dev/" && !seen[$1]++ {print $2}' /proc/self/mounts"""
SYNC_TIMEOUT = 120.0  # s
# What Nova takes for true in an image's properties.
YES = frozenset({"1", "on", "t", "true", "y", "yes"})


def snapshot(
    *,
    topology: str,
    files: str,
    host: str,
    progress: Progress,
    versions: Mapping[str, str] | None = None,
    check: bool = False,
    target: str | None = None,
) -> dict[str, Any]:
    """Make an image of a host, marked as the topology's, with its applications' ``versions``; return the result.

    Raises TopologyError, UsageError, LockedError, CloudError.
    """
    read = load(topology, target)
    lacking.require(read.target, "snapshot")
    if read.target == CONTAINERS:
        return on_containers.snapshot(read, files, host, check=check)
    start = time.monotonic()
    now = datetime.now(UTC)
    with opened(read, files, progress, check=check, hosts=[host]) as site:
        planned, server = site.host(host)
        if server.status not in {"ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED"}:
            raise CloudError(
                f"Host {host}: its server is {server.status}: Nova makes no image of that. Start it first."
            )
        name = images.snapshot_name(site.plan.topology, host, now)
        after: dict[str, object] = {"host": host}
        if check:
            return result(site, [Change("snapshot", name, "create", "asked for", after=after)], start)
        said, warning = synced(site, planned, server)
        site.cloud.phase = "change"
        known = images.snapshots(site.cloud, site.plan.topology)
        told = goldens.versions_text(versions or {})
        made = images.make(site.cloud, site.plan.topology, host, server, now, versions=told)
        size = images.compared(site.cloud, made, known)
        change = Change("snapshot", made.name, "create", "asked for", after={**after, "size": size, "disk": said})
        lines = [f"snapshot {made.name}: {size}", f"its disk: {said}"]
        lines += [f"its applications: {made.versions}"] if made.versions else []
        return result(site, [change], start, snapshot=asdict(made), lines=lines, hint=warning)


def synced(site: Site, host: Host, server: Server) -> tuple[str, str]:
    """Have the host write what it holds in memory; return what was done, and a warning if that was nothing."""
    if server.status == "SHUTOFF":
        return "of a stopped host, complete", ""
    agent, must = _guest_agent(site, server) if server.status == "ACTIVE" else (False, False)
    if agent and must:
        return "frozen by its guest agent while it was copied", ""
    if agent:
        return "frozen while it was copied, if its guest agent answered (os_require_quiesce would insist)", ""
    loss = "what it had not written yet is missing, as after a power cut"
    if host.ssh_path is None or server.status != "ACTIVE":
        why = f"the host is {server.status}" if host.ssh_path is not None else "the plan has no SSH path to it"
        return f"not synced, {why}: {loss}", f"{host.name} was not synced, as {why}: {loss}"
    try:
        done = subprocess.run(
            site.ssh(host, SYNC), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=SYNC_TIMEOUT,
        )  # fmt: skip
        why = "" if done.returncode == 0 else " ".join(done.stderr.split()) or f"status {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why:
        return f"not synced: {loss}", f"{host.name} could not be synced ({why}): {loss}"
    return f"synced over SSH just before: {', '.join(done.stdout.split())}", ""


def _guest_agent(site: Site, server: Server) -> tuple[bool, bool]:
    """Return whether the image of a server says that it has a guest agent, and that this has to freeze the disk."""
    made_from = server.image.id if server.image else ""  # none: from a volume
    if not made_from:
        return False, False
    with translate_errors():
        # as it is: to the SDK's Image the text "no" of a property is true
        answer = site.cloud.conn.image.get(f"/images/{made_from}")
    own = answer.json() if answer.ok else {}  # it may be gone, or no longer shared
    agent, must = (str(own.get(name, "")).lower() in YES for name in ("hw_qemu_guest_agent", "os_require_quiesce"))
    return agent, must


def snapshots(
    *,
    topology: str,
    files: str,
    progress: Progress,
    check: bool = False,
    remove: Sequence[str] = (),
    keep: int | None = None,
    hosts: Sequence[str] = (),
    target: str | None = None,
) -> dict[str, Any]:
    """List a topology's snapshots; remove those of these names, or all but the newest of each host.

    Raises TopologyError, UsageError, LockedError; CloudError, where one is not removed because of its name or use.
    """
    read = load(topology, target)
    lacking.require(read.target, "snapshot")
    if read.target == CONTAINERS:
        return on_containers.snapshots(read, files, check=check, remove=remove, keep=keep, hosts=hosts)
    start = time.monotonic()
    check_removal(remove, keep)
    with opened(read, files, progress, check=check or (not remove and keep is None)) as site:
        known = images.snapshots(site.cloud, site.plan.topology)
        if unknown := set(hosts) - {one.host for one in known} - {one.name for one in site.plan.hosts}:
            raise UsageError(f"host={','.join(sorted(unknown))}: no host and no snapshot has this name.")
        going: list[images.Snapshot] = []
        problems: list[str] = []
        if remove or keep is not None:
            going, problems = images.removals(known, images.in_use(site.cloud), names=remove, keep=keep, hosts=hosts)
        if remove and problems:
            raise CloudError(*problems)
        changes = [deletion("snapshot", one.name, one.id, "asked for") for one in going]
        left = [one for one in known if one not in going and one.host in (hosts or {one.host})]
        if not check:
            delete(site.cloud, site.plan.topology, changes, ())
        rows = [("snapshot", "host", "made", "MiB", "format", "state")]
        rows += [(s.name, s.host, s.time, f"{s.size / images.MIB:.0f}", s.form or "-", s.status) for s in left]
        lines = table(rows, numbers={3}) if left else [f"{site.plan.topology} has no snapshots"]
        return result(site, changes, start, snapshots=[asdict(one) for one in left], lines=[*problems, *lines])


def restore(
    *,
    topology: str,
    files: str,
    host: str,
    progress: Progress,
    snapshot: str | None = None,
    allow: Sequence[str] = (),
    check: bool = False,
    ssh_key: str | None = None,
    hostkey_timeout: float = HOSTKEY_TIMEOUT,
    ssh_timeout: float = SSH_TIMEOUT,
    target: str | None = None,
) -> dict[str, Any]:
    """Put a snapshot, the newest of the host unless one is named, onto a host's disk; return the Ansible result.

    Raises TopologyError, UsageError, LockedError, AccessError; RefusedError before the first change, CloudError
    after it.
    """
    read = load(topology, target)
    lacking.require(read.target, "restore")
    if read.target == CONTAINERS:
        return on_containers.restore(read, files, host, check=check, snapshot=snapshot, allow=allow, ssh_key=ssh_key)
    start = time.monotonic()
    with opened(read, files, progress, check=check, hosts=[host]) as site:
        planned, server = site.host(host)
        session, name = site.cloud, site.plan.topology
        chosen = images.find(images.snapshots(session), name, snapshot or host)
        has = str((server.metadata or {}).get(METADATA["image"], ""))
        change = Change(
            "server", str(server.name), "replace", "its disk is lost", {"disk": f"as it is, from {has}"},
            {"disk": f"snapshot {chosen.name}, made {chosen.time}"}, str(server.id),
        )  # fmt: skip
        problems = restore_problems(planned, server, chosen, name) + locked_problems(session, [server], [change])
        if not check:
            problems += not_allowed([change], allow)
        if problems:
            raise RefusedError(result_of(session, [change], {}, start), *problems)
        if check:
            return result(site, [change], start, hint="a run needs permission for this: -e allow=replace")
        session.phase = "change"
        stale = str((server.metadata or {}).get(METADATA["hostkey"], ""))
        known = images.restore(session, server, chosen, planned.image)
        session.phase = "wait"
        running = server.status == "ACTIVE"
        if running and not known and hostkey_timeout > 0:
            alone = replace(site.plan, hosts=(planned,))
            wait_for_servers(session, alone, new=False, timeout=hostkey_timeout, stale={str(server.name): stale})
        observed = observe(session, name)
        key = site.key(ssh_key)
        facts = host_facts(site.plan, observed, observed.servers, {})
        access.write(site.plan, facts, directory=site.directory, key=key)
        if running and planned.ssh_path is not None and (said := site.unanswered(planned, ssh_timeout)):
            raise CloudError(f"{host} was restored from {chosen.name}. {said}")
        hint = f"The topology may say more than the disk had then: ansible-playbook site.yml --limit localhost,{host}"
        return result(site, [change], start, hint=hint)


def restore_problems(host: Host, server: Server, chosen: images.Snapshot, topology: str) -> list[str]:
    """Return why a host cannot have a snapshot."""
    problems = []
    if (chosen.topology, chosen.host) != (topology, host.name):
        problems.append(
            f"Snapshot {chosen.name} is of host {chosen.host} of {chosen.topology}, not of {host.name}. A host from "
            f"another's snapshot is made by the topology file: `image: {{snapshot: {chosen.name}}}`."
        )
    if server.status not in {"ACTIVE", "SHUTOFF"}:
        fix = "start it or stop it first"
        if server.status == "ERROR":
            back = f"{hard_reboot(server)}; else " if has_run(server) else ""
            fix = f"{back}site.yml{' -e allow=replace' if back else ''} replaces it, and it is restored then"
        problems.append(f"Host {host.name}: its server is {server.status}: {fix}.")
    disk = int(server.flavor.disk or 0)
    if disk and chosen.min_disk > disk:
        problems.append(
            f"Host {host.name}: snapshot {chosen.name} needs a disk of {chosen.min_disk} GiB, the host's has {disk}. "
            "Resize the host first: playbooks/resize.yml."
        )
    return problems
