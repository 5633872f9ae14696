"""The topology file: read, checked, and every address assigned.

``load`` reports all that is wrong at once, each at its place in the file. What it returns is complete: planning from it
cannot fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.errors import Diagnostic, TopologyError
from netorder.language.assign import assign
from netorder.language.clones import read_clones
from netorder.language.document import read_shaped
from netorder.language.floating import read_floating
from netorder.language.loopbacks import read_loopbacks
from netorder.language.ports import read_ports
from netorder.language.resolve import resolve
from netorder.language.routes import declared_routes, derive
from netorder.language.rules import read_egress, read_rules
from netorder.language.servers import read_servers
from netorder.language.specs import specs
from netorder.language.targets import check_target, read_target
from netorder.language.validate import check
from netorder.language.yaml_source import read, read_file
from netorder.topology import MACHINE, OPENSTACK, Topology, in_region

if TYPE_CHECKING:
    from pathlib import Path

    from netorder.language.document import Reader
    from netorder.language.yaml_source import Document

__all__ = ["Topology", "TopologyError", "load", "parse"]


def load(path: str | Path, target: str | None = None) -> Topology:
    """Read the topology file at ``path``, for a ``target`` of topology.TARGETS in place of the file's own.

    Raises TopologyError, with every error found, when it cannot be used.
    """
    return _topology(read_file(str(path)), target)


def parse(text: str, path: str = "<text>", target: str | None = None) -> Topology:
    """Do for ``text`` what ``load`` does for a file; ``path`` is what diagnostics call it."""
    return _topology(read(text, path), target)


def _cloud(reader: Reader) -> str | None:
    name, region = reader.text("cloud", "name"), reader.text("cloud", "region")
    return in_region(name, region) if name and region else name or reader.text("cloud")


def _topology(document: Document, wanted: str | None) -> Topology:
    if document.foreign:
        raise TopologyError([Diagnostic(*document.values[()], "error", document.foreign)])
    reader = read_shaped(document)
    target = wanted or reader.text("target") or OPENSTACK
    read_target(reader, target)
    names = resolve(reader)
    ports = read_ports(reader, names)
    addresses = assign(reader, names, read_loopbacks(reader, names), ports.macs)
    declared = declared_routes(reader, names, addresses)
    rules = read_rules(reader, names, addresses)
    egress = read_egress(reader, names, addresses)
    servers = read_servers(reader, names, target)
    floating = read_floating(reader, names, addresses, ports.outside)
    clones = read_clones(reader, names)
    reader.raise_if_failed()
    parts = specs(reader, names, addresses, declared, servers, floating, ports, clones)
    routes = derive(reader, parts, rules)
    check(reader, parts, rules, routes, egress, behind_nat=target == MACHINE, on_one_link=target == OPENSTACK)
    check_target(reader, parts, rules, target)
    reader.raise_if_failed()
    return Topology(
        name=str(reader.text("topology")),
        external_network=reader.named("external_network"),
        networks=parts.networks,
        routers=parts.routers,
        hosts=parts.hosts,
        rules=rules,
        egress=egress,
        server_groups=servers.groups,
        ssh_entries=routes.ssh_entries,
        routings=routes.routings,
        tables=routes.tables,
        ssh_paths=routes.ssh_paths,
        key_pair=reader.text("key_pair"),
        cloud=_cloud(reader),
        warnings=tuple(sorted(set(reader.diagnostics))),
        target=target,
    )
