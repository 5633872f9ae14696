"""Golden images: of a configured host, cleaned of what was that host's alone, and tried, before hosts are made of them.

The host itself is not touched: Nova makes an image of its disk (the ``part``), a server of that without a network
cleans itself and is made an image, and another server of that tries it. Servers and parts carry a mark of their own, by
which the next run, or a teardown, finds and removes what a killed one left.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openstack.exceptions import ConflictException, NotFoundException

from netorder.cloud import snapshots as images
from netorder.cloud.change import deletion, keypair_name
from netorder.cloud.errors import translate_errors
from netorder.cloud.golden_scripts import SAYS, clean, tried
from netorder.cloud.observe import console_text, fault_text
from netorder.cloud.poll import Again, poll, wait_until_none
from netorder.errors import CloudError
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
    "Golden",
    "Source",
    "delete",
    "find",
    "goldens",
    "leftovers",
    "make",
    "name_of",
    "removals",
    "remove",
]

KIND = "golden image"
# Properties that hold the image's own name, as those that Nova makes of its servers inherit them: what it is, that it
# was tried, that it is only a part.
NAME, TRIED, PART = "netorder_golden", "netorder_tried", "netorder_golden_part"
APPLICATIONS = "netorder_applications"
# Of servers, in their metadata: the topology. Not its marker: they are none of its hosts.
SERVER = "netorder_golden"
# A guest without KVM boots, stops all services and cleans up (s).
TIMEOUT = 1200
POLL = 3.0
NOTED = 255  # characters of a property that Nova sends with an image
_SAID = re.compile(rf"{SAYS} (done|failed: [^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Golden:
    """One golden image, of hosts with these ``applications`` ("+" between); ``tried`` once it has booted."""

    id: str
    name: str
    topology: str
    applications: str
    host: str
    time: str  # ISO 8601, UTC, by the image service's clock
    status: str = "active"
    tried: bool = False
    size: int = 0  # bytes, in the image service
    form: str = ""  # of the disk: qcow2, raw
    base: str = ""
    versions: str = ""  # of its applications


@dataclass(frozen=True, slots=True)
class Source:
    """The host that an image is made of, and what is tried: units and TCP ports, at its addresses.

    ``public_keys`` let somebody in and do not stay; ``host_key`` is its own.
    """

    topology: str
    host: str
    applications: str
    server: Server
    addresses: tuple[str, ...]
    units: tuple[str, ...]
    ports: tuple[int, ...]
    public_keys: tuple[str, ...]
    host_key: str
    versions: str = ""


def name_of(topology: str, applications: str, now: datetime) -> str:
    """Return the name of a golden image that is made now (UTC)."""
    return f"{topology}-golden-{applications}-{now:%Y%m%dT%H%M%SZ}"


def of_image(image: Image, project: str) -> Golden | None:
    """Return the golden image that an image is; None where it is none of this project's."""
    own = {**(image.properties or {})}
    if own.get(NAME) != image.name or image.owner_id != project:
        return None
    return Golden(
        str(image.id),
        str(image.name),
        str(own.get(images.TOPOLOGY, "")),
        str(own.get(APPLICATIONS, "")),
        str(own.get(images.HOST, "")),
        str(image.created_at or own.get(images.TIME, "")),
        str(image.status),
        own.get(TRIED) == image.name,
        int(image.size or 0),
        str(image.disk_format or ""),
        images.mark(own, images.BASE),
        images.mark(own, images.VERSIONS),
    )


def _listed(cloud: Cloud) -> list[Any]:
    with translate_errors():
        return list(cloud.conn.image.images(owner=cloud.project))


def goldens(cloud: Cloud, topology: str | None = None) -> list[Golden]:
    """List the project's golden images, of one topology or of all, the oldest first."""
    found = [one for image in _listed(cloud) if (one := of_image(image, cloud.project))]
    return sorted((one for one in found if topology in {None, one.topology}), key=lambda one: (one.time, one.name))


def find(known: Sequence[Golden], topology: str, wanted: str) -> Golden | None:
    """Return a golden image by its name, or the newest of the topology's hosts with these applications."""
    ready = [one for one in known if one.tried and one.status == "active"]
    named = [one for one in ready if one.name == wanted]
    return next(reversed(named or [o for o in ready if (o.topology, o.applications) == (topology, wanted)]), None)


def missing(known: Sequence[Golden], topology: str, wanted: str, *, base: bool = False) -> str:
    """Say that there is no such golden image, and what there is; ``base``: the topology says what to begin with."""
    mine = dict.fromkeys(one.applications for one in known if one.topology == topology and one.tried)
    begin = (
        "without --golden (golden=true) a run begins" if base else "`base: IMAGE` beside `golden` says what to begin"
    )
    return (
        f"There is no golden image {wanted}. This topology has them of: {few([*mine]) or 'none'}. "
        f"`ansible-playbook playbooks/golden.yml` makes them of configured hosts; {begin} with{' its base' * base}."
    )


def removals(
    known: Sequence[Golden], used: Collection[str], *, names: Collection[str] = (), keep: int | None = None
) -> tuple[list[Golden], list[str]]:
    """Return which golden images go, by name or all but the newest ``keep`` tried ones of each kind.

    And why others stay that were meant.
    """
    problems = [f"There is no golden image {name}." for name in names if name not in {one.name for one in known}]
    wanted = [one for one in known if one.name in names]
    if keep is not None:
        for kind in dict.fromkeys(one.applications for one in known):
            # one that was never tried is what a killed run left: it takes no place of one that hosts are made of
            whole = [one for one in known if one.applications == kind and one.tried and one.status == "active"]
            wanted += whole[: max(len(whole) - keep, 0)]
    stay = [f"Golden image {one.name} stays: a server is made from it." for one in wanted if one.id in used]
    return [one for one in wanted if one.id not in used], problems + stay


def delete(conn: Connection, change: Change) -> None:
    """Delete a golden image."""
    conn.image.delete_image(change.id, ignore_missing=False)


def key_of(cloud: Cloud, topology: str) -> str | None:
    """Return the public key that the topology's hosts were given, None where its key pair is gone."""
    with translate_errors():
        pair: Any = cloud.conn.compute.find_keypair(keypair_name(topology))
    return str(pair.public_key).strip() if pair else None


# What a killed run left


def leftovers(cloud: Cloud, topology: str) -> tuple[list[Any], list[Any]]:
    """Return the servers and the images that are only of use while a golden image is made."""
    with translate_errors():
        servers: Iterable[Any] = list(cloud.conn.compute.servers(name=f"^{re.escape(topology)}-golden-"))
    mine = [one for one in servers if (one.metadata or {}).get(SERVER) == topology]
    parts = []
    for image in _listed(cloud):
        own, golden = image.properties or {}, of_image(image, cloud.project)
        part = own.get(PART) == image.name and own.get(images.TOPOLOGY) == topology
        if image.owner_id == cloud.project and (part or (golden and golden.topology == topology and not golden.tried)):
            parts.append(image)
    return mine, parts


def remove_leftovers(cloud: Cloud, topology: str, *, check: bool = False) -> list[Change]:
    """Remove them, unless it is only to be seen; return the changes, none of which needs permission."""
    servers, parts = leftovers(cloud, topology)
    if not check:
        remove(cloud, servers, parts)
    why = "left by a run that was killed"
    kinds = (("server", servers), ("image", parts))
    return [deletion(kind, str(o.name), str(o.id), why, lossless=True) for kind, them in kinds for o in them]


def remove(cloud: Cloud, servers: Sequence[Any], parts: Sequence[Any]) -> None:
    """Remove servers, and then the images that they were made of."""
    with translate_errors():
        for server in servers:
            with suppress(NotFoundException):
                cloud.conn.compute.delete_server(server.id, ignore_missing=False)
        ids = {str(server.id) for server in servers}
        names = sorted({str(server.name) for server in servers})

        def left() -> list[str]:
            named = "|".join(map(re.escape, names))
            return [str(one.name) for one in cloud.conn.compute.servers(name=f"^({named})$") if one.id in ids]

        if names:
            wait_until_none(cloud, "servers of golden images to be deleted", left)
        for image in parts:
            with suppress(NotFoundException):
                cloud.conn.image.delete_image(image.id, ignore_missing=False)


# Making one


def make(cloud: Cloud, source: Source, now: datetime) -> Golden:
    """Make a golden image and try it. Of one that fails nothing is left."""
    name = name_of(source.topology, source.applications, now)
    part = f"{name}-part"
    made: list[Any] = []
    try:
        cloud.say(f"{name}: an image of {source.host} is made, to be cleaned")
        marks = {PART: part, images.TOPOLOGY: source.topology}
        made.append(images.upload(cloud, source.server, part, marks, f"a copy of {source.host}"))
        cloud.say(f"{name}: a copy of {source.host} without a network cleans itself")
        cleaned = _alone(cloud, source, made[0], clean(source.public_keys), "to clean itself")
        marks = {
            NAME: name,
            APPLICATIONS: source.applications,
            images.TOPOLOGY: source.topology,
            images.HOST: source.host,
            images.TIME: f"{now:%Y-%m-%dT%H:%M:%SZ}",
            images.BASE: str((source.server.image and source.server.image.id) or ""),
            images.VERSIONS: source.versions,
        }
        golden = images.upload(cloud, cleaned, name, marks, f"the golden image of {source.applications}")
        remove(cloud, [cleaned], [made.pop()])
        made.append(golden)
        cloud.say(f"{name}: it is booted once, to try it")
        script = tried(source.host_key, source.addresses, source.units, source.ports)
        remove(cloud, [_alone(cloud, source, golden, script, "to be tried")], [])
        with translate_errors():
            final: Any = cloud.conn.image.update_image(golden.id, **{TRIED: name})
        made.clear()
    except CloudError as error:
        raise CloudError(*error.problems, *_removed(cloud, source, made)) from error
    found = of_image(final, cloud.project)
    if found is None or not found.tried:
        raise CloudError(f"Golden image {name} lacks its properties: the cloud does not keep what Nova sends.")
    return found


def _removed(cloud: Cloud, source: Source, parts: Sequence[Any]) -> list[str]:
    """Remove what a failed one left; return what could not be."""
    try:
        servers, others = leftovers(cloud, source.topology)  # with an image whose upload could not be watched
        remove(cloud, servers, [*{str(one.id): one for one in (*parts, *others)}.values()])
    except CloudError as error:
        return [f"What is left of it, the next run removes: {error}"]
    return []


def _alone(cloud: Cloud, source: Source, image: Any, script: str, what: str) -> Server:  # noqa: ANN401 - the SDK's
    """Return a server of an image, without a network, that has done what the script says, and is off."""
    compute: Any = cloud.conn.compute
    name = f"{source.topology}-golden-{source.applications}"
    with translate_errors():
        flavor = compute.find_flavor(source.server.flavor.original_name, ignore_missing=False)
        server = compute.create_server(
            name=name,
            image_id=image.id,
            flavor_id=flavor.id,
            networks="none",
            config_drive=True,  # metadata comes over networks otherwise
            metadata={SERVER: source.topology},
            user_data=base64.b64encode(script.encode()).decode(),
        )
    asked = False

    def check() -> Server | Again[Server]:
        nonlocal asked
        found: Any = compute.get_server(server.id)
        if found.status == "ERROR":
            raise CloudError(f"Server {name} went to ERROR: {fault_text(found)}")
        said = _SAID.findall(console_text(cloud, found) or "") if found.status in {"ACTIVE", "SHUTOFF"} else []
        if said and said[-1] != "done":
            raise CloudError(f"Of {source.host} no golden image can be made: {said[-1].removeprefix('failed: ')}.")
        if found.status == "SHUTOFF" and not found.task_state:  # by itself, which it does when it is done
            return found  # type: ignore[no-any-return]
        if said and not asked and found.status == "ACTIVE":  # Nova would hear of it by itself, but only after a while
            asked = True
            with suppress(ConflictException):
                compute.stop_server(found.id)
        why = "it said nothing on its console: user data is run by cloud-init or its like, is that in the image?"
        late = f"{name} did not end after {TIMEOUT} s: {'it said ' + said[-1] if said else why}"
        doing = "it shuts down" if said else str(found.task_state or found.status).lower()
        return Again(POLL, (late,), left=doing)

    return poll(cloud, f"a copy of {source.host} {what}", check, TIMEOUT)


def table_rows(known: Iterable[Golden]) -> list[tuple[str, ...]]:
    """Return golden images as rows of a table."""
    return [
        (one.name, one.applications, one.host, one.time, f"{one.size / images.MIB:.0f}", one.form or "-",
         one.status if one.tried or one.status != "active" else "not tried", one.versions or "-")
        for one in known
    ]  # fmt: skip


def versions_text(versions: Mapping[str, str]) -> str:
    """Write versions of applications as a property of an image, as many as it holds."""
    text = ",".join(f"{name}={version}" for name, version in sorted(versions.items()) if version)
    return text if len(text) <= NOTED else f"{text[: NOTED - 3].rpartition(',')[0]},..."
