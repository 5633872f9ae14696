"""The calculator as a topology: for targets with networks, and for machines that are alone, each behind its NAT. Pure.

Its ports are not those of topologies/calculator.yml, which may run beside the benchmark.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PORTS = {"calculator": 56000, "sum": 56001, "sub": 56002, "mul": 56003, "div": 56004}
OPERATIONS = ("sum", "sub", "mul", "div")
CALLS = {"calculator": ("(5+3)*2", "result = 16"), "sum": ("7 2", "9")}  # what is asked, and the answer
FRONT = ("calculator", "sum")  # on the front network, asked from outside
GATEWAY = "10.0.2.2"  # this machine, as a machine behind QEMU's NAT sees it
MEMORY = 256  # MiB, as the flavor small of the local cloud


def applications(shipped: Mapping[str, Any], source: Path, peers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the shipped applications on the benchmark's ports; ``peers`` are URLs in place of those of the plan."""
    found: dict[str, Any] = deepcopy(dict(shipped))
    for name, its in found.items():
        its["ports"] = [PORTS[name]]
        its["vars"] = {**its["vars"], "calculator_source": str(source)}
        its["container"].pop("build", None)  # the image is there
        if peers is not None:
            # the plan knows no way from one machine to another, nor is there one but this machine's forwarded ports
            its.pop("calls", None)
            del its["container"]
            its["vars"]["calculator_peers"] = dict(peers) if name == "calculator" else {}
    return found


def networked(name: str, its: Mapping[str, Any]) -> str:
    """Return five hosts on two networks. ``sum`` is in front, since it is asked from outside too."""
    hosts: dict[str, Any] = {one: {"network": "net1", "applications": [one], "floating_ip": True} for one in FRONT}
    hosts |= {one: {"network": "net2", "applications": [one]} for one in ("sub", "mul", "div")}
    allow = [{"from": "anywhere", "to": one, "tcp": [22, PORTS[one]]} for one in FRONT]
    return _text(
        topology=name,
        applications=dict(its),
        networks={"net1": {"cidr": "10.213.1.0/24"}, "net2": {"cidr": "10.213.2.0/24"}},
        routers={"rt1": {"external": True, "networks": ["net1"]}, "rt2": {"networks": ["net1", "net2"]}},
        hosts=hosts,
        allow=[*allow, {"from": "calculator", "to": [*OPERATIONS], "application": True}],
    )


def machines(name: str, its: Mapping[str, Any], ports: Mapping[str, int]) -> str:
    """Return five machines, each with a forwarded port of this machine."""
    hosts = {
        one: {
            "network": "nat",
            "memory": MEMORY,
            "applications": [one],
            "forward": [{"host": port, "guest": PORTS[one]}],
        }
        for one, port in ports.items()
    }
    return _text(topology=name, target="machine", applications=dict(its), networks={"nat": {}}, hosts=hosts)


def _text(**document: object) -> str:
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=200)
