"""``netorder report``: what the last runs did and found, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli.command import TOPOLOGY, add, load_all, topology_file
from netorder.controller import records, state
from netorder.errors import NetorderError
from netorder.report.page import page

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "report",
        help="write a page of it: picture with what was measured, hosts, matrix, times",
        description="Write one HTML page, which needs no other file and asks nobody: the picture with each flow green, "
        "red or grey as verify measured it, each host with its addresses, routes and applications, who reaches whom, "
        "what differs, and where the time of the last run went. Prints the page's name.",
        examples={
            "netorder report mynet.yml": "with what the last runs found",
            "netorder report mynet.yml -o mynet.html": "to a file of your own, which stays after `netorder down`",
        },
        notes="Each run of up, verify and drift writes it anew to .netorder/CLOUD/TOPOLOGY/report.html. Of a topology "
        "that was never made real it shows the plan, in NAME-report.html here.",
        statuses={"0": "written", "1": "the topology has errors, or the file cannot be written"},
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    parser.add_argument("-o", "--output", metavar="PAGE", help="write to this file")
    parser.add_argument(
        "--files", metavar="DIR", default=".netorder", help="where runs keep their files (the default: .netorder)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page; return the exit status. Raises TopologyError and NetorderError."""
    (topology,) = load_all(topology_file(options.file))
    directory = state.directory(Path(options.files), topology.cloud, topology.name)
    own = directory / records.PAGE if directory.is_dir() else Path(f"{topology.name}-report.html")
    target = Path(options.output) if options.output else own
    try:
        target.write_text(page(topology, records.read(directory)), encoding="utf-8")
    except OSError as error:
        raise NetorderError(f"{target} cannot be written: {error.strerror}") from None
    print(target)
    return 0
