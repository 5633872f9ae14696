"""What is open between all hosts and the outside, and what is not: one entry for all pairs that fare alike.

Pure. Hosts alike in their networks, routes and rules, and in the rules that name them, are judged by one of them; pairs
between which no rule allows anything are not judged one by one.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from netorder.analysis.explain import answer, opened
from netorder.analysis.flows import Side
from netorder.analysis.members import to_members
from netorder.analysis.reach import OUTSIDE, UNUSED_PORT
from netorder.analysis.verdict import CLOSED, NO_ROUTE, OPEN, flow_text
from netorder.plan.security_groups import Declarations
from netorder.text import SHOWN, few, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from netorder.analysis.members import ToMembers
    from netorder.analysis.reach import Matrix
    from netorder.plan.model import Rule
    from netorder.topology import Topology

__all__ = ["Entry", "Overview", "as_matrix", "overview", "render", "to_json"]

PARTLY = "open in part"  # from some prefixes outside


@dataclass(frozen=True, slots=True)
class Entry:
    """Each of ``sources`` to each of ``destinations``, ``pairs`` of them: a state, and what is open or why it is not.

    ``rules`` are the places (FILE:LINE) of the rules that allow it; what SSH paths and forwarding need has none.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    state: str
    open: tuple[str, ...]
    rules: tuple[str, ...]
    reason: str
    pairs: int


class Overview(NamedTuple):
    """The entries that were asked for; of how many ``pairs``; how many are ``open``, in how many ``some`` port is.

    ``members`` is what is open besides to and from those whom the plan does not know.
    """

    entries: tuple[Entry, ...]
    pairs: int
    open: int
    some: int
    members: tuple[ToMembers, ...] = ()


class _Set(NamedTuple):
    """Ends that are alike; ``hosts`` are those that they are of, ``group`` their security group."""

    ends: tuple[str, ...]
    hosts: frozenset[str]
    group: str | None


class _Judged(NamedTuple):
    """Two sets, and what is open between them, each range of ports with the places of its rule."""

    sources: _Set
    destinations: _Set
    pairs: int
    state: str
    open: tuple[str, ...]
    places: tuple[tuple[str, ...], ...]
    reason: str


class _Key(NamedTuple):
    """What rows must share to be one but for their destinations."""

    sources: frozenset[str]
    to_outside: bool
    fate: _Fate


class _Fate(NamedTuple):
    """What sets of pairs must share to be one entry: state, what is open (one range of ports), its rules, reason."""

    state: str
    open: str | None
    places: tuple[str, ...]
    reason: str


def overview(
    matrix: Matrix,
    topology: Topology,
    sources: Sequence[str],
    destinations: Sequence[str],
    flow: tuple[str, int | None] | None = None,
    *,
    closed: bool = False,
) -> Overview:
    """Judge all pairs with a host in them: what is open, or whether ``flow`` (protocol, port) is.

    Without ``closed`` the entries are only those with something open.
    """
    return _Judge(matrix, topology, flow).all(sources, destinations, closed=closed)


class _Judge:
    def __init__(self, matrix: Matrix, topology: Topology, flow: tuple[str, int | None] | None) -> None:
        self._matrix = matrix
        self._side = Side(matrix)
        self._declarations = Declarations(topology)
        self._flow = flow
        self._order = {name: index for index, name in enumerate(matrix.hosts)}
        self._unnamed: dict[tuple[object, object], tuple[str, str]] = {}  # by kinds: state and reason

    def all(self, sources: Sequence[str], destinations: Sequence[str], *, closed: bool) -> Overview:
        # apart: what a host may do as one end is often less different than what it may do as both
        left = self._sets(sources, self._side.alike_as_source)
        right = self._sets(destinations, self._side.alike_as_destination)
        found = [*self._judged(left, right, closed=closed)]
        outside = sum(map(self._matrix.is_outside, sources)) * sum(map(self._matrix.is_outside, destinations))
        as_source, as_destination = (Counter(host for one in its for host in one.hosts) for its in (left, right))
        own = sum(times * as_destination[host] for host, times in as_source.items())
        return Overview(
            tuple(self._merged([one for one in found if closed or one.open])),
            pairs=len(sources) * len(destinations) - own - outside,
            open=sum(one.pairs for one in found if one.state == OPEN),
            some=sum(one.pairs for one in found if one.open),
            members=(*self._members(sources, destinations, "ingress"), *self._members(destinations, sources, "egress")),
        )

    def _members(self, others: Sequence[str], ends: Sequence[str], direction: str) -> Iterator[ToMembers]:
        """Yield what rules about members of security groups open to hosts, where the outside is looked at too."""
        hosts = {host for end in ends if (host := self._matrix.host_of(end))}
        if OUTSIDE in others:
            for one in to_members(self._matrix.plan, self._declarations, hosts, direction, self._flow):
                yield one._replace(rules=_in_order(one.rules))

    def _judged(self, left: Sequence[_Set], right: Sequence[_Set], *, closed: bool) -> Iterator[_Judged]:
        by_group: dict[str | None, list[int]] = defaultdict(list)
        for index, other in enumerate(right):
            by_group[other.group].append(index)
        for one in left:
            allowed = self._allowed(one)
            named = sorted(index for group in allowed for index in by_group.get(group, ()))
            for other in right if closed else [right[index] for index in named]:
                if ends := self._representatives(one, other):
                    yield self._judge(one, other, ends, is_named=other.group in allowed)

    def _sets(self, ends: Iterable[str], alike_as: Callable[[str], object]) -> list[_Set]:
        alike: dict[object, list[str]] = {}
        for end in dict.fromkeys(ends):
            alike.setdefault(alike_as(end) or end, []).append(end)
        found: list[_Set] = []
        for members in alike.values():
            hosts = frozenset(host for end in members if (host := self._matrix.host_of(end)))
            group = self._matrix.hosts[min(hosts)].group if hosts else None
            found.append(_Set(tuple(members), hosts, group))
        return found

    def _allowed(self, one: _Set) -> set[str | None]:
        """Return the security groups in which some rule lets these ends in; None stands for the outside."""
        if not one.hosts:
            return {group.name for group in self._matrix.plan.filters}
        found: set[str | None] = {None, *(group for group, _ in self._side.openings.anywhere)}
        host = self._matrix.hosts[min(one.hosts)]
        for address in (*host.addresses, *host.loopback_addresses):
            found |= self._side.opened_to(address)[1].keys()
        return found

    def _representatives(self, one: _Set, other: _Set) -> tuple[str, str] | None:
        for source in one.ends[:2]:
            for destination in other.ends[:2]:
                hosts = self._matrix.host_of(source), self._matrix.host_of(destination)
                if hosts[0] != hosts[1]:
                    return source, destination
        return None

    def _judge(self, one: _Set, other: _Set, ends: tuple[str, str], *, is_named: bool) -> _Judged:
        pairs = len(one.ends) * len(other.ends) - len(one.hosts & other.hosts)
        if not is_named:
            state, reason = self._not_named(*ends)
            return _Judged(one, other, pairs, state, (), (), reason)
        if self._flow is None:
            state, what, rules, reason = opened(self._matrix, *ends)
        else:
            verdict, partly = answer(self._matrix, *ends, *self._flow)
            state, reason, rules, what = verdict.state, verdict.reason, (verdict.rule,), ()
            if state == OPEN:
                state, reason = PARTLY if partly else OPEN, ""
                what = (f"{flow_text(*self._flow)} {partly}".rstrip(),)
            elif state == CLOSED:  # its reason names an address, and others are alike
                dropped_by = verdict.dropped_by
                reason = "no rule allows it" if dropped_by in other.hosts else f"no rule of {dropped_by} allows it"
        return _Judged(one, other, pairs, state, what, self._places(rules, other), _unnamed(reason, *ends))

    def _places(self, rules: Iterable[Rule | None], others: _Set) -> tuple[tuple[str, ...], ...]:
        """Return the places of each rule, in any of the hosts that it lets in to."""
        return tuple(_in_order(self._declarations.places(others.hosts, rule)) if rule else () for rule in rules)

    def _not_named(self, source: str, destination: str) -> tuple[str, str]:
        """Return state and reason where no rule allows anything: by what routing is like, not pair by pair."""
        key = (self._side.routed_alike(source), self._side.routed_alike(destination))
        if key not in self._unnamed:
            found = self._matrix.explain(source, destination, "tcp", UNUSED_PORT)
            reason = _unnamed(found.reason, source, destination) if found.state == NO_ROUTE else "no rule allows it"
            self._unnamed[key] = found.state, reason
        return self._unnamed[key]

    def _merged(self, judged: Iterable[_Judged]) -> Iterator[Entry]:
        """Yield an entry for all that differ in the source alone, then in the destination, then in the ports."""
        by_ends: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[_Fate, int]]] = defaultdict(list)
        for sources, destinations, fate, pairs in self._by_source(self._by_destination(judged)):
            by_ends[sources, destinations].append((fate, pairs))
        for (sources, destinations), fates in by_ends.items():
            alike: dict[tuple[str, str, int], list[_Fate]] = defaultdict(list)
            for fate, pairs in fates:
                alike[fate.state, fate.reason, pairs].append(fate)
            for (state, reason, pairs), its in alike.items():
                places = _in_order({place for fate in its for place in fate.places})
                what = tuple(fate.open for fate in its if fate.open)
                yield Entry(sources, destinations, state, what, places, reason, pairs)

    def _by_destination(self, judged: Iterable[_Judged]) -> Iterator[tuple[list[_Set], _Set, _Fate, int]]:
        """Yield the sources of each destination and fate; the outside apart, not to be hidden behind many names."""
        found: dict[tuple[_Set, _Fate, bool], list[_Judged]] = defaultdict(list)
        for one in judged:
            for what, places in zip(one.open, one.places, strict=True) if one.open else [(None, ())]:
                fate = _Fate(one.state, what, places, one.reason)
                found[one.destinations, fate, not one.sources.hosts].append(one)
        for (destinations, fate, _), parts in found.items():
            yield [part.sources for part in parts], destinations, fate, sum(part.pairs for part in parts)

    def _by_source(
        self, rows: Iterable[tuple[list[_Set], _Set, _Fate, int]]
    ) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], _Fate, int]]:
        """Yield sources and destinations of one fate, where all that differs is the destination."""
        merged: dict[_Key, list[tuple[list[_Set], _Set, int]]] = defaultdict(list)
        keyed = [(_key(sources, destinations, fate), (sources, destinations, pairs))
                 for sources, destinations, fate, pairs in rows]  # fmt: skip
        counts = Counter(key for key, _ in keyed)
        # a host alone is no source for itself, and would differ from the others of a mesh by that
        with_itself = [
            key._replace(sources=key.sources | row[1].hosts)
            if counts[key] == 1 and len(row[1].hosts) == 1 and row[0][0].hosts
            else key
            for key, row in keyed
        ]
        meshes = Counter(with_itself)
        for (key, row), mesh in zip(keyed, with_itself, strict=True):
            merged[mesh if meshes[mesh] > 1 else key].append(row)
        for key, its in merged.items():
            sources = self._ordered(end for sets, _, _ in its for one in sets for end in one.ends)
            destinations = self._ordered(end for _, one, _ in its for end in one.ends)
            if len(destinations) == 1:  # a host that sends as others do, and alone is sent this
                sources = tuple(end for end in sources if end != destinations[0])
            yield sources, destinations, key.fate, sum(pairs for _, _, pairs in its)

    def _ordered(self, ends: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(dict.fromkeys(ends), key=lambda end: self._order.get(end, len(self._order))))


def _key(sources: Iterable[_Set], destinations: _Set, fate: _Fate) -> _Key:
    return _Key(frozenset(end for one in sources for end in one.ends), not destinations.hosts, fate)


def _unnamed(reason: str, source: str, destination: str) -> str:
    """Return the reason with marks in place of the two ends: it holds for others that are alike."""
    for name, mark in ((source, "{source}"), (destination, "{destination}")) if reason else ():
        reason = re.sub(rf"(?<![\w.:-]){re.escape(name)}(?![\w:-]|\.\w)", mark, reason)
    return reason


def _in_order(places: Iterable[str]) -> tuple[str, ...]:
    def key(place: str) -> tuple[str, int]:
        file, _, line = place.rpartition(":")
        return file, int(line)

    return tuple(sorted(places, key=key))


# As text and as JSON


class _Names:
    """Short names of many hosts: the group, the network or the counted name whose hosts they are."""

    def __init__(self, matrix: Matrix) -> None:
        self._order = {name: index for index, name in enumerate(matrix.hosts)}
        named: dict[str, list[str]] = defaultdict(list)
        for host in matrix.plan.hosts:
            counted = re.fullmatch(r"(.+)-[0-9]+", host.name)
            if counted and counted[1] not in matrix.hosts:
                named[counted[1]].append(host.name)
            for name in dict.fromkeys((*host.groups, *(port.network for port in host.ports))):
                named[name].append(host.name)
        self._sets = {frozenset(hosts): f"{name} ({len(hosts)})" for name, hosts in reversed(named.items())}
        self._everybody = frozenset(matrix.hosts)
        self._sets[self._everybody] = f"all hosts ({len(self._everybody)})"
        self._sets = {hosts: name for hosts, name in self._sets.items() if len(hosts) > 1}
        self._by_size = sorted(self._sets, key=len, reverse=True)

    def text(self, ends: Sequence[str]) -> str:
        """Return the names of sets for the ends that these are made of, the largest first, and those of the rest."""
        left = frozenset(ends)
        words: list[tuple[int, str]] = []
        for hosts in self._by_size:
            if hosts <= left:
                left -= hosts
                words.append((min(self._order[host] for host in hosts), self._sets[hosts]))
            if len(left) <= 1:
                break
        words += [(self._order.get(end, len(self._order)), end) for end in left]
        missing = self._everybody.difference(ends)
        if len(words) > SHOWN and len(missing) == 1 and self._everybody.issuperset(ends):
            return f"all hosts but {min(missing)} ({len(ends)})"
        return few([word for _, word in sorted(words)])


def render(found: Overview, matrix: Matrix, file: str, width: int | None, *, closed: bool) -> str:
    """Return a line for each entry, wrapped at ``width``; rules by their line, in ``file`` without its name."""
    names = _Names(matrix)
    lines: list[str] = []
    entries, among = _among(found.entries)
    for one in entries:
        source, destination = names.text(one.sources), names.text(one.destinations)
        lines.append(f"{source} -> {destination}: {_said(one, source, destination, file)}")
    for alike in among:
        groups = [names.text(one.sources) for one in alike]
        lines.append(f"within each of {few(groups)}: {_said(alike[0], 'each', 'each', file)}")
    lines += [_of_members(one, names.text(one.hosts), file) for one in found.members]
    closed_pairs = found.pairs - found.some
    if closed_pairs and not closed:
        lines += [""] if lines else []
        lines += [f"nothing is open on {closed_pairs:,} of {found.pairs:,} pairs: --closed shows them, and why"]
    if width:
        lines = [
            "\n".join(textwrap.wrap(line, width, subsequent_indent="    ", break_on_hyphens=False)) for line in lines
        ]
    return "".join(f"{line}\n" for line in lines)


def _of_members(one: ToMembers, hosts: str, file: str) -> str:
    """Return what is open to or from members of a security group."""
    them = f"members of security group {one.group} (not in the plan)"
    ends = f"{them} -> {hosts}" if one.direction == "ingress" else f"{hosts} -> {them}"
    return f"{ends}: {', '.join(one.open)}" + (f" [{_places(one.rules, file)}]" if one.rules else "")


def _among(entries: Iterable[Entry]) -> tuple[list[Entry], list[list[Entry]]]:
    """Return what is open within many sets of hosts in the same way (each student's own) apart from the rest."""
    kept: list[Entry] = []
    alike: dict[object, list[Entry]] = defaultdict(list)
    for one in entries:
        key = (one.state, one.open, one.rules, one.reason) if one.open and one.sources == one.destinations else id(one)
        alike[key].append(one)
    many = [its for its in alike.values() if len(its) > SHOWN]
    for its in alike.values():
        kept += its if len(its) <= SHOWN else []
    return kept, many


def _said(one: Entry, source: str, destination: str, file: str) -> str:
    """Return what is open or why not, and the rules."""
    reason = _reason(one, source, destination)
    what = ", ".join(one.open) or f"{one.state}: {reason}"
    if one.open and reason:
        what += f" ({reason})"
    return what + (f" [{_places(one.rules, file)}]" if one.rules else "")


def as_matrix(found: Overview, matrix: Matrix, ends: tuple[Sequence[str], Sequence[str]]) -> list[str]:
    """Return what is open as a table of sources and destinations, those that fare alike as one row and one column."""
    names = _Names(matrix)
    as_source: dict[str, list[int]] = defaultdict(list)
    as_destination: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(found.entries):
        for end in one.sources:
            as_source[end].append(index)
        for end in one.destinations:
            as_destination[end].append(index)

    def groups(wanted: Sequence[str]) -> list[list[str]]:
        alike: dict[object, list[str]] = defaultdict(list)
        for end in wanted:
            alike[end in matrix.hosts, tuple(as_source[end]), tuple(as_destination[end])].append(end)
        return list(alike.values())

    columns = groups(ends[1])
    rows = [["from, to", *(names.text(column) for column in columns)]]
    for row in groups(ends[0]):
        cells = []
        for column in columns:
            both = sorted({*as_source[row[0]]} & {*as_destination[column[0]]})
            what = [_short(text) for index in both for text in found.entries[index].open]
            itself = row == column and len(row) == 1
            cells.append("" if itself else " ".join(dict.fromkeys(what)) or "-")
        rows.append([names.text(row), *cells])
    return [*table(rows), "", "a number is a TCP port, - is nothing; without --format matrix the rules are named"]


def _short(what: str) -> str:
    return what.removeprefix("tcp ").replace("everything", "all")


def _reason(one: Entry, source: str, destination: str) -> str:
    """Return the reason with the ends by these names; what is said of one is said of each of several."""
    each = "" if " have " in one.reason else "each of "
    return one.reason.format(
        source=f"{each}{source}" if len(one.sources) > 1 else source,
        destination=f"{each}{destination}" if len(one.destinations) > 1 else destination,
    )


def _places(places: Sequence[str], file: str) -> str:
    return few([place.removeprefix(f"{file}:") if place.startswith(f"{file}:") else place for place in places])


def to_json(found: Overview, topology: str) -> str:
    """Return the entries as JSON text, with all names."""
    entries = []
    for one in found.entries:
        reason = _reason(one, few(one.sources), few(one.destinations))
        entries.append(asdict(replace(one, reason=reason)))
    members = {"members": [one._asdict() for one in found.members]} if found.members else {}
    return json.dumps({"topology": topology, "pairs": found.pairs, "entries": entries, **members}, indent=1) + "\n"
