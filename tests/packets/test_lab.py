"""The laboratory tells the truth: what it measures on known networks, and that it finds what is broken on purpose."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import namespaces
import probes
import pytest
from lab import Lab
from namespaces import NamespaceError
from probes import Probe, measure
from verdicts import compare, kinds, questions
from wiring import wire

from netorder.analysis.reach import Matrix
from netorder.language.load import parse
from netorder.plan.build import build_plan
from netorder.plan.model import Route, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netorder.plan.model import Plan

SMALL = """\
topology: small
networks: {a: {cidr: 10.1.0.0/24}, b: {cidr: 10.2.0.0/24}}
routers:
  r1: {external: true, networks: [a]}
  r2: {networks: {a: 10.1.0.2, b: 10.2.0.1}}
hosts:
  door: {network: a, address: 10.1.0.10, floating_ip: true}
  web: {network: b, address: 10.2.0.10}
  db: {network: b, address: 10.2.0.11}
allow:
  - {from: [anywhere, 172.20.0.0/16], to: door, tcp: 22}
  - {from: 172.20.0.0/16, to: door, tcp: 23}
  - {from: door, to: web, tcp: 80}
  - {from: web, to: db, udp: 53, icmp: true}
"""
PLAN = build_plan(parse(SMALL))
# who answers whom, thought out by hand; SSH behind the door is opened by the plan itself
ANSWERS = {
    "door -> 10.2.0.10 tcp 22",
    "door -> 10.2.0.10 tcp 80",
    "door -> 10.2.0.11 tcp 22",
    "web -> 10.1.0.10 tcp 22",
    "db -> 10.1.0.10 tcp 22",
    "web -> 10.2.0.11 udp 53",
    "web -> 10.2.0.11 icmp",
    "outside (172.31.255.254) -> 172.31.0.3 tcp 22",
    "outside (172.20.255.254) -> 172.31.0.3 tcp 22",
    "outside (172.20.255.254) -> 172.31.0.3 tcp 23",
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less: what is broken here on purpose never answers."""
    monkeypatch.setattr(probes, "PATIENCE", 1.0)


def wrong(built: Plan, predicted: Plan = PLAN) -> set[str]:
    """Build one plan, hold it against the prediction of another."""
    wiring, matrix, probed = wire(built), Matrix(predicted), kinds(predicted)
    with Lab(wiring, [port for _, port in probed if port]) as lab:
        findings = compare(lab, matrix, list(questions(predicted, wiring, matrix, probed)))
    return {f"{one.question.probe}: {one.question.state}, {one.answer}" for one in findings.wrong}


def routed(the_plan: Plan, host: str, routes: Iterable[Route]) -> Plan:
    hosts = tuple(replace(one, routes=tuple(routes)) if one.name == host else one for one in the_plan.hosts)
    return replace(the_plan, hosts=hosts)


def ruled(host: str, rules: Iterable[Rule]) -> Plan:
    groups = PLAN.security_groups
    return replace(
        PLAN,
        security_groups=tuple(replace(one, rules=tuple(rules)) if one.name == host else one for one in groups),
    )


def rules(host: str) -> tuple[Rule, ...]:
    return next(group.rules for group in PLAN.security_groups if group.name == host)


def asked_of(the_plan: Plan) -> tuple[list[Probe], list[int]]:
    wiring, matrix, probed = wire(the_plan), Matrix(the_plan), kinds(the_plan)
    found = [question.probe for question in questions(the_plan, wiring, matrix, probed)]
    return found, [port for _, port in probed if port]


def test_answers_are_those_thought_out_by_hand() -> None:
    every, ports = asked_of(PLAN)
    with Lab(wire(PLAN), ports) as lab:
        answers = measure(lab, every, ()).answers
    # only the network of the external router itself gets out
    outward = {str(probe) for probe in every if probe.source == "door" and probe.address == "172.31.255.254"}
    assert {str(probe) for probe in answers} == ANSWERS | outward
    assert len(every) > 2 * len(answers)


def test_the_plan_is_as_predicted() -> None:
    assert wrong(PLAN) == set()


def test_a_missing_route_is_found() -> None:
    assert wrong(routed(PLAN, "door", ())) == {
        "door -> 10.2.0.10 tcp 22: open, None",
        "door -> 10.2.0.10 tcp 80: open, None",
        "door -> 10.2.0.11 tcp 22: open, None",
        # their answers
        "web -> 10.1.0.10 tcp 22: open, None",
        "db -> 10.1.0.10 tcp 22: open, None",
    }


PROTOCOLS = """\
topology: protocols
networks: {a: {cidr: [10.1.0.0/24, "fd00:1::/64"]}}
hosts:
  one: {network: a, address: [10.1.0.10, "fd00:1::10"]}
  two: {network: a, address: [10.1.0.11, "fd00:1::11"]}
allow:
  - {from: one, to: two, protocol: gre, icmp: echo-request}
  - {from: fd00:1::11, to: one, all: true}
  - {from: two, to: one, icmp: time-exceeded, protocol: 113}
"""


def test_protocols_without_ports_and_types_of_messages_are_measured() -> None:
    built = build_plan(parse(PROTOCOLS))
    asked = [
        Probe(source, address, protocol)
        for source, *addresses in (("one", "10.1.0.11", "fd00:1::11"), ("two", "10.1.0.10", "fd00:1::10"))
        for address in addresses
        for protocol in (("gre", "112", "icmp") if source == "one" else ("113", "253", "icmp"))
    ]
    with Lab(wire(built)) as lab:
        assert {str(probe) for probe in measure(lab, asked, ()).answers} == {
            "one -> 10.1.0.11 gre",
            "one -> fd00:1::11 gre",
            "one -> 10.1.0.11 icmp",
            "one -> fd00:1::11 icmp",
            "two -> 10.1.0.10 113",
            "two -> fd00:1::10 113",
            "two -> fd00:1::10 253",
            "two -> fd00:1::10 icmp",
        }


def test_a_missing_rule_is_found() -> None:
    kept = [rule for rule in rules("db") if rule.protocol != "udp"]
    assert wrong(ruled("db", kept)) == {"web -> 10.2.0.11 udp 53: open, None"}


def test_a_rule_too_many_is_found() -> None:
    added = Rule("ingress", "IPv4", "tcp", 80, 80, "10.2.0.0/24")
    assert wrong(ruled("web", [*rules("web"), added])) == {"db -> 10.2.0.10 tcp 80: closed, web"}


def test_a_rule_for_a_prefix_too_wide_is_found() -> None:
    kept = [replace(rule, remote_cidr=None) if rule.port_min == 23 else rule for rule in rules("door")]
    assert wrong(ruled("door", kept)) == {
        "outside (172.31.255.254) -> 172.31.0.3 tcp 23: closed, door",
        "web -> 10.1.0.10 tcp 23: closed, door",
        "db -> 10.1.0.10 tcp 23: closed, door",
    }


def test_an_answer_from_the_wrong_host_is_found() -> None:
    wiring = wire(PLAN)
    door, router = wiring.nodes["door"], wiring.nodes["r1"]
    port = replace(door.interfaces[0], addresses=("10.1.0.11/24",), mac="02:00:00:ff:ff:ff")
    twin = replace(door, name="twin", interfaces=(port,), ruleset=(), rules=())
    ruleset = tuple(line.replace("dnat to 10.1.0.10", "dnat to 10.1.0.11") for line in router.ruleset)
    nodes = {**wiring.nodes, "r1": replace(router, ruleset=ruleset), "twin": twin}
    floating = Probe("outside", wiring.floating["door"], "tcp", 22, wiring.outside[0])
    # the second question is there so that the twin listens
    with Lab(replace(wiring, nodes=nodes), [22]) as lab:
        assert measure(lab, [floating, Probe("door", "10.1.0.11", "tcp", 22)], ()).answers[floating] == "twin"


def test_a_next_hop_off_the_subnet_is_refused_by_the_kernel() -> None:
    broken = routed(PLAN, "web", [Route("10.9.0.0/16", "10.1.0.2")])
    with pytest.raises(NamespaceError, match=r"(?s)web: ip -batch.*Nexthop.*route add 10\.9\.0\.0/16 via 10\.1\.0\.2"):
        Lab(wire(broken)).__enter__()


def test_silence_where_an_answer_is_expected_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PATIENCE", 0.2)
    monkeypatch.setattr(probes, "REPEAT", 0.05)
    closed = Probe("db", "10.2.0.10", "tcp", 80)
    with Lab(wire(PLAN), [80]) as lab:
        measured = measure(lab, [closed], [closed])
    assert measured.answers == {}
    assert measured.repeated > 1


def test_a_killed_run_leaves_nothing() -> None:
    """The far end of its cable, which is ours, goes when the kernel removes the namespace of the killed process."""
    cable = namespaces.Namespace("our end")
    program = f"""
import time
from namespaces import Namespace
lab = Namespace("lab")
with lab.entered():
    lab.ip(["link add far type veth peer name near netns {cable.path}"])
print("built", flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "built\n"
        with cable.entered():
            assert "near" in interfaces()
            run.kill()
            run.wait()
            end = time.monotonic() + 30
            while "near" in interfaces() and time.monotonic() < end:
                time.sleep(0.05)
            assert "near" not in interfaces()
    cable.close()


def test_the_machine_itself_is_out_of_reach() -> None:
    """The tests run in a namespace without a single cable, and what the laboratory makes is not in it."""
    before = interfaces()
    with Lab(wire(PLAN)) as lab:
        assert interfaces() == before == {"lo"}
        with lab.at("r2").entered():
            assert interfaces() == {"lo", "eth0", "eth1"}


def interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


RELAYED = """\
topology: relayed
networks: {a: {cidr: 10.1.0.0/24}, b: {cidr: 10.2.0.0/24}}
hosts:
  left: {network: a, address: 10.1.0.10}
  right: {network: b, address: 10.2.0.10}
  relay: {networks: {a: 10.1.0.20, b: 10.2.0.20}, forward: true}
  other: {networks: {a: 10.1.0.30, b: 10.2.0.30}, forward: true}
allow:
  - {from: left, to: [right, relay, other], tcp: 80, udp: 53}
"""


def relayed(**changes: Any) -> Plan:
    """Return the plan, with ``changes`` to the host by which the ways lead."""
    the_plan = build_plan(parse(RELAYED))
    return replace(
        the_plan, hosts=tuple(replace(one, **changes) if one.name == "relay" else one for one in the_plan.hosts)
    )


def through(the_plan: Plan) -> set[str]:
    """Return what of ``left`` and ``right`` is answered by the other."""
    probed = [
        Probe("left", "10.2.0.10", "tcp", 80),
        Probe("left", "10.2.0.10", "udp", 53),
        Probe("left", "10.2.0.10", "tcp", 81),
    ]
    with Lab(wire(the_plan), [80, 81, 53]) as lab:
        return {f"{probe.protocol} {probe.port}" for probe in measure(lab, probed, ()).answers}


def test_a_host_forwards() -> None:
    assert through(relayed()) == {"tcp 80", "udp 53"}
    assert through(relayed(forwarding=False)) == set()


def test_ports_drop_addresses_that_are_not_theirs() -> None:
    ports = next(host.ports for host in relayed().hosts if host.name == "relay")
    assert all(port.allowed_address_pairs for port in ports)
    assert through(relayed(ports=tuple(replace(port, allowed_address_pairs=()) for port in ports))) == set()


def test_ports_drop_answers_to_questions_that_they_never_saw() -> None:
    """The answer goes by the other host, whose ports would let the question in, and know nothing of it."""
    astray = routed(relayed(), "right", [Route("10.1.0.0/24", "10.2.0.30")])
    assert through(astray) == set()
    assert wrong(astray, astray) == set()
