"""Floating IPs of hosts: one that is there and free is used again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from netorder.cloud.change import Change
from netorder.cloud.jobs import Job, bound
from netorder.plan.lifecycle import exit_router, reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openstack.connection import Connection
    from openstack.network.v2.floating_ip import FloatingIP

    from netorder.cloud.change import ChangeSet
    from netorder.cloud.draft import Draft
    from netorder.cloud.work import Work

__all__ = ["KIND", "FloatingChange", "compare", "create_body", "jobs", "loosened", "release"]

KIND = "floating IP"


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatingChange(Change):
    """A host's floating IP to create, replace or associate, for the port of this name in the cloud.

    ``network`` is the external network's name or id, None the cloud's only one. One that is ``loosened`` keeps its
    address, but is disassociated before what it blocks is deleted.
    """

    port: str
    network: str | None
    loosened: bool = False


def compare(draft: Draft) -> None:
    """Compare each host's floating IP; those that are free go to hosts without one, the rest are deleted."""
    observed = draft.observed.floating_ips
    lost = {ip.id for ip in observed if _loses_port(draft, ip)}
    by_port = {ip.port_id: ip for ip in reversed(observed) if ip.port_id and ip.id not in lost}
    free = sorted((ip for ip in observed if not ip.port_id or ip.id in lost), key=lambda ip: not ip.port_id)
    had = {ip.port_id: ip for ip in free if ip.port_id}
    kept = set()
    for host in (h for h in draft.plan.hosts if h.floating_ip):
        name = host.ports[0].cloud_name
        port = draft.chosen.ports.get(name)
        network = exit_router(draft.plan, host).external_network or draft.plan.external_network
        change = partial(FloatingChange, KIND, host.name, port=name, network=network)
        ip = by_port.get(port.id) if port else None
        if ip and network not in {None, ip.floating_network_id, draft.externals.get(str(ip.floating_network_id))}:
            kept.add(ip.id)
            before: dict[str, object] = {"network": draft.externals.get(str(ip.floating_network_id))}
            draft.add(change("replace", reason(KIND, before), before, {"network": network}, ip.id))
        elif ip:
            kept.add(ip.id)
        elif ip := (had.pop(port.id, None) if port else None) or next((i for i in free if i.id not in kept), None):
            kept.add(ip.id)
            loose = bool(ip.port_id)
            why = "its port or exit router is replaced" if loose else "not associated"
            after: dict[str, object] = {"address": ip.floating_ip_address, "port": name}
            before = {**after, "port": name if loose else None}
            draft.add(change("update", why, before, after, ip.id, loosened=loose))
        else:
            draft.add(change("create", "missing", after={"port": name}))
    for ip in observed:
        if ip.id not in kept:
            address = ip.floating_ip_address
            draft.add(Change(KIND, address, "delete", "not in the topology", before={"address": address}, id=ip.id))


def _loses_port(draft: Draft, ip: FloatingIP) -> bool:
    """Return whether what carries an address is deleted or replaced: its port, or its router's interface there."""
    port = next((port for port in draft.observed.ports if port.id == ip.port_id), None)
    return port is not None and (port.id in draft.going or (ip.router_id, port.network_id) in draft.detached)


def create_body(work: Work, change: FloatingChange) -> dict[str, Any]:
    """Return the fields of a create request."""
    return {
        "floating_network_id": work.facts.externals[change.network],
        "port_id": work.ids.ports[change.port],
        "description": work.mark,
    }


def jobs(work: Work) -> Iterable[Job]:
    """Create or associate floating IPs, when their router has its interface and their host its port."""

    def call(change: FloatingChange) -> None:
        if change.action == "update":
            ip = work.conn.network.update_ip(change.id, port_id=work.ids.ports[change.port])
        else:
            ip = work.conn.network.create_ip(**create_body(work, change))
        work.floating[change.name] = str(ip.floating_ip_address)

    for change in work.changes.of(FloatingChange, "create", "update", "replace"):
        needs = frozenset({"routers", "interfaces", *work.batches([change.port])})
        yield Job(KIND, (change.name,), change.action, bound(call, change), needs)


def loosened(changes: ChangeSet) -> list[FloatingChange]:
    """Return those that keep their address, but block what is deleted or replaced."""
    return [change for change in changes.of(FloatingChange, "update") if change.loosened]


def release(conn: Connection, change: Change) -> None:
    """Delete a floating IP, or disassociate one that keeps its address."""
    if change.action == "update":
        conn.network.update_ip(change.id, port_id=None)
    else:
        conn.network.delete_ip(change.id, ignore_missing=False)
