"""What of a plan is in the cloud: each host with its state and addresses, and how many resources there are."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cloud.observe import Chosen, fault_text, observe
from netorder.cloud.preview import unchanged
from netorder.cloud.session import connect
from netorder.controller import local
from netorder.text import count, table
from netorder.topology import OPENSTACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Progress
    from netorder.cloud.observe import Observed
    from netorder.plan.model import Host, Plan

__all__ = ["HostStatus", "Status", "ask", "render", "status", "to_json"]

ABSENT, STRAY, RUNNING = "absent", "stray", "ACTIVE"


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host as the cloud has it: ``state`` is Nova's word (ACTIVE, SHUTOFF, …), or ``absent`` without a server.

    ``addresses`` are those of its ports; ``note`` says what is not as it should be. A ``stray`` is not in the plan.
    """

    name: str
    state: str
    addresses: tuple[str, ...]
    floating_ip: str | None
    note: str
    id: str | None
    planned: bool = True

    @property
    def is_well(self) -> bool:
        """Whether it is planned, runs, and has what the plan gives it."""
        return self.planned and self.state == RUNNING and not self.note


@dataclass(frozen=True, slots=True)
class Status:
    """The hosts, planned ones first; by kind of resource how many are ``there`` of those that are ``planned``."""

    topology: str
    hosts: tuple[HostStatus, ...]
    planned: dict[str, int]
    there: dict[str, int]

    @property
    def is_complete(self) -> bool:
        """Whether everything planned is there, every host is well, and there is no stray."""
        return all(host.is_well for host in self.hosts) and all(
            self.there.get(kind, 0) >= number for kind, number in self.planned.items()
        )


def ask(plan: Plan, progress: Progress, target: str = OPENSTACK, files: Path = Path(".netorder")) -> Status:
    """Ask the topology's cloud, or that of OS_CLOUD or OS_*, or this machine, and change nothing; raises CloudError."""
    if target in local.LOCAL:
        return _on_this_machine(plan, target, files)
    return status(plan, observe(connect(progress, plan.cloud), plan.topology))


def _on_this_machine(plan: Plan, target: str, files: Path) -> Status:
    found, strays = local.hosts(target, plan, files)
    health = local.health(target, plan)
    hosts = []
    for host in plan.hosts:
        its = found.get(host.name)
        state = str(its["status"]) if its else ABSENT
        outside = str(its["address"]) if its and host.floating_ip else None
        note = str(its.get("note", "")) if its else ""
        if its and (why := health.get(host.name)):
            note = f"unhealthy: {why}"
        addresses = host.addresses if its else ()
        hosts.append(HostStatus(host.name, state, addresses, outside, note, str(its["id"]) if its else None))
    hosts += [HostStatus(name, STRAY, (), None, STRAY, None, planned=False) for name in strays]
    there = local.there(target, plan, files)
    there |= {"server": len(found), "floating IP": sum(host.floating_ip is not None for host in hosts)}
    return Status(plan.topology, tuple(hosts), _planned(plan), there)


def status(plan: Plan, observed: Observed) -> Status:
    """Compare by name what was observed with the plan; whether each is as planned, drift says."""
    chosen = Chosen(observed)
    floating = {ip.port_id: str(ip.floating_ip_address) for ip in observed.associated}
    own = [_host(host, chosen, floating) for host in plan.hosts]
    named = {host.cloud_name for host in plan.hosts}
    others = [server for name, server in sorted(chosen.servers.items()) if name not in named] + chosen.surplus_servers
    held: dict[str, list[str]] = {}
    for port in observed.ports:
        held.setdefault(str(port.device_id or ""), []).extend(_fixed(port))
    strays = [
        HostStatus(str(one.name), str(one.status), tuple(held.get(one.id, ())), None, STRAY, one.id, planned=False)
        for one in others
    ]
    return Status(plan.topology, (*own, *strays), _planned(plan), _there(plan, observed, chosen))


def _host(host: Host, chosen: Chosen, floating: Mapping[str, str]) -> HostStatus:
    server: Server | None = chosen.servers.get(host.cloud_name)
    ports = [chosen.ports.get(port.cloud_name) for port in host.ports]
    addresses = tuple(address for port in ports if port for address in _fixed(port))
    has = [address for port in ports if port and (address := floating.get(str(port.id)))]
    outside = ", ".join(has) or host.outside_address
    notes = []
    if server is not None and server.status == "ERROR":
        notes.append(fault_text(server))
    missing = [address for address in host.addresses if address not in addresses]
    if missing and server is not None:
        notes.append(f"lacks {', '.join(missing)}")
    if len(has) < len(host.floating) and server is not None:
        notes.append("no floating address" if len(host.floating) == 1 else "floating addresses are missing")
    state = str(server.status) if server is not None else ABSENT
    return HostStatus(host.name, state, addresses, outside, "; ".join(notes), server.id if server is not None else None)


def _fixed(port: object) -> list[str]:
    return [str(fixed["ip_address"]) for fixed in getattr(port, "fixed_ips", None) or ()]


def _planned(plan: Plan) -> dict[str, int]:
    kinds = unchanged(plan, ())
    return {kind: kinds[kind] for kind in ("network", "router", "server", "floating IP") if kind in kinds}


def _there(plan: Plan, observed: Observed, chosen: Chosen) -> dict[str, int]:
    networks = sum(network.cloud_name in chosen.networks for network in plan.networks if not network.subnet_of)
    routers = sum(router.cloud_name in chosen.routers for router in plan.routers)
    servers = sum(host.cloud_name in chosen.servers for host in plan.hosts)
    bound = len(observed.associated)
    return {"network": networks, "router": routers, "server": servers, "floating IP": bound}


def to_json(found: Status) -> str:
    """Return it as JSON, ending with a newline."""
    hosts = [{**asdict(host), "well": host.is_well} for host in found.hosts]
    answer = {"topology": found.topology, "complete": found.is_complete, "hosts": hosts}
    resources = {kind: {"planned": number, "there": found.there[kind]} for kind, number in found.planned.items()}
    return json.dumps(answer | {"resources": resources}, indent=1, ensure_ascii=False) + "\n"


def render(found: Status) -> str:
    """Return it as a table for people, and a line that sums it up."""
    rows = [("host", "state", "addresses", "floating", "")]
    rows += [
        (host.name, host.state, ", ".join(host.addresses) or "-", host.floating_ip or "-", host.note)
        for host in found.hosts
    ]
    counts = ", ".join(f"{found.there[kind]} of {count(number, kind)}" for kind, number in found.planned.items())
    states = Counter(host.state for host in found.hosts if host.planned)
    shown = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return "".join(
        f"{line}\n" for line in [*table(rows), "", f"{found.topology}: {counts} in the cloud; hosts: {shown}"]
    )
