"""What of a plan is in the cloud, to compare two plans by, whatever the order in their files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netorder.plan.model import Plan


def in_the_cloud(plan: Plan) -> dict[str, Any]:
    """Return of a plan what the cloud has: networks, routers, ports, and the rules at each port."""
    rules = {group.name: frozenset(group.rules) for group in plan.security_groups}
    return {
        "networks": {network.name: network for network in plan.networks},
        "routers": {router.name: replace(router, interfaces=(), routes=()) for router in plan.routers},
        "interfaces": {i.port_name: i for router in plan.routers for i in router.interfaces},
        "routes": {router.name: {*router.routes} for router in plan.routers},
        "ports": {p.cloud_name: replace(p, security_groups=()) for host in plan.hosts for p in host.ports},
        "rules": {p.cloud_name: [rules[name] for name in p.security_groups] for host in plan.hosts for p in host.ports},
        "hosts": {host.name: (host.image, host.flavor, host.floating, host.forwarding) for host in plan.hosts},
    }
