"""Interfaces of routers: ports with the planned addresses, which are then attached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from openstack.network.v2.port import Port as CloudPort

from netorder.cloud.change import Change
from netorder.cloud.draft import address_text, fixed_addresses
from netorder.cloud.jobs import Job, bound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openstack.connection import Connection

    from netorder.cloud.draft import Draft
    from netorder.cloud.work import Work
    from netorder.plan.model import Router, RouterInterface

__all__ = [
    "KIND",
    "InterfaceChange",
    "InterfaceRemoval",
    "attachments",
    "compare",
    "create_body",
    "creations",
    "detach",
    "removal",
]

KIND = "router interface"


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceRemoval(Change):
    """An interface to delete; its port is attached to the router with the id ``router_id``, or to none."""

    router_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceChange(InterfaceRemoval):
    """An interface to create, replace or attach.

    ``router`` and ``network`` are names in the cloud; ``fixed`` are its addresses, after their subnets' names.
    """

    router: str
    network: str
    fixed: tuple[tuple[str, str], ...]


def compare(draft: Draft, router: Router) -> None:
    """Compare the interfaces of a router."""
    for interface in router.interfaces:
        _compare(draft, router, interface)


def _compare(draft: Draft, router: Router, interface: RouterInterface) -> None:
    name, found = interface.port_name, draft.chosen.ports.get(interface.port_name)
    change = partial(
        InterfaceChange,
        KIND,
        name,
        router=router.cloud_name,
        network=draft.cloud_network(interface.network),
        fixed=fixed_addresses(draft.plan, interface.network, interface.addresses),
    )
    planned: dict[str, object] = {"network": interface.network, "address": ", ".join(interface.addresses)}
    if not found:
        draft.add(change("create", "missing", after=planned))
        return
    draft.ids.ports[name] = found.id
    has: dict[str, object] = {"network": draft.network_name(found.network_id), "address": address_text(found)}
    held_by = str(found.device_id or "")
    if held_by and held_by != draft.ids.routers.get(router.cloud_name):
        problem = f"Port {name} ({found.id}) is held by {held_by}, not by {router.cloud_name}: free it."
        draft.refuse(KIND, "holder", problem)
    elif why := draft.why_replaced(KIND, has, planned, found):
        if held_by:
            draft.detached.add((held_by, found.network_id))
        draft.add(change("replace", why, has, planned, found.id, not held_by, router_id=held_by))
    elif not held_by:
        draft.add(change("update", "not attached to its router", {"attached": False}, {"attached": True}, found.id))


def removal(port: CloudPort, reason: str, *, lossless: bool = False) -> InterfaceRemoval:
    """Return the deletion of an interface."""
    held_by = str(port.device_id or "")
    return InterfaceRemoval(
        KIND, port.name, "delete", reason, before={"id": port.id}, id=port.id, lossless=lossless, router_id=held_by
    )


def create_body(work: Work, change: InterfaceChange) -> dict[str, Any]:
    """Return one of a bulk request's bodies."""
    return {
        "name": change.name,
        "description": work.mark,
        "network_id": work.ids.networks[change.network],
        "fixed_ips": [{"subnet_id": work.ids.subnets[subnet], "ip_address": one} for subnet, one in change.fixed],
        "security_groups": [],
    }


def creations(work: Work) -> Iterable[Job]:
    """Create the interfaces' ports in bulk."""

    def made(change: InterfaceChange, one: CloudPort) -> None:
        work.ids.ports[change.name] = one.id

    changes = work.changes.of(InterfaceChange, "create", "replace")
    yield from work.bulk("port", CloudPort, changes, create_body, made, "subnets", gives="interface ports")


def attachments(work: Work) -> Iterable[Job]:
    """Attach ports to their routers, one by one."""

    def attach(change: InterfaceChange) -> None:
        work.conn.network.add_interface_to_router(  # type: ignore[no-untyped-call]
            work.ids.routers[change.router], port=work.ids.ports[change.name]
        )

    needs = frozenset({"routers", "interface ports"})
    for change in work.changes.of(InterfaceChange, "create", "update", "replace"):
        yield Job(KIND, (change.name,), "create", bound(attach, change), needs, "interfaces")


def detach(conn: Connection, change: InterfaceRemoval) -> None:
    """Detach an interface; its port goes with it."""
    if change.router_id:
        conn.network.remove_interface_from_router(change.router_id, port=change.id)  # type: ignore[no-untyped-call]
    else:
        conn.network.delete_port(change.id)
