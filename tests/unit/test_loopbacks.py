"""Loopback addresses: who has a route to them, what passes, what hosts are told; subnet pools of the cloud."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import pytest
from openstack.network.v2.subnet import Subnet
from openstack.network.v2.subnet_pool import SubnetPool
from test_existing import Cloud
from test_reconcile_compare import KEY, altered, as_built, brief, compare, planned, work

from netorder.analysis.diff import change
from netorder.analysis.probes import from_inside, route_probes
from netorder.analysis.reach import Matrix
from netorder.ansible.inventory import host_vars
from netorder.cloud.existing import look_up
from netorder.cloud.observe import Observed
from netorder.cloud.resources import subnet
from netorder.containers.compose import compose
from netorder.language.load import parse
from netorder.plan.build import build_plan
from netorder.topology import CONTAINERS

if TYPE_CHECKING:
    from pathlib import Path


TEXT = """
topology: t
networks:
  lan: {cidr: 10.1.0.0/24}
  mid: {cidr: 10.2.0.0/24}
  far: {cidr: 10.3.0.0/24}
routers:
  edge: {external: true, networks: [lan, mid]}
hosts:
  door: {network: lan, floating_ip: true}
  gate: {networks: [mid, far], forward: true, loopback_addresses: 10.255.0.1}
  dns: {network: far, count: 2, loopback_addresses: 10.255.1.53}
allow:
  - {from: 203.0.113.0/24, to: door, tcp: 22}
  - {from: lan, to: dns, tcp: 53}
  - {from: dns, to: door, tcp: 80}
"""


plan = partial(planned, TEXT)


def test_who_has_a_route_by_the_host() -> None:
    wanted = plan()
    hosts = {host.name: host for host in wanted.hosts}
    addresses = {name: {port.network: port.addresses[0] for port in host.ports} for name, host in hosts.items()}
    edge = {(route.destination, route.next_hop) for route in wanted.routers[0].routes}
    gate = addresses["gate"]["mid"]
    assert edge == {
        ("10.3.0.0/24", gate),
        ("10.255.0.1/32", gate),
        ("10.255.1.53/32", gate),
        ("10.255.1.54/32", gate),
    }
    onward = {(route.destination, route.next_hop) for route in hosts["gate"].routes}
    assert {one for one in onward if one[0].startswith("10.255.")} == {
        ("10.255.1.53/32", addresses["dns-1"]["far"]),
        ("10.255.1.54/32", addresses["dns-2"]["far"]),
    }
    assert ("10.255.1.54/32", addresses["dns-2"]["far"]) in {
        (one.destination, one.next_hop) for one in hosts["dns-1"].routes
    }
    assert not [one for one in hosts["door"].routes if one.destination.startswith("10.255.")]  # its gateway leads there


def test_neighbours_of_a_second_network_have_a_route_of_their_own() -> None:
    """The router leads there too, as hosts elsewhere need that: but by the first network, and answers come direct."""
    text = """
topology: t
networks: {front: {cidr: 10.1.0.0/24}, back: {cidr: 10.2.0.0/24}, far: {cidr: 10.3.0.0/24}}
routers: {r: {external: true, networks: [front, back, far]}}
hosts:
  gate: {networks: [front, back], forward: true, loopback_addresses: 10.255.0.1}
  web: {network: front, floating_ip: true}
  db: {network: back}
  app: {network: far}
allow: [{from: [web, db, app], to: gate, udp: 53}]
"""
    wanted = build_plan(parse(text))
    hosts = {host.name: host for host in wanted.hosts}
    routes = {name: [(one.destination, one.next_hop) for one in host.routes] for name, host in hosts.items()}
    direct = ("10.255.0.1/32", hosts["gate"].port("back").addresses[0])
    assert routes == {"gate": [], "web": [], "db": [direct], "app": []}
    matrix = Matrix(wanted)
    for name in ("web", "db", "app"):
        assert matrix.verdict(name, "10.255.0.1", "udp", 53) == "open"


def test_what_passes_the_ports() -> None:
    """Its own ports let the address through, and those of hosts on the path; `from` a host means it too."""
    hosts = {host.name: host for host in plan().hosts}
    assert hosts["dns-1"].ports[0].allowed_address_pairs == ("10.255.1.53",)
    assert "10.255.0.1" in hosts["gate"].port("mid").allowed_address_pairs
    assert "10.255.1.53/32" in hosts["gate"].port("mid").allowed_address_pairs
    rules = {group.name: group.rules for group in plan().security_groups}
    remotes = {rule.remote_cidr for rule in rules["door"] if rule.port_min == 80}
    assert {"10.255.1.53/32", "10.255.1.54/32"} <= remotes


def test_a_loopback_address_opens_nothing_more_of_the_next_hop() -> None:
    """Of a host that forwards nothing, its gateway to the outside lets its own packets through."""
    text = """
topology: t
networks: {a: {cidr: 10.1.0.0/24}, d: {cidr: 10.77.0.0/24}}
hosts:
  pc: {network: a, LOOPBACK, routes: [{to: 172.20.0.0/16, via: 10.1.0.9}]}
  other: {network: d}
  gate: {networks: {a: {address: 10.1.0.9}, d: {}}, forward: true, routes: [{to: 172.20.0.0/16, via: 10.77.0.99}]}
"""
    ports = {}
    for word in ("names: none", "loopback_addresses: 10.255.0.1"):
        gate = build_plan(parse(text.replace("LOOPBACK", word))).hosts[-1]
        ports[word] = {port.network: set(port.allowed_address_pairs) for port in gate.ports}
    before, after = ports.values()
    assert after["d"] - before["d"] == {"10.255.0.1/32"} or after["d"] - before["d"] == {"10.255.0.1"}
    assert "10.77.0.0/24" not in after["d"]


def test_what_reaches_it() -> None:
    matrix = Matrix(plan())
    assert matrix.verdict("door", "10.255.1.54", "tcp", 53) == "open"
    assert matrix.verdict("door", "10.255.1.54", "tcp", 54) == "closed"
    assert matrix.verdict("door", "10.255.0.1", "tcp", 54) == "closed"  # 53 passes it, so it accepts that
    assert [hop.node for hop in matrix.explain("door", "10.255.1.54", "tcp", 53).there] == [
        "door", "edge", "gate", "dns-2",
    ]  # fmt: skip
    assert matrix.verdict("10.255.1.53", "door", "tcp", 80) == "open"
    assert matrix.verdict("10.255.0.1", "door", "tcp", 80) == "closed"
    assert matrix.verdict("10.255.1.53", "10.255.1.54", "tcp", 80) == "closed"
    out = Matrix(plan(("{network: lan, f", "{network: lan, loopback_addresses: 10.255.2.1, f")))
    said = out.explain("10.255.2.1", "outside", "tcp", 80)
    assert (said.state, "loopback address of door" in said.reason) == ("no route", True)
    assert matrix.verdict("outside", "10.255.1.53", "tcp", 53) == "no route"
    assert not matrix.is_outside("10.255.1.53")


def test_what_is_tried_and_what_the_host_is_told(tmp_path: Path) -> None:
    matrix = Matrix(plan())
    probes = {(one.address, one.port, one.open) for one in from_inside(matrix, matrix.hosts["door"])}
    assert ("10.255.1.54", 22, False) in probes
    assert route_probes(matrix, matrix.hosts["gate"]) == ()  # not there before its own host is configured
    said = {host.name: its for host, its in host_vars(matrix, tmp_path, tmp_path)}
    assert said["dns-2"]["netorder_loopback_addresses"] == ["10.255.1.54"]
    assert said["door"]["netorder_loopback_addresses"] == []


def test_a_change_of_it() -> None:
    """Routes, address pairs and rules follow in place; the preview of the run says what diff says."""
    before, after = plan(), plan(("10.255.1.53", "10.255.1.63"))
    assert brief(as_built(after), after) == []
    assert {one[:2] for one in brief(as_built(before), after)} == {
        ("update", "router"),
        ("update", "port"),
        ("update", "security group"),
    }
    differences = change(before, after).differences
    assert {one.action for one in differences} == {"changed"}
    assert any("loopback_addresses: -10.255.1.53, +10.255.1.63" in one.what for one in differences)


def test_a_compose_file_has_it() -> None:
    file = compose(build_plan(parse(TEXT, target=CONTAINERS)), IPv4Network("172.29.1.0/24"), ".", "t.yml")
    assert file.count("ip address replace 10.255.1.53/32 dev lo") == 1
    assert "10.255.1.53/32 via" in file


WIDE = """
topology: t
networks: {lan: {cidr: 10.1.0.0/24}, mid: {cidr: 10.2.0.0/24}}
routers: {edge: {external: true, networks: [lan, mid]}}
hosts:
  pc: {network: lan, routes: [{to: 10.0.0.0/8, via: 10.1.0.50}]}
  vpn: {network: lan, address: 10.1.0.50, forward: true}
  one: {network: mid, loopback_addresses: 10.255.0.1}
allow: [{from: lan, to: [vpn, one], all: true}]
"""


def test_a_wider_route_leaves_it_alone() -> None:
    matrix = Matrix(build_plan(parse(WIDE)))
    assert matrix.verdict("pc", "10.255.0.1", "tcp", 80) == "open"
    assert [hop.node for hop in matrix.explain("pc", "10.255.0.1", "tcp", 80).there] == ["pc", "edge", "one"]


def test_no_network_of_the_pool_holds_it() -> None:
    text = "topology: t\npool: 10.0.0.0/22\nnetworks: {a: {}, b: {}, c: {}}\nhosts:\n"
    text += "  one: {network: a, loopback_addresses: 10.0.2.9}\n  two: {networks: [b, c], forward: true}\n"
    networks = build_plan(parse(text)).networks
    assert {one.subnets[0].cidr for one in networks} == {"10.0.0.0/24", "10.0.1.0/24", "10.0.3.0/24"}


# Subnet pools

POOLED = """
topology: t
networks:
  lan: {cidr: [10.40.1.0/24, "2a00:1450:4001::/64"], subnet_pool: [campus, six]}
routers: {edge: {external: true, networks: [lan]}}
hosts: {pc: {network: lan, floating_ip: true}}
"""
POOLS = [
    SubnetPool.existing(id="p4", name="campus", project_id="p1", ip_version=4, prefixes=["10.40.0.0/16"]),
    SubnetPool.existing(
        id="p6", name="six", project_id="other", ip_version=6, prefixes=["2a00:1450:4001::/48"],
        minimum_prefix_length="64", maximum_prefix_length="64",
    ),
]  # fmt: skip


def look(text: str = POOLED, **lists: Any) -> Any:
    cloud = Cloud(**({"subnet_pools": POOLS, "subnets": []} | lists))
    return look_up(cloud, build_plan(parse(text)), Observed(), addresses_allowed=False)  # type: ignore[arg-type]


def test_subnets_are_taken_of_the_pools() -> None:
    wanted, found = build_plan(parse(POOLED)), look()
    assert found.problems == []
    changes, _ = compare(wanted, Observed(), key=KEY, existing=found)
    built = as_built(wanted)
    one = work(wanted, built)
    bodies = [subnet.create_body(one, its) for its in changes if isinstance(its, subnet.SubnetChange)]
    assert [(its["cidr"], its["subnetpool_id"]) for its in bodies] == [
        ("10.40.1.0/24", "p4"),
        ("2a00:1450:4001::/64", "p6"),
    ]
    there = altered(built.subnets, "t-lan", subnet_pool_id="p4")
    there = altered(there, "t-lan.ipv6", subnet_pool_id="p6")
    same, _ = compare(wanted, replace(built, subnets=there), key=KEY, existing=found)
    assert [one for one in same if one.kind == "subnet"] == []
    other, _ = compare(wanted, as_built(wanted), key=KEY, existing=found)  # not of a pool yet
    assert {(one.action, one.reason) for one in other if one.kind == "subnet"} == {
        ("replace", "its subnet pool differs")
    }
    plain = build_plan(parse(POOLED.replace(", subnet_pool: [campus, six]", "")))
    assert brief(replace(as_built(plain), subnets=there), plain) == []  # taken away, it stays


@pytest.mark.parametrize(
    ("text", "lists", "problem"),
    [
        (POOLED.replace("[campus, six]", "nobody"), {}, "there is no subnet pool nobody in this cloud"),
        (POOLED.replace("10.40.1.0/24", "10.50.1.0/24"), {}, "does not hold 10.50.1.0/24, it has 10.40.0.0/16"),
        (POOLED.replace("4001::/64", "4001::/80"), {}, "gives prefixes from /64 to /64"),
        (
            POOLED.replace('[10.40.1.0/24, "2a00:1450:4001::/64"]', "10.40.1.0/24").replace("[campus, six]", "six"),
            {},
            "six is of IPv6, and",
        ),
        (POOLED, {"subnet_pools": [POOLS[0], POOLS[1], POOLS[0]]}, "2 subnet pools are called campus"),
        (
            POOLED,
            {"subnets": [Subnet.existing(id="s9", name="theirs", network_id="n", cidr="10.40.1.128/25",
                                         subnet_pool_id="p4")]},
            "10.40.1.128/25 is in use (subnet theirs)",
        ),
    ],
)  # fmt: skip
def test_what_a_pool_does_not_give(text: str, lists: dict[str, Any], problem: str) -> None:
    problems = look(text, **lists).problems
    assert len(problems) == 1
    assert problem in problems[0]
    assert "<text>:4" in problems[0]
