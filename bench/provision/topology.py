"""The measured topology, of any size: a door host with a floating address, the others behind it on networks of ten."""

from __future__ import annotations

from typing import Any

import yaml

HOSTS_EACH = 10  # on one network; five hosts have the shape of topologies/calculator.yml: one in front, four behind
ROLES = 4


def topology(name: str, hosts: int) -> str:
    """Return a topology file's text: a front network with the door, and networks behind it, each with its router."""
    behind = hosts - 1
    nets = [f"net{index}" for index in range(1, -(-behind // HOSTS_EACH) + 1)]
    networks = {"front": {"cidr": "10.20.0.0/24"}}
    networks |= {net: {"cidr": f"10.20.{index}.0/24"} for index, net in enumerate(nets, 1)}
    routers: dict[str, Any] = {"edge": {"external": True, "networks": ["front"]}}
    routers |= {f"rt-{net}": {"networks": ["front", net]} for net in nets}
    entries: dict[str, Any] = {"door": {"network": "front", "floating_ip": True}}
    for index in range(behind):
        role = f"role{index % ROLES}"
        entries[f"host{index + 1}"] = {"network": nets[index // HOSTS_EACH], "groups": [role]}
    roles = sorted({group for entry in entries.values() for group in entry.get("groups", ())})
    rules: list[dict[str, Any]] = [{"from": "anywhere", "to": "door", "tcp": 22, "icmp": True}]
    rules += [{"from": "door", "to": role, "tcp": 8000 + index} for index, role in enumerate(roles)]
    document = {"topology": name, "networks": networks, "routers": routers, "hosts": entries, "allow": rules}
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=200)
