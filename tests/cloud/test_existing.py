"""What exists is used by a real Neutron and left as it was; floating addresses are given, kept and moved there."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

pytestmark = pytest.mark.full


@pytest.fixture
def campus(cloud):
    """Make a network with its router, a security group and a floating address, as somebody else would."""
    network = cloud.network
    with contextlib.ExitStack() as stack:
        outside = next(network.networks(is_router_external=True)).id
        net = network.create_network(name="campus")
        stack.callback(network.delete_network, net)
        subnet = network.create_subnet(network_id=net.id, ip_version=4, cidr="10.77.0.0/24", gateway_ip="10.77.0.1")
        router = network.create_router(name="campus-rt", external_gateway_info={"network_id": outside})
        stack.callback(network.delete_router, router)
        network.add_interface_to_router(router, subnet_id=subnet.id)
        stack.callback(network.remove_interface_from_router, router, subnet_id=subnet.id)
        group = network.create_security_group(name="monitoring")
        stack.callback(network.delete_security_group, group)
        address = network.create_ip(floating_network_id=outside, description="mine")
        stack.callback(network.delete_ip, address)
        yield str(address.floating_ip_address)


def topology(door: Any, worker: Any) -> dict[str, Any]:
    return {
        "networks": {
            "campus": {"existing": True, "cidr": "10.77.0.0/24", "gateway": "10.77.0.1"},
            "inner": {"cidr": "192.168.77.0/24"},
        },
        "routers": {"rt": {"existing": "campus-rt", "external": True, "networks": ["campus", "inner"]}},
        "hosts": {
            "door": {"network": "campus", "floating_ip": door, "security_groups": ["monitoring"]},
            "worker": {"network": "inner", "floating_ip": worker},
        },
    }


def floating(cloud) -> dict[str, str | None]:
    """Return by address which of our ports each floating address leads to."""
    ports = {port.id: port.name for port in cloud.network.ports()}
    ips = cloud.network.ips(project_id=cloud.current_project_id)
    return {str(ip.floating_ip_address): ports.get(ip.port_id) for ip in ips}


def test_what_exists_is_used_and_left_as_it_was(site, cloud, campus):
    before = site.listing()
    kept_on_door = topology({"keep": True}, campus)
    assert site.run(kept_on_door, check=True)["changed"]
    assert site.listing() == before
    site.run(kept_on_door)
    (kept,) = [address for address, port in floating(cloud).items() if port == "lab-door"]
    assert floating(cloud)[campus] == "lab-worker"
    assert not site.run(kept_on_door)["changes"]
    # the words change places, and so do the addresses
    site.run(topology(campus, {"keep": True}))
    assert floating(cloud) == {campus: "lab-door", kept: "lab-worker"}
    assert not site.run(topology(campus, {"keep": True}))["changes"]
    site.gone()
    assert floating(cloud) == {campus: None, kept: None}
    cloud.network.delete_ip(cloud.network.find_ip(kept))
    assert site.listing() == before
