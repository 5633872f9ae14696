"""The plan's routes, followed hop by hop as the cloud would: on random topologies and on those of the golden tests."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from netorder.analysis.reach import Matrix
from netorder.errors import TopologyError
from netorder.language.load import load, parse
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netorder.plan.model import Host, Plan, Route

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("topologies/*.yml"), *ROOT.glob("tests/golden/good/*.yml")])


class LoopError(AssertionError):
    """A packet came to a router that it had passed."""


class Cloud:
    """Forwards packets by the plan's tables alone: connected subnet, longest static route, default gateway."""

    def __init__(self, the_plan: Plan) -> None:
        self.cidrs = {network.name: IPv4Network(network.subnets[0].cidr) for network in the_plan.networks}
        self.routers = {router.name: router for router in the_plan.routers}
        self.owner = {
            (interface.network, address): router.name
            for router in the_plan.routers
            for interface in router.interfaces
            for address in interface.addresses
        }

    def passed(self, host: Host, destination: str) -> list[str] | None:
        """Return the routers that a packet from `host` to an address passes; None if it is lost."""
        address, network = IPv4Address(destination), host.ports[0].network
        if address in self.cidrs[network]:
            return []
        next_hop = lookup(address, host.routes) or next(iter(host.gateways), None)
        path: list[str] = []
        while next_hop:
            assert IPv4Address(next_hop) in self.cidrs[network], "a next hop off the subnet"
            router = self.owner[network, next_hop]
            if router in path:
                raise LoopError([*path, router])
            path.append(router)
            interfaces = self.routers[router].interfaces
            if any(address in self.cidrs[interface.network] for interface in interfaces):
                return path
            next_hop = lookup(address, self.routers[router].routes)
            network = next(
                (
                    interface.network
                    for interface in interfaces
                    if next_hop and IPv4Address(next_hop) in self.cidrs[interface.network]
                ),
                network,
            )
        return None


def lookup(address: IPv4Address, routes: Iterable[Route]) -> str | None:
    fitting = [route for route in routes if address in IPv4Network(route.destination)]
    longest = max(fitting, key=lambda route: IPv4Network(route.destination).prefixlen, default=None)
    return longest.next_hop if longest else None


def shortest(the_plan: Plan) -> dict[tuple[str, str], int]:
    """Return the fewest routers between each two networks that are joined (Floyd and Warshall's algorithm)."""
    names = [network.name for network in the_plan.networks]
    distance = {(name, name): 0 for name in names}
    for router in the_plan.routers:
        its = [interface.network for interface in router.interfaces]
        distance |= {(one, other): 1 for one in its for other in its if one != other}
    infinite = len(the_plan.routers) + 1
    for middle in names:
        for one in names:
            for other in names:
                through = distance.get((one, middle), infinite) + distance.get((middle, other), infinite)
                if through < distance.get((one, other), infinite):
                    distance[one, other] = through
    return distance


def check_reach(the_plan: Plan) -> None:
    """Hosts whose networks are joined reach each other, the shortest path or from their gateway on; no others do."""
    cloud, distance, matrix = Cloud(the_plan), shortest(the_plan), Matrix(the_plan)
    gateways = {network.name: network.subnets[0].gateway_ip for network in the_plan.networks}
    for host in the_plan.hosts:
        for other in the_plan.hosts:
            network = host.ports[0].network
            path = cloud.passed(host, other.addresses[0])
            expected = distance.get((network, other.ports[0].network))
            assert (
                (path is None) == (expected is None) == (matrix.verdict(host.name, other.name, "udp", 9) == "no route")
            )
            if path is not None and len(path) != expected:
                assert expected is not None
                assert path[0] == cloud.owner[network, str(gateways[network])]
                assert len(path) == expected + 1


def lost(the_plan: Plan) -> set[tuple[str, str]]:
    """Return the pairs of hosts of which the one does not reach the other, or only round in circles."""
    cloud, found = Cloud(the_plan), set()
    for host in the_plan.hosts:
        for other in the_plan.hosts:
            try:
                path = cloud.passed(host, other.addresses[0])
            except LoopError:
                path = None
            if path is None:
                found.add((host.name, other.name))
    return found


def check_every_route_is_needed(the_plan: Plan) -> None:
    """Without any one of its routes some pair of hosts is cut."""
    before = lost(the_plan)
    for kind in ("hosts", "routers"):
        for index, one in enumerate(getattr(the_plan, kind)):
            for route in one.routes:
                poorer = replace(one, routes=tuple(other for other in one.routes if other != route))
                all_ = [*getattr(the_plan, kind)]
                all_[index] = poorer
                assert lost(replace(the_plan, **{kind: tuple(all_)})) > before, (one.name, route)


def check_ssh_paths(the_plan: Plan) -> None:
    """SSH passes to each host from the last one before it; the answers pass back before the host has its routes."""
    cloud = Cloud(the_plan)
    hosts = {host.name: host for host in the_plan.hosts}
    for host in the_plan.hosts:
        if host.ssh_path:
            bastion = hosts[host.ssh_path[-1]]
            assert bastion.ssh_path == ()
            assert bastion.floating_ip
            assert cloud.passed(bastion, host.ssh_address) is not None
            assert cloud.passed(replace(host, routes=()), bastion.addresses[0]) is not None


def check_addresses(the_plan: Plan) -> None:
    """No two things have one address; each is on its subnet, outside what Neutron hands out itself."""
    networks = {network.name: network.subnets[0] for network in the_plan.networks}
    addresses = [
        (port.network, address) for host in the_plan.hosts for port in host.ports for address in port.addresses
    ]
    addresses += [
        (one.network, address) for router in the_plan.routers for one in router.interfaces for address in one.addresses
    ]
    assert len(set(addresses)) == len(addresses)
    for name, address in addresses:
        first, last = map(IPv4Address, networks[name].allocation_pool)
        assert IPv4Address(address) in list(IPv4Network(networks[name].cidr).hosts())
        assert not first <= IPv4Address(address) <= last
    for network in the_plan.networks:
        joined = any(one.network == network.name for router in the_plan.routers for one in router.interfaces)
        assert bool(network.subnets[0].gateway_ip) == joined


@pytest.mark.parametrize("source", FILES, ids=lambda path: path.stem)
def test_the_files(source: Path):
    """The topologies that are shipped and those of the golden tests work hop by hop."""
    the_plan = build_plan(load(source))
    of_ipv4 = all([subnet.version for subnet in one.subnets] == [4] for one in the_plan.networks)
    if of_ipv4 and all(len(host.ports) == 1 for host in the_plan.hosts):
        check_reach(the_plan)
        check_ssh_paths(the_plan)


Shape = tuple[int, list[tuple[list[int], bool]], list[bool]]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Return the number of networks, each router's networks and whether it is external, and which hosts allow SSH."""
    networks = draw(st.integers(1, 8))
    some = st.lists(st.integers(0, networks - 1), min_size=1, max_size=4, unique=True)
    routers = draw(st.lists(st.tuples(some, st.booleans()), max_size=9))
    return networks, routers, draw(st.lists(st.booleans(), min_size=networks, max_size=networks))


def topology_text(shape: Shape) -> str:
    """Return a topology of that shape with a host on each network."""
    networks, routers, doors = shape
    external = {network for its, is_external in routers if is_external for network in its}
    lines = ["topology: random", "networks:"]
    lines += [f"  n{number}: {{cidr: 10.0.{number}.0/24}}" for number in range(networks)]
    lines += ["routers:"] if routers else []
    for number, (its, is_external) in enumerate(routers):
        names = ", ".join(f"n{network}" for network in its)
        lines.append(f"  r{number}: {{external: {str(is_external).lower()}, networks: [{names}]}}")
    lines.append("hosts:")
    for number in range(networks):
        floating = str(doors[number] and number in external).lower()
        lines.append(f"  h{number}: {{network: n{number}, floating_ip: {floating}}}")
    names = ", ".join(f"h{number}" for number in range(networks))
    return "\n".join([*lines, "allow:", f"  - {{to: [{names}], tcp: 22}}", ""])


RING = (5, [([0, 1], True), ([1, 2], False), ([2, 3], False), ([3, 4], False), ([4, 0], False)], [True] + [False] * 4)
MANY_EXITS = (3, [([0], True), ([1], True), ([2], True), ([0, 1], False), ([1, 2], False)], [True, False, False])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(RING)
@example(MANY_EXITS)
@given(shapes())
def test_any_shape(shape: Shape):
    """Whatever joins what: all who can reach each other do, the shortest path, with no route too many."""
    the_plan = build_plan(parse(topology_text(shape)))
    check_addresses(the_plan)
    check_reach(the_plan)
    check_every_route_is_needed(the_plan)
    check_ssh_paths(the_plan)


@settings(max_examples=100, deadline=None)
@given(shapes())
def test_gateway_is_the_way_out(shape: Shape):
    """No router of a network is nearer to the outside than its gateway, which is external where that can be."""
    topology = parse(topology_text(shape))
    the_plan = build_plan(topology)
    distance = shortest(the_plan)
    outside = {interface.network for router in the_plan.routers if router.external for interface in router.interfaces}

    def to_outside(router: str) -> float:
        its = next(one for one in the_plan.routers if one.name == router)
        if its.external:
            return 0
        lengths = (distance.get((one.network, other)) for one in its.interfaces for other in outside)
        return min((1 + length for length in lengths if length is not None), default=float("inf"))

    for network in topology.networks:
        its_routers = [one.name for one in the_plan.routers if network.name in {i.network for i in one.interfaces}]
        if its_routers:
            assert network.gateway_router is not None
            assert to_outside(network.gateway_router) == min(map(to_outside, its_routers))
    for host in topology.hosts:
        if host.floating_ip:
            gateway = next(one.gateway_router for one in topology.networks if one.name == host.interfaces[0].network)
            assert next(one.external for one in topology.routers if one.name == gateway)


def test_the_calculator_is_as_the_reports_have_it():
    """The calculator's host has one static route, by rt2; nobody else has any, and rt1 does not know net2."""
    the_plan = build_plan(load(ROOT / "topologies/insa-lab.yml"))
    routes = {host.name: [(route.destination, route.next_hop) for route in host.routes] for host in the_plan.hosts}
    assert routes == {"calculator": [("30.4.5.0/24", "20.4.5.4")], "sum": [], "sub": [], "mul": [], "div": []}
    assert [router.routes for router in the_plan.routers] == [(), ()]
    calculator = the_plan.hosts[0]
    assert Cloud(the_plan).passed(calculator, "30.4.5.215") == ["rt2"]
    assert Cloud(the_plan).passed(replace(calculator, routes=()), "30.4.5.215") is None


# Declared routes to the outside

DECLARED = """
topology: t
networks: {a: {cidr: [10.0.1.0/24, "fd00:1::/64"]}, b: {cidr: 10.0.2.0/24}}
routers:
  r1: {external: true, networks: {a: [10.0.1.1, "fd00:1::1"], b: {}}, routes: [R1]}
  r2: {networks: {a: [10.0.1.2, "fd00:1::2"], b: {}}, routes: [R2]}
hosts:
  door: {network: a, floating_ip: true, routes: [DOOR]}
  vpn: {network: a, address: [10.0.1.10, "fd00:1::10"], forward: true}
  user: {network: a, routes: [{to: 10.200.0.0/16, via: 10.0.1.10}]}
allow:
  - {from: SOURCE, to: door, tcp: 22}
  - {from: a, to: vpn, icmp: true}
"""


def declared(**words: str) -> list[str]:
    """Return what is said of the topology with these routes."""
    text = DECLARED
    for word in ("R1", "R2", "DOOR", "SOURCE"):
        text = text.replace(word, words.get(word, "203.0.113.0/24" if word == "SOURCE" else ""))
    try:
        return [one.message for one in parse(text).warnings if "`vpn`, which" not in one.message]
    except TopologyError as error:
        return [one.message for one in error.diagnostics if one.severity == "error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, []),
        (
            {"R1": "{to: 10.99.0.0/16, via: 10.0.1.2}", "R2": "{to: 10.99.0.0/16, via: 10.0.1.1}"},
            ["a loop: `r1` sends what is for `10.99.0.0/16` to `r2`, then `r1`"],
        ),
        (
            {"R1": "{to: 10.99.0.0/16, via: 10.0.1.2}", "R2": "{to: 10.96.0.0/11, via: 10.0.1.1}"},
            ["a loop: `r1` sends what is for `10.99.0.0/16` to `r2`, then `r1`"],
        ),
        (
            {"R1": "{to: 'fd00:99::/48', via: 'fd00:1::2'}", "R2": "{to: 'fd00:99::/48', via: 'fd00:1::1'}"},
            ["a loop: `r1` sends what is for `fd00:99::/48` to `r2`, then `r1`"],
        ),
        ({"R1": "{to: 10.99.0.0/16, via: 10.0.1.2}"}, ["next hop `10.0.1.2`: router `r2` has no route to"]),
        ({"R2": "{to: 10.99.0.0/16, via: 10.0.1.1}"}, []),  # an external router sends it out
        ({"R2": "{to: 'fd00:99::/48', via: 'fd00:1::1'}"}, ["next hop `fd00:1::1`: router `r1` has no route to"]),
        ({"R2": "{to: 10.99.0.0/16, via: 10.0.1.10}"}, []),  # a host may have a tunnel
        ({"R2": "{to: 0.0.0.0/0, via: 10.0.1.1}"}, ["router `r1` translates nothing but its own networks' addresses"]),
        (
            {"R2": "{to: 0.0.0.0/0, via: 10.0.1.1}", "R1": "{to: 10.99.0.0/16, via: 10.0.1.10}"},
            ["router `r1` translates nothing but its own networks' addresses, so hosts behind `r2` reach only `10.99"],
        ),
        ({"R2": "{to: 10.99.0.0/16, via: 10.0.1.99}"}, ["next hop `10.0.1.99` is no address of this topology"]),
        ({"R2": "{to: 10.99.0.0/16, via: 10.0.1.250}"}, ["next hop `10.0.1.250` is one of 10.0.1.247 to 10.0.1.254"]),
        (
            {"DOOR": "{to: 203.0.113.0/24, via: 10.0.1.10}"},
            ["host `door` cannot be configured: SSH does not reach it from outside; its route to"],
        ),
        ({"DOOR": "{to: 203.0.113.0/25, via: 10.0.1.10}"}, []),  # half of the source is answered
        ({"DOOR": "{to: 203.0.113.0/24, via: 10.0.1.10}", "SOURCE": "[203.0.113.0/24, 198.51.100.0/24]"}, []),
    ],
)
def test_declared_routes_to_the_outside(words: dict[str, str], said: list[str]):
    """Those that loop, lead nowhere or lead SSH's replies away are reported, each once, and the others are not."""
    found = [one for one in declared(**words) if not one.startswith(("host `vpn` ", "host `user` "))]
    assert [one[: len(start)] for one, start in zip(found, said, strict=True)] == said


def test_a_gateway_to_the_outside_passes_what_it_forwards():
    """A host with one interface that is the next hop of a route has forwarding and the route's prefix as its pair."""
    text = DECLARED.replace("SOURCE", "203.0.113.0/24").replace("DOOR", "{to: 'fd00:99::/48', via: 'fd00:1::10'}")
    hosts = {host.name: host for host in build_plan(parse(text.replace("R1", "").replace("R2", ""))).hosts}
    assert hosts["vpn"].forwarding
    assert hosts["vpn"].ports[0].allowed_address_pairs == ("10.200.0.0/16", "fd00:99::/48")
    assert hosts["door"].ports[0].allowed_address_pairs == ()


SITE = """
topology: t
networks: {n: {cidr: 10.1.0.0/24}, m: {cidr: 10.2.0.0/24}, far: {cidr: 10.3.0.0/24}}
routers:
  r: {networks: {n: 10.1.0.1, m: {}}, external: true, routes: [{to: 10.99.0.0/16, via: 10.1.0.9}]}
  s: {networks: {n: 10.1.0.2, far: {}}, routes: [{to: 10.99.0.0/16, via: 10.1.0.1}]}
hosts:
  v: {network: n, address: 10.1.0.9, forward: true, floating_ip: true}
  g: {network: m}
  f: {network: far}
allow:
  - {from: 192.0.2.0/24, to: v, tcp: 22}
  - {from: SENDER, to: v, all: true}
  - {from: REMOTE, to: g, tcp: 443}
"""


@pytest.mark.parametrize(
    ("sender", "remote", "said"),
    [
        ("m", "10.99.0.0/16", []),  # m sends by r, too, and what v lets in by its tunnel needs no floating address
        ("far", "10.99.1.0/24", []),  # by s and r
        ("g", "10.99.0.0/16", []),
        ("10.9.0.0/16", "10.99.0.0/16", ["host `v` forwards what is for `10.99.0.0/16`, and no rule lets it receive"]),
        ("m", "10.0.0.0/8", []),  # some of it is inside
        ("m", "198.51.100.0/24", ["`198.51.100.0/24` reaches nothing of `g` from outside, for want of a floating"]),
        ("m", "anywhere", ["`anywhere` reaches nothing of `g` from outside, for want of a floating"]),
    ],
)
def test_a_gateway_to_a_site(sender: str, remote: str, said: list[str]):
    """Whoever sends by the router may be let in, and what comes from the site comes in by the gateway."""
    topology = parse(SITE.replace("SENDER", sender).replace("REMOTE", remote))
    found = [one.message for one in topology.warnings]
    assert [one[: len(start)] for one, start in zip(found, said, strict=True)] == said


def test_reach_does_not_judge_what_a_tunnel_lets_in():
    matrix = Matrix(build_plan(parse(SITE.replace("SENDER", "m").replace("REMOTE", "10.99.0.0/16"))))
    found = matrix.explain("10.99.0.1", "g", "tcp", 443)
    assert (found.state, found.reason) == (
        "no route",
        "g has no floating address; whether v, where routes to 10.99.0.1 end, lets it in is not in the plan",
    )
    assert matrix.explain("192.0.2.1", "g", "tcp", 443).reason == "g has no floating address"
