"""The rules: who may come in to whom, and whether services find each other."""

from __future__ import annotations

import re
from functools import cached_property
from ipaddress import ip_network
from typing import TYPE_CHECKING

from netorder.ip import ANYWHERE
from netorder.text import did_you_mean
from netorder.topology import PEERS, SSH, Match, RuleSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.ip import Prefix
    from netorder.language.document import Reader
    from netorder.language.resolve import Checker
    from netorder.language.yaml_source import Path

__all__ = ["Allow"]

LAST_PORT = 65535


class Allow:
    """Reads and checks ``allow``; ``rules`` are those that could be read."""

    def __init__(self, reader: Reader, checker: Checker) -> None:
        self._reader = reader
        self._checker = checker
        is_list = isinstance(reader.get("allow"), list)
        rules = reader.items("allow") if is_list else ()
        self.rules = tuple(self._rule(path) for path, rule in rules if isinstance(rule, dict))
        self._check_peers()

    def _rule(self, path: Path) -> RuleSpec:
        reader = self._reader
        rule = reader.mapping(*path)
        service = reader.true(*path, "service")
        if not rule.keys() & {"tcp", "udp", "icmp", "service"} and not reader.refused(*path):
            message = "this rule lets nothing in; say what: `tcp: 80`, `udp: 53`, `icmp: true` or `service: true`"
            reader.error(path, message)
        targets: dict[str, None] = {}
        for place, word in reader.items(*path, "to"):
            if isinstance(word, str):
                targets |= dict.fromkeys(self._targets(place, word))
                if service:
                    self._check_has_service(place, word)
        sources: dict[Prefix, None] = {} if "from" in rule else dict.fromkeys(ANYWHERE)
        for place, word in reader.items(*path, "from"):
            if isinstance(word, str):
                sources |= dict.fromkeys(self._sources(place, word, tuple(targets)))
        matches = tuple(self._matches(path, world=any(one.prefixlen == 0 for one in sources)))
        return RuleSpec(tuple(sources), tuple(targets), matches, service)

    # Who

    @cached_property
    def _on(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {network: [] for network in self._checker.networks}
        for host, networks in self._checker.networks_of.items():
            for network in networks:
                found[network].append(host)
        return found

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        return self._checker.family | {name: [name] for _, name in self._checker.hosts}

    def _members(self, word: str) -> list[str] | None:
        """Return the hosts that ``word`` names: itself, those on it or those in it; None if it names none of these."""
        if word in self._names:
            return self._names[word]
        if word in self._on:
            return self._on[word]
        return self._checker.groups.get(word)

    def _unknown(self, place: Path, word: str, *more: str) -> None:
        known = [*self._names, *self._on, *self._checker.groups, *more]
        mend = did_you_mean(word, known) or "; declare it, or name one that is declared"
        if word in self._reader.mapping("routers"):
            mend = "; that is a router, and rules are about hosts: name hosts, or a network"
        elif word == "anywhere":
            mend = "; `anywhere` is for `from`: name the hosts that are asked"
        self._reader.error(place, f"there is no host, network or group `{word}`{mend}")

    def _targets(self, place: Path, word: str) -> list[str]:
        members = self._members(word)
        if members is None:
            self._unknown(place, word)
        elif not members:
            self._reader.warning(place, f"`{word}` has no hosts, so this lets nothing in")
        return members or []

    def _check_has_service(self, place: Path, word: str) -> None:
        lacking = []
        for entry, names in self._checker.family.items():
            if set(names) & set(self._members(word) or ()) and "service" not in self._reader.mapping("hosts", entry):
                lacking += names if word != entry else [entry]
        if lacking:
            names_ = ", ".join(f"`{name}`" for name in lacking)
            has = "has" if len(lacking) == 1 else "have"
            self._reader.error(place, f"{names_} {has} no service; add one, or name ports in place of `service: true`")

    def _sources(self, place: Path, word: str, targets: tuple[str, ...]) -> Iterator[Prefix]:
        """Yield the prefixes that ``word`` stands for."""
        checker = self._checker
        members = self._members(word)
        if word == "anywhere":
            yield from ANYWHERE
        elif members is None and re.fullmatch(r"[0-9.]+(/[0-9]+)?|[0-9A-Fa-f]*:[0-9A-Fa-f.:]*(/[0-9]+)?", word):
            reader = self._reader
            cidr = reader.prefix(place, word) if "/" in word else reader.address(place, word)
            if cidr is not None:
                yield ip_network(cidr)
        elif members is None:
            self._unknown(place, word, "anywhere")
        elif word in self._on:
            self._check_joined(place, word, {word}, targets)
            yield from checker.addressing.cidrs(word)
        else:
            networks = {network for name in members for network in checker.networks_of.get(name, ())}
            self._check_joined(place, word, networks, targets)
            yield from (ip_network(address) for name in members for address in checker.host_addresses(name))

    def _check_joined(self, place: Path, word: str, networks: set[str], targets: tuple[str, ...]) -> None:
        """Report the first target that packets from ``networks`` never reach."""
        checker = self._checker
        seen: set[tuple[str, ...]] = set()
        for target in targets:
            its = tuple(checker.networks_of.get(target, ()))
            if not its or not networks or its in seen:
                continue
            seen.add(its)
            if not any(checker.meet(one, other) for one in networks for other in its):
                on = ", ".join(f"`{network}`" for network in its)
                message = f"no router joins `{word}` and `{target}` (on {on}), so this lets nothing in"
                self._reader.error(place, f"{message}; join their networks, or remove it")
                return

    # What

    def _matches(self, path: Path, *, world: bool) -> Iterator[Match]:
        """Yield what the rule at ``path`` matches, for the whole ``world`` or not."""
        for protocol in ("tcp", "udp"):
            for place, match in self._ports(protocol, *path, protocol):
                if match.tcp(SSH) and world:
                    message = f"SSH (tcp {SSH}) is open to the whole world; name where you come from instead: `from: "
                    self._reader.warning(place, f"{message}203.0.113.0/24`")
                yield match
        if self._reader.true(*path, "icmp"):
            yield Match("icmp")

    def _ports(self, protocol: str, *path: str | int) -> Iterator[tuple[Path, Match]]:
        seen: list[Match] = []
        for place, entry in self._reader.items(*path):
            if isinstance(entry, bool) or not isinstance(entry, int | str):
                continue
            first, _, last = str(entry).partition("-")
            match = Match(protocol, int(first), int(last or first))
            if not 1 <= match.first <= match.last <= LAST_PORT:
                message = f"`{entry}` is not a range of ports; write the lower first, both from 1 to {LAST_PORT}"
                self._reader.error(place, message)
                continue
            other = next((one for one in seen if match.first <= one.last and one.first <= match.last), None)
            if other:
                known = str(other.first) if other.first == other.last else f"{other.first}-{other.last}"
                self._reader.error(place, f"`{entry}` is in `{known}` of the same rule already; remove one")
            seen.append(match)
            yield place, match

    # Services

    def _check_peers(self) -> None:
        """Check that each service finds those it calls: on some host, by some way."""
        services = self._checker.services
        serving: dict[str, list[str]] = {}
        for host, service in services.items():
            serving.setdefault(service.name, []).append(host)
        for entry, names in self._checker.family.items():
            path = ("hosts", entry, "service")
            for peer in PEERS.get(services[names[0]].name, ()) if names[0] in services else ():
                if peer in serving:
                    self._check_peer(path, entry, names[0], serving[peer])
                elif not self._reader.refused("hosts", "*", "service"):
                    message = f"`{entry}` calls `{peer}`, and no host has it; add one with `service: {peer}`"
                    self._reader.error(path, message)

    def _check_peer(self, path: Path, entry: str, host: str, serving: list[str]) -> None:
        """Each copy of a called service must be where the caller can come to."""
        its = self._checker.networks_of.get(host)
        for callee in serving:
            others = self._checker.networks_of.get(callee)
            if its and others and not any(self._checker.meet(one, other) for one in its for other in others):
                self._reader.error(path, f"`{entry}` calls `{callee}`, and no router joins their networks; join them")
