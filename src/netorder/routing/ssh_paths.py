"""The way in: by which hosts each host is reached from outside, before it has been configured and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
    hosts: Sequence[str], entries: Collection[str], routings: Mapping[int, Routing]
) -> dict[str, SshPath | None]:
    """Return the way in to each of ``hosts``, None where there is none.

    ``entries`` let SSH in from outside. Any other host is reached from one that is on the same network, or from one on
    the same island as its default gateway (its answers go there, whatever else it has yet): through as few hosts as can
    be, over as few routers, by the first declared.
    """
    return _Search(hosts, entries, routings).paths


class _Search:
    def __init__(self, hosts: Sequence[str], entries: Collection[str], routings: Mapping[int, Routing]) -> None:
        self._routings = routings
        self._order = {host: index for index, host in enumerate(hosts)}
        self._on: dict[tuple[int, str], _Bastion] = {}
        self._island: dict[tuple[int, int], list[_Bastion]] = {}
        self._known: dict[tuple[int, str | None, tuple[str, ...]], tuple[_Bastion, str] | None] = {}
        self.paths: dict[str, SshPath | None] = {
            host: SshPath((), 4, None, None) if host in entries else None for host in hosts
        }
        reached = [host for host in hosts if host in entries]
        left = [host for host in hosts if host not in entries]
        while reached:
            for host in reached:
                self._add(host)
            self._known.clear()
            reached = [host for host in left if self._reach(host)]
            left = [host for host in left if self.paths[host] is None]

    def _add(self, host: str) -> None:
        way = self.paths[host]
        assert way is not None  # noqa: S101 - for the type checker: only what is reached is added
        for version, routing in self._routings.items():
            islands: set[int] = set()
            for network in routing.homes[host]:
                bastion = _Bastion(len(way.through), self._order[host], host, network)
                self._on[version, network] = min(self._on.get((version, network), bastion), bastion)
                island = routing.graph.islands[network]
                if island not in islands:  # it leaves for the rest of the island by the first
                    islands.add(island)
                    others = self._island.setdefault((version, island), [])
                    if not others or others[0].depth == bastion.depth:
                        others.append(bastion)

    def _reach(self, host: str) -> bool:
        for version, routing in self._routings.items():
            networks = routing.homes[host]
            default = routing.default_network(host)
            key = (version, default, networks)
            if key not in self._known:
                self._known[key] = self._nearest(version, routing, default, networks)
            if found := self._known[key]:
                bastion, target = found
                before = self.paths[bastion.name]
                assert before is not None  # noqa: S101 - for the type checker, as above
                self.paths[host] = SshPath((*before.through, bastion.name), version, bastion.network, target)
                return True
        return False

    def _nearest(
        self, version: int, routing: Routing, default: str | None, networks: tuple[str, ...]
    ) -> tuple[_Bastion, str] | None:
        found = [
            (bastion.depth, 0, bastion.order, bastion, network)
            for network in networks
            if (bastion := self._on.get((version, network)))
        ]
        if default is not None:
            tree = routing.graph.tree(default)
            for bastion in self._island.get((version, routing.graph.islands[default]), ()):
                if bastion.network in tree.first:
                    routers = tree.lengths[tree.first[bastion.network]]
                    found.append((bastion.depth, routers, bastion.order, bastion, default))
        return min(found)[3:] if found else None
