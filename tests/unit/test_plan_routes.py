"""The plan's routes, followed hop by hop as the cloud would: on random topologies and on those of the golden tests."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from netorder.plan import plan
from netorder.topology import load, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netorder.model import Host, Plan, Route

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("topologies/*.yml"), *ROOT.glob("tests/golden/good/*.yml")])


class LoopError(AssertionError):
    """A packet came to a router that it had passed."""


class Cloud:
    """Forwards packets by the plan's tables alone: connected subnet, longest static route, default gateway."""

    def __init__(self, the_plan: Plan) -> None:
        self.cidrs = {network.name: IPv4Network(network.cidr) for network in the_plan.networks}
        self.gateways = {network.name: network.gateway_ip for network in the_plan.networks}
        self.routers = {router.name: router for router in the_plan.routers}
        self.owner = {
            (interface.network, interface.address): router.name
            for router in the_plan.routers
            for interface in router.interfaces
        }

    def passed(self, host: Host, destination: str) -> list[str] | None:
        """Return the routers that a packet from `host` to an address passes; None if it is lost."""
        address, network = IPv4Address(destination), host.port.network
        if address in self.cidrs[network]:
            return []
        next_hop = lookup(address, host.routes) or self.gateways[network]
        way: list[str] = []
        while next_hop:
            assert IPv4Address(next_hop) in self.cidrs[network], "a next hop off the subnet"
            router = self.owner[network, next_hop]
            if router in way:
                raise LoopError([*way, router])
            way.append(router)
            interfaces = self.routers[router].interfaces
            if any(address in self.cidrs[interface.network] for interface in interfaces):
                return way
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
    """Return the fewest routers between each two networks that are joined (Floyd and Warshall's way)."""
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


def somebody_on(the_plan: Plan, network: str) -> str:
    """Return an address on `network` that nobody need have."""
    return next(one.allocation_pool[0] for one in the_plan.networks if one.name == network)


def without(host: Host, route: Route) -> Host:
    return replace(host, routes=tuple(other for other in host.routes if other != route))


def check_reach(the_plan: Plan) -> None:
    """Every host reaches every network that is joined to its own, the shortest way, and no other."""
    cloud, distance = Cloud(the_plan), shortest(the_plan)
    for host in the_plan.hosts:
        for network in the_plan.networks:
            way = cloud.passed(host, somebody_on(the_plan, network.name))
            expected = distance.get((host.port.network, network.name))
            assert (None if way is None else len(way)) == expected, (host.name, network.name, way)


def check_host_routes_are_needed(the_plan: Plan) -> None:
    """Without any one of its routes a host reaches that network by more routers, or not at all."""
    cloud = Cloud(the_plan)
    for host in the_plan.hosts:
        for route in host.routes:
            network = next((one for one in the_plan.networks if one.cidr == route.destination), None)
            if network is None:
                continue  # a declared one, to a place outside the topology
            address = somebody_on(the_plan, network.name)
            way, other_way = cloud.passed(host, address), cloud.passed(without(host, route), address)
            assert way is not None
            assert other_way is None or len(other_way) > len(way), (host.name, route)


def check_ways_in(the_plan: Plan) -> None:
    """SSH passes to each host from the last one before it; the answers pass back before the host has its routes."""
    cloud = Cloud(the_plan)
    hosts = {host.name: host for host in the_plan.hosts}
    for host in the_plan.hosts:
        if host.way_in:
            bastion = hosts[host.way_in[-1]]
            assert bastion.way_in == ()
            assert bastion.floating_ip
            assert cloud.passed(bastion, host.port.address) is not None
            assert cloud.passed(replace(host, routes=()), bastion.port.address) is not None


def check_router_routes_are_needed(the_plan: Plan) -> None:
    """Each route of a router is taken by some packet: from a host anywhere, or from one that has no routes yet."""
    cloud = Cloud(the_plan)
    taken = set()
    hosts = {host.name: host for host in the_plan.hosts}
    senders = [(host, network.name) for host in the_plan.hosts for network in the_plan.networks]
    senders += [
        (replace(host, routes=()), hosts[host.way_in[-1]].port.network) for host in the_plan.hosts if host.way_in
    ]
    for host, network in senders:
        way = cloud.passed(host, somebody_on(the_plan, network)) or []
        taken |= {(router, network) for router in way[:-1]}
    names = {network.cidr: network.name for network in the_plan.networks}
    planned = [(router.name, names[route.destination]) for router in the_plan.routers for route in router.routes]
    assert sorted(planned) == sorted(taken)


def check_addresses(the_plan: Plan) -> None:
    """No two things have one address; each is on its subnet, outside what Neutron hands out itself."""
    networks = {network.name: network for network in the_plan.networks}
    addresses = [(host.port.network, host.port.address) for host in the_plan.hosts]
    addresses += [(one.network, one.address) for router in the_plan.routers for one in router.interfaces]
    assert len(set(addresses)) == len(addresses)
    for name, address in addresses:
        first, last = map(IPv4Address, networks[name].allocation_pool)
        assert IPv4Address(address) in list(IPv4Network(networks[name].cidr).hosts())
        assert not first <= IPv4Address(address) <= last
    for network in the_plan.networks:
        joined = any(one.network == network.name for router in the_plan.routers for one in router.interfaces)
        assert bool(network.gateway_ip) == joined


@pytest.mark.parametrize("source", FILES, ids=lambda path: path.stem)
def test_the_files(source: Path):
    """The topologies that are shipped and those of the golden tests work hop by hop."""
    the_plan = plan(load(source))
    check_reach(the_plan)
    check_host_routes_are_needed(the_plan)
    check_ways_in(the_plan)


Shape = tuple[int, list[tuple[list[int], bool]], list[bool]]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Return how many networks there are, each router's networks and whether it is external, and who lets SSH in."""
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
    """Whatever joins what: all who can reach each other do, the shortest way, with no route too many."""
    the_plan = plan(parse(topology_text(shape)))
    check_addresses(the_plan)
    check_reach(the_plan)
    check_host_routes_are_needed(the_plan)
    check_router_routes_are_needed(the_plan)
    check_ways_in(the_plan)


@settings(max_examples=100, deadline=None)
@given(shapes())
def test_gateway_is_the_way_out(shape: Shape):
    """No router of a network is nearer to the outside than its gateway, which is external where that can be."""
    topology = parse(topology_text(shape))
    the_plan = plan(topology)
    distance = shortest(the_plan)
    outside = {interface.network for router in the_plan.routers if router.external for interface in router.interfaces}

    def to_outside(router: str) -> float:
        its = next(one for one in the_plan.routers if one.name == router)
        if its.external:
            return 0
        ways = (distance.get((one.network, other)) for one in its.interfaces for other in outside)
        return min((1 + way for way in ways if way is not None), default=float("inf"))

    for network in topology.networks:
        its_routers = [one.name for one in the_plan.routers if network.name in {i.network for i in one.interfaces}]
        if its_routers:
            assert network.gateway_router is not None
            assert to_outside(network.gateway_router) == min(map(to_outside, its_routers))
    for host in topology.hosts:
        if host.floating_ip:
            gateway = next(one.gateway_router for one in topology.networks if one.name == host.network)
            assert next(one.external for one in topology.routers if one.name == gateway)


def test_the_calculator_is_as_the_reports_have_it():
    """The calculator's host has one static route, by rt2; nobody else has any, and rt1 does not know net2."""
    the_plan = plan(load(ROOT / "topologies/insa-lab.yml"))
    routes = {host.name: [(route.destination, route.next_hop) for route in host.routes] for host in the_plan.hosts}
    assert routes == {"calculator": [("30.4.5.0/24", "20.4.5.4")], "sum": [], "sub": [], "mul": [], "div": []}
    assert [router.routes for router in the_plan.routers] == [(), ()]
    calculator = the_plan.hosts[0]
    assert Cloud(the_plan).passed(calculator, "30.4.5.215") == ["rt2"]
    assert Cloud(the_plan).passed(replace(calculator, routes=()), "30.4.5.215") is None
