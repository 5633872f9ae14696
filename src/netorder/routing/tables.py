"""The decided ways as routes: prefixes and next hops, neighbours merged where that is exact."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from netorder.routing.decide import Routing
    from netorder.routing.graph import NextHop

__all__ = ["Route", "Tables", "merged"]

_BITS: dict[int, int] = {4: 32, 6: 128}
_KINDS: dict[int, type[IPv4Network | IPv6Network]] = {4: IPv4Network, 6: IPv6Network}


def merged(prefixes: Iterable[tuple[int, int]], bits: int) -> list[tuple[int, int]]:
    """Return the fewest (first address, length) prefixes that hold what ``prefixes`` hold and nothing else.

    These must not overlap; ``bits`` is the length of an address.
    """
    found: list[tuple[int, int]] = []
    for first, length in sorted(prefixes):
        here = (first, length)
        while found and found[-1][1] == here[1] and found[-1][0] ^ here[0] == 1 << (bits - here[1]):
            here = (found.pop()[0], here[1] - 1)
        found.append(here)
    return found


@dataclass(frozen=True, slots=True)
class Route:
    """One static route: packets for ``destination`` (prefix) go to ``next_hop`` (address on a connected subnet)."""

    destination: str
    next_hop: str


class Tables:
    """The static routes of a topology, for who has them.

    ``prefixes`` gives, by network and IP version, the first address (as a number) and the length; ``addresses`` those
    of routers and hosts by name, network and IP version.
    """

    def __init__(
        self,
        routings: Mapping[int, Routing],
        prefixes: Mapping[tuple[str, int], tuple[int, int]],
        addresses: Mapping[tuple[str, str, int], str],
    ) -> None:
        self._routings, self._prefixes, self._addresses = routings, prefixes, addresses

    def of_network(self, network: str, version: int) -> tuple[Route, ...]:
        """Return the routes of the hosts that are on this network only."""
        routing = self._routings.get(version)
        return self._routes(routing.network_routes.get(network, ()) if routing else (), version)

    def of_host(self, host: str, version: int) -> tuple[Route, ...]:
        """Return the routes that a host has as one with several interfaces."""
        routing = self._routings.get(version)
        return self._routes(routing.host_routes.get(host, {}).items() if routing else (), version)

    def of_router(self, router: str, version: int) -> tuple[Route, ...]:
        """Return the extra routes of a router."""
        routing = self._routings.get(version)
        return self._routes(routing.router_routes.get(router, ()) if routing else (), version)

    def of_asked(self, host: str, version: int, asked: Container[str]) -> tuple[Route, ...]:
        """Return the routes of a host but for those to networks that are ``asked`` for by hand."""
        routing = self._routings[version]
        if host in routing.several:
            ways = list(routing.host_routes[host].items())
        else:
            ways = [way for network in routing.homes[host] for way in routing.network_routes[network]]
        return self._routes([way for way in ways if way[0] not in asked], version)

    def _routes(self, ways: Iterable[tuple[str, NextHop]], version: int) -> tuple[Route, ...]:
        by_hop: dict[NextHop, list[tuple[int, int]]] = {}
        for destination, hop in ways:
            by_hop.setdefault(hop, []).append(self._prefixes[destination, version])
        kind = _KINDS[version]
        found = [
            (*prefix, self._addresses[hop.router, hop.network, version])
            for hop, prefixes in by_hop.items()
            for prefix in merged(prefixes, _BITS[version])
        ]
        return tuple(Route(str(kind((first, length))), next_hop) for first, length, next_hop in sorted(found))
