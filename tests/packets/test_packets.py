"""Random topologies: the kernel does what the plan predicts, pair by pair and port by port.

Whatever is joined has a way, and no route is needless: without it a pair has none.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from drawn import SHAPES, topologies
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from lab import Lab
from removal import removals
from verdicts import compare, kinds, questions
from wiring import held, wire

from netorder.analysis.reach import Matrix
from netorder.errors import TopologyError
from netorder.language.load import load, parse
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from verdicts import Findings

    from netorder.plan.model import Host, Plan
    from netorder.topology import Topology

ROOT = Path(__file__).parents[2]
# not the lab with its public addresses; what leaves by somebody else's gateway, which these namespaces have not; not
# what is let in from this machine's own 127.0.0.0/8, which no namespace sends from (tests/machine tries it with QEMU)
ELSEWHERE = {ROOT / "topologies/insa-lab.yml", ROOT / "tests/golden/good/existing.yml"}
FILES = [
    path
    for path in sorted({*ROOT.glob("topologies/*.yml"), *ROOT.glob("tests/golden/good/*.yml")} - ELSEWHERE)
    if "\ntarget: machine\n" not in path.read_text(encoding="utf-8")
]
ANY = [("icmp", None), ("tcp", 9)]  # without security groups a port is as good as another


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_examples_are_as_predicted(path: Path, tally: Counter[str]) -> None:
    topology = load(path)
    assert all(subnet.cidr.is_private for network in topology.networks for subnet in network.subnets)
    prove(topology, path.read_text(encoding="utf-8").replace("../applications", f"{ROOT}/applications"), 0, tally)
    tally["topologies"] += 1


# the long ones last: each then finds a worker of its own
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_predicted_is_measured(shape: str, tally: Counter[str], request: pytest.FixtureRequest) -> None:
    drawn = request.config.getoption("--drawn")

    @settings(
        max_examples=drawn,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(topologies(shape), st.integers(min_value=0))
    def holds(text: str, pick: int) -> None:
        assume(text not in proven)  # one that fails is not there: it is proven again while it is made smaller
        prove(parsed(text), text, pick, tally)
        proven.add(text)

    proven: set[str] = set()
    holds()
    tally["topologies"] += len(proven)
    assert len(proven) == drawn, "too few different topologies were drawn"


def parsed(text: str) -> Topology:
    """Return the topology; another is drawn where a host got the address of a drawn next hop, which is refused."""
    try:
        return parse(text)
    except TopologyError as error:
        wrong = [one.message for one in error.diagnostics if one.severity == "error"]
        assume(not all("which does not forward" in message for message in wrong))
        raise


def prove(topology: Topology, text: str, pick: int, tally: Counter[str]) -> None:
    """Check all that is predicted of ``topology``, whose file says ``text``.

    ``pick`` says which of its routes is taken away with real packets; that the others are needed is only computed.
    """
    the_plan = held(build_plan(topology))
    matrix, wiring, probed = Matrix(the_plan), wire(the_plan), kinds(the_plan)
    without = list(removals(the_plan))
    declared = {(host.name, str(to), str(via)) for host in topology.hosts for to, via in host.routes}
    derived = [one for one in without if (one.place, one.route.destination, one.route.next_hop) not in declared]
    needless = [removed for removed in derived if not removed.broken(matrix)]
    assert not needless, f"needless: {', '.join(map(str, needless))}\n{text}"
    lost = [pair for pair in joined(the_plan) if not reached(matrix, the_plan, *pair)]
    assert not lost, f"joined, and no way: {', '.join(map(str, lost))}\n{text}"
    with Lab(wiring, [port for _, port in probed if port]) as lab:
        report(compare(lab, matrix, list(questions(the_plan, wiring, matrix, probed))), text, tally, "of the plan")
        lab.open()
        findings = compare(lab, matrix, list(questions(the_plan, wiring, matrix, ANY)), filtered=False)
        report(findings, text, tally, "without security groups")
        if without:
            removed = without[pick % len(without)]
            other, rewired = Matrix(removed.plan), wire(removed.plan)
            lab.reroute(rewired)
            findings = compare(lab, other, list(questions(removed.plan, rewired, other, ANY)), filtered=False)
            report(findings, f"# without {removed}\n{text}", tally, "and without a route")
            tally["routes taken away"] += 1
    tally["pairs of hosts that are joined, each with a way"] += sum(1 for _ in joined(the_plan))
    tally["derived routes, each of them needed"] += len(derived)
    tally["largest number of networks"] = max(tally["largest number of networks"], len(the_plan.networks))
    tally["largest number of routers"] = max(tally["largest number of routers"], len(the_plan.routers))
    tally["largest number of hosts"] = max(tally["largest number of hosts"], len(the_plan.hosts))


def joined(the_plan: Plan) -> Iterator[tuple[str, str, int]]:
    """Yield each pair of hosts, and IP version, that routers and forwarding hosts join somehow."""
    joints = [[end.network for end in router.interfaces] for router in the_plan.routers]
    joints += [_networks(host) for host in the_plan.hosts if host.forwarding]
    for version in (4, 6):
        island = {
            network.name: network.name
            for network in the_plan.networks
            if any(subnet.version == version for subnet in network.subnets)
        }
        for joint in joints:
            merged = {island[name] for name in joint if name in island}
            island = {name: min(merged) if its in merged else its for name, its in island.items()}
        on = {host.name: {island[name] for name in _networks(host) if name in island} for host in the_plan.hosts}
        yield from ((one, other, version) for one in on for other in on if one != other and on[one] & on[other])


def _networks(host: Host) -> list[str]:
    return [port.network for port in host.ports]


def reached(matrix: Matrix, the_plan: Plan, source: str, target: str, version: int) -> bool:
    """Tell whether ``source`` has a way to some address of ``target``."""
    addresses = next(host.addresses for host in the_plan.hosts if host.name == target)
    return any(
        matrix.verdict(source, address, "icmp") != "no route"
        for address in addresses
        if ip_address(address).version == version
    )


def report(findings: Findings, text: str, tally: Counter[str], lab: str) -> None:
    for state, count in findings.held.items():
        tally[f"probes {lab}: {state}, as predicted"] += count
    tally["probes sent again: the machine was slow, or its kernel short of room"] += findings.repeated
    assert not findings.wrong, "\n".join([*map(str, findings.wrong), "", text])
