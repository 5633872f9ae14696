"""The plan as an Ansible inventory: groups and variables. Pure; the plugin ``netorder_plan`` hands it on."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from netorder.expect import from_inside, from_outside, route_demonstration

if TYPE_CHECKING:
    from pathlib import Path

    from netorder.model import Host, Plan

__all__ = ["GROUPS", "groups", "host_vars"]

# They exist, empty if need be, in every inventory; what each is for stands in inventory/group_vars/<group>.yml.
GROUPS = ("netorder", "services", "bastions", "sealed", "absent", "stray")


def groups(host: Host) -> tuple[str, ...]:
    """List the groups of ``host``: those of the plan, and ``sealed`` when nothing outside reaches it."""
    return (*host.groups, *(("sealed",) if host.way_in is None else ()))


def host_vars(plan: Plan, host: Host, ssh_config: Path) -> dict[str, Any]:
    """Return the variables of ``host``, plain values. ``ansible_host`` is not among them: the cloud reports it."""
    return {
        "ansible_user": host.user,
        # not ansible_ssh_common_args: Ansible's own ssh_args share connections by address alone, and private addresses
        # repeat from topology to topology; ssh_config has a socket for each incarnation of each host
        "ansible_ssh_args": f"-F {shlex.quote(str(ssh_config))}",
        "netorder_address": host.port.address,
        "netorder_network": host.port.network,
        "netorder_floating_ip": host.floating_ip,
        "netorder_way_in": None if host.way_in is None else list(host.way_in),
        "netorder_depth": None if host.way_in is None else len(host.way_in),
        "netorder_routes": [asdict(route) for route in host.routes],
        "netorder_service": None
        if host.service is None
        else {"name": host.service.name, "port": host.service.port, "peers": dict(host.service.peers)},
        "netorder_inside": [asdict(probe) for probe in from_inside(plan, host)],
        "netorder_outside": [asdict(probe) for probe in from_outside(plan, host)],
        "netorder_demonstration": [asdict(way) for way in route_demonstration(plan, host)],
    }
