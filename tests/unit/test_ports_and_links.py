"""Virtual and MAC addresses, networks without DHCP, gateways outside, limits of what hosts send: plan and cloud."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from test_reconcile_compare import KEY, altered, as_built, bodies, brief, compare, planned, work

from netorder.analysis.reach import Matrix
from netorder.ansible.inventory import host_vars
from netorder.cloud.resources import router, server
from netorder.language.load import parse
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from pathlib import Path


TEXT = """
topology: t
networks:
  lan: {cidr: 10.1.0.0/24}
  quiet: {cidr: [10.2.0.0/24, "fd00:2::/64"], dhcp: false}
  link: {cidr: 10.3.0.0/30, dhcp: false}
routers:
  edge: {external: {address: 172.24.4.7, snat: false}, networks: [lan, link]}
  far: {networks: [link, quiet]}
hosts:
  door: {network: lan, floating_ip: true, mac_address: "fa:16:3e:00:00:10"}
  lb: {network: lan, count: 2, virtual_addresses: 10.1.0.100, manage: {addresses: true}}
  still: {network: quiet}
  gone: {network: lan, routes: [{to: 0.0.0.0/0, via: 10.1.0.50}]}
  nat: {network: lan, address: 10.1.0.50, forward: true}
allow:
  - {from: 203.0.113.0/24, to: door, tcp: 22}
  - {from: lan, to: nat, all: true}
  - {from: still, to: lb-1, tcp: 80}
  - {within: lb, protocol: vrrp}
"""


plan = partial(planned, TEXT)


def test_what_is_asked_for() -> None:
    its = bodies(plan())
    assert its["t-lb-1"]["allowed_address_pairs"] == its["t-lb-2"]["allowed_address_pairs"]
    assert its["t-lb-1"]["allowed_address_pairs"] == [{"ip_address": "10.1.0.100"}]
    assert its["t-door"]["mac_address"] == "fa:16:3e:00:00:10"
    assert "mac_address" not in its["t-lb-1"]
    assert its["t-link"]["enable_dhcp"] is False
    assert "allocation_pools" not in its["t-link"]  # Neutron takes an empty list for none said
    assert not {"ipv6_ra_mode", "ipv6_address_mode"} & its["t-quiet.ipv6"].keys()
    gateway = {"network_id": "x", "external_fixed_ips": [{"ip_address": "172.24.4.7"}], "enable_snat": False}
    assert its["t-edge"]["external_gateway_info"] == gateway
    assert brief(as_built(plan()), plan()) == []


def test_a_host_without_dhcp_gets_a_config_drive() -> None:
    drives = {host.name: server.needs_config_drive(plan(), host) for host in plan().hosts}
    assert [name for name, drive in drives.items() if drive] == ["still"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("virtual_addresses: 10.1.0.100", "virtual_addresses: 10.1.0.101"),
         [("update", kind, name) for kind in ("security group", "port") for name in ("t-lb-1", "t-lb-2")]),
        ((', mac_address: "fa:16:3e:00:00:10"', ""), []),
        (("fa:16:3e:00:00:10", "fa:16:3e:00:00:11"),
         [("replace", "port", "t-door"), ("update", "server", "t-door"),
          ("update", "floating IP", "door")]),
        (("172.24.4.7", "172.24.4.8"), [("update", "router", "t-edge")]),
        (("address: 172.24.4.7, ", ""), []),
        ((", snat: false", ""), [("update", "router", "t-edge")]),
    ],
)  # fmt: skip
def test_what_a_change_is(change: tuple[str, str], found: list[tuple[str, str, str]]) -> None:
    assert brief(as_built(plan()), plan(change)) == found


def test_translation_is_asked_for_again_where_it_comes_back() -> None:
    one = work(plan((", snat: false", "")), as_built(plan()))
    (change,) = one.changes.of(router.RouterChange)
    assert router.update_body(one, change)["external_gateway_info"]["enable_snat"] is True


def test_dhcp_is_not_switched_off_under_hosts_nor_of_ipv6() -> None:
    """It is where no server is yet, and what somebody else switched off comes back."""
    on = plan(('[10.2.0.0/24, "fd00:2::/64"], dhcp: false', "10.2.0.0/24"))
    off = plan(('[10.2.0.0/24, "fd00:2::/64"]', "10.2.0.0/24"))
    _, problems = compare(off, as_built(on), key=KEY)
    assert "off under still, which would lose their addresses" in problems[0]
    built = as_built(on)
    servers = tuple(one for one in built.servers if one.name != "t-still")
    ports = tuple(one for one in built.ports if one.name != "t-still")
    changes, problems = compare(off, replace(built, servers=servers, ports=ports), key=KEY)
    assert not problems
    assert ("update", "t-quiet") in [(one.action, one.name) for one in changes]
    drifted = altered(as_built(on).subnets, "t-quiet", enable_dhcp=False)
    assert brief(replace(as_built(on), subnets=drifted), on) == [("update", "subnet", "t-quiet")]
    both = plan(("dhcp: false}\n  link", "dhcp: true}\n  link"))
    _, problems = compare(plan(), as_built(both), key=KEY)
    assert any("IPv6 has its modes from creation on" in one for one in problems)


def test_a_virtual_address_is_judged_on_all_its_hosts() -> None:
    matrix = Matrix(plan())
    found = matrix.explain("still", "10.1.0.100", "tcp", 80)
    assert (found.state, found.reason.rpartition(", ")[2]) == ("closed", "where lb-2 has 10.1.0.100")
    assert matrix.verdict("lb-1", "10.1.0.100", "vrrp") == "open"
    assert matrix.verdict("10.1.0.100", "door", "tcp", 22) == "closed"
    assert matrix.explain("outside", "10.1.0.100", "tcp", 80).state == "no route"


def test_what_a_host_is_told(tmp_path: Path) -> None:
    """The role leaves virtual addresses alone; a host that is a gateway takes the place of the router's."""
    said = {host.name: its for host, its in host_vars(Matrix(plan()), tmp_path, tmp_path)}
    assert said["lb-2"]["netorder_virtual_addresses"] == ["10.1.0.100"]
    assert said["gone"]["netorder_default_routes"] == [{"destination": "0.0.0.0/0", "next_hop": "10.1.0.50"}]
    (interface,) = said["gone"]["netorder_interfaces"]
    assert interface["unwanted"] == [4]
    assert said["still"]["netorder_interfaces"] == []
    told = plan(
        ('"fd00:2::/64"], dhcp: false', '"fd00:2::/64"], dhcp: false, mtu: 1400'), ("lan: {", "lan: {mtu: 1450, ")
    )
    said = {host.name: its for host, its in host_vars(Matrix(told), tmp_path, tmp_path)}
    assert [one["mtu"] for one in said["still"]["netorder_interfaces"]] == [1400]  # nobody else tells it
    assert said["door"]["netorder_interfaces"] == []  # DHCP does
    gone = next(host for host in plan().hosts if host.name == "gone")
    assert server.first_boot(plan(), gone) is None  # SSH comes by the router's until then


LONG = """
topology: t
networks:
  lan: {cidr: [10.1.0.0/24, "fd00:1::/80"]}
  far: {cidr: "fd00:1:0:0:1::/112"}
  alone: {cidr: [10.2.0.0/24, "fd00:2::/120"]}
  link: {cidr: "fd00:ff::/126", dhcp: false}
routers:
  edge: {external: true, networks: [lan, link]}
  rt: {networks: [link, far]}
hosts:
  door: {networks: [lan, alone], floating_ip: true}
  pc: {network: far}
allow: [{from: door, to: pc, tcp: 80}]
"""


def test_prefixes_that_are_no_64(tmp_path: Path) -> None:
    """They are given by DHCPv6 as a /64 is, and hosts are told of them."""
    wanted = build_plan(parse(LONG))
    its = bodies(wanted)
    modes = {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
    assert {name: its[name].get("allocation_pools") for name in ("t-lan.ipv6", "t-far", "t-alone.ipv6", "t-link")} == {
        "t-lan.ipv6": [{"start": "fd00:1::100", "end": "fd00:1::1ff"}],
        "t-far": [{"start": "fd00:1::1:0:0:100", "end": "fd00:1::1:0:0:1ff"}],
        "t-alone.ipv6": [{"start": "fd00:2::f8", "end": "fd00:2::ff"}],
        "t-link": None,
    }
    assert [modes.items() <= its[name].items() for name in ("t-far", "t-link")] == [True, False]
    assert brief(as_built(wanted), wanted) == []
    said = {host.name: its for host, its in host_vars(Matrix(wanted), tmp_path, tmp_path)}
    assert said["door"]["netorder_ipv6_prefixes"] == ["fd00:1::/80", "fd00:2::/120"]
    (_, alone) = said["door"]["netorder_interfaces"]
    assert [one.rpartition("/")[2] for one in alone["static"]] == ["120"]
    assert Matrix(wanted).verdict("door", "pc", "tcp", 80) == "open"


def test_limits_let_hosts_start_and_reach_those_behind_them() -> None:
    limited = plan(("allow:", "egress: [{from: door, all: false}, {from: lb, to: still, tcp: 443}]\nallow:"))
    matrix = Matrix(limited)
    rules = {g.name: [r for r in g.rules if r.direction == "egress"] for g in limited.security_groups}
    assert {rule.remote_cidr for rule in rules["door"] if rule.port_min == 80} == {"169.254.169.254/32"}
    assert matrix.verdict("door", "lb-1", "tcp", 22) == "open"
    assert matrix.verdict("door", "lb-1", "tcp", 23) == "closed"
    assert matrix.verdict("door", "outside", "tcp", 443) == "closed"
    assert brief(as_built(limited), limited) == []
    assert {change[:2] for change in brief(as_built(plan()), limited)} == {("update", "security group")}


PAIR = """
topology: t
networks:
  front: {cidr: 10.1.0.0/24}
  back: {cidr: 10.2.0.0/24}
routers: {edge: {external: true, networks: [front]}}
hosts:
  web: {network: front}
  gate: {networks: [front, back], count: 2, forward: true, virtual_addresses: 10.2.0.101}
  db: {network: back, routes: [{to: 0.0.0.0/0, via: 10.2.0.101}]}
allow:
  - {within: gate, protocol: vrrp}
  - {from: back, to: gate, udp: 53}
"""


def test_a_virtual_address_is_a_gateway_wherever_it_is() -> None:
    """Inside, packets keep to one of the pair, by which the answers come; both pass what goes out."""
    pair = build_plan(parse(PAIR))
    hosts = {host.name: host for host in pair.hosts}
    assert hosts["db"].gateways == ("10.2.0.101",)
    assert [route.destination for route in hosts["db"].routes] == ["10.1.0.0/24"]
    for name in ("gate-1", "gate-2"):
        back = next(port for port in hosts[name].ports if port.network == "back")
        assert back.allowed_address_pairs[0] == "0.0.0.0/0"
    assert Matrix(pair).verdict("db", "outside", "udp", 53) == "open"
