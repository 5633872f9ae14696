"""``netorder reach``: show what reaches what, and why or why not."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING

from netorder.analysis.explain import pair, pair_json
from netorder.analysis.overview import as_matrix, overview, render, to_json
from netorder.analysis.reach import LAST_PORT, OUTSIDE, Matrix
from netorder.cli.command import TOPOLOGY, add, add_target, load_all, members, target_of, topology_file, unknown
from netorder.errors import UsageError
from netorder.plan.build import build_plan
from netorder.plan.security_groups import Declarations
from netorder.protocols import PING, WITH_PORTS, parse

if TYPE_CHECKING:
    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]

NOT_OPEN = 2  # exit status with --exit-code, as that of `terraform plan -detailed-exitcode`


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "reach",
        help="show what reaches what, and why or why not",
        description="Show what is open between hosts, and to and from the outside: a line for all that are alike, with "
        "the lines of the rules in brackets. With --port or --protocol, where that is open; with --closed, what is not "
        "and why. With --from and --to of one host each, explain that pair hop by hop.",
        notes="A and B are a host, the name of a counted host (all of it), a group, a network (the hosts on it), one "
        "address of a host, an address outside the topology, or `outside` (an address that no rule and no route "
        "names).",
        examples={
            "netorder reach mynet.yml": "what is open, a line for all that are alike",
            "netorder reach mynet.yml --closed": "what is not, and why",
            "netorder reach mynet.yml --format matrix": "what is open as a table",
            "netorder reach mynet.yml --port 22": "who reaches whom on this port",
            "netorder reach mynet.yml --from a --to b --port 80": "one pair, hop by hop, and why (not)",
        },
        statuses={
            "0": "shown; with --exit-code: all pairs asked for are open",
            "1": "the topology has errors",
            "2": "with --exit-code: a pair is not open; or the command line has errors (standard output is empty)",
        },
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    add_target(parser)
    parser.add_argument("--from", dest="source", metavar="A", help="the source of the connection")
    parser.add_argument("--to", dest="destination", metavar="B", help="the destination of the connection")
    parser.add_argument("--port", type=_port, metavar="N", help=f"the port, 1 to {LAST_PORT} (without: ICMP)")
    parser.add_argument(
        "--protocol",
        type=_protocol,
        metavar="P",
        help="tcp, udp, sctp, icmp (a ping), or the name or number of another one; tcp with --port, else icmp",
    )
    parser.add_argument("--open", action="store_true", help="what is open (the default)")
    parser.add_argument("--closed", action="store_true", help="what is closed, and why; with --open, both")
    parser.add_argument(
        "--format",
        choices=("text", "matrix", "json"),
        default="text",
        help="text is for people (the default), matrix a table where that fits the terminal",
    )
    parser.add_argument(
        "--exit-code", action="store_true", help="end with status 2 unless all pairs are open (name a pair, or a port)"
    )
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"`{text}` is not a port (1 to {LAST_PORT})")
    return int(text)


def _protocol(text: str) -> str:
    word, message = parse(text)
    if word is None:
        raise argparse.ArgumentTypeError(message.partition(";")[0] if "all: true" in message else message)
    return word


def run(options: argparse.Namespace) -> int:
    """Print one pair hop by hop, or all pairs; return the exit status. Raises TopologyError and UsageError."""
    file = topology_file(options.file)
    (topology,) = load_all(file, target=target_of(options))
    protocol = options.protocol or ("tcp" if options.port else "icmp")
    if protocol not in WITH_PORTS and options.port is not None:
        raise UsageError(f"{protocol} has no ports: omit --port")
    if protocol in WITH_PORTS and options.port is None:
        raise UsageError(f"{protocol} needs a port: add --port N")
    protocol = PING if protocol == "icmp" else protocol
    matrix = Matrix(build_plan(topology))
    sources = _ends("--from", options.source, matrix)
    destinations = _ends("--to", options.destination, matrix)
    if options.source and options.destination and all(map(matrix.is_outside, (*sources, *destinations))):
        what = f"{options.source} and {options.destination} are both outside"
        raise UsageError(f"{what}: name a host in --from or --to")
    is_pair = bool(options.source and options.destination) and len(sources) == len(destinations) == 1
    if options.format == "matrix" and (is_pair or options.closed):
        raise UsageError("--format matrix shows what is open between several: omit it for one pair and with --closed")
    if is_pair:
        show = pair_json if options.format == "json" else pair
        text, is_open = show(matrix, Declarations(topology), (sources[0], destinations[0]), protocol, options.port)
    else:
        flow = (protocol, options.port) if options.port or options.protocol else None
        if options.exit_code and not flow:
            raise UsageError("--exit-code needs a pair, or a port for all of them: add --port N or --protocol icmp")
        found = overview(matrix, topology, sources, destinations, flow, closed=options.closed)
        is_open = found.open == found.pairs
        if options.closed and not options.open:
            found = found._replace(entries=tuple(one for one in found.entries if not one.open))
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        if options.format == "json":
            text = to_json(found, topology.name)
        elif options.format == "matrix":
            text = _table(as_matrix(found, matrix, (sources, destinations)), width)
        else:
            text = render(found, matrix, file, width, closed=options.closed)
    print(text, end="")
    return NOT_OPEN if options.exit_code and not is_open else 0


def _table(lines: list[str], width: int | None) -> str:
    """Return the table, which must fit the terminal."""
    widest = max(map(len, lines[:-1]))
    if width and widest > width:
        raise UsageError(
            f"the matrix is {widest:,} columns wide, the terminal {width}: take fewer with --from and --to, omit "
            "--format matrix (what is alike is one line), or write it to a file"
        )
    return "".join(f"{line}\n" for line in lines)


def _ends(option: str, word: str | None, matrix: Matrix) -> list[str]:
    """Return the ends that an option's word names; without a word all of them."""
    if word is None:
        return [*matrix.hosts, OUTSIDE]
    if matrix.is_end(word):
        return [word]
    if found := members(matrix.plan, word):
        return found
    raise UsageError(f"{option}: there is no host, group, network or address {unknown(matrix.plan, word, [OUTSIDE])}")
