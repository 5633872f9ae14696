"""Facts as text for people: counts, lists cut short, tables, the nearest known word; and which text is an id."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["SHOWN", "count", "did_you_mean", "few", "is_id", "table"]

SHOWN = 4  # of many names
_ID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def count(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun: ``1 router``, ``2 routers``; ``many`` is a plural that is not ``one`` with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def few(names: Sequence[str], shown: int = SHOWN) -> str:
    """Name the first of these, and say how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def table(
    rows: Iterable[Sequence[str]], *, indent: str = "", gap: str = "  ", numbers: Collection[int] = ()
) -> list[str]:
    """Return the rows as lines with their columns aligned, none with trailing spaces.

    Columns with an index in ``numbers`` are aligned right, the others left. The rows must be of one length.
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (
            indent
            + gap.join(
                cell.rjust(width) if index in numbers else cell.ljust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        ).rstrip()
        for row in rows
    ]


def is_id(word: str) -> bool:
    """Return whether a word is an id of the cloud's, a UUID (RFC 9562), not a name."""
    return bool(_ID.fullmatch(word))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean `x`?`` for the known word nearest to ``word``, or nothing when none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    near = near or difflib.get_close_matches(word.lower(), sorted(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
