"""Plan against cloud: every difference as a Change, and everything that cannot be mended in place as a problem.

Pure: no call to the cloud, no order of work; :mod:`netorder.cloud.apply` does exactly what is listed here.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from netorder.cloud.change import DESTRUCTIVE, Change, keypair_name
from netorder.cloud.groups import Groups, normal_rule, rule_text
from netorder.cloud.observe import Chosen, fault_text, is_router_port
from netorder.plan.lifecycle import Effect, changed_fields, effect, exit_router, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openstack.compute.v2.server import Server as CloudServer
    from openstack.network.v2.floating_ip import FloatingIP
    from openstack.network.v2.network import Network as CloudNetwork
    from openstack.network.v2.port import Port as CloudPort
    from openstack.network.v2.subnet import Subnet as CloudSubnet

    from netorder.cloud.observe import Observed
    from netorder.plan.model import Host, Network, Plan, Port, Router, RouterInterface, SecurityGroup, Subnet

__all__ = [
    "METADATA",
    "Comparison",
    "compare",
    "diff_text",
    "same_key",
    "subnet_fields",
    "unchanged",
    "unchanged_text",
]

# Server metadata that this project sets; the host key is added when the console log shows it.
METADATA = {
    "topology": "netorder_topology",
    "host": "netorder_host",
    "image": "netorder_image",
    "hostkey": "netorder_hostkey",
}
# What to call on a server that is not ACTIVE but can be brought back.
REVIVE = {"SHUTOFF": "start_server", "PAUSED": "unpause_server", "SUSPENDED": "resume_server"}
# States that end by themselves.
IN_MOTION = frozenset({"BUILD", "REBUILD", "REBOOT", "HARD_REBOOT", "MIGRATING"})


class Comparison:
    """Compares a plan with what the cloud has; ``changes`` and ``problems`` are the answer."""

    def __init__(
        self,
        plan: Plan,
        seen: Observed,
        *,
        key: str | None,
        externals: Iterable[CloudNetwork] = (),
        host_keys: bool = True,
    ) -> None:
        self.plan = plan
        self.seen = seen
        self.changes: list[Change] = []
        self.problems: list[str] = []
        self._key = key
        self._host_keys = host_keys
        self._going: set[str] = set()  # the ids of subnets and ports that are deleted or replaced
        self._unhooked: set[tuple[str, str]] = set()  # (router, network) ids whose interface is
        self._externals = {network.id: network.name for network in externals}
        self._has = Chosen(seen)
        self._groups = Groups(plan, seen)
        self._network_names = {network.id: network.name for network in seen.networks}
        self._cloud_names = {network.name: network.cloud_name for network in plan.networks}

        self._compare_keypair()
        for network in plan.networks:
            self._compare_network(network)
        for group in plan.security_groups:
            self._compare_group(group)
        for router in plan.routers:
            self._compare_router(router)
        for host in plan.hosts:
            for host_port in host.ports:
                self._compare_port(host, host_port)
        self._remove()
        for host in plan.hosts:
            self._compare_server(host)
        self._compare_floating_ips()

    def _add(
        self,
        kind: str,
        name: str,
        action: str,
        reason: str,
        *,
        before: dict[str, object] | None = None,
        after: dict[str, object] | None = None,
        id: str | None = None,  # noqa: A002 (the cloud's word)
        wanted: object = None,
        lossless: bool = False,
    ) -> None:
        if id and action in DESTRUCTIVE:
            self._going.add(id)
        self.changes.append(Change(kind, name, action, reason, before, after, id, wanted, lossless))

    def _update(
        self,
        kind: str,
        name: str,
        found: Mapping[str, object],
        want: Mapping[str, object],
        *,
        id: str,  # noqa: A002 (the cloud's word)
        wanted: object,
        also: Mapping[str, object] | None = None,
    ) -> None:
        """Add what the fields that differ cost, if any do: an update, or a replacement that shows what forces it.

        ``also`` is shown beside them.
        """
        keys = changed_fields(found, want)
        if not keys:
            return
        action, why = "update", f"{', '.join(keys)} differ"
        if effect(kind, keys) is Effect.REPLACE:
            keys = [key for key in keys if effect(kind, (key,)) is Effect.REPLACE]
            action, why = "replace", reason(kind, keys)
        before = {**(also or {}), **{k: found[k] for k in keys}}
        after = {**(also or {}), **{k: want[k] for k in keys}}
        self._add(kind, name, action, why, before=before, after=after, id=id, wanted=wanted)

    def _refuse(self, kind: str, field: str, problem: str) -> None:
        """Add a problem about a difference that nothing but a refusal answers."""
        if effect(kind, (field,)) is not Effect.REFUSE:
            raise ValueError(f"{kind} {field} is refused here, but not by the table of effects")
        self.problems.append(problem)

    # Key pair

    def _compare_keypair(self) -> None:
        name, found = keypair_name(self.plan.topology), self.seen.keypair
        if not found:
            self._add(
                "key pair", name, "create", "missing", after={"public_key": self._key or "(made on the first run)"}
            )
        elif self._key and not same_key(self._key, found.public_key):
            self._refuse(
                "key pair",
                "public_key",
                f"Key pair {name} in the cloud holds another public key than this controller's ({_tail(self._key)}), "
                f"which the hosts would not let in. Set netorder_ssh_key to its private key, or tear down first.",
            )
        elif not self._key:
            self._refuse(
                "key pair",
                "public_key",
                f"Key pair {name} exists in the cloud, but this controller has no private key for it. Set "
                f"netorder_ssh_key to the private key that the hosts were made with, or tear down first.",
            )

    # Networks

    def _compare_network(self, network: Network) -> None:
        name, found = network.cloud_name, self._has.networks.get(network.cloud_name)
        if not found:
            self._add("network", name, "create", "missing", after={"admin_state_up": True}, wanted=network)
        else:
            up = {"admin_state_up": found.is_admin_state_up}
            self._update("network", name, up, {"admin_state_up": True}, id=found.id, wanted=network)
        mine = [s for s in self.seen.subnets if found and s.network_id == found.id]
        subnets, surplus = self._has.by_name(mine)
        names = {subnet.cloud_name for subnet in network.subnets}
        for one in [*surplus, *(s for n, s in subnets.items() if n not in names)]:
            self._add("subnet", one.name, "delete", "not in the topology", before={"cidr": one.cidr}, id=one.id)
        for subnet in network.subnets:
            self._compare_subnet(network, subnet, subnets.get(subnet.cloud_name))

    def _compare_subnet(self, network: Network, subnet: Subnet, found: CloudSubnet | None) -> None:
        name, want = subnet.cloud_name, subnet_fields(subnet)
        if not found:
            after = {"cidr": subnet.cidr, **want}
            self._add("subnet", name, "create", "missing", after=after, wanted=(network, subnet))
        else:
            want = {"cidr": subnet.cidr, **want}
            want.setdefault("host_routes", [])
            has: dict[str, object] = {
                "cidr": found.cidr,
                "gateway_ip": found.gateway_ip,
                "dns_nameservers": list(found.dns_nameservers or ()),
                "allocation_pools": [{"start": p["start"], "end": p["end"]} for p in found.allocation_pools or ()],
                "enable_dhcp": found.is_dhcp_enabled,
                "host_routes": sorted(f"{r['destination']} via {r['nexthop']}" for r in found.host_routes or ()),
            }
            self._update("subnet", name, has, want, id=found.id, wanted=(network, subnet))

    # Security groups

    def _compare_group(self, group: SecurityGroup) -> None:
        name, found = self._groups.names[group.cloud_name], self._groups.found.get(group.cloud_name)
        hosts = ", ".join(self._groups.members[group.cloud_name])
        want: dict[str, object] = {"name": name, "rules": sorted(rule_text(normal_rule(rule)) for rule in group.rules)}
        if not found:
            after = {"hosts": hosts, "rules": want["rules"]}
            self._add("security group", name, "create", "missing", after=after, wanted=group)
            return
        rules = sorted(rule_text(normal_rule(rule)) for rule in found.security_group_rules or ())
        has: dict[str, object] = {"name": found.name, "rules": rules}
        self._update("security group", name, has, want, id=found.id, wanted=group, also={"hosts": hosts})

    # Routers

    def _compare_router(self, router: Router) -> None:
        found = self._has.routers.get(router.cloud_name)
        routes = sorted(f"{route.destination} via {route.next_hop}" for route in router.routes)
        want: dict[str, object] = {"admin_state_up": True, "external": router.external, "routes": routes}
        if not found:
            self._add("router", router.cloud_name, "create", "missing", after=want, wanted=router)
        else:
            gateway = (found.external_gateway_info or {}).get("network_id")
            has: dict[str, object] = {
                "admin_state_up": found.is_admin_state_up,
                "external": bool(gateway),
                "routes": sorted(f"{route['destination']} via {route['nexthop']}" for route in found.routes or ()),
            }
            named = router.external_network or self.plan.external_network
            if router.external and gateway and named and named != gateway:
                has["external_network"], want["external_network"] = self._externals.get(gateway, gateway), named
            self._update("router", router.cloud_name, has, want, id=found.id, wanted=router)
        for interface in router.interfaces:
            self._compare_interface(router, interface)

    def _compare_interface(self, router: Router, interface: RouterInterface) -> None:
        name, network, address = interface.port_name, interface.network, ", ".join(interface.addresses)
        found, after = self._has.ports.get(name), {"network": network, "address": address}
        wanted = (router, interface)
        if not found:
            self._add("router interface", name, "create", "missing", after=dict(after), wanted=wanted)
            return
        has: dict[str, object] = {"network": self._own_name(found.network_id), "address": _address(found)}
        owner = self._has.routers.get(router.cloud_name)
        if found.device_id and not (owner and found.device_id == owner.id):
            self._refuse(
                "router interface",
                "holder",
                f"Port {name} ({found.id}) is held by {found.device_id}, not by {router.cloud_name}: free it.",
            )
        elif why := self._why_replace("router interface", has, after, found):
            more = {"before": has, "after": dict(after), "id": found.id, "wanted": wanted}
            if found.device_id:
                self._unhooked.add((found.device_id, found.network_id))
            self._add("router interface", name, "replace", why, lossless=not found.device_id, **more)
        elif not found.device_id:
            more = {"before": {"attached": False}, "after": {"attached": True}, "id": found.id, "wanted": wanted}
            self._add("router interface", name, "update", "not attached to its router", **more)

    # Hosts

    def _compare_port(self, host: Host, port: Port) -> None:
        found = self._has.ports.get(port.cloud_name)
        address = ", ".join(port.addresses)
        want: dict[str, object] = {
            "network": port.network,
            "address": address,
            "security_groups": self._groups_of(port),
        }
        if port.allowed_address_pairs:
            want["allowed_address_pairs"] = sorted(port.allowed_address_pairs)
        if not found:
            self._add("port", port.cloud_name, "create", "missing", after=want, wanted=port)
            return
        has: dict[str, object] = {
            "network": self._own_name(found.network_id),
            "address": _address(found),
            "security_groups": sorted(map(self._groups.label, found.security_group_ids or ())),
        }
        pairs = sorted(pair["ip_address"] for pair in found.allowed_address_pairs or ())
        if pairs or port.allowed_address_pairs:
            has["allowed_address_pairs"], want["allowed_address_pairs"] = pairs, sorted(port.allowed_address_pairs)
        if why := self._why_replace("port", has, want, found):
            server = self._has.servers.get(host.cloud_name)
            if found.device_id and not (server and found.device_id == server.id) and not self._goes(found.device_id):
                self._refuse(
                    "port",
                    "holder",
                    f"Host {host.name}: its port {port.cloud_name} is held by {found.device_id}, which is no server of "
                    f"this topology. Delete that or detach the port.",
                )
                return
            more = {"before": has, "after": want, "id": found.id, "wanted": port, "lossless": not found.device_id}
            self._add("port", port.cloud_name, "replace", why, **more)
            return
        has["admin_state_up"], want["admin_state_up"] = found.is_admin_state_up, True
        self._update("port", port.cloud_name, has, want, id=found.id, wanted=port)

    def _compare_server(self, host: Host) -> None:
        name, found = host.cloud_name, self._has.servers.get(host.cloud_name)
        names = [port.cloud_name for port in host.ports]
        after: dict[str, object] = {"image": host.image, "flavor": host.flavor, "port": ", ".join(names)}
        ports = {port_name: self._has.ports.get(port_name) for port_name in names}
        if not found:
            held = [port for port in ports.values() if port and port.device_id and not self._goes(port.device_id)]
            for port in held:
                self._refuse(
                    "port",
                    "holder",
                    f"Host {host.name}: its port {port.name} is held by {port.device_id}, which is no server of this "
                    f"topology (it lacks the tag netorder:{self.plan.topology}). Delete it or detach the port.",
                )
            self._add("server", name, "create", "missing", after=after, wanted=host)
            return
        if found.status == "ERROR" or found.task_state == "deleting":
            why = f"is in ERROR: {fault_text(found)}" if found.status == "ERROR" else "is being deleted"
            more = {"before": {"status": found.status}, "after": after, "id": found.id, "wanted": host}
            self._add("server", name, "replace", why, lossless=True, **more)
            return
        has, want = self._server_fields(host, found)
        able = found.status in {"ACTIVE", "VERIFY_RESIZE", *REVIVE} or found.status in IN_MOTION
        if not able and has["image"] == want["image"]:
            self._refuse(
                "server",
                "state",
                f"Host {host.name}: server {name} is in state {found.status}: finish or undo that first.",
            )
            return
        self._update("server", name, has, want, id=found.id, wanted=host)
        if self.changes and self.changes[-1].id == found.id and self.changes[-1].action == "replace":
            return
        if self._host_keys and METADATA["hostkey"] not in (found.metadata or {}):
            more = {"after": {"hostkey": "(from the console log)"}, "id": found.id, "wanted": host}
            self._add("host key", name, "create", "not known yet", **more)

    def _server_fields(self, host: Host, found: CloudServer) -> tuple[dict[str, object], dict[str, object]]:
        """Return what the server has, and what is wanted."""
        image = (found.metadata or {}).get(METADATA["image"], host.image)
        flavor = found.flavor.original_name if found.flavor else host.flavor
        has: dict[str, object] = {"image": image, "status": found.status, "flavor": flavor}
        want: dict[str, object] = {"image": host.image, "status": "ACTIVE", "flavor": host.flavor}
        if found.status in IN_MOTION:
            has["status"] = "ACTIVE"
        else:  # one that is still being built has its ports only later
            replaced = {change.id for change in self.changes if change.kind == "port" and change.action == "replace"}
            plugged = [p.name for p in self._has.ports.values() if p.device_id == found.id and p.id not in replaced]
            has["ports"], want["ports"] = sorted(plugged), sorted(port.cloud_name for port in host.ports)
        return has, want

    def _why_replace(self, kind: str, has: Mapping[str, object], want: Mapping[str, object], found: CloudPort) -> str:
        """Return why a port must be replaced: for what differs, or for its subnet; nothing if it need not be."""
        differing = changed_fields(has, want)
        if differing and effect(kind, differing) is Effect.REPLACE:
            return reason(kind, differing)
        return "its subnet is replaced" if self._stands_on_going(found) else ""

    def _stands_on_going(self, port: CloudPort) -> bool:
        """Tell whether a subnet of this port is deleted or replaced, which it would hinder."""
        return any(fixed.get("subnet_id") in self._going for fixed in port.fixed_ips or ())

    def _goes(self, device: str) -> bool:
        """Tell whether the server with this id is about to be deleted."""
        hosts = {host.cloud_name for host in self.plan.hosts}
        surplus = {server.id for server in self._has.surplus_servers}
        return device in surplus or any(
            s.id == device and (s.name not in hosts or s.status == "ERROR" or s.task_state == "deleting")
            for s in self.seen.servers
        )

    # Floating IPs

    def _compare_floating_ips(self) -> None:
        lost = {ip.id for ip in self.seen.floating_ips if self._loses_port(ip)}
        by_port = {ip.port_id: ip for ip in reversed(self.seen.floating_ips) if ip.port_id and ip.id not in lost}
        free = [ip for ip in self.seen.floating_ips if not ip.port_id or ip.id in lost]
        free.sort(key=lambda ip: not ip.port_id)
        had = {ip.port_id: ip for ip in free if ip.port_id}
        kept = set()
        for host in (h for h in self.plan.hosts if h.floating_ip):
            name = host.ports[0].cloud_name
            port = self._has.ports.get(name)
            ip = by_port.get(port.id) if port else None
            leaves = self._leaves_through(host)
            if ip and leaves not in {None, ip.floating_network_id, self._externals.get(str(ip.floating_network_id))}:
                kept.add(ip.id)
                before: dict[str, object] = {"network": self._externals.get(str(ip.floating_network_id))}
                more: dict[str, Any] = {"before": before, "after": {"network": leaves}, "id": ip.id, "wanted": host}
                self._add("floating IP", host.name, "replace", reason("floating IP", before), **more)
            elif ip:
                kept.add(ip.id)
            elif ip := (had.pop(port.id, None) if port else None) or next((i for i in free if i.id not in kept), None):
                kept.add(ip.id)
                old, why = (name, "its port or exit router is replaced") if ip.port_id else (None, "not associated")
                after: dict[str, object] = {"address": ip.floating_ip_address, "port": name}
                more = {"before": {**after, "port": old}, "after": after, "id": ip.id, "wanted": host}
                self._add("floating IP", host.name, "update", why, **more)
            else:
                self._add("floating IP", host.name, "create", "missing", after={"port": name}, wanted=host)
        for ip in self.seen.floating_ips:
            if ip.id not in kept:
                before = {"address": ip.floating_ip_address}
                self._add(
                    "floating IP", ip.floating_ip_address, "delete", "not in the topology", before=before, id=ip.id
                )

    def _loses_port(self, ip: FloatingIP) -> bool:
        """Tell whether what carries an address is deleted or replaced: its port, or its router's interface there."""
        port = next((port for port in self.seen.ports if port.id == ip.port_id), None)
        return port is not None and (port.id in self._going or (ip.router_id, port.network_id) in self._unhooked)

    def _leaves_through(self, host: Host) -> str | None:
        """Return the external network that a host's floating IP must be of, None where any will do."""
        return exit_router(self.plan, host).external_network or self.plan.external_network

    # What is to go

    def _remove(self) -> None:
        plan = self.plan
        self._delete("server", self._has.servers, {h.cloud_name for h in plan.hosts}, self._has.surplus_servers)
        interfaces = {i.port_name for r in plan.routers for i in r.interfaces}
        host_ports = {port.cloud_name for h in plan.hosts for port in h.ports}
        for kind, at_router in (("router interface", True), ("port", False)):
            ports = {n: p for n, p in self._has.ports.items() if is_router_port(p) is at_router}
            surplus = [p for p in self._has.surplus_ports if is_router_port(p) is at_router]
            self._unhooked |= {
                (p.device_id, p.network_id) for n, p in ports.items() if at_router and n not in interfaces
            }
            self._delete(kind, ports, interfaces | host_ports, surplus)
        self._delete("router", self._has.routers, {r.cloud_name for r in plan.routers}, self._has.surplus_routers)
        self._delete("network", self._has.networks, {n.cloud_name for n in plan.networks}, self._has.surplus_networks)
        for group in self._groups.surplus:
            goes = self._groups.goes_with_its_hosts(group)
            why = "not in the topology" if goes else "no host is to use it"
            more: dict[str, Any] = {"before": {"id": group.id}, "id": group.id, "wanted": group, "lossless": not goes}
            self._add("security group", group.name, "delete", why, **more)

    def _delete(self, kind: str, found: Mapping[str, Any], wanted: set[str], surplus: Iterable[Any]) -> None:
        for name, one in found.items():
            if name not in wanted:
                self._add(kind, name, "delete", "not in the topology", before={"id": one.id}, id=one.id, wanted=one)
        for one in surplus:
            more = {"before": {"id": one.id}, "id": one.id, "wanted": one}
            self._add(kind, one.name, "delete", "a second one of this name", lossless=True, **more)

    # Names

    def _own_name(self, network_id: str) -> str:
        """Return the topology's name of a network of its own, or the id of a foreign one."""
        name = self._network_names.get(network_id, network_id)
        return next((own for own, cloud in self._cloud_names.items() if cloud == name), name)

    def _groups_of(self, port: Port) -> list[str]:
        names = {group.name: self._groups.names[group.cloud_name] for group in self.plan.security_groups}
        return sorted(names.get(name, name) for name in port.security_groups)


def compare(
    plan: Plan,
    seen: Observed,
    *,
    key: str | None,
    externals: Iterable[CloudNetwork] = (),
    host_keys: bool = True,
) -> tuple[list[Change], list[str]]:
    """Return the changes that make the cloud as planned, and the problems that forbid them.

    ``key`` is the controller's public key, None when it has none yet; ``externals`` is only needed where the plan
    names the external network. Without ``host_keys`` it is no difference that a host's key is not known.
    """
    comparison = Comparison(plan, seen, key=key, externals=externals, host_keys=host_keys)
    return comparison.changes, comparison.problems


def unchanged(plan: Plan, changes: Iterable[Change]) -> dict[str, int]:
    """Return how many planned resources of each kind are as they should be; kinds without any are left out."""
    planned = {
        "network": len(plan.networks),
        "subnet": sum(len(network.subnets) for network in plan.networks),
        "security group": len(plan.security_groups),
        "router": len(plan.routers),
        "router interface": sum(len(router.interfaces) for router in plan.routers),
        "port": sum(len(host.ports) for host in plan.hosts),
        "server": len(plan.hosts),
        "floating IP": sum(host.floating_ip for host in plan.hosts),
        "key pair": 1,
    }
    differing = Counter(change.kind for change in changes if change.action != "delete")
    counts = {kind: count - differing[kind] for kind, count in planned.items()}
    return {kind: count for kind, count in counts.items() if count > 0}


def unchanged_text(counts: Mapping[str, int]) -> str:
    """Write ``unchanged`` for people, in one line."""
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items())


def subnet_fields(subnet: Subnet) -> dict[str, object]:
    """Return what is changed in place when it differs; ``host_routes`` as text, and only where there are any."""
    first, last = subnet.allocation_pool
    fields: dict[str, object] = {
        "gateway_ip": subnet.gateway_ip,
        "dns_nameservers": list(subnet.dns_nameservers),
        "allocation_pools": [{"start": first, "end": last}],
        "enable_dhcp": True,
    }
    if subnet.host_routes:
        fields["host_routes"] = sorted(f"{route.destination} via {route.next_hop}" for route in subnet.host_routes)
    return fields


def same_key(one: str, other: str) -> bool:
    """Tell whether two public keys are the same, whatever their comments."""
    return one.split()[:2] == other.split()[:2]


def _tail(key: str) -> str:
    return "…" + key.split()[1][-12:]


def _address(port: CloudPort) -> str:
    """Return a port's addresses, IPv4 first as in the plan."""
    return ", ".join(sorted((fixed["ip_address"] for fixed in port.fixed_ips or ()), key=lambda one: ":" in one))


_SIGNS = {"create": "+", "update": "~", "replace": "±", "delete": "-"}


def diff_text(changes: Iterable[Change]) -> str:
    """Write changes for people: a line for each, what goes under it with ``-`` and what comes with ``+``."""
    lines = []
    for change in changes:
        lines.append(f"{_SIGNS[change.action]} {change.action} {change.kind} {change.name}: {change.reason}")
        before, after = change.before or {}, change.after or {}
        for key in dict.fromkeys([*before, *after]):
            old, new = before.get(key), after.get(key)
            if isinstance(old, list) and isinstance(new, list):
                lines += [f"-     {key}: {_plain(value)}" for value in old if value not in new]
                lines += [f"+     {key}: {_plain(value)}" for value in new if value not in old]
                continue
            if key in before and key in after and old == new:
                lines.append(f"      {key}: {_plain(old)}")
                continue
            lines += [f"-     {key}: {_plain(v)}" for v in _each(old)] if key in before else []
            lines += [f"+     {key}: {_plain(v)}" for v in _each(new)] if key in after else []
    return "".join(line + "\n" for line in lines)


def _each(value: object) -> list[object]:
    return value if isinstance(value, list) and value else [value]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "-".join(str(part) for part in value.values())
    return {None: "none", True: "yes", False: "no"}.get(value, str(value)) if not isinstance(value, list) else "none"  # type: ignore[call-overload]
