"""A picture as text for Mermaid, which Git hosts and editors draw in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netorder.picture.model import Picture

__all__ = ["mermaid"]

SHAPES = {"outside": ("([", "])"), "router": ("{{", "}}"), "network": ("[[", "]]"), "host": ("[", "]")}


def mermaid(shown: Picture) -> str:
    """Return the picture as a flowchart: lines are links, arrows are rules."""
    lines = ["---", f"title: {_escaped(shown.title)}", "---", "flowchart TB"]
    for node in shown.nodes:
        left, right = SHAPES[node.kind]
        lines.append(f'  {node.id}{left}"{"<br/>".join(map(_escaped, [node.title, *node.lines]))}"{right}')
    lines += [f"  {above} --- {below}" for above, below in shown.downwards()]
    lines += [f'  {arrow.source} -->|"{_escaped(arrow.text)}"| {arrow.destination}' for arrow in shown.arrows]
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    """Write a text as Mermaid's entities where it would be read as syntax."""
    return "".join(f"#{ord(one)};" if one in '#"<>&;`' else one for one in text)
