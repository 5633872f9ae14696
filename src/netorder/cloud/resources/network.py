"""Networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from openstack.network.v2.network import Network as CloudNetwork

from netorder.cloud.change import Change
from netorder.cloud.jobs import Job, bound
from netorder.cloud.resources import subnet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openstack.connection import Connection

    from netorder.cloud.draft import Draft
    from netorder.cloud.observe import Observed
    from netorder.cloud.work import Work
    from netorder.plan.model import Network

__all__ = [
    "KIND",
    "UPDATE",
    "NetworkChange",
    "compare",
    "create_body",
    "creations",
    "delete",
    "foreign_problem",
    "updates",
]

KIND = "network"
# What an update request calls each field.
UPDATE = {"admin_state_up": "is_admin_state_up", "mtu": "mtu"}


@dataclass(frozen=True, slots=True)
class NetworkChange(Change):
    """A network to create or to update."""


def compare(draft: Draft) -> None:
    """Compare each network, and its subnets after it."""
    for network in draft.plan.networks:
        if network.existing:
            if network.name in draft.existing.networks:
                draft.ids.networks[network.cloud_name] = draft.existing.networks[network.name]
            continue
        found = draft.chosen.networks.get(network.cloud_name)
        if not network.subnet_of:
            _compare(draft, network, found)
            subnet.compare_surplus(draft, found)
        subnet.compare(draft, network)


def _compare(draft: Draft, network: Network, found: CloudNetwork | None) -> None:
    change = partial(NetworkChange, KIND, network.cloud_name)
    planned: dict[str, object] = {"admin_state_up": True} | ({"mtu": network.mtu} if network.mtu else {})
    if found:
        draft.ids.networks[network.cloud_name] = found.id
        has = {"admin_state_up": found.is_admin_state_up, "mtu": found.mtu}
        draft.differ(change, KIND, {name: has[name] for name in planned}, planned, id=found.id)
    else:
        draft.add(change("create", "missing", after=planned))


def foreign_problem(observed: Observed, found: CloudNetwork) -> str:
    """Return why a network cannot be deleted: it takes all its subnets with it; nothing if those are the topology's."""
    foreign = ", ".join(observed.foreign_subnets(found))
    return foreign and (
        f"Network {found.name} would take what is not the topology's with it, subnet(s) {foreign}: `openstack subnet "
        "show` says what that is. Delete it first."
    )


def create_body(work: Work, change: NetworkChange) -> dict[str, Any]:
    """Return one of a bulk request's bodies."""
    mtu = (change.after or {}).get("mtu")
    return {"name": change.name, "description": work.mark} | ({"mtu": mtu} if mtu else {})


def creations(work: Work) -> Iterable[Job]:
    """Create networks in bulk."""

    def made(change: NetworkChange, one: CloudNetwork) -> None:
        work.ids.networks[change.name] = one.id

    yield from work.bulk(KIND, CloudNetwork, work.changes.of(NetworkChange, "create"), create_body, made)


def updates(work: Work) -> Iterable[Job]:
    """Update networks one by one."""
    for change in work.changes.of(NetworkChange, "update"):
        fields = {UPDATE[name]: value for name, value in (change.after or {}).items()}
        yield Job(KIND, (change.name,), "update", bound(work.conn.network.update_network, change.id, **fields))


def delete(conn: Connection, change: Change) -> None:
    """Delete a network, and its subnets with it."""
    conn.network.delete_network(change.id)
