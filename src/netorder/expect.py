"""What must be true of a running topology: who reaches whom on which TCP port, and who must not.

Pure: derived from the plan alone. A packet's way is followed hop by hop through host routes, gateways and routers,
there and back; the security groups of both ends have their say. What is only sometimes true (an allowed port on which
nothing listens, a rule for a prefix outside that may or may not hold the asker) is left out rather than guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netorder.model import Host, Plan, Router, Rule

__all__ = ["SSH", "Probe", "Way", "from_inside", "from_outside", "report", "route_demonstration"]

SSH = 22
_UNUSED = 9  # discard: no service here listens on it and no topology has a reason to open it


@dataclass(frozen=True, slots=True)
class Probe:
    """A TCP connection to try, to host ``name`` at ``address`` and ``port``; ``open``: whether it must succeed."""

    name: str
    address: str
    port: int
    open: bool


@dataclass(frozen=True, slots=True)
class Way:
    """A host that only a static route reaches, and how to ask it: by ping when ``port`` is None, else by TCP."""

    name: str
    address: str
    port: int | None


def from_inside(plan: Plan, host: Host) -> tuple[Probe, ...]:
    """List what ``host`` must and must not reach: SSH and the service of every other host, and its own service."""
    found: list[Probe] = []
    for other in plan.hosts:
        ports = [] if other is host else [SSH]
        if other.service is not None:
            ports.append(other.service.port)
        found += [
            Probe(other.name, other.port.address, port, open=_passes(plan, host, other, "tcp", port)) for port in ports
        ]
    return tuple(found)


def from_outside(plan: Plan, host: Host) -> tuple[Probe, ...]:
    """List what anyone outside must and must not reach at ``host``'s floating address; ``address`` is the fixed one.

    Asked are SSH, every service port of the topology and one port that nobody uses. A port that is open to some
    prefixes only is left out, and so is one that is open and has nothing listening.
    """
    if not host.floating_ip:
        return ()
    listening = {SSH} | ({host.service.port} if host.service else set())
    services = {other.service.port for other in plan.hosts if other.service}
    found: list[Probe] = []
    for port in sorted({SSH, _UNUSED} | services):
        rules = [rule for rule in _rules(plan, host, "ingress") if _covers(rule, "tcp", port)]
        world = any(rule.remote_cidr in (None, "0.0.0.0/0") for rule in rules)
        if (rules and not world) or (world and port not in listening):
            continue
        found.append(Probe(host.name, host.port.address, port, open=world))
    return tuple(found)


def route_demonstration(plan: Plan, host: Host) -> tuple[Way, ...]:
    """List the hosts that ``host`` may ask and reaches by its static routes only: they show the difference."""
    found: list[Way] = []
    for other in plan.hosts:
        if not any(IPv4Address(other.port.address) in IPv4Network(route.destination) for route in host.routes):
            continue
        if _passes(plan, host, other, "icmp", None):
            found.append(Way(other.name, other.port.address, None))
        elif _passes(plan, host, other, "tcp", SSH):
            found.append(Way(other.name, other.port.address, SSH))
    return tuple(found)


def report(findings: Mapping[str, Sequence[Mapping[str, Any]] | None]) -> str:
    """Return findings as a table: who reaches whom on which ports, then every check that is not as planned.

    A finding has ``what``, ``expected``, ``found`` and ``ok``; that of a connection also ``name`` and ``port``, and
    ``from`` where it was not tried from the host itself. A host without findings (None) was not observed.
    """
    hosts = list(findings)
    asked: dict[tuple[str, str], list[str]] = {}
    wrong: list[str] = []
    count = 0
    for host, checks in findings.items():
        if checks is None:
            wrong.append(f"{host}: not observed (unreachable, or a task failed on it)")
            continue
        for check in checks:
            count += 1
            if not check["ok"]:
                wrong.append(
                    f"{check.get('from', host)}: {check['what']}: planned {check['expected']}, found {check['found']}"
                )
            if "port" in check:
                cell = asked.setdefault((check.get("from", host), check["name"]), [])
                if check["found"] == "open" or not check["ok"]:
                    cell.append(f"{check['port']}" + ("" if check["ok"] else "!"))
    names = [*hosts, *sorted({to for _, to in asked} - set(hosts))]
    rows = [["from", *names]]
    rows += [
        [source, *(" ".join(asked[source, to]) or "-" if (source, to) in asked else "" for to in names)]
        for source in ("outside", *hosts)
        if any(start == source for start, _ in asked)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(
        [
            "TCP ports that answer (- none of those asked, ! not as planned):",
            *table,
            "",
            f"{count} checks, {len(wrong)} not as planned" + (":" if wrong else ""),
            *wrong,
        ]
    )


def _passes(plan: Plan, source: Host, target: Host, protocol: str, port: int | None) -> bool:
    if source is target:
        return True
    there, back = target.port.address, source.port.address
    return (
        _reaches(plan, source, there)
        and _reaches(plan, target, back)
        and any(_allows(rule, protocol, port, there) for rule in _rules(plan, source, "egress"))
        and any(_allows(rule, protocol, port, back) for rule in _rules(plan, target, "ingress"))
    )


def _rules(plan: Plan, host: Host, direction: str) -> list[Rule]:
    groups = {group.name: group for group in plan.security_groups}
    return [
        rule
        for name in host.port.security_groups
        for rule in groups[name].rules
        if rule.direction == direction and rule.ethertype == "IPv4"
    ]


def _covers(rule: Rule, protocol: str, port: int | None) -> bool:
    if rule.protocol not in (None, protocol):
        return False
    if port is None or rule.port_min is None:
        return True
    return rule.port_min <= port <= (rule.port_max if rule.port_max is not None else rule.port_min)


def _allows(rule: Rule, protocol: str, port: int | None, remote: str) -> bool:
    return _covers(rule, protocol, port) and (
        rule.remote_cidr is None or IPv4Address(remote) in IPv4Network(rule.remote_cidr)
    )


def _reaches(plan: Plan, source: Host, destination: str) -> bool:
    """Follow a packet from ``source`` hop by hop and return whether it arrives; a loop ends it."""
    cidrs = {network.name: IPv4Network(network.cidr) for network in plan.networks}
    gateways = {network.name: network.gateway_ip for network in plan.networks}
    owners = {interface.address: router for router in plan.routers for interface in router.interfaces}
    target = IPv4Address(destination)

    if target in cidrs[source.port.network]:
        return True
    table = [(IPv4Network(route.destination), route.next_hop) for route in source.routes]
    gateway = gateways[source.port.network]
    if gateway is not None:
        table.append((IPv4Network("0.0.0.0/0"), gateway))
    seen: set[str] = set()
    while True:
        router = _next(table, target, owners)
        if router is None or router.name in seen:
            return False
        seen.add(router.name)
        if any(target in cidrs[interface.network] for interface in router.interfaces):
            return True
        # a default route to the external network never brings a packet to a private address
        table = [(IPv4Network(route.destination), route.next_hop) for route in router.routes]


def _next(table: list[tuple[IPv4Network, str]], target: IPv4Address, owners: dict[str, Router]) -> Router | None:
    """Return the router that the longest matching prefix names; None without a route or with an unknown next hop."""
    matching = [(prefix, hop) for prefix, hop in table if target in prefix]
    if not matching:
        return None
    return owners.get(max(matching, key=lambda entry: entry[0].prefixlen)[1])
