"""SSH paths: by which hosts each host is reached from outside, before it has been configured and after."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from netorder.ip import IPV4

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from netorder.routing.decide import Routing

__all__ = ["SshPath", "ssh_paths"]


class SshPath(NamedTuple):
    """How SSH gets to a host.

    ``through`` are the hosts to go through, outermost first; the last of them sends from network ``source`` to the
    host's address on network ``target``, of IP version ``version``. A host with none is reached from outside itself.
    """

    through: tuple[str, ...]
    version: int
    source: str | None
    target: str | None


class _Bastion(NamedTuple):
    """A host that others can be reached through; the smaller, the better."""

    depth: int
    order: int
    name: str
    network: str


def ssh_paths(
    hosts: Sequence[str], ssh_entries: Collection[str], routings: Mapping[int, Routing]
) -> dict[str, SshPath | None]:
    """Return the SSH path to each of ``hosts``, None where there is none.

    ``ssh_entries`` allow SSH from outside. Any other host is reached from one that is on the same network, or from one
    on the same island as its default gateway (its answers go there, whatever else it has yet): through as few hosts as
    can be, over as few routers, by the first declared.
    """
    order = {host: index for index, host in enumerate(hosts)}
    paths: dict[str, SshPath | None] = dict.fromkeys(hosts)
    reached = {host: SshPath((), IPV4, None, None) for host in hosts if host in ssh_entries}
    bastions = _Bastions(routings, {}, {})
    while reached:
        paths |= reached
        for host, path in reached.items():
            bastions.add(host, len(path.through), order[host])
        nearest = cache(bastions.nearest)  # many hosts are on the same networks
        reached = {}
        for host in [host for host in hosts if paths[host] is None]:
            for version, routing in routings.items():
                if found := nearest(version, routing.default_network(host), routing.homes[host]):
                    bastion, target = found
                    before = paths[bastion.name]
                    through = (*before.through, bastion.name) if before else (bastion.name,)
                    reached[host] = SshPath(through, version, bastion.network, target)
                    break
    return paths


@dataclass(frozen=True, slots=True)
class _Bastions:
    """The best bastion on each network, and the equally deep ones on each island, by IP version."""

    routings: Mapping[int, Routing]
    on: dict[tuple[int, str], _Bastion]
    island: dict[tuple[int, int], list[_Bastion]]

    def add(self, host: str, depth: int, order: int) -> None:
        """Let hosts be reached through ``host``, itself reached through ``depth`` others."""
        for version, routing in self.routings.items():
            islands: set[int] = set()
            for network in routing.homes[host]:
                bastion = _Bastion(depth, order, host, network)
                self.on[version, network] = min(self.on.get((version, network), bastion), bastion)
                island = routing.graph.islands[network]
                if island not in islands:  # it sends to the rest of the island by the first
                    islands.add(island)
                    others = self.island.setdefault((version, island), [])
                    if not others or others[0].depth == bastion.depth:
                        others.append(bastion)

    def nearest(self, version: int, default: str | None, networks: tuple[str, ...]) -> tuple[_Bastion, str] | None:
        """Return the best bastion for a host on ``networks``, of which ``default`` has its gateway, and by which."""
        found = [
            (bastion.depth, 0, bastion.order, bastion, network)
            for network in networks
            if (bastion := self.on.get((version, network)))
        ]
        if default is not None:
            graph = self.routings[version].graph
            tree = graph.tree(default)
            for bastion in self.island.get((version, graph.islands[default]), ()):
                if bastion.network in tree.first:
                    routers = tree.lengths[tree.first[bastion.network]]
                    found.append((bastion.depth, routers, bastion.order, bastion, default))
        return min(found)[3:] if found else None
