"""Further IPv4 subnets on one network of the cloud: networks of the plan, of which the cloud has a subnet."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import pytest
from openstack.network.v2.network import Network
from openstack.network.v2.subnet import Subnet
from openstack.network.v2.subnet_pool import SubnetPool
from test_existing import look
from test_reconcile_compare import KEY, altered, as_built, bodies, brief, compare, planned

from netorder.analysis.diff import differences
from netorder.analysis.reach import Matrix
from netorder.ansible.inventory import host_vars
from netorder.cloud.observe import Observed
from netorder.cloud.preview import unchanged
from netorder.cloud.resources import network
from netorder.cloud.teardown import deletions
from netorder.containers.wanted import wanted as wanted_of_containers
from netorder.language.load import parse

if TYPE_CHECKING:
    from pathlib import Path

    from netorder.plan.model import Plan

TEXT = """
topology: t
networks:
  more: {cidr: 10.1.1.0/24, subnet_of: lan}
  lan: {cidr: [10.1.0.0/24, "fd00:1::/64"], mtu: 1400}
  other: {cidr: 10.2.0.0/24}
routers:
  edge: {external: true, networks: [lan, more, other]}
hosts:
  door: {network: lan, floating_ip: true}
  pc: {network: more, floating_ip: true}
  far: {network: other}
allow:
  - {from: lan, to: pc, tcp: 80}
"""
RULES = TEXT[TEXT.index("allow:") :]
MORE = "  more: {cidr: 10.1.1.0/24, subnet_of: lan}\n"
PC = "  pc: {network: more, floating_ip: true}\n"
plan = partial(planned, TEXT)


def without_more() -> Plan:
    return plan((MORE, ""), ("lan, more, other", "lan, other"), (PC, ""), (RULES, ""))


def built(wanted: Plan) -> Observed:
    """Return what the cloud lists of a plan, with the MTU that it was given."""
    found = as_built(wanted)
    for one in found.networks:
        one._update(mtu=1400)
    for ip in found.floating_ips:
        ip._update(router_id="router:edge")
    return found


def test_the_cloud_has_one_network_and_the_plan_two() -> None:
    its = {one.name: one for one in plan().networks}
    assert (its["more"].cloud_name, its["more"].subnet_of, its["more"].mtu) == ("t-lan", "lan", 1400)
    assert [one.cloud_name for one in its["more"].subnets] == ["t-more"]
    made = brief(Observed(), plan())
    assert [name for _, kind, name in made if kind == "network"] == ["t-lan", "t-other"]
    assert [name for _, kind, name in made if kind == "subnet"] == ["t-more", "t-lan", "t-lan.ipv6", "t-other"]


def test_what_is_asked_for() -> None:
    its = bodies(plan())
    assert {name: its[name]["network_id"] for name in ("t-more", "t-lan", "t-pc", "t-door", "t-edge.more")} == {
        "t-more": "network:lan",
        "t-lan": "network:lan",
        "t-pc": "network:lan",
        "t-door": "network:lan",
        "t-edge.more": "network:lan",
    }
    assert [fixed["subnet_id"] for fixed in its["t-pc"]["fixed_ips"]] == ["subnet:t-more"]
    assert [fixed["subnet_id"] for fixed in its["t-edge.more"]["fixed_ips"]] == ["subnet:t-more"]
    assert [fixed["subnet_id"] for fixed in its["t-door"]["fixed_ips"]] == ["subnet:t-lan", "subnet:t-lan.ipv6"]


def test_what_is_built_is_no_difference() -> None:
    assert brief(built(plan()), plan()) == []
    counts = unchanged(plan(), ())
    assert (counts["network"], counts["subnet"], counts["router interface"]) == (2, 4, 3)


def test_a_further_subnet_comes_and_nothing_of_its_network_is_touched() -> None:
    made = brief(built(without_more()), plan())
    assert {action for action, _, _ in made} == {"create"}
    assert [one for one in made if one[1] in {"network", "subnet", "router interface", "port"}] == [
        ("create", "subnet", "t-more"),
        ("create", "router interface", "t-edge.more"),
        ("create", "port", "t-pc"),
    ]


def test_a_further_subnet_goes_and_its_network_stays_with_what_is_on_it() -> None:
    gone = brief(built(plan()), without_more())
    assert {one for one in gone if one[1] != "security group"} == {
        ("delete", "subnet", "t-more"),
        ("delete", "router interface", "t-edge.more"),
        ("delete", "port", "t-pc"),
        ("delete", "server", "t-pc"),
        ("delete", "floating IP", "172.24.4.150"),
    }


def test_its_routers_interface_is_replaced_without_the_floating_addresses_of_its_network() -> None:
    """Both are on one network, and only what goes is let go."""
    old = built(plan())
    fixed = [{"subnet_id": "subnet:t-more", "ip_address": "10.1.1.77"}]
    changes, problems = compare(plan(), replace(old, ports=altered(old.ports, "t-edge.more", fixed_ips=fixed)), key=KEY)
    assert problems == []
    assert [(one.action, one.kind, one.id) for one in changes] == [
        ("replace", "router interface", "port:t-edge.more"),
        ("update", "floating IP", "ip:pc"),
    ]


MOVED = ("subnet_of: lan", "subnet_of: other")
ITS_OWN = (", subnet_of: lan", "")
REPLACED = {
    ("replace", "subnet", "t-more"),
    ("replace", "port", "t-pc"),
    ("replace", "router interface", "t-edge.more"),
}


@pytest.mark.parametrize(
    ("before", "after", "others"),
    [
        ([], [MOVED], set()),
        ([MOVED], [], set()),
        ([], [ITS_OWN], {("create", "network", "t-more")}),
        ([ITS_OWN], [], {("delete", "network", "t-more")}),
    ],
    ids=["to another network", "back", "to its own", "from its own"],
)
def test_on_another_network_the_subnet_is_replaced_and_its_ports(before, after, others) -> None:
    old, new = plan(*before), plan(*after)
    changes, problems = compare(new, built(old), key=KEY)
    assert problems == []
    found = {(one.action, one.kind, one.name): one for one in changes}
    assert {one for one in found if one[1] in {"network", "subnet", "port", "router interface"}} == REPLACED | others
    subnet = found["replace", "subnet", "t-more"]
    assert subnet.reason == "it is on another network"
    assert subnet.before != subnet.after
    signs = {"replaced": "replace", "removed": "delete", "added": "create"}
    told = {
        (signs.get(one.action), one.kind, f"t-{one.name}")
        for one in differences(old, new)
        if one.kind in {"network", "subnet", "port", "router interface"}
    }
    assert told == REPLACED | others  # what `diff` foretells


def test_diff_tells_of_a_further_subnet_as_of_a_subnet() -> None:
    told = {(one.action, one.kind, one.name) for one in differences(without_more(), plan())}
    assert ("added", "subnet", "more") in told
    assert not any(kind == "network" for _, kind, _ in told)
    gone = {(one.action, one.kind, one.name): one.permission for one in differences(plan(), without_more())}
    assert gone["removed", "subnet", "more"] == "delete"


def test_a_second_subnet_of_a_name_is_deleted_wherever_it_is() -> None:
    """A killed run's last requests may come late: one on its network, and one that was to be left behind."""
    old = built(plan())
    late = [
        Subnet.existing(id=f"late:{on}", name="t-more", network_id=f"network:{on}", cidr="10.1.1.0/24")
        for on in ("lan", "other")
    ]
    changes, _ = compare(plan(), replace(old, subnets=(*late, *old.subnets)), key=KEY)
    assert [(one.action, one.kind, one.id) for one in changes] == [
        ("delete", "subnet", "late:lan"),
        ("delete", "subnet", "late:other"),
    ]


def test_a_further_subnet_is_not_somebody_elses() -> None:
    old = built(plan())
    for one in old.networks:
        one._update(subnet_ids=[its.id for its in old.subnets if its.network_id == one.id])
    assert [network.foreign_problem(old, one) for one in old.networks] == ["", ""]
    lacking = replace(old, subnets=tuple(one for one in old.subnets if one.name != "t-more"))
    assert "subnet:t-more" in network.foreign_problem(lacking, old.networks[0])


def test_teardown_deletes_its_network_once_after_all_that_is_on_it() -> None:
    kinds = [(one.kind, one.name) for one in deletions(built(plan()))]
    networks = [name for kind, name in kinds if kind == "network"]
    assert networks == ["t-lan", "t-other"]
    last = max(kinds.index(one) for one in kinds if one[0] in {"port", "router interface", "router"})
    assert kinds.index(("network", "t-lan")) > last


def test_traffic_between_two_subnets_of_a_network_goes_by_the_router() -> None:
    found = Matrix(plan()).explain("door", "pc", "tcp", 80)
    assert found.state == "open"
    assert [hop.node for hop in found.there] == ["door", "edge", "pc"]


def test_a_host_with_ipv6_elsewhere_ignores_the_router_that_it_hears(tmp_path: Path) -> None:
    """It advertises itself on the network that a further subnet is on."""
    pairs = [("other: {cidr: 10.2.0.0/24}", 'other: {cidr: ["10.2.0.0/24", "fd00:2::/64"]}')]
    pairs.append(("  far: {network: other}", "  far: {network: other}\n  both: {networks: [more, other]}"))
    its = {host.name: found for host, found in host_vars(Matrix(plan(*pairs)), tmp_path / "ssh", tmp_path / "t.yml")}
    assert [one["unwanted"] for one in its["both"]["netorder_interfaces"]] == [[6], [4]]
    assert its["pc"]["netorder_interfaces"] == []


def test_containers_have_a_bridge_for_each_subnet() -> None:
    """Hosts that reach each other by a router alone cannot tell."""
    one = plan((', "fd00:1::/64"', ""))
    what = wanted_of_containers(one, IPv4Network("10.200.1.0/24"), [], tracks_bridges=True)
    labels = dict(what.bridges.values())
    assert {name: labels[name] for name in ("t-lan", "t-more")} == {"t-lan": 1400, "t-more": 1400}


# Of a network that exists

THERE = """
topology: t
key_pair: laptop
networks:
  hall: {subnet_of: campus, cidr: 10.78.0.0/24, gateway: 10.78.0.1}
  campus: {existing: true, cidr: 10.77.0.0/24, gateway: 10.77.0.1}
hosts:
  door: {network: campus}
  desk: {network: hall}
"""


def test_an_existing_network_has_several_subnets_that_exist() -> None:
    found = look(planned(THERE))
    assert found.problems == []
    assert found.networks == {"campus": "n1", "hall": "n1"}
    assert found.subnets == {"campus": "s1", "t-hall": "s0"}
    made = compare(planned(THERE), Observed(), key=KEY, existing=found)
    assert made[1] == []
    assert {one.kind for one in made[0]} == {"security group", "port", "server"}
    ports = {one.name: (one.network, one.fixed) for one in made[0] if one.kind == "port"}
    assert {name: (network, fixed[0][0]) for name, (network, fixed) in ports.items()} == {
        "t-door": ("campus", "campus"),
        "t-desk": ("campus", "t-hall"),
    }


def test_a_further_subnet_that_an_existing_network_has_not() -> None:
    (problem,) = look(planned(THERE, ("cidr: 10.78.0.0/24, gateway: 10.78.0.1", "cidr: 10.79.0.0/24"))).problems
    assert "Network hall (<text>:5) has no subnet 10.79.0.0/24 in the cloud" in problem
    (missing,) = look(planned(THERE), networks=[]).problems
    assert "Network campus" in missing  # said once


def test_a_port_that_somebody_makes_by_hand_is_on_the_right_subnet() -> None:
    """Where the cloud lets nobody but the network's owner choose addresses."""
    theirs = [Network.existing(id="n1", name="campus", project_id="p2", is_admin_state_up=True)]
    campus, hall = sorted(look(planned(THERE), networks=theirs).problems)
    assert "openstack port create --network n1 --fixed-ip subnet=s1 --description netorder:t t-door" in campus
    assert "openstack port create --network n1 --fixed-ip subnet=s0 --description netorder:t t-desk" in hall


# Of subnet pools

POOLED = """
topology: t
networks:
  lan: {cidr: 10.40.1.0/24, subnet_pool: one}
  more: {cidr: 10.40.2.0/24, subnet_of: lan, subnet_pool: two}
hosts:
  a: {network: lan}
  b: {network: more}
"""


@pytest.mark.parametrize(
    ("pairs", "scope", "said"),
    [
        ([], None, "of subnet pool two, and that of lan of subnet pool one;"),
        ([], "s1", None),
        ([("subnet_pool: two", "subnet_pool: one")], None, None),
        (
            [(", subnet_pool: two", "")],
            None,
            "of none, and that of lan of subnet pool one; .*: write `subnet_pool: one`",
        ),
        ([(", subnet_pool: one", "")], None, "of subnet pool two, and that of lan of none; .*: remove `subnet_pool`"),
    ],
)
def test_subnets_of_one_network_are_of_one_subnet_pool(pairs, scope, said) -> None:
    """Or of pools of one address scope: Neutron makes no others."""
    more = {"ip_version": 4, "prefixes": ["10.40.0.0/16"], "project_id": "p1", "address_scope_id": scope}
    more |= {"minimum_prefix_length": 8, "maximum_prefix_length": 32}
    pools = [SubnetPool.existing(id=f"id-{name}", name=name, **more) for name in ("one", "two")]
    problems = look(planned(POOLED, *pairs), subnet_pools=pools, subnets=[]).problems
    assert len(problems) == (said is not None)
    assert said is None or re.search(said, problems[0])


def test_the_pool_is_that_of_the_first_ipv4_subnet_as_it_is_in_the_cloud() -> None:
    """Where the network itself has none; and of one that was made of a pool that the file does not name any more."""
    more = {"ip_version": 4, "prefixes": ["10.40.0.0/16"], "project_id": "p1", "address_scope_id": None}
    more |= {"minimum_prefix_length": 8, "maximum_prefix_length": 32}
    pools = [SubnetPool.existing(id=f"id-{name}", name=name, **more) for name in ("one", "two")]
    third = "  most: {cidr: 10.40.3.0/24, subnet_of: lan, subnet_pool: one}\nhosts:"
    apart = planned(POOLED, ("cidr: 10.40.1.0/24, subnet_pool: one", 'cidr: "fd40:1::/64"'), ("hosts:", third))
    (problem,) = look(apart, subnet_pools=pools, subnets=[]).problems
    assert "its prefix is of subnet pool one, and that of more of subnet pool two" in problem

    dropped = planned(POOLED, (", subnet_pool: one", ""), (", subnet_pool: two", ""))
    lan = Subnet.existing(id="s1", name="t-lan", cidr="10.40.1.0/24", network_id="n1", subnet_pool_id="id-one")
    (problem,) = look(dropped, observed=Observed(subnets=(lan,)), subnet_pools=pools, subnets=[]).problems
    assert "its prefix is of none, and that of lan of subnet pool id-one" in problem


# What check and diff say


def warnings(text: str, target: str = "openstack") -> list[str]:
    return [one.message for one in parse(text, target=target).warnings if "SSH does not reach" not in one.message]


SIBLINGS = """
topology: t
networks:
  parent: {cidr: 10.1.0.0/24}
  m1: {cidr: 10.1.1.0/24, subnet_of: parent}
  m2: {cidr: 10.1.2.0/24, subnet_of: parent}
routers: {r: {external: true, networks: [m1]}}
hosts:
  a: {network: m1}
  b: {network: m2}
"""


def test_two_further_subnets_that_no_router_joins_are_named() -> None:
    """They are on one link; but of containers each has a bridge of its own."""
    (said,) = warnings(SIBLINGS)
    assert said.startswith("no router joins `m2` and `m1`, and yet hosts of both may reach each other")
    assert warnings(SIBLINGS, "containers") == []


def test_a_host_that_would_send_past_the_router_is_named() -> None:
    """Where DHCP hands out the subnets of the link, and the plan counts on another interface."""
    text = """
topology: t
networks: {mid: {cidr: 10.2.0.0/24}, lan: {cidr: 10.1.0.0/24}, more: {cidr: 10.1.1.0/24, subnet_of: lan}}
routers: {r: {networks: [mid, more], external: true}}
hosts: {g: {networks: [mid, lan], floating_ip: true}, b: {network: more}}
allow: [{from: mid, to: b, tcp: 80}]
"""
    said = "host `g` sends to `more` by `mid`, but DHCP of some clouds (ML2/OVS) has it send by `lan`"
    assert any(one.startswith(said) for one in warnings(text))
    joined = text.replace("[mid, more]", "[mid, lan, more]").replace("[mid, lan], floating", "[lan, mid], floating")
    assert warnings(joined) == []


def test_diff_knows_an_existing_network_by_what_the_cloud_calls_it() -> None:
    """Another name in the file is no difference; another network in the cloud moves the ports."""
    text = """
topology: t
networks:
  campus: {existing: true, cidr: 10.1.0.0/24, gateway: 10.1.0.1}
  hall: {subnet_of: campus, cidr: 10.1.1.0/24, gateway: 10.1.1.1}
hosts: {desk: {network: hall, address: 10.1.1.20}}
"""
    renamed = text.replace("campus: {existing: true", "uni: {existing: campus").replace("of: campus", "of: uni")
    assert [*differences(planned(text), planned(renamed))] == []
    other = text.replace("existing: true", "existing: other")
    (moved,) = differences(planned(text), planned(other))
    assert (moved.kind, moved.name) == ("port", "desk")
