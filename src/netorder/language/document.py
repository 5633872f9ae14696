"""The document as the stages read it: what the schema refused reads as absent, so one mistake gives one error."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from netorder.errors import Diagnostic, TopologyError
from netorder.ip import overlap
from netorder.language import schema
from netorder.language.expand import expand
from netorder.text import is_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from netorder.ip import Address, Prefix
    from netorder.language.yaml_source import Document, Path, Place

    _Found = tuple[Diagnostic, Path, "str | None"]

__all__ = ["Reader", "read_shaped"]

_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291


def read_shaped(document: Document) -> Reader:
    """Return a reader of what is shaped as the schema says, with diagnostics for the rest."""
    expanded = expand(document)
    refused = frozenset(expanded.refused)
    violations = [one for one in schema.violations(document.data) if one.path not in refused]
    if violations and isinstance(document.data, dict):  # jsonschema has no order
        sections = [(section, its) for section, its in document.data.items() if isinstance(its, dict)]
        order: dict[Path, int] = {(section, name): index for section, its in sections for index, name in enumerate(its)}
        violations.sort(key=lambda one: order.get(one.path[:2], -1))
    for one in expanded.absent:
        _remove(document.data, one)
    refused = refused.union(one.path for one in violations)
    reader = Reader(document, refused, expanded.labels, expanded.draws, expanded.turns, expanded.several)
    reader.findings.extend((Diagnostic(*place, "error", message), (), None) for place, message in document.problems)
    for finding in expanded.findings:
        reader.error(finding.path, finding.message, of_key=finding.of_key, severity=finding.severity)
    for violation in violations:
        reader.error(violation.path, violation.message, of_key=violation.of_key)
    return reader


def _remove(data: Any, path: Path) -> None:  # noqa: ANN401 - the document's data is any
    """Remove an entry; a rule leaves a hole, so that those after it keep their numbers."""
    section, name = path
    if isinstance(data[section], dict):
        data[section].pop(name, None)
    else:
        data[section][name] = None


_VARYING = re.compile(r"`[^`]*`|\S*[0-9]\S*")  # what differs in messages about things that are alike


def _merged(findings: Iterable[_Found]) -> Iterator[Diagnostic]:
    """Yield the diagnostics: those about many that come from one place in the file, of which each says the same, once.

    So a mistake in what is written once, by `for_each`, a count or an anchor, is one error.
    """
    alike: dict[tuple[object, ...], dict[Path, tuple[list[Diagnostic], str | None]]] = {}
    for diagnostic, path, label in findings:
        key = (*dataclasses.astuple(diagnostic)[:4], _VARYING.sub("`", diagnostic.message))
        alike.setdefault(key, {}).setdefault(path, ([], label))[0].append(diagnostic)
    for paths in alike.values():
        these, label = next(iter(paths.values()))
        more = f"{len(paths) - 1} more" if len(paths) > 1 else ""
        about = " and ".join(filter(None, (label, more if label or not more else f"{more} alike")))
        for one in these:
            message = f"{one.message} ({about if label else f'and {about}'})" if about else one.message
            yield dataclasses.replace(one, message=message)


@dataclass(frozen=True, slots=True)
class Reader:
    """Gives values by their path, and collects diagnostics with the place of a path.

    ``refused_paths`` is where the schema refused something. Of what there are many alike, ``labels`` says which one the
    paths below a path are about, ``draws`` and ``turns`` by what name and when an entry draws its addresses, and
    ``several`` holds the names that stand for any number of them. ``findings`` are diagnostics with path and label.
    """

    document: Document
    refused_paths: frozenset[Path]
    labels: Mapping[Path, str]
    draws: Mapping[tuple[str, str], tuple[str, str]]
    turns: Mapping[tuple[str, str], int]
    several: Collection[str]
    findings: list[_Found] = dataclasses.field(default_factory=list)

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """What was reported, once for each cause."""
        return list(_merged(self.findings))

    def label(self, path: Path) -> str | None:
        """Return which of many alike ``path`` is about, if of any."""
        return next((self.labels[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.labels), None)

    def draw_name(self, section: str, entry: str, name: str) -> str:
        """Return what ``name``, of an entry, draws its addresses by."""
        stem, end = self.draws.get((section, entry), (entry, ""))
        return stem + name[len(entry) :] + end

    def by_turn(self, section: str, entries: Iterable[str]) -> dict[int, list[str]]:
        """Return the entries by their turn to draw: 0 for those that are not of many, which come first."""
        found: dict[int, list[str]] = {}
        for entry in entries:
            found.setdefault(self.turns.get((section, entry), 0), []).append(entry)
        return dict(sorted(found.items()))

    def anchor(self, section: str, entry: str, declaration: str) -> str:
        """Return how to make an entry's draw independent of others: ``declaration``, unless it is one of many."""
        if self.label((section, entry)) is None:
            return f"write {declaration}"
        key = {"networks": "a `cidr:`", "routers": "an address in `networks:`"}.get(section, "an `address:`")
        _, end = self.draws.get((section, entry), ("", None))
        if end is None:
            return "give each a number, as in `names: {anna: 1, ben: 2}`"
        return f"write {key} with `$number` in it" if end else f"write {key}, which the others count from"

    def error(self, path: Path, message: str, *, of_key: bool = False, severity: str = "error") -> None:
        """Report ``message`` at the value (or the key) at ``path``, or at the nearest thing around it."""
        there, place = self._nearest(path, of_key=of_key)
        self.findings.append((Diagnostic(*place, severity, message), there, self.label(path)))

    def place(self, path: Path) -> Place:
        """Return the place of the key at ``path``, or of the nearest thing around it."""
        return self._nearest(path, of_key=True)[1]

    def _nearest(self, path: Path, *, of_key: bool) -> tuple[Path, Place]:
        keys, values = self.document.keys, self.document.values
        first, second = (keys, values) if of_key else (values, keys)
        around = (path[:length] for length in range(len(path), -1, -1))
        return next((one, place) for one in around if (place := first.get(one) or second.get(one)))

    def warning(self, path: Path, message: str, *, of_key: bool = False) -> None:
        """Report what works, but probably not as meant."""
        self.error(path, message, of_key=of_key, severity="warning")

    @property
    def failed(self) -> bool:
        """Whether there is any error yet."""
        return any(diagnostic.severity == "error" for diagnostic, _, _ in self.findings)

    def raise_if_failed(self) -> None:
        """Raise TopologyError with all diagnostics if there is any error."""
        if self.failed:
            raise TopologyError(self.diagnostics)

    def refused(self, *pattern: str | int) -> bool:
        """Tell whether the schema refused something at ``pattern`` or in it (``*`` stands for any one part)."""
        return any(
            len(path) >= len(pattern) and all(want in ("*", part) for want, part in zip(pattern, path, strict=False))
            for path in self.refused_paths
        )

    def get(self, *path: str | int) -> Any:  # noqa: ANN401 - the document's data is any
        """Return the value at ``path``; None where there is none, or the schema refused it."""
        value = self.document.data
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        # of a refused list or mapping, the parts that are right still count
        return None if path in self.refused_paths and not isinstance(value, dict | list) else value

    def mapping(self, *path: str | int) -> dict[str, Any]:
        """Return the mapping at ``path``; an empty one where there is none."""
        value = self.get(*path)
        return value if isinstance(value, dict) else {}

    def items(self, *path: str | int) -> Iterator[tuple[Path, Any]]:
        """Yield path and value of each item of the list at ``path``; of the value itself where that is no list."""
        value = self.get(*path)
        if isinstance(value, list):
            yield from (((*path, index), self.get(*path, index)) for index in range(len(value)))
        elif value is not None:
            yield path, value

    def text(self, *path: str | int) -> str | None:
        """Return the text at ``path``."""
        value = self.get(*path)
        return value if isinstance(value, str) else None

    def named(self, *path: str | int) -> str | None:
        """Return the name of something in the cloud at ``path``; an id in the cloud's own spelling."""
        value = self.text(*path)
        return value.lower() if value and is_id(value) else value

    def true(self, *path: str | int) -> bool:
        """Tell whether ``path`` holds ``true``."""
        return self.get(*path) is True

    def addresses(self, *path: str | int) -> Iterator[tuple[Path, Address]]:
        """Yield place and value of the addresses at ``path``, one or a list; report those that are none."""
        for place, text in self.items(*path):
            if isinstance(text, str) and (address := self.address(place, text)) is not None:
                yield place, address

    def prefixes(self, *path: str | int) -> Iterator[tuple[Path, Prefix]]:
        """Yield place and value of the prefixes at ``path``, one or a list; report those that are none."""
        for place, text in self.items(*path):
            if isinstance(text, str) and (prefix := self.prefix(place, text)) is not None:
                yield place, prefix

    def address(self, path: Path, text: str) -> Address | None:
        """Return the address ``text``, which stands at ``path``; report one that is none."""
        if "%" in text:  # a zone (RFC 4007) means something on one machine only
            self.error(path, f"`{text}` names an interface; write the address without `%` and what follows")
            return None
        try:
            address = ip_address(text)
        except ValueError:
            if ":" in text:
                message = "an IPv6 address; it is eight groups of up to four digits 0-9 and a-f, of which `::` stands "
                message += "for those that are zero"
            else:
                message = "an IPv4 address; its four numbers are 0 to 255, without leading zeros"
            self.error(path, f"`{text}` is not {message}")
            return None
        if isinstance(address, IPv6Address) and (mapped := address.ipv4_mapped):
            self.error(path, f"`{text}` is an IPv4 address written as an IPv6 one (RFC 4291); write `{mapped}`")
            return None
        return address

    def prefix(self, path: Path, text: str) -> Prefix | None:
        """Return the prefix ``text``, at ``path``; report one that is none or has bits set beyond its length."""
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            if ":" in text:
                message = "an IPv6 prefix; it is an address such as fd00:0:0:1::, then `/` and 0 to 128"
            else:
                message = "an IPv4 prefix; it is four numbers from 0 to 255, then `/` and 0 to 32"
            self.error(path, f"`{text}` is not {message}")
            return None
        if network.network_address != ip_address(text.partition("/")[0]):
            self.error(path, f"`{text}` is an address inside a prefix; the prefix is `{network}`: write that")
        elif network.prefixlen and overlap(network, _IPV4_MAPPED):
            self.error(path, f"`{text}` holds IPv4 addresses written as IPv6 ones (RFC 4291); write an IPv4 prefix")
            return None
        return network
