"""The decided routes as prefixes and next hops, neighbours merged where that is exact."""

from __future__ import annotations

from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop
from typing import TYPE_CHECKING

from netorder.ip import IPV4, IPV6

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from netorder.routing.decide import Routing, StaticRoutes
    from netorder.routing.graph import NextHop

__all__ = ["Route", "Tables", "merged"]

_BITS = {IPV4: 32, IPV6: 128}
_FAMILIES = {IPV4: AF_INET, IPV6: AF_INET6}


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


@dataclass(frozen=True, eq=False)
class Tables:
    """The static routes of a topology, by their owners; ``routings`` and ``decided`` are by IP version.

    ``prefixes`` gives, by network and IP version, the first address (as a number) and the length; ``addresses`` those
    of routers and hosts by name, network and IP version.
    """

    routings: Mapping[int, Routing]
    decided: Mapping[int, StaticRoutes]
    prefixes: Mapping[tuple[str, int], tuple[int, int]]
    addresses: Mapping[tuple[str, str, int], str]

    def of_network(self, network: str, version: int) -> tuple[Route, ...]:
        """Return the routes of the hosts that are on this network only."""
        decided = self.decided.get(version)
        return self._routes(decided.of_networks.get(network, ()) if decided else (), version)

    def of_host(self, host: str, version: int) -> tuple[Route, ...]:
        """Return the routes that a host has as one with several interfaces."""
        decided = self.decided.get(version)
        return self._routes(decided.of_hosts.get(host, {}).items() if decided else (), version)

    def of_router(self, router: str, version: int) -> tuple[Route, ...]:
        """Return the extra routes of a router."""
        decided = self.decided.get(version)
        return self._routes(decided.of_routers.get(router, ()) if decided else (), version)

    def of_host_without(self, host: str, version: int, destinations: Container[str]) -> tuple[Route, ...]:
        """Return the routes of a host but for those to these ``destinations`` (networks)."""
        routing, decided = self.routings[version], self.decided[version]
        if host in routing.several:
            hops = list(decided.of_hosts[host].items())
        else:
            hops = [hop for network in routing.homes[host] for hop in decided.of_networks[network]]
        return self._routes([hop for hop in hops if hop[0] not in destinations], version)

    def _routes(self, hops: Iterable[tuple[str, NextHop]], version: int) -> tuple[Route, ...]:
        by_hop: dict[NextHop, list[tuple[int, int]]] = {}
        for destination, hop in hops:
            by_hop.setdefault(hop, []).append(self.prefixes[destination, version])
        # several times as quick as ipaddress, and a large topology has thousands of them
        size, family = _BITS[version] // 8, _FAMILIES[version]
        found = [
            (*prefix, self.addresses[hop.router, hop.network, version])
            for hop, prefixes in by_hop.items()
            for prefix in merged(prefixes, _BITS[version])
        ]
        return tuple(
            Route(f"{inet_ntop(family, first.to_bytes(size, 'big'))}/{length}", next_hop)
            for first, length, next_hop in sorted(found)
        )
