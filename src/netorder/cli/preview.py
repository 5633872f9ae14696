"""``netorder preview``: show what a run would change."""

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
        "preview",
        help="show what `up` would change (site.yml --check --diff)",
        description="Show what `netorder up` would change in the cloud and inside the hosts, with reason, old and new "
        "values. Changes nothing. Runs ansible-playbook site.yml --check --diff, without the probes.",
        examples={
            "netorder preview mynet.yml": "everything that differs",
            "netorder preview mynet.yml --allow zero-disk": "with a permission that the run will have",
            "netorder preview mynet.yml --format json | jq .changes": "for programs; the run is on standard error",
        },
        statuses=playbooks.ANSIBLE_STATUSES | {"0": "shown, whether something would change or not"},
        usage=f"netorder preview [options] [FILE] {playbooks.USAGE}",
    )
    playbooks.add_options(parser, "--allow", "--limit", "--tags", "--ssh-key")
    playbooks.add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook; return the exit status. Raises TopologyError and UsageError."""
    # only what differs, and not the probes, as `make preview`
    only, shown = ["--check", "--diff", "--skip-tags", "verify"], {"ANSIBLE_DISPLAY_OK_HOSTS": "false"}
    return playbooks.run(options, playbooks.prepare(options, "site.yml", only, environment=shown))
