"""``netorder plan``: show what follows from a topology file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cli.command import TOPOLOGY, add, add_target, load_all, target_of, topology_file
from netorder.plan.build import build_plan
from netorder.plan.render import render
from netorder.plan.serialize import to_json

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "plan",
        help="show what follows from a topology file",
        description="Show the plan: addresses, routes, rules, applications and the SSH path to each host.",
        examples={
            "netorder plan mynet.yml": "for people",
            "netorder plan mynet.yml --format json": "for programs and for diff",
        },
        statuses={"0": "shown", "1": "the topology has errors"},
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    add_target(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text is for people (the default)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the plan; return the exit status. Raises TopologyError."""
    (topology,) = load_all(topology_file(options.file), target=target_of(options))
    plan = build_plan(topology)
    print(to_json(plan) if options.format == "json" else render(plan, topology.target), end="")
    return 0
