"""``netorder exec``: run a command on several hosts."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from netorder.cli import hosts
from netorder.cli.command import add, hosts_named
from netorder.controller import login
from netorder.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from netorder.cli.command import Commands
    from netorder.controller.login import Done

__all__ = ["add_parser", "report", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "exec",
        help="run a command on several hosts, side by side",
        description="Run a command on each of the hosts, some of them side by side. What it prints has the host's name "
        "before each line, host after host in the order of the file. One word after -- is a line for the shell there, "
        "several are a program and its arguments. It has no standard input.",
        examples={
            "netorder exec net2 -- uptime": "on the hosts of a network",
            "netorder exec -t mynet.yml web -- sudo systemctl restart nginx": "on web-1, web-2 and so on",
            "netorder exec all -- 'cat /etc/os-release | head -1'": "on all of them",
            "netorder exec web,db --format json -- hostname": "for programs",
        },
        notes="GROUP is a host, the name of a counted host (all of it), a group, a network (the hosts on it), several "
        "of these with commas between, or all. Of all, hosts that SSH does not reach are left out, and named.",
        statuses={"0": "the command ended with 0 on every host; else the highest of its statuses"} | hosts.STATUSES,
        usage="netorder exec [options] GROUP -- COMMAND ...",
    )
    parser.add_argument("group", metavar="GROUP", help="the hosts")
    hosts.add_command(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text is for people (the default)")
    hosts.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command everywhere; return the highest of its exit statuses. Raises NetorderError."""
    command = hosts.command(options, options.group)
    if not command:
        raise UsageError("no command: write it after --, as in `netorder exec GROUP -- uptime`")
    place = hosts.place(options)
    wanted = set(hosts_named(place.plan, options.group.split(",")))
    chosen = [host for host in place.plan.hosts if host.name in wanted]
    if options.group == "all" and (sealed := [host.name for host in chosen if host.ssh_path is None]):
        print(f"left out, as SSH does not reach them: {', '.join(sealed)}", file=sys.stderr)
        chosen = [host for host in chosen if host.ssh_path is not None]
    login.check(place.directory, chosen, place.run)
    if options.verbose:
        for host in chosen:
            print(f"$ {login.ssh(place.directory, host.name, command)}", file=sys.stderr)
    return report(login.on_each(place.directory, chosen, command), as_json=options.format == "json")


def report(answers: Iterable[Done], *, as_json: bool = False) -> int:
    """Print each host's answer as it comes; return the highest exit status."""
    statuses: dict[str, int] = {}
    kept: list[Done] = []
    for done in answers:
        statuses[done.host] = done.status
        kept.append(done)
        if not as_json:
            for text, stream in ((done.stdout, sys.stdout), (done.stderr, sys.stderr)):
                for line in text.splitlines():
                    print(f"{done.host} | {line}", file=stream, flush=True)
    if as_json:
        print(json.dumps([asdict(done) for done in kept], indent=1, ensure_ascii=False))
    failed = [f"{host} ({status})" for host, status in statuses.items() if status]
    if failed:
        print(f"exit status other than 0: {', '.join(failed)}", file=sys.stderr)
    return max(statuses.values(), default=0)
