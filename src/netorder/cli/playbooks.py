"""What the commands that run a playbook share: their options, and its command line."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli.command import TOPOLOGY, add_target, target_of, topology_file
from netorder.cloud.change import PERMISSIONS
from netorder.controller import playbooks, process
from netorder.errors import UsageError
from netorder.language.load import load
from netorder.text import did_you_mean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from netorder.controller.process import Program

__all__ = [
    "ANSIBLE_STATUSES",
    "HOST_STATUSES",
    "OPTIONS",
    "USAGE",
    "add_format",
    "add_options",
    "operation",
    "prepare",
    "run",
    "shown",
    "site",
    "words",
]

ANSIBLE_STATUSES = {
    "0": "done",
    "1": "the topology has errors, or no usable cloud is named; nothing was run",
    "2": "a task failed on a host: the last messages say why; or the command line has errors",
    "4": "a host does not answer",
    "other": "as ansible-playbook ends: 99 or 130 where it was interrupted, 250 an error of its own",
}
HOST_STATUSES = {
    "0": "done; with --check: shown",
    "1": "the topology has errors, or no usable cloud is named; nothing was run",
    "2": "refused, or it failed: the last messages say why; or the command line has errors",
    "other": ANSIBLE_STATUSES["other"],
}
USAGE = "[-- ANSIBLE-OPTION ...]"
OPTIONS = {
    "--allow": ("WORDS", f"what is permitted, with commas between: {', '.join(PERMISSIONS)}"),
    "--limit": ("HOSTS", "only these hosts or groups (Ansible's pattern); the cloud is then left as it is"),
    "--tags": ("TAGS", "only these parts of the run: routes, applications, verify"),
    "--probes": ("WHICH", "sample (the default: of more than 100 hosts some pairs) or all"),
    "--ssh-key": ("KEY", "private key for the hosts (the default: .netorder/id_ed25519, made on first use)"),
    "--ssh-timeout": ("SECONDS", "how long to wait for the hosts to answer SSH"),
    "--hostkey-timeout": ("SECONDS", "how long to wait for the host keys on the consoles"),
}


def add_options(parser: argparse.ArgumentParser, *names: str, topology: bool = False, check: bool = False) -> None:
    """Add FILE (``topology``: as the option of that name), the options of these names, --check, and -v."""
    if topology:
        parser.add_argument("-t", "--topology", dest="file", metavar="FILE", help=TOPOLOGY)
    else:
        parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    if check:
        parser.add_argument("--check", action="store_true", help="only show what would be done")
    for name in names:
        metavar, meaning = OPTIONS[name]
        choices = ("sample", "all") if name == "--probes" else None
        parser.add_argument(
            name, metavar=metavar, help=meaning, choices=choices, type=float if metavar == "SECONDS" else str
        )
    add_target(parser)
    parser.add_argument(
        "-e",
        "--extra-vars",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable of the playbook, as of ansible-playbook: what a run asks for (-e allow=replace), or a role's",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="print what is run, and Ansible's own output; -vv and more: its -v and more",
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the option for programs."""
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="json is for programs: the result of the run (docs/reference/results.md), and the rest on standard error",
    )


def run(options: argparse.Namespace, program: Program) -> int:
    """Run a playbook in place of this process; for JSON with the result alone on standard output."""
    if options.format == "text":
        process.become(program)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "result.json")
        status = process.run(replace(program, environment=(*program.environment, (playbooks.RESULT, str(file)))))
        if file.exists():  # else no play began
            sys.stdout.write(file.read_text(encoding="utf-8"))
    return status


def variables(options: argparse.Namespace) -> dict[str, object]:
    """Return the playbook's variables for these options, None for those that were not given."""
    given = vars(options)
    if given.get("allow") is not None:
        for word in given["allow"].split(","):
            if word not in PERMISSIONS:
                fix = did_you_mean(word, PERMISSIONS) or f" (it takes {', '.join(PERMISSIONS)})"
                raise UsageError(f"--allow: `{word}` is not known{fix}")
    key = given.get("ssh_key")
    return {
        "allow": given.get("allow"),
        "probes": given.get("probes"),
        "netorder_ssh_key": str(Path(key).expanduser().absolute()) if key else None,
        "netorder_ssh_timeout": _plain(given.get("ssh_timeout")),
        "target": target_of(options),
        "netorder_hostkey_timeout": _plain(given.get("hostkey_timeout")),
    }


def _plain(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:g}"


def words(options: argparse.Namespace) -> list[str]:
    """Return the words of Ansible's own for these options."""
    given = vars(options)
    found: list[str] = []
    if given.get("limit") is not None:
        found += ["--limit", given["limit"]]
    if given.get("tags") is not None:
        playbooks.check_tags(given["tags"])
        found += ["--tags", given["tags"]]
    found += [word for one in options.extra_vars for word in ("-e", one)]
    if options.verbose > 1:
        found.append("-" + "v" * (options.verbose - 1))
    return [*found, *options.rest]


def prepare(
    options: argparse.Namespace,
    playbook: str,
    more: Sequence[str] = (),
    *,
    extra: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Check the topology, and return the command line; with -v it is printed. Raises TopologyError and UsageError."""
    playbooks.project()  # before the topology: what is missing is not the file's fault
    file = topology_file(options.file)
    load(file, target_of(options))  # its errors without a page of Ansible's; its warnings come with the run
    given = {"topology": file, **variables(options), **(extra or {})}
    return shown(
        options, playbooks.command(playbook, given, [*more, *words(options)], own_output(options, environment))
    )


def own_output(options: argparse.Namespace, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a playbook, whose output with -v is Ansible's own; with its own -v it is so anyway."""
    return {**(environment or {}), **({"ANSIBLE_STDOUT_CALLBACK": "default"} if options.verbose == 1 else {})}


def site(options: argparse.Namespace, *, golden: bool) -> Program:
    """Return the command line of site.yml; ``golden``: of golden images alone. Raises TopologyError and UsageError."""
    if golden and vars(options).get("limit"):
        raise UsageError("--golden makes hosts, and --limit leaves the cloud as it is: leave one of them out")
    return prepare(options, "site.yml", extra={"golden": "true" if golden else None})


def operation(options: argparse.Namespace, playbook: str, **extra: object) -> Program:
    """Return the command line of a playbook that has --check. Raises TopologyError and UsageError."""
    return prepare(options, playbook, ["--check", "--diff"] if options.check else [], extra=extra)


def shown(options: argparse.Namespace, program: Program) -> Program:
    """With -v, print what is about to be run."""
    if options.verbose:
        print(f"$ {program}", file=sys.stderr)
    return program
