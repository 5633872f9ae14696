"""What a change of the topology does, as `netorder diff` reports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorder.analysis.diff import _resources, differences, flows, render
from netorder.language.load import parse
from netorder.plan.build import build_plan
from netorder.plan.lifecycle import FIELDS

TEXT = (Path(__file__).parents[2] / "topologies/calculator.yml").read_text(encoding="utf-8")
OLD = build_plan(parse(TEXT))
ALL = {
    ("calculator", "sum"), ("calculator", "sub"), ("calculator", "mul"), ("calculator", "div"),
    ("outside", "calculator"),
}  # fmt: skip


def fates(old: str, new: str) -> tuple[list[str], dict[tuple[str, str], set[str]]]:
    """Return (what is different, in words) and the fates of the flows between each two."""
    text = TEXT.replace(old, new)
    assert text != TEXT
    after = build_plan(parse(text))
    found: dict[tuple[str, str], set[str]] = {}
    for flow in flows(OLD, after):
        found.setdefault((flow.source, flow.destination), set()).add(flow.fate)
    return [f"{one.action} {one.kind} {one.name}: {one.what}" for one in differences(OLD, after)], found


def test_a_new_host_interrupts_nothing():
    said, found = fates("hosts:\n", "hosts:\n  more: {network: net2}\n")
    assert said == ["added host more: "]
    assert found == {key: {"kept"} for key in ALL}


def test_another_flavor_restarts_the_host():
    """It is resized in place: nothing is lost, but its flows are interrupted meanwhile."""
    said, found = fates("div: {network: net2,", "div: {network: net2, flavor: large,")
    assert said == ["changed host div: flavor: small -> large"]
    assert found == {key: {"kept"} for key in ALL} | {("calculator", "div"): {"interrupted"}}


def test_another_image_is_another_host():
    said, found = fates("div: {network: net2,", "div: {network: net2, image: other,")
    assert said == ["replaced host div: image: debian-13 -> other"]
    assert found == {key: {"kept"} for key in ALL} | {("calculator", "div"): {"interrupted"}}


def test_one_more_interface_interrupts_nothing_one_less_does():
    """It is plugged into the running host, which is stopped to unplug it."""
    plain = TEXT.replace("networks:\n", "networks:\n  side: {cidr: 192.168.3.0/24}\n", 1)
    two = plain.replace("div: {network: net2,", "div: {networks: [net2, side],")
    old, new = build_plan(parse(plain)), build_plan(parse(two))
    assert [(one.action, one.kind, one.name) for one in differences(old, new)] == [("added", "port", "div.side")]
    assert {flow.fate for flow in flows(old, new)} == {"kept"}
    less = [flow for flow in flows(new, old) if flow.fate != "kept"]
    assert [(flow.destination, flow.fate, flow.why) for flow in less] == [
        ("div", "interrupted", "port div.side is removed")
    ]


def test_another_external_network_costs_the_floating_ip():
    said, found = fates("topology: calculator\n", "topology: calculator\nexternal_network: campus\n")
    assert said == [
        "changed router rt1: external_network: none -> campus",
        "replaced floating IP calculator: network: none -> campus",
    ]
    assert found == {key: {"interrupted"} if key[0] == "outside" else {"kept"} for key in ALL}


def test_another_user_is_a_change():
    said, _ = fates("div: {network: net2,", "div: {network: net2, user: me,")
    assert said == ["changed host div: user: debian -> me"]


def test_another_prefix_interrupts_what_passes_it():
    """Everything on the network is replaced; who only passes by goes on."""
    said, found = fates("192.168.2.0/24", "192.168.7.0/24")
    assert said[0] == (
        "replaced subnet net2: cidr: 192.168.2.0/24 -> 192.168.7.0/24; gateway_ip: 192.168.2.1 -> 192.168.7.1; "
        "allocation_pools: 192.168.2.247-192.168.2.254 -> 192.168.7.247-192.168.7.254"
    )
    assert sum(line.startswith("replaced port") for line in said) == 4
    assert not any(line.startswith("replaced host") for line in said)
    assert sum(line.startswith("replaced router interface rt2.net2") for line in said) == 1
    assert found == {pair: {"interrupted"} if pair[0] == "calculator" else {"kept"} for pair in ALL}


def test_a_closed_port_ends_its_flow():
    said, found = fates("[22, 50000]", "[22]")
    assert said == ["changed security group calculator: rules: 0 more, 1 fewer"]
    assert found == {key: {"kept"} for key in ALL} | {("outside", "calculator"): {"kept", "ended"}}


def test_a_shorter_path_moves_flows_without_interruption():
    text = TEXT.replace("rt2: {networks", "rt2: {networks: [net1, side]}\n  rt3: {networks")
    text = text.replace("networks:\n", "networks:\n  side: {cidr: 192.168.3.0/24}\n", 1)
    text = text.replace("rt3: {networks: [net1, net2]}", "rt3: {networks: [side, net2]}")
    longer = build_plan(parse(text))
    assert {flow.fate for flow in flows(longer, OLD) if flow.source == "calculator"} == {"interrupted"}
    shorter = build_plan(parse(text.replace("rt3: {networks: [side", "rt3: {networks: [net1, side")))
    moved = [flow for flow in flows(longer, shorter) if flow.source == "calculator"]
    assert [(flow.fate, flow.why) for flow in moved] == [
        ("moved", f"takes another path: calculator -> rt3 -> {name}") for name in ("sum", "sub", "mul", "div")
    ]


def test_in_words():
    text = TEXT.replace(
        "  sum: {network: net2, service: sum}", "  sum: {network: net2, address: 192.168.2.20, service: sum}"
    )
    assert render(OLD, build_plan(parse(text))).splitlines() == [
        "± port sum replaced: address: 192.168.2.64 -> 192.168.2.20",
        "~ host calculator changed in place: peers: -sum http://192.168.2.64:50001, +sum http://192.168.2.20:50001",
        "",
        "Application flows: 7, of which 1 are touched:",
        "  calculator -> sum tcp 50001: interrupted, port sum is replaced",
    ]


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("floating_ip: true", "floating_ip: false")])
def test_no_difference(text: str):
    assert render(build_plan(parse(text)), build_plan(parse(text))) == "no difference\n"


def test_every_field_of_the_table_that_comes_from_the_plan_is_compared():
    """Ports and floating IPs are compared as themselves; which hosts share a group follows from their rules."""
    plan = build_plan(parse(TEXT))
    shown = {("server" if kind == "host" else kind, name) for (kind, _), one in _resources(plan) for name in one.fields}
    of_the_plan = {(field.kind, field.name) for field in FIELDS if field.planned}
    assert of_the_plan - shown == {("server", "ports"), ("port", "security_groups"), ("security group", "name")}
    assert shown - of_the_plan == {("floating IP", "network")}
