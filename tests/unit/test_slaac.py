"""IPv6 addresses that hosts make up from their MAC addresses: in the plan, asked for, compared."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address, IPv6Network
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_reconcile_compare import KEY, altered, as_built, bodies, brief, compare, planned, work

from netorder.analysis.reach import Matrix
from netorder.ansible.inventory import host_vars
from netorder.cloud.resources import router_interface
from netorder.ip import eui64, mac_of

if TYPE_CHECKING:
    from pathlib import Path


TEXT = """
topology: t
networks:
  lan: {cidr: [10.1.0.0/24, "fd00:1::/64"], ipv6_address_mode: slaac}
  six: {cidr: "fd00:2::/64", ipv6_address_mode: dhcpv6-stateless}
  usual: {cidr: "fd00:3::/64"}
routers:
  edge: {external: true, networks: [lan, six, usual]}
hosts:
  door: {network: lan, mac_address: "fa:16:3e:00:00:10", floating_ip: true}
  pc: {network: lan}
  web: {network: six}
  old: {network: usual}
"""
MAC = "fa:16:3e:00:00:99"
MACS = st.integers(0, (1 << 48) - 1).map(lambda number: number.to_bytes(6, "big").hex(":"))


plan = partial(planned, TEXT)


def test_the_example_of_rfc_4291() -> None:
    assert eui64(IPv6Network("fe80::/64"), "34:56:78:9a:bc:de") == IPv6Address("fe80::3656:78ff:fe9a:bcde")


@given(MACS)
def test_a_mac_address_comes_back(mac: str) -> None:
    assert mac_of(eui64(IPv6Network("fd00:1::/64"), mac)) == mac


@pytest.mark.parametrize("address", ["fd00::1", "fd00::ff:fe00:0:0", "fd00::fffe:0"])
def test_an_address_of_no_mac_address(address: str) -> None:
    assert mac_of(IPv6Address(address)) is None


def test_the_plan_chooses_mac_addresses_where_addresses_follow_from_them() -> None:
    its = {host.name: host.ports[0] for host in plan().hosts}
    assert its["door"].addresses[1] == "fd00:1::f816:3eff:fe00:10"
    for name, prefix in (("pc", "fd00:1::/64"), ("web", "fd00:2::/64")):
        mac = its[name].mac_address
        assert mac
        assert mac.startswith("02:")  # locally administered, of one receiver
        assert its[name].addresses[-1] == str(eui64(IPv6Network(prefix), mac))
    assert its["old"].mac_address is None


def test_the_mac_address_of_a_host_stays_when_others_come() -> None:
    before = {host.name: host.ports for host in plan().hosts}
    after = {host.name: host.ports for host in plan(("  old:", "  new: {network: six, count: 9}\n  old:")).hosts}
    assert {name: after[name] for name in before} == before


def test_two_topologies_draw_other_mac_addresses() -> None:
    """They may meet on one existing network."""
    mine, other = (plan(("topology: t", f"topology: {name}")) for name in ("one", "two"))
    assert mine.hosts[1].ports[0].mac_address != other.hosts[1].ports[0].mac_address


def test_what_is_asked_for() -> None:
    its = bodies(plan())
    modes = {name: (its[name].get("ipv6_ra_mode"), its[name].get("ipv6_address_mode")) for name in its}
    assert modes["t-lan.ipv6"] == ("slaac", "slaac")
    assert modes["t-six"] == ("dhcpv6-stateless", "dhcpv6-stateless")
    assert modes["t-usual"] == ("dhcpv6-stateful", "dhcpv6-stateful")
    assert modes["t-lan"] == (None, None)
    # Neutron refuses to be told an address there, and makes the same of the MAC address
    four, six = its["t-pc"]["fixed_ips"]
    assert "ip_address" in four
    assert six == {"subnet_id": "subnet:t-lan.ipv6"}
    assert its["t-pc"]["mac_address"] == plan().hosts[1].ports[0].mac_address
    assert its["t-old"]["fixed_ips"][0]["ip_address"] == plan().hosts[3].ports[0].addresses[0]
    # a port becomes a router's when it is attached
    assert its["t-edge.six"]["fixed_ips"] == [{"subnet_id": "subnet:t-six"}]
    assert its["t-edge.usual"]["fixed_ips"] == [{"subnet_id": "subnet:t-usual", "ip_address": "fd00:3::1"}]


@pytest.mark.parametrize("held", ["", "router:edge"])
def test_a_router_whose_port_was_not_given_its_address_yet_gets_it(held: str) -> None:
    """A run may end between the port and its address, before the port is attached or after."""
    asked: list[tuple[str, object]] = []
    wanted = plan()
    built = as_built(wanted)
    fixed = [{"subnet_id": "subnet:t-six", "ip_address": "fd00:2::f816:3eff:fe00:99"}]
    ports = altered(built.ports, "t-edge.six", fixed_ips=fixed, mac_address=MAC, device_id=held)
    one = work(wanted, replace(built, ports=ports))
    network = SimpleNamespace(
        add_interface_to_router=lambda router, port: asked.append((router, port)),
        update_port=lambda port, fixed_ips: asked.append((port, [one["ip_address"] for one in fixed_ips])),
    )
    one.cloud = SimpleNamespace(conn=SimpleNamespace(network=network))
    for job in router_interface.attachments(one):
        job.call()
    attached = [] if held else [("router:edge", "port:t-edge.six")]
    assert asked == [*attached, ("port:t-edge.six", ["fd00:2::1"])]


def test_what_is_built_is_no_difference() -> None:
    assert brief(as_built(plan()), plan()) == []


def test_another_mode_makes_the_subnet_anew_and_its_ports() -> None:
    slaac, usual = plan(), plan((", ipv6_address_mode: dhcpv6-stateless", ""))
    for before, after in ((usual, slaac), (slaac, usual)):
        changes, problems = compare(after, as_built(before), key=KEY)
        replaced = {(c.kind, c.name): c.reason for c in changes if c.action == "replace"}
        assert replaced["subnet", "t-six"] == "its address mode differs"
        assert ("port", "t-web") in replaced
        assert ("port", "t-pc") not in replaced
        assert problems == []


def test_an_address_that_neutron_adds_by_itself_is_no_difference() -> None:
    """On every subnet with SLAAC of a network ports get one, also where others made it, and do not lose it."""
    wanted = plan((', "fd00:1::/64"], ipv6_address_mode: slaac', "]"))
    for address, found in (("fd00:9::f816:3eff:fe00:10", []), ("fd00:9::f816:3eff:fe00:11", ["update"])):
        built = as_built(wanted)
        door = next(one for one in built.ports if one.name == "t-door")
        fixed = [*door.fixed_ips, {"subnet_id": "subnet:other", "ip_address": address}]
        built = replace(built, ports=altered(built.ports, "t-door", fixed_ips=fixed))
        assert [change.action for change in compare(wanted, built, key=KEY)[0]] == found  # another's: somebody gave it


def test_hosts_are_not_told_addresses_that_they_make_up(tmp_path: Path) -> None:
    """But they must have them."""
    wanted = plan()
    its = {host.name: found for host, found in host_vars(Matrix(wanted), tmp_path / "ssh", tmp_path / "t.yml")}
    assert its["pc"]["netorder_addresses"] == list(wanted.hosts[1].addresses)
    assert its["pc"]["netorder_interfaces"] == []
