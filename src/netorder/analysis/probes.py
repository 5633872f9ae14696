"""Probes: TCP connections and pings that must succeed, or must not, on a running topology; their results as a table.

Pure: derived from the plan's reachability matrix. A probe whose result the plan does not determine (an allowed port on
which nothing listens, a rule for a prefix outside that may or may not hold the prober) is left out rather than guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from netorder.analysis.reach import OUTSIDE, UNUSED_PORT
from netorder.protocols import ANYTHING, PING
from netorder.text import count, few, table
from netorder.topology import GROUPS, SSH

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from netorder.analysis.reach import Matrix
    from netorder.plan.model import Host, Plan

__all__ = [
    "ALL_PAIRS",
    "SSH",
    "Probe",
    "RouteProbe",
    "Sample",
    "from_inside",
    "from_outside",
    "listens_on",
    "report",
    "route_probes",
    "ssh_sources",
    "untried",
]

_ANY = {False: "0.0.0.0", True: "::"}  # noqa: S104 - by whether it is IPv6; a security group is before it

ALL_PAIRS = 100  # up to so many hosts all pairs are tried; 100 hosts with an application each have 20,000 probes
SAMPLE = 40  # of more hosts, each tries about so many others


@dataclass(frozen=True, slots=True)
class Probe:
    """A TCP connection to try, to host ``name`` at ``address`` and ``port``; ``open``: whether it must succeed.

    ``echo``: so must a ping, by which packets of all sizes can be tried.
    """

    name: str
    address: str
    port: int
    open: bool
    echo: bool = False


@dataclass(frozen=True, slots=True)
class RouteProbe:
    """A ping (``port`` None) or TCP connection to host ``name`` at ``address`` that succeeds by a static route only."""

    name: str
    address: str
    port: int | None


class Sample:
    """Which hosts each host of a plan tries: in a large plan, some of each group in turn, the next host the next ones.

    So each group is tried from each host, and each member from about as many hosts. The next host of the plan is always
    among them, so that no host is left out, and so is what the host's own applications call. The members of a group are
    alike in all groups that they are in; hosts of no declared group go by their network.
    """

    def __init__(self, matrix: Matrix, size: int = SAMPLE, all_up_to: int = ALL_PAIRS) -> None:
        self.hosts = matrix.plan.hosts
        self.is_partial = len(self.hosts) > all_up_to
        self._matrix = matrix
        self._size = size
        self._order = {host.name: index for index, host in enumerate(self.hosts)}
        groups: dict[tuple[str, ...], list[str]] = {}
        for host in self.hosts:
            declared = tuple(name for name in host.groups if name not in GROUPS)
            groups.setdefault(declared or (host.ports[0].network, ""), []).append(host.name)
        self._groups = list(groups.values())

    def of(self, host: Host) -> tuple[Host, ...]:
        """List the hosts that ``host`` tries, itself among them."""
        if not self.is_partial:
            return self.hosts
        calls = [endpoint.address for one in host.applications for endpoint in one.endpoints]
        index = self._order[host.name]
        found = {host.name, self.hosts[(index + 1) % len(self.hosts)].name}
        found |= {name for one in calls if (name := self._matrix.host_of(one))}
        width = min(self._size, len(self._groups))
        each = self._size // width
        for position in range(index * width, (index + 1) * width):
            turn, number = divmod(position, len(self._groups))
            members = self._groups[number]
            found |= {members[(turn * each + more) % len(members)] for more in range(each)}
        return tuple(one for one in self.hosts if one.name in found)

    def __str__(self) -> str:
        """Say what is tried where that is not all."""
        if not self.is_partial:
            return ""
        tried, pairs = sum(len(self.of(host)) - 1 for host in self.hosts), len(self.hosts) * (len(self.hosts) - 1)
        share = f"{tried:,} of {pairs:,} pairs of hosts"
        return f"a sample, {share}: each host tries some of each of {count(len(self._groups), 'group')} in turn"


def from_inside(matrix: Matrix, host: Host, others: Collection[Host] | None = None) -> tuple[Probe, ...]:
    """List what ``host`` must and must not reach: SSH and the applications of ``others`` (None: all), and its own.

    A host of several interfaces or IP versions is probed at each of its addresses, those of its loopback among them,
    for its applications at those that they listen on.
    """
    versions = {":" in address for address in host.addresses}
    found: list[Probe] = []
    for other in matrix.plan.hosts if others is None else others:
        for address in (*other.addresses, *other.loopback_addresses):
            if (":" in address) not in versions:
                continue
            ports = [SSH] if other is not host else []
            if other.tcp_ports and listens_on(matrix, other) in {address, _ANY[":" in address]}:
                ports += other.tcp_ports
            states = {port: matrix.verdict(host.name, address, "tcp", port) for port in ports}
            tried = {
                port: state == "open" for port, state in states.items() if state == "open" or not other.partly_known
            }
            echo = other is not host and any(tried.values()) and matrix.verdict(host.name, address, PING) == "open"
            found += [Probe(other.name, address, port, open_, echo and open_) for port, open_ in tried.items()]
    return tuple(found)


def listens_on(matrix: Matrix, host: Host) -> str:
    """Return the address that the applications of ``host`` listen on: where they are called, or its floating IP is.

    Where these are several it is all of IPv4, or of IPv6 if it is only called by that.
    """
    mine = matrix.called.intersection(host.addresses)
    if host.entry or not mine:
        mine |= {host.entry or host.ports[0].addresses[0]}
    return next(iter(mine)) if len(mine) == 1 else _ANY[all(":" in address for address in mine)]


def from_outside(matrix: Matrix, host: Host) -> tuple[Probe, ...]:
    """List what any source outside must and must not reach at ``host``'s address outside.

    The ``address`` is the fixed one that it leads to. Probed are SSH, every port of the topology's applications and one
    unused port. A port that is open to some prefixes, or members of a security group, only is left out: who asks may be
    one. So is an open one where nothing listens.
    """
    if host.entry is None:
        return ()
    listening = {SSH, *host.tcp_ports}
    services = {port for other in matrix.plan.hosts for port in other.tcp_ports}
    echo = matrix.verdict(OUTSIDE, host.name, PING) == "open"
    found: list[Probe] = []
    for port in sorted({SSH, UNUSED_PORT} | services):
        world = matrix.verdict(OUTSIDE, host.name, "tcp", port) == "open"
        if (matrix.sources(host.name, "tcp", port) and not world) or (world and port not in listening):
            continue
        if world or not (host.partly_known or matrix.members(host.name, "tcp", port)):
            found.append(Probe(host.name, host.entry, port, open=world, echo=world and echo))
    return tuple(found)


def ssh_sources(matrix: Matrix, host: Host) -> tuple[str, ...]:
    """List the IPv4 prefixes that may SSH to ``host``'s floating address; none if its SSH path is another."""
    return () if host.ssh_path != () or host.entry is None else matrix.sources(host.name, "tcp", SSH)


def route_probes(matrix: Matrix, host: Host, others: Collection[Host] | None = None) -> tuple[RouteProbe, ...]:
    """List probes, one for each of ``others`` (None: all) that ``host`` may reach, by its static routes only.

    Loopback addresses are not there before their own host is configured.
    """
    prefixes = [ip_network(route.destination) for route in host.routes]
    found: list[RouteProbe] = []
    for other in matrix.plan.hosts if others is None else others:
        for address in other.addresses:
            if not any(ip_address(address) in prefix for prefix in prefixes):
                continue
            if matrix.verdict(host.name, address, PING) == "open":
                found.append(RouteProbe(other.name, address, None))
            elif matrix.verdict(host.name, address, "tcp", SSH) == "open":
                found.append(RouteProbe(other.name, address, SSH))
    return tuple(found)


def untried(plan: Plan) -> str:
    """Say which rules no probe tries: those for neither TCP nor pings, and about others; else return an empty text."""
    rules = [rule for group in plan.security_groups for rule in group.rules]
    tried = {"tcp", "icmp", "icmp echo-request", ANYTHING}
    words = {rule.word for rule in rules if rule.direction == "ingress"} - tried
    groups = {rule.remote_group for rule in rules if rule.remote_group}
    found = [f"only TCP connections and pings are: rules for {few(sorted(words), 10)}"] if words else []
    found += [f"the plan does not know them: members of security group {few(sorted(groups), 10)}"] if groups else []
    return "; ".join(f"not tried, {one}" for one in found)


def _unknown(_host: str, _check: Mapping[str, Any] | None) -> str:
    return ""


def report(
    findings: Mapping[str, Sequence[Mapping[str, Any]] | None],
    why: Callable[[str, Mapping[str, Any] | None], str] = _unknown,
) -> str:
    """Return findings as a table: which host reaches which on which ports, then every check that differs from the plan.

    A finding has ``what``, ``expected``, ``found`` and ``ok``; that of a connection also ``name`` and ``port``, and
    ``from`` where it was not tried from the host itself. A ``warning`` is no difference. A host without findings (None)
    was not observed. ``why`` says of a finding on a host why it differs, and of None why it was not observed, if
    that is known.
    """
    ports: dict[tuple[str, str], list[str]] = {}  # by source and destination: those that answer, and the wrong ones
    wrong: list[str] = []
    warnings: list[str] = []
    checked = 0
    for host, checks in findings.items():
        if checks is None:
            wrong.append(f"{host}: not observed (unreachable, or a task failed on it)")
            wrong += [f"  likely: {cause}"] if (cause := why(host, None)) else []
            continue
        checked += len(checks)
        for check in checks:
            source = check.get("from", host)
            if not check["ok"]:
                wrong.append(f"{source}: {check['what']}: expected {check['expected']}, found {check['found']}")
                wrong += [f"  likely: {cause}"] if (cause := why(host, check)) else []
            if warning := check.get("warning"):
                to = f"to {check['name']}: " if "name" in check else ""
                warnings.append(f"{source}: {to}{warning}")
            if "port" in check:
                cell = ports.setdefault((source, check["name"]), [])
                if check["found"] == "open" or not check["ok"]:
                    cell.append(f"{check['port']}" + ("" if check["ok"] else "!"))
    if len(findings) > ALL_PAIRS:
        answering = sum(any(not one.endswith("!") for one in cell) for cell in ports.values())
        shown = [f"TCP ports answer on {answering:,} of {len(ports):,} pairs that were tried"]
    else:
        shown = ["TCP ports that answer (- none of those probed, ! differs from the plan):", *_table(findings, ports)]
    number = sum(not one.startswith("  ") for one in wrong)
    differ = f"{number} {'differs' if number == 1 else 'differ'} from the plan"
    found = [f"{count(checked, 'check')}, {differ}" + (":" if wrong else ""), *wrong]
    alike = list(dict.fromkeys(warnings))  # each port of a pair has the same
    return "\n".join([*shown, "", *found, *([f"{count(len(alike), 'warning')}:", *alike] if alike else [])])


def _table(findings: Collection[str], ports: Mapping[tuple[str, str], Sequence[str]]) -> list[str]:
    names = [*findings, *sorted({to for _, to in ports} - set(findings))]
    sources = {source for source, _ in ports}
    rows = [["from", *names]]
    rows += [
        [source, *(" ".join(ports[source, to]) or "-" if (source, to) in ports else "" for to in names)]
        for source in ("outside", *findings)
        if source in sources
    ]
    return table(rows)
