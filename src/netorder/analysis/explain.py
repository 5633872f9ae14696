"""One pair of the reachability matrix in words: what is open, or hop by hop and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from netorder.analysis.reach import OUTSIDE, UNUSED_PORT, first_address
from netorder.analysis.verdict import CLOSED, NO_ROUTE, OPEN, flow_text
from netorder.ip import IPV4, IPV6
from netorder.protocols import ANYTHING, on_wire
from netorder.text import few, table
from netorder.topology import LAST_PORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netorder.analysis.paths import Hop
    from netorder.analysis.reach import Matrix
    from netorder.analysis.verdict import Verdict
    from netorder.plan.model import Rule
    from netorder.plan.security_groups import Declarations

__all__ = ["Opened", "answer", "opened", "pair", "pair_json"]


class Opened(NamedTuple):
    """What is open between two ends: ``what`` in words, by which ``rules``; ``reason`` is why not, or how.

    A rule of None: egress is allowed, all or what is limited.
    """

    state: str
    what: tuple[str, ...]
    rules: tuple[Rule | None, ...]
    reason: str


def opened(matrix: Matrix, source: str, destination: str) -> Opened:
    """Return what is open between two ends, of all ranges of ports that rules of the destination name."""
    found = matrix.explain(source, destination, "tcp", UNUSED_PORT)
    if found.state == NO_ROUTE and not (source == OUTSIDE and found.there):
        return Opened(NO_ROUTE, (), (), found.reason)
    through = (
        [hop.node for hop in found.there[1:] if hop.node in matrix.hosts] if matrix.is_outside(destination) else []
    )
    if matrix.is_outside(destination) and not through:
        host = str(matrix.host_of(source))
        if found.state != OPEN or matrix.limits(host):
            return _limited(matrix, source, host, destination)
        last = found.there[-2].node
        is_router = last in {router.name for router in matrix.plan.routers}
        return Opened(OPEN, ("everything",), (None,), "" if is_router else f"through {last}")
    # out through hosts passes what their rules allow
    names: dict[str, Rule | None] = {}
    wide: set[tuple[str, str]] = set()  # what is open of words that hold others
    for protocol, first, last_port in matrix.ranges(through[-1] if through else destination, source):
        port = UNUSED_PORT if last_port == LAST_PORT and first == 1 else first  # one that no other rule names
        name = flow_text(protocol, first, last_port)
        verdict, partly = answer(matrix, source, _end(matrix, source, destination, protocol), protocol, port)
        whole = protocol.partition(" ")[0]
        if verdict.state == OPEN and not wide & {(ANYTHING, partly), (whole, partly)}:
            wide |= {(protocol, partly)} if last_port is None else set()
            names[f"{name} {partly}" if partly else name] = verdict.rule
    if names:
        return Opened(OPEN, tuple(names), tuple(names.values()), f"through {through[-1]}" if through else "")
    if found.state == NO_ROUTE:
        return Opened(NO_ROUTE, (), (), found.reason)
    return Opened(CLOSED, (), (), "no rule allows it")


def _limited(matrix: Matrix, source: str, host: str, destination: str) -> Opened:
    """Return what a host that is limited may send to the outside, or to an address there."""
    names: dict[str, None] = {}
    for (protocol, first, last_port), prefix in matrix.limits(host):
        port = first if first is None or last_port != LAST_PORT else max(first, UNUSED_PORT)
        end = first_address(prefix) if prefix and destination == OUTSIDE else destination
        if matrix.explain(source, end, protocol, port).state == OPEN:
            name = flow_text(protocol, first, last_port)
            names[f"{name} to {_plain(prefix)}" if prefix and destination == OUTSIDE else name] = None
    if names:
        return Opened(OPEN, tuple(names), (None,) * len(names), "")
    return Opened(CLOSED, (), (), f"no rule of {host} allows it")


def _end(matrix: Matrix, source: str, destination: str, protocol: str) -> str:
    """Return the destination, or its IPv6 address where a protocol is only there."""
    hosts = matrix.host_of(source), matrix.host_of(destination)
    if on_wire(protocol, IPV4) or destination != hosts[1] or hosts[0] is None:
        return destination
    return matrix.routed_address(hosts[0], hosts[1], IPV6) or destination


def answer(matrix: Matrix, source: str, destination: str, protocol: str, port: int | None) -> tuple[Verdict, str]:
    """Return the verdict, and in words from or to where it is open, if only some of the outside has an open path."""
    found = matrix.explain(source, destination, protocol, port)
    if source == OUTSIDE and found.state != OPEN and (some := matrix.outside_sources(destination, protocol, port)):
        return matrix.explain(
            first_address(some[0]), destination, protocol, port
        ), f"from {', '.join(map(_plain, some))}"
    if destination == OUTSIDE and found.state == CLOSED and matrix.host_of(source):
        some = matrix.outside_targets(source, protocol, port)
        if some:
            return matrix.explain(source, first_address(some[0]), protocol, port), f"to {', '.join(map(_plain, some))}"
    return found, ""


def _plain(cidr: str) -> str:
    return cidr.removesuffix("/32")


def pair(
    matrix: Matrix, declarations: Declarations, ends: tuple[str, str], protocol: str, port: int | None
) -> tuple[str, bool]:
    """Return the verdict on one pair, the paths there and back, hop by hop; and whether it is open."""
    source, destination = ends
    found, partly = answer(matrix, source, destination, protocol, port)
    state = f"open {partly} only" if partly else found.state
    places = _places(matrix, declarations, destination, found)
    reason = f"{found.reason} ({few(places)})" if places else found.reason
    lines = [f"{source} -> {destination} {flow_text(protocol, port)}: {state}", f"  {reason}"]
    for title, hops, start, end in (
        ("there", _until_dropped(found), found.source_address, found.address),
        ("back", found.back if found.state != CLOSED else (), found.address, found.source_address),
    ):
        if hops:
            both = " ".join(word for word in (f"from {start}" if start else "", f"to {end}" if end else "") if word)
            lines += ["", f"{title}, {both}:" if both else f"{title}:"]
            lines += table(((hop.node, _step(hop, found)) for hop in hops), indent="  ")
    return "\n".join(lines) + "\n", found.state == OPEN and not partly


def pair_json(
    matrix: Matrix, declarations: Declarations, ends: tuple[str, str], protocol: str, port: int | None
) -> tuple[str, bool]:
    """Return what :func:`pair` does as JSON; ``only_from`` are the prefixes outside from which it is open, if not all.

    ``only_to`` are those to which it is.

    ``there`` and ``back`` are the paths: node, entry and exit network, why.
    """
    source, destination = ends
    found, partly = answer(matrix, source, destination, protocol, port)
    is_open = found.state == OPEN and not partly
    data = {
        "from": source,
        "to": destination,
        "protocol": flow_text(protocol, None),
        "port": port,
        "state": "open in part" if partly else found.state,
        "only_from": list(matrix.outside_sources(destination, protocol, port)) if partly.startswith("from") else None,
        "only_to": list(matrix.outside_targets(source, protocol, port)) if partly.startswith("to") else None,
        "reason": found.reason,
        "rules": _places(matrix, declarations, destination, found),
        "source_address": found.source_address,
        "address": found.address,
        "there": [asdict(hop) for hop in _until_dropped(found)],
        "back": [asdict(hop) for hop in (found.back if found.state != CLOSED else ())],
    }
    return json.dumps(data, indent=1) + "\n", is_open


def _places(matrix: Matrix, declarations: Declarations, destination: str, found: Verdict) -> tuple[str, ...]:
    host = matrix.host_of(destination)
    return declarations.places(frozenset({host}), found.rule) if host and found.rule else ()


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
