"""The file in the making: lines that are in it, or left out with the reason as comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Key", "Line", "comment", "flow", "remark", "rendered", "scalar"]

Key = tuple[str, ...]  # what a line is about: ("hosts", "web", "address")
WIDTH = 120
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*|[0-9]+(\.[0-9]+){3}(/[0-9]+|-[0-9.]+)?")
_NOT_TEXT = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of YAML; those after it that are ``deeper`` are its own. ``above`` are comments before it."""

    key: Key
    depth: int
    text: str
    note: str = ""
    above: tuple[str, ...] = ()


def scalar(value: object) -> str:
    """Write a value so that YAML reads it as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    plain = _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT
    return text if plain else json.dumps(text, ensure_ascii=False)


def flow(value: object) -> str:
    """Write a value on one line: mappings and lists in braces and brackets."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(its)}" for key, its in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def comment(text: str) -> str:
    """Return what somebody else wrote as one line that ends no comment."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def remark(text: str) -> str:
    """Return a text as comment lines of their own."""
    return "".join(f"{one}\n" for one in _wrapped("", comment(text)))


def rendered(lines: Sequence[Line], out: Mapping[Key, str]) -> tuple[str, dict[int, Key]]:
    """Return the text, and what each of its lines is about by number; lines in ``out`` are comments, with the reason.

    A line without a key is never left out, but one whose own are all left out is.
    """
    written: list[str] = []
    about: dict[int, Key] = {}
    left: int | None = None  # the depth of what is left out
    for place, line in enumerate(lines):
        if left is not None and line.depth <= left:
            left = None
        indent = "  " * line.depth
        if left is None and line.key in out:
            left = line.depth
            written += _wrapped(indent, f"left out: {out[line.key]}")
        elif left is None and not line.depth and _all_out(lines, place, out):
            continue
        base = "  " * (line.depth if left is None else left)
        for text in line.above:
            written += _wrapped(base, comment(text))
        body = f"{line.text}  # {comment(line.note)}" if line.note else line.text
        if left is None:
            written.append(indent + body)
            about[len(written)] = line.key
        else:
            written.append(f"{base}# {'  ' * (line.depth - left)}{body}")
    return "".join(f"{one}\n" for one in written), about


def _all_out(lines: Sequence[Line], place: int, out: Mapping[Key, str]) -> bool:
    """Return whether a line has others of its own, and none of them is in the file."""
    own = []
    for line in lines[place + 1 :]:
        if not line.depth:
            break
        own += [line.key in out] if line.depth == 1 else []
    return bool(own) and all(own)


def _wrapped(indent: str, text: str) -> Iterable[str]:
    """Write a comment in lines of a length that one reads."""
    words, line = text.split(" "), ""
    for word in words:
        if line and len(indent) + 2 + len(line) + 1 + len(word) > WIDTH:
            yield f"{indent}# {line}"
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield f"{indent}# {line}"
