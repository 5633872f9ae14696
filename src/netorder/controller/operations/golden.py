"""Golden images of configured hosts: make them, list and remove them."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from netorder.cloud import golden as goldens
from netorder.cloud import snapshots as images
from netorder.cloud.change import Change, deletion
from netorder.cloud.delete import delete
from netorder.cloud.reconcile import result_of
from netorder.cloud.resources.server import METADATA
from netorder.controller import ssh as access
from netorder.controller.operations import lacking
from netorder.controller.operations.site import check_removal, opened, result
from netorder.controller.operations.snapshots import synced
from netorder.errors import CloudError, RefusedError, UsageError
from netorder.language.load import load
from netorder.text import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Progress
    from netorder.plan.model import Host, Plan

__all__ = ["golden", "golden_hosts", "golden_images", "golden_problems"]


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
    check: bool = False,
    ssh_key: str | None = None,
    target: str | None = None,
) -> dict[str, Any]:
    """Make a golden image of each application, of a host that has it, or of these ``hosts``; return the Ansible result.

    ``versions`` of the applications, by host, are noted. Raises TopologyError, UsageError, LockedError;
    RefusedError before the first change, CloudError after it.
    """
    read = load(topology, target)
    lacking.require(read.target, "golden")
    start = time.monotonic()
    now = datetime.now(UTC)
    with opened(read, files, progress, check=check, hosts=hosts) as site:
        name, session = site.plan.topology, site.cloud
        chosen = golden_hosts(site.plan, site.servers, hosts)
        there = {kind: site.host(host.name) for kind, host in chosen.items()}
        changes = [
            Change(goldens.KIND, goldens.name_of(name, kind, now), "create", "asked for", after={"host": host.name})
            for kind, (host, _) in there.items()
        ]
        problems = golden_problems(there)
        stale = goldens.remove_leftovers(session, name, check=bool(check or problems))
        if problems:
            raise RefusedError(result_of(session, [*stale, *changes], {}, start), *problems)
        if check:
            return result(site, [*stale, *changes], start)
        session.phase = "change"
        key = site.key(ssh_key)
        public = {access.public_key(key, make=False), goldens.key_of(session, name)} - {None}
        made, lines = [], []
        for host, server in there.values():
            began = time.monotonic()
            said, warning = synced(site, host, server)
            if warning:
                session.say(warning)
            source = _source(name, host, server, sorted(map(str, public)), (versions or {}).get(host.name, {}))
            made.append(goldens.make(session, source, now))
            took = time.monotonic() - began
            lines.append(f"{made[-1].name}: {made[-1].size / images.MIB:.0f} MiB, made of {host.name} in {took:.0f} s")
            lines.append(f"its disk: {said}; cleaned, and booted once")
        # a killed run's last request may have been under way still when its leftovers were listed
        stale += goldens.remove_leftovers(session, name)
        return result(site, [*stale, *changes], start, golden=[asdict(one) for one in made], lines=lines)


def golden_problems(there: Mapping[str, tuple[Host, Server]]) -> list[str]:
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
    check: bool = False,
    remove: Sequence[str] = (),
    keep: int | None = None,
    target: str | None = None,
) -> dict[str, Any]:
    """List a topology's golden images; remove those of these names, or all but the newest of each kind.

    Raises TopologyError, UsageError, LockedError; CloudError, where one is not removed because of its name or use.
    """
    read = load(topology, target)
    lacking.require(read.target, "golden")
    start = time.monotonic()
    check_removal(remove, keep)
    with opened(read, files, progress, check=check or (not remove and keep is None)) as site:
        known = goldens.goldens(site.cloud, site.plan.topology)
        going: list[goldens.Golden] = []
        problems: list[str] = []
        if remove or keep is not None:
            going, problems = goldens.removals(known, images.in_use(site.cloud), names=remove, keep=keep)
        if remove and problems:
            raise CloudError(*problems)
        changes = [deletion(goldens.KIND, one.name, one.id, "asked for") for one in going]
        left = [one for one in known if one not in going]
        if not check:
            delete(site.cloud, site.plan.topology, changes, ())
        rows = [("golden image", "of", "host", "made", "MiB", "format", "state", "versions"), *goldens.table_rows(left)]
        lines = table(rows, numbers={4}) if left else [f"{site.plan.topology} has no golden images"]
        return result(site, changes, start, golden=[asdict(one) for one in left], lines=[*problems, *lines])
