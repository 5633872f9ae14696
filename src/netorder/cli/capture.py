"""``netorder capture``: the packets that a host sends and receives."""

from __future__ import annotations

import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli import hosts
from netorder.cli.command import add, unknown
from netorder.controller import login, process
from netorder.errors import NetorderError, UsageError

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]

OWN = "not tcp port 22"  # else the session that shows the packets would show itself
MISSING = 127  # as a shell says of a command that is not there


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "capture",
        help="show the packets of a host, or write them to a file here (tcpdump)",
        description="Show the packets that a host sends and receives, on all of its interfaces, until Ctrl-C. Runs "
        "tcpdump there, which must be installed, and leaves nothing on the host. What is after -- is tcpdump's filter.",
        notes=f"Without a filter it is `{OWN}`, as the session that shows the packets is SSH. -o writes a file that "
        "Wireshark and tcpdump -r read.",
        examples={
            "netorder capture sum": "all packets but SSH",
            "netorder capture sum -- icmp": "only pings and what answers them",
            "netorder capture -t mynet.yml web-1 -n 10 -- tcp port 80": "ten packets, then end",
            "netorder capture sum -o sum.pcap": "to a file here",
        },
        statuses={
            "0": "as many as asked for, or Ctrl-C with -o; else as tcpdump ended",
            str(MISSING): "tcpdump is not on the host",
        }
        | hosts.STATUSES,
        usage="netorder capture [options] HOST [-- FILTER ...]",
    )
    parser.add_argument("host", metavar="HOST", help="a host of the topology")
    parser.add_argument("-n", "--number", type=int, metavar="N", help="end after N packets")
    parser.add_argument("-o", "--output", metavar="PCAP", help="write the packets to this file")
    hosts.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run tcpdump on the host, in place of this process or into a file. Raises NetorderError."""
    place = hosts.place(options)
    chosen = [host for host in place.plan.hosts if host.name == options.host]
    if not chosen:
        raise UsageError(f"{place.plan.topology} has no host {unknown(place.plan, options.host)}")
    if options.number is not None and options.number < 1:
        raise UsageError(f"-n {options.number}: at least one packet")
    login.check(place.directory, chosen, place.run)
    program = login.ssh(place.directory, options.host, [_tcpdump(options)])
    if options.verbose:
        print(f"$ {program}", file=sys.stderr)
    if not options.output:
        process.become(program)
    target = Path(options.output)
    status = 0
    try:
        with target.open("wb") as file, suppress(KeyboardInterrupt):  # which is how one ends it
            status = subprocess.run(program.arguments, executable=program.path, stdout=file, check=False).returncode
    except OSError as error:
        raise NetorderError(f"{target} cannot be written: {error.strerror}") from None
    if status and not target.stat().st_size:
        target.unlink()
    return status


def _tcpdump(options: argparse.Namespace) -> str:
    """Return a line for the shell there, which says what is missing."""
    words = ["sudo", "-n", "tcpdump", "-i", "any", "-nn"]
    words += ["-U", "-w", "-"] if options.output else ["-l"]
    words += ["-c", str(options.number)] if options.number is not None else []
    line = shlex.join([*words, " ".join(options.rest) or OWN])
    hint = shlex.quote(f"{options.host} has no tcpdump: `netorder ssh {options.host} -- sudo apt-get install tcpdump`, "
                       "or an image that has it")  # fmt: skip
    return f"sudo -n sh -c 'command -v tcpdump' >/dev/null || {{ echo {hint} >&2; exit {MISSING}; }}; exec {line}"
