"""Many alike: ``count`` of networks and routers, ``count: 0`` and ``for_each``, written out in the document.

Nothing after this knows of them, but for two facts that it leaves behind: which of many a path is about (``labels``,
for errors) and what a name draws its addresses by (``draws``). Each path that is written out has the place of the text
that it comes from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from netorder.errors import Diagnostic, TopologyError
from netorder.language import schema
from netorder.language.yaml_source import MAX_NODES
from netorder.text import count as counted
from netorder.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.language.yaml_source import Document, Path

__all__ = ["Expanded", "Finding", "expand"]

SECTIONS = ("networks", "routers", "hosts")
# Where entries name networks and hosts. What is named there, and stands for several, becomes all of these.
REFERENCES: dict[str, tuple[str, ...]] = {
    "networks": ("subnet_of",),
    "routers": ("networks",),
    "hosts": ("network", "networks"),
    "allow": ("from", "to", "within"),
    "egress": ("from", "to"),
}
RULES = ("allow", "egress")
SINGLE = frozenset({"network", "subnet_of"})  # of these, those that hold one name alone
MOST = 1000  # of one entry or block
_FOREIGN = re.compile(r"\{\{.*?\}\}|%index%|\$\{(?:each|count)\.[a-z]+\}")  # Ansible's, Heat's, Terraform's
_VARIABLE = re.compile(r"\$(?:\$|([a-z_][a-z0-9_]*)|\{([a-z_][a-z0-9_]*)\})?")


class Finding(NamedTuple):
    """Something to report at ``path``: at its key when ``of_key``."""

    path: Path
    message: str
    of_key: bool = False
    severity: str = "error"


@dataclass(slots=True)
class Expanded:
    """The document written out, and what there is to report.

    ``refused`` cannot be read. ``absent`` is what there is none of: its shape is checked, and then it is left out.
    ``labels`` says which of many the paths below a path are about. ``draws`` gives stem and end of the name that an
    entry, by section and name, draws by: ``pc-2-7`` for the host ``pc-7-2``, so that what is alike has neighbouring
    addresses. ``turns`` says which of many it is, from 1: the first ones draw first. ``several`` are the names that
    stand for any number of entries.
    """

    document: Document
    findings: list[Finding] = field(default_factory=list)
    refused: set[Path] = field(default_factory=set)
    absent: list[Path] = field(default_factory=list)
    labels: dict[Path, str] = field(default_factory=dict)
    draws: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    turns: dict[tuple[str, str], int] = field(default_factory=dict)
    several: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Each:
    """One of a block of ``for_each``: ``key`` ends its names, ``names`` are those that the block gives."""

    block: str
    key: str
    turn: int
    number: int | None
    variables: dict[str, Any]
    names: frozenset[str]
    absent: bool = False

    @property
    def label(self) -> str:
        return f"`{self.block}` {self.key}"


class _Given(NamedTuple):
    """An entry as the file has it, at ``source``: by its ``local`` name there, and its full ``name``."""

    section: str
    source: Path
    local: str
    name: str
    each: _Each | None


def expand(document: Document) -> Expanded:
    """Write out what the document says of many alike; it is changed in place."""
    result = Expanded(document)
    if isinstance(document.data, dict):
        _Expansion(result).run()
    return result


def _plain(key: str) -> str:
    return str(int(key)) if key.isdecimal() else key


def _is_count(value: object, least: int = 0) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST


class _Expansion:
    """The work of ``expand`` on one document."""

    def __init__(self, result: Expanded) -> None:
        self.result = result
        self.document = result.document
        self.data: dict[str, Any] = result.document.data
        self.families: dict[str, list[str]] = {}  # what stands for several: all of these
        self.section_of: dict[str, str] = {}  # of the members
        self.counted: set[Path] = set()  # entries of which there are several
        self.entries: list[tuple[Path, _Each | None]] = []
        self.written = 0

    def run(self) -> None:
        blocks = self._blocks()
        for section in SECTIONS:
            self._section(section, blocks)
        for section in RULES:
            self._rules(section, blocks)
        if self.families or blocks:
            for path, each in self.entries:
                self._refer(path, each)
        self.result.several.update(self.families)
        if "for_each" in self.data:
            if isinstance(self.data["for_each"], dict):
                del self.data["for_each"]
            else:
                self.data["for_each"] = {}  # so that what it would have held is not missed

    def _error(self, path: Path, message: str, *, of_key: bool = False) -> None:
        self.result.findings.append(Finding(path, message, of_key))

    # Blocks of `for_each`

    def _blocks(self) -> list[tuple[dict[str, Any], list[_Each]]]:
        """Return the blocks that can be read, and the instances of each: at least one, so that its text is checked."""
        raw = self.data.get("for_each")
        if "for_each" not in self.data:
            return []
        frame = raw
        if isinstance(raw, dict):
            frame = {block: _frame(body) for block, body in raw.items()}
        for violation in schema.violations({"topology": "t", "for_each": frame}):
            self._error(violation.path, violation.message, of_key=violation.of_key)
        found = []
        outside = {name for section in SECTIONS if isinstance(mine := self.data.get(section), dict) for name in mine}
        for block, body in raw.items() if isinstance(raw, dict) else ():
            if not isinstance(body, dict):
                continue
            block_body: dict[str, Any] = {key: body[key] for key in ("count", "names") if key in body}
            block_body["known"] = body.keys() <= {*SECTIONS, *RULES}
            block_body |= {key: rules if isinstance(rules := body.get(key), list) else [] for key in RULES}
            names: set[str] = set()
            for section in SECTIONS:
                entries = body.get(section)
                its = entries if isinstance(entries, dict) else {}
                block_body[section] = dict(self._named(block, section, its, names, outside))
            outside |= names
            for name in names:
                self.families[name] = []
            found.append((block_body, list(self._instances(block, block_body, frozenset(names)))))
        return found

    def _named(
        self, block: str, section: str, entries: dict[str, Any], names: set[str], outside: set[str]
    ) -> Iterator[tuple[str, tuple[str, Any]]]:
        """Yield the entries of a block with the key that each has in the file, by a name that can be one."""
        for key, value in entries.items():
            path: Path = ("for_each", block, section, key)
            name = key
            if "$" in key:
                name = re.sub(r"-?\$\{?\w*\}?-?", "", key) or section[:-1]
                message = f"`{key}`: each gets `-` and its {block} at the end of its name by itself; write `{name}`"
                self._error(path, message, of_key=True)
            elif wrong := schema.wrong_name(key):
                self._error(path, wrong[0], of_key=True)
                name = wrong[1] or ""
            if not name:
                continue
            if name in names or name in outside:
                message = f"{section[:-1]} `{name}`: something else has the same name; one name, one thing: rename one"
                self._error(path, message, of_key=True)
                continue
            names.add(name)
            yield name, (key, value)

    def _instances(self, block: str, body: dict[str, Any], names: frozenset[str]) -> Iterator[_Each]:
        path: Path = ("for_each", block)
        if "count" in body and "names" in body:
            self._error(
                (*path, "names"), f"`{block}` has `count` too; how many there are is said once: remove one", of_key=True
            )
        elif "count" not in body and "names" not in body and body["known"]:
            message = f"`{block}`: for each of what? add `count: 20`, or `names: [anna, ben]`"
            self._error(path, message, of_key=True)
        found: dict[str, tuple[int | None, dict[str, Any]]] = {}
        if "names" in body:
            found = self._by_name((*path, "names"), body["names"])
        elif _is_count(body.get("count")):
            found = {str(number): (number, {}) for number in range(1, body["count"] + 1)}
        absent = not found
        for turn, (key, (number, variables)) in enumerate((found or {"1": (1, {})}).items(), 1):
            its = {block: int(key) if key.isdecimal() else key, **variables}
            its |= {} if number is None else {"number": number}
            yield _Each(block, key, turn, number, its, names, absent)

    def _by_name(self, path: Path, names: object) -> dict[str, tuple[int | None, dict[str, Any]]]:
        """Return number and variables of each of the block's names."""
        found: dict[str, tuple[int | None, dict[str, Any]]] = {}
        numbers: dict[int, str] = {}
        for place, key, value in self._named_values(path, names):
            variables = dict(value) if isinstance(value, dict) else {}
            number = variables.pop("number", value)
            if not (number is None or isinstance(number, dict) or _is_number(number)):
                continue  # the schema's errors say so
            number = number if _is_number(number) else int(key) if key.isdecimal() else None
            if key in found:
                self._error(place, f"`{key}` is there twice; remove one", of_key=True)
            elif number is not None and number in numbers:
                message = f"`{key}` has the number {number}, and so has `{numbers[number]}`; give it another"
                self._error(place, message, of_key=True)
            else:
                found[key] = number, variables
                if number is not None:
                    numbers[number] = key
        return found

    def _named_values(self, path: Path, names: object) -> Iterator[tuple[Path, str, object]]:
        """Yield place, name and value of those that a list or a mapping names; ranges one by one."""
        if isinstance(names, dict):
            yield from (((*path, key), _plain(key), its) for key, its in names.items() if schema.is_suffix(key))
        for index, item in enumerate(names if isinstance(names, list) else ()):
            place = (*path, index)
            span = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", item) if isinstance(item, str) else None
            if span and 0 <= int(span[2]) - int(span[1]) < MOST:
                yield from ((place, str(number), None) for number in range(int(span[1]), int(span[2]) + 1))
            elif span:
                self._error(place, f"`{item}` is not a range of numbers; write the lower first, {MOST} at most")
            elif _is_number(item) or (isinstance(item, str) and schema.is_suffix(item)):
                yield place, _plain(str(item)), None

    # Entries

    def _section(self, section: str, blocks: list[tuple[dict[str, Any], list[_Each]]]) -> None:
        own = self.data.get(section)
        if own is not None and not isinstance(own, dict):
            return
        mine = own or {}
        written: dict[str, Any] = {}
        for name, value in mine.items():
            self._entry(_Given(section, (section, name), name, name, None), value, written)
        for body, instances in blocks:
            for each in instances:
                for name, (key, value) in body[section].items():
                    source: Path = ("for_each", each.block, section, key)
                    full = f"{name}-{each.key}"
                    if full in mine:
                        self._clash(section, source, full)
                        continue
                    copied = self._copy(source, (section, full), value, each)
                    self._place(source[:-1], (section,), keep=True)
                    self._entry(_Given(section, source, name, full, each), copied, written)
        if own is not None or written:
            self.data[section] = written

    def _clash(self, section: str, source: Path, name: str) -> None:
        kind = section[:-1]
        message = f"{kind} `{name}`: a {kind} has the same name; one name, one thing: rename one"
        self._error(source, message, of_key=True)

    def _entry(self, given: _Given, value: Any, written: dict[str, Any]) -> None:  # noqa: ANN401 - any data
        """Write an entry, or those that it stands for; ``value`` stands in its section by its full name."""
        section, name = given.section, given.name
        count = value.get("count") if isinstance(value, dict) else None
        if _is_count(count, 2):
            self.counted |= {(section, name), *((section, f"{name}-{number}") for number in range(1, count + 1))}
        if section == "hosts" or not _is_count(count):
            none = count == 0 and _is_count(count)
            if none:
                self.families[name] = []
            self._write(given, None, value, written, absent=none)
            return
        rest = {key: its for key, its in value.items() if key != "count"}
        self.families[name] = []
        for number in range(1, max(count, 1) + 1):
            full = f"{name}-{number}"
            if full in (self.data.get(section) or {}):
                self._clash(section, given.source, full)
                continue
            its = self._copy((section, name), (section, full), rest, None)
            _shift(section, its, number - 1)
            self._write(given, number, its, written, absent=not count)

    def _write(
        self,
        given: _Given,
        number: int | None,
        value: Any,  # noqa: ANN401 - any data
        written: dict[str, Any],
        *,
        absent: bool,
    ) -> None:
        section, each = given.section, given.each
        end = "" if number is None else f"-{number}"
        name = given.name + end
        path: Path = (section, name)
        if name in written:
            self._clash(section, given.source, name)
            return
        written[name] = value
        self.entries.append((path, each))
        self.section_of[name] = section
        labels = [each.label] if each else []
        labels += [f"`{given.local}` {number}"] if number else []
        if labels:
            self.result.labels[path] = ", ".join(labels)
            self.result.turns[section, name] = each.turn if each else number or 0
        if each and each.number is not None:
            self.result.draws[section, name] = given.local + end, f"-{each.number}"
        elif each is None and number is not None:
            self.result.draws[section, name] = name, ""
        if absent or (each and each.absent):
            self.result.absent.append(path)
            return
        for family in {given.local, given.name} & self.families.keys():
            self.families[family].append(name)

    def _rules(self, section: str, blocks: list[tuple[dict[str, Any], list[_Each]]]) -> None:
        own = self.data.get(section)
        if own is not None and not isinstance(own, list):
            return
        written = list(own or ())
        self.entries += [((section, index), None) for index in range(len(written))]
        for body, instances in blocks:
            for each in instances:
                for index, rule in enumerate(body[section]):
                    source, target = ("for_each", each.block, section, index), (section, len(written))
                    self._place(source[:-1], (section,), keep=True)
                    written.append(self._copy(source, target, rule, each))
                    self.result.labels[target] = each.label
                    self.entries.append((target, each))
                    if each.absent:
                        self.result.absent.append(target)
        if own is not None or written:
            self.data[section] = written

    # Copies

    def _place(self, source: Path, target: Path, *, keep: bool = False) -> None:
        """Give ``target`` the place of ``source``, unless it has one that it shall ``keep``."""
        for places in (self.document.values, self.document.keys):
            if source in places and not (keep and target in places):
                places[target] = places[source]

    def _copy(self, source: Path, target: Path, value: Any, each: _Each | None) -> Any:  # noqa: ANN401 - any data
        """Return a copy of what stands at ``source``, with variables replaced, and give it its places."""
        self.written += 1
        if self.written > MAX_NODES:
            message = f"more than {MAX_NODES} values once all is written out; make it fewer"
            raise TopologyError([Diagnostic(*self.document.values[source], "error", message)])
        self._place(source, target)
        if isinstance(value, dict):
            return {key: self._copy((*source, key), (*target, key), its, each) for key, its in value.items()}
        if isinstance(value, list):
            items = enumerate(value)
            return [self._copy((*source, index), (*target, index), its, each) for index, its in items]
        return self._replaced(target, value, each) if isinstance(value, str) and each else value

    def _replaced(self, path: Path, text: str, each: _Each) -> Any:  # noqa: ANN401 - what a variable holds
        """Return ``text`` with values in place of variables; a number where nothing but digits is left."""
        if foreign := _FOREIGN.search(text):
            message = f"`{foreign[0]}` is another tool's word; the number or name is `${each.block}`"
            self.result.findings.append(Finding(path, f"{message} here, the number alone `$number`"))
            self.result.refused.add(path)
            return text
        if "$" not in text:
            return text
        whole = _VARIABLE.fullmatch(text)
        if whole and (whole[1] or whole[2]) in each.variables:
            return each.variables[whole[1] or whole[2]]
        unknown: list[str] = []

        def replacement(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if found[0] == "$$":
                return "$"
            if name not in each.variables:
                unknown.append(found[0])
            return str(each.variables.get(name, ""))

        result = _VARIABLE.sub(replacement, text)
        if unknown and not (each.absent and unknown != ["$"]):
            known = ", ".join(f"`${name}`" for name in each.variables)
            if unknown[0] in ("$number", "${number}"):
                fix = f"`{each.key}` has no number; give it one: `names: {{{each.key}: 1, ...}}`"
            else:
                near = did_you_mean(unknown[0].strip("${}"), each.variables).replace("`", "`$", 1)
                fix = near.removeprefix("; ") or f"known here: {known}; a `$` itself is written `$$`"
            self.result.findings.append(Finding(path, f"`{unknown[0]}` stands for nothing here; {fix}"))
            self.result.refused.add(path)
        return int(result) if re.fullmatch(r"[0-9]{1,9}", result) else result

    # References

    def _members(self, word: Any, each: _Each | None) -> tuple[list[Any], bool]:  # noqa: ANN401 - any data
        """Return what a word stands for, and whether it is a name of several."""
        if not isinstance(word, str):
            return [word], False
        name = f"{word}-{each.key}" if each and word in each.names else word
        return (self.families[name], True) if name in self.families else ([name], False)

    def _refer(self, path: Path, each: _Each | None) -> None:
        """Put names of what there is in place of those of several, in the entry at ``path``."""
        section = str(path[0])
        entry = self.data[section][path[1]]
        if not isinstance(entry, dict):
            return
        changes: dict[str, Any] = {}
        for key in REFERENCES[section]:
            place: Path = (*path, key)
            value = entry.get(key)
            if key in SINGLE:
                if isinstance(value, str):
                    self._refer_single(entry, place, value, each)
                continue
            words = value if isinstance(value, list) else list(value) if isinstance(value, dict) else [value]
            members = [self._members(word, each) for word in words if word is not None]
            if all(these == [word] for (these, _), word in zip(members, words, strict=False)):
                continue
            if section in RULES and not any(these for these, _ in members):
                self.result.absent.append(path)  # a rule about nobody
                return
            self._warn_of_mesh(place, words, members)
            changes[key] = self._spread(place, value, members)
        entry |= changes
        if section == "hosts":
            self._refer_floating(path, entry.get("floating_ip"), each)
            if isinstance(clone := entry.get("clone"), dict) and isinstance(word := clone.get("of"), str):
                self._refer_single(clone, (*path, "clone", "of"), word, each)

    def _refer_floating(self, path: Path, floating: Any, each: _Each | None) -> None:  # noqa: ANN401 - any data
        """Do the same for the networks that a host's floating addresses lead to."""
        place: Path = (*path, "floating_ip")
        for index, one in enumerate(floating) if isinstance(floating, list) else [(None, floating)]:
            if isinstance(one, dict) and isinstance(word := one.get("network"), str):
                self._refer_single(one, (*place, *([] if index is None else [index]), "network"), word, each)

    def _refer_single(self, entry: dict[str, Any], place: Path, word: str, each: _Each | None) -> None:
        these, several = self._members(word, each)
        if not several:
            entry[str(place[-1])] = these[0]
            return
        message = f"`{word}` is none: there is none of it now (`count: 0`); name another"
        if these:
            kind = self.section_of[these[0]][:-1]
            message = f"`{word}` is {counted(len(these), kind)}; name one, such as `{these[0]}`"
            message += ", or put both into one block of `for_each`, where each has its own"
        self._error(place, message)
        self.result.refused.add(place)

    def _spread(self, place: Path, value: Any, members: list[tuple[list[Any], bool]]) -> Any:  # noqa: ANN401 - any data
        """Return the names at ``place`` written out, with their places."""
        values = self.document.values
        if isinstance(value, dict):
            written: dict[str, Any] = {}
            for (word, its), (these, several) in zip(value.items(), members, strict=True):
                if several and its:
                    message = f"`{word}` is {counted(len(these), 'network')}, which one address cannot be for; write "
                    self._error((*place, word), f"{message}`{{}}`, or name one of them")
                for name in these:
                    self.document.keys[(*place, name)] = self.document.keys[(*place, word)]
                    written[name] = self._copy((*place, word), (*place, name), {} if several else its, None)
            return written
        if not isinstance(value, list):
            these, several = members[0]
            if not several:
                return these[0]
            for index, name in enumerate(these):
                self._item(place, index, name, values[place])
            return list(these)
        places = [values[(*place, index)] for index in range(len(value))]
        listed = [(name, at) for (these, _), at in zip(members, places, strict=True) for name in these]
        for index, (name, at) in enumerate(listed):
            self._item(place, index, name, at)
        return [name for name, _ in listed]

    def _item(self, place: Path, index: int, name: Any, at: Any) -> None:  # noqa: ANN401 - any data
        path = (*place, index)
        self.document.values[path] = at
        label = self.result.labels.get((self.section_of.get(name, ""), name)) if isinstance(name, str) else None
        if label and path[:2] not in self.result.labels:
            self.result.labels[path] = label

    def _warn_of_mesh(self, place: Path, words: list[Any], members: list[tuple[list[Any], bool]]) -> None:
        """Warn where each of several joins each of several, which is seldom what was meant."""
        for word, (these, several) in zip(words, members, strict=True):
            if several and len(these) > 1 and place[:2] in self.counted:
                message = (
                    f"each of these {place[0]} is on all {len(these)} networks of `{word}`; for one each, put both "
                )
                self.result.findings.append(Finding(place, f"{message}into `for_each`", severity="warning"))


def _frame(body: Any) -> Any:  # noqa: ANN401 - any data
    """Return a block of ``for_each`` without what is in its sections, which is checked once it is written out."""
    if not isinstance(body, dict):
        return body
    empty = dict[str, Any]({key: {} for key in SECTIONS}, allow=[], egress=[])
    return {key: empty[key] if isinstance(its, type(empty.get(key, ()))) else its for key, its in body.items()}


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 100_000  # noqa: PLR2004 - five digits


def _shift(section: str, entry: dict[str, Any], index: int) -> None:
    """Move the addresses of the first of several to those of the one after ``index`` others."""
    if section == "networks":
        texts = entry.get("cidr")
        sizes: dict[int, int] = {}
        for text in texts if isinstance(texts, list) else [texts]:
            if isinstance(text, str) and (prefix := _prefix(text)):
                sizes[prefix.version] = prefix.num_addresses
        for key in ("cidr", "gateway"):
            if key in entry:
                entry[key] = _moved(entry[key], sizes, index)
        if isinstance(pool := entry.get("allocation_pool"), str):
            entry["allocation_pool"] = "-".join(_moved(pool.split("-"), sizes, index))
        return
    if isinstance(networks := entry.get("networks"), dict):
        entry["networks"] = {name: _moved(its, {4: 1, 6: 1}, index) for name, its in networks.items()}
    if isinstance(external := entry.get("external"), dict) and "address" in external:
        entry["external"] = {**external, "address": _moved(external["address"], {4: 1, 6: 1}, index)}


def _prefix(text: str) -> Any:  # noqa: ANN401 - a prefix or None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _moved(value: Any, sizes: dict[int, int], index: int) -> Any:  # noqa: ANN401 - any data
    """Return addresses or prefixes ``index`` steps further; what is none stays, and is reported as such."""
    if isinstance(value, list):
        return [_moved(item, sizes, index) for item in value]
    if not isinstance(value, str):
        return value
    text, slash, length = value.partition("/")
    try:
        address = ip_address(text)
        return f"{address + index * sizes.get(address.version, 0)}{slash}{length}"
    except ValueError:
        return value
