"""``netorder save``: write all that another controller needs into one archive."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli.command import TOPOLOGY, add, add_files, add_target, files_of, target_of, topology_file
from netorder.controller import archive
from netorder.errors import NetorderError, UsageError
from netorder.language.load import load
from netorder.plan.build import build_plan
from netorder.topology import OPENSTACK

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "save",
        help="save topology, plan, image ids, host keys and SSH key in one archive",
        description="Write one archive with all that another controller needs of a topology: its file and what that "
        "names beside it (included files, roles, user data, public keys), the plan, ids of servers and images, host "
        "keys, passwords that were made up, and the SSH key. Readable by its owner alone: whoever has it can log in.",
        examples={
            "netorder save mynet.yml": "writes mynet.netorder.tar.gz",
            "netorder save mynet.yml -o /backup/mynet.tar.gz": "another file",
            "netorder save mynet.yml --without-key": "the SSH key stays here",
        },
        notes="Disks are not in it: `netorder snapshot` keeps those in the cloud. `netorder load` unpacks it.",
        statuses={
            "0": "written",
            "1": "the topology has errors, or the OpenStack library is not installed",
            "3": "the cloud does not answer, or refused",
            "6": "a file cannot be read or written",
        },
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    parser.add_argument("-o", "--output", metavar="FILE", help="the archive (the default: TOPOLOGY.netorder.tar.gz)")
    parser.add_argument("--without-key", action="store_true", help="leave the SSH key out")
    add_files(parser)
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask the cloud, and write the archive; return the exit status. Raises NetorderError."""
    file = topology_file(options.file)
    topology = load(file, target_of(options))
    if topology.target != OPENSTACK:
        raise UsageError(f"target `{topology.target}` has its hosts on this machine alone: there is no cloud to ask")
    plan = build_plan(topology)
    try:
        # here, not above: the other commands work without the OpenStack library
        from netorder.controller import found as there  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise NetorderError(
            f"this asks the cloud, and needs {error.name}: `make setup` installs it, or `pip install '.[cloud]'`"
        ) from None
    found = there.ask(plan, lambda line: print(line, file=sys.stderr))
    target = Path(options.output or f"{plan.topology}.netorder.tar.gz")
    told = archive.save(Path(file), target, files=files_of(options), cloud=found, with_key=not options.without_key)
    for line in told:
        print(f"warning: {line}", file=sys.stderr)
    present = sum(1 for one in found["hosts"].values() if one["id"])
    print(f"{target}: {plan.topology}, {present} of {len(plan.hosts)} hosts in the cloud; keep it as you keep a key")
    return 0
