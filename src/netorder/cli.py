"""The command ``netorder``: check a topology file, show its plan. It asks no cloud and changes nothing."""

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
        description="Check a topology file and show the plan that follows from it. Asks no cloud, changes nothing.",
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

    schema = commands.add_parser(
        "schema",
        help="print the JSON Schema of topology files",
        description="Print the JSON Schema of topology files (draft 2020-12).",
    )
    schema.set_defaults(run=_schema)
    return parser


def _load(path: str) -> Topology | None:
    """Load a topology, with its diagnostics on standard error; None when it has errors."""
    from netorder.topology import TopologyError, load  # noqa: PLC0415 - `--help` need not wait for YAML and JSON Schema

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
    from netorder.plan import plan, to_dict  # noqa: PLC0415 - as above

    if options.format == "json":
        import json  # noqa: PLC0415 - as above

        print(json.dumps(to_dict(plan(topology)), indent=2))
    else:
        from netorder.render import render  # noqa: PLC0415 - as above

        print(render(plan(topology)), end="")
    return 0


def _schema(_: argparse.Namespace) -> int:
    from netorder import schema  # noqa: PLC0415 - as above

    print(schema.text(), end="")
    return 0
