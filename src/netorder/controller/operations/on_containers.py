"""Operations on hosts of the target `containers`: snapshot, restore."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netorder.cloud.change import Change, deletion
from netorder.cloud.result import Result, not_allowed
from netorder.containers import engine
from netorder.containers import snapshots as images
from netorder.containers import target as containers
from netorder.controller import lock, state
from netorder.controller import ssh as access
from netorder.controller.operations.site import planned_host
from netorder.errors import CloudError, RefusedError
from netorder.plan.build import build_plan
from netorder.text import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netorder.plan.model import Plan
    from netorder.topology import Topology

__all__ = ["restore", "snapshot", "snapshots"]

MIB = 1024**2


@contextmanager
def _plan(read: Topology, files: str, *, check: bool) -> Iterator[Plan]:
    plan = build_plan(read)
    engine.check_engine()
    with nullcontext() if check else lock.held(_directory(plan, files).parent, plan.topology):
        yield plan


def _directory(plan: Plan, files: str) -> Path:
    return state.directory(Path(files).expanduser().absolute(), plan.cloud, plan.topology)


def _container(plan: Plan, host: str) -> engine.Container:
    planned_host(plan, host)
    found = [one for one in engine.containers(plan.topology) if one.host == host]
    if not found:
        raise CloudError(f"Host {host} has no container: run ansible-playbook playbooks/provision.yml.")
    return found[0]


def _result(changes: Sequence[Change], start: float, **more: object) -> dict[str, Any]:
    seconds = round(time.monotonic() - start, 3)
    return Result(tuple(changes), requests={"total": 0}, seconds=seconds).as_dict() | more


def snapshot(read: Topology, files: str, host: str, *, check: bool) -> dict[str, Any]:
    """Save a host's container as an image; return the Ansible result.

    Raises UsageError, LockedError, CloudError.
    """
    start = time.monotonic()
    with _plan(read, files, check=check) as plan:
        container = _container(plan, host)
        name = images.snapshot_name(host, datetime.now(UTC))
        change = Change("snapshot", name, "create", "asked for", after={"host": host})
        if check:
            return _result([change], start)
        made = images.make(plan.topology, container, name)
        lines = [f"snapshot {made.name}: {made.size / MIB:.0f} MiB, with the image that {host} was made from"]
        return _result([change], start, snapshot=asdict(made), lines=lines)


def snapshots(
    read: Topology, files: str, *, check: bool, remove: Sequence[str], keep: int | None, hosts: Sequence[str]
) -> dict[str, Any]:
    """List a topology's snapshots; remove those of these names, or all but the newest of each host.

    Raises LockedError; CloudError, also where there is no snapshot of such a name.
    """
    start = time.monotonic()
    with _plan(read, files, check=check) as plan:
        known = images.snapshots(plan.topology)
        if unknown := set(remove) - {one.name for one in known}:
            raise CloudError(f"remove={','.join(sorted(unknown))}: there is no such snapshot")
        of = {one.host: [other for other in known if other.host == one.host] for one in known}
        old = [one for its in of.values() for one in its[: max(0, len(its) - keep)]] if keep is not None else []
        going = [one for one in known if one.name in remove or (one in old and one.host in (hosts or of))]
        for one in going if not check else ():
            images.remove(plan.topology, one.name)
        left = [one for one in known if one not in going and one.host in (hosts or of)]
        rows = [("snapshot", "host", "made", "MiB")]
        rows += [(one.name, one.host, one.time, f"{one.size / MIB:.0f}") for one in left]
        lines = table(rows, numbers={3}) if left else [f"{plan.topology} has no snapshots"]
        changes = [deletion("snapshot", one.name, one.id, "asked for") for one in going]
        return _result(changes, start, snapshots=[asdict(one) for one in left], lines=lines)


def restore(
    read: Topology,
    files: str,
    host: str,
    *,
    check: bool,
    snapshot: str | None,
    allow: Sequence[str],
    ssh_key: str | None,
) -> dict[str, Any]:
    """Make a host's container anew from a snapshot of it, the newest unless one is named; return the Ansible result.

    Raises UsageError, LockedError, AccessError; RefusedError before the first change, CloudError after it.
    """
    start = time.monotonic()
    with _plan(read, files, check=check) as plan:
        container = _container(plan, host)
        chosen = images.find(plan.topology, snapshot or host)
        before, after = {"disk": "as it is"}, {"disk": f"snapshot {chosen.name}, made {chosen.time}"}
        change = Change("server", container.name, "replace", "its disk is lost", {**before}, {**after}, container.id)
        problems = [] if check else not_allowed([change], allow)
        if chosen.host != host:
            problems.append(f"Snapshot {chosen.name} is of host {chosen.host}, not of {host}.")
        if problems:
            raise RefusedError(Result((change,), requests={"total": 0}), *problems)
        if check:
            return _result([change], start, hint="a run needs permission for this: -e allow=replace")
        key = access.private_key(Path(files).expanduser().absolute(), ssh_key)
        public = access.public_key(key, make=True)
        containers.make_anew(plan, container, public or "", image=chosen.id)
        result = containers.reconcile(plan, key=public, check=True, progress=lambda _: None)
        access.write(plan, result.hosts, directory=_directory(plan, files), key=key)
        hint = f"The topology may say more than the disk had then: ansible-playbook site.yml --limit localhost,{host}"
        return _result([change], start, hint=hint)
