"""``netorder ssh``: log in to a host, or run a command on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from netorder.cli import hosts
from netorder.cli.command import add, unknown
from netorder.controller import login, process
from netorder.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "ssh",
        help="log in to a host, through the hosts before it; or run a command there",
        description="Log in to a host, with the key, the jump hosts and the host keys of the last run. Everything "
        "after -- is the command to run there: one word is a line for the shell there, several are a program and its "
        "arguments.",
        examples={
            "netorder ssh sum": "a shell on it",
            "netorder ssh -t mynet.yml web-1 -- ip route": "a command",
            "netorder ssh sum -- 'ip route | head -1'": "a line for the shell there",
        },
        statuses={"0": "as the command there ended, whatever its status is"} | hosts.STATUSES,
        usage="netorder ssh [options] HOST [-- COMMAND ...]",
    )
    parser.add_argument("host", metavar="HOST", help="a host of the topology")
    hosts.add_command(parser)
    hosts.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ssh in place of this process. Raises NetorderError."""
    command = hosts.command(options, options.host)
    place = hosts.place(options)
    host = next((one for one in place.plan.hosts if one.name == options.host), None)
    if host is None:
        raise UsageError(
            f"{place.plan.topology} has no host {unknown(place.plan, options.host)} (--topology names another file)"
        )
    login.check(place.directory, [host], place.run)
    # a terminal for commands like top, where there is one here
    terminal = ("-t",) if command and sys.stdin.isatty() and sys.stdout.isatty() else ()
    program = login.ssh(place.directory, host.name, command, options=terminal)
    if options.verbose:
        print(f"$ {program}", file=sys.stderr)
    process.become(program)
