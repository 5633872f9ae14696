"""The rules of ``allow``: which source may reach which destination; and whether applications find each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_network
from typing import TYPE_CHECKING

from netorder.ip import ANYWHERE, VERSIONS
from netorder.routing.graph import components
from netorder.text import did_you_mean, few
from netorder.topology import LAST_PORT, SSH, Match, RuleSpec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from netorder.ip import Prefix
    from netorder.language.assign import Addresses
    from netorder.language.document import Reader
    from netorder.language.resolve import HostEntry, Names
    from netorder.language.yaml_source import Path

__all__ = ["read_rules"]


_EVERYBODY = {"all", "any", "anybody", "anyone", "anywhere", "everybody", "everyone", "everything", "ext", "external"}
_EVERYBODY |= {"internet", "outside", "public", "world", "*"}


def read_rules(reader: Reader, names: Names, addresses: Addresses) -> tuple[RuleSpec, ...]:
    """Return the rules of ``allow`` that can be read; report others, and calls that lead to nobody."""
    context = _Context(reader, names, addresses)
    _check_calls(context)
    is_list = isinstance(reader.get("allow"), list)
    rules = reader.items("allow") if is_list else ()
    return tuple(_rule(context, path) for path, rule in rules if isinstance(rule, dict))


@dataclass(frozen=True)
class _Context:
    """What rules are about."""

    reader: Reader
    names: Names
    addresses: Addresses

    @cached_property
    def on(self) -> dict[str, list[str]]:
        """The hosts on each network."""
        found: dict[str, list[str]] = {network: [] for network in self.names.networks}
        for host, entry in self.names.entry_of.items():
            for network in entry.networks:
                found[network].append(host)
        return found

    @cached_property
    def hosts(self) -> dict[str, tuple[str, ...]]:
        """What names hosts: each entry all of its own, each host itself."""
        return {key: entry.names for key, entry in self.names.hosts.items()} | {
            name: (name,) for name in self.names.entry_of
        }

    def members(self, word: str) -> Sequence[str] | None:
        """Return the hosts that ``word`` names: itself, those on it or those in it; None if it names none of these."""
        for known in (self.hosts, self.on, self.names.groups):
            if word in known:
                return known[word]
        return None

    def networks(self, host: str) -> tuple[str, ...]:
        """Return the networks of a host."""
        return tuple(self.names.entry_of[host].networks)

    @cached_property
    def _parts(self) -> list[dict[str, int]]:
        """For each IP version a number for each network: the same where some path joins them."""
        versions = self.addresses.subnets.versions
        return [
            components([name for name in self.names.networks if version in versions(name)], self.names.joints)
            for version in VERSIONS
        ]

    def joined(self, one: str, other: str) -> bool:
        """Tell whether some path joins two networks, in any IP version; also when it cannot be known."""
        versions = self.addresses.subnets.versions
        if self.reader.refused("routers") or not (versions(one) and versions(other)):
            return True
        return any(one in part and other in part and part[one] == part[other] for part in self._parts)


def _rule(context: _Context, path: Path) -> RuleSpec:
    reader = context.reader
    rule = reader.mapping(*path)
    applications = _applications(context, path)
    if not rule.keys() & {"tcp", "udp", "icmp", "application"} and not reader.refused(*path):
        message = "this rule lets nothing in; say what: `tcp: 80`, `udp: 53`, `icmp: true` or `application: true`"
        reader.error(path, message)
    targets: dict[str, None] = {}
    for place, word in reader.items(*path, "to"):
        if isinstance(word, str):
            targets |= dict.fromkeys(_targets(context, place, word))
            if applications != ():
                _check_has_application(context, place, word, applications)
    sources: dict[Prefix, None] = {} if "from" in rule else dict.fromkeys(ANYWHERE)
    for place, word in reader.items(*path, "from"):
        if isinstance(word, str):
            sources |= dict.fromkeys(_sources(context, place, word, tuple(targets)))
    matches = tuple(_matches(reader, path, world=any(one.prefixlen == 0 for one in sources)))
    file, line, _ = reader.document.values[path]
    return RuleSpec(tuple(sources), tuple(targets), matches, applications, f"{file}:{line}")


# Source and destination


def _unknown(context: _Context, place: Path, word: str, *more: str) -> None:
    known = [*context.hosts, *context.on, *context.names.groups, *context.reader.several, *more]
    fix = did_you_mean(word, known) or "; declare it, or name one that is declared"
    if word in context.reader.mapping("routers"):
        fix = "; that is a router, and rules are about hosts: name hosts, or a network"
    elif word.lower() in _EVERYBODY:
        fix = "; write `anywhere`"
        if "anywhere" not in more:
            fix = f"; `{word}` can only be in `from`, egress is not restricted: name the destination hosts"
    context.reader.error(place, f"there is no host, network or group `{word}`{fix}")


def _targets(context: _Context, place: Path, word: str) -> Sequence[str]:
    members = context.members(word)
    if members is None:
        _unknown(context, place, word)
    elif not members:
        context.reader.warning(place, f"`{word}` has no hosts, so this lets nothing in")
    return members or ()


def _applications(context: _Context, path: Path) -> tuple[str, ...] | None:
    """Return the applications that the rule at ``path`` names; None for all."""
    reader, found = context.reader, dict[str, None]()
    if reader.true(*path, "application"):
        return None
    declared = reader.mapping("applications")
    for place, name in reader.items(*path, "application"):
        if not isinstance(name, str):
            continue
        if name not in declared:
            fix = did_you_mean(name, declared) or "; declare it under `applications:`"
            reader.error(place, f"there is no application `{name}`{fix}")
        found[name] = None
    return tuple(found)


def _check_has_application(context: _Context, place: Path, word: str, wanted: tuple[str, ...] | None) -> None:
    """Report what has none of the applications that a rule is about; an application without ports has none to open."""
    reader, members = context.reader, set(context.members(word) or ())
    lacking: list[str] = []
    for key, entry in context.names.hosts.items():
        its = {one.name for one in entry.applications if one.ports}
        unknown = reader.refused("hosts", key, "applications") or reader.refused("applications")
        if members.intersection(entry.names) and not (its if wanted is None else its.intersection(wanted)):
            named = {name for _, one in reader.items("hosts", key, "applications") if (name := _name_of(one))}
            if not unknown and named <= context.names.applications.keys():
                lacking.append(word if word in entry.names else key)
    if lacking:
        listed = few([f"`{name}`" for name in lacking])
        has = "has" if len(lacking) == 1 else "have"
        what = "application with ports" if wanted is None else f"port of {' or '.join(f'`{one}`' for one in wanted)}"
        message = f"{listed} {has} no {what}; add one, or name ports in place of `application`"
        reader.error(place, message)


def _name_of(hosted: object) -> str | None:
    """Return which application an item of a host's ``applications`` is."""
    name = hosted.get("name") if isinstance(hosted, dict) else hosted
    return name if isinstance(name, str) else None


def _sources(context: _Context, place: Path, word: str, targets: tuple[str, ...]) -> Iterator[Prefix]:
    """Yield the prefixes that ``word`` stands for."""
    reader, addresses = context.reader, context.addresses
    members = context.members(word)
    if word == "anywhere":
        yield from ANYWHERE
    elif members is None and re.fullmatch(r"[0-9.]+(/[0-9]+)?|[0-9A-Fa-f]*:[0-9A-Fa-f.:]*(/[0-9]+)?", word):
        cidr = reader.prefix(place, word) if "/" in word else reader.address(place, word)
        if cidr is not None:
            yield ip_network(cidr)
    elif members is None:
        _unknown(context, place, word, "anywhere")
    elif word in context.on:
        _check_joined(context, place, word, {word}, targets)
        yield from addresses.subnets.cidrs(word)
    else:
        networks = {network for name in members for network in context.networks(name)}
        _check_joined(context, place, word, networks, targets)
        for name in members:
            for network in context.networks(name):
                yield from (ip_network(address) for address in addresses.host(name, network))


def _check_joined(
    context: _Context, place: Path, word: str, networks: Collection[str], targets: tuple[str, ...]
) -> None:
    """Report the first target that packets from ``networks`` never reach."""
    checked: set[tuple[str, ...]] = set()
    for target in targets:
        its = context.networks(target)
        if not its or not networks or its in checked:
            continue
        checked.add(its)
        if not any(context.joined(one, other) for one in networks for other in its):
            on = ", ".join(f"`{network}`" for network in its)
            message = f"no router joins `{word}` and `{target}` (on {on}), so this lets nothing in"
            context.reader.error(place, f"{message}; join their networks, or remove it")
            return


# Protocols and ports


def _matches(reader: Reader, path: Path, *, world: bool) -> Iterator[Match]:
    """Yield what the rule at ``path`` matches, for the whole ``world`` or not."""
    for protocol in ("tcp", "udp"):
        for place, match in _ports(reader, protocol, (*path, protocol)):
            if match.tcp(SSH) and world:
                message = f"SSH (tcp {SSH}) is open to the whole world; name the prefix that you come from in `from`"
                reader.warning(place, message)
            yield match
    if reader.true(*path, "icmp"):
        yield Match("icmp")


def _ports(reader: Reader, protocol: str, path: Path) -> Iterator[tuple[Path, Match]]:
    known: list[Match] = []
    for place, entry in reader.items(*path):
        if isinstance(entry, bool) or not isinstance(entry, int | str):
            continue
        first, _, last = str(entry).partition("-")
        match = Match(protocol, int(first), int(last or first))
        if not 1 <= match.first <= match.last <= LAST_PORT:
            message = f"`{entry}` is not a range of ports; write the lower first, both from 1 to {LAST_PORT}"
            reader.error(place, message)
            continue
        other = next((one for one in known if match.first <= one.last and one.first <= match.last), None)
        if other:
            its = str(other.first) if other.first == other.last else f"{other.first}-{other.last}"
            reader.error(place, f"`{entry}` is in `{its}` of the same rule already; remove one")
        known.append(match)
        yield place, match


# Applications


def _check_calls(context: _Context) -> None:
    """Check that each application finds those it calls: on some host, each copy where the caller can come to."""
    reader = context.reader
    running: dict[str, list[HostEntry]] = {}
    for entry in context.names.hosts.values():
        for application in entry.applications:
            running.setdefault(application.name, []).append(entry)
    for key, entry in context.names.hosts.items():
        for application in entry.applications:
            for called in application.calls:
                if called not in running and not reader.refused("hosts", "*", "applications"):
                    message = f"`{application.name}` on `{key}` calls `{called}`, and no host has it; "
                    message += f"give one `applications: [{called}]`"
                    reader.error(("hosts", key, "applications"), message)
                for callee in running.get(called, ()):
                    _check_way(context, key, entry, callee)


def _check_way(context: _Context, key: str, caller: HostEntry, callee: HostEntry) -> None:
    its, others = caller.networks, callee.networks
    if its and others and not any(context.joined(one, other) for one in its for other in others):
        called = f"`{callee.names[0]}`" + (f" and {more} more" if (more := len(callee.names) - 1) else "")
        message = f"`{key}` calls {called}, and no router joins their networks; join them"
        context.reader.error(("hosts", key, "applications"), message)
