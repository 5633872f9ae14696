"""A change set in the making: what is planned, what was observed, and what the comparison has found so far."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from netorder.cloud.change import DESTRUCTIVE, Change, ChangeSet, Ids, Routes
from netorder.cloud.existing import Existing
from netorder.cloud.groups import Groups
from netorder.cloud.observe import Chosen
from netorder.ip import mac_of
from netorder.plan.lifecycle import Effect, changed_fields, effect, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from openstack.network.v2.network import Network as CloudNetwork
    from openstack.network.v2.port import Port as CloudPort
    from openstack.network.v2.subnet import Subnet as CloudSubnet

    from netorder.cloud.observe import Observed
    from netorder.plan.model import Plan

__all__ = ["Draft", "addresses_of", "chosen_addresses", "fixed_addresses", "made_up"]


class Draft:
    """What the kinds of resources share while they are compared, one after another.

    ``going`` are the ids of what is deleted or replaced, ``detached`` the (router, subnet) ids whose interface is.
    ``ports_of`` are the observed ports by the server or router that has them, ``server_groups`` the names of the groups
    that stay by the ids of the servers in them, ``subnets`` the observed ones that stand for planned ones, by name.
    """

    def __init__(
        self,
        plan: Plan,
        observed: Observed,
        *,
        key: str | None,
        externals: Iterable[CloudNetwork],
        host_keys: bool,
        existing: Existing | None = None,
    ) -> None:
        self.plan = plan
        self.observed = observed
        self.key = key
        self.host_keys = host_keys
        self.externals = {network.id: network.name for network in externals}
        self.chosen = Chosen(observed)
        self.existing = existing or Existing()
        self.groups = Groups(plan, observed, self.existing.groups)
        self.ports_of: dict[str, list[CloudPort]] = {}
        for port in observed.ports:
            self.ports_of.setdefault(str(port.device_id or ""), []).append(port)
        self.subnets = self._chosen_subnets()
        self.changes: list[Change] = []
        self.problems: list[str] = []
        self.ids = Ids(existing_groups=dict(self.existing.groups), subnets=dict(self.existing.subnets))
        self.going: set[str] = set()
        self.detached: set[tuple[str, str]] = set()
        self.server_groups: dict[str, str] = {}
        self._cloud_networks = {network.name: network.cloud_name for network in plan.networks}
        own_names = {network.cloud_name: network.name for network in plan.networks if not network.subnet_of}
        self._network_names: dict[str, str] = {one.id: own_names.get(one.name, one.name) for one in observed.networks}
        self._network_names |= {
            self.existing.networks[network.name]: network.name
            for network in plan.networks
            if network.name in self.existing.networks and not network.subnet_of
        }

    def _chosen_subnets(self) -> dict[str, CloudSubnet]:
        """Return those that are on their network; a further subnet's is also known where it was before."""
        planned = {s.cloud_name: n.cloud_name for n in self.plan.networks if not n.existing for s in n.subnets}
        names = {one.id: one.name for one in self.chosen.networks.values()}
        known = [one for one in self.observed.subnets if one.name in planned and one.network_id in names]
        there = [one for one in known if names[one.network_id] == planned[one.name]]
        return self.chosen.by_name(known)[0] | self.chosen.by_name(there)[0]

    def finished(self, first: Iterable[Routes], routes: Iterable[Routes]) -> ChangeSet:
        """Return the change set."""
        done = tuple(self.changes), tuple(self.problems), self.ids
        return ChangeSet(self.plan.topology, *done, tuple(first), tuple(routes))

    def add(self, change: Change) -> None:
        """Take up a change."""
        if change.id and change.action in DESTRUCTIVE:
            self.going.add(change.id)
        self.changes.append(change)

    def detach(self, port: CloudPort) -> None:
        """Take up that a router loses a port; what is translated goes by IPv4."""
        for fixed in port.fixed_ips or ():
            if ":" not in fixed["ip_address"]:
                self.detached.add((str(port.device_id), str(fixed.get("subnet_id"))))

    def differ(
        self,
        change: Callable[..., Change],
        kind: str,
        found: Mapping[str, object],
        planned: Mapping[str, object],
        *,
        id: str,  # noqa: A002 - the cloud's word
        also: Mapping[str, object] | None = None,
    ) -> bool:
        """Take up what the fields that differ cost: an update, or a replacement that shows what forces it.

        ``change`` makes it from action, reason, before, after and id; ``also`` is shown beside what differs. Returns
        whether the resource stays.
        """
        keys = changed_fields(found, planned)
        if not keys:
            return True
        action, why = "update", f"{', '.join(keys)} differ"
        if effect(kind, keys) is Effect.REPLACE:
            keys = [key for key in keys if effect(kind, (key,)) is Effect.REPLACE]
            action, why = "replace", reason(kind, keys)
        before = {**(also or {}), **{key: found[key] for key in keys}}
        after = {**(also or {}), **{key: planned[key] for key in keys}}
        self.add(change(action, why, before, after, id))
        return action == "update"

    def refuse(self, kind: str, field: str, problem: str) -> None:
        """Take up a problem: a difference of a field that is refused."""
        if effect(kind, (field,)) is not Effect.REFUSE:
            raise ValueError(f"{kind} {field} is refused here, but not by the table of effects")
        self.problems.append(problem)

    def why_replaced(
        self, kind: str, found: Mapping[str, object], planned: Mapping[str, object], port: CloudPort
    ) -> str:
        """Return why a port is replaced: for what differs, or for its subnet, which goes; nothing if it is not.

        A subnet of an address that it loses anyway is no reason.
        """
        keys = changed_fields(found, planned)
        if keys and effect(kind, keys) is Effect.REPLACE:
            return reason(kind, keys)
        kept = planned.get("addresses")
        stands = any(
            fixed.get("subnet_id") in self.going
            for fixed in port.fixed_ips or ()
            if not isinstance(kept, list) or fixed["ip_address"] in kept
        )
        return "its subnet is replaced" if stands else ""

    def server_goes(self, server_id: str) -> bool:
        """Return whether the server with this id is about to be deleted."""
        hosts = {host.cloud_name for host in self.plan.hosts}
        surplus = {server.id for server in self.chosen.surplus_servers}
        return server_id in surplus or any(
            s.id == server_id and (s.name not in hosts or s.status == "ERROR" or s.task_state == "deleting")
            for s in self.observed.servers
        )

    def network_name(self, network_id: str) -> str:
        """Return the topology's name of a network of its own, or the id of a foreign one."""
        return self._network_names.get(network_id, network_id)

    def place_name(self, port: CloudPort, wanted: str) -> str:
        """Return the topology's name of the network that a port is on.

        Of several that are one in the cloud, further subnets, it is the one that its addresses are of, or the
        ``wanted`` one where that is not known.
        """
        if self.ids.networks.get(self._cloud_networks.get(wanted, "")) != port.network_id:
            return self.network_name(str(port.network_id))
        its = {fixed.get("subnet_id") for fixed in port.fixed_ips or () if ":" not in fixed["ip_address"]}
        names = [n.name for n in self.plan.networks for s in n.subnets if self.ids.subnets.get(s.cloud_name) in its]
        return names[0] if names and wanted not in names else wanted

    def cloud_network(self, name: str) -> str:
        """Return what a network of the topology is called in the cloud."""
        return self._cloud_networks[name]


def fixed_addresses(plan: Plan, network: str, addresses: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return a port's addresses on a network of the plan, each after its subnet's name in the cloud."""
    subnets = {s.version: s.cloud_name for n in plan.networks if n.name == network for s in n.subnets}
    return tuple((subnets[6 if ":" in address else 4], address) for address in addresses)


def addresses_of(port: CloudPort) -> list[str]:
    """Return a port's addresses."""
    return [fixed["ip_address"] for fixed in port.fixed_ips or ()]


def chosen_addresses(port: CloudPort, planned: Iterable[str]) -> list[str]:
    """Return a port's addresses but those that Neutron has added by itself, unless they are the planned ones.

    It does so on every subnet with SLAAC of a port's network, whoever made the subnet, and takes none away again.
    """
    mac, kept = str(port.mac_address).lower(), {*planned}
    return [one for one in addresses_of(port) if one in kept or mac_of(ip_address(one)) != mac]


def made_up(plan: Plan, network: str) -> frozenset[str]:
    """Return the names in the cloud of a network's subnets on which hosts make up their addresses."""
    return frozenset(s.cloud_name for n in plan.networks if n.name == network for s in n.subnets if s.ipv6_address_mode)
