"""What a change of the topology does, as `netorder diff` reports it."""

from __future__ import annotations

import dataclasses
import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netorder.analysis.diff import _resources, change, differences, render, to_json
from netorder.analysis.reach import LAST_PORT, Matrix
from netorder.cloud.compare import compare
from netorder.language.load import load, parse
from netorder.plan.build import build_plan
from netorder.plan.lifecycle import FIELDS
from tests.unit.test_reconcile_compare import KEY, as_built

if TYPE_CHECKING:
    from netorder.plan.model import Plan

ROOT = Path(__file__).parents[2]
TEXT = (
    (ROOT / "topologies/calculator.yml").read_text(encoding="utf-8").replace("../applications", f"{ROOT}/applications")
)
OLD = build_plan(parse(TEXT))
CALLED = {("calculator", name) for name in ("sum", "sub", "mul", "div")}
ALL = CALLED | {("outside", "calculator")}


def fates(old: str, new: str) -> tuple[list[str], dict[tuple[str, str], set[str]]]:
    """Return (what is different, in words) and the fates of the flows to services between each two."""
    text = TEXT.replace(old, new)
    assert text != TEXT
    after = build_plan(parse(text))
    found = {pair: its for pair, its in touched(OLD, after).items() if pair in ALL}
    return [f"{one.action} {one.kind} {one.name}: {one.what}" for one in differences(OLD, after)], found


def touched(old: Plan, new: Plan) -> dict[tuple[str, str], set[str]]:
    """Return the fates of the flows between each two ends."""
    found: dict[tuple[str, str], set[str]] = {}
    for flow in change(old, new).flows:
        for pair in product(flow.sources, flow.destinations):
            if pair[0] != pair[1]:
                found.setdefault(pair, set()).add(flow.fate)
    return found


def lines(old: str, new: str) -> list[str]:
    """Return what `netorder diff` shows of two topologies."""
    return render(change(build_plan(parse(old)), build_plan(parse(new)))).splitlines()


def test_a_new_host_interrupts_nothing():
    shown, found = fates("hosts:\n", "hosts:\n  more: {network: net2}\n")
    assert shown == ["added host more: "]
    assert found == {key: {"kept"} for key in ALL}


def test_another_flavor_restarts_the_host():
    """It is resized in place: nothing is lost, but its flows are interrupted meanwhile."""
    shown, found = fates("div: {network: net2,", "div: {network: net2, flavor: large,")
    assert shown == ["changed host div: flavor: small -> large"]
    assert found == {key: {"kept"} for key in ALL} | {("calculator", "div"): {"interrupted"}}


def test_another_image_is_another_host():
    shown, found = fates("div: {network: net2,", "div: {network: net2, image: other,")
    assert shown == ["replaced host div: image: debian-13 -> other"]
    assert found == {key: {"kept"} for key in ALL} | {("calculator", "div"): {"interrupted"}}


def test_one_more_interface_interrupts_nothing_one_less_does():
    """It is plugged into the running host, which is stopped to unplug it."""
    plain = TEXT.replace("networks:\n", "networks:\n  side: {cidr: 192.168.3.0/24}\n", 1)
    two = plain.replace("div: {network: net2,", "div: {networks: [net2, side],")
    old, new = build_plan(parse(plain)), build_plan(parse(two))
    assert [(one.action, one.kind, one.name) for one in differences(old, new)] == [("added", "port", "div.side")]
    assert {flow.fate for flow in change(old, new).flows} == {"kept"}
    less = [flow for flow in change(new, old).flows if flow.fate != "kept"]
    assert {(flow.fate, flow.why) for flow in less} == {("interrupted", "port div.side is removed")}
    assert all(("div",) in (flow.sources, flow.destinations) or "div at" in flow.destinations[0] for flow in less)
    assert change(new, old).needs_allow == ["delete"]


def test_another_external_network_costs_the_floating_ip():
    shown, found = fates("topology: calculator\n", "topology: calculator\nexternal_network: campus\n")
    assert shown == [
        "changed router rt1: external_network: none -> campus",
        "replaced floating IP calculator: network: none -> campus",
    ]
    assert found == {key: {"interrupted"} if key[0] == "outside" else {"kept"} for key in ALL}


def test_another_user_is_a_change():
    shown, _ = fates("div: {network: net2,", "div: {network: net2, user: me,")
    assert shown == ["changed host div: user: debian -> me"]


def test_another_prefix_interrupts_what_passes_it():
    """Everything on the network is replaced; who only passes by goes on."""
    shown, found = fates("192.168.2.0/24", "192.168.7.0/24")
    assert shown[0] == (
        "replaced subnet net2: cidr: 192.168.2.0/24 -> 192.168.7.0/24; gateway_ip: 192.168.2.1 -> 192.168.7.1; "
        "allocation_pools: 192.168.2.247-192.168.2.254 -> 192.168.7.247-192.168.7.254"
    )
    assert sum(line.startswith("replaced port") for line in shown) == 4
    assert not any(line.startswith("replaced host") for line in shown)
    assert sum(line.startswith("replaced router interface rt2.net2") for line in shown) == 1
    assert found == {pair: {"interrupted"} if pair[0] == "calculator" else {"kept"} for pair in ALL}


def test_a_closed_port_ends_its_flow():
    shown, found = fates("[22, 50000]", "[22]")
    assert shown == ["changed security group calculator: rules: -tcp 50000 from anywhere"]
    assert found == {key: {"kept"} for key in ALL} | {("outside", "calculator"): {"kept", "ended"}}


def test_a_shorter_path_moves_flows_without_interruption():
    text = TEXT.replace("rt2: {networks", "rt2: {networks: [net1, side]}\n  rt3: {networks")
    text = text.replace("networks:\n", "networks:\n  side: {cidr: 192.168.3.0/24}\n", 1)
    text = text.replace("rt3: {networks: [net1, net2]}", "rt3: {networks: [side, net2]}")
    longer = build_plan(parse(text))
    called = {pair: its for pair, its in touched(longer, OLD).items() if pair in CALLED}
    assert called == {pair: {"interrupted"} for pair in CALLED}
    shorter = build_plan(parse(text.replace("rt3: {networks: [side", "rt3: {networks: [net1, side")))
    moved = [flow for flow in change(longer, shorter).flows if flow.sources == ("calculator",) and flow.fate == "moved"]
    assert {flow.why for flow in moved} == {"takes another path, through rt3"}
    assert {name for flow in moved for name in flow.destinations} == {"sum", "sub", "mul", "div"}


def test_in_words():
    text = TEXT.replace("  sum: {network: net2, ", "  sum: {network: net2, address: 192.168.2.20, ")
    calls = "calculator calls sum at 192.168.2.{} 50001"
    assert lines(TEXT, text) == [
        "± port sum replaced: address: 192.168.2.64 -> 192.168.2.20",
        f"~ host calculator changed in place: applications: -{calls.format(64)}, +{calls.format(20)}",
        "",
        "Flows: 28 before, 28 after; 6 interrupted:",
        "  calculator -> sum icmp: interrupted, port sum is replaced",
        "  calculator -> sum tcp 22: interrupted, port sum is replaced",
        "  calculator -> sum tcp 50001: interrupted, port sum is replaced",
        "  sum -> calculator icmp: interrupted, port sum is replaced",
        "  sum -> calculator tcp 22: interrupted, port sum is replaced",
        "  sum -> calculator tcp 50000: interrupted, port sum is replaced",
        "",
        "A run needs permission for this: -e allow=replace",
    ]


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("floating_ip: true", "floating_ip: false")])
def test_no_difference(text: str):
    assert lines(text, text) == ["no difference"]


SHOP = """
topology: shop
networks: {a: {cidr: 10.0.1.0/24}, b: {cidr: 10.0.2.0/24}}
routers: {r1: {external: true, networks: [a]}, r2: {networks: [a, b]}}
hosts:
  front: {network: a, floating_ip: true}
  app: {network: a, count: 6}
  db: {network: b, address: 10.0.2.9}
allow:
  - {to: front, tcp: 22}
  - {from: front, to: app, tcp: 80}
  - {from: app, to: db, tcp: 5432}
"""


def test_another_port_between_hosts_ends_one_flow_and_opens_another():
    """The rules are shown by name, old and new; hosts that fare alike share a line."""
    apps = "app-1, app-2, app-3, app-4 and 2 more"
    assert lines(SHOP, SHOP.replace("5432", "3306")) == [
        f"~ security group db changed in place: rules: -tcp 5432 from {apps}, +tcp 3306 from {apps}",
        "",
        "Flows: 34 before, 34 after; 6 ended, 6 opened:",
        f"  {apps} -> db tcp 5432: ended, no rule allows it any more",
        f"  {apps} -> db tcp 3306: opened, a rule allows it now",
    ]


def test_a_rule_deleted_between_hosts_ends_its_flows():
    less = SHOP.replace("  - {from: app, to: db, tcp: 5432}\n", "")
    assert lines(SHOP, less)[2:] == [
        "Flows: 34 before, 28 after; 6 ended:",
        "  app-1, app-2, app-3, app-4 and 2 more -> db tcp 5432: ended, no rule allows it any more",
    ]


def test_a_source_that_moves_is_shown_by_its_addresses():
    """By its name the old rule and the new one would read the same; rules of other ports keep the names."""
    shown = lines(
        SHOP, SHOP.replace("floating_ip: true}", "floating_ip: true, address: 10.0.1.20}").replace("5432", "3306")
    )
    assert shown[1] == (
        "~ security group db changed in place: rules: -tcp 22 from 10.0.1.147, "
        "-tcp 5432 from app-1, app-2, app-3, app-4 and 2 more, +tcp 22 from 10.0.1.20, "
        "+tcp 3306 from app-1, app-2, app-3, app-4 and 2 more"
    )


def test_a_range_that_loses_a_port_ends_that_port_alone():
    """Flows are ranges of ports, as large as they have one fate."""
    wide, less = SHOP.replace("5432", "5000-6000"), SHOP.replace("5432", "[5000-5099, 5101-6000]")
    found = [
        flow for flow in change(build_plan(parse(wide)), build_plan(parse(less))).flows if "db" in flow.destinations
    ]
    assert {(flow.first, flow.last): flow.fate for flow in found} == {
        (22, 22): "kept",
        (5000, 5099): "kept",
        (5100, 5100): "ended",
        (5101, 6000): "kept",
    }


def test_what_is_closed_to_the_outside_is_not_hidden_behind_hosts():
    """The world loses SSH; one prefix keeps it."""
    shown = lines(SHOP, SHOP.replace("{to: front, tcp: 22}", "{from: 198.51.100.0/24, to: front, tcp: 22}"))
    assert shown[0] == (
        "~ security group front changed in place: rules: -tcp 22 from anywhere, +tcp 22 from 198.51.100.0/24"
    )
    assert "  outside -> front tcp 22: ended, no rule allows it any more" in shown


def test_the_old_and_the_new_prefix_outside():
    one, other = (
        SHOP.replace("{to: front, tcp: 22}", f"{{from: {cidr}, to: front, tcp: 22}}")
        for cidr in ("198.51.100.0/24", "192.0.2.0/24")
    )
    assert lines(one, other)[3:] == [
        "  198.51.100.0/24 -> front tcp 22: ended, no rule allows it any more",
        "  192.0.2.0/24 -> front tcp 22: opened, a rule allows it now",
    ]


def test_another_name_of_the_topology_is_another_topology():
    """Everything is created anew, and nothing of the old one is touched: no flow, no permission."""
    shown = lines(SHOP, SHOP.replace("topology: shop", "topology: market"))
    assert shown[:4] == [
        "+ topology market added: to the cloud, shop is another one",
        "+ network a added",
        "+ network b added",
        "+ router r1 added",
    ]
    assert shown[-2].startswith("A run of `market` creates everything anew, and leaves `shop` as it is")
    assert not any(line.startswith(("-", "±", "~", "Flows", "A run needs")) for line in shown)


def test_a_wider_prefix_replaces_what_is_on_it():
    """Also ports whose address stays: their subnet is another."""
    shown = lines(SHOP, SHOP.replace("10.0.2.0/24", "10.0.2.0/23"))
    assert "± port db replaced: its subnet is replaced" in shown
    assert shown[-1] == "A run needs permission for this: -e allow=replace"


@pytest.mark.parametrize(
    ("old", "new", "allow"),
    [
        ("count: 6", "count: 5", ["delete"]),
        ("count: 6", "count: 7", []),
        ("db: {network: b,", "db: {network: b, image: other,", ["replace"]),
        ("db: {network: b,", "db: {network: b, flavor: large,", []),
        ("db: {network: b,", "db: {network: b, user: me,", []),
        ("tcp: 5432", "tcp: 3306", []),
        ("topology: shop", "topology: shop\nexternal_network: campus", ["replace"]),
        ("count: 6}\n  db: {network: b,", "count: 5}\n  db: {network: b, image: other,", ["delete", "replace"]),
    ],
)
def test_the_permission_that_a_run_needs(old: str, new: str, allow: list[str]):
    text = SHOP.replace(old, new)
    assert text != SHOP
    assert change(build_plan(parse(SHOP)), build_plan(parse(text))).needs_allow == allow


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("count: 6", "count: 5"),
        ("db: {network: b,", "db: {network: b, image: other,"),
        ("db: {network: b,", "db: {network: b, flavor: large,"),
        ("db: {network: b, address: 10.0.2.9}", "db: {networks: [b, a]}"),
        ("db: {network: b, address: 10.0.2.9}", "db: {network: a}"),
        ("app: {network: a,", "app: {network: a, floating_ip: true,"),
        ("front: {network: a, floating_ip: true}\n  app: {", "front: {network: a}\n  app: {floating_ip: true, "),
        ("tcp: 5432", "tcp: 3306"),
        ("{cidr: 10.0.1.0/24}", "{cidr: 10.0.7.0/24}"),
        ("{cidr: 10.0.1.0/24}", '{cidr: [10.0.1.0/24, "fd00:1::/64"]}'),
        ("{cidr: 10.0.1.0/24}", "{cidr: 10.0.1.0/24, gateway: 10.0.1.200}"),
        ("networks: {a: ", "networks: {c: {cidr: 10.0.9.0/24}, a: "),
        ("r2: {networks: [a, b]}", "r2: {networks: [a, b]}, r3: {networks: [a, b]}"),
        ("r2: {networks: [a, b]}", "r2: {networks: {a: 10.0.1.77, b: {}}}"),
    ],
)
def test_a_run_needs_the_permission_that_diff_says(old: str, new: str):
    """The comparison with a cloud that has the old plan needs the same, for a change and for taking it back."""
    text = SHOP.replace(old, new)
    assert text != SHOP
    one, other = build_plan(parse(SHOP)), build_plan(parse(text))
    for before, after in ((one, other), (other, one)):
        changes = compare(after, as_built(before), key=KEY).changes
        assert change(before, after).needs_allow == sorted({its.permission for its in changes if its.permission})


def test_as_json():
    """Every name is in it, where text cuts lists short."""
    found = json.loads(to_json(change(build_plan(parse(SHOP)), build_plan(parse(SHOP.replace("5432", "3306"))))))
    assert {key: found[key] for key in ("different", "renamed", "needs_allow")} == {
        "different": True,
        "renamed": None,
        "needs_allow": [],
    }
    assert [(one["kind"], one["name"], one["action"], one["permission"]) for one in found["differences"]] == [
        ("security group", "db", "changed", None)
    ]
    (ended,) = [flow for flow in found["flows"] if flow["fate"] == "ended"]
    assert ended == {
        "sources": [f"app-{number}" for number in range(1, 7)],
        "destinations": ["db"],
        "protocol": "tcp",
        "first": 5432,
        "last": 5432,
        "fate": "ended",
        "why": "no rule allows it any more",
        "pairs": 6,
    }


def test_of_two_ip_versions_the_one_that_ends_is_named():
    """A rule for IPv4 alone in place of one for both: the flow by IPv6 ends, that by IPv4 stays."""
    text = """
topology: t
networks: {n: {cidr: [10.0.0.0/24, "fd00::/64"]}}
hosts: {a: {network: n, address: [10.0.0.9, "fd00::9"]}, b: {network: n, address: [10.0.0.10, "fd00::10"]}}
allow: [{from: a, to: b, tcp: 80}]
"""
    assert lines(text, text.replace("from: a", "from: 10.0.0.9")) == [
        "~ security group b changed in place: rules: -tcp 80 from a",
        "",
        "Flows: 2 before, 1 after; 1 ended:",
        "  a -> b at fd00::10 tcp 80: ended, no rule allows it any more",
    ]


def without_rule(plan: Plan, number: int) -> Plan:
    """Return a plan in which each security group lacks its ``number``-th ingress rule, if it has so many."""
    groups = []
    for group in plan.security_groups:
        ingress = [rule for rule in group.rules if rule.direction == "ingress"]
        lost = ingress[number % len(ingress)] if ingress else None
        groups.append(dataclasses.replace(group, rules=tuple(rule for rule in group.rules if rule != lost)))
    return dataclasses.replace(plan, security_groups=tuple(groups))


def without_routes(plan: Plan) -> Plan:
    """Return a plan in which every second host has no routes."""
    hosts = [dataclasses.replace(one, routes=()) if index % 2 else one for index, one in enumerate(plan.hosts)]
    return dataclasses.replace(plan, hosts=tuple(hosts))


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/golden/good/*.yml")), ids=lambda path: path.stem)
def test_every_flow_of_the_matrix_counts(path: Path):
    """Of each pair, address and port, flows say what the two reachability matrices say."""
    whole = build_plan(load(path))
    for other in (without_rule(whole, 0), without_rule(whole, 1), without_routes(whole)):
        for old, new in ((whole, other), (other, whole)):
            if differences(old, new):
                assert reported(old, new) == expected(old, new)


def reported(old: Plan, new: Plan) -> dict[tuple[str, str, str, int | None], tuple[bool, bool]]:
    """Return what flows say of each source, address and port worth probing: open before, open after."""
    found: dict[tuple[str, str, str, int | None], tuple[bool, bool]] = {}
    hosts = {host.name: (*host.addresses, *host.loopback_addresses) for host in old.hosts}
    for flow in change(old, new).flows:
        state = (flow.fate != "opened", flow.fate != "ended")
        for source, destination in product(flow.sources, flow.destinations):
            name, _, address = destination.partition(" at ")
            if source not in hosts or name not in hosts or source == name:
                continue
            versions = {":" in one for one in hosts[source]}
            for one in [address] if address else [one for one in hosts[name] if (":" in one) in versions]:
                for protocol, port in worth_probing(old, new, name):
                    wide = flow.protocol in {"anything", protocol.partition(" ")[0]}  # holds others, without ports
                    same = protocol == flow.protocol and (flow.first or 0) <= (port or 0) <= (flow.last or LAST_PORT)
                    if same or (wide and flow.first is None):
                        was, now = found.get((source, one, protocol, port), (False, False))
                        found[source, one, protocol, port] = (was or state[0], now or state[1])
    return found


def expected(old: Plan, new: Plan) -> dict[tuple[str, str, str, int | None], tuple[bool, bool]]:
    """Return the same as the two matrices have it, one probe after another."""
    before, after = Matrix(old), Matrix(new)
    found = {}
    for source, other in product(old.hosts, old.hosts):
        for address in (*other.addresses, *other.loopback_addresses) if source is not other else ():
            for protocol, port in worth_probing(old, new, other.name):
                key = (source.name, address, protocol, port)
                state = (before.verdict(*key) == "open", after.verdict(*key) == "open")
                if any(state):
                    found[key] = state
    return found


def worth_probing(old: Plan, new: Plan, name: str) -> set[tuple[str, int | None]]:
    return {*Matrix(old).ports(name), *Matrix(new).ports(name)}


def test_every_field_of_the_table_that_comes_from_the_plan_is_compared():
    """Ports and floating IPs are compared as themselves; which hosts share a group follows from their rules."""
    plan = build_plan(parse(TEXT.replace("  sum: {", "  sum: {server_group: affinity, ")))
    shown = {("server" if kind == "host" else kind, name) for (kind, _), one in _resources(plan) for name in one.fields}
    of_the_plan = {(field.kind, field.name) for field in FIELDS if field.planned}
    assert of_the_plan - shown == {("server", "ports"), ("security group", "name")}
    assert shown - of_the_plan == {("floating IP", "network")}
