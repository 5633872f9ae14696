"""What the commands share: the type that they are added to, and loading topology files with their messages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeAlias

from netorder.errors import TopologyError
from netorder.language.load import load

if TYPE_CHECKING:
    import argparse

    from netorder.errors import Diagnostic
    from netorder.topology import Topology

__all__ = ["Commands", "load_all"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name


def load_all(*paths: str) -> list[Topology]:
    """Load topology files, with their warnings on standard error.

    Raises TopologyError with what is wrong with any of them.
    """
    topologies: list[Topology] = []
    diagnostics: list[Diagnostic] = []
    for path in paths:
        try:
            topologies.append(load(path))
        except TopologyError as error:
            diagnostics += error.diagnostics
    for topology in topologies:
        for warning in topology.warnings:
            print(warning, file=sys.stderr)
    if diagnostics:
        raise TopologyError(diagnostics)
    return topologies
