"""``netorder reach``: show what reaches what, and why or why not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from netorder.analysis import explain
from netorder.analysis.reach import LAST_PORT, OUTSIDE, Matrix
from netorder.cli.command import load_all
from netorder.errors import UsageError
from netorder.plan.build import build_plan
from netorder.text import did_you_mean

if TYPE_CHECKING:
    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "reach",
        help="show what reaches what, and why or why not",
        description="Show what is open between hosts, and to and from the outside. With --from and --to, explain that "
        "pair hop by hop.",
        epilog="A and B are a host, one of its addresses, `outside`, or (--from) an address outside the topology.",
    )
    parser.add_argument("file", metavar="FILE", help="a topology file")
    parser.add_argument("--from", dest="source", metavar="A", help="the source of the connection")
    parser.add_argument("--to", dest="destination", metavar="B", help="the destination of the connection")
    parser.add_argument("--port", type=_port, metavar="N", help=f"the port, 1 to {LAST_PORT} (without: ICMP)")
    parser.add_argument("--protocol", choices=("tcp", "udp", "icmp"), help="tcp with --port, else icmp")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"`{text}` is not a port (1 to {LAST_PORT})")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Print one pair hop by hop, or all pairs; return the exit status. Raises TopologyError and UsageError."""
    (topology,) = load_all(options.file)
    protocol = options.protocol or ("tcp" if options.port else "icmp")
    if protocol == "icmp" and options.port is not None:
        raise UsageError("icmp has no ports: omit --port")
    if protocol != "icmp" and options.port is None:
        raise UsageError(f"{protocol} needs a port: add --port N")
    matrix = Matrix(build_plan(topology))
    if options.source is not None and not matrix.is_source(options.source):
        raise _unknown("--from", options.source, matrix)
    if options.destination is not None and not matrix.is_destination(options.destination):
        raise _unknown("--to", options.destination, matrix)
    if options.source and options.source not in matrix.hosts and options.destination == OUTSIDE:
        raise UsageError(f"{options.source} and {OUTSIDE} are both outside: name a host in --from or --to")
    if options.source and options.destination:
        text = explain.pair(matrix, options.source, options.destination, protocol, options.port)
    else:
        ends = [*matrix.hosts, OUTSIDE]
        sources = [options.source] if options.source else ends
        destinations = [options.destination] if options.destination else ends
        text = explain.pairs(matrix, sources, destinations)
    print(text, end="")
    return 0


def _unknown(option: str, end: str, matrix: Matrix) -> UsageError:
    fix = did_you_mean(end, matrix.hosts) or "; `netorder plan` lists them"
    return UsageError(f"{option}: there is no host or address `{end}`{fix}")
