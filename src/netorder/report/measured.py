"""What was measured of a topology, beside its plan: of each pair and each host whether it is as planned. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from netorder.analysis.causes import is_of_pair
from netorder.analysis.reach import OUTSIDE
from netorder.picture.model import Arrow
from netorder.protocols import ANYTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netorder.picture.model import Node, Picture

__all__ = ["NOT_MEASURED", "RIGHT", "WORDS", "WRONG", "Measured"]

RIGHT, WRONG, NOT_MEASURED = "right", "wrong", "unmeasured"  # classes of the page, too
WORDS = {RIGHT: "as planned", WRONG: "differs", NOT_MEASURED: "not measured"}


@dataclass(frozen=True, slots=True)
class Probe:
    """A connection that was tried: the ``port``, and what was found; ``ms`` it took, and the path's ``mtu``."""

    port: int
    expected: str
    found: str
    ok: bool
    ms: float | None = None
    mtu: int | None = None


class Measured:
    """The findings of verify, by pair and by host; ``when`` is empty where nothing was measured."""

    def __init__(self, verify: Mapping[str, Any] | None = None) -> None:
        self.when = str((verify or {}).get("time", ""))
        self.findings: dict[str, list[dict[str, Any]]] = dict((verify or {}).get("findings", {}))
        self.pairs: dict[tuple[str, str], list[Probe]] = {}
        for host, found in self.findings.items():
            for one in found:
                if is_of_pair(host, one):
                    pair = str(one.get("from", host)), str(one["name"])
                    said = int(one["port"]), str(one["expected"]), str(one["found"]), bool(one["ok"])
                    probe = Probe(*said, one.get("ms"), one.get("mtu"))
                    self.pairs.setdefault(pair, []).append(probe)

    def of(self, pairs: Iterable[tuple[str, str]], ports: Sequence[str] | None = None) -> str:
        """Return the state of pairs that have something open: wrong if one of them is.

        ``ports`` are those that count, as the overview writes them (``tcp 80``, ``tcp 1-65535``); None: all.
        """
        probes = [
            probe
            for pair in pairs
            for probe in self.pairs.get(pair, ())
            if ports is None or any(_holds(one, probe.port) for one in ports)
        ]
        if any(not probe.ok for probe in probes):
            return WRONG
        return RIGHT if any(probe.found == "open" for probe in probes) else NOT_MEASURED

    def latency(self, pair: tuple[str, str]) -> float | None:
        """Return the median milliseconds of a pair's connections; None where none was timed."""
        took = [one.ms for one in self.pairs.get(pair, ()) if one.ms is not None]
        return median(took) if took else None

    def timed(self) -> list[dict[str, Any]]:
        """List the pairs that were timed, as plain values."""
        return [
            {"from": source, "to": to, "ms": round(took, 3), "mtu": self.mtu((source, to))}
            for source, to in self.pairs
            if (took := self.latency((source, to))) is not None
        ]

    def mtu(self, pair: tuple[str, str]) -> int | None:
        """Return the largest packet that all paths of a pair take; None where that is not known."""
        return min((one.mtu for one in self.pairs.get(pair, ()) if one.mtu is not None), default=None)

    def warnings(self) -> list[tuple[str, str]]:
        """Return what is no difference and worth knowing, each once, with whom it is of."""
        found = [
            (str(one.get("from", host)) + (f" to {one['name']}" if "name" in one else ""), str(one["warning"]))
            for host, its in self.findings.items()
            for one in its
            if one.get("warning")
        ]
        return list(dict.fromkeys(found))

    def host(self, name: str) -> str:
        """Return the state of a host: wrong if any check on it differs, connections to and from it apart."""
        if name not in self.findings:
            return NOT_MEASURED
        own = [one for one in self.findings[name] if not is_of_pair(name, one)]
        return WRONG if any(not one["ok"] for one in own) else RIGHT

    def wrong(self) -> list[tuple[str, dict[str, Any]]]:
        """Return each check that differs, with the host that it is a finding of."""
        return [(host, one) for host, found in self.findings.items() for one in found if not one["ok"]]

    @property
    def checks(self) -> int:
        """How many checks there were."""
        return sum(map(len, self.findings.values()))

    def drawn(self, shown: Picture) -> Picture:
        """Return the picture with what was measured; what is open and should not be has an arrow of its own."""
        arrows = [
            replace(one, state=(state := self.of(one.pairs)), text=f"{one.text}{self._said(one, state)}")
            for one in shown.arrows
        ]
        box = {name: node.id for node in shown.nodes if node.kind == "host" for name in node.members}
        outside = next((node.id for node in shown.nodes if node.kind == "outside"), None)
        if outside and OUTSIDE not in box:
            box[OUTSIDE] = outside
        planned = {pair for one in shown.arrows for pair in one.pairs}
        for pair, probes in self.pairs.items():
            ports = [f"tcp {probe.port}" for probe in probes if not probe.ok and probe.found == "open"]
            if ports and pair not in planned and pair[0] in box and pair[1] in box:
                text = f"{', '.join(ports)}: open, and should not be"
                arrows.append(Arrow(box[pair[0]], box[pair[1]], text, frozenset({pair}), WRONG))
        nodes = tuple(replace(node, state=self._state(node)) if node.kind == "host" else node for node in shown.nodes)
        return replace(shown, nodes=nodes, arrows=tuple(arrows))

    def _state(self, node: Node) -> str:
        """Return the state of a box of hosts."""
        states = {self.host(name) for name in node.members}
        return next(state for state in (WRONG, NOT_MEASURED, RIGHT) if state in states)

    def _said(self, arrow: Arrow, state: str) -> str:
        if not self.when:
            return ""
        if state != WRONG:
            return f" ({WORDS[state]})"
        return f" (differs: {'; '.join(_wrong(arrow, self.pairs))})"


def _holds(what: str, port: int) -> bool:
    """Return whether a text of the overview is about a TCP port."""
    if what == ANYTHING or what.startswith("everything"):
        return True
    found = re.match(r"tcp (\d+)(?:-(\d+))?(?!\S)", what)
    return found is not None and int(found[1]) <= port <= int(found[2] or found[1])


def _wrong(arrow: Arrow, pairs: Mapping[tuple[str, str], Sequence[Probe]]) -> list[str]:
    texts = [
        (f"{source} -> {destination} " if len(arrow.pairs) > 1 else "") + f"tcp {probe.port} is {probe.found}"
        for source, destination in sorted(arrow.pairs)
        for probe in pairs.get((source, destination), ())
        if not probe.ok
    ]
    return texts[:3] + ([f"and {len(texts) - 3} more"] if len(texts) > 3 else [])  # noqa: PLR2004 - three of them
