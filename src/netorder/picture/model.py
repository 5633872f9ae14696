"""What a picture of a plan shows: outside, routers, networks and hosts, what joins them, and the rules as arrows.

Pure. Hosts that are alike on one network are one box; of more than a few that are alike in all that they are joined to
(the networks, routers and hosts of a class of twenty) one stands for all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from netorder.analysis.overview import overview
from netorder.analysis.reach import OUTSIDE, Matrix
from netorder.plan.build import build_plan
from netorder.plan.model import Host, Network, Router
from netorder.text import few
from netorder.topology import CONTAINERS, OPENSTACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netorder.analysis.overview import Entry
    from netorder.plan.model import Plan, Route
    from netorder.topology import Topology

__all__ = ["Arrow", "Node", "Picture", "picture"]

FEW = 4  # so many alike are shown one by one
LINES = 3  # of many facts in a box


@dataclass(frozen=True, slots=True)
class Node:
    """A box: ``kind`` is outside, network, router or host; ``lines`` are facts under its title.

    ``forwards`` is whether it joins its networks. ``id`` is unique, of letters, digits and underscores. ``members``
    are the names of what it stands for, ``state`` is what was measured there (see the report), or nothing.
    """

    id: str
    kind: str
    title: str
    lines: tuple[str, ...]
    forwards: bool = False
    members: tuple[str, ...] = ()
    state: str = ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """What the rules let through from one box to another, or between the hosts of one: on which ``pairs`` of ends.

    ``state`` is what was measured of it (see the report), or nothing.
    """

    source: str
    destination: str
    text: str
    pairs: frozenset[tuple[str, str]] = frozenset()
    state: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """The boxes, in the plan's order; ``links`` join a router or a host (first) with a network or the outside.

    ``left_out`` is how many arrows there are beside these.
    """

    title: str
    nodes: tuple[Node, ...]
    links: tuple[tuple[str, str], ...]
    arrows: tuple[Arrow, ...]
    left_out: int = 0

    def of(self, *kinds: str) -> list[Node]:
        """Return the boxes of these kinds."""
        return [node for node in self.nodes if node.kind in kinds]

    def parents(self) -> dict[str, str | None]:
        """Return what each box hangs from, nearest to the outside first; None of the outside and of what it lacks.

        Only what forwards has networks below it.
        """
        by_id = {node.id: node for node in self.nodes}
        joined: dict[str, list[str]] = {node.id: [] for node in self.nodes}
        for end, other in self.links:
            joined[end].append(other)
            joined[other].append(end)
        found: dict[str, str | None] = {}
        starts = [node.id for node in self.of("outside", "router", "network", "host")]
        for start in starts:
            left = [] if start in found else [start]
            found.setdefault(start, None)
            for one in left:  # grows: breadth first
                if by_id[one].kind == "host" and not by_id[one].forwards:
                    continue
                for other in joined[one]:
                    if other not in found:
                        found[other] = one
                        left.append(other)
        return found

    def downwards(self) -> list[tuple[str, str]]:
        """Return the links as (above, below), away from the outside."""
        depths: dict[str | None, int] = {None: 0}
        for one, parent in self.parents().items():
            depths[one] = depths[parent] + 1
        return [(end, other) if depths[end] < depths[other] else (other, end) for end, other in self.links]


Part = Host | Network | Router


class _Box:
    """What becomes a box: a name of the outside, or resources of the plan that are alike."""

    def __init__(self, kind: str, name: str, parts: Iterable[Part] = ()) -> None:
        self.kind = kind
        self.name = name
        self.parts = list(parts)
        self.joined: list[_Box] = []  # networks, or the outside


def picture(
    topology: Topology,
    *,
    each: bool = False,
    opened: Iterable[Entry] = (),
    most: int | None = None,
    always: Iterable[tuple[str, str]] = (),
) -> Picture:
    """Return the picture of a topology's plan, with arrows for what is ``opened``; with ``each`` nothing is one box.

    Of more than ``most`` arrows those are made that have a pair (of names) of ``always``. There is no arrow to the
    outside: all hosts may send there what their routes let through.
    """
    plan = build_plan(topology)
    boxes = _boxes(plan, each=each)
    if not each:
        boxes = _merged(boxes)
    ids = {id(box): f"{box.kind}_{re.sub('[^A-Za-z0-9]', '_', box.name)}" for box in boxes}
    ids |= {id(box): f"outside_{index}" for index, box in enumerate(one for one in boxes if one.kind == "outside")}
    links = [(ids[id(box)], ids[id(other)]) for box in boxes for other in box.joined]
    arrows, left_out = _arrows(boxes, ids, opened, most, always)
    nodes = tuple(
        Node(
            ids[id(box)], box.kind, *_text(box, topology.target), _forwards(box), tuple(part.name for part in box.parts)
        )
        for box in boxes
    )
    return Picture(plan.topology, nodes, tuple(dict.fromkeys(links)), tuple(arrows), left_out)


def _boxes(plan: Plan, *, each: bool) -> list[_Box]:
    outside: dict[str, _Box] = {}
    networks = {network.name: _Box("network", network.name, [network]) for network in plan.networks}
    routers = []
    for router in plan.routers:
        box = _Box("router", router.name, [router])
        if router.external:
            name = router.external_network or plan.external_network or ""
            box.joined.append(outside.setdefault(name, _Box("outside", name)))
        box.joined += [networks[interface.network] for interface in router.interfaces]
        routers.append(box)
    hosts: dict[object, _Box] = {}
    for host in plan.hosts:
        key = host.name if each else (_base(host.name), *_facts(host))
        box = hosts.setdefault(key, _Box("host", host.name))
        box.parts.append(host)
        box.joined = [networks[port.network] for port in host.ports]
    return [*outside.values(), *routers, *networks.values(), *hosts.values()]


def _facts(host: Host) -> tuple[object, ...]:
    """Return what hosts of one box share."""
    applications = tuple((one.name, one.tcp_ports, one.udp_ports) for one in host.applications)
    networks = tuple(port.network for port in host.ports)
    outside = host.floating, host.outside_address is None
    return networks, *outside, applications, host.forwarding, host.ports[0].security_groups


def _base(name: str) -> str:
    """Return a name without the numbers of `count` and `for_each`."""
    return re.sub("(-[0-9]+)+$", "", name)


def _merged(boxes: Sequence[_Box]) -> list[_Box]:
    """Let one box stand for more than a few that are alike in all that they are joined to, however far away."""
    classes: dict[int, list[_Box]] = defaultdict(list)
    for box, colour in zip(boxes, _colours(boxes), strict=True):
        classes[colour].append(box)
    stands_for = {id(box): box for box in boxes}
    for alike in classes.values():
        if len(alike) > FEW and alike[0].kind != "outside":
            stands_for |= dict.fromkeys(map(id, alike), alike[0])
    for box in boxes:
        first = stands_for[id(box)]
        if first is not box:
            first.parts += box.parts
            first.joined += box.joined
    kept = [box for box in boxes if stands_for[id(box)] is box]
    for box in kept:
        box.joined = list(dict.fromkeys(stands_for[id(one)] for one in box.joined))
    return kept


def _colours(boxes: Sequence[_Box]) -> list[int]:
    """Return a number for each box, one for those that are alike with all around them (colour refinement)."""
    neighbours: dict[int, list[int]] = defaultdict(list)
    place = {id(box): index for index, box in enumerate(boxes)}
    for index, box in enumerate(boxes):
        for other in box.joined:
            neighbours[index].append(place[id(other)])
            neighbours[place[id(other)]].append(index)
    keys: list[object] = [(box.kind, _base(box.name), len(box.parts), _forwards(box)) for box in boxes]
    colours: list[int] = []
    while True:
        numbers: dict[object, int] = {}
        finer = [numbers.setdefault(key, len(numbers)) for key in keys]
        if len(set(finer)) == len(set(colours)):
            return finer
        colours = finer
        keys = [(one, *sorted(colours[other] for other in neighbours[index])) for index, one in enumerate(colours)]


def _forwards(box: _Box) -> bool:
    return box.kind == "router" or any(isinstance(part, Host) and part.forwarding for part in box.parts)


def _text(box: _Box, target: str) -> tuple[str, tuple[str, ...]]:
    """Return title and lines of a box."""
    if box.kind == "outside":
        return "outside", ((box.name,) if box.name else ())
    many = len(box.parts) > 1
    title = f"{_base(box.name)} ({len(box.parts)})" if many else box.name
    if box.kind == "network":
        networks = [part for part in box.parts if isinstance(part, Network)]
        parents = dict.fromkeys(_base(one.subnet_of) if many else one.subnet_of for one in networks if one.subnet_of)
        prefixes = few([subnet.cidr for one in networks for subnet in one.subnets], 2)
        return title, (prefixes, *(f"a subnet of {one}" for one in parents))
    if box.kind == "router":
        return title, _router_lines([part for part in box.parts if isinstance(part, Router)])
    return title, _host_lines([part for part in box.parts if isinstance(part, Host)], target)


def _router_lines(routers: Sequence[Router]) -> tuple[str, ...]:
    on: dict[str, list[str]] = defaultdict(list)
    for router in routers:
        for interface in router.interfaces:
            on[interface.network if len(routers) == 1 else _base(interface.network)] += interface.addresses
    lines = [f"{network} {few(addresses, 2)}" for network, addresses in on.items()]
    return (*_shown(lines, FEW), *(_routes(routers[0].routes) if len(routers) == 1 else ()))


def _host_lines(hosts: Sequence[Host], target: str) -> tuple[str, ...]:
    first = hosts[0]
    if len(hosts) > 1:
        lines = _shown([f"{host.name} {', '.join(host.ports[0].addresses)}" for host in hosts], FEW)
    else:
        several = len(first.ports) > 1
        lines = [f"{port.network} " * several + ", ".join(port.addresses) for port in first.ports]
        lines += [f"loopback {', '.join(first.loopback_addresses)}"] if first.loopback_addresses else []
    if first.floating_ip and target == OPENSTACK:
        lines.append("floating address" if len(hosts) * len(first.floating) == 1 else "floating addresses")
    elif target == CONTAINERS and first.floating_ip:
        lines.append("published ports")
    elif first.forwards:
        lines.append("forwarded ports")
    for one in first.applications:
        ports = [*map(str, one.tcp_ports), *(f"{port}/udp" for port in one.udp_ports)]
        lines.append(" ".join([one.name, ", ".join(ports)]).rstrip())
    if first.forwarding:
        lines.append("forwards")
    return (*lines, *(_routes(first.routes) if len(hosts) == 1 else ()))


def _routes(routes: Sequence[Route]) -> list[str]:
    return _shown([f"{route.destination} via {route.next_hop}" for route in routes], LINES)


def _shown(lines: Sequence[str], most: int) -> list[str]:
    more = len(lines) - most
    return [*lines[:most], f"and {more} more"] if more > 0 else [*lines]


def let_through(topology: Topology) -> tuple[Entry, ...]:
    """Return what the rules open between all hosts, and from outside: the arrows of its picture."""
    matrix = Matrix(build_plan(topology))
    return overview(matrix, topology, [*matrix.hosts, OUTSIDE], list(matrix.hosts)).entries


def _arrows(
    boxes: Sequence[_Box],
    ids: Mapping[int, str],
    opened: Iterable[Entry],
    most: int | None,
    always: Iterable[tuple[str, str]],
) -> tuple[list[Arrow], int]:
    """Return an arrow for each two boxes between which something is open, and on how many pairs if not on all."""
    ends = {part.name: ids[id(box)] for box in boxes if box.kind == "host" for part in box.parts}
    size = {ids[id(box)]: len(box.parts) for box in boxes}
    hosts = frozenset(ends)
    for box in boxes:
        if box.kind == "outside" and OUTSIDE not in ends:
            ends[OUTSIDE] = ids[id(box)]
            size[ids[id(box)]] = 1
    entries = [
        (
            one.open,
            [(name, ends[name]) for name in one.sources if name in ends],
            [(name, ends[name]) for name in one.destinations if name in hosts],
        )
        for one in opened
    ]
    every = {
        both
        for _, sources, destinations in entries
        for both in product(dict.fromkeys(box for _, box in sources), dict.fromkeys(box for _, box in destinations))
        if both[0] != both[1] or size[both[0]] > 1
    }
    kept = every
    if most is not None and len(every) > most:
        kept = every & {(ends[source], ends[to]) for source, to in always if source in ends and to in ends}
    found: dict[tuple[str, str], tuple[dict[str, None], set[tuple[str, str]]]] = {}
    for what, sources, destinations in entries:
        for (source, from_), (destination, to) in product(sources, destinations):
            if source != destination and (from_, to) in kept:
                texts, pairs = found.setdefault((from_, to), ({}, set()))
                texts.update(dict.fromkeys(what))
                pairs.add((source, destination))
    arrows = []
    for (from_, to), (texts, pairs) in found.items():
        of = size[from_] * size[to] - (size[from_] if from_ == to else 0)
        part = f" (on {len(pairs)} of {of} pairs)" if len(pairs) < of else ""
        arrows.append(Arrow(from_, to, ", ".join(texts) + part, frozenset(pairs)))
    return arrows, len(every) - len(kept)
