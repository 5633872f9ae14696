"""A picture as text for Graphviz (the DOT language)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netorder.picture.model import Picture

__all__ = ["dot"]

SHAPES = {
    "outside": "shape=ellipse, style=dashed",
    "router": "shape=box, style=rounded",
    "network": 'shape=box, style=filled, fillcolor="#dbe9f6", width=3',
    "host": "shape=box",
}


def dot(shown: Picture) -> str:
    """Return the picture in DOT: links without arrowheads; the rules' arrows do not move the boxes."""
    lines = [f"digraph {_quoted(shown.title)} {{", "  node [fontname=monospace, fontsize=11]", "  edge [fontsize=10]"]
    lines += [f"  {node.id} [label={_quoted(node.title, *node.lines)}, {SHAPES[node.kind]}]" for node in shown.nodes]
    lines += [f"  {above} -> {below} [dir=none]" for above, below in shown.downwards()]
    lines += [
        f'  {arrow.source} -> {arrow.destination} [label={_quoted(arrow.text)}, color="#b3451f", constraint=false]'
        for arrow in shown.arrows
    ]
    return "\n".join([*lines, "}\n"])


def _quoted(*lines: str) -> str:
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(escaped) + '"'
