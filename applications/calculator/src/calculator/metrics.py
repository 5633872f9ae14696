"""Counts and times, in the Prometheus text exposition format 0.0.4.

Plain dictionaries and lists: counting is on the way of every request. The one renderer is below, and the tests read
its text with the Prometheus client library's parser.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CONTENT_TYPE", "Histogram", "Sample", "render"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """How long something took, in seconds, by label values."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))
        self.sums: dict[str, float] = defaultdict(float)

    def observe(self, label: str, seconds: float) -> None:
        """Count one duration."""
        self.counts[label][bisect_left(_BOUNDS, seconds)] += 1
        self.sums[label] += seconds

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Histogram:
        """Return one with all label values of several that have none in common."""
        merged = cls()
        for histogram in histograms:
            merged.counts |= histogram.counts
            merged.sums |= histogram.sums
        return merged

    def lines(self, name: str, label_name: str) -> Iterable[str]:
        """Yield the lines of one metric: cumulative buckets, sum and count for each label value."""
        for label, counts in self.counts.items():
            labels, total = f"{label_name}={_quoted(label)}", 0
            for bound, count in zip((*map(str, _BOUNDS), "+Inf"), counts, strict=True):
                total += count
                yield f'{name}_bucket{{{labels},le="{bound}"}} {total}'
            yield f"{name}_sum{{{labels}}} {self.sums[label]!r}"
            yield f"{name}_count{{{labels}}} {total}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric that is not a histogram: its values by the values of its labels."""

    name: str
    kind: str  # "counter" or "gauge"
    help: str
    label_names: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


def render(samples: Iterable[Sample], histograms: Iterable[tuple[str, str, str, Histogram]]) -> str:
    """Return the exposition. Each of ``histograms`` is (name, help, label name, histogram)."""
    lines: list[str] = []
    for sample in samples:
        lines += (f"# HELP {sample.name} {sample.help}", f"# TYPE {sample.name} {sample.kind}")
        for values, value in sample.values.items():
            pairs = zip(sample.label_names, values, strict=True)
            labels = ",".join(f"{name}={_quoted(text)}" for name, text in pairs)
            lines.append(f"{sample.name}{{{labels}}} {value}" if labels else f"{sample.name} {value}")
    for name, explained, label_name, histogram in histograms:
        lines += (f"# HELP {name} {explained}", f"# TYPE {name} histogram", *histogram.lines(name, label_name))
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'
