"""YAML text to plain data, with the place of every key and value.

YAML is read as YAML 1.2 does: only ``true`` and ``false`` are booleans and only decimal digits are numbers, so a host
may be called ``no`` and a port is never octal. Keys are text. Anchors and aliases work, within bounds; tags do not.
Files named by ``include`` are read too, as if what is in them stood at the top of the file that names them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Document", "Path", "Place", "SourceError", "read", "read_file"]

Path = tuple[str | int, ...]

MAX_DEPTH = 20  # a topology is five deep
MAX_NODES = 200_000  # values after aliases are followed: a bomb of aliases stops here
MAX_BYTES = 4_000_000


class Place(NamedTuple):
    """File, line and column; these count from 1, and 0 means the file as a whole."""

    file: str
    line: int
    column: int


class SourceError(Exception):
    """The text is not YAML (or more YAML than a topology needs)."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


@dataclass(slots=True)
class Document:
    """The ``data``, and for each path in it the place of the ``values`` and of the ``keys`` that hold them.

    ``problems`` are faults that leave the rest readable: a key declared twice (the first one counts) or no text.
    """

    data: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)


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


def read_file(name: str) -> Document:
    """Read the file ``name`` and those that it includes.

    Raises SourceError where one of them cannot be read or is not YAML.
    """
    return read(_text_of(name), name)


def _text_of(name: str) -> str:
    def refuse(message: str, line: int = 0, column: int = 0) -> SourceError:
        return SourceError(Place(name, line, column), message)

    try:
        with FilePath(name).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise refuse(f"cannot be read: {reason}; check the path") from None
    if len(content) > MAX_BYTES:
        raise refuse(f"larger than {MAX_BYTES // 1_000_000} MB, which no topology is; check the path")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise refuse(message, line, column) from None


def read(text: str, name: str) -> Document:
    """Read one YAML document, and the files that it includes, relative to the directory of the file ``name``.

    Raises SourceError where the text is not YAML.
    """
    return _Inclusion().read(text, name)


# Inclusion


class _Inclusion:
    """One document out of several files, each read once."""

    def __init__(self) -> None:
        self._open: list[FilePath] = []
        self._done: set[FilePath] = set()

    def read(self, text: str, name: str) -> Document:
        own = _read_one(text, name)
        included = own.data.get("include") if isinstance(own.data, dict) else None
        if included is None:
            return own
        self._open.append(FilePath(name).resolve())
        whole = Document(data={})
        entries = included if isinstance(included, list) else [included]
        for index, entry in enumerate(entries):
            place = own.values[("include", index) if isinstance(included, list) else ("include",)]
            if isinstance(entry, str) and entry:  # the schema refuses anything else
                self._include(entry, name, place, whole)
        _Join(whole, own)
        self._open.pop()
        return whole

    def _include(self, entry: str, name: str, place: Place, whole: Document) -> None:
        target = str(FilePath(name).parent / entry)
        path = FilePath(target).resolve()
        if path in self._open:
            message = f"`{entry}` includes this file in its turn, or is it; remove one of the two"
            whole.problems.append((place, message))
        elif path not in self._done:
            self._done.add(path)
            try:
                text = _text_of(target)
            except SourceError as error:
                if error.place.line:
                    raise
                whole.problems.append((place, f"`{entry}` {error}"))
                return
            document = self.read(text, target)
            if document.data is None:
                return
            if isinstance(document.data, dict):
                _Join(whole, document)
            else:
                whole.problems.append((place, f"`{entry}` does not hold a mapping such as `networks: ...`"))


class _Join:
    """Adds ``part`` to ``whole``: sections are joined, other values replace what an included file says."""

    def __init__(self, whole: Document, part: Document) -> None:
        self._whole, self._part = whole, part
        self._target: dict[Path, Path | None] = {}  # where a path of the part goes in the whole; None: nowhere
        self._replaced: set[Path] = set()
        whole.problems += part.problems
        if isinstance(part.data, dict):
            for key, value in part.data.items():
                self._join_value(key, value)
            self._join_places(whole.values, part.values)
            self._join_places(whole.keys, part.keys)
        else:
            whole.data, whole.values, whole.keys = part.data, part.values, part.keys

    def _join_value(self, key: str, value: Any) -> None:  # noqa: ANN401 - YAML's data is any
        there = self._whole.data.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            for name, its in value.items():
                self._join_entry(key, there, name, its)
        elif isinstance(there, list) and isinstance(value, list) and key == "allow":
            self._target |= {(key, index): (key, len(there) + index) for index in range(len(value))}
            there += value
        else:
            self._replaced.add((key,))
            self._whole.data[key] = value

    def _join_entry(self, key: str, there: dict[str, Any], name: str, its: Any) -> None:  # noqa: ANN401 - as above
        if name not in there:
            there[name] = its
        elif key == "defaults":
            self._replaced.add((key, name))
            there[name] = its
        else:
            first = self._whole.keys[key, name]
            message = f"`{name}` is already in {first.file}:{first.line}; remove one of the two, or rename it"
            self._whole.problems.append((self._part.keys[key, name], message))
            self._target[key, name] = None

    def _join_places(self, places: dict[Path, Place], its: dict[Path, Place]) -> None:
        for path in [path for path in places if path[:1] in self._replaced or path[:2] in self._replaced]:
            del places[path]
        for path, place in its.items():
            head = self._target.get(path[:2], path[:2])
            if head is not None:
                places[(*head, *path[2:])] = place


# One file


@dataclass(slots=True)
class _Node:
    """A scalar (its text), a sequence (its nodes) or a mapping (its pairs of nodes)."""

    kind: str
    place: Place
    tag: str | None
    value: Any = None


def _read_one(text: str, name: str) -> Document:
    try:
        root = _Composer(name).compose(_events(text, yaml.CSafeLoader))
    except (yaml.YAMLError, AttributeError):  # not YAML, or PyYAML without libyaml: whose words we do not translate
        try:
            root = _Composer(name).compose(_events(text, yaml.SafeLoader))
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            place = Place(name, before.count("\n") + 1, len(before) - before.rfind("\n"))
            message = f"character U+{error.character:04X}, which YAML does not allow; remove it"
            raise SourceError(place, message) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            if "quoted scalar" in (error.context or "") and error.context_mark:
                mark = error.context_mark
            place = _place(name, mark) if mark else Place(name, 1, 1)
            raise SourceError(place, _in_plain_words(error)) from None
    document = Document()
    if root is not None:
        _Builder(document).build(root)
    return document


def _events(text: str, loader_type: type[Any]) -> Iterator[Any]:
    loader = loader_type(text)
    try:
        while (event := loader.get_event()) is not None:
            yield event
    finally:
        loader.dispose()


class _Composer:
    """Makes the tree of the one document out of events; an alias is the very node that it names."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._root: list[Any] = []
        self._open: list[tuple[_Node, list[Any]]] = []  # nodes being read, with the children so far
        self._anchors: dict[str, _Node] = {}
        self._documents = 0

    def compose(self, events: Iterator[Any]) -> _Node | None:
        """Return the document's node; None when there is none."""
        for event in events:
            place = _place(self._name, event.start_mark)
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise SourceError(place, "a second document; a topology file holds one: split the file at `---`")
            elif isinstance(event, yaml.CollectionEndEvent):
                node, children = self._open.pop()
                mapping = node.kind == "map"
                node.value = list(zip(children[::2], children[1::2], strict=True)) if mapping else children
            elif isinstance(event, yaml.NodeEvent):
                into = self._open[-1][1] if self._open else self._root
                into.append(self._node(event, place))
        return self._root[0] if self._root else None

    def _node(self, event: Any, place: Place) -> _Node:  # noqa: ANN401 - PyYAML's events are untyped
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise SourceError(place, "an alias (`*name`) of no anchor (`&name`) above it; write the value out")
            return self._anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            tag = "" if event.implicit[0] else "tag:yaml.org,2002:str" if event.implicit[1] else event.tag
            node = _Node("scalar", place, tag, event.value)
        else:
            node = _Node("map" if isinstance(event, yaml.MappingStartEvent) else "seq", place, event.tag)
            self._open.append((node, []))
            if len(self._open) > MAX_DEPTH:
                raise SourceError(place, f"nested more than {MAX_DEPTH} deep; a topology never is")
        if event.anchor in self._anchors:
            message = "an anchor (`&name`) that is already in the file; anchors need different names"
            raise SourceError(place, message)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node


def _in_plain_words(error: yaml.MarkedYAMLError) -> str:
    words = f"{error.context}, {error.problem}"
    began = error.context_mark.line + 1 if error.context_mark else 1
    for pattern, message in _WORDS:
        if re.search(pattern, words):
            return message.replace("{line}", str(began))
    return "YAML cannot be read from here on; check brackets, quotes and indentation"


def _place(name: str, mark: Any) -> Place:  # noqa: ANN401 - PyYAML's marks are untyped
    return Place(name, mark.line + 1, mark.column + 1)


_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")


def _plain_scalar(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar means in YAML 1.2's core schema."""
    if _BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if _NULL.fullmatch(text):
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Builder:
    """Turns composed nodes into data, writing down every place."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = MAX_NODES
        self._open: set[int] = set()  # nodes being built, to find one that holds itself

    def build(self, root: _Node) -> None:
        """Fill the document."""
        self._document.data = self._build(root, ())

    def _build(self, node: _Node, path: Path) -> Any:  # noqa: ANN401 - YAML's data is any
        self._document.values.setdefault(path, node.place)
        self._left -= 1
        if self._left < 0:
            raise SourceError(node.place, f"more than {MAX_NODES} values once aliases are followed; write it out")
        if id(node) in self._open:
            raise SourceError(node.place, "an anchor whose value holds an alias of itself; write it out")
        if node.tag and node.tag != f"tag:yaml.org,2002:{'str' if node.kind == 'scalar' else node.kind}":
            self._document.problems.append((node.place, f"a tag, `{node.tag}`; a topology has none: remove it"))
        if node.kind == "scalar":
            return node.value if node.tag else _plain_scalar(node.value)
        self._open.add(id(node))
        try:
            if node.kind == "seq":
                return [self._build(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: _Node, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in node.value:
            if key.kind != "scalar":
                self._document.problems.append((key.place, "a key that is a list or a mapping; keys are names"))
                continue
            name: str = key.value
            if name in result:
                first = self._document.keys[(*path, name)]
                message = f"`{name}` is already on line {first.line}; remove one of the two, or rename it"
                self._document.problems.append((key.place, message))
                continue
            self._document.keys[(*path, name)] = key.place
            result[name] = self._build(value, (*path, name))
        return result
