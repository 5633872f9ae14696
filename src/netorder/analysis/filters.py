"""What a plan's security groups and port security pass and drop."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from netorder.ip import IPV4, IPV6
from netorder.protocols import ANYTHING, WITH_PORTS, on_wire
from netorder.topology import LAST_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netorder.plan.model import Plan, Port, Rule
    from netorder.protocols import Wire

__all__ = ["Filters", "Ports", "both", "may_pass", "ports_of"]

Ports = tuple[str, "int | None", "int | None"]  # a word of netorder.protocols, first and last port


class _Match(NamedTuple):
    """What a rule matches: ports ``first`` to ``last``, remote addresses ``low`` to ``high`` as numbers, or any."""

    first: int
    last: int
    low: int
    high: int
    anywhere: bool
    rule: Rule
    ports: Ports


class _Matches:
    """What rules match, in their order; found by the remote address, as a group of many hosts has a rule for each."""

    def __init__(self, matches: list[_Match]) -> None:
        self.all = matches
        self._single: dict[int, list[tuple[int, _Match]]] = {}
        self._wide: list[tuple[int, _Match]] = []
        for place, match in enumerate(matches):
            if match.low == match.high and not match.anywhere:
                self._single.setdefault(match.low, []).append((place, match))
            else:
                self._wide.append((place, match))

    def of(self, number: int) -> list[_Match]:
        """Return those of a remote address, as a number; -1 is one that no rule names."""
        found = [one for one in self._wide if one[1].anywhere or one[1].low <= number <= one[1].high]
        if single := self._single.get(number):
            found = sorted([*single, *found], key=lambda one: one[0])
        return [match for _, match in found]


class Filters:
    """The security-group rules of a plan's hosts; hosts with the same groups share what is worked out."""

    def __init__(self, plan: Plan) -> None:
        groups = {group.name: group.rules for group in plan.filters}
        self._groups = {
            host.name: tuple(dict.fromkeys(host.ports[0].security_groups or (host.group,))) for host in plan.hosts
        }
        self._rules: dict[tuple[tuple[str, ...], str], list[Rule]] = {}
        self._of_members: dict[tuple[tuple[str, ...], str], list[Rule]] = {}
        for names in dict.fromkeys(self._groups.values()):
            rules = [rule for name in names for rule in groups[name]]
            for direction in ("ingress", "egress"):
                its = [rule for rule in rules if rule.direction == direction]
                self._rules[names, direction] = [rule for rule in its if rule.remote_group is None]
                self._of_members[names, direction] = [rule for rule in its if rule.remote_group is not None]
        self._matches: dict[tuple[tuple[str, ...], str, str, int], _Matches] = {}
        self._ports: dict[tuple[tuple[str, ...], str], set[Ports]] = {}
        self._let_in: dict[tuple[tuple[str, ...], int], _Matches] = {}

    def rules(self, host: str, direction: str) -> list[Rule]:
        """Return the rules of a host in a direction, ingress or egress, but for those about members of groups.

        Members that are hosts of the plan have rules by their addresses, the others are not in it.
        """
        return self._rules[self._groups[host], direction]

    def members(self, host: str, direction: str, protocol: str, port: int | None) -> tuple[str, ...]:
        """List the security groups that are not the topology's whose members a host's rules allow this."""
        found = {
            str(rule.remote_group): None
            for rule in self._of_members[self._groups[host], direction]
            if (wire := on_wire(protocol, IPV6 if rule.ethertype == "IPv6" else IPV4)) and _is_of(rule, wire)
            if port is None or (match := _match(rule)).first <= port <= match.last
        }
        return tuple(found)

    def ports(self, host: str, direction: str) -> set[Ports]:
        """Return what the rules of a host are for in a direction, whatever their remotes."""
        key = (self._groups[host], direction)
        if key not in self._ports:
            self._ports[key] = {ports_of(rule) for rule in self._rules[key]}
        return self._ports[key]

    def ports_from(self, host: str, addresses: Iterable[str]) -> set[Ports]:
        """Return what the rules of a host let in from one of these addresses."""
        found: set[Ports] = set()
        for address in addresses:
            version = IPV6 if ":" in address else IPV4
            key = (self._groups[host], version)
            if key not in self._let_in:
                its = [_match(one) for one in self.rules(host, "ingress") if one.ethertype == f"IPv{version}"]
                self._let_in[key] = _Matches(its)
            found.update(match.ports for match in self._let_in[key].of(_number(address)))
        return found

    def first(self, host: str, direction: str, protocol: str, port: int | None, remote: str | None) -> Rule | None:
        """Return the first rule that allows it; ``remote`` None is an IPv4 address that no rule names."""
        found = self._matching(host, direction, protocol, IPV6 if remote and ":" in remote else IPV4)
        for match in found.of(_number(remote) if remote else -1):
            if port is None or match.first <= port <= match.last:
                return match.rule
        return None

    def remotes(self, host: str, protocol: str, port: int | None) -> list[str | None]:
        """List from where the IPv4 rules of a host let this in; None is anywhere."""
        found = self._matching(host, "ingress", protocol, IPV4).all
        return [one.rule.remote_cidr for one in found if port is None or one.first <= port <= one.last]

    def _matching(self, host: str, direction: str, protocol: str, version: int) -> _Matches:
        """Return what rules match all of a protocol, a word of netorder.protocols, in their order."""
        key = (self._groups[host], direction, protocol, version)
        if key not in self._matches:
            wire = on_wire(protocol, version)
            self._matches[key] = _Matches(
                [
                    _match(rule)
                    for rule in self.rules(host, direction)
                    if wire and rule.ethertype == f"IPv{version}" and _is_of(rule, wire)
                ]
            )
        return self._matches[key]


def _is_of(rule: Rule, wire: Wire) -> bool:
    """Tell whether a rule is for a protocol, and lets in all that is meant of it, apart from ports."""
    if rule.protocol is None:
        return True
    if rule.protocol != wire.protocol:
        return False
    if rule.word in WITH_PORTS or rule.port_min is None:
        return True
    return rule.port_min == wire.low and rule.port_max in (None, wire.high)


def _match(rule: Rule) -> _Match:
    low, high = _range(rule.remote_cidr) if rule.remote_cidr else (0, 0)
    last = LAST_PORT if rule.port_min is None else rule.port_max or 0
    return _Match(rule.port_min or 0, last, low, high, rule.remote_cidr is None, rule, ports_of(rule))


def ports_of(rule: Rule) -> Ports:
    """Return what a rule is for, whatever its remote."""
    if rule.word in WITH_PORTS:
        return rule.word, rule.port_min or 1, rule.port_max or LAST_PORT
    return rule.word, None, None


def both(some: Iterable[Ports], others: Iterable[Ports]) -> set[Ports]:
    """Return what is in one of some and in one of others."""
    others = list(others)
    if (ANYTHING, None, None) in others:
        return {*some}
    return {shared for one in some for other in others if (shared := _shared(one, other))}


def _shared(one: Ports, other: Ports) -> Ports | None:
    if one[0] == other[0] and one[0] in WITH_PORTS:
        low, high = max(one[1] or 1, other[1] or 1), min(one[2] or LAST_PORT, other[2] or LAST_PORT)
        return (one[0], low, high) if low <= high else None
    if one[0] == ANYTHING or other[0].startswith(f"{one[0]} "):
        return other
    return one if one[0] == other[0] or other[0] == ANYTHING or one[0].startswith(f"{other[0]} ") else None


def may_pass(port: Port, address: str) -> bool:
    """Return whether port security passes packets from and to ``address`` at a port."""
    return (
        not port.port_security
        or address in port.addresses
        or any(
            low <= _number(address) <= high
            for pair in port.allowed_address_pairs
            if (":" in pair) == (":" in address)
            for low, high in (_range(pair),)
        )
    )


@cache
def _number(address: str) -> int:
    return int(ip_address(address))


@cache
def _range(cidr: str) -> tuple[int, int]:
    """Return the first and the last address of a prefix as numbers."""
    prefix = ip_network(cidr)
    return int(prefix.network_address), int(prefix.broadcast_address)
