"""Resize a host, whatever its topology file says; and what to write there."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from netorder.cloud.observe import Observed
from netorder.cloud.preflight import preflight
from netorder.cloud.reconcile import result_of
from netorder.cloud.resize import VERIFY, powered_off, settle
from netorder.cloud.resize import resize as resize_server
from netorder.cloud.resources.server import ServerChange
from netorder.controller import ssh_wait
from netorder.controller.operations import lacking
from netorder.controller.operations.site import SSH_TIMEOUT, opened, result
from netorder.errors import CloudError, RefusedError
from netorder.language.load import load
from netorder.text import count

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Progress
    from netorder.plan.model import Host
    from netorder.topology import Topology

__all__ = ["not_asked", "resize", "resize_hint"]


def resize(
    *,
    topology: str,
    files: str,
    host: str,
    flavor: str,
    progress: Progress,
    check: bool = False,
    ssh_timeout: float = SSH_TIMEOUT,
    target: str | None = None,
) -> dict[str, Any]:
    """Give a host another flavor, whatever its topology file says; return the Ansible result.

    A running host must answer SSH before, and is given its old flavor back if it does not within ``ssh_timeout`` (s)
    after. One that is stopped, or that SSH never reaches, is not asked. Raises TopologyError, UsageError, LockedError;
    RefusedError before the first change, CloudError where the cloud fails or the host has its old flavor back.
    """
    read = load(topology, target)
    lacking.require(read.target, "resize")
    start = time.monotonic()
    with opened(read, files, progress, check=check, hosts=[host]) as site:
        planned, server = site.host(host)
        has, status = str(server.flavor.original_name), str(server.status)
        hint = resize_hint(site.topology, host, flavor)
        if has == flavor and status != VERIFY:
            return result(site, (), start, hint=hint)
        if status not in {"ACTIVE", "SHUTOFF", VERIFY}:
            raise CloudError(
                f"Host {host}: its server is {status}: start it or stop it, a server in that state is not resized."
            )
        why = "flavor differs" if has != flavor else "its last resize is not confirmed"
        change = ServerChange(
            "server", str(server.name), "update", why, {"flavor": has}, {"flavor": flavor}, str(server.id),
            host=replace(planned, flavor=flavor), status=status, resize=has != flavor,
        )  # fmt: skip
        unasked = not_asked(planned, server)
        session = site.cloud
        session.phase = "preflight"
        facts, problems = preflight(session, site.plan, Observed(servers=(server,)), [change])
        if not unasked and status == "ACTIVE" and (said := site.unanswered(planned, ssh_wait.LEAST, once=True)):
            problems.append(
                f"{said}\nWhether it answers with flavor {flavor} would say nothing. Repair that first, or stop it "
                f"(openstack server stop {server.name}): a stopped host is resized without being asked."
            )
        if problems:
            raise RefusedError(result_of(session, [change], {}, start), *problems)
        if check:
            return result(site, [change], start, hint=hint)
        answers = None if unasked else (lambda: site.unanswered(planned, ssh_timeout))
        if unasked:
            session.say(f"{host} is not asked whether it answers with flavor {flavor}: {unasked}")
        session.phase = "change"
        if status == VERIFY:
            settle(session, str(server.id), str(server.name), answers)
        if has != flavor:
            new = (flavor, facts.flavors[flavor])
            resize_server(session, str(server.id), str(server.name), new, answers)
        return result(site, [change], start, hint=hint)


def not_asked(planned: Host, server: Server) -> str:
    """Return why a host is not asked whether it answers; "" if it is."""
    if powered_off(server):
        return "it is stopped"
    return "" if planned.ssh_path is not None else "the plan has no SSH path to it"


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
