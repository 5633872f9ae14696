"""``netorder diff``: show what a change of the topology does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.analysis.diff import change, render, to_json
from netorder.cli.command import add, add_target, load_all, target_of
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]

DIFFERENT = 2  # exit status with --exit-code, as that of `terraform plan -detailed-exitcode`


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "diff",
        help="show what a change of the topology does",
        description="Compare the plans of two topology files: what is added (+), changed in place (~), replaced (±) "
        "and removed (-), which flows that ends, interrupts or opens, and which permission a run needs for it.",
        examples={
            "netorder diff old.yml new.yml": "for people",
            "netorder diff old.yml new.yml --exit-code": "status 2 if there is a difference",
        },
        statuses={
            "0": "shown; with --exit-code: no difference",
            "1": "a topology has errors",
            "2": "with --exit-code: a difference; or the command line has errors (standard output is empty)",
        },
    )
    parser.add_argument("old", metavar="OLD", help="the topology file before the change")
    parser.add_argument("new", metavar="NEW", help="the topology file after it")
    add_target(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text is for people (the default)")
    parser.add_argument("--exit-code", action="store_true", help="end with status 2 if there is a difference")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the differences; return the exit status. Raises TopologyError with the errors of both files."""
    old, new = load_all(options.old, options.new, target=target_of(options))
    done = change(build_plan(old), build_plan(new), (old.target, new.target))
    print(to_json(done) if options.format == "json" else render(done), end="")
    return DIFFERENT if options.exit_code and not done.is_none else 0
