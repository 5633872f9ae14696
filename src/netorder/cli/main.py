"""The command ``netorder``: what follows from a topology file. It needs no cloud and changes nothing."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from netorder import __version__
from netorder.cli import check, diff, plan, reach, schema, times
from netorder.cli.streams import write_any_text
from netorder.errors import NetorderError, TopologyError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

COMMANDS = (check, plan, reach, diff, times, schema)

EPILOG = """\
examples:
  netorder check topologies/*.yml            is everything right?
  netorder plan topologies/calculator.yml    addresses, routes, rules: all that follows
  netorder plan FILE --format json           the same, for programs and for diff
  netorder reach FILE                        what is open, a line for all that are alike
  netorder reach FILE --closed               what is not, and why
  netorder reach FILE --port 22              who reaches whom on this port
  netorder reach FILE --from a --to b --port 80      one pair, hop by hop, and why (not)
  netorder diff OLD NEW                      what a change adds, replaces, removes and interrupts
  netorder times FILE --format json          where the time of the last run went
  netorder schema > topology.schema.json     for editors that complete and check as you type

Errors and warnings go to standard error, one a line: FILE:LINE:COLUMN: error: what is wrong; how to fix it.

exit status:
  0  success, with or without warnings
  1  a topology has errors, or there is no run to show the times of
  2  the command line has errors, or names a host or an address that is not there (standard output is empty);
     with --exit-code also: reach found a pair that is not open, diff a difference (shown on standard output)
  3  the cloud refused, failed, or is not what the plan needs
  4  nothing was changed: a loss that is not allowed, or what was found before the first change
  5  another run is at work on the same topology
  6  the SSH key or files of this machine cannot be used
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    write_any_text()
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except NetorderError as error:
        # diagnostics of a topology name their file and place, other errors the command
        prefix = "" if isinstance(error, TopologyError) else f"netorder {options.command}: error: "
        print(*(f"{prefix}{problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # the reader (`| head`) has enough; do not fail again when Python flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="netorder",
        description="Check topology files and show what follows from them. Needs no cloud, changes nothing.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"netorder {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
