"""A running topology: that of NETORDER_TOPOLOGY, reached with the SSH configuration that provisioning wrote.

``tests/infra/state`` changes nothing, ``tests/infra/reboot`` reboots hosts, ``tests/infra/repair`` breaks things and
repairs them with Ansible.
"""

from __future__ import annotations

import os
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import openstack
import pytest
import testinfra

from netorder.controller import state
from netorder.language.load import load
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from netorder.plan.model import Host, Plan

    # what the fixture `on` gives
    On = Callable[[Host | str], testinfra.host.Host]

ROOT = Path(__file__).parents[2]
TOPOLOGY = Path(os.environ.get("NETORDER_TOPOLOGY") or ROOT / "topologies/calculator.yml").resolve()
PLAN = build_plan(load(TOPOLOGY))
SSH_CONFIG = state.directory(ROOT / ".netorder", PLAN.cloud, PLAN.topology) / "ssh_config"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test that takes a host: once for each host of that kind."""
    chosen = {
        "planned": PLAN.hosts,
        "serving": [host for host in PLAN.hosts if host.applications],
        "routed": [host for host in PLAN.hosts if host.routes],
        "floating": [host for host in PLAN.hosts if host.floating_ip],
    }
    for name in chosen.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(name, chosen[name], ids=[host.name for host in chosen[name]])


@pytest.fixture(scope="session")
def the_plan() -> Plan:
    """Give the plan of the topology under test."""
    return PLAN


@pytest.fixture(scope="session")
def cloud() -> openstack.connection.Connection:
    """Give a session of our own with the cloud."""
    return openstack.connect()


@pytest.fixture(scope="session")
def on() -> On:
    """Give a function from a planned host, or its name, to a testinfra host; commands run as root there."""
    hosts: dict[str, testinfra.host.Host] = {}

    def connect(host: Host | str) -> testinfra.host.Host:
        name = host if isinstance(host, str) else host.name
        return hosts.setdefault(name, testinfra.get_host(f"ssh://{name}", ssh_config=str(SSH_CONFIG), sudo=True))

    return connect


@pytest.fixture(scope="session")
def address_outside() -> Callable[[Host], str]:
    """Give a function from a host to the address at which it is reached from outside."""

    def look_up(host: Host) -> str:
        settings = subprocess.run(
            ["ssh", "-G", "-F", SSH_CONFIG, host.name], capture_output=True, text=True, check=True
        ).stdout
        return next(line.split()[1] for line in settings.splitlines() if line.startswith("hostname "))

    return look_up


@pytest.fixture(scope="session")
def calculate(address_outside: Callable[[Host], str]) -> Callable[[str], str]:
    """Give a function that posts an expression to the calculator from outside and returns its answer, stripped."""
    host = next(host for host in PLAN.hosts if host.floating_ip and "application_calculator" in host.groups)
    url = f"http://{address_outside(host)}:{host.tcp_ports[0]}/"

    def calculated(expression: str) -> str:
        request = urllib.request.Request(url, data=expression.encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.read().decode().rstrip("\r\n")

    return calculated
