"""YAML text to plain data, with the place of every key and value.

YAML is read as YAML 1.2 does: only ``true`` and ``false`` are booleans and only decimal digits are numbers, so a host
may be called ``no`` and a port is never octal. Keys are text. Anchors, aliases and merge keys (``<<``) work, within
bounds; tags do not.
Files named by ``include`` are read too, as if what is in them stood at the top of the file that names them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import yaml

from netorder.errors import Diagnostic, TopologyError
from netorder.language.foreign import foreign_data, foreign_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Document", "Path", "Place", "read", "read_file"]

Path = tuple[str | int, ...]

MAX_DEPTH = 20  # a topology is five deep
MAX_NODES = 200_000  # values after aliases are followed: a bomb of aliases stops here
MAX_BYTES = 4_000_000


class Place(NamedTuple):
    """File, line and column; these count from 1, and 0 means the file as a whole."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """The ``data``, and for each path in it the place of the ``values`` and of the ``keys`` that hold them.

    ``problems`` are faults beside which the rest is readable: a key declared twice (the first one counts) or no text.
    """

    data: Any
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)

    @property
    def foreign(self) -> str | None:
        """What the file is instead, where it is one of another tool."""
        return foreign_data(self.data) or (foreign_text(self.data) if isinstance(self.data, str) else None)


# PyYAML's words, and ours. The first pattern found in "context, problem" counts.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"nested too deep", f"nested more than {MAX_DEPTH} deep; a topology never is"),
    (r"another document", "a second document; a topology file holds one: split the file at `---`"),
    (r"undefined alias", "an alias (`*name`) of no anchor (`&name`) above it; write the value out"),
    (r"duplicate anchor", "an anchor (`&name`) that is already in the file; anchors need different names"),
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

    Raises TopologyError where one of them cannot be read or is not YAML.
    """
    return read(_text_of(name), name)


def _text_of(name: str) -> str:
    try:
        with FilePath(name).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise _error(Place(name, 0, 0), f"cannot be read: {reason}; check the path") from None
    if len(content) > MAX_BYTES:
        raise _error(
            Place(name, 0, 0), f"larger than {MAX_BYTES // 1_000_000} MB, which no topology is; check the path"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _error(Place(name, line, column), message) from None


def read(text: str, name: str) -> Document:
    """Read one YAML document, and the files that it includes, relative to the directory of the file ``name``.

    Raises TopologyError where the text is not YAML.
    """
    return _with_included(_read_one(text, name), name, (), set())


def _error(place: Place, message: str) -> TopologyError:
    return TopologyError([Diagnostic(*place, "error", message)])


# Inclusion


def _with_included(own: Document, name: str, including: tuple[FilePath, ...], done: set[FilePath]) -> Document:
    """Return ``own`` joined to the files that it includes.

    ``including`` are the files around it, ``done`` those that are included already: each counts once. Raises
    TopologyError with what is wrong with all files that cannot be read: what they hold is missing.
    """
    included = own.data.get("include") if isinstance(own.data, dict) else None
    if included is None:
        return own
    including = (*including, FilePath(name).resolve())
    parts: list[Document] = []
    problems: list[tuple[Place, str]] = []
    unread: list[Diagnostic] = []
    for index, entry in enumerate(included if isinstance(included, list) else [included]):
        if not isinstance(entry, str) or not entry:
            continue  # the schema refuses it
        place = own.values[("include", index) if isinstance(included, list) else ("include",)]
        target = str(FilePath(name).parent / entry)
        path = FilePath(target).resolve()
        if path in including:
            problems.append((place, f"`{entry}` includes this file in its turn, or is it; remove one of the two"))
        elif path not in done:
            done.add(path)
            try:
                part = _with_included(_read_one(_text_of(target), target), target, including, done)
            except TopologyError as error:
                # one without a line is of the whole file: it is said where the file is named
                unread += [one for one in error.diagnostics if one.line]
                problems += [(place, f"`{entry}` {one.message}") for one in error.diagnostics if not one.line]
                continue
            if isinstance(part.data, dict):
                parts.append(part)
            elif part.data is not None:
                problems.append((place, f"`{entry}` does not hold a mapping such as `networks: ...`"))
    if unread:
        raise TopologyError([*unread, *(Diagnostic(*place, "error", message) for place, message in problems)])
    return _joined([*parts, own], problems)


def _joined(parts: Iterable[Document], problems: list[tuple[Place, str]]) -> Document:
    """Return one document of several: their sections are joined, other values replace those of earlier parts."""
    whole = Document({}, problems=problems)
    for part in parts:
        _join(whole, part)
    return whole


def _join(whole: Document, part: Document) -> None:
    moved: dict[Path, Path | None] = {}  # where a path of the part is in the whole; None: nowhere
    replaced: set[Path] = set()
    for key, value in part.data.items():
        there = whole.data.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            for name, its in value.items():
                if name in there and key != "defaults":
                    first = whole.keys[key, name]
                    message = f"`{name}` is already in {first.file}:{first.line}; remove one of the two, or rename it"
                    whole.problems.append((part.keys[key, name], message))
                    moved[key, name] = None
                else:
                    replaced.add((key, name))
                    there[name] = its
        elif isinstance(there, list) and isinstance(value, list) and key in ("allow", "egress"):
            moved |= {(key, index): (key, len(there) + index) for index in range(len(value))}
            there += value
        else:
            replaced.add((key,))
            whole.data[key] = value
    whole.problems.extend(part.problems)
    for places, its_places in ((whole.values, part.values), (whole.keys, part.keys)):
        for path in [path for path in places if path[:1] in replaced or path[:2] in replaced]:
            del places[path]
        for path, place in its_places.items():
            head = moved.get(path[:2], path[:2])
            if head is not None:
                places[(*head, *path[2:])] = place


# One file


_PLAIN = "plain"  # the tag of scalars without quotes and tag; PyYAML's own resolution is that of YAML 1.1
_TAGS: dict[type[yaml.Node], tuple[str, ...]] = {  # those that say nothing
    yaml.ScalarNode: (_PLAIN, "tag:yaml.org,2002:str"),
    yaml.SequenceNode: ("tag:yaml.org,2002:seq",),
    yaml.MappingNode: ("tag:yaml.org,2002:map",),
}


class _Composer:
    """What both of PyYAML's composers do here: keep plain scalars as they are, and stop where nesting has no end.

    They recurse, the one of libyaml in C, where the process would end rather than raise RecursionError.
    """

    yaml_implicit_resolvers: ClassVar = {None: [(_PLAIN, re.compile(""))]}
    depth = 0

    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:  # noqa: ARG002 - PyYAML's signature
        """Enter a node; ``parent`` is the one that holds it."""
        if self.depth > MAX_DEPTH and parent is not None:
            raise yaml.MarkedYAMLError(problem="nested too deep", problem_mark=parent.start_mark)
        self.depth += 1

    def ascend_resolver(self) -> None:
        """Return from a node."""
        self.depth -= 1


class _Loader(_Composer, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The quick one, where PyYAML has it."""


class _PureLoader(_Composer, yaml.SafeLoader):
    """The one whose words for errors we translate."""


def _read_one(text: str, name: str) -> Document:
    try:
        root = _compose(text, _Loader)
    except yaml.YAMLError:
        try:
            root = _compose(text, _PureLoader)
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            place = Place(name, before.count("\n") + 1, len(before) - before.rfind("\n"))
            message = f"character U+{error.character:04X}, which YAML does not allow; remove it"
            raise _error(place, message) from None
        except yaml.MarkedYAMLError as error:
            if foreign := foreign_text(text):
                raise _error(Place(name, 1, 1), foreign) from None
            mark = error.problem_mark or error.context_mark
            if (line := _line_without_colon(text, error)) is not None:
                words = text.splitlines()[line].split()
                right = f"{words[0]}: {' '.join(words[1:])}".rstrip()
                message = f"`{' '.join(words)}` is a key without its `:`; write `{right}`"
                raise _error(Place(name, line + 1, 1), message) from None
            if (line := _line_without_space(text, error)) is not None:
                slip = text.splitlines()[line].strip()
                right = re.sub(r"^(-?) ?([a-z_]+):", r"\1 \2: ", slip).strip()
                message = f"`{slip}` has no space after its `:`; write `{right}`"
                raise _error(Place(name, line + 1, 1), message) from None
            if "quoted scalar" in (error.context or "") and error.context_mark:
                mark = error.context_mark
            raise _error(_place(name, mark) if mark else Place(name, 1, 1), _in_plain_words(error)) from None
    if root is None:
        return Document(None, values={(): Place(name, 1, 1)})
    return _Walk(name).document(root)


def _compose(text: str, loader_type: type[Any]) -> yaml.Node | None:
    node: yaml.Node | None = yaml.compose(text, loader_type)
    return node


def _line_without_colon(text: str, error: yaml.MarkedYAMLError) -> int | None:
    """Return the index of a line that PyYAML joined to the one that it blames, for the want of a `:`."""
    said = f"{error.context}, {error.problem}"
    if error.problem_mark is None or not re.search("mapping values are not allowed|could not find expected ':'", said):
        return None
    lines = text.splitlines()
    above = _above(lines, error.problem_mark.line)
    return above if above is not None and re.fullmatch(r"[a-z_]+([ \t]+[\w./-]+)?[ \t]*", lines[above]) else None


def _line_without_space(text: str, error: yaml.MarkedYAMLError) -> int | None:
    """Return the index of the line before the one that PyYAML blames, if it is a key whose `:` has no space."""
    if error.problem_mark is None:
        return None
    lines = text.splitlines()
    above = _above(lines, error.problem_mark.line)
    return above if above is not None and re.match(r"\s*(- ?)?[a-z_]+:[^\s:/]", lines[above]) else None


def _above(lines: Sequence[str], blamed: int) -> int | None:
    """Return the index of the last line before another that is neither empty nor a comment."""
    return next((index for index in range(blamed - 1, -1, -1) if lines[index].strip()[:1] not in ("", "#")), None)


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


@dataclass(slots=True)
class _Walk:
    """Turns one file's composed nodes into data, writing down every place."""

    name: str
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)
    walked: int = 0
    entered: set[int] = field(default_factory=set)  # nodes around this one, to find one that holds itself

    def document(self, root: yaml.Node) -> Document:
        """Return what is in the node and below it."""
        return Document(self._data(root, ()), self.values, self.keys, self.problems)

    def _data(self, node: yaml.Node, path: Path) -> Any:  # noqa: ANN401 - YAML's data is any
        place = _place(self.name, node.start_mark)
        self.values[path] = place
        self.walked += 1
        if self.walked > MAX_NODES:
            raise _error(place, f"more than {MAX_NODES} values once aliases are followed; write it out")
        if id(node) in self.entered:
            raise _error(place, "an anchor whose value holds an alias of itself; write it out")
        if node.tag not in _TAGS[type(node)]:
            fix = "remove it"
            if node.tag == "!vault":
                fix = 'name a variable of an encrypted file instead, `"{{ NAME }}"`, which `-e @FILE` gives'
            self.problems.append((place, f"a tag, `{node.tag}`; a topology has none: {fix}"))
        if isinstance(node, yaml.ScalarNode):
            text = node.value if path[-1:] == ("description",) else self._visible(node.value, place)
            return _plain_scalar(text) if node.tag == _PLAIN else text
        if len(path) >= MAX_DEPTH:
            raise _error(place, f"nested more than {MAX_DEPTH} deep; a topology never is")
        self.entered.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self._data(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self.entered.discard(id(node))

    def _visible(self, text: str, place: Place) -> str:
        """Return a text without characters that nobody sees, which stand in it by mistake; report these."""
        if text.isprintable():
            return text
        hidden = {one for one in text if not one.isprintable() and one not in "\n\t"}
        if not hidden:
            return text
        shown = "".join(f"[U+{ord(one):04X}]" if one in hidden else one for one in text)
        named = ", ".join(sorted(f"U+{ord(one):04X} ({unicodedata.name(one, 'unnamed').lower()})" for one in hidden))
        self.problems.append((place, f"`{shown}` holds {named}, which is not seen; write it without"))
        return "".join(one for one in text if one not in hidden)

    def _mapping(self, node: yaml.Node, path: Path, known: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return a mapping, without the keys that are ``known`` already."""
        result: dict[str, Any] = {}
        own = {key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and not _is_merge(key)}
        for key, value in node.value:
            place = _place(self.name, key.start_mark)
            if _is_merge(key):
                self._merge(value, path, result, own.union(known))
                continue
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append((place, "a key that is a list or a mapping; keys are names"))
                continue
            name: str = self._visible(key.value, place)
            if name in known:
                continue
            if name in result:
                first = self.keys[(*path, name)]
                message = f"`{name}` is already on line {first.line}; remove one of the two, or rename it"
                self.problems.append((place, message))
                continue
            self.keys[(*path, name)] = place
            result[name] = self._data(value, (*path, name))
        return result

    def _merge(self, node: yaml.Node, path: Path, result: dict[str, Any], own: set[str]) -> None:
        """Add to ``result`` what a merge key (``<<``) names: of one mapping or several, what no earlier one has."""
        for one in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(one, yaml.MappingNode):
                message = "`<<` merges mappings; write `<<: *name` with the anchor (`&name`) of one, or a list of these"
                self.problems.append((_place(self.name, one.start_mark), message))
                continue
            if id(one) in self.entered:
                raise _error(
                    _place(self.name, one.start_mark), "an anchor whose value holds an alias of itself; write it out"
                )
            self.entered.add(id(one))
            try:
                result.update(self._mapping(one, path, frozenset(own | result.keys())))
            finally:
                self.entered.discard(id(one))


def _is_merge(key: yaml.Node) -> bool:
    """Tell whether a key is YAML's merge key; in quotes it is a name like others."""
    return isinstance(key, yaml.ScalarNode) and key.tag == _PLAIN and key.value == "<<"
