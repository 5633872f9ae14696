"""Draw the figures as bars, a panel for each: JSON from standard input, an SVG in the file that is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

COLUMNS = 2
COLOURS = ("#4269d0", "#97bbf5", "#3ca951", "#a3d977", "#6b7fd7", "#9c6b4e")


def main() -> None:
    output = Path(sys.argv[1])
    panels = json.load(sys.stdin)
    mpl.use("svg")
    # text stays text; the same figures give the same file
    mpl.rcParams |= {
        "svg.fonttype": "none",
        "svg.hashsalt": "bench/targets",
        "font.size": 9,
        "font.family": "sans-serif",
    }
    rows = -(-len(panels) // COLUMNS)
    ways = max((len(panel["bars"]) for panel in panels), default=1)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(11, rows * (0.7 + 0.28 * ways)), squeeze=False)
    for place, panel in zip(axes.flat, panels, strict=False):
        names = [bar["title"] for bar in panel["bars"]]
        values = [bar["value"] for bar in panel["bars"]]
        drawn = place.barh(names, values, color=COLOURS[: len(names)])
        place.bar_label(drawn, labels=[bar["text"] for bar in panel["bars"]], padding=3)
        place.set_title(panel["title"], loc="left", fontsize=10)
        place.invert_yaxis()
        place.margins(x=0.16)
        place.set_xticks([])
        for side in ("top", "right", "bottom"):
            place.spines[side].set_visible(False)
        place.tick_params(left=False)
    for place in list(axes.flat)[len(panels) :]:
        place.set_visible(False)
    figure.tight_layout()
    figure.savefig(output, format="svg", facecolor="white", metadata={"Date": None, "Creator": "bench/targets"})


if __name__ == "__main__":
    main()
