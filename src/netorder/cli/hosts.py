"""What the commands that log in to hosts share: their options, and which hosts are meant."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, NamedTuple

from netorder.cli.command import TOPOLOGY, add_files, add_target, files_of, target_of, topology_file
from netorder.controller import state
from netorder.errors import UsageError
from netorder.language.load import load
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from pathlib import Path

    from netorder.plan.model import Plan

__all__ = ["STATUSES", "Place", "add_command", "add_options", "command", "place"]

STATUSES = {
    "1": "the topology has errors, SSH does not reach the host, or the last run did not write its settings",
    "2": "the command line has errors, or names a host that is not there",
    "6": "there are no SSH settings yet: `netorder up` writes them",
    "255": "ssh itself failed: its message says why",
}


class Place(NamedTuple):
    """A topology's plan, its directory of SSH settings, and the command that writes them."""

    plan: Plan
    directory: Path
    run: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --topology, --files and -v."""
    parser.add_argument("-t", "--topology", metavar="FILE", help=TOPOLOGY)
    add_files(parser)
    add_target(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is run")


def add_command(parser: argparse.ArgumentParser) -> None:
    """Take words without `--` before them, so that the error can say what is missing."""
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)


def command(options: argparse.Namespace, end: str) -> list[str]:
    """Return the command to run on ``end``, what is after `--`. Raises UsageError."""
    if options.words:
        line = shlex.join(["netorder", options.command, end, "--", *options.words, *options.rest])
        raise UsageError(f"write -- before the command: {line}")
    rest: list[str] = options.rest
    return rest


def place(options: argparse.Namespace) -> Place:
    """Return where the topology's hosts are found. Raises TopologyError and UsageError."""
    file = topology_file(options.topology)
    plan = build_plan(load(file, target_of(options)))  # its warnings are for those who write it: not at each login
    return Place(plan, state.directory(files_of(options), plan.cloud, plan.topology), f"netorder up {file}")
