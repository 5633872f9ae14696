"""Interfaces of routers: ports with the planned addresses, which are then attached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from openstack.network.v2.port import Port as CloudPort

from netorder.cloud.change import Change
from netorder.cloud.draft import addresses_of, chosen_addresses, fixed_addresses, made_up
from netorder.cloud.jobs import Job, bound
from netorder.plan.lifecycle import address_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    "parts",
    "releases",
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

    ``router`` and ``network`` are names in the cloud; ``fixed`` are its addresses, after their subnets' names;
    ``lost`` are the ids of the subnets that it leaves, and stays. On the subnets ``later``, where hosts make up their
    addresses, Neutron gives a chosen one to a port that a router has, and to no other.
    """

    router: str
    network: str
    fixed: tuple[tuple[str, str], ...]
    lost: tuple[str, ...] = ()
    later: frozenset[str] = frozenset()


def compare(draft: Draft, router: Router) -> None:
    """Compare the interfaces of a router."""
    for interface in router.interfaces:
        if not interface.own:
            continue
        for name, addresses in parts(interface, draft.chosen.ports).items():
            _compare(draft, router, interface, name, addresses)


def parts(interface: RouterInterface, found: Mapping[str, CloudPort]) -> dict[str, tuple[str, ...]]:
    """Return the ports of an interface, by name, with their addresses: one, unless the IPv6 address came later.

    Neutron lets a router's port lose an address, but makes a port of its own for one more.
    """
    one, later = interface.port_name, f"{interface.port_name}.ipv6"
    by_version = [tuple(a for a in interface.addresses if (":" in a) is six) for six in (False, True)]
    had = [":" in address for port in [found.get(one)] if port for address in addresses_of(port)]
    if all(by_version) and (later in found or (had and not any(had))):
        return dict(zip((one, later), by_version, strict=True))
    return {one: interface.addresses}


def _compare(draft: Draft, router: Router, interface: RouterInterface, name: str, addresses: tuple[str, ...]) -> None:
    found = draft.chosen.ports.get(name)
    change = partial(
        InterfaceChange,
        KIND,
        name,
        router=router.cloud_name,
        network=draft.cloud_network(interface.network),
        fixed=fixed_addresses(draft.plan, interface.network, addresses),
        later=made_up(draft.plan, interface.network),
    )
    if not found:
        place: dict[str, object] = {"network": interface.network, "address": ", ".join(addresses)}
        draft.add(change("create", "missing", after=place))
        return
    draft.ids.ports[name] = found.id
    its = chosen_addresses(found, addresses)
    had, have = address_fields(its, addresses)
    lacks = {(subnet, one) for subnet, one in change.keywords["fixed"] if one not in its}
    if len(its) < len(addresses) and all(subnet in change.keywords["later"] for subnet, _ in lacks):
        had, have = {"addresses": its}, {"addresses": [*addresses]}  # a run has ended before it was given
    elif len(its) < len(addresses):  # which a router's port does not get later
        had, have = {"address": ", ".join(its)}, {"address": ", ".join(addresses)}
    has: dict[str, object] = {"network": draft.place_name(found, interface.network), **had}
    planned: dict[str, object] = {"network": interface.network, **have}
    held_by = str(found.device_id or "")
    if held_by and held_by != draft.ids.routers.get(router.cloud_name):
        problem = f"Port {name} ({found.id}) is held by {held_by}, not by {router.cloud_name}: free it."
        draft.refuse(KIND, "holder", problem)
    elif why := draft.why_replaced(KIND, has, planned, found):
        if held_by:
            draft.detach(found)
        draft.add(change("replace", why, has, planned, found.id, not held_by, router_id=held_by))
    elif not held_by:
        draft.add(change("update", "not attached to its router", {"attached": False}, {"attached": True}, found.id))
    else:
        lost = tuple(f["subnet_id"] for f in found.fixed_ips or () if f["ip_address"] in {*its} - {*addresses})
        draft.differ(partial(change, lost=lost, router_id=held_by), KIND, has, planned, id=found.id)


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
        "fixed_ips": _fixed(work, change, attached=False),
        "security_groups": [],
    }


def creations(work: Work) -> Iterable[Job]:
    """Create the interfaces' ports in bulk."""

    def made(change: InterfaceChange, one: CloudPort) -> None:
        work.ids.ports[change.name] = one.id

    changes = work.changes.of(InterfaceChange, "create", "replace")
    yield from work.bulk("port", CloudPort, changes, create_body, made, "subnets", gives="interface ports")


def _fixed(work: Work, change: InterfaceChange, *, attached: bool) -> list[dict[str, str]]:
    return [
        {"subnet_id": work.ids.subnets[subnet]}
        | ({"ip_address": one} if attached or subnet not in change.later else {})
        for subnet, one in change.fixed
    ]


def attachments(work: Work) -> Iterable[Job]:
    """Attach ports to their routers, one by one."""

    def attach(change: InterfaceChange) -> None:
        port = work.ids.ports[change.name]
        if change.action != "update" or not change.router_id:
            work.conn.network.add_interface_to_router(work.ids.routers[change.router], port=port)  # type: ignore[no-untyped-call]
        if any(subnet in change.later for subnet, _ in change.fixed):
            work.conn.network.update_port(port, fixed_ips=_fixed(work, change, attached=True))

    needs = frozenset({"routers", "interface ports"})
    for change in work.changes.of(InterfaceChange, "create", "update", "replace"):
        if not change.lost:
            yield Job(KIND, (change.name,), "create", bound(attach, change), needs, "interfaces")


def releases(work: Work) -> Iterable[Job]:
    """Take interfaces that stay off the subnets that they leave, before those go."""

    def release(change: InterfaceChange) -> None:
        for subnet in change.lost:
            work.conn.network.remove_interface_from_router(change.router_id, subnet=subnet)  # type: ignore[no-untyped-call]

    for change in work.changes.of(InterfaceChange, "update"):
        if change.lost:
            yield Job(KIND, (change.name,), "update", bound(release, change))


def detach(conn: Connection, change: InterfaceRemoval) -> None:
    """Detach an interface; its port goes with it."""
    if change.router_id:
        conn.network.remove_interface_from_router(change.router_id, port=change.id)  # type: ignore[no-untyped-call]
    else:
        conn.network.delete_port(change.id)
