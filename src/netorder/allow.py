"""The rules: who may come in to whom, and whether that is enough for the services and for us."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from netorder.diagnostics import did_you_mean
from netorder.routes import ways_in
from netorder.spec import ANYWHERE, PEERS, SSH, HostSpec, Match, RuleSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.check import Checker
    from netorder.reader import Reader
    from netorder.source import Path

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
        sources: dict[IPv4Network, None] = {} if "from" in rule else {ANYWHERE: None}
        for place, word in reader.items(*path, "from"):
            if isinstance(word, str):
                sources |= dict.fromkeys(self._sources(place, word, tuple(targets)))
        matches = [match for protocol in ("tcp", "udp") for match in self._ports(protocol, *path, protocol)]
        if reader.true(*path, "icmp"):
            matches.append(Match("icmp"))
        return RuleSpec(tuple(sources), tuple(targets), tuple(matches), service)

    # Who

    def _members(self, word: str) -> list[str] | None:
        """Return the hosts that ``word`` names: itself, those on it or those in it; None if it names none of these."""
        if word in self._reader.mapping("hosts"):
            return [word]
        if word in self._reader.mapping("networks"):
            return [host for host, network in self._checker.network_of.items() if network == word]
        return self._checker.groups.get(word)

    def _unknown(self, place: Path, word: str, *more: str) -> None:
        known = [*self._reader.mapping("hosts"), *self._reader.mapping("networks"), *self._checker.groups, *more]
        mend = did_you_mean(word, known) or "; declare it, or name one that is declared"
        if ":" in word:
            mend = "; IPv6 is not planned: name an IPv4 prefix"
        self._reader.error(place, f"there is no host, network or group `{word}`{mend}")

    def _targets(self, place: Path, word: str) -> list[str]:
        members = self._members(word)
        if members is None:
            self._unknown(place, word)
        elif not members:
            self._reader.warning(place, f"`{word}` has no hosts, so this lets nothing in")
        return members or []

    def _check_has_service(self, place: Path, word: str) -> None:
        members = self._members(word) or ()
        lacking = [name for name in members if "service" not in self._reader.mapping("hosts", name)]
        if lacking:
            names = ", ".join(f"`{name}`" for name in lacking)
            has = "has" if len(lacking) == 1 else "have"
            self._reader.error(place, f"{names} {has} no service; add one, or name ports in place of `service: true`")

    def _sources(self, place: Path, word: str, targets: tuple[str, ...]) -> Iterator[IPv4Network]:
        """Yield the prefixes that ``word`` stands for."""
        checker = self._checker
        members = self._members(word)
        if word == "anywhere":
            yield ANYWHERE
        elif re.fullmatch(r"[0-9.]+(/[0-9]+)?", word):
            cidr = self._reader.prefix(*place) if "/" in word else self._reader.address(*place)
            if cidr is not None:
                yield IPv4Network(cidr)
        elif members is None:
            self._unknown(place, word, "anywhere")
        elif word in self._reader.mapping("networks"):
            self._check_joined(place, word, {word}, targets)
            if word in checker.cidrs:
                yield checker.cidrs[word]
        else:
            networks = {checker.network_of[name] for name in members if name in checker.network_of}
            self._check_joined(place, word, networks, targets)
            yield from (IPv4Network(checker.addresses[name]) for name in members if name in checker.addresses)

    def _joined(self, one: str, other: str) -> bool:
        return self._reader.refused("routers") or self._checker.graph.hops(one, other) is not None

    def _check_joined(self, place: Path, word: str, networks: set[str], targets: tuple[str, ...]) -> None:
        """Report the first target that packets from ``networks`` never reach."""
        for target in targets:
            its_network = self._checker.network_of.get(target)
            if its_network and networks and not any(self._joined(one, its_network) for one in networks):
                message = f"no router joins `{word}` and `{target}` (on `{its_network}`), so this lets nothing in"
                self._reader.error(place, f"{message}; join their networks, or remove it")
                return

    # What

    def _ports(self, protocol: str, *path: str | int) -> Iterator[Match]:
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
            yield match

    # Is it enough?

    def check_peers(self) -> None:
        """Check that each service finds those it calls: on some host, by some way, through some rule."""
        services = self._checker.services
        for host, service in services.items():
            path = ("hosts", host, "service")
            for peer in PEERS.get(service.name, ()):
                serving = [name for name, other in services.items() if other.name == peer]
                if serving:
                    self._check_peer(path, host, serving)
                elif not self._reader.refused("hosts", "*", "service"):
                    message = f"`{host}` calls `{peer}`, and no host has it; add one with `service: {peer}`"
                    self._reader.error(path, message)

    def _check_peer(self, path: Path, host: str, serving: list[str]) -> None:
        callee = serving[0]
        network_of = self._checker.network_of
        if len(serving) > 1:
            names = ", ".join(f"`{name}`" for name in serving)
            peer = self._checker.services[callee].name
            self._reader.warning(path, f"{names} all have service `{peer}`; `{host}` calls the first, `{callee}`")
        if host not in network_of or callee not in network_of:
            return
        if not self._joined(network_of[host], network_of[callee]):
            message = f"`{host}` calls `{callee}`, and no router joins their networks; join them"
            self._reader.error(path, message)
        elif not self._reader.failed and not self._lets_in(host, callee):
            message = f"`{host}` calls `{callee}`, and no rule lets it in; add to `allow:` "
            self._reader.warning(path, f"{message}`- {{from: {host}, to: {callee}, service: true}}`")

    def _lets_in(self, caller: str, callee: str) -> bool:
        """Tell whether some rule lets ``caller`` in to the service of ``callee``."""
        address, port = self._checker.addresses[caller], self._checker.services[callee].port
        return caller == callee or any(
            callee in rule.targets
            and any(address in cidr for cidr in rule.sources)
            and (rule.service or any(match.tcp(port) for match in rule.matches))
            for rule in self.rules
        )

    def entries(self, hosts: tuple[HostSpec, ...]) -> frozenset[str]:
        """Return the hosts with a floating address that let SSH in from somewhere outside the topology."""
        own = tuple(self._checker.cidrs.values())
        let_in = {
            target
            for rule in self.rules
            if any(match.tcp(SSH) for match in rule.matches)
            and any(not any(cidr.subnet_of(network) for network in own) for cidr in rule.sources)
            for target in rule.targets
        }
        return frozenset(host.name for host in hosts if host.floating_ip and host.name in let_in)

    def check_ways_in(self, hosts: tuple[HostSpec, ...]) -> None:
        """Warn of hosts that cannot be configured because SSH does not get to them."""
        ways = ways_in(self._checker.graph, {host.name: host.network for host in hosts}, self.entries(hosts))
        for host in hosts:
            if ways[host.name] is not None:
                continue
            mend = "let SSH in from outside to a host with a floating address from which this one can be reached"
            if host.floating_ip:
                mend = f"let it in: add to `allow:` `- {{from: anywhere, to: {host.name}, tcp: {SSH}}}`"
            message = f"host `{host.name}` cannot be configured: SSH does not reach it from outside; {mend}"
            self._reader.warning(("hosts", host.name), message, of_key=True)
