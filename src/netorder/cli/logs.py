"""``netorder logs``: show the log of an application, or of a host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from netorder.cli import hosts
from netorder.cli.command import add, unknown
from netorder.cli.exec import report
from netorder.controller import login, process
from netorder.errors import UsageError
from netorder.text import few

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands
    from netorder.plan.model import Host, Plan

__all__ = ["add_parser", "run"]

LINES = 50


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "logs",
        help="show the log of an application, or of a host",
        description="Show the last lines of the log of an application, from each host that it runs on, or of a host: "
        "those of its applications' systemd units, or with --all, and where there are none, of everything. Runs "
        "journalctl there.",
        examples={
            "netorder logs web": "the application's last lines",
            "netorder logs sum -f": "go on showing new ones",
            "netorder logs -t mynet.yml web-1 --all -n 200": "everything on a host, 200 lines",
            "netorder logs sum --since '10 min ago'": "since when",
        },
        statuses={"0": "shown; else as journalctl ended"} | hosts.STATUSES,
    )
    parser.add_argument("name", metavar="NAME", help="an application or a host of the topology")
    parser.add_argument("-f", "--follow", action="store_true", help="go on showing new lines, of one host")
    parser.add_argument("-n", "--lines", type=int, metavar="N", help=f"the last N lines (the default: {LINES})")
    parser.add_argument("--since", metavar="WHEN", help="from then on, in journalctl's words: '10 min ago', 'today'")
    parser.add_argument("--all", action="store_true", help="everything on the host, not only its applications")
    hosts.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run journalctl on the host in place of this process, or on each of several. Raises NetorderError."""
    place = hosts.place(options)
    chosen = _hosts(place.plan, options.name)
    login.check(place.directory, chosen, place.run)
    if len(chosen) > 1 and options.follow:
        raise UsageError(f"-f shows one host: name one of {few([host.name for host in chosen])}")
    command = _journalctl(options, chosen[0])
    # with a terminal there, what follows ends with this command
    terminal = ("-t",) if options.follow and sys.stdin.isatty() and sys.stdout.isatty() else ()
    programs = [login.ssh(place.directory, host.name, command, options=terminal) for host in chosen]
    if options.verbose:
        print(*(f"$ {program}" for program in programs), sep="\n", file=sys.stderr)
    if len(chosen) == 1:
        process.become(programs[0])
    return report(login.on_each(place.directory, chosen, command))


def _hosts(plan: Plan, name: str) -> list[Host]:
    """Return the hosts with the application of this name, else the host."""
    running = [host for host in plan.hosts if any(one.name == name for one in host.applications)]
    found = running or [host for host in plan.hosts if host.name == name]
    if not found:
        known = {one.name for host in plan.hosts for one in host.applications}
        raise UsageError(f"{plan.topology} has no application or host {unknown(plan, name, known)}")
    return found


def _journalctl(options: argparse.Namespace, host: Host) -> list[str]:
    lines = options.lines if options.lines is not None else None if options.since else LINES
    named = [one for one in host.applications if one.name == options.name]
    units = [] if options.all else [unit for one in named or host.applications for unit in one.units]
    return [
        *("sudo", "-n", "journalctl", "--no-pager"),
        *(word for unit in units for word in ("--unit", unit)),
        *(["--lines", str(lines)] if lines is not None else []),
        *(["--since", options.since] if options.since else []),
        *(["--follow"] if options.follow else []),
    ]
