"""``netorder check``: find every error in topology files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from netorder.cli.command import add, add_target, load_all, target_of
from netorder.errors import TopologyError
from netorder.text import count

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "check",
        help="find every error in topology files",
        description="Find every error in the files. Each file without errors gets one line on standard output.",
        examples={
            "netorder check mynet.yml": "is everything right?",
            "netorder check topologies/*.yml": "of several files",
        },
        statuses={"0": "no file has errors; warnings are none", "1": "a file has errors"},
    )
    add_target(parser)
    parser.add_argument("files", nargs="+", metavar="FILE", help="a topology file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check each file, whatever is wrong with the ones before it; return the exit status."""
    status = 0
    for path in options.files:
        try:
            (topology,) = load_all(path, target=target_of(options))
        except TopologyError as error:
            print(error, file=sys.stderr)
            status = error.exit_status
        else:
            counts = (
                count(len(topology.networks), "network"),
                count(len(topology.routers), "router"),
                count(len(topology.hosts), "host"),
            )
            print(f"{path}: ok ({', '.join(counts)})", flush=True)  # in order with the messages of other files
    return status
