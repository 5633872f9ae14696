"""``netorder power``: stop, start or shelve hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cli import playbooks
from netorder.cli.command import add
from netorder.controller import process

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]

STATES = {"stop": "stopped", "start": "started", "shelve": "shelved"}


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "power",
        help="stop, start or shelve hosts (playbooks/power.yml)",
        description="Stop, start or shelve hosts, all or some, in the order of what they need. What is stopped so is "
        "off on purpose: no drift, and no run starts it. Runs ansible-playbook playbooks/power.yml.",
        examples={
            "netorder power stop all": "all hosts of the topology",
            "netorder power start sum sub": "two of them",
            "netorder power shelve -t mynet.yml db --check": "only shows what would be done",
        },
        notes="A shelved host gives its cores and memory back to the cloud, and takes longer to come back.",
        statuses=playbooks.HOST_STATUSES,
        usage=f"netorder power [options] {{stop,start,shelve}} HOST ... {playbooks.USAGE}",
    )
    parser.add_argument("action", choices=tuple(STATES), help="what is done to them")
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="a host of the topology; `all`: each of them")
    playbooks.add_options(parser, topology=True, check=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook in place of this process. Raises TopologyError and UsageError."""
    process.become(
        playbooks.operation(
            options,
            "playbooks/power.yml",
            state=STATES[options.action],
            host=None if "all" in options.hosts else ",".join(options.hosts),
        )
    )
