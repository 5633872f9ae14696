"""The reference of the command as Markdown, made from its parsers: ``python -m netorder.cli.reference``."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from netorder.cli.main import parser

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["markdown"]

HEAD = """\
# The command

Made from the parsers (`python -m netorder.cli.reference`); `netorder COMMAND --help` shows the same. What it does
beyond one command: [the first hour](first-hour.md) from the beginning, [changes.md](changes.md) for previews and drift,
[reference/exit-statuses.md](reference/exit-statuses.md) for programs that call it.
"""
WIDTH = 120


def markdown() -> str:
    """Return the reference of all commands, ending with a newline."""
    whole = parser()
    commands = next(one for one in whole._actions if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001
    said = {one.dest: one.help or "" for one in commands._choices_actions}  # noqa: SLF001
    parts = [HEAD, _table([("command", ""), *((f"[{name}](#{name})", _cell(text)) for name, text in said.items())])]
    for name, command in commands.choices.items():
        parts += _command(name, command)
    parts.append(f"## All commands\n\n```\n{whole.epilog}```\n")
    return "\n".join(parts)


def _command(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## {name}\n"
    yield textwrap.fill(_plain(command.description), WIDTH) + "\n"
    actions = [one for one in command._actions if one.help != argparse.SUPPRESS and one.dest != "help"]  # noqa: SLF001
    if actions:
        yield _table([("argument", ""), *((f"`{_argument(one)}`", _cell(one.help or "")) for one in actions)])
    yield f"```\n{command.epilog}\n```\n"


def _argument(action: argparse.Action) -> str:
    """Write an argument as one types it."""
    value = "|".join(map(str, action.choices)) if action.choices else action.metavar or ""
    if not action.option_strings:
        word = str(action.metavar or value)
        return {"+": f"{word} ...", "?": f"[{word}]"}.get(str(action.nargs), word)
    takes = action.nargs != 0
    return ", ".join(action.option_strings) + (f" {value}" if takes else "")


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _table(rows: list[tuple[str, str]]) -> str:
    head, *rest = ((first.replace("|", "\\|"), second) for first, second in rows)
    return "".join(f"| {first} | {second} |\n" for first, second in [head, ("---", "---"), *rest])


if __name__ == "__main__":
    print(markdown(), end="")
