"""YAML text to plain data, with the place of every key and value.

YAML is read as YAML 1.2 does: only ``true`` and ``false`` are booleans and only decimal digits are numbers, so a host
may be called ``no`` and a port is never octal. Keys are text. Anchors and aliases work, within bounds; tags do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

__all__ = ["Document", "Path", "Place", "SourceError", "read"]

Path = tuple[str | int, ...]

MAX_DEPTH = 20  # a topology is five deep
MAX_NODES = 200_000  # values after aliases are followed: a bomb of aliases stops here
MAX_BYTES = 4_000_000


class Place(NamedTuple):
    """Line and column, from 1."""

    line: int
    column: int


class SourceError(Exception):
    """The text is not YAML (or more YAML than a topology needs)."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


@dataclass(slots=True)
class Document:
    """The file's ``data``, and for each path in it the place of the ``values`` and of the ``keys`` that hold them.

    ``problems`` are faults that leave the rest readable: a key declared twice (the first one counts) or no text.
    """

    data: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema and a bound on nesting."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it
    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise SourceError(_place(mark), f"nested more than {MAX_DEPTH} deep; a topology never is")
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]{1,18}$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)

# PyYAML's words, and ours. The first pattern found in "context, problem" counts.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"'\\t' that cannot start", "a tab; YAML indents with spaces: replace it"),
    (
        r"mapping values are not allowed",
        "a `:` where none can be; check the indentation, and quote a text that holds `: `",
    ),
    (r"could not find expected ':'", "a key without its `:`; write `key: value`"),
    (r"while scanning a quoted scalar", "a quote that is never closed; close it"),
    (r"while parsing a flow sequence", "the list that began with `[` on line {line} lacks a `,` or its `]`"),
    (r"while parsing a flow mapping", "the mapping that began with `{` on line {line} lacks a `,` or its `}`"),
    (r"found undefined alias", "an alias (`*name`) of no anchor (`&name`) above it; write the value out"),
    (r"duplicate anchor", "an anchor (`&name`) that is already in the file; anchors need different names"),
    (r"expected a single document", "a second document; a topology file holds one: split the file at `---`"),
    (r"while scanning an? (alias|anchor)", "a name is missing after `&` or `*`; put a text that begins so in quotes"),
    (
        r"while scanning a (block scalar|directive)",
        "`|`, `>` or `%` begins something else in YAML; put the value in quotes",
    ),
    (r"found ':'", "a `:` without a key before it; write `key: value`"),
    (r"found ','", "a `,` without a value before it; remove it, or add the value"),
    (r"found '[]}]'", "a closing bracket that does not match what is open; check the brackets"),
    (r"sequence entries are not allowed", "a list item (`- `) where none can be; begin it on a line of its own"),
    (r"'<document start>'", "this does not continue what stands above it; check the indentation"),
    (r"while parsing a block|did not find expected", "this does not fit the lines above; check the indentation"),
    (r"that cannot start any token", "a character that cannot begin a value; put the value in quotes"),
)


def read(text: str) -> Document:
    """Read one YAML document.

    Raises SourceError where the text is not YAML.
    """
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise SourceError(place, f"character U+{error.character:04X}, which YAML does not allow; remove it") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if "quoted scalar" in (error.context or "") and error.context_mark:
            mark = error.context_mark
        place = _place(mark) if mark else Place(1, 1)
        raise SourceError(place, _in_plain_words(error)) from None
    finally:
        if loader is not None:
            loader.dispose()
    document = Document()
    if root is not None:
        _Builder(document).build_root(root)
    return document


def _in_plain_words(error: yaml.MarkedYAMLError) -> str:
    words = f"{error.context}, {error.problem}"
    began = error.context_mark.line + 1 if error.context_mark else 1
    for pattern, message in _WORDS:
        if re.search(pattern, words):
            return message.replace("{line}", str(began))
    return "YAML cannot be read from here on; check brackets, quotes and indentation"


def _no_tag(node: Node) -> str:
    return f"a tag, `{node.tag}`; a topology has none: remove it"


def _place(mark: Any) -> Place:  # noqa: ANN401 - PyYAML's marks are untyped
    return Place(mark.line + 1, mark.column + 1)


class _Builder:
    """Turns composed nodes into data, writing down every place."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = MAX_NODES
        self._open: set[int] = set()  # nodes being built, to find one that holds itself

    def build_root(self, root: Node) -> None:
        self._document.data = self._build(root, ())

    def _build(self, node: Node, path: Path) -> Any:  # noqa: ANN401 - YAML's data is any
        place = _place(node.start_mark)
        self._document.values.setdefault(path, place)
        self._left -= 1
        if self._left < 0:
            raise SourceError(place, f"more than {MAX_NODES} values once aliases are followed; write it out")
        if id(node) in self._open:
            raise SourceError(place, "an anchor whose value holds an alias of itself; write it out")
        if isinstance(node, ScalarNode):
            return self._scalar(node, place)
        if not node.tag.endswith((":seq", ":map")):
            self._document.problems.append((place, _no_tag(node)))
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self._build(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Node, path: Path) -> dict[str, Any]:
        assert isinstance(node, MappingNode)  # noqa: S101 - for the type checker: PyYAML has three kinds of nodes
        result: dict[str, Any] = {}
        for key, value in node.value:
            place = _place(key.start_mark)
            if not isinstance(key, ScalarNode):
                self._document.problems.append((place, "a key that is a list or a mapping; keys are names"))
                continue
            name: str = key.value
            if name in result:
                first = self._document.keys[(*path, name)]
                message = f"`{name}` is already on line {first.line}; remove one of the two, or rename it"
                self._document.problems.append((place, message))
                continue
            self._document.keys[(*path, name)] = place
            result[name] = self._build(value, (*path, name))
        return result

    def _scalar(self, node: ScalarNode, place: Place) -> str | int | float | bool | None:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        text: str = node.value
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int" and re.fullmatch(r"[-+]?[0-9]{1,18}", text):
            return int(text)
        if kind == "float":
            return float(text)
        if kind != "str":
            self._document.problems.append((place, _no_tag(node)))
        return text
