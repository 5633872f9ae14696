"""Security groups: the rules of each host, and hosts with the same rules sharing one group.

A host's rules are those of the topology that name it as a target, those that a forwarding host needs for what passes
through it, and SSH from the host before it on its SSH path. What it sends is not limited unless ``egress`` names it.
"""

from __future__ import annotations

from ipaddress import ip_network
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from netorder.ip import IPV4, VERSIONS, overlap
from netorder.plan.model import Rule, SecurityGroup
from netorder.protocols import on_wire
from netorder.topology import SSH, Match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netorder.ip import Prefix
    from netorder.routing.decide import Routing
    from netorder.topology import HostSpec, RuleSpec, Topology

__all__ = ["SERVICES", "Declarations", "SecurityGroups", "security_groups"]

EGRESS = (
    Rule("egress", "IPv4", None, None, None, None),
    Rule("egress", "IPv6", None, None, None, None),
)

# the cloud's metadata service, which a server asks at its first boot
METADATA = (Match("tcp", 80, 80), ip_network("169.254.169.254/32"))
# Requests for a lease: by broadcast and, when it is renewed, to the server, which is on the subnet (RFC 2131, 4.4); to
# all servers (RFC 8415, 7.1). The agent's firewall of Neutron passes them without a rule, OVN drops them.
DHCP, EVERYBODY = Match("udp", 67, 67), ip_network("255.255.255.255/32")
DHCPV6 = (Match("udp", 547, 547), ip_network("ff02::1:2/128"))
# remote prefixes of what the cloud itself answers: they are no way to the outside
SERVICES = frozenset(map(str, (METADATA[1], EVERYBODY, DHCPV6[1])))

# What the topology's rules allow to one host: the index of each rule that names it, and what that rule matches there.
_Allowed = tuple[tuple[int, frozenset[Match]], ...]


class SecurityGroups(NamedTuple):
    """The ``groups`` in the order of the first host of each, and each host's one; none without port security."""

    groups: tuple[SecurityGroup, ...]
    group_of: dict[str, str]


def security_groups(topology: Topology) -> SecurityGroups:
    """Derive the security groups of all hosts; a group has the name of the first host in it."""
    groups: list[SecurityGroup] = []
    group_of: dict[str, str] = {}
    for rules, hosts in _Sharing(topology).hosts_by_rules().items():
        name = hosts[0].name
        groups.append(SecurityGroup(name, f"{topology.name}-{name}", rules))
        group_of |= {host.name: name for host in hosts}
    return SecurityGroups(tuple(groups), group_of)


class Declarations:
    """Which entries of ``allow`` the rules of security groups come from."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._maker = _RuleMaker()
        self._allowed = _allowed_by_target(topology)
        self._shared: dict[_Allowed, dict[Rule, tuple[str, ...]]] = {}
        self._tables: dict[frozenset[str], list[dict[Rule, tuple[str, ...]]]] = {}

    def places(self, hosts: frozenset[str], rule: Rule) -> tuple[str, ...]:
        """List where the file allows to any of ``hosts`` what ``rule`` does.

        That is nowhere, if it is for forwarding or SSH paths.
        """
        if hosts not in self._tables:
            for allowed in {self._allowed[host] for host in hosts} - self._shared.keys():
                self._shared[allowed] = self._places(allowed)
            # hosts that are alike share a table
            tables = {id(table): table for host in hosts for table in [self._shared[self._allowed[host]]]}
            self._tables[hosts] = [*tables.values()]
        return tuple(dict.fromkeys(place for table in self._tables[hosts] for place in table.get(rule, ())))

    def _places(self, allowed: _Allowed) -> dict[Rule, tuple[str, ...]]:
        found: dict[Rule, tuple[str, ...]] = {}
        for index, matches in allowed:
            one = self._topology.rules[index]
            for rule in set(self._maker.of(one, matches)):
                found[rule] = (*found.get(rule, ()), one.place)
        return found


class _RuleMaker:
    """Makes each rule once, and knows their order: by version, protocol, ports, remote prefix as numbers, group."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Match, Prefix | str, int], Rule | None] = {}
        self._orders: dict[Rule, tuple[str | int, ...]] = {}

    def of(self, rule: RuleSpec, matches: Iterable[Match]) -> Iterator[Rule]:
        """Yield the rules for what one of the topology's lets in by ``matches``."""
        yield from self.ingress(matches, rule.sources)
        yield from self.members("ingress", product(matches, rule.security_groups))

    def ingress(self, matches: Iterable[Match], sources: Iterable[Prefix]) -> Iterator[Rule]:
        """Yield the rules for what is matched from each source; of some there is none in an IP version."""
        return self._all("ingress", ((match, source, source.version) for match, source in product(matches, sources)))

    def egress(self, allowed: Iterable[tuple[Match, Prefix]]) -> Iterator[Rule]:
        """Yield the rules for what is matched to each prefix; of some there is none in an IP version."""
        return self._all("egress", ((match, prefix, prefix.version) for match, prefix in allowed))

    def members(self, direction: str, allowed: Iterable[tuple[Match, str]]) -> Iterator[Rule]:
        """Yield the rules for what members of each security group send, or get: they may be of either IP version."""
        return self._all(direction, ((*one, version) for one in allowed for version in VERSIONS))

    def _all(self, direction: str, allowed: Iterable[tuple[Match, Prefix | str, int]]) -> Iterator[Rule]:
        for match, remote, version in allowed:
            key = (direction, match, remote, version)
            if key not in self._made:
                self._made[key] = self._rule(*key)
            if rule := self._made[key]:
                yield rule

    def _rule(self, direction: str, match: Match, remote: Prefix | str, version: int) -> Rule | None:
        wire = on_wire(match.protocol, version)
        if wire is None:
            return None
        group = remote if isinstance(remote, str) else None
        cidr = remote if not isinstance(remote, str) and remote.prefixlen else None
        first, last = (match.first, match.last) if match.some_ports else (wire.low, wire.high)
        named = str(cidr) if cidr else None
        rule = Rule(direction, f"IPv{version}", wire.protocol, first, last, named, group)
        base, length = (int(cidr.network_address), cidr.prefixlen) if cidr else (0, 0)
        ports = (-1 if one is None else one for one in ((match.first, match.last) if wire.low is None else wire[1:]))
        self._orders[rule] = (rule.ethertype, wire.protocol or "", *ports, group is not None, base, length, group or "")
        return rule

    def in_order(self, rules: Iterable[Rule]) -> tuple[Rule, ...]:
        return tuple(sorted(rules, key=self._orders.__getitem__))


class _Sharing:
    """Which hosts have which rules. Hosts that are allowed the same are worked out once: there may be thousands."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._hosts = {host.name: host for host in topology.hosts}
        self._maker = _RuleMaker()
        self._allowed = _allowed_by_target(topology)
        self._rules_of: dict[_Allowed, tuple[Rule, ...]] = {}
        self._forwarded = _rules_of_forwarders(topology, self._maker)
        self._limits = _limits(topology, self._maker)

    def hosts_by_rules(self) -> dict[tuple[Rule, ...], list[HostSpec]]:
        """Return the hosts that have the same rules, in the order of the first of each.

        Where hosts allow each other in, each also allows itself, which costs nothing and makes their rules the same; a
        host alone does without that rule.
        """
        alike: dict[tuple[int, frozenset[str], frozenset[Rule], tuple[Rule, ...]], list[HostSpec]] = {}
        for host in self._topology.hosts:
            if not host.port_security:
                continue
            declared = self._declared_rules(host)  # the very same tuple for many hosts
            versions = frozenset(f"IPv{address.version}" for address in host.addresses)
            limits = self._limits.get(host.name, EGRESS)
            alike.setdefault((id(declared), versions, self._derived_rules(host), limits), []).append(host)
        found: dict[tuple[Rule, ...], list[HostSpec]] = {}
        for (_, versions, derived, limits), hosts in alike.items():
            first = hosts[0]
            mine = (*first.addresses, *first.loopbacks) if len(hosts) == 1 else ()
            own = {f"{one}/{one.max_prefixlen}" for one in mine}
            rules = tuple(
                rule
                for rule in self._declared_rules(first)
                if rule.remote_cidr not in own and rule.ethertype in versions
            )
            if others := derived.difference(rules):
                rules = self._maker.in_order((*rules, *others))
            found.setdefault((*limits, *rules), []).extend(hosts)
        return found

    def _declared_rules(self, host: HostSpec) -> tuple[Rule, ...]:
        """Return the rules, in order, that follow from those of the topology that name the host as a target."""
        allowed = self._allowed[host.name]
        if allowed not in self._rules_of:
            self._rules_of[allowed] = self._maker.in_order(
                {rule for index, matches in allowed for rule in self._maker.of(self._topology.rules[index], matches)}
            )
        return self._rules_of[allowed]

    def _derived_rules(self, host: HostSpec) -> frozenset[Rule]:
        """Return the rules of a host that no rule of the topology names it for: packets it forwards, and SSH."""
        rules = set(self._forwarded.get(host.name, ()))
        path = self._topology.ssh_paths[host.name]
        if path and path.through and path.source:
            bastion = self._hosts[path.through[-1]].address(path.source, path.version)
            if bastion:
                rules.update(self._maker.ingress([Match("tcp", SSH, SSH)], [ip_network(bastion)]))
        return frozenset(rules)


def _allowed_by_target(topology: Topology) -> dict[str, _Allowed]:
    """Return for each host what the topology's rules allow to it."""
    hosts = {host.name: host for host in topology.hosts}
    found: dict[str, list[tuple[int, frozenset[Match]]]] = {name: [] for name in hosts}
    for index, rule in enumerate(topology.rules):
        plain = frozenset(rule.matches)  # the very same for many hosts
        for target in rule.targets:
            found[target].append((index, plain if rule.applications == () else rule.to(hosts[target])))
    return {name: tuple(allowed) for name, allowed in found.items()}


def _limits(topology: Topology, maker: _RuleMaker) -> dict[str, tuple[Rule, ...]]:
    """Return what each host that is limited may send, with what it needs to start and SSH to those behind it."""
    found: dict[str, set[Rule]] = {}
    hosts = {host.name: host for host in topology.hosts}
    for rule in topology.egress:
        for source in rule.sources:
            versions = {f"IPv{address.version}" for address in hosts[source].addresses}
            if source not in found:
                found[source] = set(maker.egress([METADATA, *_leases(topology, hosts[source])]))
            mine = found[source]
            sent = (*maker.egress(rule.allowed), *maker.members("egress", rule.to_members))
            mine.update(one for one in sent if one.ethertype in versions)
    for name, path in topology.ssh_paths.items():
        if path and path.through and path.target and path.through[-1] in found:
            address = hosts[name].address(path.target, path.version)
            ssh = [(Match("tcp", SSH, SSH), ip_network(address))] if address else []
            found[path.through[-1]].update(maker.egress(ssh))
    return {name: maker.in_order(rules) for name, rules in found.items()}


def _leases(topology: Topology, host: HostSpec) -> Iterator[tuple[Match, Prefix]]:
    """Yield what a host must send to be given its addresses."""
    networks = {network.name: network for network in topology.networks}
    for network in (networks[interface.network] for interface in host.interfaces):
        for subnet in network.subnets if network.dhcp else ():
            if subnet.cidr.version == IPV4:
                yield DHCP, EVERYBODY
                yield DHCP, subnet.cidr
            else:
                yield DHCPV6


def _rules_of_forwarders(topology: Topology, maker: _RuleMaker) -> dict[str, set[Rule]]:
    """Return what forwarding hosts must allow in for the hosts behind them: packets pass through their ports."""
    found: dict[str, set[Rule]] = {}
    hosts = {host.name: host for host in topology.hosts}
    for version, routing in topology.routings.items():
        if not routing.graph.hosts:
            continue
        forwarders = _Forwarders(topology, version, routing)
        for rule in topology.rules:
            targets = {
                (match, network): None
                for target in rule.targets
                for match in rule.to(hosts[target])
                for network in (*routing.homes[target], *hosts[target].loopback_networks(version))
            }
            parts = [part for source in rule.sources if source.version == version for part in forwarders.parts(source)]
            for (match, destination), (network, part) in product(targets, parts):
                for host in forwarders.between(network, destination):
                    found.setdefault(host, set()).update(maker.ingress([match], [part]))
            for (match, destination), network in product(targets if rule.security_groups else (), forwarders.networks):
                mine = (*maker.members("ingress", product([match], rule.security_groups)),)
                for host in forwarders.between(network, destination):
                    found.setdefault(host, set()).update(one for one in mine if one.ethertype == f"IPv{version}")
    return found


class _Forwarders:
    """The forwarding hosts between networks, by one IP version."""

    def __init__(self, topology: Topology, version: int, routing: Routing) -> None:
        self._routing = routing
        self._cidrs: dict[str, Prefix] = {
            network.name: subnet.cidr
            for network in topology.networks
            if network.name in routing.populated and (subnet := network.subnet(version))
        }
        for host in topology.hosts:
            self._cidrs |= host.loopback_networks(version)
        self._between: dict[tuple[str, str], tuple[str, ...]] = {}

    @property
    def networks(self) -> Iterable[str]:
        """The networks that have hosts, and loopback addresses: what comes from anywhere may pass any of them."""
        return self._cidrs

    def between(self, source: str, destination: str) -> tuple[str, ...]:
        """Return the forwarding hosts that packets from one network to another pass through."""
        key = (source, destination)
        if key not in self._between:
            talk = source != destination and self._routing.talks(source, destination)
            crossings = self._routing.crossings(source, destination) if talk else ()
            self._between[key] = tuple(crossing.host for crossing in crossings)
        return self._between[key]

    def parts(self, prefix: Prefix) -> list[tuple[str, Prefix]]:
        """Return the networks that share addresses with ``prefix``, each with the addresses that they share."""
        return [
            (name, prefix if prefix.prefixlen > cidr.prefixlen else cidr)
            for name, cidr in self._cidrs.items()
            if overlap(prefix, cidr)
        ]
