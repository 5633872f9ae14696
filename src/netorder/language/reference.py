"""The reference of the topology language, as Markdown, made from the JSON Schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from netorder.language import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SECTIONS", "markdown"]

# each mapping of the language: its title, and where the schema has it (RFC 6901)
SECTIONS = (
    ("The file", ""),
    ("A network", "/$defs/network"),
    ("A router", "/$defs/router"),
    ("A mapping of `external`", "/$defs/external"),
    ("A host", "/$defs/host"),
    ("A mapping of `networks` of a host", "/$defs/host_member/anyOf/2"),
    ("A mapping of `floating_ip`", "/$defs/floating/anyOf/1"),
    ("A mapping of `applications` of a host", "/$defs/hosted/anyOf/1"),
    ("`image: {newest: NAME}`", "/$defs/image/anyOf/1"),
    ("`image: {snapshot: NAME}`", "/$defs/image/anyOf/2"),
    ("`image: {golden: true}`", "/$defs/image/anyOf/3"),
    ("A mapping of `server_group`", "/$defs/server_group/anyOf/1"),
    ("A user of `users`", "/$defs/account"),
    ("`manage`", "/$defs/host/properties/manage"),
    ("A port of `forward`", "/$defs/forward"),
    ("A mapping of `clone`", "/$defs/clone"),
    ("A route", "/$defs/route"),
    ("An application", "/$defs/application"),
    ("`check` of an application", "/$defs/check"),
    ("`container` of an application", "/$defs/container"),
    ("A rule of `allow`", "/$defs/allow"),
    ("A rule of `egress`", "/$defs/egress"),
    ("A mapping of `from` of `allow`, of `to` of `egress`", "/$defs/members"),
    ("A block of `for_each`", "/$defs/each"),
    ("A mapping of `cloud`", "/$defs/cloud"),
    ("`defaults`", "/properties/defaults"),
)


def markdown() -> str:
    """Return a table of keys for each kind of mapping: what it must be, its default, and what it is for."""
    whole = json.loads(schema.text())
    lines: list[str] = []
    for title, pointer in SECTIONS:
        lines += ["", f"## {title}", "", *_table(_at(whole, pointer), whole)]
    return "\n".join(lines[1:]) + "\n"


def _at(whole: dict[str, Any], pointer: str) -> dict[str, Any]:
    found: Any = whole
    for word in pointer.split("/")[1:]:
        found = found[int(word) if isinstance(found, list) else word]
    return dict(found)


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
