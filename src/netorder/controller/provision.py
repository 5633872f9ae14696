"""What the Ansible actions netorder_provision and netorder_teardown do, files on the controller included."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from netorder.cloud.change import PERMISSIONS
from netorder.cloud.result import Result
from netorder.cloud.waits import HOSTKEY_TIMEOUT
from netorder.controller import local, lock, state
from netorder.controller import ssh as access
from netorder.controller import timings as times
from netorder.controller.operations import lacking
from netorder.errors import AccessError, CloudError
from netorder.language.load import load
from netorder.plan.build import build_plan
from netorder.topology import OPENSTACK

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from netorder.cloud.change import Progress

__all__ = ["provision", "teardown"]


def provision(
    topology: Path,
    *,
    files: Path,
    progress: Progress,
    ssh_key: Path | None = None,
    check: bool = False,
    allow: Collection[str] = (),
    hostkey_timeout: float = HOSTKEY_TIMEOUT,
    target: str | None = None,
    golden: bool = False,
) -> dict[str, Any]:
    """Make the cloud match the topology file, and write the SSH path under ``files``; return the Ansible result.

    ``allow`` names what may be done to what is in use, "delete", "replace", and what the cloud's policy is known to
    allow, "zero-disk", "fixed-address". ``target`` is one of topology.TARGETS, the topology's own unless it is said.
    ``golden``: new hosts with applications are made of golden images, or nothing is done.

    Raises NetorderError, whose text is for the user: RefusedError where the changes are known and refused.
    """
    if unknown := [word for word in allow if word not in PERMISSIONS]:
        raise CloudError(
            f"allow={','.join(unknown)} is not known: it takes {', '.join(PERMISSIONS)}, with a comma between."
        )
    read = load(topology, target)
    wanted = build_plan(read)
    if golden:
        lacking.require(read.target, "golden")
    files = files.expanduser().absolute()
    key = access.private_key(files, ssh_key)
    if ssh_key and not key.exists():
        raise AccessError(f"SSH key {key} does not exist: set netorder_ssh_key to a private key, or leave it out.")
    directory = state.directory(files, wanted.cloud, wanted.topology)
    with nullcontext() if check else lock.held(directory.parent, wanted.topology):
        public = access.public_key(key, make=not check)
        result: Result
        if read.target in local.LOCAL:
            result = local.reconcile(
                read.target,
                wanted,
                files=files,
                key=public,
                check=check,
                allow=allow,
                hostkey_timeout=hostkey_timeout,
                progress=progress,
            )
        else:
            from netorder.controller import clouds  # noqa: PLC0415 - it loads the SDK, for a second

            result = clouds.reconcile(
                wanted,
                directory=directory,
                key=public,
                check=check,
                allow=allow,
                hostkey_timeout=hostkey_timeout,
                golden_only=golden,
                progress=progress,
            )
        answer = result.as_dict() | ({"golden": True} if golden else {})
        answer["written"] = []
        if not check:
            written = access.write(wanted, result.hosts, directory=directory, key=key)
            answer["written"] = [str(path) for path in written]
            answer["changed"] = result.changed or bool(written)
            if result.timings:
                times.record(answer, directory)
    return answer


def teardown(
    topology: str,
    *,
    files: Path,
    progress: Progress,
    cloud: str | None = None,
    check: bool = False,
    snapshots: str = "keep",
    floating_ips: str = "keep",
    target: str = OPENSTACK,
) -> dict[str, Any]:
    """Delete all that carries the marker of the topology of this name, and its files; return the Ansible result.

    ``snapshots`` of it are kept ("keep") or deleted ("delete"), and so its ``floating_ips`` that are to be kept. Raises
    NetorderError: CloudError names what is left.
    """
    directory = state.directory(files.expanduser().absolute(), cloud, topology)
    with nullcontext() if check else lock.held(directory.parent, topology):
        if target in local.LOCAL:
            changes = local.teardown(
                target, topology, files=files, check=check, snapshots=snapshots == "delete", progress=progress
            )
            result = Result(tuple(changes), requests={"total": 0})
        else:
            from netorder.controller import clouds  # noqa: PLC0415 - as above

            result = clouds.teardown(
                topology,
                cloud,
                directory=directory,
                check=check,
                snapshots=snapshots == "delete",
                floating_ips=floating_ips == "delete",
                progress=progress,
            )
        answer = result.as_dict()
        answer["removed"] = [] if check else [str(p) for p in access.remove(directory)]
        answer["changed"] = bool(result.changes or answer["removed"])
    return answer
