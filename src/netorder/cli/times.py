"""``netorder times``: show where the time of the last run went."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from netorder.cli.command import TOPOLOGY, add, add_files, add_target, files_of, load_all, target_of, topology_file
from netorder.controller import state, timings
from netorder.errors import NetorderError

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "times",
        help="show where the time of the last run went",
        description="Show, for the last run that changed something in the cloud, when each resource's request began, "
        "how long it took, and the chain of them that decided how long the run was.",
        examples={
            "netorder times mynet.yml": "a table, and what decided how long it took",
            "netorder times mynet.yml --format json": "for programs",
        },
        statuses={"0": "shown", "1": "the topology has errors, or no run has changed it yet"},
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    add_target(parser)
    add_files(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text is for people (the default)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the times; return the exit status. Raises TopologyError, and NetorderError where there is no run."""
    (topology,) = load_all(topology_file(options.file), target=target_of(options))
    directory = state.directory(files_of(options), topology.cloud, topology.name)
    recorded = timings.read(directory)
    if recorded is None:
        raise NetorderError(f"no run has changed {topology.name} yet (none in {directory})")
    print(json.dumps(recorded, indent=1) + "\n" if options.format == "json" else timings.text(recorded), end="")
    return 0
