"""``netorder status``: show what of a topology is in the cloud."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from netorder.cli.command import TOPOLOGY, add, add_target, target_of, topology_file
from netorder.errors import NetorderError
from netorder.language.load import load
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]

INCOMPLETE = 2  # exit status with --exit-code


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "status",
        help="show what of it is in the cloud: state and addresses of each host",
        description="Ask the cloud what it has of the topology: each host with its state, addresses and floating "
        "address, and how many networks and routers there are. Changes nothing, and does not log in to the hosts. "
        "On target containers also whether the applications of a host serve, by podman's health check.",
        examples={
            "netorder status mynet.yml": "the table",
            "netorder status mynet.yml --format json": "the same, for programs",
            "netorder status mynet.yml --exit-code": "status 2 unless everything is there, runs and is healthy",
        },
        notes="The state is Nova's word (ACTIVE runs, SHUTOFF is stopped, ERROR), or absent where there is no server. "
        "A stray is a server with the topology's marker that the file does not have. Whether what is there is as the "
        "file says, `netorder drift` tells.",
        statuses={
            "0": "shown",
            "1": "the topology has errors, or the OpenStack library is not installed",
            "2": "the command line has errors; with --exit-code also: something is missing or does not run",
            "3": "the cloud does not answer, or refused",
        },
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    add_target(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text is for people (the default)")
    parser.add_argument(
        "--exit-code", action="store_true", help="end with status 2 unless everything planned is there and runs"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask the cloud, and print the answer; return the exit status. Raises TopologyError and CloudError."""
    topology = load(topology_file(options.file), target_of(options))
    plan = build_plan(topology)
    try:
        # here, not above: the other commands work without the OpenStack library
        from netorder.controller import status  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise NetorderError(
            f"this asks the cloud, and needs {error.name}: `make setup` installs it, or `pip install '.[cloud]'`"
        ) from None
    found = status.ask(plan, lambda line: print(line, file=sys.stderr), topology.target)
    print(status.to_json(found) if options.format == "json" else status.render(found), end="")
    return INCOMPLETE if options.exit_code and not found.is_complete else 0
