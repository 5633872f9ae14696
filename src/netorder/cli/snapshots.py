"""``netorder snapshots``: list a topology's snapshots, and remove some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cli import playbooks
from netorder.cli.command import add
from netorder.controller import process

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "snapshots",
        help="list the snapshots, or remove some (playbooks/snapshots.yml)",
        description="List the snapshots of the topology's hosts, the oldest first; remove those of these names, or all "
        "but the newest of each host. One that a server is made from stays. Runs ansible-playbook "
        "playbooks/snapshots.yml.",
        examples={
            "netorder snapshots": "the list",
            "netorder snapshots mynet.yml --host sum --keep 3": "of sum the newest three stay",
            "netorder snapshots mynet.yml --remove mynet-sum-20260102T030405Z": "this one goes",
        },
        statuses=playbooks.HOST_STATUSES,
        usage=f"netorder snapshots [options] [FILE] {playbooks.USAGE}",
    )
    parser.add_argument("--host", metavar="HOSTS", help="only those of these hosts, with commas between")
    parser.add_argument("--remove", metavar="NAMES", help="remove these, with commas between")
    parser.add_argument("--keep", metavar="N", type=int, help="remove all but the newest N of each host")
    playbooks.add_options(parser, check=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook in place of this process. Raises TopologyError and UsageError."""
    process.become(
        playbooks.operation(
            options, "playbooks/snapshots.yml", host=options.host, remove=options.remove, keep=options.keep
        )
    )
