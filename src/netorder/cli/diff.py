"""``netorder diff``: show what a change of the topology does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.analysis.diff import render
from netorder.cli.command import load_all
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "diff",
        help="show what a change of the topology does",
        description="Compare the plans of two topology files: what is added (+), changed in place (~), replaced (±) "
        "and removed (-), and which application flows that interrupts.",
    )
    parser.add_argument("old", metavar="OLD", help="the topology file before the change")
    parser.add_argument("new", metavar="NEW", help="the topology file after it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the differences; return the exit status. Raises TopologyError with the errors of both files."""
    old, new = load_all(options.old, options.new)
    print(render(build_plan(old), build_plan(new)), end="")
    return 0
