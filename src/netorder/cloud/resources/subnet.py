"""Subnets: of a network one, or one of each IP version, and further ones of IPv4."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from openstack.network.v2.subnet import Subnet as CloudSubnet

from netorder.cloud.change import Change
from netorder.cloud.jobs import Job, bound
from netorder.ip import DHCPV6, IPV6, SLAAC
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openstack.connection import Connection
    from openstack.network.v2.network import Network as CloudNetwork

    from netorder.cloud.draft import Draft
    from netorder.cloud.work import Work
    from netorder.plan.model import Network, Subnet

__all__ = [
    "KIND",
    "UPDATE",
    "SubnetChange",
    "compare",
    "compare_surplus",
    "create_body",
    "creations",
    "delete",
    "fields",
    "update_body",
    "updates",
]

KIND = "subnet"
# What the SDK calls the field of an update request, by the field that differs.
UPDATE = {
    "gateway_ip": "gateway_ip",
    "dns_nameservers": "dns_nameservers",
    "allocation_pools": "allocation_pools",
    "enable_dhcp": "is_dhcp_enabled",
    "host_routes": "host_routes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetChange(Change):
    """A subnet to create, replace or update, on the network of this name in the cloud; of the ``pool`` of this id."""

    network: str
    subnet: Subnet
    pool: str | None = None


def fields(subnet: Subnet) -> dict[str, object]:
    """Return a planned subnet's fields as previews show them; ``host_routes`` as text, and only where there are any.

    Without a pool nothing is said of it: Neutron then has one of its own, and nothing to take from it.
    """
    planned: dict[str, object] = {
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway_ip,
        "dns_nameservers": list(subnet.dns_nameservers),
        "enable_dhcp": subnet.dhcp,
    }
    if subnet.allocation_pool:
        first, last = subnet.allocation_pool
        planned["allocation_pools"] = [{"start": first, "end": last}]
    if subnet.ipv6_address_mode:
        planned["ipv6_address_mode"] = subnet.ipv6_address_mode
    if subnet.host_routes:
        planned["host_routes"] = sorted(f"{route.destination} via {route.next_hop}" for route in subnet.host_routes)
    return planned


def _observed_fields(found: CloudSubnet) -> dict[str, object]:
    return {
        "cidr": found.cidr,
        "gateway_ip": found.gateway_ip,
        "dns_nameservers": list(found.dns_nameservers or ()),
        "allocation_pools": [{"start": p["start"], "end": p["end"]} for p in found.allocation_pools or ()],
        "enable_dhcp": found.is_dhcp_enabled,
        "ipv6_address_mode": found.ipv6_address_mode,
        "host_routes": sorted(f"{r['destination']} via {r['nexthop']}" for r in found.host_routes or ()),
    }


def compare_surplus(draft: Draft, network: CloudNetwork | None) -> None:
    """Delete what a network of the cloud's has too many."""
    for one in draft.observed.subnets if network else ():
        if network and one.network_id == network.id and draft.subnets.get(str(one.name)) is not one:
            draft.add(Change(KIND, one.name, "delete", "not in the topology", before={"cidr": one.cidr}, id=one.id))


def compare(draft: Draft, network: Network) -> None:
    """Compare the subnets of a network of the plan."""
    for subnet in network.subnets:
        pool_names, pool = draft.existing.pool_names, draft.existing.pools.get(subnet.cloud_name)
        change = partial(
            SubnetChange,
            KIND,
            subnet.cloud_name,
            network=network.cloud_name,
            subnet=subnet,
            pool=pool.id if pool else None,
        )
        planned, one = fields(subnet), draft.subnets.get(subnet.cloud_name)
        planned |= {"subnet_pool": f"{pool.name} ({pool.id})"} if pool else {}
        on = network.subnet_of or network.name
        planned |= {"network": on} if network.subnet_of or (one and draft.network_name(one.network_id) != on) else {}
        if one:
            draft.ids.subnets[subnet.cloud_name] = one.id
            planned.setdefault("host_routes", [])
            if one.ipv6_address_mode in SLAAC and subnet.dhcp:
                planned.setdefault("ipv6_address_mode", DHCPV6)
            _refuse_dhcp(draft, network, one, subnet)
            has = (
                f"{pool_names.get(one.subnet_pool_id, 'one')} ({one.subnet_pool_id})" if one.subnet_pool_id else "none"
            )
            more = {"subnet_pool": has, "network": draft.network_name(one.network_id)}
            draft.differ(change, KIND, _observed_fields(one) | more, planned, id=one.id)
        else:
            draft.add(change("create", "missing", after=planned))


def _refuse_dhcp(draft: Draft, network: Network, found: CloudSubnet, subnet: Subnet) -> None:
    """Refuse to switch DHCP where that cannot be, or hosts would lose their addresses with their leases."""
    if found.is_dhcp_enabled == subnet.dhcp or found.cidr != subnet.cidr:
        return
    hosts = [host.name for host in draft.plan.hosts for port in host.ports if port.network == network.name]
    there = [name for name in hosts if f"{draft.plan.topology}-{name}" in draft.chosen.servers]
    switch = f"Subnet {found.name}: DHCP is {'off' if subnet.dhcp else 'on'} in the cloud and cannot be switched "
    if subnet.version == IPV6:
        why = "afterwards, as IPv6 has its modes from creation on"
    elif there and not subnet.dhcp:
        why = f"off under {few(there)}, which would lose their addresses when their leases end"
    else:
        return
    fix = f"give network {network.name} another name, which makes it anew with the ports of its hosts"
    draft.refuse(KIND, "dhcp", f"{switch}{why}. Write `dhcp: {str(not subnet.dhcp).lower()}`, or {fix}.")


def create_body(work: Work, change: SubnetChange) -> dict[str, Any]:
    """Return one of a bulk request's bodies."""
    subnet = change.subnet
    body: dict[str, Any] = {
        "name": subnet.cloud_name,
        "description": work.mark,
        "network_id": work.ids.networks[change.network],
        "ip_version": subnet.version,
        **fields(subnet),
    }
    if change.pool:
        body["subnetpool_id"] = change.pool
    if subnet.host_routes:
        body["host_routes"] = _host_routes(subnet)
    if subnet.version == IPV6 and subnet.dhcp:
        # unless the file says otherwise, hosts get what the plan says, whatever their MAC addresses
        mode = subnet.ipv6_address_mode or DHCPV6
        body |= {"ipv6_ra_mode": mode, "ipv6_address_mode": mode}
    return body


def creations(work: Work) -> Iterable[Job]:
    """Create subnets in bulk."""

    def made(change: SubnetChange, one: CloudSubnet) -> None:
        work.ids.subnets[change.name] = one.id

    changes = work.changes.of(SubnetChange, "create", "replace")
    yield from work.bulk(KIND, CloudSubnet, changes, create_body, made, "networks")


def update_body(change: SubnetChange) -> dict[str, Any]:
    """Return the fields of an update request: those that differ."""
    planned = {**fields(change.subnet), "host_routes": _host_routes(change.subnet)}
    body = {UPDATE[name]: planned[name] for name in change.after or {}}
    if "gateway_ip" in body and not change.subnet.allocation_pool:  # else Neutron's own may hold it
        body["allocation_pools"] = []
    return body


def updates(work: Work) -> Iterable[Job]:
    """Update subnets one by one."""
    for change in work.changes.of(SubnetChange, "update"):
        call = bound(work.conn.network.update_subnet, change.id, **update_body(change))
        yield Job(KIND, (change.name,), "update", call, gives="subnets")


def delete(conn: Connection, change: Change) -> None:
    """Delete a subnet."""
    conn.network.delete_subnet(change.id)


def _host_routes(subnet: Subnet) -> list[dict[str, str]]:
    return [{"destination": route.destination, "nexthop": route.next_hop} for route in subnet.host_routes]
