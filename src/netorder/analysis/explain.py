"""The reachability matrix as text for people: one pair hop by hop, or all pairs with what is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.analysis.reach import OUTSIDE, UNUSED_PORT
from netorder.text import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netorder.analysis.paths import Hop
    from netorder.analysis.reach import Matrix

__all__ = ["pair", "pairs"]


def pairs(matrix: Matrix, sources: Sequence[str], destinations: Sequence[str]) -> str:
    """Return a line for each pair with a host of the topology in it: what is open, or why nothing is."""
    rows = [
        (f"{source} -> {destination}", _open(matrix, source, destination))
        for source in sources
        for destination in destinations
        if source != destination and (source in matrix.hosts or destination != OUTSIDE)
    ]
    return "".join(f"{line}\n" for line in table(rows))


def _open(matrix: Matrix, source: str, destination: str) -> str:
    found = matrix.explain(source, destination, "tcp", UNUSED_PORT)
    if found.state == "no route":
        return f"no route: {found.reason}"
    if destination == OUTSIDE:
        return "everything" if found.state == "open" else f"{found.state}: {found.reason}"
    names = []
    for protocol, first, last in matrix.ranges(destination):
        if matrix.verdict(source, destination, protocol, first) == "open":
            names.append(protocol if first is None else f"{protocol} {first}" + (f"-{last}" if last != first else ""))
    return ", ".join(dict.fromkeys(names)) or "closed: no rule allows anything"


def pair(matrix: Matrix, source: str, destination: str, protocol: str, port: int | None) -> str:
    """Return the verdict on one pair, and the paths there and back, hop by hop."""
    found = matrix.explain(source, destination, protocol, port)
    what = protocol if port is None else f"{protocol} {port}"
    lines = [f"{source} -> {destination} {what}: {found.state}", f"  {found.reason}"]
    for title, hops, start, end in (
        ("there", found.there, found.source_address, found.address),
        ("back", found.back, found.address, found.source_address),
    ):
        if hops:
            ends = " ".join(word for word in (f"from {start}" if start else "", f"to {end}" if end else "") if word)
            lines += ["", f"{title}, {ends}:" if ends else f"{title}:", *_hops(hops)]
    return "\n".join(lines) + "\n"


def _hops(hops: Sequence[Hop]) -> list[str]:
    return table(((hop.node, _step(hop)) for hop in hops), indent="  ")


def _step(hop: Hop) -> str:
    if hop.exit is None:
        if hop.why:
            return hop.why if hop.node == OUTSIDE else f"stops: {hop.why}"
        return "receives it" + (f" on {hop.entry}" if hop.entry else "")
    if hop.entry is None:
        return f"sends it out on {hop.exit} ({hop.why})"
    return f"passes it from {hop.entry} to {hop.exit} ({hop.why})"
