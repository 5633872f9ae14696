"""Take a topology away: whatever carries its marker, and nothing else; the topology file is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cloud.change import Change
from netorder.cloud.delete import delete
from netorder.cloud.observe import Observed, is_router_port, let_finish, observe
from netorder.errors import CloudError

if TYPE_CHECKING:
    from netorder.cloud.session import Cloud

__all__ = ["deletions", "teardown"]

HELD = (
    "Tear down again. If it stays so: what is not the topology's is never deleted, and may hold it (a port on its "
    "network, a server with its security group): remove that first."
)


def deletions(seen: Observed) -> list[Change]:
    """Return a deletion for each resource; a subnet goes with its network."""
    kinds = (
        ("floating IP", seen.floating_ips),
        ("server", seen.servers),
        ("router interface", [port for port in seen.ports if is_router_port(port)]),
        ("port", [port for port in seen.ports if not is_router_port(port)]),
        ("router", seen.routers),
        ("network", seen.networks),
        ("security group", seen.groups),
        ("key pair", [seen.keypair] if seen.keypair else []),
    )
    return [
        Change(kind, str(one.name), "delete", "teardown", before={"id": one.id}, id=one.id)
        for kind, them in kinds
        for one in them
    ]


def teardown(cloud: Cloud, topology: str, *, check: bool) -> list[Change]:
    """Delete all that carries the topology's marker, then list again; anything left is an error that names it."""
    cloud.phase = "list"
    seen = observe(cloud, topology)
    changes = deletions(seen)
    if check or not changes:
        return changes
    seen = let_finish(cloud, topology, seen)
    changes = deletions(seen)
    cloud.phase = "delete"
    routes = {router.id: list(router.routes or ()) for router in seen.routers}
    try:
        delete(cloud, topology, changes, seen, routes)
    except CloudError as error:
        raise CloudError(*error.problems, f"Not all of {topology} is deleted. {HELD}") from error
    cloud.phase = "list again"
    left = observe(cloud, topology).leftovers()
    if left:
        raise CloudError(f"Still there after the teardown of {topology}: {'; '.join(left)}. {HELD}")
    return changes
