"""``netorder up``: make the network of a topology real, configure its hosts, and measure it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cli import playbooks
from netorder.cli.command import add

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "up",
        help="make it real: create, configure, verify (site.yml)",
        description="Make the cloud match the topology, configure the hosts, and measure that what should be reachable "
        "is, and nothing else. A second run changes nothing. What is in use is deleted or replaced with --allow only. "
        "Runs ansible-playbook site.yml.",
        examples={
            "netorder up mynet.yml": "all of it",
            "netorder up mynet.yml --allow delete,replace": "also delete and replace what is in use",
            "netorder up mynet.yml --golden": "an empty project rebuilt from golden images, and timed",
            "netorder up mynet.yml --limit sum --tags applications": "only the application of one host",
            "netorder up mynet.yml -v -- --forks 50": "print what is run; more of Ansible's options",
            "netorder up mynet.yml --format json | jq .hosts": "for programs: the run is on standard error",
        },
        statuses=playbooks.ANSIBLE_STATUSES,
        usage=f"netorder up [options] [FILE] {playbooks.USAGE}",
    )
    parser.add_argument(
        "--golden",
        action="store_true",
        help="make hosts with applications of golden images alone: if one is missing, it is named and nothing is done",
    )
    playbooks.add_options(parser, *playbooks.OPTIONS)
    playbooks.add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook; return the exit status. Raises TopologyError and UsageError."""
    return playbooks.run(options, playbooks.site(options, golden=options.golden))
