"""``netorder restore``: put a snapshot back onto its host."""

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
        "restore",
        help="put a host back as it was in a snapshot (playbooks/restore.yml)",
        description="Put a snapshot back onto the disk of its host, which keeps its addresses, ports, rules and "
        "flavor. What is on the disk now is lost: that needs --allow replace. Runs ansible-playbook "
        "playbooks/restore.yml.",
        examples={
            "netorder restore sum --check": "only shows what would be done",
            "netorder restore sum --allow replace": "from the newest snapshot of sum",
            "netorder restore sum --snapshot mynet-sum-20260102T030405Z --allow replace": "from this one",
        },
        notes="`netorder snapshots` lists what there is. `netorder up` then adds what the topology has had since.",
        statuses=playbooks.HOST_STATUSES,
        usage=f"netorder restore [options] HOST {playbooks.USAGE}",
    )
    parser.add_argument("host", metavar="HOST", help="a host of the topology")
    parser.add_argument("--snapshot", metavar="SNAPSHOT", help="its name (the default: the newest of the host)")
    playbooks.add_options(
        parser, "--allow", "--ssh-key", "--ssh-timeout", "--hostkey-timeout", topology=True, check=True
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook in place of this process. Raises TopologyError and UsageError."""
    process.become(playbooks.operation(options, "playbooks/restore.yml", host=options.host, snapshot=options.snapshot))
