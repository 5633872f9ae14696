"""The reachability matrix of the inventory's topology, kept for the plugins that ask it later.

They ask what each host probes, and what it calls the others.

Ansible forks its workers after it has read the inventory, so they find here what the inventory plugin put.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netorder.analysis.causes import Causes
from netorder.analysis.probes import Sample, from_inside, from_outside, route_probes, untried
from netorder.analysis.probes import report as as_text
from netorder.analysis.reach import Matrix
from netorder.errors import UsageError
from netorder.ip import VERSIONS
from netorder.language.load import load
from netorder.plan.build import build_plan
from netorder.plan.security_groups import Declarations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["matrix_of", "names", "node_of", "probes", "read_matrix", "report", "sampled"]

_MATRICES: dict[Path, Matrix] = {}


def read_matrix(file: str | Path, target: str | None = None) -> tuple[Matrix, str]:
    """Read the topology ``file`` now, and keep its matrix; return it, and the target. Raises TopologyError."""
    topology = load(file, target)
    found = _MATRICES[Path(file)] = Matrix(build_plan(topology))
    return found, topology.target


def matrix_of(file: str | Path) -> Matrix:
    """Return the matrix of the topology ``file`` as the inventory read it. Raises TopologyError."""
    return _MATRICES.get(Path(file)) or read_matrix(file)[0]


def probes(file: str, host: str, kind: str, wanted: str) -> list[dict[str, Any]]:
    """Return what ``host`` probes, plain values: kind ``inside``, ``outside`` (from there) or ``routes``.

    ``wanted`` is ``all`` or ``sample``, which is less than all in large topologies only.
    """
    matrix = matrix_of(file)
    its = matrix.hosts[host]
    if kind == "outside":
        return [asdict(probe) for probe in from_outside(matrix, its)]
    others = None if _is_all(wanted) else Sample(matrix).of(its)
    if kind == "routes":
        return [asdict(probe) for probe in route_probes(matrix, its, others)]
    return [asdict(probe) for probe in from_inside(matrix, its, others)]


def report(file: str, findings: Mapping[str, Sequence[Mapping[str, Any]] | None]) -> str:
    """Return the findings of verify as text; of what differs with the likely cause, which reads the topology again."""
    if all(found is not None and all(one["ok"] for one in found) for found in findings.values()):
        return as_text(findings)
    causes = Causes(matrix_of(file), Declarations(load(file)), findings)
    return as_text(findings, causes.of)


def node_of(file: str, address: str) -> str | None:
    """Return the host or router of the topology ``file`` that an address is of."""
    return matrix_of(file).node_of(address)


def sampled(file: str, wanted: str) -> str:
    """Say what is probed where that is not everything; else return an empty text."""
    matrix = matrix_of(file)
    found = "" if _is_all(wanted) else str(Sample(matrix))
    less = f"{found}; `-e probes=all` tries all of them" if found else ""
    return "\n".join(filter(None, (less, untried(matrix.plan))))


def _is_all(wanted: str) -> bool:
    if wanted not in ("all", "sample"):
        raise UsageError(f"probes={wanted}: write `probes=all` or `probes=sample`")
    return wanted == "all"


def names(file: str, host: str) -> list[dict[str, str]]:
    """Return the addresses that ``host`` finds by the names of others, in the order of the file; none without the key.

    Of each IP version the address at which it reaches the other; none of a host to which no path leads.
    """
    matrix = matrix_of(file)
    if matrix.hosts[host].names == "none":
        return []
    return [
        {"address": address, "name": other}
        for other in matrix.hosts
        if other != host
        for version in VERSIONS
        if (address := matrix.routed_address(host, other, version))
    ]
