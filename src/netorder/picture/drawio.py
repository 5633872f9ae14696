"""A picture as a file for draw.io (diagrams.net): the boxes where the SVG has them, and links that follow them.

The format is that of mxGraph, uncompressed, as draw.io itself writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from netorder.picture.svg import is_bar, layout

if TYPE_CHECKING:
    from netorder.picture.model import Picture
    from netorder.picture.svg import Rectangle

__all__ = ["drawio"]

BOX = "whiteSpace=nowrap;html=0;fontFamily=monospace;fontSize=12;align=left;spacingLeft=8;"
STYLES = {
    "outside": "dashed=1;fillColor=#eef0f2;strokeColor=#51606f;",
    "router": "rounded=1;fillColor=#fdf3d7;strokeColor=#9a7b1c;",
    "network": "fillColor=#dbe9f6;strokeColor=#3d6a94;",
    "host": "fillColor=#ffffff;strokeColor=#51606f;",
}
LINK = "endArrow=none;strokeColor=#51606f;"
ARROW = "endArrow=block;curved=1;strokeColor=#b3451f;fontColor=#b3451f;fontSize=11;"


def drawio(shown: Picture) -> str:
    """Return the picture as XML: boxes, lines that join them, and arrows with the words of the rules."""
    boxes = layout(shown)
    bars = {node.id for node in shown.nodes if is_bar(node)}
    cells = []
    for node in shown.nodes:
        text = ("  " if node.id in bars else "\n").join([node.title, *node.lines])
        cells.append(
            _cell(node.id, text, f'style={quoteattr(BOX + STYLES[node.kind])} vertex="1"', _place(boxes[node.id]))
        )
    for index, (above, below) in enumerate(shown.downwards()):
        # a line meets a bar, which is wide, over or under the box at its other end
        ends = "".join(
            f"{end}X={_share(boxes[one], boxes[other].middle):.4f};{end}Y={side};{end}Perimeter=0;"
            for end, side, one, other in (("exit", 1, above, below), ("entry", 0, below, above))
            if one in bars
        )
        joined = f"source={quoteattr(above)} target={quoteattr(below)}"
        cells.append(_cell(f"link_{index}", "", f'style={quoteattr(LINK + ends)} edge="1" {joined}', 'relative="1"'))
    for index, one in enumerate(shown.arrows):
        joined = f"source={quoteattr(one.source)} target={quoteattr(one.destination)}"
        cells.append(_cell(f"rule_{index}", one.text, f'style={quoteattr(ARROW)} edge="1" {joined}', 'relative="1"'))
    return "\n".join(
        [
            '<mxfile host="netorder">',
            f' <diagram name={quoteattr(shown.title)} id="netorder">',
            '  <mxGraphModel grid="1" gridSize="10" page="0">',
            '   <root>\n    <mxCell id="0"/>\n    <mxCell id="1" parent="0"/>',
            *cells,
            "   </root>\n  </mxGraphModel>\n </diagram>\n</mxfile>\n",
        ]
    )


def _cell(id_: str, text: str, what: str, place: str) -> str:
    value = quoteattr(text, {"\n": "&#10;"})
    return (
        f'    <mxCell id={quoteattr(id_)} value={value} {what} parent="1"><mxGeometry {place} as="geometry"/></mxCell>'
    )


def _place(box: Rectangle) -> str:
    return f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'


def _share(bar: Rectangle, x: float) -> float:
    """Return where on a bar's width a line from above or below meets it."""
    return min(max((x - bar.x) / bar.width, 0.01), 0.99)
