"""A topology of what a project has: written, read by the language's own parser, and compared with the cloud again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from netorder.cloud.importing.ask import remembered
from netorder.cloud.importing.convert import convert
from netorder.cloud.importing.differ import differences
from netorder.cloud.importing.lines import remark, rendered
from netorder.cloud.importing.names import choose
from netorder.errors import NetorderError, TopologyError
from netorder.language.load import parse
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from netorder.cloud.importing.ask import Project
    from netorder.cloud.importing.differ import Differences
    from netorder.cloud.importing.lines import Key
    from netorder.cloud.importing.names import Names
    from netorder.plan.model import Plan
    from netorder.topology import Topology

__all__ = ["Imported", "make"]

FILE = "topology.yml"  # what messages about a text without a file would call it; none is shown


@dataclass(frozen=True, slots=True)
class Imported:
    """The file's ``text``, which `netorder check` accepts, and what follows from it.

    ``owned`` says whether a topology of this name made it, so that a run finds it again; else a run makes it anew.
    ``left_out`` are lines that are comments in it, as paths of keys, with the reason; ``notes`` what no line says;
    ``differences`` what a run would change if all of it were the topology's.
    """

    text: str
    owned: bool
    topology: Topology
    plan: Plan
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    differences: Differences


def make(project: Project, topology: str, prefix: str | None = None) -> Imported:
    """Write a topology of a project, or of what in it has names that begin with ``prefix``, which is cut off.

    Lines that the parser refuses become comments, until it refuses none: what a refused one would have held is then
    missing elsewhere, which is refused next. Raises NetorderError where nothing is left.
    """
    project = remembered(project)
    names = choose(project, topology, prefix)
    what = "no server whose name begins so" if prefix else "no server"
    if not names.servers:
        raise NetorderError(f"project {project.id} has {what}, and a topology has a host at least")
    out: dict[Key, str] = {}
    while True:
        lines, notes = convert(project, names, out)
        text, about = rendered(lines, out)
        try:
            parsed = parse(text, FILE)
        except TopologyError as error:
            refused = {
                about.get(one.line, ()): one.message for one in reversed(error.diagnostics) if one.severity == "error"
            }
            if not (new := {key: why for key, why in refused.items() if key}):
                raise NetorderError(
                    f"project {project.id} cannot be written as a topology: {next(iter(refused.values()))}", *notes
                ) from error
            for key, why in new.items():
                # a network without the prefix that was refused is refused for that
                below = (its for one, its in reversed(out.items()) if one[: len(key)] == key)
                out[key] = next(below, why)
            continue
        break
    plan = build_plan(parsed)
    whole = {key: why for key, why in out.items() if not any(key[:end] in out for end in range(1, len(key)))}
    left = tuple((".".join(key), why) for key, why in whole.items())
    end = "".join(remark(f"- {note}") for note in notes)
    text = f"{remark(_head(project, names))}\n{text}" + (f"\n{remark('Not written:')}{end}" if notes else "")
    parse(text, FILE)  # comments change nothing, and if they did, nobody should get the file
    return Imported(text, names.mark is not None, parsed, plan, left, tuple(notes), differences(project, names, plan))


def _head(project: Project, names: Names) -> str:
    if names.mark:
        return f"What topology {names.mark} has in the cloud (project {project.id}), as `netorder import` found it."
    return (
        f"What project {project.id} has in the cloud, as `netorder import` found it. A run of this file makes all of "
        "it anew, beside what is there."
    )
