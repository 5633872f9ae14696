"""``netorder check``: find every error in topology files."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from netorder.cli.command import add, add_target, target_of
from netorder.errors import TopologyError
from netorder.language.load import load
from netorder.text import count

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands
    from netorder.topology import Topology

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "check",
        help="find every error in topology files",
        description="Find every error in the files. Each file without errors gets one line on standard output.",
        examples={
            "netorder check mynet.yml": "is everything right?",
            "netorder check topologies/*.yml": "of several files",
            "netorder check mynet.yml --format json": "for programs: an entry for each file",
        },
        statuses={"0": "no file has errors; warnings are none", "1": "a file has errors"},
    )
    add_target(parser)
    parser.add_argument("files", nargs="+", metavar="FILE", help="a topology file")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text is for people (the default)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check each file, whatever is wrong with the ones before it; return the exit status."""
    status = 0
    found: list[dict[str, object]] = []
    for path in options.files:
        topology: Topology | None = None
        try:
            topology = load(path, target_of(options))
        except TopologyError as error:
            said = error.diagnostics
            status = error.exit_status
        else:
            said = topology.warnings
        if options.format == "text":
            for one in said:
                print(one, file=sys.stderr)
            if topology:
                counts = ", ".join(count(number, kind) for kind, number in _counts(topology).items())
                print(f"{path}: ok ({counts})", flush=True)  # in order with the messages of other files
        counted = {f"{kind}s": number for kind, number in _counts(topology).items()} if topology else {}
        found.append({"file": path, "ok": topology is not None, **counted, "diagnostics": [*map(asdict, said)]})
    if options.format == "json":
        print(json.dumps(found, indent=1, ensure_ascii=False))
    return status


def _counts(topology: Topology) -> dict[str, int]:
    return {"network": len(topology.networks), "router": len(topology.routers), "host": len(topology.hosts)}
