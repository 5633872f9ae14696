"""The measured topology, of any size: a door with a floating IP in front, the other hosts behind it, twenty a network.

Five hosts have the shape of topologies/calculator.yml: two networks, two routers, one host in front and four behind.
There are no extra routes, since a play of openstack.cloud modules cannot set a router's.
"""

from __future__ import annotations

from typing import Any

import yaml

HOSTS_EACH = 20  # on one network
ROLES = 4


def topology(name: str, hosts: int) -> str:
    """Return the text of a topology file for so many hosts."""
    behind = hosts - 1
    nets = [f"net{index}" for index in range(1, -(-behind // HOSTS_EACH) + 1)]
    networks = {net: {"cidr": f"10.20.{index}.0/24"} for index, net in enumerate(["front", *nets])}
    routers: dict[str, Any] = {"edge": {"external": True, "networks": ["front"]}, "core": {"networks": [*networks]}}
    entries: dict[str, Any] = {"door": {"network": "front", "floating_ip": True}}
    for index in range(behind):
        entries[f"host{index + 1}"] = {"network": nets[index // HOSTS_EACH], "groups": [f"role{index % ROLES}"]}
    rules: list[dict[str, Any]] = [{"from": "anywhere", "to": "door", "tcp": 22, "icmp": True}]
    rules += [{"from": "door", "to": f"role{index}", "tcp": 8000 + index} for index in range(min(ROLES, behind))]
    document = {"topology": name, "networks": networks, "routers": routers, "hosts": entries, "allow": rules}
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=200)
