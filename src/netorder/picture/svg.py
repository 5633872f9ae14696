"""A picture as SVG: self-contained, light and dark, laid out here, the same for the same plan.

What is reached from the outside hangs from it as a tree: networks are bars, under which hang their hosts, and the
routers to the networks behind. A link that is not of the tree is dashed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netorder.picture.model import Node, Picture

__all__ = ["Rectangle", "is_bar", "layout", "svg"]

# Of a monospaced font each character is 0.6 of its size wide.
SIZE, TITLE = 12, 13
CHARACTER, TITLE_CHARACTER = 7.3, 7.9
LINE = 16
PAD = 10
GAP = 24  # between boxes side by side
DROP = 36  # between a bar and what hangs from it
BAR = 26
TRUNK = 18  # from the line that hosts of one column hang from to the hosts
COLUMNS = 6  # hosts of one bar that hang side by side; of more there are several in a column
MARGIN = 20

STYLE = """\
svg { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; background: #ffffff; }
text { fill: #1c2733; } .title { font-size: 13px; font-weight: bold; }
rect { fill: #ffffff; stroke: #51606f; } .network rect { fill: #dbe9f6; stroke: #3d6a94; }
.outside rect { fill: #eef0f2; stroke-dasharray: 4 3; } .router rect { fill: #fdf3d7; stroke: #9a7b1c; }
.link { fill: none; stroke: #51606f; } .extra { stroke-dasharray: 5 4; }
.arrow { fill: none; stroke: #b3451f; } .tip { fill: #b3451f; } .number { fill: #ffffff; stroke: #b3451f; }
@media (prefers-color-scheme: dark) {
  svg { background: #14191f; } text { fill: #e6ebf0; } rect { fill: #1d242c; stroke: #8b9aa9; }
  .network rect { fill: #1f3a52; stroke: #79a9d6; } .outside rect { fill: #262c33; }
  .router rect { fill: #3a3218; stroke: #d0b25a; } .link { stroke: #8b9aa9; }
  .arrow { stroke: #f0875f; } .tip { fill: #f0875f; } .number { fill: #14191f; stroke: #f0875f; }
}"""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box's place, from its left upper corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """The middle of its width."""
        return self.x + self.width / 2

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of both."""
        return self.middle, self.y + self.height / 2

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height


Line = tuple[tuple[float, float], ...]


def layout(shown: Picture) -> dict[str, Rectangle]:
    """Return the place of each box."""
    return _Layout(shown).boxes


class _Layout:
    """The place of each box, and the lines of the tree: what hangs from a box is below it, and nothing else is."""

    def __init__(self, shown: Picture) -> None:
        self.boxes: dict[str, Rectangle] = {}
        self.lines: list[Line] = []
        self._children: dict[str, list[Node]] = {node.id: [] for node in shown.nodes}
        self._widths: dict[str, float] = {}
        nodes = {node.id: node for node in shown.nodes}
        parents = shown.parents()
        for one, parent in parents.items():
            if parent is not None:
                self._children[parent].append(nodes[one])
        for one in reversed(parents):  # children before their parents
            self._widths[one] = self._width(nodes[one])
        x = float(MARGIN)
        left: list[tuple[Node, float, float]] = []
        for one, parent in parents.items():
            if parent is None:
                left.append((nodes[one], x, 2 * MARGIN + LINE))
                x += self._widths[one] + GAP
        for node, at, top in left:  # grows
            left += self._hang(node, at, top) if is_bar(node) else self._stand(node, at, top)

    def _width(self, node: Node) -> float:
        """Return the width of a box with all below it, whose widths are known."""
        if is_bar(node):
            columns = [self._column_width(column) for column in self._columns(node)]
            return max(_bar_width(node), sum(columns) + GAP * (len(columns) - 1))
        return max(_measure(node)[0], self._row(node))

    def _row(self, node: Node) -> float:
        widths = [self._widths[child.id] for child in self._children[node.id]]
        return sum(widths) + GAP * max(0, len(widths) - 1)

    def _columns(self, bar: Node) -> list[list[Node]]:
        """Return what hangs from a bar side by side: what ends there, of many several in a column; the rest."""
        ends = [node for node in self._children[bar.id] if not self._children[node.id]]
        each = -(-len(ends) // COLUMNS) or 1
        columns = [ends[at : at + each] for at in range(0, len(ends), each)]
        return columns + [[node] for node in self._children[bar.id] if self._children[node.id]]

    def _column_width(self, column: Sequence[Node]) -> float:
        if len(column) == 1:
            return self._widths[column[0].id]
        return TRUNK + max(_measure(node)[0] for node in column)

    def _stand(self, node: Node, x: float, y: float) -> list[tuple[Node, float, float]]:
        """Place a router or a host over what is below it; return that with its places."""
        own, height = _measure(node)
        box = self.boxes[node.id] = Rectangle(x + (self._widths[node.id] - own) / 2, y, own, height)
        left = x + (self._widths[node.id] - self._row(node)) / 2
        below, half = box.bottom + DROP, box.bottom + DROP / 2
        placed = []
        for child in self._children[node.id]:
            right = left + self._widths[child.id]
            # straight down where the bar is below the box, else along the middle of the gap
            if left + PAD <= box.middle <= right - PAD:
                self.lines.append(((box.middle, box.bottom), (box.middle, below)))
            else:
                end = (left + right) / 2
                self.lines.append(((box.middle, box.bottom), (box.middle, half), (end, half), (end, below)))
            placed.append((child, left, below))
            left = right + GAP
        return placed

    def _hang(self, bar: Node, x: float, y: float) -> list[tuple[Node, float, float]]:
        """Place a bar; return what hangs from it with its places."""
        self.boxes[bar.id] = Rectangle(x, y, self._widths[bar.id], BAR)
        y += BAR
        placed = []
        for column in self._columns(bar):
            width = self._column_width(column)
            if len(column) == 1:
                self.lines.append(((x + width / 2, y), (x + width / 2, y + DROP)))
                placed.append((column[0], x, y + DROP))
            else:
                top = y + DROP
                for node in column:
                    own, height = _measure(node)
                    self.boxes[node.id] = Rectangle(x + TRUNK, top, own, height)
                    half = top + height / 2
                    self.lines.append(((x + TRUNK / 2, y), (x + TRUNK / 2, half), (x + TRUNK, half)))
                    top += height + GAP / 2
            x += width + GAP
        return placed


def is_bar(node: Node) -> bool:
    """Return whether a box is drawn as a bar, as wide as what hangs from it."""
    return node.kind in ("network", "outside")


def _measure(node: Node) -> tuple[float, float]:
    texts = [len(node.title) * TITLE_CHARACTER, *(len(line) * CHARACTER for line in node.lines)]
    return max(texts) + 2 * PAD, LINE * (1 + len(node.lines)) + PAD


def _bar_width(node: Node) -> float:
    return len(node.title) * TITLE_CHARACTER + sum(2 * PAD + len(line) * CHARACTER for line in node.lines) + 2 * PAD


def svg(shown: Picture, links: Mapping[str, str] | None = None, style: str = "") -> str:
    """Return the picture as SVG; each arrow of the rules has a number, and a line below the picture that says what.

    ``links`` are addresses that boxes (by id) lead to; more ``style`` may show states, which are classes.
    """
    done = _Layout(shown)
    boxes = done.boxes
    width = max([box.x + box.width for box in boxes.values()], default=0) + MARGIN
    height = max([box.bottom for box in boxes.values()], default=0) + MARGIN
    titles = {node.id: node.title for node in shown.nodes}
    legend = [
        f"{number}  {titles[one.source]} -> {titles[one.destination]}: {one.text}"
        for number, one in enumerate(shown.arrows, 1)
    ]
    legend_top = height + LINE
    if legend:
        width = max(width, max(map(len, legend)) * CHARACTER + 2 * MARGIN)
        height += LINE * (len(legend) + 1)
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        f'<title id="title">{escape(shown.title)}</title>',
        f"<style>\n{STYLE}{style}\n</style>",
        f'<text class="title" x="{MARGIN}" y="{MARGIN + TITLE}">{escape(shown.title)}</text>',
        *(f'<path class="link" d="{_path(line)}"/>' for line in done.lines),
        *_extra(shown, boxes),
        *(_linked(_drawn(node, boxes[node.id]), (links or {}).get(node.id)) for node in shown.nodes),
        *_arrows(shown, boxes),
        *(
            f'<text x="{MARGIN}" y="{legend_top + LINE * index:.0f}">{escape(line)}</text>'
            for index, line in enumerate(legend)
        ),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _path(line: Line) -> str:
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in line)


def _extra(shown: Picture, boxes: dict[str, Rectangle]) -> list[str]:
    """Return the links that are not of the tree, behind the boxes: from the middle of one to the bar of the other."""
    parents = shown.parents()
    found = []
    for end, other in shown.links:
        if parents[end] != other and parents[other] != end:
            (x, y), bar = boxes[end].centre, boxes[other]
            near = min(max(x, bar.x + PAD), bar.x + bar.width - PAD)
            line = ((x, y), (near, bar.y + BAR / 2))
            found.append(f'<path class="link extra" d="{_path(line)}"/>')
    return found


def _linked(drawn: str, target: str | None) -> str:
    return f"<a href={quoteattr(target)}>{drawn}</a>" if target else drawn


def _drawn(node: Node, box: Rectangle) -> str:
    rounded = {"router": 12, "host": 3}.get(node.kind, 0)
    parts = [
        f'<g class="{" ".join(filter(None, (node.kind, node.state)))}" id={quoteattr(node.id)}>',
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{rounded}"/>',
    ]
    if is_bar(node):
        at = box.x + PAD
        parts.append(f'<text class="title" x="{at:.1f}" y="{box.y + 18:.1f}">{escape(node.title)}</text>')
        at += len(node.title) * TITLE_CHARACTER + 2 * PAD
        for line in node.lines:
            parts.append(f'<text x="{at:.1f}" y="{box.y + 18:.1f}">{escape(line)}</text>')
            at += len(line) * CHARACTER + 2 * PAD
    else:
        parts.append(f'<text class="title" x="{box.x + PAD:.1f}" y="{box.y + LINE:.1f}">{escape(node.title)}</text>')
        parts += [
            f'<text x="{box.x + PAD:.1f}" y="{box.y + LINE * (index + 2):.1f}">{escape(line)}</text>'
            for index, line in enumerate(node.lines)
        ]
    return "".join([*parts, "</g>"])


def _arrows(shown: Picture, boxes: dict[str, Rectangle]) -> list[str]:
    found = []
    for number, arrow in enumerate(shown.arrows, 1):
        start, end = boxes[arrow.source], boxes[arrow.destination]
        state = f' class="{arrow.state}"' if arrow.state else ""
        if start is end:  # between the hosts of one box: a loop at its right edge
            right, half = start.x + start.width, start.y + start.height / 2
            points = ((right, half - 8), (right + 26, half - 14), (right + 26, half + 14), (right, half + 8))
            curve = "M{:.1f} {:.1f} C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}".format(
                *(n for point in points for n in point)
            )
            middle, tip, before = (right + 19.5, half), points[3], points[2]
        else:
            (x1, y1), (x2, y2) = _edge(start, end), _edge(end, start)
            length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1.0)
            bend = min(40.0, length / 5)  # to the left of the way, so that there and back are two arrows
            before = ((x1 + x2) / 2 + (y2 - y1) / length * bend, (y1 + y2) / 2 - (x2 - x1) / length * bend)
            curve = f"M{x1:.1f} {y1:.1f} Q{before[0]:.1f} {before[1]:.1f} {x2:.1f} {y2:.1f}"
            middle = ((x1 + 2 * before[0] + x2) / 4, (y1 + 2 * before[1] + y2) / 4)
            tip = (x2, y2)
        found.append(
            f'<g{state}><title>{escape(arrow.text)}</title><path class="arrow" d="{curve}"/>{_tip(before, tip)}'
            f'<circle class="number" cx="{middle[0]:.1f}" cy="{middle[1]:.1f}" r="9"/>'
            f'<text x="{middle[0]:.1f}" y="{middle[1] + 4:.1f}" text-anchor="middle">{number}</text></g>'
        )
    return found


def _edge(box: Rectangle, other: Rectangle) -> tuple[float, float]:
    """Return where the way from the middle of a box to that of another leaves it."""
    (x, y), (to_x, to_y) = box.centre, other.centre
    across, down = to_x - x, to_y - y
    share = min(
        box.width / 2 / abs(across) if across else float("inf"), box.height / 2 / abs(down) if down else float("inf"), 1
    )
    return x + across * share, y + down * share


def _tip(before: tuple[float, float], tip: tuple[float, float]) -> str:
    across, down = tip[0] - before[0], tip[1] - before[1]
    length = max((across**2 + down**2) ** 0.5, 1.0)
    across, down = across / length, down / length
    back = (tip[0] - 9 * across, tip[1] - 9 * down)
    corners = (tip, (back[0] - 4 * down, back[1] + 4 * across), (back[0] + 4 * down, back[1] - 4 * across))
    return f'<path class="tip" d="{_path(corners)} Z"/>'
