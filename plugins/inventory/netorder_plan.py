"""Inventory source: the hosts that the topology plans, whether or not the cloud has them yet."""

from __future__ import annotations

import atexit
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.template import trust_as_template

from netorder.ansible import inventory as planned
from netorder.ansible.applications import order, step_variables
from netorder.ansible.plans import read_matrix
from netorder.controller import proxy, state
from netorder.errors import TopologyError
from netorder.topology import TARGETS

if TYPE_CHECKING:
    from netorder.plan.model import Plan

DOCUMENTATION = """
name: netorder_plan
short_description: hosts, groups and variables of a topology's plan
description:
  - The topology file is the extra variable C(topology), else the environment variable C(NETORDER_TOPOLOGY), else
    the option I(topology).
  - A relative path is resolved in the current directory, then in the directory above that of the inventory file.
options:
  plugin:
    description: Marks the file as this plugin's.
    required: true
    choices: [netorder_plan]
  topology:
    description: The topology file when nothing else names one.
    type: str
    default: topologies/calculator.yml
"""


@cache
def _close_at_exit() -> None:
    """End the connections that carry the proxy when this process ends; those that it forks leave them alone."""
    process = os.getpid()
    atexit.register(lambda: proxy.close(proxy.drawn_port()) if os.getpid() == process else None)


_TEMPLATES = "netorder_role_variables"  # of which texts may be templates, as everything in the user's own files


def _trusted(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return ``value`` with its texts marked as templates."""
    if isinstance(value, dict):
        return {key: _trusted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_trusted(one) for one in value]
    return trust_as_template(value) if isinstance(value, str) else value


def _add_groups(inventory: Any, plan: Plan) -> None:  # noqa: ANN401 - Ansible's
    """Add the groups that every inventory has; that of the hosts with applications has its order."""
    for group in planned.GROUPS:
        inventory.add_group(group)
    for host in order(plan):
        inventory.add_host(host, "applications")


class InventoryModule(BaseInventoryPlugin):
    """Load, check and plan the topology; add its hosts to the inventory."""

    NAME = "netorder_plan"

    def _target(self) -> str | None:
        named = self._vars.get("target") or os.environ.get("NETORDER_TARGET") or None
        if named and named not in TARGETS:
            raise AnsibleParserError(f"target={named}: it is none of {', '.join(TARGETS)}")
        return named

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:  # noqa: ANN401, D102 - Ansible's
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        root = Path(path).resolve().parent.parent
        name = str(self._vars.get("topology") or os.environ.get("NETORDER_TOPOLOGY") or self.get_option("topology"))
        file = Path(name).resolve() if Path(name).exists() else root / name
        try:
            matrix, target = read_matrix(file, self._target())
        except TopologyError as error:
            # one line each: Ansible would fold them into a paragraph
            for line in str(error).splitlines():
                self.display.display(line, color="red", stderr=True)
            raise AnsibleParserError(f"{file} is not a topology that can be built: see the lines above") from None

        the_plan = matrix.plan
        _add_groups(inventory, the_plan)
        directory = state.directory(root / ".netorder", the_plan.cloud, the_plan.topology)
        for variable, value in {
            "topology": str(file),
            "netorder_topology_file": str(file),  # absolute even where the extra variable is not
            "netorder_topology": the_plan.topology,
            "netorder_target": target,
            "netorder_topology_dir": str(file.parent),
            "netorder_off": [],  # hosts that are stopped on purpose, as the cloud has them
            "netorder_environment": {},  # of hosts without a proxy for packages
            "netorder_cloud": the_plan.cloud or "",
            "netorder_files": str(root / ".netorder"),
            "netorder_dir": str(directory),
        }.items():
            inventory.set_variable("all", variable, value)
        for variable, value in step_variables(the_plan, directory).items():
            inventory.set_variable("all", variable, value)
        for host, variables in planned.host_vars(matrix, directory / "ssh_config", file):
            for group in planned.groups(host):
                inventory.add_host(host.name, inventory.add_group(group))
            for variable, value in (variables | planned.proxy_vars(host, directory, proxy.drawn_port())).items():
                inventory.set_variable(host.name, variable, _trusted(value) if variable == _TEMPLATES else value)
        if any(host.proxy == "controller" for host in the_plan.hosts):
            _close_at_exit()
