"""Servers, and the host keys that are known of them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from openstack import utils

from netorder.cloud.change import Change, keypair_name
from netorder.cloud.errors import translate_errors
from netorder.cloud.idle import failed_action, until_idle
from netorder.cloud.jobs import Job, bound, gather, ignore_not_found, run
from netorder.cloud.observe import fault_text, list_servers
from netorder.cloud.poll import wait_until_none
from netorder.cloud.resize import VERIFY, powered_off, resize, settle
from netorder.cloud_init import merged
from netorder.errors import CloudError
from netorder.ip import IPV4
from netorder.plan.lifecycle import changed_fields, image_field, server_fields
from netorder.plan.model import Server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openstack.compute.v2.server import Server as CloudServer
    from openstack.connection import Connection

    from netorder.cloud.draft import Draft
    from netorder.cloud.work import Work
    from netorder.plan.model import Host, Plan

__all__ = [
    "IN_MOTION",
    "KIND",
    "METADATA",
    "ServerChange",
    "compare",
    "create_body",
    "creations",
    "delete",
    "first_boot",
    "hard_reboot",
    "has_run",
    "is_off",
    "items_of_metadata",
    "needs_config_drive",
    "unplug",
    "updates",
    "user_data",
]

KIND = "server"
# Server metadata that this project sets; the host key is added when the console log shows it. Of user data and users
# it notes digests, of the file's own metadata and tags which they are, if there are any.
METADATA = {
    "topology": "netorder_topology",
    "host": "netorder_host",
    "image": "netorder_image",
    "hostkey": "netorder_hostkey",
    "user_data": "netorder_user_data",
    "users": "netorder_users",
    "metadata": "netorder_metadata",
    "tags": "netorder_tags",
    "power": "netorder_power",
}
_NOTES = frozenset(METADATA[name] for name in ("user_data", "users", "metadata", "tags", "power"))
# In which a server may be on purpose, if its metadata says so.
OFF = frozenset({"SHUTOFF", "SHELVED", "SHELVED_OFFLOADED"})
# What to call on a server that is not ACTIVE but can be brought back.
REVIVE = {"SHUTOFF": "start_server", "PAUSED": "unpause_server", "SUSPENDED": "resume_server"}
# In these Nova resizes no server, and plugs nothing into a suspended one: it goes on first.
FROZEN = {"PAUSED": "unpause", "SUSPENDED": "resume"}
RESIZING = frozenset({"RESIZE", "REVERT_RESIZE"})
# States that end by themselves.
IN_MOTION = frozenset({"BUILD", "REBUILD", "REBOOT", "HARD_REBOOT", "MIGRATING"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChange(Change):
    """A server to create, replace or update.

    ``user_data`` is what a new one does at its first boot, ``config_drive`` whether it gets that, ``server_group`` the
    cloud's name of its group. Of one that stays:
    ``status`` as it was observed; ``items`` of metadata to set, or (None) to delete; ``tags`` to add (True) or remove;
    ``unplug`` are ports, (id, name), to take out of it before anything is deleted, ``plug`` those to put in, by name;
    ``resize`` to the host's flavor; ``off`` if one that is stopped is not to run.
    """

    host: Host
    user_data: str | None = None
    config_drive: bool = False
    server_group: str = ""
    status: str = "ACTIVE"
    resize: bool = False
    items: tuple[tuple[str, str | None], ...] = ()
    tags: tuple[tuple[str, bool], ...] = ()
    off: bool = False
    unplug: tuple[tuple[str, str], ...] = ()
    plug: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[str, ...]:
        """The names of all its ports in the cloud."""
        return tuple(port.cloud_name for port in self.host.ports)


# Comparison


def compare(draft: Draft) -> None:
    """Compare the servers of all hosts, when it is known which ports go."""
    replaced = {change.id for change in draft.changes if change.kind == "port" and change.action == "replace"}
    groups = {group.name: group.cloud_name for group in draft.plan.server_groups}
    for host in draft.plan.hosts:
        found = draft.chosen.servers.get(host.cloud_name)
        its = host.server or Server()
        drive = its.config_drive or needs_config_drive(draft.plan, host)
        boot = user_data(draft.plan, host)
        group = groups.get(its.server_group or "", "")
        change = partial(
            ServerChange, KIND, host.cloud_name, host=host, user_data=boot, config_drive=drive, server_group=group
        )
        names = ", ".join(port.cloud_name for port in host.ports)
        after: dict[str, object] = {"image": host.image, "flavor": host.flavor, "port": names}
        after |= {name: value for name, value in its.fields.items() if value}
        after |= {"config_drive": True} if drive else {}
        if not found:
            _refuse_held_ports(draft, host)
            draft.add(change("create", "missing", after=after))
        elif found.status == "ERROR" or found.task_state == "deleting":
            why = f"is in ERROR: {fault_text(found)}" if found.status == "ERROR" else "is being deleted"
            lost = found.task_state != "deleting" and has_run(found)  # its disk is most likely as it was
            why += f" It has run: {hard_reboot(found)}; a replacement loses it" if lost else ""
            draft.add(change("replace", why, {"status": found.status}, after, found.id, lossless=not lost))
        elif _compare_fields(draft, host, found, change, replaced) and not is_off(found):
            _compare_host_key(draft, found)


def is_off(server: CloudServer) -> bool:
    """Return whether a server does not run, on purpose (netorder.cloud.power)."""
    return server.status in OFF and _noted_as_off(server)


def _noted_as_off(server: CloudServer) -> bool:
    return METADATA["power"] in (server.metadata or {})


def has_run(server: CloudServer) -> bool:
    """Return whether a server ever ran, so that its disk may hold something, whatever became of it since."""
    return bool(server.launched_at) or METADATA["hostkey"] in (server.metadata or {})


def hard_reboot(server: CloudServer) -> str:
    """Say what may bring back a server in ERROR that ran; only administrators may just set its state."""
    return f"`openstack server reboot --hard {server.name}` may bring it back with its disk"


def _compare_host_key(draft: Draft, found: CloudServer) -> None:
    if draft.host_keys and METADATA["hostkey"] not in (found.metadata or {}):
        after: dict[str, object] = {"hostkey": "(from the console log)"}
        draft.add(Change("host key", found.name, "create", "not known yet", after=after, id=found.id))


def _refuse_held_ports(draft: Draft, host: Host) -> None:
    for name in (port.cloud_name for port in host.ports):
        port = draft.chosen.ports.get(name)
        if port and port.device_id and not draft.server_goes(port.device_id):
            draft.refuse(
                "port",
                "holder",
                f"Host {host.name}: its port {name} is held by {port.device_id}, which is no server of this "
                f"topology (it lacks the tag netorder:{draft.plan.topology}). Delete it or detach the port.",
            )


def _compare_fields(
    draft: Draft, host: Host, found: CloudServer, change: partial[ServerChange], replaced: set[str]
) -> bool:
    """Compare image, state, flavor and ports; return whether the server stays, and is in no state that is refused.

    ``replaced`` are the ids of the ports that are replaced, which the server loses.
    """
    mine = draft.ports_of.get(found.id, [])
    keeps = [port for port in mine if port.id not in replaced]
    has, planned = _fields(host, found, [port.name for port in keeps if draft.chosen.ports[port.name] is port])
    stays = {"ACTIVE", VERIFY, *REVIVE, *IN_MOTION}
    off = is_off(found)
    if found.status not in stays and has["image"] == planned["image"] and (not off or changed_fields(has, planned)):
        todo = "wait until that has ended, then run again" if found.status in RESIZING else "finish or undo that first"
        problem = f"Host {host.name}: server {found.name} is in state {found.status}: {todo}."
        problem += " What was shelved on purpose: playbooks/power.yml -e state=started." if off else ""
        draft.refuse(KIND, "state", problem)
        return False
    _declared(draft, host, found, has, planned)
    differing = changed_fields(has, planned)
    names = [port.cloud_name for port in host.ports]
    attached = {port.name for port in keeps}
    change = partial(
        change,
        status=str(has["status"]),
        resize="flavor" in differing,
        items=_items(host, found) if "metadata" in differing or "tags" in differing else (),
        tags=_tags(host, found) if "tags" in differing else (),
        off=off or (found.status == VERIFY and _noted_as_off(found)),
        unplug=tuple((port.id, port.name) for port in mine if port.id in draft.going or port.name not in names),
        plug=tuple(name for name in names if name not in attached),
    )
    return draft.differ(change, KIND, has, planned, id=found.id)


def _fields(host: Host, found: CloudServer, ports: list[str]) -> tuple[dict[str, object], dict[str, object]]:
    """Return what the server has, with these ports, and what is planned."""
    made_from = str(getattr(found.image, "id", None) or "")
    image = (found.metadata or {}).get(METADATA["image"], host.image)
    if image_field(made_from, host.image) == host.image:  # named by its id now, and by its name before
        image = host.image
    image = image_field(str(image), host.image)
    flavor = found.flavor.original_name if found.flavor else host.flavor
    has: dict[str, object] = {"image": image, "status": found.status, "flavor": flavor}
    status = str(found.status) if is_off(found) else "ACTIVE"
    if found.status == VERIFY and _noted_as_off(found) and powered_off(found):
        status = "SHUTOFF"
    planned: dict[str, object] = {"image": host.image, "status": status, "flavor": host.flavor}
    if found.status in IN_MOTION:
        has["status"] = "ACTIVE"
    else:  # one that is still being built has its ports only later
        has["ports"] = sorted(ports)
        planned["ports"] = sorted(port.cloud_name for port in host.ports)
    return has, planned


def _declared(draft: Draft, host: Host, found: CloudServer, has: dict[str, object], planned: dict[str, object]) -> None:
    """Add what the topology says of how the server is started, and what the server has of that."""
    wanted, metadata = (host.server or Server()).fields, found.metadata or {}
    there = {
        # a server that no compute host has taken yet is in no zone
        "availability_zone": found.availability_zone or wanted["availability_zone"],
        "server_group": draft.server_groups.get(found.id),
        "user_data": metadata.get(METADATA["user_data"]),
        "users": metadata.get(METADATA["users"]),
        "config_drive": bool(found.has_config_drive),
    }
    if found.status not in IN_MOTION:  # Nova takes neither while it is at work
        declared = dict((host.server or Server()).metadata)
        mine = sorted({*_noted(found, "metadata"), *declared} & metadata.keys())
        there["metadata"] = [f"{key}={metadata[key]}" for key in mine]
        there["tags"] = sorted({*_noted(found, "tags"), *cast("list[str]", wanted["tags"])}.intersection(found.tags))
    old, new = server_fields(there, {name: wanted[name] for name in there})
    has |= old
    planned |= new


def _noted(found: CloudServer, what: str) -> list[str]:
    """Return which metadata or tags of a server are the file's, by the item that notes them."""
    return [word for word in str((found.metadata or {}).get(METADATA[what], "")).split(",") if word]


def _notes(host: Host) -> dict[str, str]:
    """Return the items of metadata that come of what the file says."""
    its = host.server or Server()
    fields = its.fields
    notes = {METADATA[name]: str(fields[name]) for name in ("user_data", "users") if fields[name]}
    notes |= {METADATA["metadata"]: ",".join(key for key, _ in its.metadata)} if its.metadata else {}
    notes |= {METADATA["tags"]: ",".join(its.tags)} if its.tags else {}
    return notes


def items_of_metadata(host: Host) -> int:
    """Return how many items of metadata a host's server has, the host key too."""
    mine = [name for name in METADATA.values() if name not in _NOTES]
    return len(mine) + len(_notes(host)) + len((host.server or Server()).metadata)


def _items(host: Host, found: CloudServer) -> tuple[tuple[str, str | None], ...]:
    """Return which items of metadata of a server that stays are set, and which (None) deleted."""
    has, notes = found.metadata or {}, _notes(host)
    wanted = dict((host.server or Server()).metadata)
    going = {key for key in _noted(found, "metadata") if key in has and key not in wanted}
    going |= {METADATA[name] for name in ("metadata", "tags") if METADATA[name] in has and METADATA[name] not in notes}
    items: dict[str, str | None] = {key: value for key, value in (wanted | notes).items() if has.get(key) != value}
    return tuple((items | dict.fromkeys(sorted(going))).items())


def _tags(host: Host, found: CloudServer) -> tuple[tuple[str, bool], ...]:
    wanted, has = (host.server or Server()).tags, found.tags or ()
    going = [tag for tag in _noted(found, "tags") if tag in has and tag not in wanted]
    return (*((tag, True) for tag in wanted if tag not in has), *((tag, False) for tag in going))


def needs_config_drive(plan: Plan, host: Host) -> bool:
    """Return whether metadata may be out of reach of a host: on a network where no router gives it by IPv4.

    Or one without DHCP. One such network is enough: which interface an image asks by is its own choice.
    """
    routed = {n.name for n in plan.networks for s in n.subnets if s.version == IPV4 and s.gateway_ip and s.dhcp}
    return any(port.network not in routed for port in host.ports)


FIRST_BOOT = """\
#!/bin/sh
# One default gateway: DHCP names one on every interface, and the interface that is up first would win. The role
# host_network writes this down for later boots; until it comes, this keeps the path to this host open.
for try in $(seq 60); do
  left=
  for address in {addresses}; do
    interface=$(ip -o -4 address show to "$address" | awk '{{print $2; exit}}')
    [ -n "$interface" ] && ip route del default dev "$interface" 2>/dev/null
    [ -n "$interface" ] || left=yes
  done
  [ -n "$left" ] || [ "$try" -lt 10 ] || break
  sleep 2
done
"""


def first_boot(plan: Plan, host: Host) -> str | None:
    """Return the script that a host with a gateway on more than one interface runs at its first boot; else None."""
    gateways = {
        network.name: subnet.gateway_ip
        for network in plan.networks
        for subnet in network.subnets
        if subnet.version == IPV4
    }
    declared = not any(":" not in one and one in gateways.values() for one in host.gateways)
    first = next((port for port in host.ports if declared and gateways.get(port.network)), None)
    others = [
        address
        for port in host.ports
        for address in port.addresses
        # where a host is the gateway, the role changes it: until then the router's leads here
        if ":" not in address and gateways.get(port.network) and gateways[port.network] not in host.gateways
        if port is not first
    ]
    return FIRST_BOOT.format(addresses=" ".join(others)) if others else None


def user_data(plan: Plan, host: Host) -> str | None:
    """Return all that cloud-init is given for a host: the topology's, and our script, which runs before its own."""
    boot = first_boot(plan, host)
    parts = (host.server or Server()).user_data_parts
    return merged([*parts, *([("00-netorder", boot)] if boot else [])])


# Requests


def create_body(work: Work, change: ServerChange) -> dict[str, Any]:
    """Return the fields of a create request."""
    host, topology = change.host, work.changes.topology
    image_id, image = work.facts.images[host.image]
    body: dict[str, Any] = {
        "name": host.cloud_name,
        "image_id": image_id,
        "flavor_id": work.facts.flavors[host.flavor],
        "key_name": work.facts.key_pair or keypair_name(topology),
        "networks": [{"port": work.ids.ports[name]} for name in change.ports],
        "metadata": {METADATA["topology"]: topology, METADATA["host"]: host.name, METADATA["image"]: image},
        "tags": [work.mark],
    }
    if its := host.server:
        body["metadata"] |= dict(its.metadata) | _notes(host)
        body["tags"] += its.tags
        if its.availability_zone:
            body["availability_zone"] = its.availability_zone
        if change.server_group:
            body["scheduler_hints"] = {"group": work.ids.server_groups[change.server_group]}
    if change.config_drive:
        body["config_drive"] = True
    if change.user_data:
        body["user_data"] = base64.b64encode(change.user_data.encode()).decode()
    return body


def creations(work: Work) -> Iterable[Job]:
    """Create servers one by one, when their ports are there."""

    def create(change: ServerChange) -> None:
        body = create_body(work, change)
        if utils.supports_microversion(work.conn.compute, "2.90"):
            body["hostname"] = change.host.name
        work.conn.compute.create_server(**body)

    for change in work.changes.of(ServerChange, "create", "replace"):
        needs = frozenset({"key pair", "server groups", *work.batches(change.ports)})
        yield Job(KIND, (change.name,), "create", bound(create, change), needs)


def updates(work: Work) -> Iterable[Job]:
    """Update servers one by one, when their ports are there."""
    for change in work.changes.of(ServerChange, "update"):
        yield Job(KIND, (change.name,), "update", bound(_update, work, change), work.batches(change.ports))


def _update(work: Work, change: ServerChange) -> None:
    """Plug the ports that are missing, change the flavor, start what does not run; that it runs is waited for later.

    What of metadata and tags is the file's, and goes, goes before the note of it does, and what comes is noted first.
    """
    compute: Any = work.conn.compute
    status = _ready(work, change)
    stopped = bool(change.unplug) and status == "ACTIVE"  # by unplug
    for tag in [tag for tag, wanted in change.tags if not wanted]:
        ignore_not_found(compute.remove_tag_from_server, change.id, quote(tag, safe=""))
    for key in [key for key, value in change.items if value is None]:
        ignore_not_found(compute.delete_server_metadata, change.id, [key])
    if items := {key: value for key, value in change.items if value is not None}:
        compute.set_server_metadata(change.id, **items)
    for tag in [tag for tag, wanted in change.tags if wanted]:
        compute.add_tag_to_server(change.id, quote(tag, safe=""))
    for name in change.plug:
        compute.create_server_interface(change.id, port_id=work.ids.ports[name])
    if change.resize:
        flavor = change.host.flavor
        status = resize(work.cloud, change.id, change.name, (flavor, work.facts.flavors[flavor]))
    if stopped or (status in REVIVE and not change.off):
        getattr(compute, REVIVE.get(status, "start_server"))(change.id)


def _ready(work: Work, change: ServerChange) -> str:
    """Bring a server that stays to where Nova takes the changes of it; return its status then.

    What a run that was killed left resized is confirmed: that is lossless, and Nova takes nothing else before it. One
    that is paused or suspended goes on, where more than its metadata changes.
    """
    if change.id not in work.ready:
        status = change.status
        if status == VERIFY:
            status = settle(work.cloud, change.id, change.name)
        elif status in FROZEN and (change.resize or change.plug or change.unplug):
            status = _go_on(work, change, FROZEN[status])
        work.ready[change.id] = status
    return work.ready[change.id]


def _go_on(work: Work, change: ServerChange, action: str) -> str:
    compute: Any = work.conn.compute
    getattr(compute, REVIVE[change.status])(change.id)
    status = str(until_idle(work.cloud, change.id, f"server {change.name} to {action}").status)
    if status == change.status:
        why = failed_action(work.cloud, change.id, action)
        raise CloudError(f"Server {change.name} is {status} still, and changes only when it runs: {why}")
    return status


def unplug(work: Work) -> None:
    """Take the ports that go out of servers that stay.

    They are stopped for it: not every guest lets a device go while it runs.
    """
    changes = [change for change in work.changes.of(ServerChange, "update") if change.unplug]
    if not changes:
        return
    cloud, compute, topology = work.cloud, work.conn.compute, work.changes.topology
    with translate_errors():
        states = gather(cloud, [partial(_ready, work, change) for change in changes])
    running = {change.id: change.name for change, status in zip(changes, states, strict=True) if status == "ACTIVE"}
    run(cloud, [Job(KIND, (name,), "stop", bound(compute.stop_server, server)) for server, name in running.items()])
    wait_until_none(
        cloud,
        "servers to stop",
        lambda: [s.name for s in list_servers(cloud, topology) if s.id in running and s.status != "SHUTOFF"],
    )

    def take_out(port_id: str, server: str) -> None:
        compute.delete_server_interface(port_id, server=server, ignore_missing=False)

    ports = {port_id: (name, change.id) for change in changes for port_id, name in change.unplug}
    run(
        cloud,
        [
            Job("port", (name,), "unplug", bound(ignore_not_found, take_out, port_id, server))
            for port_id, (name, server) in ports.items()
        ],
    )
    wait_until_none(
        cloud,
        "ports to be unplugged",
        lambda: [
            port.name
            for port in work.conn.network.ports(description=work.mark, project_id=cloud.project)
            if port.id in ports and port.device_id
        ],
    )


def delete(conn: Connection, change: Change) -> None:
    """Delete a server and its disk."""
    conn.compute.delete_server(change.id)
