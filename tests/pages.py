"""Pages of the documentation whose commands are run: their blocks in order, and whether a text is what one shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """A command line and the lines that the page shows of what it prints; or, without a command, lines of the file."""

    command: str
    shown: list[str]


def steps(text: str) -> Iterator[Step]:
    """Yield the steps of a page: those of its blocks `console`, and the lines of its blocks `yaml`."""
    for language, block in BLOCK.findall(text):
        if language == "yaml":
            yield Step("", block.splitlines())
        elif language == "console":
            for step in re.split(r"(?m)^\$ ", block)[1:]:
                line, *expected = step.splitlines()
                yield Step(line, expected)


def replace_line(file: Path, new: str) -> None:
    """Replace the line of a file that begins like ``new``."""
    lines = file.read_text(encoding="utf-8").splitlines()
    begin = re.match(r" *(- \{from: \w+, to: \w+, |\w+: )", new)[0]
    (place,) = (index for index, line in enumerate(lines) if line.startswith(begin))
    assert lines[place] != new
    lines[place] = new
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def assert_shown(said: str, expected: list[str]) -> None:
    """Fail unless a text has the expected lines, in order; without `…` no others."""
    parts = "\n".join(expected).split("…")
    pattern = ".*".join(re.escape(part.strip("\n")) for part in parts)
    assert re.fullmatch(pattern, said.strip("\n"), re.DOTALL), said
