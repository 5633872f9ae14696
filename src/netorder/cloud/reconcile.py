"""Make the cloud what the plan says: one session, each type listed once, only the differences changed."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from netorder.cloud.apply import apply
from netorder.cloud.change import FIXED_ADDRESS
from netorder.cloud.compare import compare
from netorder.cloud.existing import look_up
from netorder.cloud.observe import external_networks, let_finish, observe
from netorder.cloud.preflight import preflight
from netorder.cloud.preview import unchanged
from netorder.cloud.resources.server import METADATA, is_off
from netorder.cloud.result import HostFacts, Result, not_allowed
from netorder.cloud.wait import wait_for_servers
from netorder.cloud.waits import HOSTKEY_TIMEOUT
from netorder.errors import CloudError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Change
    from netorder.cloud.observe import Observed
    from netorder.cloud.session import Cloud
    from netorder.plan.model import Plan

__all__ = [
    "HostFacts", "RefusedError", "Result", "host_facts", "not_allowed", "reconcile", "result_of",
]  # fmt: skip


def reconcile(
    cloud: Cloud,
    plan: Plan,
    *,
    key: str | None,
    check: bool,
    allow: Collection[str] = (),
    hostkey_timeout: float = HOSTKEY_TIMEOUT,
    golden_only: bool = False,
) -> Result:
    """Compare, check that the cloud can give what is missing, change, wait for the hosts.

    Raises RefusedError before the first change, CloudError after it, when it cannot be.

    ``key`` is the user's public key (None only in check mode: it is made on the first run). ``allow`` names what may
    be done to what is in use, "delete", "replace", and what the cloud's policy is known to allow, "zero-disk",
    "fixed-address".
    ``hostkey_timeout`` (s) of 0: host keys are not learned. ``golden_only``: see :func:`preflight`.
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
        facts, more = preflight(cloud, plan, observed, changes, allow, golden_only=golden_only)
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
