"""``netorder graph``: draw a topology."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli.command import TOPOLOGY, add, add_target, load_all, target_of, topology_file, write
from netorder.picture.dot import dot
from netorder.picture.drawio import drawio
from netorder.picture.mermaid import mermaid
from netorder.picture.model import let_through, picture
from netorder.picture.svg import svg

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["add_parser", "run"]

FORMATS = {"svg": svg, "mermaid": mermaid, "dot": dot, "drawio": drawio}
SUFFIXES = {
    ".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".drawio": "drawio",
}  # fmt: skip


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "graph",
        help="draw it: networks, routers, hosts, addresses; as SVG, Mermaid, Graphviz or draw.io",
        description="Draw the topology: the outside on top, networks as bars, routers, hosts with their addresses, "
        "floating addresses, applications and routes. Hosts that are alike are one box, and of more than four alike "
        "networks, routers or hosts one stands for all; --each draws every one.",
        examples={
            "netorder graph mynet.yml -o mynet.svg": "a picture for a browser, light and dark",
            "netorder graph mynet.yml --rules -o mynet.svg": "with what the rules let through as numbered arrows",
            "netorder graph mynet.yml --format mermaid": "for Markdown",
            "netorder graph mynet.yml --format dot | dot -Tpdf > mynet.pdf": "laid out by Graphviz",
            "netorder graph mynet.yml -o mynet.drawio": "to go on drawing in draw.io (diagrams.net)",
        },
        notes="Without --format the suffix of the file after -o says which, and svg is the default. There is no arrow "
        "to the outside: every host may send there what its routes let through (`netorder reach`).",
        statuses={"0": "drawn", "1": "the topology has errors, or the file cannot be written"},
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    add_target(parser)
    parser.add_argument("--format", choices=tuple(FORMATS), help="svg, mermaid, dot (Graphviz) or drawio")
    parser.add_argument("--rules", action="store_true", help="arrows for what the rules let through")
    parser.add_argument("--each", action="store_true", help="draw every network, router and host by itself")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to this file, not to standard output")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Draw; return the exit status. Raises TopologyError and NetorderError."""
    file = topology_file(options.file)
    (topology,) = load_all(file, target=target_of(options))
    suffix = Path(options.output or "").suffix
    draw = FORMATS[options.format or SUFFIXES.get(suffix, "svg")]
    opened = let_through(topology) if options.rules else ()
    write(draw(picture(topology, each=options.each, opened=opened)), options.output, file)
    return 0
