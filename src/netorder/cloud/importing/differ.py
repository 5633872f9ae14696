"""What would change if one ordered the written file: its plan beside what the project has, as though that were its own.

The comparison is that of every run: here the project's resources are given the names that the plan has for them. Of
security groups it sees what they let pass at each port, in one form on both sides.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from netorder.cloud.change import marker, server_group_name
from netorder.cloud.compare import compare
from netorder.cloud.existing import Existing
from netorder.cloud.groups import normal_rule
from netorder.cloud.importing.ask import As, interfaces
from netorder.cloud.observe import Observed
from netorder.cloud.resources import keypair
from netorder.plan.model import Rule, SecurityGroup
from netorder.plan.security_groups import SERVICES
from netorder.protocols import WITH_PORTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from netorder.cloud.change import Change
    from netorder.cloud.groups import NormalRule
    from netorder.cloud.importing.ask import Project
    from netorder.cloud.importing.names import Names
    from netorder.plan.model import Host, Plan

__all__ = ["Differences", "differences"]

FREE = frozenset(("egress", ethertype, None, None, None, None, None) for ethertype in ("IPv4", "IPv6"))


class Differences(NamedTuple):
    """The changes that a run would make, but for the key pair, and the problems that would forbid it."""

    changes: tuple[Change, ...]
    problems: tuple[str, ...]


def differences(project: Project, names: Names, plan: Plan) -> Differences:
    """Compare the plan of the written file with what it was written of."""
    own = _Own(project, names, plan)
    observed = own.observed()
    found = compare(
        own.plan,
        observed,
        key=None,
        externals=[one for one in project.networks if one.is_router_external],
        host_keys=False,
        existing=own.existing,
    )
    return Differences(tuple(one for one in found.changes if one.kind != keypair.KIND), found.problems)


class _Own:
    """What of a project is in the plan, by the plan's names."""

    def __init__(self, project: Project, names: Names, plan: Plan) -> None:
        self.project = project
        self.plan = plan
        self.ids = {name: id_ for id_, name in names.called.items()}
        self.names = names
        self.interfaces = interfaces(project)
        self.existing = Existing(groups={name: self._group_id(name) for name, _ in plan.group_places})
        self.mark = marker(plan.topology)
        there = {self.ids[network.name]: network.existing for network in plan.networks}
        hosts = {self.ids[host.name] for host in plan.hosts}
        self.near = [  # whom a group in a rule stands for, as far as the file has networks or hosts for them
            port for port in project.ports if (on := names.on(port)) in there and (port.device_id in hosts or there[on])
        ]

        self.in_groups = {  # the project's groups that hosts of the file have
            id_ for port in project.ports if port.device_id in hosts for id_ in port.security_group_ids or ()
        } & {str(one.id) for one in project.groups}

    def _group_id(self, name: str) -> str:
        return next((str(one.id) for one in self.project.groups if one.name == name), name)

    def observed(self) -> Observed:
        networks, subnets = self._networks()
        routers, ports = self._routers()
        groups, of_hosts = self._ports()
        port_ids = {one.id for one in of_hosts}
        servers: list[Any] = [
            As(self._server(host), name=host.cloud_name, status="ACTIVE", task_state=None) for host in self.plan.hosts
        ]
        members = {one.id for one in servers}
        server_groups: list[Any] = [
            As(
                one,
                name=server_group_name(self.plan.topology, f"{self.plan.topology}-{self.names.called[one.id]}"),
                member_ids=[id_ for id_ in one.member_ids or () if id_ in members],
            )
            for one in self.project.server_groups
            if one.id in self.names.called
        ]
        floating = [one for one in self.project.floating_ips if one.port_id in port_ids]
        addresses: list[Any] = [As(one, description=self.mark) for one in floating]
        return Observed(
            tuple(networks),
            tuple(subnets),
            tuple(routers),
            (*ports, *of_hosts),
            tuple(groups),
            tuple(addresses),
            tuple(servers),
            tuple(server_groups),
        )

    def _networks(self) -> tuple[list[Any], list[Any]]:
        found: list[Any] = []
        subnets: list[Any] = []
        for network in self.plan.networks:
            one = self.names.networks[self.ids[network.name]]
            id_ = self.names.parents.get(one.id, one.id)
            mine = {str(its.cidr): its for its in self.project.subnets if its.network_id == id_}
            if network.existing:
                self.existing.networks[network.name] = id_
                self.existing.subnets |= {its.cloud_name: mine[its.cidr].id for its in network.subnets}
            else:
                found += [] if network.subnet_of else [As(one, name=network.cloud_name)]
                # a prefix of the file's may be one that was drawn: its own has been left out
                subnets += [As(mine[its.cidr], name=its.cloud_name) for its in network.subnets if its.cidr in mine]
        return found, subnets

    def _routers(self) -> tuple[list[Any], list[Any]]:
        found: list[Any] = []
        ports: list[Any] = []
        for router in self.plan.routers:
            one = self.names.routers[self.ids[router.name]]
            if router.existing:
                self.existing.routers[router.name] = one.id
            else:
                found.append(As(one, name=router.cloud_name))
            for interface in router.interfaces:
                on = [its for its in self.interfaces.get(one.id, ()) if self._is_on(its, interface.network)]
                on.sort(key=lambda port: not any(":" not in fixed["ip_address"] for fixed in port.fixed_ips or ()))
                called = (interface.port_name, f"{interface.port_name}.ipv6")
                ports += [As(its, name=name) for its, name in zip(on, called, strict=False) if interface.own]
        return found, ports

    def _is_on(self, port: Any, network: str) -> bool:  # noqa: ANN401 - a resource
        return self.names.on(port) == self.ids[network]

    def _server(self, host: Host) -> Any:  # noqa: ANN401 - a resource
        return self.names.servers[self.ids[host.name]]

    def _ports(self) -> tuple[list[Any], list[Any]]:
        """Return a group for all that let the same pass, and the hosts' ports, each with its one."""
        theirs = {one.id for one in self.project.groups}
        found: list[tuple[Host, Any, str]] = []
        for host in self.plan.hosts:
            server = self._server(host)
            for port in host.ports:
                of_server = (one for one in self.project.ports if one.device_id == server.id)
                its = next((one for one in of_server if self._is_on(one, port.network)), None)
                if its is not None:
                    found.append((host, its, port.cloud_name))
        alike: dict[frozenset[NormalRule], list[Host]] = {}
        passing = {one.id: self._passing(host, one) for host, one, _ in found if one.security_group_ids}
        for host, one, _ in found:
            if one.id in passing:
                alike.setdefault(passing[one.id], []).append(host)
        groups: dict[frozenset[NormalRule], _Group] = {}
        for number, (rules, hosts) in enumerate(alike.items()):
            # a host alone needs no rule for itself
            kept = rules if len({host.name for host in hosts}) > 1 else _from_others(hosts[0], rules)
            listed = [_as_listed(rule, f"{number}-{place}") for place, rule in enumerate(_merged(kept))]
            groups[rules] = _Group(f"group-{number}", hosts[0].cloud_name, listed)
        self._share(groups, [(host.name, passing[one.id]) for host, one, _ in found if one.id in passing])
        ports = []
        for _, one, name in found:
            mine = [groups[passing[one.id]].id] if one.id in passing else []
            foreign = [id_ for id_ in one.security_group_ids or () if id_ not in theirs]
            self.existing.groups |= {id_: id_ for id_ in foreign}
            ports.append(As(one, name=name, security_group_ids=[*mine, *foreign]))
        return [*groups.values()], ports

    def _share(
        self, groups: Mapping[frozenset[NormalRule], _Group], passing: Iterable[tuple[str, frozenset[NormalRule]]]
    ) -> None:
        """Let hosts of the plan that let the same pass as in the cloud share a group as there.

        Who shares one may differ without a difference to anybody: by rules for a host itself, or within others.
        """
        ids = self.existing.groups
        wanted = {one.name: _merged(normal_rule(rule, ids) for rule in one.rules) for one in self.plan.security_groups}
        there: dict[str, set[frozenset[NormalRule]]] = {}
        for name, rules in passing:
            there.setdefault(name, set()).add(rules)
        shared: dict[tuple[NormalRule, ...], list[Host]] = {}
        for host in self.plan.hosts:
            if (mine := wanted.get(host.group)) is None:
                continue  # nothing is filtered
            for its in there.get(host.name, ()):
                if _from_others(host, mine) == _from_others(host, _merged(its)):
                    mine = [normal_rule(rule) for rule in groups[its].security_group_rules]
            shared.setdefault(tuple(mine), []).append(host)
        group_of = {host.name: hosts[0].name for hosts in shared.values() for host in hosts}
        made = tuple(SecurityGroup(its[0].name, its[0].cloud_name, (*_rules(rules),)) for rules, its in shared.items())
        hosts = tuple(
            replace(
                host,
                ports=tuple(
                    replace(port, security_groups=(group_of[host.name],)) if port.security_groups else port
                    for port in host.ports
                ),
            )
            for host in self.plan.hosts
        )
        self.plan = replace(self.plan, security_groups=made, hosts=hosts)

    def _passing(self, host: Host, port: Any) -> frozenset[NormalRule]:  # noqa: ANN401 - a resource
        """Return what passes a port, as the plan says it: by prefixes, of the host's IP versions."""
        versions = {f"IPv{ip_address(one).version}" for one in host.addresses}
        groups = [one for one in self.project.groups if one.id in (port.security_group_ids or ())]
        every = {
            rule
            for group in groups
            for listed in group.security_group_rules or ()
            for rule in self._by_prefix(listed)
            if rule[1] in versions or rule[5] in SERVICES
        }
        free = {rule[1] for rule in every if rule in FREE}
        if free == versions:
            every = {rule for rule in every if rule[0] == "ingress"} | FREE
        return frozenset(every)

    def _by_prefix(self, listed: Mapping[str, Any]) -> Iterator[NormalRule]:
        """Yield a rule for each prefix that it stands for."""
        rule = normal_rule(listed)
        if (id_ := listed.get("remote_group_id")) in self.in_groups:
            of = [port for port in self.near if id_ in (port.security_group_ids or ())]
            addresses = {ip_address(fixed["ip_address"]) for port in of for fixed in port.fixed_ips or ()}
            prefixes = [f"{one}/{one.max_prefixlen}" for one in addresses if f"IPv{one.version}" == rule[1]]
        elif id_ := listed.get("remote_address_group_id"):
            prefixes = [*self.project.address_groups.get(str(id_), ())]
        else:
            yield rule
            return
        for prefix in prefixes:
            yield normal_rule(
                {**listed, "remote_group_id": None, "remote_address_group_id": None} | {"remote_ip_prefix": prefix}
            )


class _Group(NamedTuple):
    """A security group as the comparison sees one."""

    id: str
    name: str
    security_group_rules: list[dict[str, Any]]
    created_at: str = ""


def _as_listed(rule: NormalRule, id_: str) -> dict[str, Any]:
    ports = ("port_range_min", "port_range_max")
    keys = ("direction", "ethertype", "protocol", *ports, "remote_ip_prefix", "remote_group_id")
    return {"id": id_, **dict(zip(keys, rule, strict=True))}


def _from_others(host: Host, rules: Iterable[NormalRule]) -> frozenset[NormalRule]:
    """Return the rules without those for a host itself."""
    own = {f"{one}/{ip_address(one).max_prefixlen}" for one in host.addresses}
    return frozenset(rule for rule in rules if rule[5] not in own)


def _rules(rules: Iterable[NormalRule]) -> Iterator[Rule]:
    for rule in rules:
        yield Rule(*rule)


def _merged(rules: Iterable[NormalRule]) -> list[NormalRule]:
    """Return the rules without what others hold too: of each remote side all, or ranges of ports that are apart."""
    kept: dict[tuple[str, str, tuple[str | None, str | None]], set[NormalRule]] = {}
    for rule in rules:
        kept.setdefault((rule[0], rule[1], rule[5:]), set()).add(rule)
    found: list[NormalRule] = []
    for (direction, ethertype, remote), mine in kept.items():
        everything: NormalRule = (direction, ethertype, None, None, None, *remote)
        if everything in mine:
            found.append(everything)
            continue
        for protocol in {rule[2] for rule in mine}:
            its = {rule for rule in mine if rule[2] == protocol}
            whole: NormalRule = (direction, ethertype, protocol, None, None, *remote)
            if whole in its:
                its = {whole}
            elif protocol in WITH_PORTS:
                its = {(direction, ethertype, protocol, low, high, *remote) for low, high in _ranges(its)}
            found += its
    return sorted(found, key=str)


def _ranges(rules: Iterable[NormalRule]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for low, high in sorted(cast("tuple[int, int]", rule[3:5]) for rule in rules):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found
