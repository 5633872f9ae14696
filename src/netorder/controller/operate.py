"""What is done to hosts after their first day, each by one Ansible action: resize, snapshot, restore, power, golden.

Each reads the topology, holds its lock, and does one thing to hosts that are there; the cloud remains the state.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openstack.exceptions import SDKException
from openstack.image.v2.image import Image

from netorder.analysis.order import start_order
from netorder.cloud import golden as goldens
from netorder.cloud import snapshots as images
from netorder.cloud.change import Change, deletion
from netorder.cloud.delete import delete
from netorder.cloud.errors import translate_errors
from netorder.cloud.observe import Observed, list_servers, observe
from netorder.cloud.power import power as set_power
from netorder.cloud.power import power_changes
from netorder.cloud.preflight import preflight
from netorder.cloud.reconcile import HOSTKEY_TIMEOUT, host_facts, not_allowed, result_of
from netorder.cloud.resize import VERIFY, settle
from netorder.cloud.resize import resize as resize_server
from netorder.cloud.resources.server import METADATA, ServerChange
from netorder.cloud.session import connect
from netorder.cloud.signs import signs
from netorder.cloud.wait import wait_for_servers
from netorder.cloud.waits import WAITS, Waits
from netorder.controller import lock, on_containers, ssh_wait, state
from netorder.controller import ssh as access
from netorder.errors import CloudError, RefusedError, UsageError
from netorder.language.load import load
from netorder.plan.build import build_plan
from netorder.text import count, did_you_mean, table
from netorder.topology import CONTAINERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Progress
    from netorder.cloud.session import Cloud
    from netorder.plan.model import Host, Plan
    from netorder.topology import Topology

__all__ = [
    "SSH_TIMEOUT",
    "golden",
    "golden_images",
    "power",
    "resize",
    "resize_hint",
    "restore",
    "snapshot",
    "snapshots",
]

SSH_TIMEOUT = 180.0  # s, for a guest without KVM to boot


@dataclass(frozen=True, slots=True)
class _Site:
    """One topology in its cloud, for the time of one operation; ``servers`` by host."""

    topology: Topology
    plan: Plan
    cloud: Cloud
    servers: dict[str, Server]
    directory: Path  # of the topology's files

    def host(self, name: str) -> tuple[Host, Server]:
        """Return a host of the plan and its server."""
        host = _planned(self.plan, name)
        server = self.servers.get(name)
        if server is None:
            raise CloudError(f"Host {name} is not in the cloud: run ansible-playbook playbooks/provision.yml.")
        if server.task_state and server.status != VERIFY:
            raise CloudError(
                f"Host {name}: Nova is at work on its server ({server.task_state}). Wait until that has ended, then "
                f"run again (`openstack server show {server.name}`)."
            )
        return host, server

    def ssh(self, host: Host, *command: str) -> list[str]:
        """Return a command over SSH, by a connection of its own: one that is kept open may be of an earlier boot."""
        options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ControlPath=none"]
        return ["ssh", "-F", str(self.directory / "ssh_config"), *options, host.name, *command]

    def unanswered(self, host: Host, seconds: float, *, once: bool = False) -> str:
        """Return why a host does not answer SSH for so long; "" if it does."""
        answer = ssh_wait.wait(
            self.ssh(host, "true"),
            seconds,
            waits=self.cloud.waits,
            host=host.name,
            progress=self.cloud.progress,
            hopeless=lambda _: False,  # a host that boots says all sorts of things
            once=once,
        )
        if not answer.rc:
            return ""
        found = signs(self.cloud, self.plan.topology, host.name)
        behind = None if host.ssh_path else found.floating_ip
        cause = ssh_wait.likely_cause(answer.said, found, sources=(), blocked="", expected=behind)
        return ssh_wait.diagnosis(host.name, answer, cause, found)


def _planned(plan: Plan, name: str) -> Host:
    """Return a host of the plan; UsageError names those that there are."""
    hosts = {host.name: host for host in plan.hosts}
    if name not in hosts:
        near = did_you_mean(name, hosts)
        raise UsageError(
            f"host={name}: topology {plan.topology} has no such host{near or '; it has ' + ', '.join(hosts)}"
        )
    return hosts[name]


@contextmanager
def _site(
    topology: str, files: str, progress: Progress, cloud: str | None, *, check: bool, hosts: Sequence[str] = ()
) -> Iterator[_Site]:
    """Log in to the cloud for an operation on these hosts, which the topology must have."""
    read = load(topology)
    plan = build_plan(read)
    for name in hosts:
        _planned(plan, name)
    cloud = cloud or plan.cloud
    directory = state.directory(Path(files).expanduser().absolute(), cloud, read.name)
    with nullcontext() if check else lock.held(directory.parent, read.name):
        session = connect(progress, cloud)
        session.waits = Waits(directory.parent / WAITS / read.name)
        session.phase = "list"
        with translate_errors():
            found = list_servers(session, read.name)
            servers = {str((one.metadata or {}).get(METADATA["host"])): one for one in found}
            yield _Site(read, plan, session, servers, directory)


def _result(site: _Site, changes: Sequence[Change], start: float, **more: object) -> dict[str, Any]:
    return result_of(site.cloud, changes, {}, start).as_dict() | more


# Power


def power(
    *,
    topology: str,
    files: str,
    state: str,
    progress: Progress,
    hosts: Sequence[str] = (),
    cloud: str | None = None,
    check: bool = False,
    target: str | None = None,
) -> dict[str, Any]:
    """Stop, start or shelve all hosts or these, in the order of what they need; return the Ansible result."""
    if load(topology, target).target == CONTAINERS:
        raise UsageError(on_containers.NO_POWER)
    start = time.monotonic()
    with _site(topology, files, progress, cloud, check=check, hosts=hosts) as site:
        wanted = [*hosts] or [host.name for host in site.plan.hosts]
        servers = {name: site.host(name)[1] for name in wanted}
        changes, problems = power_changes(state, servers.values())
        steps = start_order(site.plan, wanted)
        if state != "started":
            steps.reverse()
        if problems:
            raise RefusedError(result_of(site.cloud, changes, {}, start), *problems)
        differing = {change.id for change in changes}
        todo = [[servers[name] for name in step if servers[name].id in differing] for step in steps]
        todo = [step for step in todo if step]
        lines = [f"step {number}: {', '.join(str(one.name) for one in step)}" for number, step in enumerate(todo, 1)]
        if check:
            return _result(site, changes, start, lines=lines)
        site.cloud.phase = "change"
        for line in lines if len(lines) > 1 else ():
            progress(line)
        set_power(site.cloud, state, todo)
        return _result(site, changes, start)


# Snapshots

# What has a disk of its own; awk is in every image that has a shell.
SYNC = r"""sync && awk '$1 ~ "^/dev/" && !seen[$1]++ {print $2}' /proc/self/mounts"""
SYNC_TIMEOUT = 120.0  # s


def snapshot(
    *,
    topology: str,
    files: str,
    host: str,
    progress: Progress,
    versions: Mapping[str, str] | None = None,
    cloud: str | None = None,
    check: bool = False,
    target: str | None = None,
) -> dict[str, Any]:
    """Make an image of a host, marked as the topology's, with its applications' ``versions``; return the result."""
    if load(topology, target).target == CONTAINERS:
        return on_containers.snapshot(topology, files, host, check=check)
    start = time.monotonic()
    now = datetime.now(UTC)
    with _site(topology, files, progress, cloud, check=check, hosts=[host]) as site:
        planned, server = site.host(host)
        if server.status not in {"ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED"}:
            raise CloudError(
                f"Host {host}: its server is {server.status}: Nova makes no image of that. Start it first."
            )
        name = images.snapshot_name(site.plan.topology, host, now)
        after: dict[str, object] = {"host": host}
        if check:
            return _result(site, [Change("snapshot", name, "create", "asked for", after=after)], start)
        said, warning = _synced(site, planned, server)
        site.cloud.phase = "change"
        known = images.snapshots(site.cloud, site.plan.topology)
        told = goldens.versions_text(versions or {})
        made = images.make(site.cloud, site.plan.topology, host, server, now, versions=told)
        size = images.compared(site.cloud, made, known)
        change = Change("snapshot", made.name, "create", "asked for", after={**after, "size": size, "disk": said})
        lines = [f"snapshot {made.name}: {size}", f"its disk: {said}"]
        lines += [f"its applications: {made.versions}"] if made.versions else []
        return _result(site, [change], start, snapshot=asdict(made), lines=lines, hint=warning)


def _synced(site: _Site, host: Host, server: Server) -> tuple[str, str]:
    """Have the host write what it holds in memory; return what was done, and a warning if that was nothing."""
    with suppress(SDKException):
        made_from = server.image.id if server.image else ""  # none: from a volume
        image: Any = site.cloud.conn.image.get_image(made_from) if made_from else Image()
        if str(image.hw_qemu_guest_agent or "").lower() in {"yes", "true"}:
            must = str((image.properties or {}).get("os_require_quiesce") or "").lower() in {"yes", "true"}
            return (
                "frozen by its guest agent while it was copied"
                if must
                else "frozen while it was copied, if its guest agent answered (os_require_quiesce would insist)"
            ), ""
    if server.status == "SHUTOFF":
        return "of a stopped host, complete", ""
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


def snapshots(
    *,
    topology: str,
    files: str,
    progress: Progress,
    cloud: str | None = None,
    check: bool = False,
    remove: Sequence[str] = (),
    keep: int | None = None,
    hosts: Sequence[str] = (),
    target: str | None = None,
) -> dict[str, Any]:
    """List a topology's snapshots; remove those of these names, or all but the newest of each host."""
    if load(topology, target).target == CONTAINERS:
        return on_containers.snapshots(topology, files, check=check, remove=remove, keep=keep, hosts=hosts)
    start = time.monotonic()
    _check_removal(remove, keep)
    with _site(topology, files, progress, cloud, check=check or (not remove and keep is None)) as site:
        known = images.snapshots(site.cloud, site.plan.topology)
        if unknown := set(hosts) - {one.host for one in known} - {one.name for one in site.plan.hosts}:
            raise UsageError(f"host={','.join(sorted(unknown))}: no host and no snapshot has this name.")
        going: list[images.Snapshot] = []
        problems: list[str] = []
        if remove or keep is not None:
            going, problems = images.removals(known, _in_use(site.cloud), names=remove, keep=keep, hosts=hosts)
        if remove and problems:
            raise CloudError(*problems)
        changes = [deletion("snapshot", one.name, one.id, "asked for") for one in going]
        left = [one for one in known if one not in going and one.host in (hosts or {one.host})]
        if not check:
            delete(site.cloud, site.plan.topology, changes, ())
        rows = [("snapshot", "host", "made", "MiB", "format", "state")]
        rows += [(s.name, s.host, s.time, f"{s.size / images.MIB:.0f}", s.form or "-", s.status) for s in left]
        lines = table(rows, numbers={3}) if left else [f"{site.plan.topology} has no snapshots"]
        return _result(site, changes, start, snapshots=[asdict(one) for one in left], lines=[*problems, *lines])


def restore(
    *,
    topology: str,
    files: str,
    host: str,
    progress: Progress,
    snapshot: str | None = None,
    allow: Sequence[str] = (),
    cloud: str | None = None,
    check: bool = False,
    ssh_key: str | None = None,
    hostkey_timeout: float = HOSTKEY_TIMEOUT,
    ssh_timeout: float = SSH_TIMEOUT,
    target: str | None = None,
) -> dict[str, Any]:
    """Put a snapshot, the newest of the host unless one is named, onto a host's disk; return the Ansible result."""
    if load(topology, target).target == CONTAINERS:
        return on_containers.restore(
            topology, files, host, check=check, snapshot=snapshot, allow=allow, ssh_key=ssh_key
        )
    start = time.monotonic()
    with _site(topology, files, progress, cloud, check=check, hosts=[host]) as site:
        planned, server = site.host(host)
        session, name = site.cloud, site.plan.topology
        chosen = images.find(images.snapshots(session), name, snapshot or host)
        has = str((server.metadata or {}).get(METADATA["image"], ""))
        change = Change(
            "server", str(server.name), "replace", "its disk is lost", {"disk": f"as it is, from {has}"},
            {"disk": f"snapshot {chosen.name}, made {chosen.time}"}, str(server.id),
        )  # fmt: skip
        problems = _restore_problems(planned, server, chosen, name)
        if not check:
            problems += not_allowed([change], allow)
        if problems:
            raise RefusedError(result_of(session, [change], {}, start), *problems)
        if check:
            return _result(site, [change], start, hint="a run needs permission for this: -e allow=replace")
        session.phase = "change"
        stale = str((server.metadata or {}).get(METADATA["hostkey"], ""))
        known = images.restore(session, server, chosen)
        session.phase = "wait"
        running = server.status == "ACTIVE"
        if running and not known and hostkey_timeout > 0:
            alone = replace(site.plan, hosts=(planned,))
            wait_for_servers(session, alone, new=False, timeout=hostkey_timeout, stale={str(server.name): stale})
        observed = observe(session, name)
        key = Path(ssh_key).expanduser().absolute() if ssh_key else site.directory.parent.parent / "id_ed25519"
        facts = host_facts(site.plan, observed, observed.servers, {})
        access.write(site.plan, facts, directory=site.directory, key=key)
        if running and planned.ssh_path is not None and (said := site.unanswered(planned, ssh_timeout)):
            raise CloudError(f"{host} was restored from {chosen.name}. {said}")
        hint = f"The topology may say more than the disk had then: ansible-playbook site.yml --limit localhost,{host}"
        return _result(site, [change], start, hint=hint)


def _restore_problems(host: Host, server: Server, chosen: images.Snapshot, topology: str) -> list[str]:
    """Return why a host cannot have a snapshot."""
    problems = []
    if (chosen.topology, chosen.host) != (topology, host.name):
        problems.append(
            f"Snapshot {chosen.name} is of host {chosen.host} of {chosen.topology}, not of {host.name}. A host from "
            f"another's snapshot is made by the topology file: `image: {{snapshot: {chosen.name}}}`."
        )
    if server.status not in {"ACTIVE", "SHUTOFF"}:
        fix = "site.yml replaces it; restore it then" if server.status == "ERROR" else "start it or stop it first"
        problems.append(f"Host {host.name}: its server is {server.status}: {fix}.")
    disk = int(server.flavor.disk or 0)
    if disk and chosen.min_disk > disk:
        problems.append(
            f"Host {host.name}: snapshot {chosen.name} needs a disk of {chosen.min_disk} GiB, the host's has {disk}. "
            "Resize the host first: playbooks/resize.yml."
        )
    return problems


# Golden images


def golden_hosts(plan: Plan, servers: Mapping[str, Server], wanted: Sequence[str] = ()) -> dict[str, Host]:
    """Return of which host a golden image is made, by its applications ("+" between): of alike ones the first there is.

    Of these ``wanted`` hosts only, if any. Raises UsageError.
    """
    found: dict[str, Host] = {}
    for host in plan.hosts:
        kind = "+".join(one.name for one in host.applications)
        if wanted and host.name not in wanted:
            continue
        if wanted and not kind:
            raise UsageError(
                f"host={host.name} has no application, and golden images are of applications: a snapshot keeps any "
                "host (playbooks/snapshot.yml)."
            )
        if wanted and kind in found:
            raise UsageError(f"host={found[kind].name},{host.name}: both have {kind}; name one of them.")
        if kind and (kind not in found or (found[kind].name not in servers and host.name in servers)):
            found[kind] = host
    if not found:
        raise UsageError(f"Topology {plan.topology} has no application, and golden images are of applications.")
    return found


def golden(
    *,
    topology: str,
    files: str,
    progress: Progress,
    hosts: Sequence[str] = (),
    versions: Mapping[str, Mapping[str, str]] | None = None,
    cloud: str | None = None,
    check: bool = False,
    ssh_key: str | None = None,
) -> dict[str, Any]:
    """Make a golden image of each application, of a host that has it, or of these ``hosts``; return the Ansible result.

    ``versions`` of the applications, by host, are noted.
    """
    start = time.monotonic()
    now = datetime.now(UTC)
    with _site(topology, files, progress, cloud, check=check, hosts=hosts) as site:
        name, session = site.plan.topology, site.cloud
        chosen = golden_hosts(site.plan, site.servers, hosts)
        there = {kind: site.host(host.name) for kind, host in chosen.items()}
        changes = [
            Change(goldens.KIND, goldens.name_of(name, kind, now), "create", "asked for", after={"host": host.name})
            for kind, (host, _) in there.items()
        ]
        problems = _golden_problems(there)
        stale = goldens.remove_leftovers(session, name, check=bool(check or problems))
        if problems:
            raise RefusedError(result_of(session, [*stale, *changes], {}, start), *problems)
        if check:
            return _result(site, [*stale, *changes], start)
        session.phase = "change"
        key = Path(ssh_key).expanduser().absolute() if ssh_key else site.directory.parent.parent / "id_ed25519"
        public = {access.public_key(key, make=False), goldens.key_of(session, name)} - {None}
        made, lines = [], []
        for host, server in there.values():
            began = time.monotonic()
            said, warning = _synced(site, host, server)
            if warning:
                session.say(warning)
            source = _source(name, host, server, sorted(map(str, public)), (versions or {}).get(host.name, {}))
            made.append(goldens.make(session, source, now))
            took = time.monotonic() - began
            lines.append(f"{made[-1].name}: {made[-1].size / images.MIB:.0f} MiB, made of {host.name} in {took:.0f} s")
            lines.append(f"its disk: {said}; cleaned, and booted once")
        return _result(site, [*stale, *changes], start, golden=[asdict(one) for one in made], lines=lines)


def _golden_problems(there: Mapping[str, tuple[Host, Server]]) -> list[str]:
    """Return why of some servers no golden image can be made."""
    problems = [
        f"Host {host.name}: its server is {server.status}: a golden image is made of one that runs, or is stopped."
        for host, server in there.values()
        if server.status not in {"ACTIVE", "SHUTOFF"}
    ]
    return problems + [
        f"Host {host.name} starts from a volume, of which Nova makes no image but a snapshot of the volume: no golden "
        "image can be made of it."
        for host, server in there.values()
        if not (server.image and server.image.id)
    ]


def _source(
    topology: str, host: Host, server: Server, public: Sequence[str], versions: Mapping[str, str]
) -> goldens.Source:
    users = host.server.users if host.server else ()
    return goldens.Source(
        topology=topology,
        host=host.name,
        applications="+".join(one.name for one in host.applications),
        server=server,
        addresses=tuple(host.addresses),
        units=tuple(unit for one in host.applications for unit in one.units),
        ports=tuple(port for one in host.applications for port in one.tcp_ports),
        public_keys=(*public, *(key for user in users for key in user.ssh_authorized_keys)),
        host_key=str((server.metadata or {}).get(METADATA["hostkey"], "")),
        versions=goldens.versions_text(versions),
    )


def golden_images(
    *,
    topology: str,
    files: str,
    progress: Progress,
    cloud: str | None = None,
    check: bool = False,
    remove: Sequence[str] = (),
    keep: int | None = None,
) -> dict[str, Any]:
    """List a topology's golden images; remove those of these names, or all but the newest of each kind."""
    start = time.monotonic()
    _check_removal(remove, keep)
    with _site(topology, files, progress, cloud, check=check or (not remove and keep is None)) as site:
        known = goldens.goldens(site.cloud, site.plan.topology)
        going: list[goldens.Golden] = []
        problems: list[str] = []
        if remove or keep is not None:
            going, problems = goldens.removals(known, _in_use(site.cloud), names=remove, keep=keep)
        if remove and problems:
            raise CloudError(*problems)
        changes = [deletion(goldens.KIND, one.name, one.id, "asked for") for one in going]
        left = [one for one in known if one not in going]
        if not check:
            delete(site.cloud, site.plan.topology, changes, ())
        rows = [("golden image", "of", "host", "made", "MiB", "format", "state", "versions"), *goldens.table_rows(left)]
        lines = table(rows, numbers={4}) if left else [f"{site.plan.topology} has no golden images"]
        return _result(site, changes, start, golden=[asdict(one) for one in left], lines=[*problems, *lines])


def _check_removal(remove: Sequence[str], keep: int | None) -> None:
    if remove and keep is not None:
        raise UsageError("remove= and keep= at the same time: name those that go, or say how many of each stay.")
    if keep is not None and keep < 0:
        raise UsageError(f"keep={keep}: write how many of each stay, 0 or more.")


def _in_use(cloud: Cloud) -> set[str]:
    """Return the ids of the images of which the project's servers are made."""
    servers: Any = cloud.conn.compute.servers()
    return {str(one.image.id) for one in servers if one.image}


# Resize


def resize(
    *,
    topology: str,
    files: str,
    host: str,
    flavor: str,
    progress: Progress,
    cloud: str | None = None,
    check: bool = False,
    ssh_timeout: float = SSH_TIMEOUT,
    target: str | None = None,
) -> dict[str, Any]:
    """Give a host another flavor, whatever its topology file says; return the Ansible result.

    A running host must answer SSH before, and is given its old flavor back if it does not within ``ssh_timeout`` (s)
    after. One that is stopped, or that SSH never reaches, is not asked.
    """
    if load(topology, target).target == CONTAINERS:
        raise UsageError(on_containers.NO_RESIZE)
    start = time.monotonic()
    with _site(topology, files, progress, cloud, check=check, hosts=[host]) as site:
        planned, server = site.host(host)
        has, status = str(server.flavor.original_name), str(server.status)
        hint = resize_hint(site.topology, host, flavor)
        if has == flavor and status != VERIFY:
            return _result(site, (), start, hint=hint)
        if status not in {"ACTIVE", "SHUTOFF", VERIFY}:
            raise CloudError(
                f"Host {host}: its server is {status}: start it or stop it, a server in that state is not resized."
            )
        why = "flavor differs" if has != flavor else "its last resize is not confirmed"
        change = ServerChange(
            "server", str(server.name), "update", why, {"flavor": has}, {"flavor": flavor}, str(server.id),
            host=replace(planned, flavor=flavor), status=status, resize=has != flavor,
        )  # fmt: skip
        asked = planned.ssh_path is not None and status != "SHUTOFF"
        session = site.cloud
        session.phase = "preflight"
        facts, problems = preflight(session, site.plan, Observed(servers=(server,)), [change])
        if asked and status == "ACTIVE" and (said := site.unanswered(planned, ssh_wait.LEAST, once=True)):
            problems.append(
                f"{said}\nWhether it answers with flavor {flavor} would say nothing. Repair that first, or stop it "
                f"(openstack server stop {server.name}): a stopped host is resized without being asked."
            )
        if problems:
            raise RefusedError(result_of(session, [change], {}, start), *problems)
        if check:
            return _result(site, [change], start, hint=hint)
        answers = (lambda: site.unanswered(planned, ssh_timeout)) if asked else None
        if not asked:
            reason = "it is stopped" if status == "SHUTOFF" else "the plan has no SSH path to it"
            session.say(f"{host} is not asked whether it answers with flavor {flavor}: {reason}")
        session.phase = "change"
        if status == VERIFY:
            settle(session, str(server.id), str(server.name), answers)
        if has != flavor:
            new = (flavor, facts.flavors[flavor])
            resize_server(session, str(server.id), str(server.name), new, answers)
        return _result(site, [change], start, hint=hint)


def resize_hint(topology: Topology, name: str, flavor: str) -> str:
    """Return which line of the file still says another flavor, and what to write; "" where it says this one."""
    host = next(one for one in topology.hosts if one.name == name)
    if host.flavor == flavor:
        return ""
    alike = [one for one in topology.hosts if one.flavor_place == host.flavor_place]
    head = f"The topology file says flavor {host.flavor} for {name}, and the next run of site.yml gives it that: "
    if len(alike) > 1:
        return (
            f"{head}{host.flavor_place} is for {count(len(alike), 'host')} alike. Write `flavor: {flavor}` there for "
            f"all of them, or give {name} an entry of its own."
        )
    what = "there" if host.has_flavor else "into its entry there"
    return f"{head}{host.flavor_place}: write `flavor: {flavor}` {what}."
