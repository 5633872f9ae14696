"""A topology in its cloud for the time of one operation: what is there, and how its hosts are asked."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netorder.cloud.errors import translate_errors
from netorder.cloud.observe import list_servers
from netorder.cloud.reconcile import result_of
from netorder.cloud.resize import VERIFY
from netorder.cloud.resources.server import METADATA
from netorder.cloud.session import connect
from netorder.cloud.signs import signs
from netorder.cloud.waits import Waits
from netorder.controller import lock, ssh_wait, state
from netorder.controller import ssh as access
from netorder.errors import CloudError, UsageError
from netorder.plan.build import build_plan
from netorder.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Change, Progress
    from netorder.cloud.session import Cloud
    from netorder.plan.model import Host, Plan
    from netorder.topology import Topology

__all__ = ["SSH_TIMEOUT", "Site", "check_removal", "opened", "planned_host", "result"]

SSH_TIMEOUT = 180.0  # s, for a guest without KVM to boot


@dataclass(frozen=True, slots=True)
class Site:
    """One topology in its cloud, for the time of one operation; ``servers`` by host."""

    topology: Topology
    plan: Plan
    cloud: Cloud
    servers: dict[str, Server]
    files: Path  # of all topologies
    directory: Path  # of the topology's

    def host(self, name: str) -> tuple[Host, Server]:
        """Return a host of the plan and its server. Raises UsageError; CloudError: not there, or not at rest."""
        host = planned_host(self.plan, name)
        server = self.servers.get(name)
        if server is None:
            raise CloudError(f"Host {name} is not in the cloud: run ansible-playbook playbooks/provision.yml.")
        if server.task_state and server.status != VERIFY:
            raise CloudError(
                f"Host {name}: Nova is at work on its server ({server.task_state}). Wait until that has ended, then "
                f"run again (`openstack server show {server.name}`)."
            )
        return host, server

    def key(self, named: str | None) -> Path:
        """Return the private key for the hosts: the one that is named, or the one for all topologies."""
        return access.private_key(self.files, named)

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


def planned_host(plan: Plan, name: str) -> Host:
    """Return a host of the plan; UsageError names those that there are."""
    hosts = {host.name: host for host in plan.hosts}
    if name not in hosts:
        near = did_you_mean(name, hosts)
        raise UsageError(
            f"host={name}: topology {plan.topology} has no such host{near or '; it has ' + ', '.join(hosts)}"
        )
    return hosts[name]


@contextmanager
def opened(read: Topology, files: str, progress: Progress, *, check: bool, hosts: Sequence[str] = ()) -> Iterator[Site]:
    """Log in for an operation on these hosts. Raises UsageError (an unknown host), LockedError, CloudError."""
    plan = build_plan(read)
    for name in hosts:
        planned_host(plan, name)
    root = Path(files).expanduser().absolute()
    directory = state.directory(root, plan.cloud, read.name)
    with nullcontext() if check else lock.held(directory.parent, read.name):
        session = connect(progress, plan.cloud)
        session.waits = Waits.of(directory)
        session.phase = "list"
        with translate_errors():
            found = list_servers(session, read.name)
            servers = {str((one.metadata or {}).get(METADATA["host"])): one for one in found}
            yield Site(read, plan, session, servers, root, directory)


def result(site: Site, changes: Sequence[Change], start: float, **more: object) -> dict[str, Any]:
    """Return the Ansible result of changes, with ``more``; ``start`` is of the monotonic clock."""
    return result_of(site.cloud, changes, {}, start).as_dict() | more


def check_removal(remove: Sequence[str], keep: int | None) -> None:
    """Raise UsageError where it is not clear which images are to go."""
    if remove and keep is not None:
        raise UsageError("remove= and keep= at the same time: name those that go, or say how many of each stay.")
    if keep is not None and keep < 0:
        raise UsageError(f"keep={keep}: write how many of each stay, 0 or more.")
