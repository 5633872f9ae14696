"""Delete, dependants first, and wait until the servers are deleted, since they hold their ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cloud import golden, snapshots
from netorder.cloud.jobs import Job, bound, ignore_not_found, run
from netorder.cloud.observe import list_servers
from netorder.cloud.poll import wait_until_none
from netorder.cloud.resources import (
    floating_ip,
    keypair,
    network,
    port,
    router,
    router_interface,
    security_group,
    server,
    server_group,
    subnet,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netorder.cloud.change import Change, Routes
    from netorder.cloud.session import Cloud

__all__ = ["delete"]


def delete(
    cloud: Cloud, topology: str, changes: Sequence[Change], routes: Sequence[Routes], releases: Sequence[Job] = ()
) -> None:
    """Delete what ``changes`` delete or replace, and the ``routes`` that would hold interfaces.

    ``releases`` take off what stays the addresses whose subnets go.
    """

    def jobs(kind: str, call: Callable[..., None]) -> list[Job]:
        return [
            Job(kind, (change.name,), "delete", bound(ignore_not_found, call, cloud.conn, change))
            for change in changes
            if change.kind == kind
        ]

    run(cloud, [*jobs(floating_ip.KIND, floating_ip.release), *jobs(server.KIND, server.delete)])
    if ids := {change.id for change in changes if change.kind == server.KIND}:
        wait_until_none(
            cloud,
            "servers to be deleted",
            lambda: [one.name for one in list_servers(cloud, topology, details=False) if one.id in ids],
        )
    run(
        cloud,
        [
            Job("route set", (one.router,), "delete", bound(router.change_routes, cloud.conn, one.router_id, one))
            for one in routes
        ],
    )
    run(cloud, [*releases, *jobs(router_interface.KIND, router_interface.detach), *jobs(port.KIND, port.delete)])
    run(cloud, jobs(router.KIND, router.delete))
    run(cloud, jobs(subnet.KIND, subnet.delete))
    run(
        cloud,
        [
            *jobs(network.KIND, network.delete),
            *jobs(security_group.KIND, security_group.delete),
            *jobs(server_group.KIND, server_group.delete),
            *jobs(keypair.KIND, keypair.delete),
            *jobs(snapshots.KIND, snapshots.delete),
            *jobs(golden.KIND, golden.delete),
        ],
    )
