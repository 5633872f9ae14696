"""The reachability matrix as text for people: one pair hop by hop, or all pairs with what is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.analysis.reach import OUTSIDE, UNUSED_PORT, first_address
from netorder.analysis.verdict import CLOSED, NO_ROUTE, OPEN, flow_text
from netorder.text import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netorder.analysis.paths import Hop
    from netorder.analysis.reach import Matrix
    from netorder.analysis.verdict import Verdict

__all__ = ["pair", "pairs", "pairs_on"]


def pairs(matrix: Matrix, sources: Sequence[str], destinations: Sequence[str]) -> str:
    """Return a line for each pair with a host of the topology in it: what is open, or why nothing is."""
    rows = [(f"{one} -> {other}", _open(matrix, one, other)) for one, other in _ends(matrix, sources, destinations)]
    return "".join(f"{line}\n" for line in table(rows))


def pairs_on(
    matrix: Matrix, sources: Sequence[str], destinations: Sequence[str], protocol: str, port: int | None
) -> tuple[str, bool]:
    """Return a line for each pair with a host in it: whether the port is open, and why; and whether all are open."""
    rows = []
    for source, destination in _ends(matrix, sources, destinations):
        verdict, partly = _answer(matrix, source, destination, protocol, port)
        state = f"open {partly}" if partly else verdict.state
        rows.append((f"{source} -> {destination} {flow_text(protocol, port)}", state, verdict.reason))
    return "".join(f"{line}\n" for line in table(rows)), all(state == OPEN for _, state, _ in rows)


def _ends(matrix: Matrix, sources: Sequence[str], destinations: Sequence[str]) -> Iterator[tuple[str, str]]:
    for source in sources:
        for destination in destinations:
            one, other = matrix.host_of(source), matrix.host_of(destination)
            if one != other:
                yield source, destination


def _open(matrix: Matrix, source: str, destination: str) -> str:
    found = matrix.explain(source, destination, "tcp", UNUSED_PORT)
    if found.state == NO_ROUTE and not (source == OUTSIDE and found.there):
        return f"no route: {found.reason}"
    if matrix.is_outside(destination):
        if found.state != OPEN:
            return f"{found.state}: {found.reason}"
        last = found.there[-2].node
        return "everything" + (f", through {last}" if last in matrix.hosts else "")
    names: dict[str, None] = {}
    for protocol, first, last_port in matrix.ranges(destination):
        # all ports of a protocol that has ports are probed at one that no other rule names
        port = UNUSED_PORT if first is None and protocol != "icmp" else first
        name = flow_text(protocol, first, last_port)
        verdict, partly = _answer(matrix, source, destination, protocol, port)
        if verdict.state == OPEN:
            names[f"{name} {partly}" if partly else name] = None
    return ", ".join(names) or (f"no route: {found.reason}" if found.state == NO_ROUTE else "closed: no rule allows it")


def _answer(matrix: Matrix, source: str, destination: str, protocol: str, port: int | None) -> tuple[Verdict, str]:
    """Return the verdict, and in words from where it is open, if only some of the outside has an open path."""
    found = matrix.explain(source, destination, protocol, port)
    if source == OUTSIDE and found.state != OPEN and (some := matrix.outside_sources(destination, protocol, port)):
        return matrix.explain(
            first_address(some[0]), destination, protocol, port
        ), f"from {', '.join(map(_plain, some))}"
    return found, ""


def _plain(cidr: str) -> str:
    return cidr.removesuffix("/32")


def pair(matrix: Matrix, source: str, destination: str, protocol: str, port: int | None) -> tuple[str, bool]:
    """Return the verdict on one pair, the paths there and back, hop by hop; and whether it is open."""
    found, partly = _answer(matrix, source, destination, protocol, port)
    state = f"open {partly} only" if partly else found.state
    lines = [f"{source} -> {destination} {flow_text(protocol, port)}: {state}", f"  {found.reason}"]
    for title, hops, start, end in (
        ("there", _until_dropped(found), found.source_address, found.address),
        ("back", found.back if found.state != CLOSED else (), found.address, found.source_address),
    ):
        if hops:
            ends = " ".join(word for word in (f"from {start}" if start else "", f"to {end}" if end else "") if word)
            lines += ["", f"{title}, {ends}:" if ends else f"{title}:"]
            lines += table(((hop.node, _step(hop, found)) for hop in hops), indent="  ")
    return "\n".join(lines) + "\n", found.state == OPEN and not partly


def _until_dropped(found: Verdict) -> Sequence[Hop]:
    """Return the hops there, up to the one that drops the packet."""
    nodes = [hop.node for hop in found.there]
    return found.there[: nodes.index(found.dropped_by) + 1] if found.dropped_by in nodes else found.there


def _step(hop: Hop, found: Verdict) -> str:
    if hop.node == found.dropped_by:
        return f"drops it as it comes in on {hop.entry}" if hop.entry else f"drops it as it goes out on {hop.exit}"
    if hop.exit is None:
        if hop.why:
            return hop.why if hop.node == OUTSIDE else f"stops: {hop.why}"
        return "receives it" + (f" on {hop.entry}" if hop.entry else "")
    if hop.entry is None:
        return f"sends it out on {hop.exit} ({hop.why})"
    return f"passes it from {hop.entry} to {hop.exit} ({hop.why})"
