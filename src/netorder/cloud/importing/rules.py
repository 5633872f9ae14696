"""Rules of security groups as entries of ``allow`` and ``egress``: for whole groups, by names where there are any."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, NamedTuple

from netorder.cloud.groups import NormalRule, normal_rule, rule_text
from netorder.ip import ANYWHERE, Prefix
from netorder.plan.security_groups import SERVICES
from netorder.protocols import ANYTHING, ICMP_TYPES, WITH_PORTS, on_wire, parse, word_of
from netorder.routing.graph import components
from netorder.text import few
from netorder.topology import LAST_PORT

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from netorder.cloud.importing.ask import Project

__all__ = ["Member", "RuleMaker", "Rules"]

Opening = tuple[str, int, int]  # a word of netorder.protocols, and ports: 0 where there are none
DHCP = {("udp", 67), ("udp", 547)}


class InGroup(NamedTuple):
    """An end of a rule: the members of a security group that is not one of the file's hosts'."""

    name: str


End = str | InGroup


@dataclass(frozen=True, slots=True)
class Member:
    """A host as rules see it: ``groups`` are the ids of its security groups; unfiltered ones have none."""

    name: str
    networks: tuple[str, ...]
    addresses: tuple[str, ...]
    groups: frozenset[str]
    filtered: bool = True
    virtual: tuple[str, ...] = ()

    def prefixes(self, versions: Container[int]) -> set[Prefix]:
        """Return all that its name stands for in a rule, of some IP versions."""
        its = map(ip_network, (*self.addresses, *self.virtual))
        return {one for one in its if one.version in versions}


@dataclass(slots=True)
class Rules:
    """Entries of ``allow`` and ``egress``, which hosts are in which ``groups`` then, and what cannot be said."""

    allow: list[dict[str, object]] = field(default_factory=list)
    egress: list[dict[str, object]] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)  # by host
    notes: list[str] = field(default_factory=list)


class RuleMaker:
    """Makes the rules; ``networks`` have their prefixes, ``joints`` join them, groups are ``called`` so by id."""

    def __init__(
        self,
        project: Project,
        members: Sequence[Member],
        networks: Mapping[str, Iterable[str]],
        joints: Iterable[Iterable[str]],
        called: Mapping[str, str],
    ) -> None:
        self.project = project
        self.members = members
        self.by_name = {one.name: one for one in members}
        self.networks = {name: frozenset(map(ip_network, its)) for name, its in networks.items()}
        self.parts = components([*self.networks], [dict.fromkeys(one) for one in joints])
        self.called = called
        self.groups = {one.id: one for one in project.groups}
        self.in_group: dict[str, list[str]] = {}
        for one in members:
            for group in one.groups if one.filtered else ():
                self.in_group.setdefault(group, []).append(one.name)
        self.rules = Rules()

    def made(self) -> Rules:
        """Return the rules."""
        opened: dict[tuple[str, ...], dict[tuple[End, ...], set[Opening]]] = {}  # by targets and sources
        for id_, group in self.groups.items():
            if id_ in self.in_group:
                for opening, prefixes, remote in self._openings(group):
                    own, others = self._apart(opening, self.in_group[id_], remote, f"{group.name} lets in")
                    for targets, sources in self._ends(id_, prefixes, own, others):
                        opened.setdefault(targets, {}).setdefault(sources, set()).add(opening)
        joined: dict[tuple[tuple[End, ...], frozenset[Opening]], list[str]] = {}
        for targets, by_sources in opened.items():
            for sources, openings in by_sources.items():
                joined.setdefault((sources, frozenset(openings)), []).extend(targets)
        for (sources, same), words in joined.items():
            self._allow(sources, [*dict.fromkeys(words)], same)
        self._limits()
        return self.rules

    def _allow(self, sources: tuple[End, ...], targets: list[str], openings: frozenset[Opening]) -> None:
        if [*sources] == targets:
            if len(targets) == 1 and len(self._named(targets[0])) == 1:
                return  # a host reaches itself anyway
            ends: dict[str, object] = {"within": _one_or_all(targets)}
        else:
            ends = {"from": _one_or_all(sources), "to": _one_or_all(targets)}
        self.rules.allow.append({**ends, **_matches(openings)})

    # What a group lets in

    def _openings(self, group: Any) -> Iterator[tuple[Opening, set[Prefix], set[str]]]:  # noqa: ANN401 - a resource
        """Yield what a group lets in, with the prefixes and the groups that it comes from."""
        found: dict[Opening, tuple[set[Prefix], set[str]]] = {}
        for rule in group.security_group_rules or ():
            if rule["direction"] != "ingress":
                continue
            normal = normal_rule(rule)
            opening = self._opening(normal, f"security group {group.name}")
            if opening is None:
                continue
            prefixes, remote = found.setdefault(opening, (set(), set()))
            if id_ := rule.get("remote_group_id"):
                remote.add(f"{id_} {normal[1]}")
            else:
                prefixes |= self._prefixes(rule, normal)
        for opening, (prefixes, remote) in found.items():
            yield opening, prefixes, remote

    def _prefixes(self, rule: Mapping[str, Any], normal: NormalRule) -> set[Prefix]:
        if id_ := rule.get("remote_address_group_id"):
            return {*map(ip_network, self.project.address_groups.get(str(id_), ()))}
        return {ip_network(normal[5]) if normal[5] else ANYWHERE[normal[1] == "IPv6"]}

    def _opening(self, rule: NormalRule, where: str) -> Opening | None:
        """Return what a rule matches in the language's terms; note why there is no such thing."""
        protocol, low, high = rule[2:5]
        word = word_of(protocol, low, high)
        if protocol in WITH_PORTS:
            return (word, low or 1, high or LAST_PORT)
        if word == ANYTHING or word.startswith("icmp"):
            return (word, 0, 0)
        known, why = parse(word)
        if known is None or low is not None:
            what = why if known is None else f"the language knows ports of {', '.join(WITH_PORTS)} alone"
            self.rules.notes.append(f"{where}: not written: {rule_text(rule)}: {what}")
            return None
        return (known, 0, 0)

    # Who

    def _apart(
        self, opening: Opening, hosts: list[str], remote: set[str], verb: str
    ) -> tuple[set[str], tuple[InGroup, ...]]:
        """Return of the remote groups those that hosts of the file have, and the others.

        A rule of the file about these is of all IP versions that its hosts have.
        """
        needed = {f"IPv{version}" for version in self._versions(hosts) if on_wire(opening[0], version)}
        others: dict[str, set[str]] = {}
        for one in sorted(remote):
            id_, _, ethertype = one.partition(" ")
            if not self._is_own(id_):
                others.setdefault(id_, set()).add(ethertype)
        for id_, its in others.items():
            if (some := needed & its) and some != needed:
                who = f"members of {self._group_word(id_)} by {' and '.join(sorted(some))} alone"
                self.rules.notes.append(f"security group {verb} {who}: not written")
        found = (InGroup(self._group_word(id_)) for id_, its in others.items() if needed <= its)
        return {one for one in remote if self._is_own(one.partition(" ")[0])}, tuple(found)

    def _is_own(self, id_: str) -> bool:
        """Return whether a group is the project's, and hosts of the file have it: those stand for their addresses."""
        return id_ in self.groups and id_ in self.in_group

    def _group_word(self, id_: str) -> str:
        """Return the name of a security group; its id where that is not known, or others are called so."""
        if id_ not in self.groups:
            return id_
        name = str(self.groups[id_].name)
        several = sum(str(one.name) == name for one in self.groups.values()) > 1
        return id_ if several or name in {*self.by_name, *self.networks, *self.called.values()} else name

    def _ends(
        self, group: str, prefixes: set[Prefix], remote: set[str], groups: tuple[InGroup, ...]
    ) -> Iterator[tuple[tuple[str, ...], tuple[End, ...]]]:
        """Yield targets and sources of a rule, as words of the file."""
        targets = self.in_group[group]
        left = {*prefixes}
        words: list[str] = []
        versions = self._versions(targets)
        if all(any(one == two for two in left) for one in ANYWHERE if one.version in versions):
            left.difference_update(ANYWHERE)
            words.append("anywhere")
        addresses = self._addresses(remote)
        left |= {one for these in addresses.values() for one in these}
        literal = self._name(words, addresses, targets, {one for one in left if one.version in versions})
        words += [str(one.network_address) if one.prefixlen == one.max_prefixlen else str(one) for one in literal]
        if words or groups:
            yield (self._word(group, targets),), (*dict.fromkeys(words), *groups)

    def _name(self, words: list[str], remote: Iterable[str], targets: list[str], left: set[Prefix]) -> list[Prefix]:
        """Add words for what is let in, the groups that a rule names first; return the prefixes that have none."""
        covered: set[Prefix] = set()
        for id_ in remote:
            if its := self._covered(names := self.in_group.get(id_, []), targets, left):
                words.append(self._word(id_, names))
                covered |= its
        versions = self._versions(targets)
        for name, all_cidrs in self.networks.items():
            cidrs = {one for one in all_cidrs if one.version in versions}
            if cidrs and cidrs <= left and self._reached([name], targets):
                words.append(name)
                covered |= cidrs
        for id_, names in self.in_group.items():
            if len(names) > 1 and (its := self._covered(names, targets, left - covered)):
                words.append(self._word(id_, names))
                covered |= its
        for member in self.members:
            if its := self._covered([member.name], targets, left - covered):
                words.append(member.name)
                covered |= its
        return sorted(left - covered, key=lambda one: (one.version, int(one.network_address), one.prefixlen))

    def _covered(self, names: list[str], targets: list[str], left: set[Prefix]) -> set[Prefix]:
        """Return the addresses of hosts, none unless all are let in and some path leads to each target."""
        versions = self._versions(targets)
        its = {one for name in names for one in self.by_name[name].prefixes(versions)}
        on = [network for name in names for network in self.by_name[name].networks]
        return its if its <= left and self._reached(on, targets) else set()

    def _versions(self, names: Iterable[str]) -> set[int]:
        return {ip_address(one).version for name in names for one in self.by_name[name].addresses}

    def _addresses(self, remote: set[str]) -> dict[str, set[Prefix]]:
        """Return the addresses that remote groups stand for, each by the IP versions of its rules."""
        found: dict[str, set[Prefix]] = {}
        for one in sorted(remote):
            id_, _, ethertype = one.partition(" ")
            mine = found.setdefault(id_, set())
            for port in self.project.ports:
                if id_ in (port.security_group_ids or ()):
                    mine |= {
                        address
                        for fixed in port.fixed_ips or ()
                        if f"IPv{(address := ip_network(fixed['ip_address'])).version}" == ethertype
                    }
        return found

    def _reached(self, networks: Iterable[str], targets: Iterable[str]) -> bool:
        """Return whether some path joins the networks to each target: a rule that names others is an error."""
        parts = {self.parts.get(one) for one in networks}
        return all(parts & {self.parts.get(one) for one in self.by_name[name].networks} for name in targets)

    def _word(self, group: str, names: list[str]) -> str:
        """Return what names the hosts that have a group: the only one's name, else a group of the file."""
        if len(names) == 1:
            return names[0]
        word = self.called[group]
        for name in names:
            its = self.rules.groups.setdefault(name, [])
            its += [word] if word not in its else []
        return word

    def _named(self, word: str) -> list[str]:
        if word in self.by_name:
            return [word]
        return [name for name, its in self.rules.groups.items() if word in its]

    # What hosts send

    def _limits(self) -> None:
        limited: dict[frozenset[NormalRule], list[str]] = {}
        for member in self.members:
            if not member.filtered:
                continue
            versions = {f"IPv{ip_address(one).version}" for one in member.addresses}
            every = [
                rule
                for id_ in member.groups
                for rule in (self.groups[id_].security_group_rules if id_ in self.groups else ()) or ()
                if rule["direction"] == "egress" and rule["ethertype"] in versions
            ]
            sent = frozenset(normal for rule in every for normal in self._sent(rule))
            free = {rule[1] for rule in sent if rule[2] is None and rule[5] is None and rule[6] is None}
            if free != versions:
                limited.setdefault(frozenset(one for one in sent if not self._is_service(one)), []).append(member.name)
        for sent, names in limited.items():
            self._limit(sent, names)

    def _sent(self, rule: Mapping[str, Any]) -> Iterator[NormalRule]:
        """Yield a rule once for each prefix that it stands for."""
        normal = normal_rule(rule)
        id_ = str(rule.get("remote_group_id"))
        if self._is_own(id_):
            for prefix in self._addresses({f"{id_} {normal[1]}"})[id_]:
                yield (*normal[:5], str(prefix), None)
        elif rule.get("remote_address_group_id"):
            for prefix in self._prefixes(rule, normal):
                yield (*normal[:5], str(prefix), None)
        else:
            yield normal

    def _is_service(self, rule: NormalRule) -> bool:
        """Return whether netorder lets this out by itself: leases and metadata."""
        own = {str(one) for its in self.networks.values() for one in its}
        return rule[5] in SERVICES or (((rule[2] or "", rule[3] or 0) in DHCP) and rule[5] in own)

    def _limit(self, sent: frozenset[NormalRule], names: list[str]) -> None:
        by_prefix: dict[End, set[Opening]] = {}
        to_groups: dict[Opening, set[str]] = {}
        for rule in sent:
            opening = self._opening(rule, few(names))
            if opening and rule[6]:
                to_groups.setdefault(opening, set()).add(f"{rule[6]} {rule[1]}")
            elif opening:
                by_prefix.setdefault(rule[5] or str(ANYWHERE[rule[1] == "IPv6"]), set()).add(opening)
        for opening, remote in to_groups.items():
            for end in self._apart(opening, names, remote, f"of {few(names)} lets out to")[1]:
                by_prefix.setdefault(end, set()).add(opening)
        versions = self._versions(names)
        alone = {one.name: its for one in self.members if len(its := one.prefixes(versions)) == 1}
        whole = {str(prefix): name for name, its in alone.items() for prefix in its}
        joined: dict[frozenset[Opening], list[End]] = {}
        for prefix, openings in sorted(by_prefix.items(), key=str):
            name = whole.get(str(prefix))
            there = name and all(self._reached(self.by_name[one].networks, [name]) for one in names)
            joined.setdefault(frozenset(openings), []).append(name if name and there else prefix)
        for same, to in joined.items():
            self.rules.egress.append({"from": _one_or_all(names), "to": _one_or_all(to), **_matches(same)})
        if not joined:
            self.rules.egress.append({"from": _one_or_all(names), "all": False})


def _one_or_all(words: Iterable[End]) -> object:
    written = [{"security_group": one.name} if isinstance(one, InGroup) else one for one in words]
    return written[0] if len(written) == 1 else written


def _matches(openings: Iterable[Opening]) -> dict[str, object]:
    """Return the keys of a rule that let these in, none of them twice."""
    words = {word for word, _, _ in openings}
    if ANYTHING in words:
        return {"all": True}
    found: dict[str, object] = {}
    for protocol in WITH_PORTS:
        ranges = sorted((first, last) for word, first, last in openings if word == protocol)
        if ranges:
            found[protocol] = _one_or_all_ports(_merged(ranges))
    for key in ("icmp", "icmpv6"):
        if key in words:
            found[key] = True
        elif kinds := sorted(word.removeprefix(f"{key} ") for word in words if word.startswith(f"{key} ")):
            found[key] = [kind if kind in ICMP_TYPES or "/" in kind else int(kind) for kind in kinds]
    others = sorted(word for word in words if word not in WITH_PORTS and not word.startswith("icmp"))
    if others:
        found["protocol"] = [int(word) if word.isdecimal() else word for word in others]
    return found


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in ranges:
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _one_or_all_ports(ranges: list[tuple[int, int]]) -> object:
    ports: list[int | str] = [first if first == last else f"{first}-{last}" for first, last in ranges]
    return ports[0] if len(ports) == 1 else ports
