"""What a change of the topology does to flows: every source, destination, protocol and port that was or becomes open.

Pure. Hosts that are alike in both plans (networks, routes, rules that apply to them and that name them, and what stops
them) form a set; each pair of sets between which some rule allows something is worked out once, on one host of each.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from netorder.analysis.filters import Ports as _Ports
from netorder.analysis.filters import both, ports_of
from netorder.analysis.reach import OUTSIDE, UNUSED_PORT, Matrix, first_address
from netorder.analysis.verdict import NO_ROUTE, OPEN, flow_text
from netorder.ip import IPV4, IPV6
from netorder.protocols import ANYTHING
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from netorder.analysis.verdict import Verdict
    from netorder.plan.model import Host, Plan, Rule

__all__ = ["Flow", "Place", "Side", "Stop", "flows"]

Place = tuple[str, str]  # kind (host, router, network, interface, floating IP) and name
_Slot = tuple[str, int]  # of a host's address: network and IP version
_Names = tuple[str, ...]


class Stop(NamedTuple):
    """A resource that lets nothing pass for a while, and how: ``port``, ``web``, ``is replaced``."""

    kind: str
    name: str
    verb: str


@dataclass(frozen=True, slots=True)
class Flow:
    """Flows from each of ``sources`` to each of ``destinations``, ``pairs`` of them, with one fate.

    Sources and destinations are hosts, ``outside``, prefixes outside; or ``host at address``, where not all of its
    addresses fare alike. Ports are ``first`` to ``last``, None where the protocol has none. ``fate`` is kept, moved,
    interrupted, ended or opened; ``why`` says by what.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    protocol: str
    first: int | None
    last: int | None
    fate: str
    why: str
    pairs: int

    def __str__(self) -> str:
        what = flow_text(self.protocol, self.first, self.last)
        return f"{few(self.sources)} -> {few(self.destinations)} {what}: {self.fate}, {self.why}"


def flows(old: Plan, new: Plan, stopped: Mapping[Place, Stop]) -> list[Flow]:
    """Return what becomes of all flows of either plan; ``stopped`` is what is interrupted by the change."""
    return _Flows(old, new, stopped).all()


class _Openings:
    """What the security groups of a plan allow in one direction, by who is named: an address, or anywhere."""

    def __init__(self, plan: Plan, direction: str) -> None:
        self.anywhere: dict[tuple[str, int], set[_Ports]] = defaultdict(set)  # by group and IP version
        self.outside: dict[str, dict[str, set[_Ports]]] = defaultdict(lambda: defaultdict(set))  # by group and prefix
        self._named: dict[tuple[int, int], dict[int, set[tuple[str, _Ports]]]] = defaultdict(lambda: defaultdict(set))
        for group in plan.filters:
            for rule in group.rules:
                if rule.direction == direction and rule.remote_group is None:
                    self._add(group.name, rule)

    def _add(self, group: str, rule: Rule) -> None:
        version = IPV6 if rule.ethertype == "IPv6" else IPV4
        ports = ports_of(rule)
        if rule.remote_cidr is None:
            self.anywhere[group, version].add(ports)
            return
        base, _, length = rule.remote_cidr.partition("/")
        shift = (128 if version == IPV6 else 32) - int(length)
        self._named[version, shift][int(ip_address(base)) >> shift].add((group, ports))
        self.outside[group][rule.remote_cidr].add(ports)

    def of(self, address: str) -> frozenset[tuple[str, _Ports]]:
        """Return what is allowed from an address by rules that name it or its prefix: (group, ports)."""
        version, number = (IPV6 if ":" in address else IPV4), int(ip_address(address))
        found: set[tuple[str, _Ports]] = set()
        for (its_version, shift), prefixes in self._named.items():
            if its_version == version and (more := prefixes.get(number >> shift)):
                found |= more
        return frozenset(found)


class Side:
    """A plan with what its rules open, and which hosts are alike: in :func:`flows` one of two."""

    def __init__(self, matrix: Matrix) -> None:
        self.plan = matrix.plan
        self.matrix = matrix
        self.openings = _Openings(matrix.plan, "ingress")
        self._limits = _Openings(matrix.plan, "egress")
        self._sent = {
            group.name: {ports_of(rule) for rule in group.rules if rule.direction == "egress"}
            for group in matrix.plan.filters
        }
        # by address, what names it: as a value to compare, and by group
        self._named: dict[str, tuple[frozenset[tuple[str, _Ports]], dict[str, set[_Ports]]]] = {}

    def opened_to(self, address: str) -> tuple[frozenset[tuple[str, _Ports]], dict[str, set[_Ports]]]:
        """Return what rules that name an address allow from it: as a value to compare, and by group."""
        if address not in self._named:
            found = self.openings.of(address)
            by_group: dict[str, set[_Ports]] = {}
            for group, ports in found:
                by_group.setdefault(group, set()).add(ports)
            self._named[address] = found, by_group
        return self._named[address]

    def ports(self, source: str, destination: str, version: int) -> set[_Ports]:
        """Return what the rules of a host allow from any address of another, which may send it, by one IP version."""
        hosts = self.matrix.hosts
        if source not in hosts or destination not in hosts:
            return set()
        group = hosts[destination].group
        found = set(self.openings.anywhere.get((group, version), ()))
        for address in hosts[source].addresses:
            if (":" in address) == (version == IPV6):
                found |= self.opened_to(address)[1].get(group, set())
        return both(found, self._sent[hosts[source].group])

    def explain(self, source: str, destination: str | None, protocol: str, port: int | None) -> Verdict | None:
        """Return the verdict; None where an end is not in the plan."""
        if destination is None or not (self.matrix.is_end(source) and self.matrix.is_end(destination)):
            return None
        return self.matrix.explain(source, destination, protocol, port)

    def slots(self, name: str) -> dict[_Slot, str]:
        """Return the addresses of a host by network and IP version; those of its loopback by their number."""
        host = self.matrix.hosts.get(name)
        if host is None:
            return {}
        found = {(port.network, IPV6 if ":" in one else IPV4): one for port in host.ports for one in port.addresses}
        loopbacks = enumerate(host.loopback_addresses, 1)  # no network's name has a space
        return found | {(f"loopback {number}", IPV6 if ":" in one else IPV4): one for number, one in loopbacks}

    def alike(self, name: str) -> object:
        """Return what two hosts must share so that the same flows are open to and from both."""
        return self.alike_as_source(name), self.alike_as_destination(name)

    def alike_as_source(self, name: str) -> object:
        """Return what two hosts must share so that the same flows are open from both."""
        host = self.matrix.hosts.get(name)
        named = tuple(self.opened_to(one)[0] for one in host.addresses) if host else ()
        return host and (self.routed_alike(name), host.group, named)

    def alike_as_destination(self, name: str) -> object:
        """Return what two hosts must share so that the same flows are open to both."""
        host = self.matrix.hosts.get(name)
        named = tuple(self._limits.of(one) for one in host.addresses) if host else ()
        return host and (self.routed_alike(name), host.group, named)

    def routed_alike(self, name: str) -> object:
        """Return what two hosts must share so that packets take the same paths to and from both."""
        host = self.matrix.hosts.get(name)
        if host is None:
            return name
        ports = tuple(
            (
                port.network,
                port.allowed_address_pairs,
                port.port_security,
                tuple(":" in address for address in port.addresses),
            )
            for port in host.ports
        )
        passes = name if host.forwarding or host.loopback_addresses else ""  # others have routes by it
        return (passes, host.floating, host.outside_address, host.gateways, host.routes, ports)


class _Result(NamedTuple):
    """A flow's fate, and the words for it."""

    fate: str
    why: str


class _Part(NamedTuple):
    """The flows from some ends to others, on a range of ports, that have one fate."""

    sources: _Names
    destinations: _Names
    ports: _Ports
    result: _Result
    pairs: int


class _Flows:
    def __init__(self, old: Plan, new: Plan, stopped: Mapping[Place, Stop]) -> None:
        self._old, self._new = Side(Matrix(old)), Side(Matrix(new))
        self._sides = (self._old, self._new)
        self._stopped = stopped
        self._outside: dict[str, bool] = {}  # by destinations of routes: whether they are declared, to the outside
        self._members: dict[str, _Names] = {}  # the hosts alike, by each one's name
        names = dict.fromkeys([*(host.name for host in old.hosts), *(host.name for host in new.hosts)])
        sets: dict[object, list[str]] = {}
        for name in names:
            sets.setdefault(self._alike(name), []).append(name)
        self._sets = [tuple(members) for members in sets.values()]
        for members in self._sets:
            self._members |= dict.fromkeys(members, members)

    def _alike(self, name: str) -> object:
        stops = tuple(
            (stop.kind, stop.verb) if stop else None
            for stop in (self._stopped.get(("host", name)), self._stopped.get(("floating IP", name)))
        )
        before, after = self._old.slots(name), self._new.slots(name)
        moved = tuple(slot for slot in before if slot in after and before[slot] != after[slot])
        return (*(side.alike(name) for side in self._sides), stops, moved)

    def all(self) -> list[Flow]:
        """Return all flows; those that differ in the source alone are one, then those that differ in the destination.

        What is outside is not mixed with hosts: it must not be hidden behind the names of many.
        """
        by_destination: dict[tuple[_Names, _Ports, _Result, bool], list[_Part]] = defaultdict(list)
        for one in self._parts():
            outside = not self._members.keys() & set(one.sources)
            by_destination[one.destinations, one.ports, one.result, outside].append(one)
        by_source: dict[tuple[_Names, _Ports, _Result], list[_Part]] = defaultdict(list)
        for (destinations, ports, result, _), parts in by_destination.items():
            sources = tuple(name for part in parts for name in part.sources)
            pairs = sum(part.pairs for part in parts)
            by_source[sources, ports, result].append(_Part(sources, destinations, ports, result, pairs))
        return [
            Flow(
                sources,
                tuple(name for part in parts for name in part.destinations),
                *ports,
                result.fate,
                result.why,
                sum(part.pairs for part in parts),
            )
            for (sources, ports, result), parts in by_source.items()
        ]

    def _parts(self) -> Iterator[_Part]:
        """Yield what becomes of the flows of each pair of sets, and of each set and the outside."""
        for sources, destinations in self._pairs():
            if sources == destinations == sources[:1]:
                continue  # a host alone
            source, destination = sources[0], destinations[-1]
            pairs = len(sources) * len(destinations) - (len(sources) if sources == destinations else 0)
            fates: dict[tuple[_Ports, _Result], list[_Slot]] = {}
            versions = {version for side in self._sides for _, version in side.slots(source)}
            slots = dict.fromkeys(slot for side in self._sides for slot in side.slots(destination))
            slots = {slot: None for slot in slots if slot[1] in versions}
            for slot in slots:
                for found in self._between(source, destination, slot):
                    fates.setdefault(found, []).append(slot)
            for (ports, result), its in fates.items():
                if len(its) == len(slots):
                    yield _Part(sources, destinations, ports, result, pairs)
                    continue
                for slot in its:
                    labels = tuple(f"{name} at {self._address(name, slot)}" for name in destinations)
                    yield _Part(sources, labels, ports, result, pairs)
        for members in self._sets:
            yield from self._with_outside(members)

    def _address(self, name: str, slot: _Slot) -> str:
        return self._old.slots(name).get(slot) or self._new.slots(name)[slot]

    def _pairs(self) -> Iterable[tuple[_Names, _Names]]:
        """Return the pairs of sets between which a rule of either plan allows something."""
        found: dict[tuple[_Names, _Names], None] = {}
        for side in self._sides:
            by_group: dict[str, list[_Names]] = defaultdict(list)
            for members in self._sets:
                if host := side.matrix.hosts.get(members[0]):
                    by_group[host.group].append(members)
            for members in self._sets:
                if host := side.matrix.hosts.get(members[0]):
                    groups = {group for group, _ in side.openings.anywhere}
                    groups |= {group for address in host.addresses for group in side.opened_to(address)[1]}
                    found |= {(members, others): None for group in sorted(groups) for others in by_group[group]}
        return found

    def _between(self, source: str, destination: str, slot: tuple[str, int]) -> Iterator[tuple[_Ports, _Result]]:
        version = slot[1]
        known = {ports for side in self._sides for ports in side.ports(source, destination, version)}
        ends = [side.slots(destination).get(slot) for side in self._sides]
        yield from self._fates(source, destination, known, ends)

    def _with_outside(self, members: _Names) -> Iterator[_Part]:
        """Yield the flows between a set of hosts and the outside."""
        name = members[0]
        hosts = [host for side in self._sides if (host := side.matrix.hosts.get(name))]
        if any(host.entry for host in hosts):
            for source, known in self._from_outside(name).items():
                end = source if source == OUTSIDE else first_address(source)
                for ports, result in self._fates(end, name, known, [name, name]):
                    yield _Part((source,), members, ports, result, len(members))
        for destination in (OUTSIDE, *self._declared(hosts)):
            end = destination if destination == OUTSIDE else first_address(destination)
            verdicts = [side.explain(name, end, "tcp", UNUSED_PORT) for side in self._sides]
            through = {hop.node for one in verdicts if one for hop in one.there[1:] if hop.node in self._members}
            if through:  # what their rules allow
                known = {
                    ports
                    for side in self._sides
                    for host in through & side.matrix.hosts.keys()
                    for ports in side.matrix.ranges(host)
                }
                for ports, result in self._fates(name, end, known, [end, end]):
                    yield _Part(members, (destination,), ports, result, len(members))
            elif limits := {its for side in self._sides for its in self._limits(side, name)}:
                if destination == OUTSIDE:
                    yield from self._limited(members, limits)
            elif found := self._fate(name, OUTSIDE, *verdicts):
                yield _Part(members, (destination,), (ANYTHING, None, None), found, len(members))

    def _limits(self, side: Side, name: str) -> Iterable[tuple[_Ports, str | None]]:
        """Return what a host may send to the outside, and whereto, where either plan limits it."""
        if name not in side.matrix.hosts:
            return ()
        return side.matrix.limits(name)

    def _limited(self, members: _Names, limits: Iterable[tuple[_Ports, str | None]]) -> Iterator[_Part]:
        """Yield the flows to the outside of hosts that are limited, in one of the plans at least."""
        by_end: dict[str, set[_Ports]] = defaultdict(set)
        for ports, prefix in limits:
            by_end[prefix or OUTSIDE].add(ports)
        by_end[OUTSIDE].add((ANYTHING, None, None))
        for destination, known in by_end.items():
            end = destination if destination == OUTSIDE else first_address(destination)
            ends = [end if side.matrix.is_outside(end) else None for side in self._sides]
            for ports, result in self._fates(members[0], end, known, ends):
                yield _Part(members, (destination,), ports, result, len(members))

    def _from_outside(self, name: str) -> dict[str, set[_Ports]]:
        """Return what rules of a host allow from anywhere and from prefixes outside, in either plan."""
        found: dict[str, set[_Ports]] = defaultdict(set)
        for side in self._sides:
            if host := side.matrix.hosts.get(name):
                group = host.group
                found[OUTSIDE] |= side.openings.anywhere.get((group, IPV4), set())
                for prefix, ports in side.openings.outside.get(group, {}).items():
                    if ":" not in prefix and all(one.matrix.is_outside(first_address(prefix)) for one in self._sides):
                        found[prefix] |= ports
        return found

    def _declared(self, hosts: Sequence[Host]) -> list[str]:
        """Return the destinations outside of routes that are declared on these hosts or on routers."""
        found = {route.destination: None for host in hosts for route in host.routes}
        return [one for one in found | self._of_routers if self._is_declared(one)]

    @cached_property
    def _of_routers(self) -> dict[str, None]:
        return {route.destination: None for side in self._sides for one in side.plan.routers for route in one.routes}

    def _is_declared(self, destination: str) -> bool:
        """Return whether a route's destination is outside, in both plans, and not all of it."""
        if destination not in self._outside:
            is_outside = all(side.matrix.is_outside(first_address(destination)) for side in self._sides)
            self._outside[destination] = is_outside and ip_network(destination).prefixlen > 0
        return self._outside[destination]

    def _fates(
        self, source: str, destination: str, known: Iterable[_Ports], ends: Sequence[str | None]
    ) -> Iterator[tuple[_Ports, _Result]]:
        """Yield the fate of each range of ports; ``ends`` are the destination's addresses in the two plans."""
        last: tuple[_Ports, _Result] | None = None
        for ports in _segments(known):
            verdicts = [side.explain(source, end, *ports[:2]) for side, end in zip(self._sides, ends, strict=True)]
            result = self._fate(source, destination, *verdicts)
            if last and result == last[1] and last[0][0] == ports[0] and last[0][2] == (ports[1] or 0) - 1:
                last = ((ports[0], last[0][1], ports[2]), result)
                continue
            if last:
                yield last
            last = (ports, result) if result else None
        if last:
            yield last

    def _fate(self, source: str, destination: str, before: Verdict | None, after: Verdict | None) -> _Result | None:
        was, now = (one is not None and one.state == OPEN for one in (before, after))
        if not was and not now:
            return None
        if before is None or after is None:
            return self._came_or_went(source, destination, gone=was)
        if not now:
            return _Result("ended", self._no_more(after, destination))
        if not was:
            why = "there is a path now" if before.state == NO_ROUTE else "a rule allows it now"
            return _Result("opened", why)
        return self._passing(source, destination, before, after)

    def _came_or_went(self, source: str, destination: str, *, gone: bool) -> _Result:
        fate, verb = ("ended", "removed") if gone else ("opened", "added")
        other = (self._new if gone else self._old).matrix.hosts
        for end in (source, destination):
            if end in self._members and end not in other:
                return _Result(fate, f"{self._label('host', end)} {verb}")
        return _Result(fate, f"its address is {verb}")

    def _label(self, kind: str, name: str) -> str:
        """Return ``host a is``, or ``hosts a, b are`` of hosts that are alike."""
        members = self._members.get(name, (name,))
        return f"{kind} {name} is" if len(members) == 1 else f"{kind}s {few(members)} are"

    def _no_more(self, after: Verdict, destination: str) -> str:
        if after.state == NO_ROUTE or after.dropped_by is None:
            return after.reason
        whose = "" if after.dropped_by == destination else f" of {after.dropped_by}"
        return f"no rule{whose} allows it any more"

    def _passing(self, source: str, destination: str, before: Verdict, after: Verdict) -> _Result:
        places: list[Place] = [] if source in self._members else [("floating IP", destination)]
        for hop in (*before.there, *before.back):
            places += [
                ("host", hop.node), ("router", hop.node), ("interface", f"{hop.node}.{hop.entry}"),
                ("interface", f"{hop.node}.{hop.exit}"), ("network", str(hop.exit)),
            ]  # fmt: skip
        for place in places:
            if stop := self._stopped.get(place):
                return _Result("interrupted", self._stop_text(place, stop, source))
        if before.address != after.address and destination in self._members:
            members = self._members[destination]
            if len(members) > 1:
                return _Result("interrupted", f"{few(members)} have other addresses")
            return _Result("interrupted", f"{destination} is {after.address} now, it was {before.address}")
        paths = [[(hop.node, hop.entry, hop.exit) for hop in (*one.there, *one.back)] for one in (before, after)]
        if paths[0] != paths[1]:
            between = [hop.node for hop in after.there[1:-1]]
            return _Result("moved", f"takes another path, {'through ' + ', '.join(between) if between else 'direct'}")
        return _Result("kept", "")

    def _stop_text(self, place: Place, stop: Stop, source: str) -> str:
        kind, name = place
        if kind in {"host", "floating IP"} and len(self._members.get(name, ())) > 1:
            return f"each {'source' if name == source else 'destination'}'s {stop.kind} {stop.verb}"
        return f"{stop.kind} {stop.name} {stop.verb}"


def _segments(known: Iterable[_Ports]) -> Iterator[_Ports]:
    """Yield ranges that do not overlap, in order, such that each of the given ones is made of some of them."""
    by_protocol: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for protocol, first, last in sorted(known, key=lambda one: (one[0], one[1] or 0, one[2] or 0)):
        if first is None or last is None:
            by_protocol[protocol] = []
        else:
            by_protocol[protocol].append((first, last))
    for protocol, ranges in by_protocol.items():
        if not ranges:
            yield protocol, None, None
        cuts = sorted({first for first, _ in ranges} | {last + 1 for _, last in ranges})
        for low, high in pairwise(cuts):
            if any(first <= low <= last for first, last in ranges):
                yield protocol, low, high - 1
