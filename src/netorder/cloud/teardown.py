"""Take a topology away: whatever carries its marker, and nothing else; the topology file is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cloud import golden
from netorder.cloud.change import deletion
from netorder.cloud.delete import delete
from netorder.cloud.locked import locked_problems
from netorder.cloud.observe import is_kept, is_router_port, let_finish, observe
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
)
from netorder.cloud.snapshots import KIND, in_use, removals
from netorder.cloud.snapshots import snapshots as list_snapshots
from netorder.errors import CloudError
from netorder.text import count, few

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from netorder.cloud.change import Change
    from netorder.cloud.observe import Observed
    from netorder.cloud.session import Cloud
    from netorder.cloud.snapshots import Snapshot

__all__ = ["deletions", "teardown"]

HELD = (
    "Tear down again. If it stays so: what is not the topology's is never deleted, and may hold it (a port on its "
    "network, a server with its security group): remove that first."
)


def deletions(observed: Observed, *, kept: bool = True) -> list[Change]:
    """Return a deletion for each resource; a subnet goes with its network.

    Floating addresses that are to be ``kept`` are let go only.
    """

    def each(kind: str, resources: Iterable[Any]) -> list[Change]:
        return [deletion(kind, str(one.name), one.id, "teardown") for one in resources]

    return [
        *floating_ip.teardown(observed, kept=kept),
        *each(server.KIND, observed.servers),
        *(router_interface.removal(one, "teardown") for one in observed.ports if is_router_port(one)),
        *each(port.KIND, (one for one in observed.ports if not is_router_port(one))),
        *each(router.KIND, observed.routers),
        *each(network.KIND, observed.networks),
        *each(security_group.KIND, observed.groups),
        *(
            deletion(server_group.KIND, server_group.called(one), one.id, "teardown")
            for one in observed.server_groups or ()
        ),
        *each(keypair.KIND, [observed.keypair] if observed.keypair else []),
    ]


def teardown(
    cloud: Cloud, topology: str, *, check: bool, snapshots: bool = False, floating_ips: bool = False
) -> list[Change]:
    """Delete all that carries the topology's marker, then list again; anything left is an error that names it.

    Its ``snapshots`` and golden images only if that is said: they are what a host can be made from again; so its kept
    ``floating_ips``. Of images those stay of which other servers were made.
    """
    cloud.phase = "list"
    observed = observe(cloud, topology)
    images = _of_hosts(cloud, topology)
    stale = golden.remove_leftovers(cloud, topology, check=check)
    changes = deletions(observed, kept=not floating_ips)
    if foreign := observed.foreign_keypair:
        cloud.progress(f"key pair {foreign.name} stays: it does not carry this topology's marker")
    if changes and not check:
        observed = let_finish(cloud, topology, observed)
        changes = deletions(observed, kept=not floating_ips)
    if not floating_ips and (stay := [str(ip.floating_ip_address) for ip in observed.floating_ips if is_kept(ip)]):
        what = count(len(stay), "kept floating address", "kept floating addresses")
        cloud.progress(f"{what} stay: {few(stay)}. `-e floating_ips=delete` deletes them too")
    if snapshots:
        changes += _unused(cloud, images, {one.id for one in [*stale, *changes] if one.kind == server.KIND})
    elif any(images):
        names = few([one.name for them in images for one in them])
        told = f"of the hosts' images stay {names}. `-e snapshots=delete` deletes them too"
        cloud.progress(told)
    foreign_subnets = [text for one in observed.networks if (text := network.foreign_problem(observed, one))]
    if problems := foreign_subnets + locked_problems(cloud, observed.servers, changes):
        raise CloudError(*problems)
    if check or not changes:
        return [*stale, *changes]
    cloud.phase = "delete"
    try:
        delete(cloud, topology, changes, router.all_routes(observed.routers))
    except CloudError as error:
        raise CloudError(*error.problems, f"Not all of {topology} is deleted. {HELD}") from error
    cloud.phase = "list again"
    left = observe(cloud, topology).leftovers()
    if left:
        raise CloudError(f"Still there after the teardown of {topology}: {'; '.join(left)}. {HELD}")
    return [*stale, *changes]


def _of_hosts(cloud: Cloud, topology: str) -> tuple[list[Snapshot], list[golden.Golden]]:
    """Return the images that hosts can be made from again."""
    return list_snapshots(cloud, topology), golden.goldens(cloud, topology)


def _unused(cloud: Cloud, images: tuple[list[Snapshot], list[golden.Golden]], going: set[str]) -> list[Change]:
    """Return the deletions of these images, and say why some stay; the servers ``going`` need none any more."""
    used, (shots, goldens) = in_use(cloud, going), images
    unused, why = removals(shots, used, names={one.name for one in shots})
    others, more = golden.removals(goldens, used, names={one.name for one in goldens})
    for said in why + more:
        cloud.progress(said)
    return [
        *(deletion(KIND, one.name, one.id, "teardown") for one in unused),
        *(deletion(golden.KIND, one.name, one.id, "teardown") for one in others),
    ]
