"""The topology file: read, checked, and every address settled.

``load`` reports all that is wrong at once, each at its place in the file. What it returns is complete: planning from it
cannot fail.
"""

from __future__ import annotations

from pathlib import Path

from netorder import source
from netorder.allow import Allow
from netorder.check import Checker
from netorder.diagnostics import Diagnostic, TopologyError
from netorder.reader import Reader
from netorder.spec import Topology

__all__ = ["Topology", "TopologyError", "load", "parse"]

MAX_BYTES = 4_000_000


def load(path: str | Path) -> Topology:
    """Read the topology file at ``path``.

    Raises TopologyError, with every error found, when it cannot be used.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TopologyError([Diagnostic(name, 0, 0, "error", f"cannot be read: {reason}; check the path")]) from None
    if len(content) > MAX_BYTES:
        message = f"larger than {MAX_BYTES // 1_000_000} MB, which no topology is; check the path"
        raise TopologyError([Diagnostic(name, 0, 0, "error", message)])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise TopologyError([Diagnostic(name, line, column, "error", message)]) from None
    return parse(text, name)


def parse(text: str, path: str = "<text>") -> Topology:
    """Do for ``text`` what ``load`` does for a file; ``path`` is what diagnostics call it."""
    try:
        document = source.read(text)
    except source.SourceError as error:
        raise TopologyError([Diagnostic(path, *error.place, "error", str(error))]) from None
    reader = Reader(path, document)
    checker = Checker(reader)
    allow = Allow(reader, checker)
    allow.check_peers()
    reader.raise_if_failed()
    hosts = checker.hosts()
    allow.check_ways_in(hosts)
    return Topology(
        name=str(reader.text("topology")),
        external_network=reader.text("external_network"),
        networks=checker.networks(),
        routers=checker.routers(),
        hosts=hosts,
        rules=allow.rules,
        entries=allow.entries(hosts),
        warnings=tuple(sorted(set(reader.diagnostics))),
    )
