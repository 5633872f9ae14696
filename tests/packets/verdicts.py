"""The predicted matrix of a plan beside the measured one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes import Probe, measure, number_of
from wiring import OUTSIDE

from netorder.protocols import PING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab import Lab
    from wiring import Wiring

    from netorder.analysis.reach import Matrix
    from netorder.plan.model import Plan

UNUSED = 9  # discard (RFC 863): probed although no rule names it
UNNAMED = "254"  # for experiments (RFC 3692): likewise
_COMMON = {"tcp", "udp", "icmp", "ipv6-icmp"}


@dataclass(frozen=True, slots=True)
class Question:
    """A probe, and what ``netorder.reach`` says of it: ``state`` is open, closed or no route.

    ``target`` is the node that must answer if it is open. ``probed`` is what `netorder reach` was given.
    """

    probe: Probe
    target: str
    state: str
    probed: tuple[str, str, str, int | None]


@dataclass(frozen=True, slots=True)
class Wrong:
    """Where measurement and prediction differ: ``answer`` is the node that answered, None for silence."""

    question: Question
    reason: str
    answer: str | None

    def __str__(self) -> str:
        measured = f"an answer from {self.answer}" if self.answer else "no answer"
        return f"{self.question.probe}: predicted {self.question.state} ({self.reason}), measured {measured}"


@dataclass(frozen=True, slots=True)
class Findings:
    """How often the prediction held, by state, where it did not, and how many probes a slow machine needed twice."""

    held: dict[str, int]
    wrong: list[Wrong]
    repeated: int


def kinds(plan: Plan) -> list[tuple[str, int | None]]:
    """Return all that is worth asking of every host: the ends of every rule's ports and their neighbours, and a ping.

    Where rules name protocols without ports, or all, so do these; and one that no rule names.
    """
    found: set[tuple[str, int]] = {("tcp", UNUSED), ("udp", UNUSED)}
    found |= {("tcp", port) for host in plan.hosts for port in host.tcp_ports}
    for rule in (rule for group in plan.security_groups for rule in group.rules):
        if rule.protocol in ("tcp", "udp"):
            first, last = rule.port_min or 1, rule.port_max or 65535
            ends = {first - 1, first, last, last + 1}
            found |= {(rule.protocol, port) for port in ends if 0 < port < 1 << 16}
    named = {rule.protocol for group in plan.security_groups for rule in group.rules if rule.direction == "ingress"}
    raw = sorted({one for one in named if one and number_of(one)} | {UNNAMED}) if named - _COMMON else []
    return [*sorted(found), ("icmp", None), *((one, None) for one in raw)]


def questions(
    plan: Plan, wiring: Wiring, matrix: Matrix, probed: Sequence[tuple[str, int | None]]
) -> Iterator[Question]:
    """Yield every pair of hosts and outside, every address of the destination and every kind that is ``probed``.

    Hosts choose their source addresses themselves. Outside asks from each of its addresses; hosts without a floating
    address it cannot even name.
    """
    hosts = [host.name for host in plan.hosts]
    virtual = {host.name: [one for port in host.ports for one in port.virtual_addresses] for host in plan.hosts}
    addresses = {host.name: [*host.addresses, *host.loopback_addresses, *virtual[host.name]] for host in plan.hosts}
    for protocol, port in probed:
        raw = number_of(protocol)
        for source in hosts:
            if not raw:
                probe = Probe(source, wiring.outside[0], protocol, port)
                yield _question(matrix, (source, OUTSIDE, protocol, port), probe)
            for target in hosts:
                # without ports a packet the other way is an answer: of each pair only one asks
                asked = target != source and (raw is None or (source < target) == (raw % 2 == 0))
                for address in addresses[target] if asked else ():
                    probe = Probe(source, address, protocol, port)
                    yield _question(matrix, (source, address, protocol, port), probe, target)
        for target, floating in wiring.floating.items():
            for index, address in enumerate(wiring.outside):
                probe = Probe(OUTSIDE, floating, protocol, port, address)
                yield _question(matrix, (address if index else OUTSIDE, target, protocol, port), probe, target)


def _question(
    matrix: Matrix, probed: tuple[str, str, str, int | None], probe: Probe, target: str = OUTSIDE
) -> Question:
    source, destination, protocol, port = probed
    probed = (source, destination, PING if protocol == "icmp" else protocol, port)
    return Question(probe, target, matrix.verdict(*probed), probed)


# A port that saw no question drops answers of these; those of others are to it questions of their own, which may pass.
# `reach` says "no route" of them all (docs/reference/reach.md).
CONNECTED = ("tcp", "icmp", "sctp")
ASYMMETRIC = re.compile("replies from its interface|does not come back through the same forwarding hosts")
UNFORESEEN = "no route, answered by another path"


def compare(lab: Lab, matrix: Matrix, probed: Sequence[Question], *, filtered: bool = True) -> Findings:
    """Measure what ``probed`` predicts; with ``filtered`` False, in a lab whose security groups are gone."""
    answering = {"open"} if filtered else {"open", "closed"}
    expected = {question.probe: question.target if question.state in answering else None for question in probed}
    measured = measure(lab, list(expected), [probe for probe, target in expected.items() if target])
    held: dict[str, int] = {}
    wrong = []
    for question in probed:
        answer = measured.answers.get(question.probe)
        if answer == expected[question.probe]:
            state = question.state if filtered or question.state not in answering else "a way"
            held[state] = held.get(state, 0) + 1
            continue
        reason = matrix.explain(*question.probed).reason
        if answer == question.target and question.probe.protocol not in CONNECTED and ASYMMETRIC.search(reason):
            held[UNFORESEEN] = held.get(UNFORESEEN, 0) + 1
        else:
            wrong.append(Wrong(question, reason, answer))
    return Findings(held, wrong, measured.repeated)
