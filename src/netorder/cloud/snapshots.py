"""Snapshots of hosts: images that Nova makes of a server's disk, marked as a topology's in the request that makes them.

An image is a snapshot of ours only while its property says the image's own name: Nova hands all properties of an image
on to servers, and to what others make of those.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from openstack.exceptions import HttpException, NotFoundException, SDKException

from netorder.cloud.errors import explain, translate_errors
from netorder.cloud.idle import failed_action, until_idle
from netorder.cloud.poll import Again, poll
from netorder.cloud.resources.server import METADATA
from netorder.errors import CloudError
from netorder.plan.lifecycle import image_field
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from openstack.compute.v2.server import Server
    from openstack.connection import Connection
    from openstack.image.v2.image import Image

    from netorder.cloud.change import Change
    from netorder.cloud.session import Cloud

__all__ = [
    "KIND",
    "Snapshot",
    "compared",
    "delete",
    "find",
    "in_use",
    "make",
    "mark",
    "removals",
    "restore",
    "snapshot_name",
    "snapshots",
    "upload",
]

KIND = "snapshot"
NAME, TOPOLOGY, HOST = "netorder_snapshot", "netorder_topology", "netorder_host"
TIME, BASE, HOSTKEY = "netorder_time", "netorder_base", "netorder_hostkey"
VERSIONS = "netorder_versions"
# What a mark says that is not known. It is sent: Nova fills in what is not from the image that the server was made of.
UNKNOWN = "-"
# A large disk goes to the image service over the network (s).
SNAPSHOT_TIMEOUT = 3600
SNAPSHOT_POLL = 2.0
# So often in a row Nova may be idle while the image is not ready: the two are told apart by separate requests.
IDLE_MOST = 3
# From this status on (HTTP) it is not known what became of a request.
SERVER_FAILED = 500
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot. ``server`` is the id of the server of which it was made, ``base`` of the image that this had."""

    id: str
    name: str
    topology: str
    host: str
    time: str  # ISO 8601, UTC, by the image service's clock: those of controllers differ
    status: str = "active"
    size: int = 0  # bytes, in the image service
    form: str = ""  # of the disk: qcow2, raw
    min_disk: int = 0  # GiB
    server: str = ""
    base: str = ""
    hostkey: str = ""
    versions: str = ""  # of its applications: sum=VERSION, with commas between


def snapshot_name(topology: str, host: str, now: datetime) -> str:
    """Return the name of a snapshot that is made now (UTC)."""
    return f"{topology}-{host}-{now:%Y%m%dT%H%M%SZ}"


def of_image(image: Image, project: str) -> Snapshot | None:
    """Return the snapshot that an image is; None where it is none of this project's."""
    own = {**(image.properties or {})}
    if own.get(NAME) != image.name or image.owner_id != project:
        return None
    return Snapshot(
        str(image.id),
        str(image.name),
        str(own.get(TOPOLOGY, "")),
        str(own.get(HOST, "")),
        str(image.created_at or own.get(TIME, "")),
        str(image.status),
        int(image.size or 0),
        str(image.disk_format or ""),
        int(image.min_disk or 0),
        str(own.get("instance_uuid") or image.instance_uuid or ""),
        mark(own, BASE),
        mark(own, HOSTKEY),
        mark(own, VERSIONS),
    )


def mark(properties: Mapping[str, object], name: str) -> str:
    """Return what a mark of an image says, "" where it is not known."""
    text = str(properties.get(name, ""))
    return "" if text == UNKNOWN else text


def snapshots(cloud: Cloud, topology: str | None = None) -> list[Snapshot]:
    """List the project's snapshots, of one topology or of all, the oldest first."""
    with translate_errors():
        images: Iterable[Any] = list(cloud.conn.image.images(owner=cloud.project))
    found = [one for image in images if (one := of_image(image, cloud.project))]
    return sorted(
        (one for one in found if topology in {None, one.topology}), key=lambda one: (one.time, one.name, one.id)
    )


def find(known: Sequence[Snapshot], topology: str, wanted: str) -> Snapshot:
    """Return a snapshot by its name, or the newest of the host of this name; CloudError says what there is."""
    named = [one for one in known if one.name == wanted]
    of_host = [one for one in known if (one.topology, one.host, one.status) == (topology, wanted, "active")]
    if not named and not of_host:
        names = few([one.name for one in reversed(known)]) or "none"
        raise CloudError(
            f"There is no snapshot {wanted}, and none of a host of that name that is ready. The newest: {names}. "
            "`ansible-playbook playbooks/snapshots.yml` lists them."
        )
    found = (named or of_host)[-1]
    if found.status != "active":
        raise CloudError(f"Snapshot {found.name} is {found.status}, not ready: wait, or remove it and take another.")
    return found


def make(cloud: Cloud, topology: str, host: str, server: Server, now: datetime, *, versions: str = "") -> Snapshot:
    """Have Nova make a snapshot, and wait until it is whole. Of one that fails nothing is left.

    ``versions`` of its applications are noted. A killed run leaves one that Nova finishes by itself.
    """
    name = snapshot_name(topology, host, now)
    marks = {NAME: name, TOPOLOGY: topology, HOST: host, TIME: f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    marks[BASE] = str((server.image and server.image.id) or "")
    marks[HOSTKEY] = str((server.metadata or {}).get(METADATA["hostkey"], ""))
    marks[VERSIONS] = versions
    unsure = (
        f"Nova may finish {name} nevertheless, so it was left: `netorder snapshots` shows it, active once it is whole. "
        f"If it does not become that, `netorder snapshots --remove {name}`, and take another."
    )
    image = upload(cloud, server, name, marks, f"the snapshot of {host}", unsure=unsure)
    snapshot = of_image(image, cloud.project)
    if snapshot is None:
        raise CloudError(f"Snapshot {name} lacks the properties that mark it: the cloud does not keep what Nova sends.")
    return snapshot


def upload(cloud: Cloud, server: Server, name: str, marks: Mapping[str, str], what: str, *, unsure: str = "") -> Image:
    """Have Nova make an image of a server with these properties, and return it when it is whole.

    Of an upload that fails nothing is left. Where it is not known what becomes of it, the image is, and ``unsure`` is
    said.
    """
    compute, glance = cloud.conn.compute, cloud.conn.image
    with translate_errors():
        given = {key: text or UNKNOWN for key, text in marks.items()}
        made = str(server.create_image(compute, name, given))  # type: ignore[no-untyped-call]
    idle, failed = 0, False
    late = f"Not done after {SNAPSHOT_TIMEOUT} s."

    def check() -> Image | Again[Image]:
        nonlocal idle, failed
        try:
            image: Any = glance.get_image(made)
        except NotFoundException:
            failed = True
            why = failed_action(cloud, str(server.id), "createImage")
            raise CloudError(f"The upload of {name} failed, nothing of it is left: {why}") from None
        if image.status == "active":
            return cast("Image", image)
        found: Any = compute.get_server(server.id)
        idle = 0 if found.task_state else idle + 1
        if image.status not in {"queued", "saving", "importing"} or idle > IDLE_MOST:
            failed = True
            why = failed_action(cloud, str(server.id), "createImage")
            raise CloudError(f"The upload of {name} failed ({image.status}): {why}")
        doing = {"image_snapshot": "the disk is copied", "image_uploading": "it is uploaded"}
        return Again(SNAPSHOT_POLL, (late,), left=doing.get(str(found.task_state), str(image.status)))

    try:
        return poll(cloud, f"{what} to be uploaded", check, SNAPSHOT_TIMEOUT)
    except CloudError as error:
        left = f" {unsure}" if unsure else ""
        if failed or late in error.problems:
            left = ""
            try:
                with translate_errors(), suppress(NotFoundException):
                    glance.delete_image(made, ignore_missing=False)
            except CloudError as second:
                left = f" Remove what is left of it: `openstack image delete {made}`; that failed here: {second}"
        raise CloudError(*error.problems[:-1], f"{error.problems[-1]}{left}") from error


def compared(cloud: Cloud, snapshot: Snapshot, known: Sequence[Snapshot]) -> str:
    """Return its size, beside that of its base image if both have one format, else of the one before it."""
    text = f"{snapshot.size / MIB:.0f} MiB ({snapshot.form})"
    base: Any = None
    with suppress(SDKException):  # it may be gone, or no longer shared
        base = cloud.conn.image.get_image(snapshot.base) if snapshot.base else None
    if base and base.disk_format == snapshot.form:
        return f"{text}; its base image {base.name} has {(base.size or 0) / MIB:.0f} MiB"
    before = [
        one
        for one in known
        if (one.host, one.topology, one.form) == (snapshot.host, snapshot.topology, snapshot.form)
        and one.time < snapshot.time
    ]
    text += f"; the one before it has {before[-1].size / MIB:.0f} MiB" if before else ""
    if base:
        return f"{text}; its base image {base.name} is {base.disk_format}, whose size says nothing beside it"
    return f"{text}; its base image is gone"


def removals(
    known: Sequence[Snapshot],
    used: Collection[str],
    *,
    names: Collection[str] = (),
    keep: int | None = None,
    hosts: Collection[str] = (),
) -> tuple[list[Snapshot], list[str]]:
    """Return which snapshots go, and why others stay that were meant.

    By ``names``; or all but the newest ``keep`` of each host, or of these ``hosts``. ``used`` are the ids of images of
    which servers were made: Nova needs those again, for a resize or a migration.
    """
    problems = [f"There is no snapshot {name}." for name in names if name not in {one.name for one in known}]
    wanted = [one for one in known if one.name in names]
    if keep is not None:
        for host in dict.fromkeys(one.host for one in known if one.host in (hosts or {one.host})):
            whole = [one for one in known if (one.host, one.status) == (host, "active")]
            wanted += whole[: max(len(whole) - keep, 0)]
    stay = [f"Snapshot {one.name} stays: a server is made from it." for one in wanted if one.id in used]
    return [one for one in wanted if one.id not in used], problems + stay


def in_use(cloud: Cloud, going: Collection[str] = ()) -> set[str]:
    """Return the ids of the images of which the project's servers are made; ``going`` are ids of those that go."""
    with translate_errors():
        servers: Any = cloud.conn.compute.servers()
        return {str(one.image.id) for one in servers if one.image and str(one.id) not in going}


def delete(conn: Connection, change: Change) -> None:
    """Delete a snapshot."""
    conn.image.delete_image(change.id, ignore_missing=False)


def restore(cloud: Cloud, server: Server, snapshot: Snapshot, planned: str) -> bool:
    """Put a snapshot onto the server's disk by Nova's rebuild: it keeps its id, ports and flavor.

    Returns whether its host key is known: a disk of this very server has it; onto another server's disk the image
    puts new keys at the next boot, as with every new instance. ``planned`` is the host's image.
    """
    compute: Any = cloud.conn.compute
    own, word = snapshot.server == server.id and snapshot.hostkey, METADATA["hostkey"]
    was = server.metadata or {}
    noted = _image_to_note(server, planned)
    changed = {key: str(was[key]) for key in (*([] if own else [word]), *noted) if key in was}
    with translate_errors():
        # before: whoever is killed after it has no wrong key, and no image that differs
        if noted:
            compute.set_server_metadata(server.id, **noted)
        if word in changed:
            compute.delete_server_metadata(server.id, [word])
        try:
            compute.rebuild_server(server.id, snapshot.id)
        except HttpException as error:
            if not error.status_code or error.status_code >= SERVER_FAILED:
                raise  # it may be under way
            raise CloudError(f"{explain(error)}{_noted_again(cloud, server, changed)}") from error
    found = until_idle(cloud, str(server.id), f"server {server.name} to be rebuilt")
    if not found.image or found.image.id != snapshot.id:
        why = failed_action(cloud, str(server.id), "rebuild")
        said = _noted_again(cloud, server, changed)
        raise CloudError(f"Nova took the rebuild of {server.name} back: {why}{said}")
    if own:
        with translate_errors():
            compute.set_server_metadata(server.id, **{word: snapshot.hostkey})
    return bool(own)


def _image_to_note(server: Server, planned: str) -> dict[str, str]:
    """Return what to note of the image, where only its id, which a rebuild replaces, says that it is the planned one.

    The note is its name then, which the topology file had, or has not at all.
    """
    made_from, word = str((server.image and server.image.id) or ""), METADATA["image"]
    noted = (server.metadata or {}).get(word, planned)
    if image_field(str(noted), planned) != planned and image_field(made_from, planned) == planned:
        return {word: made_from}
    return {}


def _noted_again(cloud: Cloud, server: Server, items: Mapping[str, str]) -> str:
    """Set the metadata of a disk that is still there; return what there is to say where that fails."""
    compute: Any = cloud.conn.compute
    try:
        with translate_errors():
            if items:
                compute.set_server_metadata(server.id, **items)
    except CloudError as error:
        return (
            f" Its metadata ({', '.join(items)}) could not be set again, and a run of site.yml looks for the host key "
            f"on the console: {error}"
        )
    return ""
