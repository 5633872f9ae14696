"""What a project has in the cloud as a topology, and what to say of that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from netorder.cloud.importing.ask import ask
from netorder.cloud.importing.make import make
from netorder.cloud.preview import diff_text
from netorder.cloud.session import connect
from netorder.text import count

if TYPE_CHECKING:
    from netorder.cloud.change import Progress
    from netorder.cloud.importing.make import Imported

__all__ = ["import_project", "render", "to_json"]


def import_project(progress: Progress, cloud: str | None, topology: str, prefix: str | None) -> Imported:
    """Ask a cloud, by its name in clouds.yaml or that of OS_CLOUD or OS_*, and change nothing.

    Raises CloudError, and NetorderError where the project cannot be written.
    """
    return make(ask(connect(progress, cloud)), topology, prefix)


def to_json(found: Imported, file: str | None) -> str:
    """Return it as JSON, ending with a newline; with the ``text`` where no ``file`` holds that."""
    answer: dict[str, object] = {
        "topology": found.topology.name,
        "file": file,
        "text": None if file else found.text,
        "owned": found.owned,
        **_counts(found),
        "warnings": len(found.topology.warnings),
        "left_out": [{"what": what, "why": why} for what, why in found.left_out],
        "not_written": list(found.notes),
        "changes": [change.as_dict() for change in found.differences.changes],
        "problems": list(found.differences.problems),
    }
    return json.dumps(answer, indent=1, ensure_ascii=False) + "\n"


def render(found: Imported, file: str | None) -> str:
    """Return what to say of it, for people: what there is, what is missing, and what a run would change."""
    counts = ", ".join(count(number, kind.removesuffix("s")) for kind, number in _counts(found).items())
    lines = [f"{file or found.topology.name}: {counts}"]
    if found.topology.warnings:
        lines.append(f"{count(len(found.topology.warnings), 'warning')}: netorder check {file or 'FILE'}")
    if found.left_out:
        lines.append("Left out, a comment in the file:")
        lines += [f"  {what}: {why}" for what, why in found.left_out]
    if found.notes:
        lines += ["Not written:", *(f"  {note}" for note in found.notes)]
    changes, problems = found.differences
    same = "" if changes or problems else " nothing"
    whose = (
        "A run changes" if found.owned else "A run makes all of it anew. Were it this topology's, a run would change"
    )
    lines.append(f"{whose}:{same}")
    lines += [f"  {line}" for line in diff_text(changes).splitlines()]
    lines += [f"  cannot be: {problem}" for problem in problems]
    return "".join(f"{line}\n" for line in lines)


def _counts(found: Imported) -> dict[str, int]:
    its = found.topology
    return {"networks": len(its.networks), "routers": len(its.routers), "hosts": len(its.hosts)}
