"""``netorder snapshot``: make an image of a host."""

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
        "snapshot",
        help="make an image of a host's disk (playbooks/snapshot.yml)",
        description="Make an image of a host's disk as it is now, running or stopped, marked as the topology's. Its "
        "size is shown beside that of the image that the host was made from. Runs ansible-playbook "
        "playbooks/snapshot.yml.",
        examples={
            "netorder snapshot sum": "an image of sum",
            "netorder snapshot -t mynet.yml web-1 --check": "only shows what would be made",
        },
        notes="`netorder restore` puts it back onto the host; `image: {snapshot: sum}` in a topology makes another "
        "host from it.",
        statuses=playbooks.HOST_STATUSES,
        usage=f"netorder snapshot [options] HOST {playbooks.USAGE}",
    )
    parser.add_argument("host", metavar="HOST", help="a host of the topology")
    playbooks.add_options(parser, topology=True, check=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook in place of this process. Raises TopologyError and UsageError."""
    process.become(playbooks.operation(options, "playbooks/snapshot.yml", host=options.host))
