"""What the golden tests compare: each file of `good` and `bad`, and what netorder says of it."""

from __future__ import annotations

from pathlib import Path

from netorder.errors import TopologyError
from netorder.language.load import load
from netorder.plan.build import build_plan
from netorder.plan.render import render
from netorder.plan.serialize import to_json

HERE = Path(__file__).parent
GOOD = sorted([*HERE.glob("good/*.yml"), *HERE.parent.parent.glob("topologies/*.yml")])
BAD = sorted(HERE.glob("bad/*.yml"))


def expected_path(source: Path, suffix: str) -> Path:
    """Return where the expectation for ``source`` is kept; those of the shipped topologies are in `good` too."""
    folder = source.parent if source.parent.parent == HERE else HERE / "good"
    return folder / (source.stem + suffix)


def plan_of(source: Path) -> tuple[str, str]:
    """Return the plan as JSON, and as text below the warnings."""
    topology = load(source)
    its_plan = build_plan(topology)
    warnings = "".join(f"{warning}\n" for warning in topology.warnings).replace(f"{source.parent}/", "")
    return to_json(its_plan), warnings + render(its_plan)


def diagnostics_of(source: Path) -> str:
    """Return what is wrong with the file, one diagnostic a line."""
    try:
        load(source)
    except TopologyError as error:
        return f"{error}\n".replace(f"{source.parent}/", "")
    return "no error\n"
