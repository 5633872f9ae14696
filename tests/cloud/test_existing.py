"""What exists is used by a real Neutron and left as it was; floating addresses are given, kept and moved there."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import campus

from netorder.errors import RefusedError

pytestmark = pytest.mark.full


@pytest.fixture
def address(cloud):
    """Make what the topologies use, as somebody else would; return the floating address."""
    with campus(cloud.network) as made:
        yield made


def topology(door: Any = False, worker: Any = False) -> dict[str, Any]:
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


def test_what_exists_is_used_and_left_as_it_was(cloud, address, site):
    before = site.listing()
    kept_on_door = topology({"keep": True}, address)
    assert site.run(kept_on_door, check=True)["changed"]
    assert site.listing() == before
    site.run(kept_on_door)
    (kept,) = [address for address, port in floating(cloud).items() if port == "lab-door"]
    assert floating(cloud)[address] == "lab-worker"
    assert not site.run(kept_on_door)["changes"]
    # the words change places, and so do the addresses
    site.run(topology(address, {"keep": True}))
    assert floating(cloud) == {address: "lab-door", kept: "lab-worker"}
    assert not site.run(topology(address, {"keep": True}))["changes"]
    site.gone()
    assert floating(cloud) == {address: None, kept: None}
    cloud.network.delete_ip(cloud.network.find_ip(kept))
    assert site.listing() == before


@pytest.mark.usefixtures("address")
def test_rules_about_the_members_of_a_group_come_and_go(cloud, site):
    """They come in place and stay as they are; Neutron takes them away with the group, which the next run misses."""
    plain = topology()
    site.run(plain)
    (group,) = cloud.network.security_groups(name="monitoring", project_id=cloud.current_project_id)
    ruled = plain | {"allow": [{"from": {"security_group": "monitoring"}, "to": ["door", "worker"], "tcp": 9100}]}
    made = site.run(ruled)["changes"]
    assert {(one["kind"], one["action"]) for one in made} <= {
        ("security group", "update"),
        ("security group", "create"),
        ("port", "update"),
    }
    rules = list(cloud.network.security_group_rules(remote_group_id=group.id))
    assert {(one.protocol, one.port_range_min, one.remote_ip_prefix) for one in rules} >= {("tcp", 9100, None)}
    assert not site.run(ruled)["changes"]
    site.run(plain)
    assert not [one for one in cloud.network.security_group_rules(remote_group_id=group.id) if one.protocol == "tcp"]
    site.run(ruled)
    for port in cloud.network.ports(name="lab-door"):  # who has a group keeps it from being deleted
        cloud.network.update_port(port, security_groups=[one for one in port.security_group_ids if one != group.id])
    cloud.network.delete_security_group(group)
    assert not list(cloud.network.security_group_rules(remote_group_id=group.id))
    with pytest.raises(RefusedError, match="there is no security group monitoring"):
        site.run(ruled)
    plain["hosts"]["door"].pop("security_groups")
    site.run(plain)
    assert not site.run(plain)["changes"]
