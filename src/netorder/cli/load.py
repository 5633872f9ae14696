"""``netorder load``: unpack what ``netorder save`` wrote."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli import playbooks
from netorder.cli.command import add, add_files, files_of
from netorder.controller import archive, process
from netorder.controller.playbooks import files, project
from netorder.errors import UsageError

if TYPE_CHECKING:
    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "load",
        help="unpack what `save` wrote, on this controller or another",
        description="Unpack an archive of `netorder save`: the topology with its files into a directory, SSH key and "
        "settings for the hosts beside other runs' files. No cloud is asked, and none is changed; then `netorder ssh`, "
        "`up` and the others work here as they did there. With --up it goes on with that.",
        examples={
            "netorder load mynet.netorder.tar.gz --check": "only shows what would be written",
            "netorder load mynet.netorder.tar.gz": "into the present directory",
            "netorder load mynet.netorder.tar.gz --into ~/labs": "the topology elsewhere",
            "netorder load mynet.netorder.tar.gz --up --golden": "and rebuild it from its golden images",
        },
        notes="Files that are there already stay if they are the same; if not, nothing is written without --force. "
        "Where .netorder has another SSH key already, this one is put into the topology's own directory there, and "
        "the command to go on with names it.",
        statuses={
            "0": "unpacked; with --check: shown",
            "1": "the topology in it has errors for this version of netorder",
            "2": "it is no such archive, or files would be overwritten",
            "6": "a file cannot be written",
            "other": "with --up: as `netorder up` ends",
        },
    )
    parser.add_argument("archive", metavar="ARCHIVE", help="what `netorder save` wrote")
    parser.add_argument("--into", metavar="DIR", default=".", help="where the topology goes (the default: here)")
    add_files(parser)
    parser.add_argument("--force", action="store_true", help="overwrite files that differ")
    parser.add_argument("--check", action="store_true", help="only show what would be written")
    parser.add_argument("--up", action="store_true", help="then make it real, as `netorder up` does")
    parser.add_argument("--golden", action="store_true", help="with --up: of golden images alone, as `up --golden`")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Unpack it; return the exit status. Raises NetorderError."""
    if options.golden and not options.up:
        raise UsageError("--golden says what hosts are made of, and without --up none are made: add --up")
    if options.up:
        project()
        if files_of(options).absolute() != files().absolute():
            raise UsageError(f"--up: runs keep their files in {files()}, not in {options.files}: leave --files out")
    loaded = archive.load(
        Path(options.archive),
        into=Path(options.into).expanduser(),
        files=files_of(options),
        force=options.force,
        check=options.check,
    )
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for path in loaded.written:
        print(f"{'would write' if options.check else 'wrote'} {path}")
    if options.up and not options.check:
        print(f"{loaded.name}, saved {loaded.saved}", flush=True)
        given = argparse.Namespace(
            file=str(loaded.topology), ssh_key=loaded.key, target=None, verbose=0, rest=[], extra_vars=[], command="up"
        )
        process.become(playbooks.site(given, golden=options.golden))
    key = ["--ssh-key", str(loaded.key)] if loaded.key else []
    print(
        f"{loaded.name}, saved {loaded.saved}; go on with: {shlex.join(['netorder', 'up', str(loaded.topology), *key])}"
    )
    return 0
