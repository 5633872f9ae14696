"""A plan without one of its routes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from netorder.analysis.reach import Matrix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Network, IPv6Network

    from netorder.plan.model import Plan, Route


@dataclass(frozen=True, slots=True)
class Removal:
    """``plan`` is what is left when ``route`` is taken from ``place``."""

    place: str
    route: Route
    plan: Plan

    def __str__(self) -> str:
        return f"{self.place}: {self.route.destination} via {self.route.next_hop}"

    def broken(self, before: Matrix) -> list[tuple[str, str]]:
        """Return the first pair that was joined in ``before`` and is not any more; empty if none is.

        Its first is a host, or a loopback address that it sends from; its second an address.
        """
        after = Matrix(self.plan)
        destination = ip_network(self.route.destination)
        pairs = [
            (sender, address)
            for source in self.plan.hosts
            for sender in (source.name, *source.loopback_addresses)
            for target in self.plan.hosts
            if source is not target
            for address in (*target.addresses, *target.loopback_addresses)
            if ip_address(address).version == destination.version
            and (sender == source.name or ip_address(sender).version == destination.version)
        ]
        # those that it seems to be for come first
        pairs.sort(key=lambda pair: ip_address(pair[1]) not in destination)
        for source, address in pairs:
            probed = (source, address, "icmp")
            if before.verdict(*probed) != "no route" and after.verdict(*probed) == "no route":
                return [(source, address)]
        return []


def removals(plan: Plan) -> Iterator[Removal]:
    """Yield ``plan`` without each of its routes: of a host, of a subnet, of a router.

    Those to somewhere outside the plan, which are written down and not derived, are left out.
    """
    own = plan.own

    def derived(routes: tuple[Route, ...]) -> list[Route]:
        return [route for route in routes if any(_meet(ip_network(route.destination), prefix) for prefix in own)]

    for index, host in enumerate(plan.hosts):
        for route in derived(host.routes):
            changed = replace(host, routes=_without(host.routes, route))
            yield Removal(host.name, route, replace(plan, hosts=_changed(plan.hosts, index, changed)))
    for index, router in enumerate(plan.routers):
        for route in derived(router.routes):
            changed_router = replace(router, routes=_without(router.routes, route))
            yield Removal(router.name, route, replace(plan, routers=_changed(plan.routers, index, changed_router)))
    for index, network in enumerate(plan.networks):
        for place, subnet in enumerate(network.subnets):
            for route in derived(subnet.host_routes):
                changed_subnet = replace(subnet, host_routes=_without(subnet.host_routes, route))
                subnets = _changed(network.subnets, place, changed_subnet)
                networks = _changed(plan.networks, index, replace(network, subnets=subnets))
                yield Removal(f"subnet of {network.name}", route, replace(plan, networks=networks))


def _meet(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _without(routes: tuple[Route, ...], route: Route) -> tuple[Route, ...]:
    return tuple(other for other in routes if other != route)


def _changed(items: tuple[Any, ...], index: int, item: Any) -> tuple[Any, ...]:
    return (*items[:index], item, *items[index + 1 :])
