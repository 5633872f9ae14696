"""Make the changes: what goes first, then what comes, in bulk where Neutron takes it and in threads where not.

Each step finds what an earlier, killed run left by marker and name, so stopping anywhere and running again converges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cloud.change import DESTRUCTIVE
from netorder.cloud.delete import delete
from netorder.cloud.jobs import Job, run
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
from netorder.cloud.work import Work

if TYPE_CHECKING:
    from netorder.cloud.change import ChangeSet
    from netorder.cloud.facts import Facts
    from netorder.cloud.session import Cloud

__all__ = ["apply"]


def apply(cloud: Cloud, changes: ChangeSet, *, facts: Facts, key: str) -> dict[str, str]:
    """Do it all, short of waiting for the servers; return the floating IPs that were made or associated, by host."""
    work = Work(cloud, changes, facts, key)
    server.unplug(work)
    going = [change for change in changes.changes if change.action in DESTRUCTIVE]
    releases = [*port.releases(work), *router_interface.releases(work)]
    loosened = floating_ip.loosened(changes)
    if going or releases or loosened:
        first = [change for change in going if change.kind != security_group.KIND]  # hosts may have to leave those yet
        delete(cloud, changes.topology, [*first, *loosened], changes.first, releases)
    run(cloud, _jobs(work))
    return work.floating


def _jobs(work: Work) -> list[Job]:
    """Return what is to come; the first in the list that are ready go first.

    Servers cost the cloud most, nothing waits for them, and one that boots before its router is there may get no
    metadata: paths first. A security group's rules hold nobody up, since a new group allows nothing until then.
    Ports are before servers and floating IPs here also because these ask which bulk request makes their ports.
    """
    return [
        *keypair.jobs(work),
        *server_group.creations(work),
        *network.creations(work),
        *router.creations(work),
        *router.updates(work),
        *network.updates(work),
        *security_group.creations(work),
        *subnet.creations(work),
        *subnet.updates(work),
        *router_interface.creations(work),
        *router_interface.attachments(work),
        *router.set_routes(work),
        *port.creations(work),
        *port.updates(work),
        *floating_ip.jobs(work),
        *server.creations(work),
        *server.updates(work),
        *security_group.rules(work),
        *security_group.deletions(work),
    ]
