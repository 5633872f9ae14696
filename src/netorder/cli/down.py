"""``netorder down``: delete a topology from the cloud."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from netorder.cli import playbooks
from netorder.cli.command import add, target_of, topology_file
from netorder.controller import playbooks as lines
from netorder.errors import TopologyError, UsageError
from netorder.language.load import load

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]

PLAYBOOK = "playbooks/teardown.yml"


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "down",
        help="delete all of it from the cloud (playbooks/teardown.yml)",
        description="Delete all that carries the topology's marker, its hosts and their disks included, and nothing "
        "else. Asks for the topology's name first; --yes answers, where FILE or --name says which topology is meant. "
        "The SSH key stays. Runs ansible-playbook playbooks/teardown.yml.",
        examples={
            "netorder down mynet.yml": "asks, then deletes",
            "netorder down mynet.yml --yes": "without asking",
            "netorder down mynet.yml --check": "only shows what would be deleted",
            "netorder down --name mynet": "where the file is gone or has errors",
        },
        statuses={
            "0": "deleted, or nothing was there",
            "1": "the topology has errors (--name needs no file)",
            "2": "something could not be deleted (the last messages say why), or it was not confirmed",
            "other": playbooks.ANSIBLE_STATUSES["other"],
        },
        usage=f"netorder down [options] [FILE] {playbooks.USAGE}",
    )
    playbooks.add_options(parser)
    parser.add_argument("--name", metavar="NAME", help="the topology's name, in place of the file")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--check", action="store_true", help="only show what would be deleted")
    playbooks.add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask, then run the playbook; return the exit status. Raises TopologyError and UsageError."""
    lines.project()
    if options.name and options.file:
        raise UsageError("FILE and --name both say which topology: omit one")
    if options.yes and not options.check and not (options.name or options.file):
        raise UsageError("--yes deletes without asking: name the FILE, or --name NAME")
    name, which = (options.name, {"netorder_topology": options.name}) if options.name else _of_file(options)
    if not options.check:
        _confirm(name, yes=options.yes)
    arguments = ["-i", "localhost,"] if options.name else []
    arguments += ["--check", "--diff"] if options.check else []
    confirmed = {"confirm": None if options.check else name, "target": target_of(options)}
    words = [*arguments, *playbooks.words(options)]
    program = lines.command(PLAYBOOK, {**which, **confirmed}, words, playbooks.own_output(options))
    return playbooks.run(options, playbooks.shown(options, program))


def _of_file(options: argparse.Namespace) -> tuple[str, dict[str, object]]:
    file = topology_file(options.file)
    try:
        return load(file, target_of(options)).name, {"topology": file}
    except TopologyError as error:
        print("By its name a topology can be deleted without its file: netorder down --name NAME", file=sys.stderr)
        raise error from None


def _confirm(name: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"nothing was deleted: to delete {name} without being asked, add --yes")
    print(f"This deletes {name} from the cloud, with all its hosts and their disks.", file=sys.stderr)
    print("To go on, type its name: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != name:
        raise UsageError("nothing was deleted: that is not its name")
