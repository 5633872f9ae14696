"""Containers on a machine of the test's own: a network namespace with nothing in it, and a neighbour on its network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netorder.containers import target
from netorder.language.load import load
from netorder.plan.build import build_plan

sys.path.insert(0, str(Path(__file__).parents[1] / "packets"))
import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.plan.model import Plan

NAME = f"test{os.getpid()}"
TEXT = f"""
topology: {NAME}
target: containers
networks: {{front: {{cidr: 10.201.1.0/24}}, back: {{cidr: 10.201.2.0/24}}}}
routers:
  out: {{external: true, networks: [front]}}
  in: {{networks: [front, back]}}
applications:
  page: {{role: none, ports: [8080], units: [page.service], check: {{http: /, contains: Directory}}, ready: role}}
hosts:
  web: {{network: front, floating_ip: true, applications: [page]}}
  store: {{network: back}}
allow:
  - {{from: anywhere, to: web, tcp: [22, 8080, 8082], icmp: true}}
  - {{from: web, to: store, tcp: [22, 9000]}}
egress:
  - {{from: store, to: web, tcp: [22, 8080]}}
  - {{from: store, to: 10.201.0.0/16, icmp: true}}
"""


# each file has its own: podman's own networks leave their (empty) tables of rules
@pytest.fixture(scope="module")
def machine() -> Iterator[namespaces.Namespace]:
    """Make the machine and its neighbour, and be in it."""
    here, neighbour = namespaces.Namespace("machine"), namespaces.Namespace("neighbour")
    with here.entered():
        here.ip(
            [
                "link set lo up",
                f"link add lan0 type veth peer name eth0 netns {neighbour.path}",
                "address add 10.202.0.1/24 dev lan0",
                "link set lan0 up",
            ]
        )
        with neighbour.entered():
            up = ["link set lo up", "address add 10.202.0.2/24 dev eth0", "link set eth0 up"]
            neighbour.ip([*up, "route add default via 10.202.0.1"])
        yield neighbour
    neighbour.close()
    here.close()


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an SSH key."""
    file = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    return file


@pytest.fixture(scope="module")
def plan(machine: namespaces.Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    """Give the plan; take away whatever a test made of it, at the end."""
    assert machine  # all of it is there
    file = tmp_path_factory.mktemp("topology") / "t.yml"
    file.write_text(TEXT)
    the_plan = build_plan(load(file))
    yield the_plan
    target.teardown(the_plan.topology, check=False, progress=lambda _: None, images=True)
