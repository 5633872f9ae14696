"""What reaches what and why not: small plans in which each reason occurs once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netorder.analysis.reach import OUTSIDE, Matrix, Verdict
from netorder.language.load import load, parse
from netorder.plan.build import build_plan
from netorder.plan.model import Route

if TYPE_CHECKING:
    from netorder.plan.model import Plan

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("topologies/*.yml"), *ROOT.glob("tests/golden/good/*.yml")])
TEXT = """
topology: t
networks:
  a: {cidr: 10.0.1.0/24}
  b: {cidr: [10.0.2.0/24, "fd00:2::/64"]}
  c: {cidr: [10.0.3.0/24, "fd00:3::/64"]}
  d: {cidr: 10.0.4.0/24}
routers:
  r1: {external: true, networks: {a: 10.0.1.1}}
  r2: {networks: {a: 10.0.1.2, b: {}}}
hosts:
  web: {network: a, address: 10.0.1.10, floating_ip: true}
  both: {networks: {a: 10.0.1.20, b: [10.0.2.20, "fd00:2::20"]}}
  fw: {networks: {b: [10.0.2.30, "fd00:2::30"], c: [10.0.3.30, "fd00:3::30"]}, forward: true}
  app: {network: c, address: [10.0.3.40, "fd00:3::40"]}
  mid: {network: b, address: [10.0.2.50, "fd00:2::50"]}
  lone: {network: d}
allow:
  - {from: 192.0.2.0/24, to: web, tcp: 22}
  - {to: web, tcp: 80}
  - {from: web, to: app, tcp: 8000-8010, icmp: true}
  - {from: mid, to: [app, both], udp: 53, icmp: true}
"""
PLAN = build_plan(parse(TEXT))
MATRIX = Matrix(PLAN)


def nodes(verdict: Verdict) -> tuple[list[str], list[str]]:
    return [hop.node for hop in verdict.there], [hop.node for hop in verdict.back]


@pytest.mark.parametrize(
    ("connection", "state", "reason"),
    [
        (("web", "app", "tcp", 8000), "open", "rule of app: tcp 8000-8010 from 10.0.1.10"),
        (("web", "app", "tcp", 8011), "closed", "no rule of fw allows tcp 8011 from 10.0.1.10"),
        (("web", "app", "icmp"), "open", "rule of app: icmp from 10.0.1.10"),
        (("web", "10.0.2.30", "tcp", 8000), "open", "rule of fw: tcp 8000-8010 from 10.0.1.10"),
        (("mid", "fd00:3::40", "udp", 53), "open", "rule of app: udp 53 from fd00:2::50"),
        (("mid", "fd00:3::40", "icmp"), "open", "rule of app: ipv6-icmp from fd00:2::50"),
        (("web", "lone", "tcp", 22), "no route", "r1 sends it to the outside, which has no route to network d"),
        (("lone", "web", "tcp", 80), "no route", "lone has no IPv4 route to network a"),
        (
            ("web", "10.0.2.20", "udp", 53),
            "no route",
            "both replies from its interface on a, not the one on b",
        ),
        (("mid", "both", "udp", 53), "open", "rule of both: udp 53 from 10.0.2.50"),
        (("mid", "web", "tcp", 80), "open", "rule of web: tcp 80 from anywhere"),
        (("web", "fd00:3::40", "tcp", 8000), "no route", "web has no IPv6 route to network c"),
        (("web", "web", "tcp", 1), "open", "a host always reaches itself"),
        ((OUTSIDE, "web", "tcp", 80), "open", "rule of web: tcp 80 from anywhere"),
        ((OUTSIDE, "web", "tcp", 22), "closed", "no rule of web allows tcp 22 from anywhere"),
        (("192.0.2.7", "web", "tcp", 22), "open", "rule of web: tcp 22 from 192.0.2.0/24"),
        (("198.51.100.7", "web", "tcp", 22), "closed", "no rule of web allows tcp 22 from 198.51.100.7"),
        ((OUTSIDE, "app", "tcp", 8000), "no route", "app has no floating address"),
        (("2001:db8::1", "web", "tcp", 80), "no route", "nothing comes in from outside by IPv6"),
        (("web", OUTSIDE, "tcp", 443), "open", "all egress is allowed"),
        (("mid", OUTSIDE, "tcp", 443), "no route", "r2 does not join the outside"),
        (("app", OUTSIDE, "icmp"), "no route", "app has no default gateway"),
        (("web", "8.8.8.8", "tcp", 443), "open", "all egress is allowed"),
        (("web", "2001:db8::1", "tcp", 443), "no route", "web has no IPv6 address"),
        (("mid", "2001:db8::1", "tcp", 443), "no route", "r2 does not join the outside"),
        (("10.0.1.10", "app", "tcp", 8000), "open", "rule of app: tcp 8000-8010 from 10.0.1.10"),
        (("10.0.1.10", OUTSIDE, "tcp", 443), "open", "all egress is allowed"),
        (("10.0.2.50", "fd00:3::40", "udp", 53), "no route", "10.0.2.50 and fd00:3::40 are not of one IP version"),
        (("fd00:2::50", "app", "udp", 53), "open", "rule of app: udp 53 from fd00:2::50"),
        (
            ("10.0.1.20", "mid", "tcp", 22),
            "no route",
            "both sends it out on b, where its address is 10.0.2.20: port security drops it",
        ),
    ],
)
def test_each_verdict_has_its_reason(connection: tuple[str, str, str, int], state: str, reason: str):
    verdict = MATRIX.explain(*connection)
    assert (verdict.state, verdict.reason[: len(reason)]) == (state, reason)


def test_the_path_there_and_back():
    """By the default gateway's neighbour, through the host that forwards, and back along the same path."""
    verdict = MATRIX.explain("web", "app", "tcp", 8000)
    assert nodes(verdict) == (["web", "r2", "fw", "app"], ["app", "fw", "r2", "web"])
    assert (verdict.source_address, verdict.address) == ("10.0.1.10", "10.0.3.40")
    assert verdict.there[1].entry == "a"
    assert verdict.there[1].why == "route 10.0.3.0/24 via 10.0.2.30"
    assert nodes(MATRIX.explain(OUTSIDE, "web", "tcp", 80)) == ([OUTSIDE, "r1", "web"], ["web", "r1", OUTSIDE])


def changed(**hosts: dict[str, object]) -> Matrix:
    """Return the matrix of the plan with some hosts changed."""
    found = tuple(dataclasses.replace(host, **hosts.get(host.name, {})) for host in PLAN.hosts)
    return Matrix(dataclasses.replace(PLAN, hosts=found))


def test_the_reason_why_nothing_is_forwarded():
    """A host whose forwarding is off, or whose port security passes only its own addresses."""
    verdict = changed(fw={"forwarding": False}).explain("web", "app", "tcp", 8000)
    assert verdict.reason == "fw does not forward"
    ports = tuple(dataclasses.replace(port, allowed_address_pairs=()) for port in PLAN.hosts[2].ports)
    verdict = changed(fw={"ports": ports}).explain("web", "app", "tcp", 8000)
    assert verdict.reason == "fw's port security drops it"


def test_without_a_path_back_there_is_no_route():
    assert changed(app={"routes": ()}).explain("web", "app", "tcp", 8000).reason == (
        "there is no path back: app has no IPv4 route to network a"
    )


def test_a_loop_ends():
    """Two routers that each name the other."""
    loop = []
    for router in PLAN.routers:
        via = {"r1": "10.0.1.2", "r2": "10.0.1.1"}[router.name]
        loop.append(dataclasses.replace(router, routes=(type(PLAN.hosts[0].routes[0])("10.0.4.0/24", via),)))
    verdict = Matrix(dataclasses.replace(PLAN, routers=tuple(loop))).explain("web", "lone", "tcp", 22)
    assert verdict.reason == "a loop: r1 gets the packet a second time"


@pytest.mark.parametrize(
    ("connection", "node"),
    [
        (("web", "app", "tcp", 8011), "fw"),
        (("web", "mid", "tcp", 80), "mid"),
        ((OUTSIDE, "web", "tcp", 22), "web"),
        (("web", "app", "tcp", 8000), None),
    ],
)
def test_what_drops_a_packet_is_named(connection: tuple[str, str, str, int], node: str | None):
    """A closed connection ends where the rule is missing: on the path, or at the destination."""
    assert MATRIX.explain(*connection).dropped_by == node


@pytest.mark.parametrize("ends", [(OUTSIDE, OUTSIDE), ("192.0.2.7", OUTSIDE), (OUTSIDE, "8.8.8.8")])
def test_nothing_is_known_between_two_ends_outside(ends: tuple[str, str]):
    with pytest.raises(ValueError, match="are both outside"):
        MATRIX.explain(*ends, "tcp", 80)


def test_a_prefix_of_the_topology_is_not_outside():
    """Not even one that is made of several networks."""
    text = TEXT.replace("from: 192.0.2.0/24", "from: [192.0.2.0/24, 10.0.2.0/23, 10.0.0.0/8]")
    assert Matrix(build_plan(parse(text))).outside_sources("web", "tcp", 22) == ("10.0.0.0/8", "192.0.2.0/24")


DECLARED = """
topology: t
networks: {a: {cidr: 10.0.1.0/24}, b: {cidr: 10.0.2.0/24}, six: {cidr: "fd00:6::/64"}}
routers:
  r1: {external: true, networks: [a, six]}
  r2: {networks: [a, b]}
hosts:
  h:
    network: a
    floating_ip: true
    routes: [{to: 203.0.113.0/24, via: 10.0.1.50}, {to: 192.0.2.0/24, via: 10.0.1.60}]
  vpn: {network: a, address: 10.0.1.50, forward: true}
  in: {network: b}
  iot: {network: six}
allow:
  - {to: h, tcp: 80}
  - {from: h, to: vpn, tcp: 443}
"""


NO_REPLY = "h does not reply through r1, which has its floating address"


def declared(*, pairs: tuple[str, ...] = ("203.0.113.0/24",), forwarding: bool = True) -> Matrix:
    """Return the matrix of a plan in which host ``vpn`` is the next hop to 203.0.113.0/24, and 192.0.2.0/24 has none.

    Whether it forwards, and what its port security passes, is as given. Host ``in`` has a route by ``r2``, which has
    none: the language refuses that.
    """
    plan = build_plan(parse(DECLARED))
    (port,) = plan.hosts[1].ports
    port = dataclasses.replace(port, allowed_address_pairs=pairs)
    vpn = dataclasses.replace(plan.hosts[1], ports=(port,), forwarding=forwarding)
    within = dataclasses.replace(plan.hosts[2], routes=(*plan.hosts[2].routes, Route("203.0.113.0/24", "10.0.2.1")))
    return Matrix(dataclasses.replace(plan, hosts=(plan.hosts[0], vpn, within, *plan.hosts[3:])))


def test_a_declared_route_is_where_packets_leave():
    """Through the last next hop, also one that is no host of the plan; a host's rules apply."""
    found = declared().explain("h", "203.0.113.9", "tcp", 443)
    assert (found.state, found.reason) == (
        "open",
        "leaves the topology at vpn, by route 203.0.113.0/24 via 10.0.1.50; what is behind is not in the plan",
    )
    assert nodes(found) == (["h", "vpn", OUTSIDE], [OUTSIDE, "vpn", "h"])
    found = declared().explain("h", "192.0.2.1", "tcp", 443)
    assert (found.state, found.reason) == (
        "open",
        "leaves the topology at 10.0.1.60, by route 192.0.2.0/24 via 10.0.1.60; what is behind is not in the plan",
    )
    closed = declared().explain("h", "203.0.113.9", "tcp", 80)
    assert (closed.state, closed.reason, closed.dropped_by) == (
        "closed",
        "no rule of vpn allows tcp 80 from 10.0.1.12",
        "vpn",
    )


@pytest.mark.parametrize(
    ("matrix", "connection", "reason"),
    [
        (declared(forwarding=False), ("h", "203.0.113.9", "tcp", 443), "vpn does not forward"),
        (declared(pairs=()), ("h", "203.0.113.9", "tcp", 443), "vpn's port security drops it"),
        (declared(), ("in", "203.0.113.9", "tcp", 443), "r2 does not join the outside"),
        (declared(), ("in", OUTSIDE, "tcp", 443), "r2 does not join the outside"),
        (
            declared(),
            ("iot", OUTSIDE, "tcp", 443),
            "r1 has no IPv6 route to the outside: IPv6 stays inside the topology",
        ),
        (
            declared(),
            ("203.0.113.9", "h", "tcp", 80),
            f"{NO_REPLY}: it replies by another path, h -> vpn",
        ),
        (
            declared(),
            ("192.0.2.1", "h", "tcp", 80),
            f"{NO_REPLY}: it replies by another path, h -> 10.0.1.60",
        ),
    ],
)
def test_a_declared_route_that_leads_nowhere(matrix: Matrix, connection: tuple[str, str, str, int], reason: str):
    """Neither packets nor replies arrive by a route whose next hop does not forward them."""
    found = matrix.explain(*connection)
    assert (found.state, found.reason) == ("no route", reason)


def test_a_loop_of_declared_routes_to_the_outside_ends():
    """Two routers that send the same prefix to each other; what it does not cover leaves as before."""
    route = type(PLAN.routers[1].routes[0])
    plan = build_plan(parse(DECLARED))
    loop = (
        dataclasses.replace(plan.routers[0], routes=(route("10.99.0.0/16", "10.0.1.2"),)),
        dataclasses.replace(plan.routers[1], routes=(route("10.99.0.0/16", "10.0.1.1"),)),
    )
    loop_address = plan.routers[1].interfaces[0].addresses[0]
    loop = (dataclasses.replace(loop[0], routes=(route("10.99.0.0/16", loop_address),)), loop[1])
    matrix = Matrix(dataclasses.replace(plan, routers=loop))
    assert matrix.explain("h", "10.99.0.1", "icmp").reason == "a loop: r1 gets the packet a second time"
    assert matrix.explain("h", "10.98.0.1", "icmp").state == "open"


def test_an_external_router_translates_only_what_it_joins():
    """A default route of a router behind it ends there: no reply finds its way back."""
    route = type(PLAN.routers[1].routes[0])
    r2 = dataclasses.replace(PLAN.routers[1], routes=(route("0.0.0.0/0", "10.0.1.1"),))
    matrix = Matrix(dataclasses.replace(PLAN, routers=(PLAN.routers[0], r2)))
    found = matrix.explain("fw", OUTSIDE, "tcp", 443)
    assert (found.state, [hop.node for hop in found.there]) == ("no route", ["fw", "r2", "r1"])
    assert found.reason == "r1 translates only addresses of networks that it joins, and b is none of them"


def test_an_answer_by_another_interface_is_no_answer():
    """The router is the same one, and lets through what comes from there; the host's own ports do not."""
    text = """topology: t
networks: {n: {cidr: 10.1.0.0/24}, m: {cidr: 10.2.0.0/24}}
routers: {r: {networks: [n, m], external: true}}
hosts: {gate: {networks: [n, m], floating_ip: {network: m}}}
allow: [{from: 192.0.2.0/24, to: gate, tcp: 22}]
"""
    found = Matrix(build_plan(parse(text))).explain("192.0.2.7", "gate", "tcp", 22)
    assert (found.state, found.reason.split(": ")[1]) == (
        "no route",
        "it replies from its interface on n, not the one on m",
    )


def test_what_is_worth_probing():
    """The ends of each range and their neighbours, SSH, an unused port, and ICMP."""
    ports = {"tcp": [9, 21, 22, 23, 7999, 8000, 8010, 8011], "udp": [9, 52, 53, 54]}
    expected = [(protocol, port) for protocol, its in ports.items() for port in its]
    assert MATRIX.ports("app") == [*expected, ("icmp", None)]


@pytest.mark.parametrize("path", sorted(ROOT.glob("topologies/*.yml")), ids=lambda path: path.stem)
def test_the_shipped_topologies_work(path: Path):
    """Every service reaches its peers, and every host is reached from the last one on its SSH path."""
    the_plan: Plan = build_plan(load(path))
    matrix = Matrix(the_plan)
    owners = {address: host for host in the_plan.hosts for address in host.addresses}
    for host in the_plan.hosts:
        for endpoint in (one for application in host.applications for one in application.endpoints):
            assert owners[endpoint.address].name == endpoint.host
            assert endpoint.port
            assert matrix.verdict(host.name, endpoint.address, "tcp", endpoint.port) == "open"
        if host.ssh_path:
            assert matrix.verdict(host.ssh_path[-1], host.ssh_address, "tcp", 22) == "open"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_host_is_reached_before_it_is_configured_and_after(path: Path):
    """SSH works from the last host on its SSH path: when only those with a shorter one have routes, and at last."""
    the_plan = build_plan(load(path))
    depth = {host.name: len(host.ssh_path) for host in the_plan.hosts if host.ssh_path is not None}
    for now in {*depth.values()} - {0}:
        bare = tuple(
            host if depth.get(host.name, now) < now else dataclasses.replace(host, routes=(), forwarding=False)
            for host in the_plan.hosts
        )
        for matrix in (Matrix(dataclasses.replace(the_plan, hosts=bare)), Matrix(the_plan)):
            for host in the_plan.hosts:
                if depth.get(host.name) == now:
                    assert host.ssh_path
                    found = matrix.explain(host.ssh_path[-1], host.ssh_address, "tcp", 22)
                    what = "tcp 22" if host.ports[0].port_security else "anything"
                    assert (found.state, found.reason.split(" from ")[0]) == ("open", f"rule of {host.name}: {what}")
