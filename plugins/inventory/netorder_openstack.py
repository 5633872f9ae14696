"""Inventory source: which of the planned hosts the cloud has, or this machine, and their addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.plugins.loader import inventory_loader

from netorder.ansible.plans import matrix_of
from netorder.controller import local
from netorder.errors import NetorderError

DOCUMENTATION = """
name: netorder_openstack
short_description: the topology's servers in its cloud
description:
  - The servers of the topology, by the plugin netorder_openstack_servers, which loads OpenStack's libraries; where the
    target is one on this machine the hosts that are there, without these.
  - Needs the source of the plugin netorder_plan before it.
options:
  plugin:
    description: Marks the file as this plugin's.
    required: true
    choices: [netorder_openstack]
"""


class InventoryModule(BaseInventoryPlugin):
    """Asks whom the topology's target names."""

    NAME = "netorder_openstack"

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:  # noqa: ANN401, D102 - Ansible's
        super().parse(inventory, loader, path, cache)
        variables = inventory.groups["all"].get_vars()
        if variables.get("netorder_topology") is None:
            raise AnsibleParserError(
                "which topology? Name all of inventory/, or inventory/10-plan.yml before this file"
            )
        if variables["netorder_target"] in local.LOCAL:
            self._add_local(inventory)
        else:
            inventory_loader.get("netorder_openstack_servers").parse(inventory, loader, path, cache)

    @staticmethod
    def _add_local(inventory: Any) -> None:  # noqa: ANN401 - Ansible's
        variables = inventory.groups["all"].get_vars()
        try:
            plan = matrix_of(variables["netorder_topology_file"]).plan
            found, strays = local.hosts(variables["netorder_target"], plan, Path(variables["netorder_files"]))
        except NetorderError as error:
            raise AnsibleParserError(str(error)) from None
        for host, its in found.items():
            inventory.set_variable(host, "openstack", its)  # as out_of_reach takes it
            inventory.set_variable(host, "ansible_host", its["address"])
            if "forwards" in its:
                inventory.set_variable(host, "netorder_forwards", its["forwards"])
        for host in inventory.groups["netorder"].get_hosts():
            if host.name not in found:
                inventory.add_host(host.name, "absent")
        for stray in strays:
            inventory.add_host(stray, "stray")
