"""``netorder report``: what the last runs did and found, as a page."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli.command import (
    TOPOLOGY,
    add,
    add_files,
    add_target,
    files_of,
    load_all,
    target_of,
    topology_file,
    write,
)
from netorder.controller import records, serve, state
from netorder.errors import UsageError
from netorder.report.page import page
from netorder.topology import LAST_PORT

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]

PORT = 8640


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
            "netorder report mynet.yml --serve": "live, at http://127.0.0.1:8640/",
        },
        notes="Each run of up, verify and drift writes it anew to .netorder/CLOUD/TOPOLOGY/report.html. Of a topology "
        "that was never made real it shows the plan, in NAME-report.html here. With --serve the page is for a browser "
        "on this machine alone (from elsewhere: ssh -L 8640:127.0.0.1:8640) and keeps itself up to date until Ctrl-C: "
        "what a run does now, and what it found. No browser is opened.",
        statuses={
            "0": "written; with --serve: ended by Ctrl-C or SIGTERM",
            "1": "the topology has errors, the file cannot be written, or the port is in use",
        },
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    parser.add_argument("-o", "--output", metavar="PAGE", help="write to this file")
    parser.add_argument("--serve", action="store_true", help="give it to a browser on this machine, until Ctrl-C")
    parser.add_argument(
        "--port", metavar="PORT", type=int, help=f"that of --serve (the default: {PORT}; 0: any that is free)"
    )
    add_files(parser)
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page; return the exit status. Raises TopologyError and NetorderError."""
    if options.port is not None and not options.serve:
        raise UsageError("--port is that of --serve: add it")
    if options.port is not None and not 0 <= options.port <= LAST_PORT:
        raise UsageError(f"--port: {options.port} is no port; it takes 0 to {LAST_PORT}")
    if options.output and options.serve:
        raise UsageError("--serve writes no file: omit it, or -o")
    file = topology_file(options.file)
    (topology,) = load_all(file, target=target_of(options))
    if options.serve:
        report = serve.Report(Path(file), files_of(options), target_of(options))
        return _serve(report, PORT if options.port is None else options.port)
    directory = state.directory(files_of(options), topology.cloud, topology.name)
    own = directory / records.PAGE if directory.is_dir() else Path(f"{topology.name}-report.html")
    target = Path(options.output) if options.output else own
    write(page(topology, records.read(directory), file=file), target, file)
    print(target)
    return 0


def _serve(report: serve.Report, port: int) -> int:
    with serve.server(report, port) as server:
        print(f"http://{serve.ADDRESS}:{server.server_address[1]}/", flush=True)
        print("Ctrl-C ends it", file=sys.stderr)
        # also by `kill`: one that a script's shell began in the background ignores Ctrl-C
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nended", file=sys.stderr)
    return 0
