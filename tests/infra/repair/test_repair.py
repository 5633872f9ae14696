"""What one run repairs after a manual change or a kill -9, and that it changes nothing else.

The tests run in this order; before and after each of them everything matches the plan.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import yaml

from netorder.controller import state
from playbooks import ROOT, changes, environment, run, topology_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import openstack
    from conftest import On

    from netorder.plan.model import Plan

# The header of a qcow2 disk of 1 MiB (qemu's docs/interop/qcow2.rst) whose L1 table cannot be; Glance takes it.
HEADER = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 20, 0, 1, (3 << 16) + 1, 1 << 16, 1, 0, 0)

pytestmark = pytest.mark.usefixtures("calculates_afterwards")


@pytest.fixture
def calculates_afterwards(calculate: Callable[[str], str]) -> Iterator[None]:
    """Check after each test that the calculator answers, and so all of its services."""
    yield
    assert calculate("(5+3)*2") == "result = 16"


def names(cloud: openstack.connection.Connection, topology: str) -> Counter[tuple[str, str]]:
    """Count what the cloud has of this topology, by type and name."""
    mark = f"{topology}-"
    listed = {
        "server": cloud.compute.servers(),
        "port": cloud.network.ports(),
        "network": cloud.network.networks(),
        "subnet": cloud.network.subnets(),
        "router": cloud.network.routers(),
        "security group": cloud.network.security_groups(),
    }
    found = Counter((kind, item.name) for kind, items in listed.items() for item in items if item.name.startswith(mark))
    marked = f"netorder:{topology}"
    floating = [ip for ip in cloud.network.ips() if ip.description == marked]
    found["floating address", "all"] = len(floating)
    return found


def close_connections(the_plan: Plan) -> None:
    """Make SSH connect again: an open connection survives a new rule, and takes a minute to notice a lost peer."""
    config = state.directory(ROOT / ".netorder", the_plan.cloud, the_plan.topology) / "ssh_config"
    for host in the_plan.hosts:
        subprocess.run(["ssh", "-F", config, "-O", "exit", host.name], stderr=subprocess.DEVNULL, check=False)


def test_a_manually_deleted_route_and_a_stopped_service_come_back(on: On, the_plan: Plan) -> None:
    """The run repairs these two and nothing else, although the services are out of reach until the route is back.

    A preview reports that it cannot see into them, and why.
    """
    on("sum").check_output("systemctl stop netorder-sum")
    on("calculator").check_output("ip route del 192.168.2.0/24")
    behind = ("sum", "sub", "mul", "div")
    close_connections(the_plan)
    assert changes("site.yml", "--check") == {
        ("host_network : Configure the network of the host", "calculator"),
        *(("Report what this check run skips", host) for host in behind),
    }
    assert changes("site.yml") == {
        ("host_network : Configure the network of the host", "calculator"),
        ("calculator : Run the service now and at boot", "sum"),
    }
    assert on("sum").service("netorder-sum").is_running


def test_a_manually_deleted_host_is_created_again_even_by_a_killed_run(
    cloud: openstack.connection.Connection, the_plan: Plan
) -> None:
    """SIGKILL as soon as the server has been requested: what is half created is completed, not created twice."""
    before = names(cloud, the_plan.topology)
    name = f"{the_plan.topology}-div"
    server = cloud.compute.find_server(name, ignore_missing=False)
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, wait=120)
    port = cloud.network.find_port(name)
    if port is not None:
        cloud.network.delete_port(port)

    killed = subprocess.Popen(
        ["ansible-playbook", "playbooks/provision.yml"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not any(cloud.compute.servers(name=f"^{name}$")):
        assert killed.poll() is None, "provisioning ended before it requested the server"
        assert time.monotonic() < deadline, "provisioning did not request the server"
        time.sleep(0.2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()

    changed = {host for _, host in changes("site.yml")}
    # localhost: unless the killed run had made its last request, which the cloud then finished
    assert "div" in changed
    assert changed <= {"localhost", "div"}
    assert names(cloud, the_plan.topology) == before


def test_a_bad_image_is_reported_in_novas_words_and_the_host_replaced_with_a_good_one(
    cloud: openstack.connection.Connection, the_plan: Plan, tmp_path: Path
) -> None:
    """Nova finds out when it has fetched it. To replace one that never ran needs no permission."""
    before = names(cloud, the_plan.topology)
    topology = topology_file()
    topology["hosts"]["more"] = {"network": the_plan.hosts[0].ports[0].network, "image": "netorder-bad"}
    file = tmp_path / "topology.yml"
    provision = ("playbooks/provision.yml", "-e", f"topology={file}")
    image = cloud.image.create_image(
        "netorder-bad", data=HEADER.ljust(512, b"\0"), disk_format="qcow2", container_format="bare"
    )
    try:
        file.write_text(yaml.safe_dump(topology))
        done = run(*provision)
    finally:
        cloud.image.delete_image(image)
    name = f"{the_plan.topology}-more"
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert re.search(rf"Server {name} went to ERROR: Build of instance .* aborted: Disk info file is invalid", said), (
        said
    )
    del topology["hosts"]["more"]["image"]
    file.write_text(yaml.safe_dump(topology))
    assert changes(*provision) == {("Make the cloud match the plan", "localhost")}
    assert [server.status for server in cloud.compute.servers(name=f"^{name}$")] == ["ACTIVE"]
    assert changes("playbooks/provision.yml", "-e", "allow=delete") == {("Make the cloud match the plan", "localhost")}
    assert names(cloud, the_plan.topology) == before


@pytest.mark.parametrize("fault", ["server stopped", "rule deleted"])
def test_a_host_that_does_not_answer_is_explained(
    cloud: openstack.connection.Connection, the_plan: Plan, fault: str
) -> None:
    """The wait ends before its bound, which is beyond this test's patience, and names what a run then fixes."""
    server = next(iter(cloud.compute.servers(name=f"^{the_plan.topology}-calculator$")))
    if fault == "server stopped":
        cloud.compute.stop_server(server)
        cloud.compute.wait_for_server(server, status="SHUTOFF", wait=120)
        cause = "its server is SHUTOFF: provisioning again starts it"
    else:
        ports = list(cloud.network.ports(device_id=server.id))
        for group in {group for port in ports for group in port.security_group_ids}:
            for rule in cloud.network.security_group_rules(security_group_id=group, direction="ingress"):
                if rule.protocol == "tcp" and rule.port_range_min <= 22 <= rule.port_range_max:
                    cloud.network.delete_security_group_rule(rule)
        cause = "no rule of its security groups lets "
    close_connections(the_plan)
    done = run("playbooks/configure.yml", "--limit", "calculator", "-e", "netorder_ssh_timeout=100000")
    said = " ".join((done.stdout + done.stderr).split())
    assert changes("playbooks/provision.yml") == {("Make the cloud match the plan", "localhost")}
    assert done.returncode == 2, said
    assert "calculator does not answer SSH after" in said, said
    assert f"likely cause: {cause}" in said, said
    assert changes("site.yml") == set()


def test_where_ssh_is_blocked_the_allowed_sources_are_reported(the_plan: Plan, tmp_path: Path) -> None:
    """The cause is the topology's own rule, which no waiting changes."""
    topology = topology_file()
    topology["allow"][0]["tcp"].remove(22)
    topology["allow"].append({"from": "203.0.113.0/24", "to": "calculator", "tcp": 22})
    file = tmp_path / "topology.yml"
    file.write_text(yaml.safe_dump(topology))
    assert changes("playbooks/provision.yml", "-e", f"topology={file}") == {
        ("Make the cloud match the plan", "localhost")
    }
    close_connections(the_plan)
    done = run("playbooks/configure.yml", "--check", "-e", f"topology={file}")
    # the cloud has the rule that blocks us: a preview of the other topology reports which hosts it cannot see into
    preview = changes("site.yml", "--check")
    assert changes("playbooks/provision.yml") == {("Make the cloud match the plan", "localhost")}
    assert preview == {
        ("Make the cloud match the plan", "localhost"),
        *(("Report what this check run skips", host.name) for host in the_plan.hosts),
    }
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, said
    assert re.search(
        r"calculator does not answer: [^;]*timed out; "
        r"SSH is allowed from 203\.0\.113\.0/24, and this machine connects from",
        said,
    ), said
    assert changes("site.yml") == set()
