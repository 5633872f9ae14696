"""Routers, their gateway to the outside, and their extra routes."""

from __future__ import annotations

import ipaddress
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from openstack.exceptions import ForbiddenException, NotFoundException, PreconditionFailedException

from netorder.cloud.change import DESTRUCTIVE, Change, Routes
from netorder.cloud.errors import explain
from netorder.cloud.jobs import Job, bound
from netorder.cloud.resources import router_interface
from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from openstack.connection import Connection
    from openstack.network.v2.router import Router as CloudRouter

    from netorder.cloud.draft import Draft
    from netorder.cloud.work import Work
    from netorder.plan.model import Router

__all__ = [
    "KIND",
    "UPDATE",
    "RouterChange",
    "all_routes",
    "change_routes",
    "compare",
    "create_body",
    "creations",
    "delete",
    "routes",
    "set_routes",
    "update_body",
    "updates",
]

KIND = "router"
# The field of an update request, by the field that differs; routes are changed one by one.
UPDATE = {
    "admin_state_up": "is_admin_state_up",
    "external": "external_gateway_info",
    "external_network": "external_gateway_info",
    "external_address": "external_gateway_info",
    "snat": "external_gateway_info",
    "routes": "",
}
# So often may somebody else change a router between our reading and our writing its routes.
ROUTE_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterChange(Change):
    """A router to create or to update; an ``external`` one has its gateway on the network of this name or id.

    ``network`` None is the cloud's only external network, ``address`` None what the cloud chooses there.
    """

    external: bool
    network: str | None
    address: str | None = None
    snat: bool = True


def compare(draft: Draft) -> None:
    """Compare each router, and its interfaces after it."""
    for router in draft.plan.routers:
        if router.existing:
            if router.name in draft.existing.routers:
                draft.ids.routers[router.cloud_name] = draft.existing.routers[router.name]
            router_interface.compare(draft, router)
            continue
        found = draft.chosen.routers.get(router.cloud_name)
        named = router.external_network or draft.plan.external_network
        change = partial(
            RouterChange,
            KIND,
            router.cloud_name,
            external=router.external,
            network=named,
            address=router.external_address,
            snat=router.snat,
        )
        planned: dict[str, object] = {
            "admin_state_up": True,
            "external": router.external,
            "routes": sorted(f"{route.destination} via {route.next_hop}" for route in router.routes),
        }
        if found:
            draft.ids.routers[router.cloud_name] = found.id
            gateway = (found.external_gateway_info or {}).get("network_id")
            has: dict[str, object] = {
                "admin_state_up": found.is_admin_state_up,
                "external": bool(gateway),
                "routes": sorted(f"{to} via {via}" for to, via in _routes_of(found)),
            }
            if router.external and gateway and named and named != gateway:
                has["external_network"], planned["external_network"] = draft.externals.get(gateway, gateway), named
            if router.external and gateway:
                _compare_gateway(router, found.external_gateway_info or {}, has, planned)
            draft.differ(change, KIND, has, planned, id=found.id)
        else:
            planned |= {"external_address": router.external_address} if router.external_address else {}
            planned |= {} if router.snat else {"snat": False}
            draft.add(change("create", "missing", after=planned))
        router_interface.compare(draft, router)


def _compare_gateway(
    router: Router, gateway: dict[str, Any], has: dict[str, object], planned: dict[str, object]
) -> None:
    """Add what a router's gateway has and is to have; some clouds do not tell everybody."""
    fixed = [one["ip_address"] for one in gateway.get("external_fixed_ips") or () if ":" not in one["ip_address"]]
    if router.external_address:
        has["external_address"] = ", ".join(fixed) or router.external_address
        planned["external_address"] = router.external_address
    has["snat"], planned["snat"] = gateway.get("enable_snat", router.snat), router.snat


def create_body(work: Work, change: RouterChange) -> dict[str, Any]:
    """Return the fields of a create request."""
    body: dict[str, Any] = {"name": change.name, "description": work.mark}
    return body | ({"external_gateway_info": _gateway(work, change)} if change.external else {})


def _gateway(work: Work, change: RouterChange) -> dict[str, Any] | None:
    """Return what to ask for; address and translation only where they are not the usual, for which all may ask."""
    if not change.external:
        return None
    gateway: dict[str, Any] = {"network_id": work.facts.externals[change.network]}
    if change.address:
        gateway["external_fixed_ips"] = [{"ip_address": change.address}]
    if not change.snat or "snat" in (change.before or {}):
        gateway["enable_snat"] = change.snat
    return gateway


def creations(work: Work) -> Iterable[Job]:
    """Create routers one by one: Neutron makes none in bulk."""

    def create(change: RouterChange) -> None:
        with _permitted(change):
            work.ids.routers[change.name] = work.conn.network.create_router(**create_body(work, change)).id

    for change in work.changes.of(RouterChange, "create"):
        yield Job(KIND, (change.name,), "create", bound(create, change), gives="routers")


def update_body(work: Work, change: RouterChange) -> dict[str, Any]:
    """Return the fields of an update request; empty if only routes differ."""
    names = {UPDATE[name] for name in change.after or {}}
    fields: dict[str, Any] = {}
    if "is_admin_state_up" in names:
        fields["is_admin_state_up"] = True
    if "external_gateway_info" in names:
        fields["external_gateway_info"] = _gateway(work, change)
    return fields


def updates(work: Work) -> Iterable[Job]:
    """Update routers one by one."""
    for change in work.changes.of(RouterChange, "update"):
        if fields := update_body(work, change):
            yield Job(KIND, (change.name,), "update", bound(_update, work, change, fields), gives="routers")


def _update(work: Work, change: RouterChange, fields: dict[str, Any]) -> None:
    with _permitted(change):
        work.conn.network.update_router(change.id, **fields)


@contextmanager
def _permitted(change: RouterChange) -> Iterator[None]:
    """Say which key asks for what is not for everybody where the cloud refuses it."""
    try:
        yield
    except ForbiddenException as error:
        asked = [*(["address"] if change.address else []), *([] if change.snat else ["snat: false"])]
        if not asked:
            raise
        keys = " and ".join(f"`{key}`" for key in asked)
        message = f"the cloud does not let this login choose {keys} at the external network, which is for "
        message += "administrators unless its operator allows it to others: remove that, or ask the operator"
        raise CloudError(f"{message} ({explain(error)})") from error


def delete(conn: Connection, change: Change) -> None:
    """Delete a router without interfaces."""
    conn.network.delete_router(change.id)


# Extra routes


def routes(draft: Draft) -> tuple[list[Routes], list[Routes]]:
    """Return the routes to remove before anything is deleted, and those to add and to remove at the end.

    An interface that a route's next hop is behind cannot be detached: what goes first, if anything is deleted, are the
    routes that are not planned, and those through an interface that is replaced.
    """
    own = [router for router in draft.plan.routers if not router.existing]
    planned = {r.cloud_name: [(route.destination, route.next_hop) for route in r.routes] for r in own}
    first: dict[str, Routes] = {}
    if any(change.action in DESTRUCTIVE for change in draft.changes):
        behind = _prefixes_behind(draft)
        for router in draft.observed.routers:
            planned_routes = planned.get(router.name, [])
            goes = [
                (to, via)
                for to, via in _routes_of(router)
                if (to, via) not in planned_routes
                or any(ipaddress.ip_address(via) in p for p in behind.get(router.id, ()))
            ]
            if goes:
                first[router.id] = Routes(router.name, router.id, "remove", tuple(goes))
    last = []
    for name, planned_routes in planned.items():
        found: CloudRouter | None = draft.chosen.routers.get(name)
        router_id = found.id if found else ""
        has = set(_routes_of(found)) if found else set()
        has -= set(first[router_id].routes) if router_id in first else set()
        for verb, these in (("add", set(planned_routes) - has), ("remove", has - set(planned_routes))):
            if these:
                last.append(Routes(name, router_id, verb, tuple(sorted(these))))
    return [*first.values()], last


def _routes_of(router: CloudRouter) -> list[tuple[str, str]]:
    return [(route["destination"], route["nexthop"]) for route in router.routes or ()]


def _prefixes_behind(draft: Draft) -> dict[str, list[ipaddress.IPv4Network | ipaddress.IPv6Network]]:
    """Return, by router id, the prefixes on those of its interfaces that are deleted or replaced."""
    prefixes = {subnet.id: ipaddress.ip_network(subnet.cidr) for subnet in draft.observed.subnets}
    ports = {port.id: port for port in draft.observed.ports}
    behind: dict[str, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {}
    for change in draft.changes:
        if change.kind == router_interface.KIND and change.action in DESTRUCTIVE:
            port = ports[change.id]
            subnets = [fixed.get("subnet_id") for fixed in port.fixed_ips or ()]
            behind.setdefault(port.device_id, []).extend(prefixes[one] for one in subnets if one in prefixes)
    return behind


def all_routes(routers: Iterable[CloudRouter]) -> list[Routes]:
    """Return the removal of all routes of routers that are torn down."""
    return [
        Routes(router.name, router.id, "remove", tuple(these)) for router in routers if (these := _routes_of(router))
    ]


def set_routes(work: Work) -> Iterable[Job]:
    """Add the routes that are missing, and remove those that are not planned, each router's list otherwise as it is."""
    for one in work.changes.routes:

        def call(one: Routes = one) -> None:
            change_routes(work.conn, work.ids.routers[one.router], one)

        yield Job("route set", (one.router,), "update", call, frozenset({"routers", "interfaces"}))


def change_routes(conn: Connection, router_id: str, change: Routes) -> None:
    """Add or remove extra routes of a router, and keep all others.

    By extraroute-atomic; clouds without it (ML2/OVN of 2025.1) answer 404, and get the list back on condition that
    nobody has changed the router since it was read (revision-if-match).
    """
    network, these = conn.network, [{"destination": to, "nexthop": via} for to, via in change.routes]
    atomic = network.add_extra_routes_to_router if change.verb == "add" else network.remove_extra_routes_from_router
    try:
        atomic(router_id, {"router": {"routes": these}})  # type: ignore[no-untyped-call]
    except NotFoundException:
        for attempt in range(ROUTE_ATTEMPTS):
            router = network.get_router(router_id)
            others = [route for route in router.routes or () if route not in these]
            routes = others + these if change.verb == "add" else others
            try:
                network.update_router(router_id, if_revision=router.revision_number, routes=routes)
            except PreconditionFailedException:
                if attempt + 1 == ROUTE_ATTEMPTS:
                    raise
            else:
                return
