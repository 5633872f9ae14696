"""How many requests a run may make. Not counted: learning a host key (two a host), which fake guests do not have."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGET = (ROOT / "topologies/calculator.yml").read_text().replace("topology: calculator", "topology: lab")
TARGET = TARGET.replace("../applications", f"{ROOT}/applications")
FIFTY = {
    "networks": {f"net{i}": {"cidr": f"10.{i}.0.0/24"} for i in range(5)},
    "routers": {
        "edge": {"external": True, "networks": ["net0"]},
        **{f"rt{i}": {"networks": ["net0", f"net{i}"]} for i in range(1, 5)},
    },
    "hosts": {
        "door": {"network": "net0", "floating_ip": True},
        **{f"host{i}": {"network": f"net{i % 5}"} for i in range(49)},
    },
    "allow": [
        {"from": "10.0.0.0/8", "to": "door", "tcp": [22]},
        {"from": "door", "to": [f"host{i}" for i in range(49)], "tcp": [22], "icmp": True},
    ],
}


@pytest.mark.parametrize(
    ("topology", "from_nothing"),
    [
        pytest.param(TARGET, 45, id="target"),
        pytest.param(FIFTY, 150, id="50 hosts", marks=pytest.mark.full),  # two minutes
    ],
)
def test_requests_are_within_the_budget(site, topology, from_nothing):
    """From nothing as the size demands, and without a change always the same few."""
    made = site.run(topology)
    assert {change["action"] for change in made["changes"]} == {"create"}
    assert made["requests"]["total"] == sum(count for phase, count in made["requests"].items() if phase != "total")
    assert made["requests"]["total"] <= from_nothing, made["requests"]
    again = site.run(topology)
    assert again["changes"] == []
    assert again["requests"]["total"] <= 12, again["requests"]
