"""Delete, dependants first, and wait until what was deleted has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openstack.exceptions import NotFoundException, PreconditionFailedException

from netorder.cloud.jobs import Job, bound, run
from netorder.cloud.observe import list_servers
from netorder.cloud.poll import Again, poll

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netorder.cloud.change import Change
    from netorder.cloud.observe import Observed
    from netorder.cloud.session import Cloud

# Deleting a server, its guest shut down, must not take longer than this (s).
GONE_TIMEOUT = 300
GONE_POLL = 1.0
GONE_POLL_MOST = 4.0
# So often may somebody else change a router between our reading and our writing its routes.
ROUTE_ATTEMPTS = 5


def change_routes(cloud: Cloud, router_id: str, verb: str, routes: list[dict[str, str]]) -> None:
    """Add or remove extra routes (``verb`` add or remove) of a router, leaving all others as they are.

    By extraroute-atomic; clouds without it (ML2/OVN of 2025.1) answer 404, and get the list back on condition that
    nobody has changed the router since it was read (revision-if-match).
    """
    network = cloud.conn.network
    atomic = network.add_extra_routes_to_router if verb == "add" else network.remove_extra_routes_from_router
    try:
        atomic(router_id, {"router": {"routes": routes}})  # type: ignore[no-untyped-call]
    except NotFoundException:
        for attempt in range(ROUTE_ATTEMPTS):
            router = network.get_router(router_id)
            others = [route for route in router.routes or () if route not in routes]
            wanted = others + routes if verb == "add" else others
            try:
                network.update_router(router_id, if_revision=router.revision_number, routes=wanted)
            except PreconditionFailedException:
                if attempt + 1 == ROUTE_ATTEMPTS:
                    raise
            else:
                return


def ignore_not_found(call: Callable[[Any], object], change: object) -> None:
    """Delete; what has gone meanwhile (a killed teardown's last request, still at work) is deleted too."""
    try:
        call(change)
    except NotFoundException:
        return


def delete(
    cloud: Cloud,
    topology: str,
    changes: Sequence[Change],
    seen: Observed,
    stale_routes: dict[str, list[dict[str, str]]],
) -> None:
    """Delete what ``changes`` delete or replace, dependants first; a server is waited for, since it holds its port."""
    conn = cloud.conn

    def jobs(kind: str, call: Callable[[Any], object]) -> list[Job]:
        return [Job(c.kind, (c.name,), "delete", bound(ignore_not_found, call, c)) for c in changes if c.kind == kind]

    held_by = {port.id: port.device_id for port in seen.ports}

    def detach(change: Change) -> None:
        port, router = str(change.id), held_by.get(str(change.id))
        if router:
            # The port goes with it.
            conn.network.remove_interface_from_router(router, port=port)  # type: ignore[no-untyped-call]
        else:
            conn.network.delete_port(port)

    def release(change: Change) -> None:
        if change.action == "update":
            conn.network.update_ip(str(change.id), port_id=None)
        else:
            conn.network.delete_ip(str(change.id), ignore_missing=False)

    run(
        cloud,
        [
            *jobs("floating IP", release),
            *jobs("server", lambda c: conn.compute.delete_server(c.id)),
        ],
    )
    wait_gone(cloud, topology, {str(c.id) for c in changes if c.kind == "server"})
    names = {router.id: router.name for router in seen.routers}
    run(
        cloud,
        (
            Job("route set", (names[router],), "delete", bound(change_routes, cloud, router, "remove", routes))
            for router, routes in stale_routes.items()
            if routes
        ),
    )
    run(cloud, [*jobs("router interface", detach), *jobs("port", lambda c: conn.network.delete_port(c.id))])
    run(cloud, jobs("router", lambda c: conn.network.delete_router(c.id)))
    run(cloud, jobs("subnet", lambda c: conn.network.delete_subnet(c.id)))
    run(
        cloud,
        [
            *jobs("network", lambda c: conn.network.delete_network(c.id)),
            *jobs("security group", lambda c: conn.network.delete_security_group(c.id)),
            *jobs("key pair", lambda c: conn.compute.delete_keypair(c.name)),
        ],
    )


def wait_gone(cloud: Cloud, topology: str, ids: set[str]) -> None:
    """Wait until none of the servers ``ids`` is listed any more."""
    if ids:
        wait_until_none(
            cloud,
            "server(s) to be gone",
            lambda: [s.name for s in list_servers(cloud, topology, details=False) if s.id in ids],
        )


def wait_until_none(cloud: Cloud, what: str, names: Callable[[], Sequence[str]]) -> None:
    """Wait until ``names`` (one list for each check) is empty; report how many are left when that changes."""
    reported, pause = 0, GONE_POLL

    def check() -> bool | Again[bool]:
        nonlocal reported, pause
        left = sorted(names())
        if not left:
            return True
        if len(left) != reported:
            reported = len(left)
            cloud.progress(f"waiting for {reported} {what}: {', '.join(left)}")
        late = (
            f"After {GONE_TIMEOUT} s still waiting for {len(left)} {what}: {', '.join(left)}. "
            "See `openstack server show`; then run again."
        )
        wait, pause = pause, min(pause * 1.3, GONE_POLL_MOST)  # a list takes the cloud's time from what is waited for
        return Again(wait, (late,))

    poll(check, GONE_TIMEOUT)
