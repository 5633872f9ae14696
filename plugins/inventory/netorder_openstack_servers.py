"""What the inventory source netorder_openstack asks where the target is openstack: the topology's servers."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partialmethod
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleParserError
from ansible_collections.openstack.cloud.plugins.inventory import openstack as upstream

from netorder.cloud.errors import explain
from netorder.cloud.resources.server import METADATA, OFF
from netorder.topology import cloud_and_region

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTATION = """
name: netorder_openstack_servers
short_description: the topology's servers in its cloud
description:
  - C(openstack.cloud.openstack) with fixed options. It reads one cloud only, takes only the servers of the topology
    (metadata C(netorder_topology)), names them as the topology does (metadata C(netorder_host)), and a cloud that does
    not answer is an error, never an empty inventory.
  - Planned hosts that the cloud does not have go to the group C(absent), servers of the topology that the plan does
    not have to the group C(stray).
  - The plugin netorder_openstack calls it; no file names it.
"""


@contextmanager
def _in_region(region: str | None) -> Iterator[None]:
    """Let the upstream plugin read this region of the cloud, for which it has no option: it takes the first."""
    config = upstream.openstack.config.loader.OpenStackConfig
    of_first = config.get_one
    if region:
        config.get_one = partialmethod(of_first, region_name=region)
    try:
        yield
    finally:
        config.get_one = of_first


class InventoryModule(upstream.InventoryModule):
    """The upstream plugin for one cloud and one topology."""

    NAME = "netorder_openstack_servers"

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:  # noqa: ANN401, D102 - Ansible's
        variables = inventory.groups["all"].get_vars()
        topology = variables["netorder_topology"]
        self._fixed: dict[str, Any] = {"server_filters": {"name": f"^{topology}-"}, "compose": {}, "groups": {}}
        self._topology = topology
        cloud = "the cloud"
        try:
            name, region = cloud_and_region(variables.get("netorder_cloud") or None)
            with _in_region(region):
                cloud = upstream.openstack.config.OpenStackConfig().get_one(cloud=name).name
                self._fixed["only_clouds"] = [cloud]
                super().parse(inventory, loader, path, cache)
        except AnsibleParserError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises, there are no servers
            raise AnsibleParserError(f"no servers from {cloud}: {explain(error)}") from None

        off = []
        for host in inventory.groups["netorder"].get_hosts():
            if "openstack" not in host.vars:
                inventory.add_host(host.name, "absent")
                continue
            server = host.vars["openstack"]
            if server["status"] in OFF and METADATA["power"] in (server["metadata"] or {}):
                off.append(host.name)
        inventory.set_variable("all", "netorder_off", off)

    def _read_config_data(self, path: str) -> dict[str, str]:  # noqa: ARG002 - Ansible's
        return {"plugin": self.NAME}  # the file is another plugin's, and says nothing else

    def get_option(self, option: str, hostvars: Any = None) -> Any:  # noqa: ANN401 - Ansible's
        """Return an option of the upstream plugin: they are fixed here, not in the file."""
        fixed = {
            "all_projects": False,
            "cache": False,
            "clouds_yaml_path": None,  # the SDK itself honours OS_CLIENT_CONFIG_FILE
            "expand_hostvars": False,
            "fail_on_errors": True,
            "inventory_hostname": "name",
            "keyed_groups": [],
            "legacy_groups": False,
            "only_ipv4": True,
            "private": False,
            "show_all": True,
            "strict": True,
            "use_names": False,
        }
        options = fixed | self._fixed
        return options[option] if option in options else super().get_option(option, hostvars)

    def _fetch_servers(self, path: str, cache: bool) -> list[dict[str, Any]]:
        servers: dict[str, dict[str, Any]] = {}
        for server in super()._fetch_servers(path, cache):
            metadata = server["metadata"] or {}
            if metadata.get("netorder_topology") != self._topology:
                continue
            name = metadata["netorder_host"]
            if name in servers:
                raise AnsibleParserError(
                    f"the cloud has two servers for host {name} of {self._topology}: {servers[name]['id']} and "
                    f"{server['id']}. Delete one of them: openstack server delete ID"
                )
            servers[name] = {**server, "name": name}
        return list(servers.values())

    def _add_host(self, hostname: str, host_vars: dict[str, Any]) -> None:
        if hostname not in self.inventory.hosts:
            self.inventory.add_host(hostname, "stray")
        if "ansible_host" not in host_vars:  # `only_ipv4` leaves a server of IPv6 alone without one
            fixed = [one["addr"] for net in host_vars["openstack"]["addresses"].values() for one in net]
            host_vars = host_vars | ({"ansible_host": fixed[0]} if fixed else {})
        for variable in ("openstack", "ansible_host"):
            if variable in host_vars:
                self.inventory.set_variable(hostname, variable, host_vars[variable])
