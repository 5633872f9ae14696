"""``netorder verify``: measure what reaches what, and compare it with the plan."""

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
        "verify",
        help="measure what reaches what, and compare (playbooks/verify.yml)",
        description="Probe from every host and from here what should be open and what should not, look at the hosts, "
        "and compare with the plan. Changes nothing. Runs ansible-playbook playbooks/verify.yml.",
        examples={
            "netorder verify mynet.yml": "the matrix, and what differs",
            "netorder verify mynet.yml --probes all": "of a large topology every pair",
            "netorder verify mynet.yml --limit web": "from some hosts only",
            "netorder verify mynet.yml --format json | jq .findings": "for programs; the run is on standard error",
        },
        statuses=playbooks.ANSIBLE_STATUSES | {"0": "everything is as the plan says", "2": "something differs"},
        usage=f"netorder verify [options] [FILE] {playbooks.USAGE}",
    )
    playbooks.add_options(parser, "--limit", "--probes")
    playbooks.add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook; return the exit status. Raises TopologyError and UsageError."""
    return playbooks.run(options, playbooks.prepare(options, "playbooks/verify.yml"))
