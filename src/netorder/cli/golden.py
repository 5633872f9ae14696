"""``netorder golden``: make golden images, list them, remove some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cli import playbooks
from netorder.cli.command import add
from netorder.controller import process
from netorder.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "golden",
        help="make golden images, list them, or remove some (playbooks/golden.yml)",
        description="Make a golden image of each application: a copy of a configured host, cleaned of all that was "
        "that host's alone, and booted once to try it. The host itself runs on, untouched. Runs ansible-playbook "
        "playbooks/golden.yml, or with --list, --remove or --keep playbooks/golden-images.yml.",
        examples={
            "netorder golden": "one for each application",
            "netorder golden mynet.yml --host web-1,db": "of these hosts only",
            "netorder golden mynet.yml --check": "only shows what would be made",
            "netorder golden mynet.yml --list": "those that there are",
            "netorder golden mynet.yml --keep 2": "of each application the newest two stay",
        },
        notes="`image: {golden: true, base: debian-13}` in a topology makes a host from the golden image of its "
        "application, and from debian-13 while there is none.",
        statuses=playbooks.HOST_STATUSES,
        usage=f"netorder golden [options] [FILE] {playbooks.USAGE}",
    )
    parser.add_argument("--host", metavar="HOSTS", help="make them of these hosts, with commas between")
    parser.add_argument("--list", action="store_true", help="make none, list those that there are")
    parser.add_argument("--remove", metavar="NAMES", help="remove these, with commas between")
    parser.add_argument("--keep", metavar="N", type=int, help="remove all but the newest N of each application")
    playbooks.add_options(parser, check=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run a playbook in place of this process. Raises TopologyError and UsageError."""
    if options.list or options.remove or options.keep is not None:
        if options.host:
            raise UsageError("--host says of which hosts golden images are made, --list and its like make none")
        listed = playbooks.operation(options, "playbooks/golden-images.yml", remove=options.remove, keep=options.keep)
        process.become(listed)
    process.become(playbooks.operation(options, "playbooks/golden.yml", host=options.host))
