"""Make the changes: what goes first, then what comes, in bulk where Neutron takes it and in threads where not.

Each step finds what an earlier, killed run left by marker and name, so stopping anywhere and running again converges.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import time
from typing import TYPE_CHECKING, Any, cast

from openstack import utils
from openstack.exceptions import ConflictException
from openstack.network.v2.network import Network as CloudNetwork
from openstack.network.v2.port import Port as CloudPort
from openstack.network.v2.security_group import SecurityGroup as CloudGroup
from openstack.network.v2.subnet import Subnet as CloudSubnet

from netorder.cloud.change import keypair_name, marker
from netorder.cloud.compare import METADATA, REVIVE, exit_router
from netorder.cloud.delete import change_routes, delete, ignore_not_found, wait_until_none
from netorder.cloud.groups import Groups, normal_rule
from netorder.cloud.jobs import Job, bound
from netorder.cloud.observe import Chosen, fault_text, list_servers
from netorder.errors import CloudError
from netorder.ip import IPV4, IPV6

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from openstack.network.v2.router import Router as CloudRouter

    from netorder.cloud.change import Change
    from netorder.cloud.observe import Observed
    from netorder.cloud.preflight import Facts
    from netorder.cloud.session import Cloud
    from netorder.plan.model import Host, Network, Plan, Port, Router, RouterInterface, SecurityGroup, Subnet

__all__ = ["Applier", "delete"]

# A bulk request creates all or nothing; this many at once stays well within common request time-outs.
BULK = 50
# Ports are the dearest bulk, and one API process works on each: two at once, unless they are few.
SMALLEST_BULK = 10
# Resizing copies a disk, on slow storage for minutes (s).
RESIZE_TIMEOUT = 900


class Applier:
    """Applies changes; ``floating`` (host name to address) is what the run made or found."""

    def __init__(
        self, cloud: Cloud, plan: Plan, seen: Observed, changes: Sequence[Change], *, facts: Facts, key: str
    ) -> None:
        self._cloud, self._conn, self._plan, self._facts, self._key = cloud, cloud.conn, plan, facts, key
        self._changes = changes
        self._seen = seen
        self._mark = marker(plan.topology)
        self._has = has = Chosen(seen)
        subnets = [has.by_name(s for s in seen.subnets if s.network_id == n.id)[0] for n in has.networks.values()]
        self._network_ids = {name: network.id for name, network in has.networks.items()}
        self._subnet_ids = {(s.network_id, s.ip_version): s.id for by_name in subnets for s in by_name.values()}
        self._groups = dict(Groups(plan, seen).found)
        self._router_ids = {name: router.id for name, router in has.routers.items()}
        self._port_ids = {name: port.id for name, port in has.ports.items()}
        self._cloud_networks = {n.name: n.cloud_name for n in plan.networks}
        self._routes_gone: dict[str, set[tuple[str, str]]] = {}  # by router id: extra routes removed with the deletions
        self._part: dict[str, str] = {}  # by port name: the bulk request that makes it
        self._stopped: set[str] = set()  # servers that were stopped for a port to be taken out
        self.floating: dict[str, str] = {}

    def apply(self) -> None:
        """Do it all, short of waiting for the servers."""
        gone = [c for c in self._changes if c.action in {"delete", "replace"}]
        if gone:
            self._unplug()
            in_the_way = self._routes_in_the_way()
            self._routes_gone = {
                router: {(r["destination"], r["nexthop"]) for r in routes} for router, routes in in_the_way.items()
            }
            first = [change for change in gone if change.kind != "security group"]  # hosts may have to leave those yet
            delete(self._cloud, self._plan.topology, [*first, *self._loosened()], self._seen, in_the_way)
        self._cloud.run(self._jobs())

    def _jobs(self) -> list[Job]:
        """Return what is to come; the first in the list that are ready go first.

        Servers cost the cloud most, nothing waits for them, and one that boots before its router is there may get no
        metadata: ways first. A security group's rules hold nobody up, since a new group lets nothing in until then.
        """
        new = self._pick
        inner = new("port", "create", "replace")
        size = max(
            SMALLEST_BULK, min(BULK, -(-len(inner) // 2))
        )  # side by side, but not a request more than that takes
        parts = [inner[start : start + size] for start in range(0, len(inner), size)]
        self._part = {change.name: f"ports {number}" for number, part in enumerate(parts) for change in part}
        subnets, interfaces = new("subnet", "create", "replace"), new("router interface", "create", "replace")
        groups = new("security group", "create")
        return [
            *self._keypair_job(),
            *self._bulk("network", CloudNetwork, new("network", "create"), self._network_body, self._made_network),
            *self._router_jobs(),
            *self._network_updates(),
            *self._bulk("security group", CloudGroup, groups, self._group_body, self._made_group),
            *self._bulk("subnet", CloudSubnet, subnets, self._subnet_body, self._made_subnet, "networks"),
            *self._subnet_updates(),
            *self._bulk(
                "port", CloudPort, interfaces, self._port_body, self._made_port, "subnets", gives="interface ports"
            ),
            *self._interface_jobs(),
            *self._route_jobs(),
            *(
                job
                for number, part in enumerate(parts)
                for job in self._bulk(
                    "port", CloudPort, part, self._port_body, self._made_port, "subnets", "security groups",
                    gives=f"ports {number}",
                )
            ),
            *self._port_updates(),
            *self._floating_jobs(),
            *self._server_jobs(),
            *self._rule_jobs(),
            *self._group_deletions(),
        ]  # fmt: skip

    def _pick(self, kind: str, *actions: str) -> list[Change]:
        return [change for change in self._changes if change.kind == kind and change.action in actions]

    # Bulk creation

    def _bulk(
        self,
        kind: str,
        resource: type[Any],
        changes: list[Change],
        body: Callable[[Any], dict[str, Any]],
        made: Callable[[Any], None],
        *needs: str,
        gives: str = "",
    ) -> Iterable[Job]:
        for start in range(0, len(changes), BULK):
            part = changes[start : start + BULK]

            def call(part: list[Change] = part) -> None:
                bodies = [body(change.wanted) for change in part]
                for one in resource.bulk_create(self._conn.network, bodies):
                    made(one)

            names = tuple(change.name for change in part)
            yield Job(kind, names, "create", call, frozenset(needs), gives or f"{kind}s")

    def _network_body(self, network: Network) -> dict[str, Any]:
        return {"name": network.cloud_name, "description": self._mark}

    def _made_network(self, one: CloudNetwork) -> None:
        self._network_ids[one.name] = one.id

    def _subnet_body(self, wanted: tuple[Network, Subnet]) -> dict[str, Any]:
        network, subnet = wanted
        first, last = subnet.allocation_pool
        body: dict[str, Any] = {
            "name": subnet.cloud_name,
            "description": self._mark,
            "network_id": self._network_ids[network.cloud_name],
            "ip_version": subnet.version,
            "cidr": subnet.cidr,
            "gateway_ip": subnet.gateway_ip,
            "dns_nameservers": list(subnet.dns_nameservers),
            "allocation_pools": [{"start": first, "end": last}],
            "enable_dhcp": True,
        }
        if subnet.host_routes:
            body["host_routes"] = _host_routes(subnet)
        if subnet.version == IPV6:
            # addresses by DHCPv6: with SLAAC they would follow from the MAC, not from the plan
            body |= {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
        return body

    def _made_subnet(self, one: CloudSubnet) -> None:
        self._subnet_ids[one.network_id, one.ip_version] = one.id

    def _group_body(self, group: SecurityGroup) -> dict[str, Any]:
        return {"name": group.cloud_name, "description": self._mark}

    def _made_group(self, one: CloudGroup) -> None:
        self._groups[one.name] = one

    def _port_body(self, wanted: Port | tuple[Router, RouterInterface]) -> dict[str, Any]:
        pairs: tuple[str, ...] = ()
        if isinstance(wanted, tuple):
            interface = wanted[1]
            name, network, addresses, groups = interface.port_name, interface.network, interface.addresses, list[str]()
        else:
            name, network, addresses = wanted.cloud_name, wanted.network, wanted.addresses
            groups, pairs = self._group_ids(wanted), wanted.allowed_address_pairs
        network_id = self._network_ids[self._cloud_networks[network]]
        fixed = [{"subnet_id": self._subnet_ids[network_id, 6 if ":" in a else 4], "ip_address": a} for a in addresses]
        body = {
            "name": name,
            "description": self._mark,
            "network_id": network_id,
            "fixed_ips": fixed,
            "security_groups": groups,
        }
        return body | ({"allowed_address_pairs": _pairs(pairs)} if pairs else {})

    def _made_port(self, one: CloudPort) -> None:
        self._port_ids[one.name] = one.id

    def _group_ids(self, port: Port) -> list[str]:
        names = {group.name: group.cloud_name for group in self._plan.security_groups}
        return [str(self._groups[names.get(name, name)].id) for name in port.security_groups]

    # One by one

    def _keypair_job(self) -> Iterable[Job]:
        for change in self._pick("key pair", "create"):
            name = keypair_name(self._plan.topology)
            body = {"name": name, "public_key": self._key}
            call = bound(self._conn.compute.create_keypair, **body)
            yield Job("key pair", (change.name,), "create", call, gives="key pair")

    def _network_updates(self) -> Iterable[Job]:
        for change in self._pick("network", "update"):
            call = self._conn.network.update_network
            yield Job("network", (change.name,), "update", bound(call, change.id, is_admin_state_up=True))

    def _subnet_updates(self) -> Iterable[Job]:
        for change in self._pick("subnet", "update"):
            call = self._conn.network.update_subnet
            fields = dict(change.after or {})
            if "enable_dhcp" in fields:
                fields["is_dhcp_enabled"] = fields.pop("enable_dhcp")
            if "host_routes" in fields:
                fields["host_routes"] = _host_routes(cast("tuple[Network, Subnet]", change.wanted)[1])
            yield Job("subnet", (change.name,), "update", bound(call, change.id, **fields), gives="subnets")

    def _port_updates(self) -> Iterable[Job]:
        for change in self._pick("port", "update"):

            def call(change: Change = change) -> None:
                port, after = cast("Port", change.wanted), change.after or {}
                fields: dict[str, Any] = {}
                if "security_groups" in after:
                    fields["security_groups"] = self._group_ids(port)
                if "admin_state_up" in after:
                    fields["admin_state_up"] = True
                if "allowed_address_pairs" in after:
                    fields["allowed_address_pairs"] = _pairs(port.allowed_address_pairs)
                self._conn.network.update_port(str(change.id), **fields)

            # not before all rules are as planned: a host that moves to another group is never without its own
            yield Job("port", (change.name,), "update", call, frozenset({"security groups", "rules"}), "moves")

    def _rule_jobs(self) -> Iterable[Job]:
        """Make each group's rules the planned ones; a new group comes with default rules, which count too."""
        for change in self._pick("security group", "create", "update"):

            def call(change: Change = change) -> None:
                group = cast("SecurityGroup", change.wanted)
                found = self._groups[group.cloud_name]
                has = {normal_rule(rule): rule["id"] for rule in found.security_group_rules or ()}
                want = {normal_rule(rule): rule for rule in group.rules}
                bodies = [self._rule_body(found.id, key) for key in want if key not in has]
                if bodies:  # Neutron takes rules in bulk for one group at a time
                    list(self._conn.network.create_security_group_rules(bodies))
                for key, rule_id in has.items():
                    if key not in want:
                        self._conn.network.delete_security_group_rule(rule_id)
                if "name" in (change.after or {}):
                    self._conn.network.update_security_group(found.id, name=group.cloud_name)

            yield Job("rule set", (change.name,), "update", call, frozenset({"security groups"}), "rules")

    def _group_deletions(self) -> Iterable[Job]:
        for change in self._pick("security group", "delete"):
            call = bound(ignore_not_found, lambda c: self._conn.network.delete_security_group(c.id), change)
            yield Job("security group", (change.name,), "delete", call, frozenset({"moves"}))

    def _rule_body(self, group_id: str, rule: tuple[Any, ...]) -> dict[str, Any]:
        direction, ethertype, protocol, low, high, remote = rule
        return {
            "security_group_id": group_id,
            "direction": direction,
            "ethertype": ethertype,
            "protocol": protocol,
            "port_range_min": low,
            "port_range_max": high,
            "remote_ip_prefix": remote,
            "description": self._mark,
        }

    def _router_jobs(self) -> Iterable[Job]:
        for change in self._pick("router", "create"):
            router = cast("Router", change.wanted)

            def create(router: Router = router) -> None:
                body: dict[str, Any] = {"name": router.cloud_name, "description": self._mark}
                if router.external:
                    body["external_gateway_info"] = {"network_id": self._external(router)}
                self._router_ids[router.cloud_name] = self._conn.network.create_router(**body).id

            yield Job("router", (change.name,), "create", create, gives="routers")
        for change in self._pick("router", "update"):
            router, after = cast("Router", change.wanted), change.after or {}
            fields: dict[str, Any] = {}
            if "admin_state_up" in after:
                fields["is_admin_state_up"] = True
            if "external" in after or "external_network" in after:
                fields["external_gateway_info"] = {"network_id": self._external(router)} if router.external else None
            if fields:
                call = self._conn.network.update_router
                yield Job("router", (change.name,), "update", bound(call, change.id, **fields), gives="routers")

    def _external(self, router: Router) -> str:
        return self._facts.externals[router.external_network or self._plan.external_network]

    def _interface_jobs(self) -> Iterable[Job]:
        for change in self._pick("router interface", "create", "update", "replace"):
            router, interface = cast("tuple[Router, RouterInterface]", change.wanted)

            def attach(router: Router = router, interface: RouterInterface = interface) -> None:
                self._conn.network.add_interface_to_router(  # type: ignore[no-untyped-call]
                    self._router_ids[router.cloud_name], port=self._port_ids[interface.port_name]
                )

            needs = frozenset({"routers", "interface ports"})
            yield Job("router interface", (change.name,), "create", attach, needs, "interfaces")

    # What goes first

    def _loosened(self) -> list[Change]:
        """Return the floating IPs that keep their address, but stand in the way of what is replaced."""
        return [c for c in self._pick("floating IP", "update") if (c.before or {}).get("port")]

    def _unplug(self) -> None:
        """Take the ports that go out of servers that stay: at rest, since not every guest lets a device go."""
        going = {c.id for c in self._changes if c.action in {"delete", "replace"}}
        stay = {change.id: change for change in self._pick("server", "update")}
        plugged = [
            (stay[port.device_id], port)
            for port in self._seen.ports
            if port.device_id in stay
            and (port.id in going or port.name not in {p.cloud_name for p in _host(stay[port.device_id]).ports})
        ]
        if not plugged:
            return
        running = {str(c.id): c.name for c, _ in plugged if (c.before or {}).get("status", "ACTIVE") == "ACTIVE"}
        self._stopped = set(running)
        compute = self._conn.compute
        self._cloud.run(
            Job("server", (name,), "stop", bound(compute.stop_server, server)) for server, name in running.items()
        )
        topology = self._plan.topology
        wait_until_none(
            self._cloud,
            "server(s) to stop",
            lambda: [s.name for s in list_servers(self._cloud, topology) if s.id in running and s.status != "SHUTOFF"],
        )
        self._cloud.run(
            Job("port", (port.name,), "unplug", bound(ignore_not_found, _unplugged(compute, change.id), port.id))
            for change, port in plugged
        )
        ids = {port.id for _, port in plugged}
        wait_until_none(
            self._cloud,
            "port(s) to be free",
            lambda: [
                port.name
                for port in self._conn.network.ports(description=self._mark, project_id=self._cloud.project)
                if port.id in ids and port.device_id
            ],
        )

    def _routes_in_the_way(self) -> dict[str, list[dict[str, str]]]:
        """Return, by router id, the extra routes to remove before anything else goes.

        An interface that a route's next hop is behind cannot be detached: routes that are not planned, and those by
        way of an interface that is replaced.
        """
        wanted = {r.cloud_name: {(x.destination, x.next_hop) for x in r.routes} for r in self._plan.routers}
        cidrs = {subnet.id: ipaddress.ip_network(subnet.cidr) for subnet in self._seen.subnets}
        ports = {port.id: port for port in self._seen.ports}
        behind: dict[str, list[Any]] = {}
        for change in self._pick("router interface", "delete", "replace"):
            port = ports[str(change.id)]
            behind.setdefault(port.device_id, []).extend(
                cidrs[fixed["subnet_id"]] for fixed in port.fixed_ips or () if fixed["subnet_id"] in cidrs
            )

        def goes(router: CloudRouter, route: dict[str, str]) -> bool:
            hop = ipaddress.ip_address(route["nexthop"])
            planned = (route["destination"], route["nexthop"]) in wanted.get(router.name, set())
            return not planned or any(hop in prefix for prefix in behind.get(router.id, ()))

        return {
            router.id: [route for route in router.routes or () if goes(router, route)] for router in self._seen.routers
        }

    # Routers, floating IPs, servers

    def _route_jobs(self) -> Iterable[Job]:
        """Add what is missing and remove what is not planned, atomically: the list itself is never rewritten."""
        for router in self._plan.routers:
            found = self._has.routers.get(router.cloud_name)
            has = {(r["destination"], r["nexthop"]) for r in (found.routes or ())} if found else set()
            has -= self._routes_gone.get(found.id, set()) if found else set()
            want = {(r.destination, r.next_hop) for r in router.routes}
            for verb, routes in (("add", want - has), ("remove", has - want)):
                if routes:

                    def call(name: str = router.cloud_name, verb: str = verb, routes: set[Any] = routes) -> None:
                        these = [{"destination": to, "nexthop": via} for to, via in sorted(routes)]
                        change_routes(self._cloud, self._router_ids[name], verb, these)

                    yield Job("route set", (router.cloud_name,), "update", call, frozenset({"routers", "interfaces"}))

    def _floating_jobs(self) -> Iterable[Job]:
        for change in self._pick("floating IP", "create", "update", "replace"):
            host = cast("Host", change.wanted)

            def call(host: Host = host, change: Change = change) -> None:
                port_id = self._port_ids[host.ports[0].cloud_name]
                if change.action == "update":
                    ip = self._conn.network.update_ip(str(change.id), port_id=port_id)
                else:
                    ip = self._conn.network.create_ip(
                        floating_network_id=self._external(exit_router(self._plan, host)),
                        port_id=port_id,
                        description=self._mark,
                    )
                self.floating[host.name] = str(ip.floating_ip_address)

            needs = frozenset({"routers", "interfaces", *self._ports_of(host)})
            yield Job("floating IP", (change.name,), change.action, call, needs)

    def _server_jobs(self) -> Iterable[Job]:
        for change in self._pick("server", "create", "replace"):
            host = cast("Host", change.wanted)
            needs = frozenset({"key pair", *self._ports_of(host)})
            yield Job("server", (change.name,), "create", bound(self._create_server, host), needs)
        for change in self._pick("server", "update"):
            needs = self._ports_of(_host(change))
            yield Job("server", (change.name,), "update", bound(self._update_server, change), needs)

    def _ports_of(self, host: Host) -> frozenset[str]:
        """Name the bulk requests that make a host's ports."""
        return frozenset(self._part[p.cloud_name] for p in host.ports if p.cloud_name in self._part)

    def _update_server(self, change: Change) -> None:
        """Plug the ports that are missing, change the flavor, start what does not run; settling waits for that."""
        compute: Any = self._conn.compute
        server, before = str(change.id), change.before or {}
        status = str(before.get("status", "ACTIVE"))
        going = {c.id for c in self._pick("port", "replace")}
        attached = {p.name for p in self._seen.ports if p.device_id == server and p.id not in going}
        for port in _host(change).ports:
            if port.cloud_name not in attached:
                compute.create_server_interface(server, port_id=self._port_ids[port.cloud_name])
        if "flavor" in before and status != "VERIFY_RESIZE":
            compute.resize_server(server, self._facts.flavors[_host(change).flavor])
        if "flavor" in before or status == "VERIFY_RESIZE":
            status = self._resized(server, change)
        if server in self._stopped or status in REVIVE:
            getattr(compute, REVIVE.get(status, "start_server"))(server)

    def _resized(self, server: str, change: Change) -> str:
        """Confirm a resize when Nova is ready for it; return the server's status when that is done."""
        compute: Any = self._conn.compute
        confirmed, end = False, time.monotonic() + RESIZE_TIMEOUT
        while time.monotonic() < end:
            found = compute.get_server(server)
            if found.status == "ERROR":
                raise CloudError(f"it went to ERROR: {fault_text(found)}")
            if not found.task_state and found.status != "VERIFY_RESIZE":
                if found.flavor.original_name == _host(change).flavor:
                    return str(found.status)
                raise CloudError(
                    f"Nova took the change of flavor back: `openstack server event list {change.name}` says why."
                )
            if not found.task_state and not confirmed:
                confirmed = True
                with contextlib.suppress(ConflictException):  # the cloud may confirm by itself
                    compute.confirm_server_resize(server)
            time.sleep(1)
        raise CloudError(f"it is still being resized after {RESIZE_TIMEOUT} s: see `openstack server show`.")

    def _create_server(self, host: Host) -> None:
        body: dict[str, Any] = {
            "name": host.cloud_name,
            "image_id": self._facts.images[host.image],
            "flavor_id": self._facts.flavors[host.flavor],
            "key_name": keypair_name(self._plan.topology),
            "networks": [{"port": self._port_ids[port.cloud_name]} for port in host.ports],
            "metadata": {
                METADATA["topology"]: self._plan.topology,
                METADATA["host"]: host.name,
                METADATA["image"]: host.image,
            },
            "tags": [self._mark],
        }
        if script := first_boot(self._plan, host):
            body["user_data"] = base64.b64encode(script.encode()).decode()
        if utils.supports_microversion(self._conn.compute, "2.90"):
            body["hostname"] = host.name
        self._conn.compute.create_server(**body)


def _host(change: Change) -> Host:
    return cast("Host", change.wanted)


def _unplugged(compute: Any, server: str | None) -> Callable[[Any], object]:  # noqa: ANN401 - the SDK's proxy
    return lambda port: compute.delete_server_interface(port, server=server, ignore_missing=False)


def _host_routes(subnet: Subnet) -> list[dict[str, str]]:
    return [{"destination": route.destination, "nexthop": route.next_hop} for route in subnet.host_routes]


def _pairs(prefixes: Sequence[str]) -> list[dict[str, str]]:
    return [{"ip_address": prefix} for prefix in prefixes]


FIRST_BOOT = """\
#!/bin/sh
# One default gateway: DHCP names one on every interface, and the interface that is up first would win. The role
# host_network writes this down for later boots; until it comes, this keeps the way to this host open.
for try in $(seq 60); do
  left=
  for address in {addresses}; do
    interface=$(ip -o -4 address show to "$address" | awk '{{print $2; exit}}')
    [ -n "$interface" ] && ip route del default dev "$interface" 2>/dev/null
    [ -n "$interface" ] || left=yes
  done
  [ -n "$left" ] || [ "$try" -lt 10 ] || break
  sleep 2
done
"""


def first_boot(plan: Plan, host: Host) -> str | None:
    """Return the script that a host with a gateway on more than one interface runs at its first boot; else None."""
    gateways = {
        network.name: subnet.gateway_ip
        for network in plan.networks
        for subnet in network.subnets
        if subnet.version == IPV4
    }
    others = [
        address
        for port in host.ports
        for address in port.addresses
        if ":" not in address and gateways.get(port.network) and gateways[port.network] not in host.gateways
    ]
    return FIRST_BOOT.format(addresses=" ".join(others)) if others else None
