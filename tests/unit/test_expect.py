"""Probes follow from the plan: what reaches what, and what shows that a route works."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from netorder.analysis.probes import (
    Probe,
    RouteProbe,
    Sample,
    from_inside,
    from_outside,
    listens_on,
    report,
    route_probes,
    ssh_sources,
)
from netorder.analysis.reach import Matrix
from netorder.language.load import load, parse
from netorder.plan.build import build_plan
from netorder.plan.model import (
    Application,
    Host,
    Network,
    Plan,
    Port,
    Route,
    Router,
    RouterInterface,
    Rule,
    SecurityGroup,
    Subnet,
)

OUT = Rule("egress", "IPv4", None, None, None, None)


def tcp(port: int, remote: str | None = None) -> Rule:
    return Rule("ingress", "IPv4", "tcp", port, port, remote)


def host(name: str, network: str, address: str, **more: object) -> Host:
    plain = {
        "name": name,
        "cloud_name": f"t-{name}",
        "image": "i",
        "flavor": "f",
        "user": "u",
        "proxy": "none",
        "names": "none",
        "ports": (Port(f"t-{name}", network, (address,), (name,), ()),),
        "gateways": (address.rpartition(".")[0] + ".1",),
        "forwarding": False,
        "ssh_address": address,
        "floating_ip": False,
        "routes": (),
        "ssh_path": (),
        "groups": (),
        "applications": (),
    }
    return Host(**(plain | more))  # type: ignore[arg-type]


def application(name: str, port: int) -> Application:
    return Application(name, "role", (port,), (), (), 0, (), None, "check", (), True, False, ())


def network(name: str, cidr: str, gateway: str) -> Network:
    return Network(name, f"t-{name}", (Subnet(f"t-{name}", 4, cidr, gateway, (), (gateway, gateway), ()),))


def router(name: str, *interfaces: tuple[str, str], external: bool = False, routes: tuple[Route, ...] = ()) -> Router:
    ports = tuple(RouterInterface(net, (address,), f"{name}.{net}") for net, address in interfaces)
    return Router(name, f"t-{name}", external, None, ports, routes)


def group(name: str, *rules: Rule) -> SecurityGroup:
    return SecurityGroup(name, f"t-{name}", (OUT, *rules))


FRONT = host(
    "front",
    "net1",
    "10.0.1.10",
    floating_ip=True,
    routes=(Route("10.0.2.0/24", "10.0.1.2"),),
    applications=(application("calculator", 50000),),
)
BACK = host("back", "net2", "10.0.2.10", ssh_path=("front",), applications=(application("sum", 50001),))
BYSTANDER = host("bystander", "net1", "10.0.1.11", ssh_path=("front",))
PLAN = Plan(
    "t",
    None,
    (network("net1", "10.0.1.0/24", "10.0.1.1"), network("net2", "10.0.2.0/24", "10.0.2.1")),
    (
        router("rt1", ("net1", "10.0.1.1"), external=True),
        router("rt2", ("net1", "10.0.1.2"), ("net2", "10.0.2.1")),
    ),
    (
        group("front", tcp(22), tcp(50000)),
        group("back", tcp(22, "10.0.1.10/32"), tcp(50001, "10.0.1.10/32")),
        group("bystander", tcp(22, "10.0.1.10/32")),
    ),
    (FRONT, BACK, BYSTANDER),
)


def test_a_service_answers_the_host_that_a_rule_names() -> None:
    """The front host reaches SSH and the service of the host behind it, and its own service."""
    assert from_inside(Matrix(PLAN), FRONT) == (
        Probe("front", "10.0.1.10", 50000, open=True),
        Probe("back", "10.0.2.10", 22, open=True),
        Probe("back", "10.0.2.10", 50001, open=True),
        Probe("bystander", "10.0.1.11", 22, open=True),
    )


def test_a_service_does_not_answer_a_host_that_no_rule_names() -> None:
    """The bystander on the same network as the front host reaches only what is open to all."""
    assert from_inside(Matrix(PLAN), BYSTANDER) == (
        Probe("front", "10.0.1.10", 22, open=True),
        Probe("front", "10.0.1.10", 50000, open=True),
        Probe("back", "10.0.2.10", 22, open=False),
        Probe("back", "10.0.2.10", 50001, open=False),
    )


def test_without_its_route_the_front_host_reaches_nothing_behind() -> None:
    """Net1's gateway has no route to net2, so the rules alone open nothing."""
    lost = dataclasses.replace(FRONT, routes=())
    plan = dataclasses.replace(PLAN, hosts=(lost, BACK, BYSTANDER))
    assert [probe for probe in from_inside(Matrix(plan), lost) if probe.name == "back"] == [
        Probe("back", "10.0.2.10", 22, open=False),
        Probe("back", "10.0.2.10", 50001, open=False),
    ]
    assert Probe("front", "10.0.1.10", 50000, open=False) in from_inside(Matrix(plan), BACK)


def test_routers_that_send_a_packet_round_in_circles_do_not_deliver_it() -> None:
    """Two routers that each name the other for a third network end in 'not reached', not in a hang."""
    far = host("far", "net3", "10.0.3.10")
    plan = dataclasses.replace(
        PLAN,
        networks=(*PLAN.networks, network("net3", "10.0.3.0/24", "10.0.3.1")),
        routers=(
            router("rt1", ("net1", "10.0.1.1"), external=True, routes=(Route("10.0.3.0/24", "10.0.1.2"),)),
            router("rt2", ("net1", "10.0.1.2"), ("net2", "10.0.2.1"), routes=(Route("10.0.3.0/24", "10.0.1.1"),)),
        ),
        security_groups=(*PLAN.security_groups, group("far", tcp(22))),
        hosts=(*PLAN.hosts, far),
    )
    assert Probe("far", "10.0.3.10", 22, open=False) in from_inside(Matrix(plan), FRONT)


def test_a_packet_crosses_several_routers() -> None:
    """Extra routes on routers carry it on, there and back."""
    far = host("far", "net3", "10.0.3.10")
    plan = dataclasses.replace(
        PLAN,
        networks=(*PLAN.networks, network("net3", "10.0.3.0/24", "10.0.3.1")),
        routers=(
            router("rt1", ("net1", "10.0.1.1"), external=True),
            router("rt2", ("net1", "10.0.1.2"), ("net2", "10.0.2.1"), routes=(Route("10.0.3.0/24", "10.0.2.2"),)),
            router("rt3", ("net2", "10.0.2.2"), ("net3", "10.0.3.1"), routes=(Route("10.0.1.0/24", "10.0.2.1"),)),
        ),
        security_groups=(*PLAN.security_groups, group("far", tcp(22))),
        hosts=(
            dataclasses.replace(FRONT, routes=(*FRONT.routes, Route("10.0.3.0/24", "10.0.1.2"))),
            BACK,
            BYSTANDER,
            far,
        ),
    )
    assert Probe("far", "10.0.3.10", 22, open=True) in from_inside(Matrix(plan), plan.hosts[0])


def test_from_outside_only_what_is_open_to_the_world_answers() -> None:
    """The services' ports and an unused one must not answer at the floating address."""
    assert from_outside(Matrix(PLAN), FRONT) == (
        Probe("front", "10.0.1.10", 9, open=False),
        Probe("front", "10.0.1.10", 22, open=True),
        Probe("front", "10.0.1.10", 50000, open=True),
        Probe("front", "10.0.1.10", 50001, open=False),
    )
    assert from_outside(Matrix(PLAN), BACK) == ()


@pytest.mark.parametrize("rule", [tcp(22, "192.0.2.0/24"), Rule("ingress", "IPv4", None, None, None, "192.0.2.0/24")])
def test_what_is_open_to_some_prefix_outside_is_not_probed(rule: Rule) -> None:
    """Whether we are in that prefix is unknown, so neither result is wrong."""
    plan = dataclasses.replace(PLAN, security_groups=(group("front", rule), *PLAN.security_groups[1:]))
    assert 22 not in [probe.port for probe in from_outside(Matrix(plan), FRONT)]


def test_the_prefixes_that_may_ssh_from_outside() -> None:
    """Each prefix once; none where the SSH path is through another host, or there is none."""
    rules = [tcp(22, "192.0.2.0/24"), tcp(80), Rule("ingress", "IPv4", None, None, None, "192.0.2.0/24")]
    plan = dataclasses.replace(PLAN, security_groups=(group("front", *rules), *PLAN.security_groups[1:]))
    assert ssh_sources(Matrix(plan), FRONT) == ("192.0.2.0/24",)
    assert ssh_sources(Matrix(PLAN), FRONT) == ("0.0.0.0/0",)
    assert ssh_sources(Matrix(PLAN), BACK) == ()
    assert ssh_sources(Matrix(plan), dataclasses.replace(FRONT, ssh_path=("back",))) == ()


def test_a_route_probe_for_what_the_route_makes_reachable() -> None:
    """To SSH's port, since no rule allows ping here; none for hosts without routes."""
    assert route_probes(Matrix(PLAN), FRONT) == (RouteProbe("back", "10.0.2.10", 22),)
    assert route_probes(Matrix(PLAN), BACK) == ()


def test_a_route_probe_pings_where_ping_is_allowed() -> None:
    """An ICMP rule for the source is enough."""
    icmp = Rule("ingress", "IPv4", "icmp", None, None, "10.0.1.10/32")
    plan = dataclasses.replace(PLAN, security_groups=(group("front"), group("back", icmp), group("bystander")))
    assert route_probes(Matrix(plan), FRONT) == (RouteProbe("back", "10.0.2.10", None),)


def test_the_report_shows_open_ports_and_spells_out_what_is_wrong() -> None:
    """An unexpected answer is marked in the table and explained below it; a host that was not observed is named."""

    def check(name: str, port: int, expected: str, found: str) -> dict[str, object]:
        what = f"tcp {port} of {name}"
        return {"what": what, "expected": expected, "found": found, "ok": expected == found, "name": name, "port": port}

    unit = {"what": "unit x", "expected": "active", "found": "active", "ok": True}
    findings = {
        "a": [unit, check("b", 22, "open", "open"), check("b", 80, "no answer", "open")],
        "b": [check("a", 22, "no answer", "no answer"), check("a", 22, "open", "open") | {"from": "outside"}],
        "c": None,
    }
    assert report(findings).splitlines() == [
        "TCP ports that answer (- none of those probed, ! differs from the plan):",
        "from     a   b       c",
        "outside  22",
        "a            22 80!",
        "b        -",
        "",
        "5 checks, 2 differ from the plan:",
        "a: tcp 80 of b: expected no answer, found open",
        "c: not observed (unreachable, or a task failed on it)",
    ]


def test_a_service_listens_where_it_is_called() -> None:
    """On the address that its caller has, whatever its IP version, and on no other; it is probed there only."""
    topology = load(Path(__file__).parents[1] / "golden/good/dual-stack.yml")
    the_plan = build_plan(topology)
    matrix = Matrix(the_plan)
    hosts = {one.name: one for one in the_plan.hosts}
    listening = {name: listens_on(matrix, one) for name, one in hosts.items() if one.applications}
    called = {end.address for one in hosts.values() for its in one.applications for end in its.endpoints}
    assert {name: address for name, address in listening.items() if address not in called} == {
        "calc": hosts["calc"].addresses[0]
    }
    assert [name for name, address in listening.items() if ":" in address] == ["six", "mul"]
    probes = from_inside(matrix, hosts["calc"])
    probed = {(probe.name, probe.address) for probe in probes if probe.port > 50000}
    assert probed == {
        ("six", hosts["six"].addresses[0]),
        ("rest", hosts["rest"].addresses[0]),
        ("mul", hosts["mul"].addresses[0]),
        ("div", "192.168.2.123"),
    }


def test_the_report_of_one_check_is_in_the_singular() -> None:
    """One check differs; two differ."""
    check = {"what": "unit x", "expected": "active", "found": "failed", "ok": False}
    assert report({"a": [check]}).splitlines()[-2:] == [
        "1 check, 1 differs from the plan:",
        "a: unit x: expected active, found failed",
    ]


LARGE = """
topology: large
include: ROOT/applications/calculator.yml
networks: {n: {cidr: 10.0.0.0/16}, m: {cidr: 10.1.0.0/16}}
routers: {r: {networks: [n, m]}}
hosts:
  calc: {network: n, applications: [calculator]}
  sum: {network: m, applications: [sum]}
  sub: {network: m, applications: [sub]}
  mul: {network: m, applications: [mul]}
  div: {network: m, applications: [div]}
  web: {network: n, count: 90, groups: [webs]}
  app: {network: m, count: 20, groups: [apps]}
  few: {network: m, count: 3, groups: [apps, rare]}
  plain: {network: n, count: 30}
"""


def large() -> Matrix:
    return Matrix(build_plan(parse(LARGE.replace("ROOT", str(Path(__file__).parents[2])))))


def test_a_large_plan_is_sampled_by_group() -> None:
    """Each host tries some of every group and what its service calls; each member is tried about as often."""
    matrix = large()
    sample = Sample(matrix, size=20)
    tried = {host.name: {other.name for other in sample.of(host)} for host in matrix.plan.hosts}
    assert all(host in others for host, others in tried.items())
    assert {"sum", "sub", "mul", "div"} <= tried["calc"]
    for others in tried.values():
        assert {name.partition("-")[0] for name in others} >= {"web", "app", "few", "plain"}
        assert len(others) <= 20 + 5
    for kind in ("web", "app", "few"):
        counts = Counter(name for others in tried.values() for name in others if name.partition("-")[0] == kind)
        assert max(counts.values()) <= min(counts.values()) + 3, kind
    assert "each host tries some of each of 9 groups" in str(sample)


def test_more_groups_than_a_host_tries_take_turns() -> None:
    """Over all hosts no host is left out."""
    matrix = large()
    sample = Sample(matrix, size=2)
    tried = Counter(other.name for host in matrix.plan.hosts for other in sample.of(host) if other is not host)
    assert tried.keys() == matrix.hosts.keys()
    assert max(tried.values()) <= 40


def test_a_small_plan_is_probed_in_full() -> None:
    """All pairs, as ever, and nothing is said of a sample."""
    sample = Sample(Matrix(PLAN))
    assert all(sample.of(host) == PLAN.hosts for host in PLAN.hosts)
    assert not sample.is_partial
    assert not str(sample)
    assert from_inside(Matrix(PLAN), FRONT, sample.of(FRONT)) == from_inside(Matrix(PLAN), FRONT)


def test_the_report_of_many_hosts_counts_and_names_what_is_wrong() -> None:
    """A table of hundreds of columns is read by nobody."""

    def check(name: str, found: str) -> dict[str, object]:
        return {"what": f"tcp 22 of {name}", "expected": "open", "found": found, "ok": found == "open", "name": name,
                "port": 22}  # fmt: skip

    findings = {f"h{index}": [check(f"h{index + 1}", "open")] for index in range(150)}
    findings["h7"] = [check("h8", "no answer")]
    assert report(findings).splitlines() == [
        "TCP ports answer on 149 of 150 pairs that were tried",
        "",
        "150 checks, 1 differs from the plan:",
        "h7: tcp 22 of h8: expected open, found no answer",
    ]
