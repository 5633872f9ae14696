"""The reference of the topology language, as Markdown, made from the JSON Schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from netorder.language import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["markdown"]

SECTIONS = (
    ("The file", None),
    ("A network", "network"),
    ("A router", "router"),
    ("A host", "host"),
    ("A user of `users`", "account"),
    ("A port of `forward`", "forward"),
    ("A mapping of `clone`", "clone"),
    ("A route", "route"),
    ("A rule of `allow`", "allow"),
    ("A rule of `egress`", "egress"),
    ("A block of `for_each`", "each"),
    ("`defaults`", "defaults"),
)


def markdown() -> str:
    """Return a table of keys for each kind of mapping: what it must be, its default, and what it is for."""
    whole = json.loads(schema.text())
    lines: list[str] = []
    for title, name in SECTIONS:
        part = whole if name is None else whole["$defs"].get(name) or whole["properties"][name]
        lines += ["", f"## {title}", "", *_table(part, whole)]
    return "\n".join(lines[1:]) + "\n"


def _table(part: dict[str, Any], whole: dict[str, Any]) -> Iterator[str]:
    yield "| key | what it holds | what it is for |"
    yield "|---|---|---|"
    for key, value in part["properties"].items():
        definition = whole["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else {}
        full = definition | value
        required = "; required" if key in part.get("required", ()) else ""
        if key in part.get("then", {}).get("required", ()):
            required = f"; required without `{part['if']['not']['required'][0]}`"
        holds = full["title"] + required
        if "default" in full:
            default = json.dumps(full["default"]).strip('"')
            holds += f"; default `{default}`"
        yield f"| `{key}` | {_cell(holds)} | {_cell(full.get('description', ''))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
