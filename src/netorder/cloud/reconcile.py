"""Make the cloud what the plan says: one session, each type listed once, only the differences changed."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from netorder.cloud.apply import apply
from netorder.cloud.change import FIXED_ADDRESS
from netorder.cloud.compare import compare
from netorder.cloud.existing import look_up
from netorder.cloud.observe import external_networks, let_finish, observe
from netorder.cloud.preflight import preflight
from netorder.cloud.preview import diff_text, unchanged, unchanged_text
from netorder.cloud.resources.server import METADATA, is_off
from netorder.cloud.wait import wait_for_servers
from netorder.errors import CloudError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Change
    from netorder.cloud.observe import Observed
    from netorder.cloud.session import Cloud
    from netorder.plan.model import Plan

__all__ = [
    "HOSTKEY_TIMEOUT", "HostFacts", "RefusedError", "Result", "host_facts", "not_allowed", "reconcile", "result_of",
]  # fmt: skip

# Guests under emulation, five at a time on two cores, take up to 200 s to print their keys.
HOSTKEY_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class HostFacts:
    """A host as the cloud has it: None where it is not there yet (check mode). ``others`` are more floating IPs."""

    id: str | None
    address: str
    floating_ip: str | None
    hostkey: str | None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did, or in check mode would do. ``unchanged`` counts the planned resources of each kind that stay."""

    changes: tuple[Change, ...]
    unchanged: dict[str, int] = field(default_factory=dict)
    hosts: dict[str, HostFacts] = field(default_factory=dict)
    timings: tuple[dict[str, object], ...] = ()
    requests: dict[str, int] = field(default_factory=dict)
    api_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything differed."""
        return bool(self.changes)

    def as_dict(self) -> dict[str, Any]:
        """Return what an Ansible module returns."""
        answer: dict[str, Any] = {
            "changed": self.changed,
            "changes": [change.as_dict() for change in self.changes],
            "unchanged": self.unchanged,
            "needs_allow": sorted({change.permission for change in self.changes if change.permission}),
            "hosts": {name: asdict(host) for name, host in self.hosts.items()},
            "timings": list(self.timings),
            "requests": self.requests,
            "api_seconds": self.api_seconds,
            "seconds": self.seconds,
        }
        if self.changes:
            same = f"= unchanged: {unchanged_text(self.unchanged)}\n" if self.unchanged else ""
            answer["diff"] = {"prepared": diff_text(self.changes) + same}
        return answer


def reconcile(
    cloud: Cloud,
    plan: Plan,
    *,
    key: str | None,
    check: bool,
    allow: Collection[str] = (),
    hostkey_timeout: float = HOSTKEY_TIMEOUT,
) -> Result:
    """Compare, check that the cloud can give what is missing, change, wait for the hosts.

    Raises RefusedError before the first change, CloudError after it, when it cannot be.

    ``key`` is the user's public key (None only in check mode: it is made on the first run). ``allow`` names what may
    be done to what is in use, "delete", "replace", and what the cloud's policy is known to allow, "zero-disk",
    "fixed-address".
    ``hostkey_timeout`` (s) of 0: host keys are not learned.
    """
    start = time.monotonic()
    cloud.phase = "list"
    observed = observe(cloud, plan.topology)
    named = (observed.routers or observed.floating_ips) and any(
        router.external and (router.external_network or plan.external_network) for router in plan.routers
    )
    externals = external_networks(cloud) if named else ()
    there = look_up(cloud, plan, observed, addresses_allowed=FIXED_ADDRESS in allow)
    if there.problems:
        raise RefusedError(
            result_of(cloud, (), host_facts(plan, observed, observed.servers, {}), start), *there.problems
        )
    options: dict[str, Any] = {"key": key, "externals": externals, "host_keys": hostkey_timeout > 0, "existing": there}
    found = compare(plan, observed, **options)
    if found.changes and not check:
        observed = let_finish(cloud, plan.topology, observed)
        found = compare(plan, observed, **options)
    changes, problems = found.changes, list(found.problems)
    servers: Sequence[Server] = observed.servers
    floating: dict[str, str] = {}
    if changes:
        cloud.phase = "preflight"
        facts, more = preflight(cloud, plan, observed, changes, allow)
        problems += more
    if not check:
        problems += not_allowed(changes, allow)
    if problems:
        raise RefusedError(result_of(cloud, changes, host_facts(plan, observed, servers, {}), start), *problems)
    if changes and not check:
        if key is None:
            raise CloudError("No SSH key for the hosts: name one with netorder_ssh_key.")
        cloud.phase = "change"
        floating = apply(cloud, found, facts=facts, key=key)
    if not check and (changes or any(server.status != "ACTIVE" and not is_off(server) for server in servers)):
        cloud.phase = "wait"
        new = any(change.kind == "server" and change.action in {"create", "replace"} for change in changes)
        servers = wait_for_servers(cloud, plan, new=new, timeout=hostkey_timeout)
    same = unchanged(plan, changes)
    return result_of(cloud, changes, host_facts(plan, observed, servers, floating), start, unchanged=same)


def not_allowed(changes: Iterable[Change], allow: Collection[str]) -> list[str]:
    """Return the problem, if it is one, that changes bring a loss that is not allowed."""
    losses: dict[str, list[str]] = {}
    for change in changes:
        if change.permission and change.permission not in allow:
            losses.setdefault(change.permission, []).append(f"{change.kind} {change.name} ({change.reason})")
    if not losses:
        return []
    what = " and ".join(f"{action} {len(these)}: {'; '.join(these)}" for action, these in losses.items())
    all_of_them = ",".join(sorted({*losses, *allow}))
    return [f"Nothing was changed: this would {what}. If that is meant, allow it: -e allow={all_of_them}"]


def result_of(
    cloud: Cloud,
    changes: Sequence[Change],
    hosts: dict[str, HostFacts],
    start: float,
    *,
    unchanged: dict[str, int] | None = None,
) -> Result:
    """Put the session's counts and times beside the changes."""
    return Result(
        tuple(changes),
        unchanged or {},
        hosts,
        tuple(asdict(timing) for timing in cloud.timings),
        {**cloud.calls, "total": cloud.calls.total()},
        round(cloud.api_seconds, 3),
        round(time.monotonic() - start, 3),
    )


def host_facts(
    plan: Plan, observed: Observed, servers: Sequence[Server], floating: dict[str, str]
) -> dict[str, HostFacts]:
    """Return what the cloud has of each planned host; ``floating`` are addresses that came after it, by port."""
    ports = {port.id: port.name for port in observed.ports}
    known = {ports[ip.port_id]: str(ip.floating_ip_address) for ip in observed.associated} | floating
    by_name = {server.name: server for server in servers}
    facts = {}
    for host in plan.hosts:
        server = by_name.get(host.cloud_name)
        addresses = [known.get(host.port(one.network).cloud_name) for one in host.floating]
        facts[host.name] = HostFacts(
            server.id if server else None,
            host.ports[0].addresses[0],
            addresses[0] if addresses else None,
            (server.metadata or {}).get(METADATA["hostkey"]) if server else None,
            tuple(address for address in addresses[1:] if address),
        )
    return facts
