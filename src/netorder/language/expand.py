"""What stands for many, written out: ``repeat``, and ``count`` of networks and routers.

Nothing after this stage knows of them. Each copy keeps the places of what it was made from, and its name follows from
the item's alone, so that items that come and go move no other. A counted host stays one entry, of several names; only
``count: 0`` is taken out here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from netorder.language.document import Reader
from netorder.language.yaml_source import Document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.language.yaml_source import Path

__all__ = ["expand"]

SECTIONS = ("networks", "routers", "hosts")
MOST = 5000  # copies of all: more than any project's quota, and a slip of the pen stops here
Words = dict[str, tuple[str, ...]]  # what a name of the file stands for


def expand(reader: Reader) -> Reader:
    """Return a reader of the document with all copies in it; the same one where nothing is to be copied."""
    if not _needed(reader):
        return reader
    return _Expansion(reader).run()


def _needed(reader: Reader) -> bool:
    if "repeat" in reader.mapping():
        return True
    counted = (
        ("count" in reader.mapping(section, name)) for section in SECTIONS[:2] for name in reader.mapping(section)
    )
    return any(counted) or any(reader.get("hosts", name, "count") == 0 for name in reader.mapping("hosts"))


@dataclass(frozen=True, slots=True)
class _Expansion:
    """The document as it grows: ``data``, ``values`` and ``keys`` as in Document, by the new paths.

    ``all_of`` is what names stand for outside of the template that declares them.
    """

    reader: Reader
    data: dict[str, Any] = field(default_factory=dict)
    values: dict[Path, Any] = field(default_factory=dict)
    keys: dict[Path, Any] = field(default_factory=dict)
    refused: set[Path] = field(default_factory=set)
    copies: dict[Path, str] = field(default_factory=dict)
    all_of: Words = field(default_factory=dict)

    def run(self) -> Reader:
        """Write all out."""
        blocks: list[tuple[Path, tuple[str, ...]]] = [((), ("",)), *self._templates()]
        self._learn_names(blocks)
        for key, value in self.reader.mapping().items():
            if key == "repeat":
                continue
            empty = isinstance(value, dict) and key in SECTIONS
            if empty or key == "allow":
                self._places((key,), (key,))
                self.data[key] = {} if empty else [] if isinstance(value, list) else value
            else:
                self.data[key] = self._copy((key,), (key,), value, {})
        self.values[()] = self.reader.document.values[()]
        for block, items in blocks:
            for item in items:
                self._block(block, item)
        document = Document(self.data, self.values, self.keys)
        return Reader(document, frozenset(self.refused), self.reader.diagnostics, self.copies)

    def _templates(self) -> Iterator[tuple[Path, tuple[str, ...]]]:
        """Yield the path and the items of each template."""
        total = 0
        for name in self.reader.mapping("repeat"):
            path = ("repeat", name)
            over = (*path, "for_each")
            items = self.reader.get(*over)
            found: dict[str, None] = {}
            if isinstance(items, int) and not isinstance(items, bool):
                found = dict.fromkeys(str(number) for number in range(1, items + 1))
            for place, item in self.reader.items(*over) if isinstance(items, list) else ():
                if not isinstance(item, str):
                    continue  # the schema refuses it
                if item in found:
                    self.reader.error(place, f"`{item}` is in `for_each` of `{name}` twice; remove one")
                found[item] = None
            entries = sum(len(self.reader.mapping(*path, section)) for section in SECTIONS)
            total += len(found) * entries
            if total > MOST:
                self.reader.error(over, f"`repeat` makes more than {MOST} networks, routers and hosts; repeat less")
                found = {}
            yield path, tuple(found)

    def _learn_names(self, blocks: list[tuple[Path, tuple[str, ...]]]) -> None:
        """Fill ``all_of``; report names that are declared inside and outside, or in two templates."""
        groups: dict[str, bool] = {}
        seen: dict[str, Path] = {}
        for block, items in blocks:
            for section in SECTIONS:
                for name in self.reader.mapping(*block, section):
                    path = (*block, section, name)
                    if block and name in seen:
                        first = self.reader.document.keys[seen[name]]
                        message = f"`{name}` is already on line {first.line}; one name, one thing: rename one"
                        self.reader.error(path, message, of_key=True)
                    seen.setdefault(name, path)
                    made = [f"{name}-{item}" for item in items] if block else [name]
                    made = [one for base in made for one in self._counted(path, section, base)]
                    if made != [name]:
                        self.all_of[name] = tuple(made)
                    for _, group in self.reader.items(*path, "groups"):
                        if isinstance(group, str):
                            groups[group] = groups.get(group, False) or bool(made)
        # a group that only has hosts which are not there is nobody, rather than unknown
        self.all_of.update({group: () for group, filled in groups.items() if not filled})

    def _counted(self, path: Path, section: str, name: str) -> list[str]:
        """Return the names of the entries that the one at ``path``, as ``name``, becomes."""
        count = self.reader.get(*path, "count")
        if not isinstance(count, int) or isinstance(count, bool) or (section == "hosts" and count):
            return [name]
        return [f"{name}-{number}" for number in range(1, count + 1)]

    def _block(self, block: Path, item: str) -> None:
        """Write out the document's own sections, or those of a template for one item."""
        words = dict(self.all_of)
        for section in SECTIONS if item else ():
            for name in self.reader.mapping(*block, section):
                path = (*block, section, name)
                words[name] = tuple(self._counted(path, section, f"{name}-{item}"))
                count = self.reader.get(*path, "count")
                if section == "hosts" and isinstance(count, int):
                    words |= {f"{name}-{one}": (f"{name}-{item}-{one}",) for one in range(1, count + 1)}
        for section in SECTIONS:
            for name, value in self.reader.mapping(*block, section).items():
                path = (*block, section, name)
                whole = f"{name}-{item}" if item else name
                for made in self._counted(path, section, whole):
                    self._entry(path, section, made, value, words, item if made == whole else made[len(name) + 1 :])
        rules = self.reader.get(*block, "allow")
        for index in range(len(rules) if isinstance(rules, list) else 0):
            into = self.data.setdefault("allow", [])
            source, target = (*block, "allow", index), ("allow", len(into))
            rule = rules[index]
            if item:
                self.copies[target] = item
            ends = [self._named(rule.get(end), words) for end in ("from", "to")] if isinstance(rule, dict) else []
            if any(end == [] for end in ends):
                continue  # between hosts that are none
            into.append(self._copy(source, target, rule, words))

    def _entry(self, path: Path, section: str, made: str, value: object, words: Words, item: str) -> None:  # noqa: PLR0917
        target = (section, made)
        into = self.data.setdefault(section, {})
        if not isinstance(into, dict):
            return
        if made in into:
            first = self.keys[target]
            message = f"{section[:-1]} `{made}` comes from here and from line {first.line}; rename one"
            self.reader.error(path, message, of_key=True)
            return
        if item:
            self.copies[target] = item
            if section == "networks" and isinstance(value, dict) and "cidr" in value:
                message = f"networks alike cannot all have the prefix of `{path[-1]}`; remove it, and give a `pool`"
                if self.reader.get(*path, "cidr") is not None:
                    self.reader.error((*path, "cidr"), message)
                self.refused.add((*target, "cidr"))
        into[made] = self._copy(path, target, value, words)
        if section != "hosts" and isinstance(into[made], dict):
            into[made].pop("count", None)

    def _named(self, value: object, words: Words) -> list[str] | None:
        """Return all that the names in ``value`` stand for; None where it holds none."""
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not listed:
            return None
        return [one for word in listed for one in (words.get(word, (word,)) if isinstance(word, str) else ("",))]

    def _places(self, source: Path, target: Path) -> None:
        for ours, theirs in ((self.values, self.reader.document.values), (self.keys, self.reader.document.keys)):
            if source in theirs:
                ours[target] = theirs[source]
        if source in self.reader.refused_paths:
            self.refused.add(target)

    def _copy(self, source: Path, target: Path, value: Any, words: Words) -> Any:  # noqa: ANN401 - the document's data
        """Return a copy of the ``value`` at ``source`` for ``target``, its references replaced, with its places."""
        self._places(source, target)
        refers = _refers(target)
        if isinstance(value, dict):
            made: dict[str, Any] = {}
            for key, its in value.items():
                for word in words.get(key, (key,)) if refers else (key,):
                    made[word] = self._copy((*source, key), (*target, word), its, words)
            return made
        if isinstance(value, list):
            items: list[Any] = []
            for index, its in enumerate(value):
                for word in words.get(its, (its,)) if refers and isinstance(its, str) else (its,):
                    items.append(self._copy((*source, index), (*target, len(items)), word, {}))
            return items
        if refers and isinstance(value, str) and value in words:
            return self._reference(source, target, value, words[value])
        return value

    def _reference(self, source: Path, target: Path, word: str, made: tuple[str, ...]) -> Any:  # noqa: ANN401
        if len(made) == 1:
            return made[0]
        if target[0] == "allow":
            place = self.values[target]
            self.values.update({(*target, index): place for index in range(len(made))})
            return list(made)
        if target not in self.refused:
            user = f"host `{target[1]}`"
            message = f"{user}: `{word}` stands for {len(made)} networks; name one of them, such as `{word}-1`"
            if not made:
                message = f"{user}: there is no network `{word}`, since it is repeated 0 times; name another"
            elif made[0] != f"{word}-1":
                message = f"{user}: `{word}` stands for {len(made)} networks; name one of them, such as `{made[0]}`"
            self.reader.error(source, message)
            self.refused.add(target)
        return word


def _refers(path: Path) -> bool:
    """Tell whether the value at ``path`` is a name or holds names, of networks or of the ends of a rule."""
    match path:
        case ("hosts" | "routers", _, "networks" | "network") | ("allow", _, "from" | "to"):
            return True
        case _:
            return False
