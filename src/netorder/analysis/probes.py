"""What must be true of a running topology: who reaches whom on which TCP port, and who must not.

Pure: derived from the plan's reachability matrix. What is only sometimes true (an allowed port on which nothing
listens, a rule for a prefix outside that may or may not hold the asker) is left out rather than guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from netorder.analysis.reach import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netorder.analysis.reach import Matrix
    from netorder.plan.model import Host

__all__ = [
    "SSH",
    "Demonstration",
    "Probe",
    "from_inside",
    "from_outside",
    "listens_on",
    "report",
    "route_demonstration",
    "ssh_sources",
]

SSH = 22
_ANY = {False: "0.0.0.0", True: "::"}  # noqa: S104 - by whether it is IPv6; a security group is before it
_UNUSED = 9  # discard: no service here listens on it and no topology has a reason to open it


@dataclass(frozen=True, slots=True)
class Probe:
    """A TCP connection to try, to host ``name`` at ``address`` and ``port``; ``open``: whether it must succeed."""

    name: str
    address: str
    port: int
    open: bool


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A host that only a static route reaches, and how to ask it: by ping when ``port`` is None, else by TCP."""

    name: str
    address: str
    port: int | None


def from_inside(matrix: Matrix, host: Host) -> tuple[Probe, ...]:
    """List what ``host`` must and must not reach: SSH and the service of every other host, and its own service.

    A host of several interfaces or IP versions is asked on each of its addresses, for its service on those that this
    listens on.
    """
    versions = {":" in address for address in host.addresses}
    found: list[Probe] = []
    for other in matrix.plan.hosts:
        for address in other.addresses:
            ports = [SSH] if other is not host else []
            if other.service is not None and listens_on(matrix, other) in {address, _ANY[":" in address]}:
                ports.append(other.service.port)
            found += [
                Probe(other.name, address, port, open=matrix.verdict(host.name, address, "tcp", port) == "open")
                for port in ports
                if (":" in address) in versions
            ]
    return tuple(found)


def listens_on(matrix: Matrix, host: Host) -> str:
    """Return the address that the service of ``host`` listens on: the one it is called at, or its floating IP is at.

    Where these are several it is all of IPv4, or of IPv6 if it is only called by that.
    """
    mine = matrix.called.intersection(host.addresses)
    if host.floating_ip or not mine:
        mine |= {host.ports[0].addresses[0]}
    return next(iter(mine)) if len(mine) == 1 else _ANY[all(":" in address for address in mine)]


def from_outside(matrix: Matrix, host: Host) -> tuple[Probe, ...]:
    """List what anyone outside must and must not reach at ``host``'s floating address; ``address`` is the fixed one.

    Asked are SSH, every service port of the topology and one port that nobody uses. A port that is open to some
    prefixes only is left out, and so is one that is open and has nothing listening.
    """
    if not host.floating_ip:
        return ()
    listening = {SSH} | ({host.service.port} if host.service else set())
    services = {other.service.port for other in matrix.plan.hosts if other.service}
    found: list[Probe] = []
    for port in sorted({SSH, _UNUSED} | services):
        world = matrix.verdict(OUTSIDE, host.name, "tcp", port) == "open"
        if (matrix.sources(host.name, "tcp", port) and not world) or (world and port not in listening):
            continue
        found.append(Probe(host.name, host.ports[0].addresses[0], port, open=world))
    return tuple(found)


def ssh_sources(matrix: Matrix, host: Host) -> tuple[str, ...]:
    """List the IPv4 prefixes from which SSH is let in at ``host``'s floating address; none if that is no way in."""
    return () if host.ssh_path != () or not host.floating_ip else matrix.sources(host.name, "tcp", SSH)


def route_demonstration(matrix: Matrix, host: Host) -> tuple[Demonstration, ...]:
    """List the hosts that ``host`` may ask and reaches by its static routes only: they show the difference."""
    prefixes = [ip_network(route.destination) for route in host.routes]
    found: list[Demonstration] = []
    for other in matrix.plan.hosts:
        for address in other.addresses:
            if not any(ip_address(address) in prefix for prefix in prefixes):
                continue
            if matrix.verdict(host.name, address, "icmp") == "open":
                found.append(Demonstration(other.name, address, None))
            elif matrix.verdict(host.name, address, "tcp", SSH) == "open":
                found.append(Demonstration(other.name, address, SSH))
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
