"""The topology file: read, checked, and every address settled.

``load`` reports all that is wrong at once, each at its place in the file. What it returns is complete: planning from it
cannot fail.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from netorder.errors import Diagnostic, TopologyError
from netorder.language import yaml_source as source
from netorder.language.document import Reader
from netorder.language.resolve import Checker
from netorder.language.rules import Allow
from netorder.language.validate import check, derive, entries
from netorder.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Topology", "TopologyError", "load", "parse"]


def load(path: str | Path) -> Topology:
    """Read the topology file at ``path``.

    Raises TopologyError, with every error found, when it cannot be used.
    """
    return _check(str(path), lambda: source.read_file(str(path)))


def parse(text: str, path: str = "<text>") -> Topology:
    """Do for ``text`` what ``load`` does for a file; ``path`` is what diagnostics call it."""
    return _check(path, lambda: source.read(text, path))


def _check(path: str, read: Callable[[], source.Document]) -> Topology:
    try:
        document = read()
    except source.SourceError as error:
        raise TopologyError([Diagnostic(*error.place, "error", str(error))]) from None
    reader = Reader(path, document)
    checker = Checker(reader)
    rules = Allow(reader, checker).rules
    reader.raise_if_failed()
    hosts = checker.host_specs()
    own = [layout.cidr for layout in checker.addressing.layouts.values()]
    topology = derive(
        Topology(
            name=str(reader.text("topology")),
            external_network=reader.text("external_network"),
            networks=checker.network_specs(),
            routers=checker.router_specs(),
            hosts=hosts,
            rules=rules,
            entries=entries(hosts, rules, own),
        ),
        reader,
    )
    check(topology, reader)
    reader.raise_if_failed()
    return dataclasses.replace(topology, warnings=tuple(sorted(set(reader.diagnostics))))
