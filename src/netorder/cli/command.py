"""What the commands share: how they are added, topology files with their messages, names of hosts, exit statuses."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from netorder.controller import playbooks
from netorder.controller.playbooks import DEFAULT_TOPOLOGY
from netorder.errors import NetorderError, TopologyError, UsageError
from netorder.language.load import load
from netorder.text import did_you_mean
from netorder.topology import TARGETS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from netorder.errors import Diagnostic
    from netorder.plan.model import Plan
    from netorder.topology import Topology

__all__ = [
    "TOPOLOGY",
    "Commands",
    "add",
    "add_files",
    "add_target",
    "files_of",
    "hosts_named",
    "load_all",
    "members",
    "target_of",
    "topology_file",
    "unknown",
    "write",
]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name

TOPOLOGY = f"the topology file (the default: NETORDER_TOPOLOGY, else {DEFAULT_TOPOLOGY})"
WIDTH = 100


def add(
    commands: Commands,
    name: str,
    *,
    help: str,  # noqa: A002 - argparse's word
    description: str,
    examples: Mapping[str, str],
    notes: str = "",
    statuses: Mapping[str, str] | None = None,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command whose help has examples (a command line and what it is for) and its own exit statuses."""
    width = max(map(len, examples))
    parts = [textwrap.fill(notes, WIDTH)] if notes else []
    parts.append("\n".join(["examples:", *(f"  {line:{width}}  {what}" for line, what in examples.items())]))
    if statuses:
        widest = max(map(len, statuses))
        parts.append("\n".join(["exit status:", *(f"  {key:{widest}}  {what}" for key, what in statuses.items())]))
    return commands.add_parser(
        name,
        help=help,
        description=textwrap.fill(description, WIDTH),
        epilog="\n\n".join(parts),
        usage=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the option that takes the place of the topology's own `target`."""
    parser.add_argument("--target", choices=TARGETS, help="who makes it (the default: NETORDER_TARGET, else the file)")


def target_of(options: argparse.Namespace) -> str | None:
    """Return the target that the command line or NETORDER_TARGET names, None where the file says it."""
    named: str | None = options.target or os.environ.get("NETORDER_TARGET") or None
    if named and named not in TARGETS:
        fix = did_you_mean(named, TARGETS)
        raise UsageError(f"NETORDER_TARGET: `{named}` is none of {', '.join(TARGETS)}{fix}")
    return named


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where runs keep their files."""
    parser.add_argument(
        "--files", metavar="DIR", help="where runs keep their files (the default: the project's .netorder)"
    )


def files_of(options: argparse.Namespace) -> Path:
    """Return where runs keep their files."""
    return Path(options.files).expanduser() if options.files else playbooks.files()


def write(text: str, output: str | Path | None, file: str | None = None) -> None:
    """Write what was made of a topology ``file`` to another; to standard output where none is named.

    Raises UsageError where that is the same file, and NetorderError.
    """
    if output is None:
        sys.stdout.write(text)
        return
    if file is not None and Path(output).exists() and Path(output).samefile(file):
        raise UsageError(f"{output} is the topology itself, which would be lost: name another file")
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise NetorderError(f"{output} cannot be written: {error.strerror}") from None


def load_all(*paths: str, target: str | None = None) -> list[Topology]:
    """Load topology files, for a target in place of their own, with their warnings on standard error.

    Raises TopologyError with what is wrong with any of them.
    """
    topologies: list[Topology] = []
    diagnostics: list[Diagnostic] = []
    for path in paths:
        try:
            topologies.append(load(path, target))
        except TopologyError as error:
            diagnostics += error.diagnostics
    for topology in topologies:
        for warning in topology.warnings:
            print(warning, file=sys.stderr)
    if diagnostics:
        raise TopologyError(diagnostics)
    return topologies


def topology_file(named: str | None) -> str:
    """Return the topology file: the one that is named, else that of NETORDER_TOPOLOGY, else the default one."""
    file = named or os.environ.get("NETORDER_TOPOLOGY") or DEFAULT_TOPOLOGY
    if file == DEFAULT_TOPOLOGY and not named and not Path(file).exists():
        raise UsageError(f"no topology: name a file, or set NETORDER_TOPOLOGY ({DEFAULT_TOPOLOGY} is not here)")
    return file


def members(plan: Plan, word: str) -> list[str]:
    """Return the hosts that a word names (a host, a counted name, a group, a network), or none."""
    hosts = plan.hosts
    for found in (
        [host.name for host in hosts if host.name == word],
        [host.name for host in hosts if re.fullmatch(rf"{re.escape(word)}(-[0-9]+)+", host.name)],
        [host.name for host in hosts if word in host.groups],
        [host.name for host in hosts if word in {port.network for port in host.ports}],
    ):
        if found:
            return found
    return []


def unknown(plan: Plan, word: str, more: Collection[str] = ()) -> str:
    """Return what to say of a word that names nothing, with the nearest one that does."""
    known = {*more, *(host.name for host in plan.hosts), *(group for host in plan.hosts for group in host.groups)}
    known |= {network.name for network in plan.networks}
    return f"`{word}`{did_you_mean(word, known) or '; `netorder plan` lists them'}"


def hosts_named(plan: Plan, words: Sequence[str]) -> list[str]:
    """Return the hosts that any of the words names, in the plan's order. Raises UsageError."""
    wanted: set[str] = set()
    for word in words:
        found = [host.name for host in plan.hosts] if word == "all" else members(plan, word)
        if not found:
            raise UsageError(f"there is no host, group or network {unknown(plan, word)}")
        wanted.update(found)
    return [host.name for host in plan.hosts if host.name in wanted]
