"""Ports of hosts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from openstack.network.v2.port import Port as CloudPort

from netorder.cloud.change import Change
from netorder.cloud.draft import chosen_addresses, fixed_addresses, made_up
from netorder.cloud.jobs import Job, bound
from netorder.cloud.work import BULK
from netorder.plan.lifecycle import address_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from openstack.connection import Connection

    from netorder.cloud.draft import Draft
    from netorder.cloud.work import Work
    from netorder.plan.model import Host, Plan, Port

__all__ = [
    "KIND",
    "PortChange",
    "compare",
    "create_body",
    "creations",
    "delete",
    "releases",
    "update_body",
    "updates",
]

KIND = "port"
# Ports are the dearest bulk, and one API process works on each: two at once, unless they are few.
SMALLEST_BULK = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PortChange(Change):
    """A port to create, replace or update.

    ``network`` is its name in the cloud, ``fixed`` are the addresses, after their subnets' names in the cloud; None
    where Neutron makes it of the port's MAC address.
    """

    port: Port
    network: str
    fixed: tuple[tuple[str, str | None], ...]

    @property
    def loses_addresses(self) -> bool:
        """Whether addresses go, whose subnets may be deleted then."""
        return len(_addresses(self.before)) > len(_addresses(self.after))


def compare(draft: Draft) -> None:
    """Compare the ports of all hosts."""
    for host in draft.plan.hosts:
        for port in host.ports:
            _compare(draft, host, port)


def _compare(draft: Draft, host: Host, port: Port) -> None:
    found = draft.chosen.ports.get(port.cloud_name)
    change = partial(
        PortChange,
        KIND,
        port.cloud_name,
        port=port,
        network=draft.cloud_network(port.network),
        fixed=_asked(draft.plan, port),
    )
    had, have = address_fields(chosen_addresses(found, port.addresses) if found else (), port.addresses)
    planned: dict[str, object] = {
        "network": port.network,
        **have,
        "security_groups": draft.groups.planned_labels(port),
    }
    pairs = sorted(port.allowed_address_pairs)
    if not found:
        more: dict[str, object] = {"allowed_address_pairs": pairs} if pairs else {}
        more |= {} if port.port_security else {"port_security": False}
        more |= {"mac_address": port.mac_address} if port.mac_address else {}
        draft.add(change("create", "missing", after=planned | more))
        return
    draft.ids.ports[port.cloud_name] = found.id
    has: dict[str, object] = {
        "network": draft.place_name(found, port.network),
        **had,
        "security_groups": sorted(map(draft.groups.label, found.security_group_ids or ())),
    }
    found_pairs = sorted(pair["ip_address"] for pair in found.allowed_address_pairs or ())
    if found_pairs or pairs:
        has["allowed_address_pairs"], planned["allowed_address_pairs"] = found_pairs, pairs
    # a cloud without the extension says nothing, which the SDK reads as off; what is off has no groups
    has["port_security"] = bool(found.is_port_security_enabled or found.security_group_ids)
    planned["port_security"] = port.port_security
    if port.mac_address:
        has["mac_address"], planned["mac_address"] = str(found.mac_address).lower(), port.mac_address
    if why := draft.why_replaced(KIND, has, planned, found):
        server = draft.chosen.servers.get(host.cloud_name)
        held_by = str(found.device_id or "")
        if held_by and not (server and held_by == server.id) and not draft.server_goes(held_by):
            draft.refuse(
                KIND,
                "holder",
                f"Host {host.name}: its port {port.cloud_name} is held by {held_by}, which is no server of "
                f"this topology. Delete that or detach the port.",
            )
            return
        draft.add(change("replace", why, has, planned, found.id, not held_by))
        return
    has["admin_state_up"], planned["admin_state_up"] = found.is_admin_state_up, True
    draft.differ(change, KIND, has, planned, id=found.id)


def _asked(plan: Plan, port: Port) -> tuple[tuple[str, str | None], ...]:
    """Return what Neutron is asked for: no address on a subnet where it makes it of the MAC address, as it refuses one.

    That it is the planned one is for the next comparison.
    """
    fixed, follow = fixed_addresses(plan, port.network, port.addresses), made_up(plan, port.network)
    return tuple((subnet, None if subnet in follow else address) for subnet, address in fixed)


def create_body(work: Work, change: PortChange) -> dict[str, Any]:
    """Return one of a bulk request's bodies."""
    body: dict[str, Any] = {
        "name": change.name,
        "description": work.mark,
        "network_id": work.ids.networks[change.network],
        "fixed_ips": _fixed(work, change),
        "security_groups": _groups(work, change),
    }
    body |= {} if change.port.port_security else {"port_security_enabled": False}
    body |= {"mac_address": change.port.mac_address} if change.port.mac_address else {}
    return body | ({"allowed_address_pairs": _pairs(change)} if change.port.allowed_address_pairs else {})


def creations(work: Work) -> Iterable[Job]:
    """Create ports, in bulk requests side by side, but not in more of them than that takes."""

    def made(change: PortChange, one: CloudPort) -> None:
        work.ids.ports[change.name] = one.id

    for gives, part in _batches(work.changes.of(PortChange, "create", "replace")).items():
        work.batch.update((change.name, gives) for change in part)
        yield from work.bulk(KIND, CloudPort, part, create_body, made, "subnets", "security groups", gives=gives)


def _batches(changes: Sequence[PortChange]) -> dict[str, Sequence[PortChange]]:
    size = max(SMALLEST_BULK, min(BULK, -(-len(changes) // 2)))
    return {f"ports {start // size}": changes[start : start + size] for start in range(0, len(changes), size)}


def update_body(work: Work, change: PortChange) -> dict[str, Any]:
    """Return the fields of an update request: those that differ."""
    fields: dict[str, Callable[[], dict[str, Any]]] = {
        "addresses": lambda: {"fixed_ips": _fixed(work, change)},
        "security_groups": lambda: {"security_groups": _groups(work, change)},
        "allowed_address_pairs": lambda: {"allowed_address_pairs": _pairs(change)},
        "port_security": lambda: {"port_security_enabled": change.port.port_security},
        "admin_state_up": lambda: {"admin_state_up": True},
    }
    return {key: value for name in change.after or {} for key, value in fields[name]().items()}


def updates(work: Work) -> Iterable[Job]:
    """Update ports, when all rules match the plan: a host that moves to another group is never without its own."""

    def update(change: PortChange) -> None:
        work.conn.network.update_port(change.id, **update_body(work, change))

    needs = frozenset({"security groups", "rules", "subnets"})
    for change in work.changes.of(PortChange, "update"):
        if not change.loses_addresses or len(change.after or {}) > 1:
            yield Job(KIND, (change.name,), "update", bound(update, change), needs, "moves")


def releases(work: Work) -> Iterable[Job]:
    """Take addresses off ports that stay, before the addresses' subnets go."""

    def release(change: PortChange) -> None:
        work.conn.network.update_port(change.id, fixed_ips=_fixed(work, change))

    for change in work.changes.of(PortChange, "update"):
        if change.loses_addresses:
            yield Job(KIND, (change.name,), "update", bound(release, change))


def delete(conn: Connection, change: Change) -> None:
    """Delete a port that no server has."""
    conn.network.delete_port(change.id)


def _addresses(values: dict[str, object] | None) -> list[str]:
    return cast("list[str]", (values or {}).get("addresses", []))


def _fixed(work: Work, change: PortChange) -> list[dict[str, str]]:
    return [
        {"subnet_id": work.ids.subnets[subnet]} | ({"ip_address": one} if one else {}) for subnet, one in change.fixed
    ]


def _groups(work: Work, change: PortChange) -> list[str]:
    own = [work.ids.groups[name] for name in change.port.security_groups]
    return [*own, *(work.ids.existing_groups[name] for name in change.port.existing_groups or ())]


def _pairs(change: PortChange) -> list[dict[str, str]]:
    return [{"ip_address": prefix} for prefix in change.port.allowed_address_pairs]
