"""``netorder preview``: show what a run would change."""

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
        "preview",
        help="show what `up` would change (site.yml --check --diff)",
        description="Show what `netorder up` would change in the cloud and inside the hosts, with reason, old and new "
        "values. Changes nothing. Runs ansible-playbook site.yml --check --diff, without the probes.",
        examples={
            "netorder preview mynet.yml": "everything that differs",
            "netorder preview mynet.yml --allow zero-disk": "with a permission that the run will have",
        },
        statuses=playbooks.ANSIBLE_STATUSES | {"0": "shown, whether something would change or not"},
        usage=f"netorder preview [options] [FILE] {playbooks.USAGE}",
    )
    playbooks.add_options(parser, "--allow", "--limit", "--tags", "--ssh-key")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook in place of this process. Raises TopologyError and UsageError."""
    # only what differs, and not the probes, as `make plan`
    only = ["--check", "--diff", "--skip-tags", "verify"]
    process.become(playbooks.prepare(options, "site.yml", only, environment={"ANSIBLE_DISPLAY_OK_HOSTS": "false"}))
