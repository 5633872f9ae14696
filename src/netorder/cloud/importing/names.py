"""What is written: which networks, routers and servers, and what each is called in the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from netorder.cloud.change import marker
from netorder.cloud.importing.ask import As, interfaces
from netorder.cloud.importing.subnets import further
from netorder.language.resolve import LONGEST_NAME, RESERVED
from netorder.text import is_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netorder.cloud.importing.ask import Project

__all__ = ["Names", "choose", "reference"]

_MARK = marker("")
_TAKEN = {*RESERVED, "true", "false", "null"}


@dataclass(slots=True)
class Names:
    """The chosen resources by id, in the order of the file, and their names there.

    ``existing`` are ids of networks and routers that are used and not the topology's. ``mark`` is the topology that
    made all of it, None where somebody else did. What is the topology's own is not called as one of ``outside``.
    Further subnets are among the networks, by their own ids; ``parents`` gives the networks that they are of.
    """

    topology: str
    prefix: str
    mark: str | None
    networks: dict[str, Any] = field(default_factory=dict)
    routers: dict[str, Any] = field(default_factory=dict)
    servers: dict[str, Any] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)
    existing: set[str] = field(default_factory=set)
    parents: dict[str, str] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=lambda: {*_TAKEN})

    def on(self, port: Any) -> str:  # noqa: ANN401 - a resource
        """Return the id of the network that a port is on, or of the further subnet that its IPv4 addresses are of."""
        its = [fixed.get("subnet_id") for fixed in port.fixed_ips or () if ":" not in fixed["ip_address"]]
        return str(its[0] if its and its[0] in self.parents and {*its} == {its[0]} else port.network_id)

    def name(self, kind: str, one: Any, cut: str = "", sep: str = "-") -> str:  # noqa: ANN401 - a resource
        """Return a name of the language for what is called otherwise, which nothing else has."""
        said = re.sub(rf" \({_MARK}.*\)$", "", str(one.name or "")).removeprefix(cut)
        plain = re.sub(r"[^a-z0-9]+", sep, said.lower()).strip(sep)
        if not plain[:1].isalpha():
            plain = f"{kind}{sep}{plain or str(one.id)[:8]}".rstrip(sep)
        plain = plain[: LONGEST_NAME - len(self.topology) - 5].rstrip(sep)
        found, number = plain, 1
        taken = self.taken if one.id in self.existing else self.taken | self.outside
        while found in taken:
            number += 1
            found = f"{plain}{sep}{number}"
        self.taken.add(found)
        return found


def choose(project: Project, topology: str, prefix: str | None = None) -> Names:
    """Return what is written: all of the project, or with a ``prefix`` what is called so, which is cut off.

    Without one, a project that has one topology of netorder's and nothing else gives that topology.
    """
    mark = _mark(project, prefix)
    if mark:
        topology, prefix = mark, f"{mark}-"
    names = Names(topology, prefix or "", mark)
    names.outside |= {str(one.name) for one in project.networks if one.is_router_external}
    own = [one for one in project.networks if one.project_id == project.id and not one.is_router_external]
    ours = names.prefix
    servers = _ordered(one for one in project.servers if str(one.name).startswith(ours))
    routers = _ordered(one for one in project.routers if str(one.name).startswith(ours))
    networks = [one for one in own if str(one.name).startswith(ours)]
    ids = {one.id for one in servers} | {one.id for one in routers}
    used = {port.network_id for port in project.ports if port.device_id in ids}
    used -= {(one.external_gateway_info or {}).get("network_id") for one in routers} - _of(project, servers)
    known = {one.id for one in networks}
    beside = [one for one in project.networks if one.id in used - known]
    known |= used
    for network in [*_ordered(networks), *_ordered(beside)]:
        names.networks[network.id] = network
    names.existing |= {one.id for one in beside}
    joining = interfaces(project)
    for one in _ordered(project.routers):
        joins = {port.network_id for port in joining.get(one.id, ())}
        if one not in routers and joins & known:
            names.existing.add(one.id)
            routers.append(one)
    names.routers = {one.id: one for one in routers}
    names.servers = {one.id: one for one in servers}
    for network in [*names.networks.values()]:
        there = network.id in names.existing
        for one in further(project, network, {*names.servers, *names.routers} if there else None):
            names.networks[one.id] = As(network, id=one.id, name=one.name)
            names.parents[one.id] = network.id
            names.existing |= {one.id} if there else set()
    _call(names)
    return names


def _of(project: Project, servers: Iterable[Any]) -> set[str]:
    ids = {one.id for one in servers}
    return {port.network_id for port in project.ports if port.device_id in ids}


def _mark(project: Project, prefix: str | None) -> str | None:
    """Return the topology whose marker everything carries that has a place for one."""
    own = [one for one in project.networks if one.project_id == project.id and not one.is_router_external]
    marks = {str(one.description or "") for one in (*own, *project.routers)}
    marks |= {next((tag for tag in one.tags or () if tag.startswith(_MARK)), "") for one in project.servers}
    if prefix is not None:
        marks = {one for one in marks if one == marker(prefix.removesuffix("-"))}
    one = next(iter(marks), "") if len(marks) == 1 else ""
    return one.removeprefix(_MARK) if one.startswith(_MARK) else None


def _call(names: Names) -> None:
    """Give names: first to those that keep theirs."""
    kinds = (("network", names.networks), ("router", names.routers), ("host", names.servers))
    every = [(kind, one) for kind, its in kinds for one in its.values()]
    free = {name for _, one in every if _fits(name := str(one.name or "").removeprefix(names.prefix))}
    for keeps in (True, False):
        for kind, one in every:
            said = str(one.name or "").removeprefix(names.prefix)
            if (said in free) is keeps and one.id not in names.called:
                names.called[one.id] = names.name(kind, one, names.prefix)
    for _, its in kinds:
        ordered = sorted(its.values(), key=lambda one: _natural(names.called[one.id]))
        its.clear()
        its.update({one.id: one for one in ordered})


def _fits(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)) and name not in _TAKEN


def _ordered(them: Iterable[Any]) -> list[Any]:
    return sorted(them, key=lambda one: (_natural(str(one.name or "")), str(one.id)))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return what orders web-2 before web-10."""
    parts = re.split(r"([0-9]+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def reference(one: Any, known: Iterable[Any]) -> str:  # noqa: ANN401 - a resource
    """Return what names a resource in the cloud: its name, or its id where the name does not."""
    alike = sum(other.name == one.name for other in known)
    return str(one.name) if one.name and alike == 1 and not is_id(str(one.name)) else str(one.id)
