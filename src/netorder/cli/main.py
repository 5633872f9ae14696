"""The command ``netorder``: what follows from a topology file. It asks no cloud and changes nothing."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from netorder import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netorder.topology import Topology

__all__ = ["main"]

EPILOG = """\
examples:
  netorder check topologies/*.yml            is everything right?
  netorder plan topologies/calculator.yml    addresses, routes, rules: all that follows
  netorder plan FILE --format json           the same, for programs and for diff
  netorder reach FILE                        who reaches whom, on which ports
  netorder reach FILE --from a --to b --port 80      one pair, hop by hop, and why (not)
  netorder diff OLD NEW                      what a change adds, replaces, removes and interrupts
  netorder times FILE --format json          where the time of the last run went
  netorder schema > topology.schema.json     for editors that complete and check as you type

Errors and warnings go to standard error, one a line: FILE:LINE:COLUMN: error: what is wrong; how to mend it.
Exit status: 0 all is well (warnings or not), 1 a topology has errors, 2 the command line has.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader (`| head`) has enough; do not fail again when Python flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="netorder",
        description="Check topology files and show what follows from them. Asks no cloud, changes nothing.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"netorder {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    check = commands.add_parser(
        "check",
        help="find every error in topology files",
        description="Find every error in the files. Each file that is right gets one line on standard output.",
    )
    check.add_argument("files", nargs="+", metavar="FILE", help="a topology file")
    check.set_defaults(run=_check)

    plan = commands.add_parser(
        "plan",
        help="show what follows from a topology file",
        description="Show the plan: addresses, routes, rules, services and the way in to each host.",
    )
    plan.add_argument("file", metavar="FILE", help="a topology file")
    plan.add_argument("--format", choices=("text", "json"), default="text", help="text is for people (the default)")
    plan.set_defaults(run=_plan)

    reach = commands.add_parser(
        "reach",
        help="show who reaches whom, and why or why not",
        description="Show what is open between hosts, and to and from the outside. With --from and --to, explain that "
        "pair hop by hop.",
        epilog="An end is a host, one of its addresses, `outside`, or (--from) an address outside the topology.",
    )
    reach.add_argument("file", metavar="FILE", help="a topology file")
    reach.add_argument("--from", dest="source", metavar="A", help="who asks")
    reach.add_argument("--to", dest="destination", metavar="B", help="who is asked")
    reach.add_argument("--port", type=_port, metavar="N", help="the port, 1 to 65535 (without: ICMP)")
    reach.add_argument("--protocol", choices=("tcp", "udp", "icmp"), help="tcp with --port, else icmp")
    reach.set_defaults(run=_reach)

    diff = commands.add_parser(
        "diff",
        help="show what a change of the topology does",
        description="Compare the plans of two topology files: what is added (+), changed in place (~), replaced (±) "
        "and removed (-), and which application flows that interrupts.",
    )
    diff.add_argument("old", metavar="OLD", help="the topology file as it is")
    diff.add_argument("new", metavar="NEW", help="the topology file as it shall be")
    diff.set_defaults(run=_diff)

    times = commands.add_parser(
        "times",
        help="show where the time of the last run went",
        description="Show, for the last run that changed something in the cloud, when each resource's request began, "
        "how long it took, and the chain of them that decided how long the run was.",
    )
    times.add_argument("file", metavar="FILE", help="the topology file")
    times.add_argument(
        "--files", metavar="DIR", default=".netorder", help="where runs keep their files (the default: .netorder)"
    )
    times.add_argument("--format", choices=("text", "json"), default="text", help="text is for people (the default)")
    times.set_defaults(run=_times)

    schema = commands.add_parser(
        "schema",
        help="print the JSON Schema of topology files, or the reference",
        description="Print the JSON Schema of topology files (draft 2020-12), or the reference that is made from it.",
    )
    schema.add_argument("--format", choices=("json", "markdown"), default="json", help="markdown is the reference")
    schema.set_defaults(run=_schema)
    return parser


def _load(path: str) -> Topology | None:
    """Load a topology, with its diagnostics on standard error; None when it has errors."""
    from netorder.errors import TopologyError  # noqa: PLC0415 - `--help` need not wait for YAML and JSON Schema
    from netorder.language.load import load  # noqa: PLC0415 - `--help` need not wait for YAML and JSON Schema

    try:
        topology = load(path)
    except TopologyError as error:
        print(error, file=sys.stderr)
        return None
    for warning in topology.warnings:
        print(warning, file=sys.stderr)
    return topology


def _check(options: argparse.Namespace) -> int:
    wrong = 0
    for path in options.files:
        topology = _load(path)
        if topology is None:
            wrong += 1
        else:
            parts = (topology.networks, "networks"), (topology.routers, "routers"), (topology.hosts, "hosts")
            counts = ", ".join(f"{len(part)} {name}" for part, name in parts)
            print(f"{path}: ok ({counts})", flush=True)
    return 1 if wrong else 0


def _plan(options: argparse.Namespace) -> int:
    topology = _load(options.file)
    if topology is None:
        return 1
    from netorder.plan.build import build_plan
    from netorder.plan.serialize import to_json

    if options.format == "json":
        print(to_json(build_plan(topology)), end="")
    else:
        from netorder.plan.render import render  # noqa: PLC0415 - as above

        print(render(build_plan(topology)), end="")
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - the last port
        raise argparse.ArgumentTypeError(f"`{text}` is not a port (1 to 65535)")
    return int(text)


def _reach(options: argparse.Namespace) -> int:
    topology = _load(options.file)
    if topology is None:
        return 1
    from netorder.analysis import explain  # noqa: PLC0415 - as above
    from netorder.analysis.reach import Matrix  # noqa: PLC0415 - as above
    from netorder.plan.build import build_plan  # noqa: PLC0415 - as above

    protocol = options.protocol or ("tcp" if options.port else "icmp")
    if (protocol == "icmp") == (options.port is not None):
        mend = "icmp has none: leave --port out" if options.port else f"{protocol} needs one: add --port N"
        print(f"netorder reach: error: {mend}", file=sys.stderr)
        return 2
    matrix = Matrix(build_plan(topology))
    for option, end in (("--from", options.source), ("--to", options.destination)):
        if end is not None and not matrix.knows(end, asking=option == "--from"):
            from netorder.text import did_you_mean  # noqa: PLC0415 - as above

            mend = did_you_mean(end, matrix.hosts) or "; `netorder plan` lists them"
            print(f"netorder reach: error: {option}: there is no host or address `{end}`{mend}", file=sys.stderr)
            return 2
    everybody = [*matrix.hosts, "outside"]
    if options.source and options.destination:
        print(explain.pair(matrix, options.source, options.destination, protocol, options.port), end="")
    else:
        sources = [options.source] if options.source else everybody
        destinations = [options.destination] if options.destination else everybody
        print(explain.pairs(matrix, sources, destinations), end="")
    return 0


def _diff(options: argparse.Namespace) -> int:
    topologies = [_load(path) for path in (options.old, options.new)]
    from netorder.analysis.diff import render  # noqa: PLC0415 - as above
    from netorder.plan.build import build_plan  # noqa: PLC0415 - as above

    plans = [build_plan(topology) for topology in topologies if topology is not None]
    if len(plans) != len(topologies):
        return 1
    print(render(*plans), end="")
    return 0


def _times(options: argparse.Namespace) -> int:
    import json  # noqa: PLC0415 - as above
    from pathlib import Path  # noqa: PLC0415 - as above

    topology = _load(options.file)
    if topology is None:
        return 1
    from netorder.controller import timings as times  # noqa: PLC0415 - as above

    directory = Path(options.files, topology.name)
    kept = times.read(directory)
    if kept is None:
        print(f"netorder times: error: no run has changed {topology.name} yet (none in {directory})", file=sys.stderr)
        return 1
    print(json.dumps(kept, indent=1) + "\n" if options.format == "json" else times.text(kept), end="")
    return 0


def _schema(options: argparse.Namespace) -> int:
    from netorder.language import (
        reference,
        schema,
    )

    print(schema.text() if options.format == "json" else reference.markdown(), end="")
    return 0
