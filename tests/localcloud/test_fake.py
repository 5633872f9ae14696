"""Hosts that exist only in Nova's database, for topologies of hundreds: real APIs and ports, no guest. Needs root."""

from __future__ import annotations

import re

import pytest
from conftest import until
from running import Running

HOSTS, WORKERS = 40, 3  # enough to be more than a project's usual quota (10 servers)


@pytest.fixture(scope="module")
def cloud():
    running = Running("fake", "fake")
    running.done("up", LOCALCLOUD_API_WORKERS=str(WORKERS))
    yield running
    running.command("clean")


def test_the_apis_have_the_requested_workers(cloud):
    """Each API has its first process and that number of workers."""
    running = cloud.inside("ps", "-e", "-o", "args").splitlines()
    for name in ("uwsgi-nova", "uwsgi-neutron"):
        assert sum(line.startswith(name) for line in running) == 1 + WORKERS, name


@pytest.mark.full
def test_heat_runs_only_on_request(cloud):
    """Without the request there is neither process nor endpoint; with it a stack creates and deletes its resources."""
    assert "heat" not in cloud.inside("ps", "-e", "-o", "args")
    assert not any(entry["type"] == "orchestration" for entry in cloud.connection().service_catalog)
    refused = cloud.command("up", LOCALCLOUD_HEAT="yes")
    assert refused.returncode == 1
    assert "up without Heat" in refused.stderr
    cloud.done("down")
    cloud.done("up", LOCALCLOUD_HEAT="yes")
    api = cloud.connection()
    resources = {"net": {"type": "OS::Neutron::Net", "properties": {"name": "of-a-stack"}}}
    template = {"heat_template_version": "2018-08-31", "resources": resources}
    stack = api.orchestration.create_stack(name="one", template=template, timeout_mins=5)

    def complete():
        return api.orchestration.get_stack(stack.id).status == "CREATE_COMPLETE"

    def deleted():
        return api.orchestration.find_stack("one") is None

    until(complete, 60, 1)
    assert api.network.find_network("of-a-stack")
    api.orchestration.delete_stack(stack)
    until(deleted, 60, 1)
    assert not api.network.find_network("of-a-stack")
    # as the next test expects it
    cloud.done("down")
    cloud.up()


def room(cloud):
    """Return how many more small guests fit, by ``localcloud status``."""
    line = r"^room for (\d+) more of the flavor small .*; memory is the limit$"
    return int(re.search(line, cloud.done("status"), re.MULTILINE)[1])


@pytest.mark.full
def test_many_hosts_at_once_and_after_a_restart(cloud):
    """All are active with an address each, no guest runs, status counts them, the next start still has them."""
    before = room(cloud)
    api = cloud.connection()
    network = api.network.create_network(name="many")
    api.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.88.0.0/22")
    image, flavor = api.image.find_image("debian-13"), api.compute.find_flavor("small")
    api.compute.create_server(
        name="many", image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}],
        min_count=HOSTS, max_count=HOSTS,
    )  # fmt: skip

    def active():
        found = list(cloud.connection().compute.servers())
        assert "ERROR" not in {server.status for server in found}
        return [server for server in found if server.status == "ACTIVE"][HOSTS - 1 :]

    until(active, 300, 2)
    ports = list(api.network.ports(network_id=network.id, device_owner="compute:nova"))
    assert len({port.fixed_ips[0]["ip_address"] for port in ports}) == HOSTS
    assert "qemu" not in cloud.inside("ps", "-e", "-o", "args")
    assert room(cloud) == before - HOSTS
    cloud.done("down")
    cloud.up()
    until(active, 60, 2)
    assert room(cloud) == before - HOSTS
    api = cloud.connection()
    for server in api.compute.servers():
        api.compute.delete_server(server)

    def deleted():
        ports = api.network.ports(network_id=network.id, device_owner="compute:nova")
        return not list(api.compute.servers()) and not list(ports)

    until(deleted, 300, 2)
    api.network.delete_network(network)
