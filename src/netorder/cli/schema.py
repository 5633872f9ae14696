"""``netorder schema``: print the JSON Schema of topology files, or the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cli.command import add
from netorder.language import reference, schema

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "schema",
        help="print the JSON Schema of topology files, or the reference",
        description="Print the JSON Schema of topology files (draft 2020-12), or the reference that is made from it.",
        examples={
            "netorder schema > topology.schema.json": "for editors that complete and check as you type",
            "netorder schema --format markdown": "the reference of every key",
        },
    )
    parser.add_argument("--format", choices=("json", "markdown"), default="json", help="markdown is the reference")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the schema; return the exit status."""
    print(schema.text() if options.format == "json" else reference.markdown(), end="")
    return 0
