"""``netorder drift``: show what differs from the plan."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
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
        "drift",
        help="show what differs from the plan, in cloud and hosts (playbooks/drift.yml)",
        description="Show what differs from the plan, in the cloud and inside the hosts, in one table. Changes "
        "nothing; `netorder up` repairs it. Runs ansible-playbook playbooks/drift.yml.",
        examples={
            "netorder drift mynet.yml": "the table",
            "netorder drift mynet.yml --format json | jq .differences": "for programs; the run is on standard error",
            "netorder drift mynet.yml --report drift.txt": "the table in a file, too",
            "netorder drift mynet.yml -- --check": "run roles that compare nothing, in check mode",
        },
        statuses=playbooks.ANSIBLE_STATUSES
        | {"0": "no drift", "2": "drift, or a host could not be checked; or the command line has errors"},
        usage=f"netorder drift [options] [FILE] {playbooks.USAGE}",
    )
    playbooks.add_options(parser, "--ssh-key")
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="table is for people (the default)"
    )
    parser.add_argument("--report", metavar="FILE", help="write what is shown to this file, too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the playbook, for JSON with the answer alone on standard output; return the exit status."""
    playbook = "playbooks/drift.yml"
    report = Path(options.report).absolute() if options.report else None
    if options.format == "table":
        process.become(playbooks.prepare(options, playbook, extra={"report": report}))
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory, "drift.json")
        status = process.run(playbooks.prepare(options, playbook, extra={"format": "json", "report": answer}))
        if answer.exists():  # else nothing could be compared
            text = answer.read_text(encoding="utf-8")
            sys.stdout.write(text)
            if report:
                report.write_text(text, encoding="utf-8")
    return status
