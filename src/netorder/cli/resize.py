"""``netorder resize``: give a host another flavor."""

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
        "resize",
        help="give a host another flavor (playbooks/resize.yml)",
        description="Give a host another flavor, up or down; its disk stays. Confirmed when the host answers SSH, else "
        "reverted. The topology file is not edited: what to write there is said. Runs ansible-playbook "
        "playbooks/resize.yml.",
        examples={
            "netorder resize sum medium --check": "only shows what would be done",
            "netorder resize sum medium": "another flavor",
            "netorder resize sum medium --ssh-timeout 600": "for a guest that boots slowly",
        },
        statuses=playbooks.HOST_STATUSES,
        usage=f"netorder resize [options] HOST FLAVOR {playbooks.USAGE}",
    )
    parser.add_argument("host", metavar="HOST", help="a host of the topology")
    parser.add_argument("flavor", metavar="FLAVOR", help="the flavor's name in the cloud")
    playbooks.add_options(parser, "--ssh-timeout", topology=True, check=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook in place of this process. Raises TopologyError and UsageError."""
    process.become(playbooks.operation(options, "playbooks/resize.yml", host=options.host, flavor=options.flavor))
