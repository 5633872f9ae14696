"""On random topologies the kernel does what the plan predicts, pair by pair and port by port, and no route is needless."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from drawn import SHAPES, topologies
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lab import Lab
from removal import removals
from verdicts import compare, kinds, questions
from wiring import wire

from netorder.plan import plan
from netorder.reach import Matrix
from netorder.topology import parse

if TYPE_CHECKING:
    from collections import Counter

    from verdicts import Findings

EXAMPLES = 60  # of each shape
ANY = [("icmp", None), ("tcp", 9)]  # without security groups a port is as good as another


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_predicted_is_measured(shape: str, tally: Counter[str]) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(topologies(shape), st.integers(min_value=0))
    def holds(text: str, pick: int) -> None:
        seen.add(text)
        prove(text, pick, tally)

    seen: set[str] = set()
    holds()
    tally["topologies"] += len(seen)
    assert len(seen) >= EXAMPLES * 5 // 6, "too few different topologies were drawn"


def prove(text: str, pick: int, tally: Counter[str]) -> None:
    """Check all that is predicted of a topology; ``pick`` says which of its routes is taken away with real packets."""
    the_plan = plan(parse(text))
    matrix, wiring, asked = Matrix(the_plan), wire(the_plan), kinds(the_plan)
    without = list(removals(the_plan))
    needless = [removed for removed in without if not removed.broken(matrix)]
    assert not needless, f"needless: {', '.join(map(str, needless))}\n{text}"
    with Lab(wiring, [port for _, port in asked if port]) as lab:
        report(compare(lab, matrix, list(questions(the_plan, wiring, matrix, asked))), text, tally)
        lab.open()
        report(compare(lab, matrix, list(questions(the_plan, wiring, matrix, ANY)), filtered=False), text, tally)
        if without:
            removed = without[pick % len(without)]
            other, rewired = Matrix(removed.plan), wire(removed.plan)
            lab.reroute(rewired)
            findings = compare(lab, other, list(questions(removed.plan, rewired, other, ANY)), filtered=False)
            report(findings, f"# without {removed}\n{text}", tally)
            tally["routes taken away"] += 1
    tally["routes, each of them needed"] += len(without)
    tally["largest number of networks"] = max(tally["largest number of networks"], len(the_plan.networks))
    tally["largest number of routers"] = max(tally["largest number of routers"], len(the_plan.routers))
    tally["largest number of hosts"] = max(tally["largest number of hosts"], len(the_plan.hosts))


def report(findings: Findings, text: str, tally: Counter[str]) -> None:
    for state, count in findings.held.items():
        tally[f"probes as predicted: {state}"] += count
    tally["probes sent again to a slow machine"] += findings.repeated
    assert not findings.wrong, "\n".join([*map(str, findings.wrong), "", text])
