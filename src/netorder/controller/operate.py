"""What is done to hosts after their first day, each by one Ansible action: resize.

Each reads the topology, holds its lock, and does one thing to hosts that are there; the cloud remains the state.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netorder.cloud.errors import translate_errors
from netorder.cloud.observe import Observed, list_servers
from netorder.cloud.preflight import preflight
from netorder.cloud.reconcile import result_of
from netorder.cloud.resize import VERIFY, settle
from netorder.cloud.resize import resize as resize_server
from netorder.cloud.resources.server import METADATA, ServerChange
from netorder.cloud.session import connect
from netorder.cloud.signs import signs
from netorder.cloud.waits import WAITS, Waits
from netorder.controller import lock, ssh_wait
from netorder.errors import CloudError, RefusedError, UsageError
from netorder.language.load import load
from netorder.plan.build import build_plan
from netorder.text import count, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Change, Progress
    from netorder.cloud.session import Cloud
    from netorder.plan.model import Host, Plan
    from netorder.topology import Topology

__all__ = ["SSH_TIMEOUT", "resize", "resize_hint"]

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
def _site(topology: str, files: str, progress: Progress, cloud: str | None, *, check: bool) -> Iterator[_Site]:
    read = load(topology)
    plan = build_plan(read)
    directory = Path(files).expanduser().absolute()
    with nullcontext() if check else lock.held(directory, read.name):
        session = connect(progress, cloud)
        session.waits = Waits(directory / WAITS / read.name)
        session.phase = "list"
        with translate_errors():
            found = list_servers(session, read.name)
            servers = {str((one.metadata or {}).get(METADATA["host"])): one for one in found}
            yield _Site(read, plan, session, servers, directory / read.name)


def _result(site: _Site, changes: Sequence[Change], start: float, **more: object) -> dict[str, Any]:
    return result_of(site.cloud, changes, {}, start).as_dict() | more


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
) -> dict[str, Any]:
    """Give a host another flavor, whatever its topology file says; return the Ansible result.

    A running host must answer SSH before, and is given its old flavor back if it does not within ``ssh_timeout`` (s)
    after. One that is stopped, or that SSH never reaches, is not asked.
    """
    start = time.monotonic()
    with _site(topology, files, progress, cloud, check=check) as site:
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
            target = (flavor, facts.flavors[flavor])
            resize_server(session, str(server.id), str(server.name), target, answers)
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
