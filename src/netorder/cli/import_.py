"""``netorder import``: write the topology of what a project has in the cloud."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli.command import add, write
from netorder.cli.init import name_of
from netorder.errors import NetorderError

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]

NAME = "imported"  # of a topology that nothing else names


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "import",
        help="write the topology of what a project has in the cloud",
        description="Ask the cloud what the login's project has (networks, routers, servers, security groups, floating "
        "addresses), and write a topology that says the same, which `netorder check` accepts. Changes nothing in the "
        "cloud.",
        examples={
            "netorder import -o lab.yml": "all of the project",
            "netorder import --name-prefix shop- -o shop.yml": "what is called shop-..., without the prefix",
            "netorder import --cloud old": "another cloud of clouds.yaml; the file on standard output",
            "netorder import -o lab.yml --format json": "what was found and what is missing, for programs",
        },
        notes="What the language does not say is a comment in the file, with the reason, and listed at the end, with "
        "what a run would change if all of it were this topology's. It is not: a run makes it anew, beside what is "
        "there, unless netorder made that. Without --output the file is on standard output and the rest on standard "
        "error.",
        statuses={
            "0": "written, with or without parts that are left out",
            "1": "the file is there already or cannot be written, the project has no server, or no OpenStack library "
            "is installed",
            "2": "the command line has errors",
            "3": "the cloud does not answer, or refused",
        },
    )
    parser.add_argument("--cloud", metavar="CLOUD", help="an entry of clouds.yaml (the default: OS_CLOUD, else OS_*)")
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write; the topology is named after it")
    parser.add_argument("--force", action="store_true", help="overwrite the file")
    parser.add_argument(
        "--name-prefix", metavar="PREFIX", help="only what has names that begin so, and what that uses; it is cut off"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text is for people (the default)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask the cloud, write the file, and say what is missing; return the exit status. Raises NetorderError."""
    file = Path(options.output) if options.output else None
    if file and file.exists() and not options.force:
        raise NetorderError(f"{file} is there already: name another file, or overwrite it with --force")
    name = name_of(file.stem if file else options.name_prefix or NAME)
    try:
        # here, not above: the other commands work without the OpenStack library
        from netorder.controller import importing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise NetorderError(
            f"this asks the cloud, and needs {error.name}: `make setup` installs it, or `pip install '.[cloud]'`"
        ) from None
    found = importing.import_project(
        lambda line: print(line, file=sys.stderr), options.cloud, name, options.name_prefix or None
    )
    if file:
        write(found.text, file)
    if options.format == "json":
        print(importing.to_json(found, options.output), end="")
    elif file:
        print(importing.render(found, options.output), end="")
    else:
        print(found.text, end="")
        print(importing.render(found, None), end="", file=sys.stderr)
    return 0
