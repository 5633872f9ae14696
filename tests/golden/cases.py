"""What the golden tests compare: each file of `good` and `bad`, and what netorder says of it."""

from __future__ import annotations

from pathlib import Path

from netorder.containers.compose import compose, outside_prefix
from netorder.errors import TopologyError
from netorder.language.load import load
from netorder.picture.dot import dot
from netorder.picture.mermaid import mermaid
from netorder.picture.model import let_through, picture
from netorder.picture.svg import svg
from netorder.plan.build import build_plan
from netorder.plan.render import render
from netorder.plan.serialize import to_json
from netorder.topology import CONTAINERS

HERE = Path(__file__).parent
DRAWN = [*sorted(HERE.parent.parent.glob("topologies/*.yml")), *(HERE / f"good/{name}.yml" for name in ("odd", "ring"))]
PICTURES = {".svg": (svg, False), ".rules.svg": (svg, True), ".mmd": (mermaid, True), ".dot": (dot, True)}
GOOD = sorted([*HERE.glob("good/*.yml"), *HERE.parent.parent.glob("topologies/*.yml")])
BAD = sorted(HERE.glob("bad/*.yml"))
COMPOSED = [HERE.parent.parent / "topologies/calculator.yml", *sorted(HERE.glob("compose/*.yml"))]


def expected_path(source: Path, suffix: str) -> Path:
    """Return where the expectation for ``source`` is kept; those of the shipped topologies are in `good` too."""
    folder = source.parent if source.parent.parent == HERE else HERE / "good"
    return folder / (source.stem + suffix)


def plan_of(source: Path) -> tuple[str, str]:
    """Return the plan as JSON, and as text below the warnings."""
    topology = load(source)
    its_plan = build_plan(topology)
    warnings = "".join(f"{warning}\n" for warning in topology.warnings).replace(f"{source.parent}/", "")
    return to_json(its_plan), warnings + render(its_plan, topology.target)


def pictures_of(source: Path) -> dict[str, str]:
    """Return the pictures of a topology by the suffix of their file."""
    topology = load(source)
    opened = let_through(topology)
    return {
        suffix: draw(picture(topology, opened=opened if rules else ())) for suffix, (draw, rules) in PICTURES.items()
    }


def composed(source: Path) -> str:
    """Return the compose file of a topology, as it is written beside it."""
    plan = build_plan(load(source, CONTAINERS))
    outside = outside_prefix(plan)
    assert outside
    return compose(plan, outside, ".", source.name)


def diagnostics_of(source: Path) -> str:
    """Return what is wrong with the file, one diagnostic a line."""
    try:
        load(source)
    except TopologyError as error:
        return f"{error}\n".replace(f"{source.parent}/", "")
    return "no error\n"
