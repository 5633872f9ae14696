"""The rules of ``allow`` (who may reach whom) and ``egress`` (who sends what alone); whether applications meet."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import TYPE_CHECKING

from netorder.ip import ANYWHERE, VERSIONS
from netorder.language import schema
from netorder.language.group_members import read_members
from netorder.language.prefixes import why_nowhere
from netorder.language.targets import NAT
from netorder.protocols import ANYTHING, WITH_PORTS, icmp_word, on_wire, parse
from netorder.routing.graph import components
from netorder.text import SHOWN, did_you_mean, few
from netorder.topology import LAST_PORT, SSH, EgressSpec, Match, RuleSpec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from netorder.ip import Prefix
    from netorder.language.assign import Addresses
    from netorder.language.document import Reader
    from netorder.language.group_members import Members
    from netorder.language.resolve import HostEntry, Names
    from netorder.language.yaml_source import Path

__all__ = ["read_egress", "read_rules"]


_EVERYBODY = {"all", "any", "anybody", "anyone", "anywhere", "everybody", "everyone", "everything", "ext", "external"}
_WHAT = {"all", "icmp", "icmpv6", "protocol", "application", *WITH_PORTS}  # the keys that let something in
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
    def entries(self) -> dict[str, str]:
        """The key of the entry that each host comes from."""
        return {name: key for key, entry in self.names.hosts.items() for name in entry.names}

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
    if not rule.keys() & _WHAT and not reader.refused(*path):
        message = "this rule lets nothing in; say what: `tcp: 80`, `udp: 53`, `icmp: true`, `application: true`"
        reader.error(path, f"{message}, or `all: true` for everything")
    for key in ("from", "to") if "within" in rule else ():
        if key in rule:
            message = "`within` names both ends of this rule: its members reach each other"
            reader.error((*path, key), f"{message}; remove `{key}`, or `within`", of_key=True)
    targets: dict[str, None] = {}
    for place, word in reader.items(*path, "within" if "within" in rule else "to"):
        if isinstance(word, str):
            targets |= dict.fromkeys(_targets(context, place, word))
            if applications != ():
                _check_has_application(context, place, word, applications)
    sources, members = _from(context, path, tuple(targets))
    if "within" in rule and len(targets) == 1:
        message = f"`{next(iter(targets))}` is alone in `within`, so this lets nothing in"
        reader.warning((*path, "within"), message)
    matches = tuple(_matches(reader, path, tuple(sources), all_known=not members))
    if not members:
        _check_versions(context, path, tuple(sources), tuple(targets), matches)
    groups = tuple(dict.fromkeys(one.group for one in members))
    return RuleSpec(tuple(sources), tuple(targets), matches, applications, _place(reader, path), groups)


def _from(context: _Context, path: Path, targets: tuple[str, ...]) -> tuple[dict[Prefix, None], tuple[Members, ...]]:
    """Return the sources of the rule of ``allow`` at ``path``, and those whom only the cloud knows all of."""
    reader = context.reader
    rule = reader.mapping(*path)
    sources: dict[Prefix, None] = {} if rule.keys() & {"from", "within"} else dict.fromkeys(ANYWHERE)
    for place, word in reader.items(*path, "within" if "within" in rule else "from"):
        if isinstance(word, str) and ("within" not in rule or context.members(word)):  # reported as targets
            sources |= dict.fromkeys(_sources(context, place, word, targets))
    members = () if "within" in rule else tuple(read_members(reader, context.names, *path, "from"))
    for one in members:
        sources |= dict.fromkeys(_addresses(context, one.hosts))
    return sources, members


def _place(reader: Reader, path: Path) -> str:
    file, line, _ = reader.document.values[path]
    return f"{file}:{line}"


def _check_versions(
    context: _Context, path: Path, sources: Collection[Prefix], targets: Collection[str], matches: Collection[Match]
) -> None:
    """Warn where no prefix of the sources is of an IP version that some target has."""
    named = [word for _, word in context.reader.items(*path, "from") if isinstance(word, str)]
    if any(context.members(word) for word in named):
        return  # whether these are joined to the targets is looked at for each
    networks = {network for target in targets for network in context.networks(target)}
    theirs = {version for network in networks for version in context.addresses.subnets.versions(network)}
    versions = {one.version for one in sources}
    if matches and not any(on_wire(match.protocol, version) for match in matches for version in versions):
        return  # reported as such
    if versions and theirs and not versions & theirs:
        have, lack = next(iter(theirs)), next(iter(versions))
        message = f"all sources are IPv{lack}, and the targets have IPv{have} only, so this lets nothing in; name "
        context.reader.warning((*path, "from"), f"{message}sources of IPv{have}, or give the targets IPv{lack}")


def read_egress(reader: Reader, names: Names, addresses: Addresses) -> tuple[EgressSpec, ...]:
    """Return the rules of ``egress`` that can be read; report others."""
    context = _Context(reader, names, addresses)
    rules = reader.items("egress") if isinstance(reader.get("egress"), list) else ()
    return tuple(_egress(context, path) for path, rule in rules if isinstance(rule, dict))


def _egress(context: _Context, path: Path) -> EgressSpec:
    reader = context.reader
    rule = reader.mapping(*path)
    said = rule.keys() & _WHAT
    if not said and not reader.refused(*path):
        message = "this rule lets nothing out; say what: `tcp: 443`, `udp: 53`, `icmp: true`, `all: true`"
        reader.error(path, f"{message}, or `all: false` where nothing is meant")
    if reader.get(*path, "all") is False and len(said) > 1:
        reader.error((*path, "all"), "`all: false` lets nothing out, and the rule says what; remove one of them")
    sources: dict[str, None] = {}
    for place, word in reader.items(*path, "from"):
        if isinstance(word, str):
            sources |= dict.fromkeys(_targets(context, place, word))
            _check_limited(context, place, word)
    prefixes: dict[Prefix, None] = {} if "to" in rule else dict.fromkeys(ANYWHERE)
    applications = _applications(context, path)
    allowed: dict[tuple[Match, Prefix], None] = {}
    for place, word in reader.items(*path, "to"):
        if isinstance(word, str):
            prefixes |= dict.fromkeys(_sources(context, place, word, tuple(sources)))
            if applications != () and "application" in rule:
                allowed |= dict.fromkeys(_application_ports(context, place, word, applications))
    if "application" in rule and "to" not in rule:
        reader.error((*path, "application"), "`application` is of hosts; name them in `to`, or write ports")
    members = _to_members(context, path)
    prefixes |= dict.fromkeys(address for one in members for address in _addresses(context, one.hosts))
    matches = tuple(_matches(reader, path, tuple(prefixes), all_known=not members))
    allowed |= dict.fromkeys((match, prefix) for match in matches for prefix in prefixes)
    to_members = dict.fromkeys((match, one.group) for match in matches for one in members)
    return EgressSpec(tuple(sources), tuple(allowed), tuple(to_members), _place(reader, path))


def _to_members(context: _Context, path: Path) -> tuple[Members, ...]:
    """Return to whose members the rule of ``egress`` at ``path`` lets send; report that it asks what they run."""
    reader = context.reader
    found = tuple(read_members(reader, context.names, *path, "to"))
    for one in found if "application" in reader.mapping(*path) else ():
        message = f"nothing is known of applications that members of `{one.group}` have; write ports"
        reader.error(one.place, message)
    return found


def _check_limited(context: _Context, place: Path, word: str) -> None:
    """Report what cannot be limited: what a host forwards passes its port as what it sends does."""
    members = set(context.members(word) or ())
    for key, entry in context.names.hosts.items():
        name = next((one for one in entry.names if one in members), None)
        if name and entry.forward:
            message = f"host `{name}` forwards, and OpenStack cannot tell what it sends from what passes it"
            context.reader.error(place, f"{message}; limit the hosts behind it, or filter on it")
        elif name and context.reader.get("hosts", key, "port_security") is False:
            message = f"host `{name}` has no port security, so nothing limits it; remove `port_security: false`"
            context.reader.error(place, f"{message}, or leave it out here")


def _application_ports(
    context: _Context, place: Path, word: str, wanted: tuple[str, ...] | None
) -> Iterator[tuple[Match, Prefix]]:
    """Yield the ports of the applications of what ``word`` names, each with an address that has it."""
    members = context.members(word)
    if members is None:
        if re.search(r"[.:/]", word) or word == "anywhere":
            context.reader.error(place, f"`{word}` is no host, so it has no applications; write ports")
        return
    _check_has_application(context, place, word, wanted)
    for name in members:
        entry = context.names.entry_of[name]
        ports = [port for one in entry.applications if wanted is None or one.name in wanted for port in one.ports]
        for network in entry.networks:
            for address in context.addresses.host(name, network):
                yield from ((port, ip_network(address)) for port in ports)


# Source and destination


def _unknown(context: _Context, place: Path, word: str, *more: str) -> None:
    known = [*context.hosts, *context.on, *context.names.groups, *context.reader.several, *more]
    near = did_you_mean(word, known)
    if "anywhere" in more and not near and (message := _foreign_prefix(word)):
        context.reader.error(place, message)
        return
    fix = near or "; declare it, or name one that is declared"
    if word in context.reader.mapping("routers"):
        fix = "; that is a router, and rules are about hosts: name hosts, or a network"
    elif word.lower() in _EVERYBODY:
        fix = "; write `anywhere`"
        if "anywhere" not in more:
            fix = f"; `{word}` can only be in `from`: name the destination hosts (what hosts send, `egress` limits)"
            if place[0] == "egress":
                fix = "; name the hosts that are limited"
    context.reader.error(place, f"there is no host, network or group `{word}`{fix}")


def _foreign_prefix(word: str) -> str | None:
    """Say how to write what other firewalls take in place of a prefix: a range, a netmask, a name of the DNS."""
    if re.fullmatch(r"[0-9.]+/[0-9.]+", word):
        fix = "write that"
        with suppress(ValueError):
            fix = f"write `{ip_network(word, strict=False)}`"
        return f"`{word}` has a netmask, and prefixes have a length; {fix}"
    if re.fullmatch(r"[0-9]+\.[0-9.]+-[0-9.]+|[0-9a-f]*:[0-9a-f:]*-[0-9a-f:]+", word):
        fix = "write those that it consists of"
        with suppress(ValueError, TypeError):
            first, last = map(ip_address, word.split("-"))
            prefixes = [str(one) for one in summarize_address_range(first, last)]
            fix = f"write `[{', '.join(prefixes)}]`" if len(prefixes) <= SHOWN else fix
        return f"`{word}` is a range, and these are written as prefixes; {fix}"
    if re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.[A-Za-z][A-Za-z0-9-]*\.?", word):
        return f"`{word}` is a name of the DNS, and these are not looked up; write its address, or the prefix it is in"
    return None


def _targets(context: _Context, place: Path, word: str) -> Sequence[str]:
    members = context.members(word)
    if members is None:
        _unknown(context, place, word)
    elif not members:
        what = "limits nobody" if place[0] == "egress" else "lets nothing in"
        context.reader.warning(place, f"`{word}` has no hosts, so this {what}")
    return members or ()


def _applications(context: _Context, path: Path) -> tuple[str, ...] | None:
    """Return the applications that the rule at ``path`` names; None for all."""
    reader, found = context.reader, dict[str, None]()
    if reader.true(*path, "application"):
        return None
    declared = reader.mapping("applications")
    word = reader.text(*path, "application")
    if word not in declared and (meant := schema.boolean_word(word)):
        fix = f"write `true`{' without quotes' if word == 'true' else ''}" if meant == "true" else "remove it"
        reader.error((*path, "application"), f"`{word}` is a text, and no application is called so; {fix}")
        return ()
    for place, name in reader.items(*path, "application"):
        if not isinstance(name, str):
            continue
        if name not in declared:
            fix = did_you_mean(name, declared) or "; declare it under `applications:`"
            reader.error(place, f"there is no application `{name}`{fix}")
        found[name] = None
    return tuple(found) if found.keys() <= declared.keys() else ()  # whoever lacks them need not be told so


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
            _check_anybody_there(context, place, word, ip_network(cidr))
            yield ip_network(cidr)
    elif members is None:
        _unknown(context, place, word, "anywhere")
    elif word in context.on:
        _check_joined(context, place, word, {word}, targets)
        yield from addresses.subnets.cidrs(word)
    else:
        networks = {network for name in members for network in context.networks(name)}
        _check_joined(context, place, word, networks, targets)
        yield from _addresses(context, members)


def _addresses(context: _Context, hosts: Sequence[str]) -> Iterator[Prefix]:
    """Yield all addresses that hosts have or may have, each as a prefix."""
    addresses = context.addresses
    for name in hosts:
        for network in context.networks(name):
            yield from (ip_network(address) for address in addresses.host(name, network))
        yield from map(ip_network, addresses.loopbacks.get(name, ()))
    for key in dict.fromkeys(context.entries[name] for name in hosts):
        for network in context.names.hosts[key].networks:
            yield from (ip_network(address) for address in addresses.virtual.get((key, network), ()))


def _check_anybody_there(context: _Context, place: Path, word: str, cidr: Prefix) -> None:
    """Report a prefix that nobody sends from, or that nothing can be sent to.

    Hosts speak to their link and to groups (OSPF, VRRP). Forwarded ports lead to hosts from this machine's loopback.
    """
    to_group = place[0] == "egress" and cidr.is_multicast
    if cidr.is_link_local or to_group or NAT in context.names.routers:
        return
    if reason := why_nowhere(cidr):
        what = "nothing is sent to it" if place[0] == "egress" else "nobody sends from it"
        fix = "name who is meant, or `anywhere`"
        context.reader.error(place, f"`{word}` {reason}, and {what}; {fix}")


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
            what = "lets nothing out" if place[0] == "egress" else "lets nothing in"
            message = f"no router joins `{word}` and `{target}` (on {on}), so this {what}"
            context.reader.error(place, f"{message}; join their networks, or remove it")
            return


# Protocols and ports


def _matches(reader: Reader, path: Path, sources: tuple[Prefix, ...], *, all_known: bool) -> Iterator[Match]:
    """Yield what the rule at ``path`` matches, each once; ``all_known``: nobody else is at its other end."""
    known: dict[Match, str] = {}
    world = path[0] == "allow" and any(one.prefixlen == 0 for one in sources)
    versions = {one.version for one in sources}
    for place, match, text in _named(reader, path):
        if match.tcp(SSH) and world:
            message = f"SSH (tcp {SSH}) is open to the whole world; name the prefix that you come from in `from`"
            reader.warning(place, message)
        if versions and all_known and not any(on_wire(match.protocol, version) for version in versions):
            version = next(iter(versions))
            what, way = ("sources", "in") if path[0] == "allow" else ("destinations", "out")
            message = f"`{text}` is of IPv{10 - version}, and all {what} are IPv{version}, so this lets nothing {way}"
            reader.error(place, f"{message}; remove it, or name {what} of IPv{10 - version}")
        if match in known and match.protocol not in WITH_PORTS:  # ports are looked at where they are read
            reader.error(place, f"`{text}` is in `{known[match]}` of the same rule already; remove one")
            continue
        if Match(ANYTHING) in known:
            reader.error(place, f"`{text}` is in `all: true` of the same rule already; remove one")
        known[match] = text
        yield match


def _named(reader: Reader, path: Path) -> Iterator[tuple[Path, Match, str]]:
    """Yield place, meaning and text of all that a rule lets in, `all` first."""
    if reader.true(*path, "all"):
        yield (*path, "all"), Match(ANYTHING), "all: true"
    for protocol in WITH_PORTS:
        yield from ((place, one, f"{protocol}: {text}") for place, one, text in _ports(reader, protocol, path))
    yield from _messages(reader, path)
    for place, entry in reader.items(*path, "protocol"):
        word, message = parse(str(entry)) if isinstance(entry, int | str) else ("", "")
        if word is None:
            reader.error(place, message)
        elif word:
            ports = (1, LAST_PORT) if word in WITH_PORTS else (0, 0)
            yield place, Match(word, *ports), f"protocol: {entry}"


def _messages(reader: Reader, path: Path) -> Iterator[tuple[Path, Match, str]]:
    for key in ("icmp", "icmpv6"):
        for place, entry in reader.items(*path, key):
            text = f"{key}: {str(entry).lower()}"
            if entry is True:
                yield place, Match(key), text
            elif isinstance(entry, bool) or not isinstance(entry, int | str):  # refused
                continue
            elif message := _icmp_problem(str(entry)):
                reader.error(place, f"`{entry}` {message}")
            else:
                yield place, Match(icmp_word(key, str(entry))), text


def _icmp_problem(entry: str) -> str:
    """Return what is wrong with a type of ICMP message, or nothing."""
    parts = entry.split("/")
    if not parts[0].isdecimal():
        return ""  # a name that the schema knows
    if any(int(part) > 255 for part in parts):  # noqa: PLR2004 - the fields of RFC 792 and RFC 4443 have 8 bits
        return "is not a type and code of ICMP; both are 0 to 255"
    return ""


def _ports(reader: Reader, protocol: str, path: Path) -> Iterator[tuple[Path, Match, str]]:
    known: list[Match] = []
    for place, entry in reader.items(*path, protocol):
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
        yield place, match, str(entry)


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
