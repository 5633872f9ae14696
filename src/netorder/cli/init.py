"""``netorder init``: write a commented topology to begin with."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli import questions
from netorder.cli.command import add
from netorder.errors import NetorderError, UsageError
from netorder.text import did_you_mean

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["TEMPLATES", "add_parser", "name_of", "run", "text"]

TEMPLATES = {
    "two-tiers": "web hosts, and application hosts behind a second router",
    "small": "one network, one host that the outside reaches, one behind it",
    "class": "for each student a network, a router and two hosts",
    "forwarding": "a host that passes packets on between two networks",
}
DEFAULT = next(iter(TEMPLATES))
LONGEST = 30  # what the cloud names begins with it
NO_NAMES = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # YAML 1.1 reads them as other than text


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    shown = "; ".join(f"{name}: {what}" for name, what in TEMPLATES.items())
    parser = add(
        commands,
        "init",
        help="write a commented topology to begin with",
        description="Write a topology with comments, which is right as it is: from a template, or by questions. It "
        "overwrites nothing. The topology's name is that of the file.",
        examples={
            "netorder init mynet.yml": f"template {DEFAULT}",
            "netorder init lab.yml --template class": "another one",
            "netorder init shop.yml --ask": "by questions, each with an answer by default",
        },
        notes=f"Templates: {shown}. With --ask the answers may also come from a file or a pipe, a line each.",
        statuses={
            "0": "written",
            "1": "the file is there already, or cannot be written",
            "2": "the command line has errors",
        },
    )
    parser.add_argument("file", metavar="FILE", help="the file to write")
    parser.add_argument("--template", metavar="NAME", help=f"{', '.join(TEMPLATES)} (the default: {DEFAULT})")
    parser.add_argument("--ask", action="store_true", help="ask for networks, hosts and what is open")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the file; return the exit status. Raises UsageError and NetorderError."""
    template = options.template or DEFAULT
    if template not in TEMPLATES:
        fix = did_you_mean(template, TEMPLATES) or ""
        raise UsageError(f"there is no template `{template}`{fix} (there are {', '.join(TEMPLATES)})")
    if options.ask and options.template:
        raise UsageError("--ask needs no template: omit --template, or --ask")
    path = Path(options.file)
    taken = f"{path} is there already: name another file, or remove it first"
    if path.exists():  # before anything is asked
        raise NetorderError(taken)
    made = questions.ask(name_of(path.stem)) if options.ask else text(template, path.stem)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(made)
    except FileExistsError:
        raise NetorderError(taken) from None
    except OSError as error:
        raise NetorderError(f"{path} cannot be written: {error.strerror}") from None
    typed, drawn = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(".svg")))
    print(f"{path}: written; next: netorder check {typed}, netorder graph {typed} -o {drawn}, netorder up {typed}")
    return 0


def text(template: str, stem: str) -> str:
    """Return the template with a topology's name made of a file's."""
    source = files("netorder.cli").joinpath("templates", f"{template}.yml").read_text(encoding="utf-8")
    return source.replace("topology: NAME", f"topology: {name_of(stem)}", 1)


def name_of(stem: str) -> str:
    """Return a topology's name made of another: letters, digits and hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:LONGEST].strip("-")
    if not name[:1].isalpha() or name in NO_NAMES:
        name = f"net-{name}".rstrip("-")
    return name
