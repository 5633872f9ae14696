"""What the cloud has of a topology, as plain data for an archive: servers, the images they are of, host keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from netorder.cloud.golden import goldens
from netorder.cloud.observe import observe
from netorder.cloud.reconcile import host_facts
from netorder.cloud.session import connect
from netorder.cloud.snapshots import snapshots

if TYPE_CHECKING:
    from netorder.cloud.change import Progress
    from netorder.plan.model import Plan

__all__ = ["ask"]


def ask(plan: Plan, progress: Progress) -> dict[str, Any]:
    """Ask the cloud that OS_CLOUD or OS_* name, and change nothing; raises CloudError."""
    cloud = connect(progress, plan.cloud)
    observed = observe(cloud, plan.topology)
    servers = {str(one.name): one for one in observed.servers}
    hosts: dict[str, dict[str, Any]] = {}
    for name, facts in host_facts(plan, observed, observed.servers, {}).items():
        server = servers.get(next(host.cloud_name for host in plan.hosts if host.name == name))
        hosts[name] = asdict(facts) | {
            "image": str(server.image.id) if server and server.image else None,
            "flavor": str(server.flavor.original_name) if server else None,
            "status": str(server.status) if server else None,
        }
    return {
        "project": cloud.project,
        "hosts": hosts,
        "snapshots": [asdict(one) for one in snapshots(cloud, plan.topology)],
        "golden": [asdict(one) for one in goldens(cloud, plan.topology)],
    }
