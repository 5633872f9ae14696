"""What a topology uses and does not own: networks, routers, security groups, a key pair that exist in the cloud.

They are looked up before anything is changed, and compared with what the file says of them. Nothing here changes them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from openstack.exceptions import NotFoundException

from netorder.cloud.change import marker
from netorder.cloud.errors import translate_errors
from netorder.cloud.jobs import gather
from netorder.ip import IPV4, SLAAC, covers, overlap
from netorder.text import few, is_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from openstack.compute.v2.keypair import Keypair
    from openstack.network.v2.network import Network as CloudNetwork
    from openstack.network.v2.port import Port as CloudPort
    from openstack.network.v2.router import Router as CloudRouter
    from openstack.network.v2.subnet import Subnet as CloudSubnet
    from openstack.network.v2.subnet_pool import SubnetPool

    from netorder.cloud.observe import Observed
    from netorder.cloud.session import Cloud
    from netorder.plan.model import Network, Plan, Router, Subnet

__all__ = ["Existing", "look_up"]


@dataclass(slots=True)
class Existing:
    """What was found: ids by the plan's names, of groups by the names in the file; ``problems`` forbid all changes."""

    networks: dict[str, str] = field(default_factory=dict)
    subnets: dict[str, str] = field(default_factory=dict)  # by Subnet.cloud_name
    routers: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    pools: dict[str, SubnetPool] = field(default_factory=dict)  # by Subnet.cloud_name of those that are taken of one
    pool_names: dict[str, str] = field(default_factory=dict)  # of all pools, by id
    keypair: Keypair | None = None
    problems: list[str] = field(default_factory=list)


def look_up(cloud: Cloud, plan: Plan, observed: Observed, *, addresses_allowed: bool) -> Existing:
    """Find what the plan says exists, and every problem with it; nothing is asked where the plan has none.

    ``addresses_allowed``: it is known that the cloud lets the login choose addresses on others' networks.
    """
    lookup = _Lookup(cloud, plan, observed, addresses_allowed=addresses_allowed)
    if not lookup.needed:
        return lookup.found
    with translate_errors():
        lookup.ask()
    lookup.judge()
    return lookup.found


class _Lookup:
    def __init__(self, cloud: Cloud, plan: Plan, observed: Observed, *, addresses_allowed: bool) -> None:
        self.cloud = cloud
        self.plan = plan
        self.observed = observed
        self.found = Existing()
        self._addresses_allowed = addresses_allowed
        self._of_networks = [network for network in plan.networks if network.existing]
        self._of_routers = [router for router in plan.routers if router.existing]
        self._hosts: dict[str, list[str]] = {}  # by the security group that they are in
        for host in plan.hosts:
            for group in host.ports[0].existing_groups or ():
                self._hosts.setdefault(group, []).append(host.name)
        self._in_rules = dict(plan.group_places)
        self._names = {**dict.fromkeys(self._hosts), **dict.fromkeys(self._in_rules)}
        self._networks: list[CloudNetwork] = []
        self._subnets: list[CloudSubnet] = []
        self._routers: list[CloudRouter] = []
        self._of_pools = [network for network in plan.networks if network.subnet_pools]
        self._pools: list[SubnetPool] = []
        self._groups: list[Any] = []
        self._ports: dict[str, list[CloudPort]] = {}  # by network

    @property
    def needed(self) -> bool:
        """Whether the plan uses anything that exists."""
        further = any(network.subnet_of for network in self.plan.networks)  # whose network may be of a subnet pool
        of_pools = further or self._of_pools
        return bool(self._of_networks or self._of_routers or of_pools or self._names or self.plan.key_pair)

    def ask(self) -> None:
        """Ask the cloud, in threads."""
        net = self.cloud.conn.network
        calls: list[Callable[[], None]] = []
        if self._of_networks or self._of_routers or self._of_pools:
            calls.append(lambda: self._subnets.extend(net.subnets()))
        if self._of_pools:
            calls.append(lambda: self._pools.extend(net.subnet_pools()))
        if self._of_networks:
            calls.append(lambda: self._networks.extend(net.networks()))
        if self._of_routers:
            calls.append(lambda: self._routers.extend(net.routers()))
        if self._names:
            calls.append(lambda: self._groups.extend(net.security_groups()))
        if self.plan.key_pair:
            calls.append(self._ask_key_pair)
        gather(self.cloud, calls)
        wanted = {one.id for network in self._of_networks for one in _called(self._networks, str(network.existing))}
        if wanted or self._of_routers:
            self._ask_ports(wanted)

    def _ask_key_pair(self) -> None:
        with suppress(NotFoundException):
            self.found.keypair = self.cloud.conn.compute.get_keypair(str(self.plan.key_pair))

    def _ask_ports(self, networks: Iterable[str]) -> None:
        routers = [one.id for router in self._of_routers for one in _called(self._routers, str(router.existing))]
        net = self.cloud.conn.network
        ports = {port.id: port for id_ in networks for port in net.ports(network_id=id_)}
        ports |= {port.id: port for id_ in routers for port in net.ports(device_id=id_)}
        for port in ports.values():
            self._ports.setdefault(str(port.network_id), []).append(port)

    def judge(self) -> None:
        """Note the ids of what fits, and why the rest does not."""
        self._judge_networks()
        self._judge_routers()
        self._judge_pools()
        self._judge_groups()
        if self.plan.key_pair and self.found.keypair is None:
            self._problem(
                f"Key pair {self.plan.key_pair} (key_pair) does not exist for this login: `openstack keypair list` "
                "shows what does. Name one of these, or remove `key_pair` for one of the topology's own."
            )

    def _judge_networks(self) -> None:
        """Find the networks, and judge them; a further subnet is on its network."""
        there: dict[str, CloudNetwork] = {}
        for network in (one for one in self._of_networks if not one.subnet_of):
            what = f"Network {network.name} ({network.place})"
            if one := self._only(what, "network", str(network.existing), self._networks):
                if one.is_admin_state_up is False:
                    self._problem(f"{what} is switched off in the cloud (admin_state_up): nothing passes it.")
                there[network.name] = one
        by_id: dict[str, str] = {}
        for name, id_ in ((name, one.id) for name, one in there.items()):
            if (first := by_id.setdefault(id_, name)) != name:
                self._problem(f"Networks {first} and {name} of the topology are one in the cloud, {id_}: remove one.")
        for network in self._of_networks:
            if its := there.get(network.subnet_of or network.name):
                self.found.networks[network.name] = its.id
                self._judge_network(f"Network {network.name} ({network.place})", network, its)

    def _judge_routers(self) -> None:
        for router in self._of_routers:
            what = f"Router {router.name} ({router.place})"
            if found := self._only(what, "router", str(router.existing), self._routers):
                self.found.routers[router.name] = found.id
                self._judge_router(what, router, found)

    def _problem(self, text: str) -> None:
        self.found.problems.append(text)

    def _only(self, what: str, kind: str, name: str, known: Sequence[Any]) -> Any:  # noqa: ANN401 - a resource
        """Return the only one called so, which is not the topology's own; note why there is none."""
        found = _called(known, name)
        if len(mine := [one for one in found if one.project_id == self.cloud.project]) == 1:
            found = mine  # an administrator sees each project's `default`
        if len(found) > 1:
            choices = "; ".join(sorted(f"{one.id} (project {one.project_id})" for one in found))
            self._problem(f"{what}: {len(found)} {kind}s are called {name}; write the id of one: {choices}.")
        elif not found:
            names = few(sorted({str(one.name) for one in known}), 10) or "none"
            self._problem(f"{what}: there is no {kind} {name} in this cloud that this login sees. There are: {names}.")
        elif found[0].description == marker(self.plan.topology) and found[0].project_id == self.cloud.project:
            fix = "name its hosts instead" if kind == "security group" else "remove `existing`"
            self._problem(f"{what}: {kind} {name} is this topology's own, not an existing one: {fix}.")
        else:
            return found[0]
        return None

    # Security groups

    def _judge_groups(self) -> None:
        by_id: dict[str, str] = {}
        for name in self._names:
            where = [f"hosts: {few(hosts)}"] if (hosts := self._hosts.get(name)) else []
            where += [self._in_rules[name]] if name in self._in_rules else []
            what = f"Security group {name} ({'; '.join(where)})"
            group = self._only(what, "security group", name, self._groups)
            if not group:
                continue
            self.found.groups[name] = group.id
            first = by_id.setdefault(group.id, name)
            if first != name and self._in_rules.keys() & {first, name}:
                # whether hosts of the file are members is known by the name that they say
                self._problem(f"{what} is what {first} is too: write the same in both places.")

    # Subnet pools

    def _judge_pools(self) -> None:
        self.found.pool_names.update((pool.id, pool.name) for pool in self._pools)
        for network in self._of_pools:
            self._judge_pools_of(network)
        first: dict[str, Network] = {}  # of those on one network: what is there itself, if it has IPv4
        for network in sorted(self.plan.networks, key=lambda one: one.subnet_of is not None):
            if not network.existing and any(one.version == IPV4 for one in network.subnets):
                its = first.setdefault(network.subnet_of or network.name, network)
                if its is not network:
                    self._judge_kinship(network, its)

    def _judge_kinship(self, network: Network, parent: Network) -> None:
        """Report subnets of one network that are of two pools, or of one and of none: Neutron makes no such ones.

        But of pools of one address scope it does.
        """
        mine, its = (self._pool_of(these) for these in (network, parent))
        known = {pool.id: pool for pool in self.found.pools.values()}
        scopes = {known[one].address_scope_id if one in known else None for one in (mine, its)}
        if mine == its or (len(scopes) == 1 and scopes != {None}):
            return
        what, of = (
            f"of subnet pool {self.found.pool_names.get(one, one)}" if one else "of none" for one in (mine, its)
        )
        fix = f"write `subnet_pool: {self.found.pool_names.get(its, its)}`" if its else "remove `subnet_pool`"
        self._problem(
            f"Network {network.name} ({network.place}): its prefix is {what}, and that of {parent.name} {of}; Neutron "
            f"takes all IPv4 prefixes of one network from one pool: {fix}."
        )

    def _pool_of(self, network: Network) -> str | None:
        """Return the id of the subnet pool that a network's IPv4 prefix is of, or stays of where the file has none."""
        (subnet,) = (one for one in network.subnets if one.version == IPV4)
        if pool := self.found.pools.get(subnet.cloud_name):
            return str(pool.id)
        there = (one for one in self.observed.subnets if one.name == subnet.cloud_name and one.cidr == subnet.cidr)
        return next((one.subnet_pool_id for one in there), None)

    def _judge_pools_of(self, network: Network) -> None:
        what = f"Network {network.name} ({network.place})"
        for name in network.subnet_pools:
            pool = self._only(what, "subnet pool", name, self._pools)
            if pool is None:
                continue
            subnet = next((one for one in network.subnets if one.version == pool.ip_version), None)
            if subnet is None:
                has = ", ".join(one.cidr for one in network.subnets)
                self._problem(
                    f"{what}: subnet pool {name} is of IPv{pool.ip_version}, and the network has {has} alone."
                )
            elif subnet.cloud_name in self.found.pools:
                self._problem(
                    f"{what}: two subnet pools are of IPv{pool.ip_version}, of which one is enough: remove one."
                )
            elif problem := self._why_not_of(pool, subnet):
                self._problem(f"{what}: {problem}")
            else:
                self.found.pools[subnet.cloud_name] = pool

    def _why_not_of(self, pool: SubnetPool, subnet: Subnet) -> str:
        """Return why a pool does not give a subnet its prefix, as far as the login sees; nothing if it does."""
        cidr = ip_network(subnet.cidr)
        prefixes = [ip_network(one) for one in pool.prefixes or ()]
        shortest, longest = int(pool.minimum_prefix_length or 0), int(pool.maximum_prefix_length or cidr.max_prefixlen)
        if not any(covers(one, cidr) for one in prefixes):
            has = few([*map(str, prefixes)], 10)
            return f"subnet pool {pool.name} does not hold {cidr}, it has {has}: choose one of these."
        if not shortest <= cidr.prefixlen <= longest:
            gives = f"gives prefixes from /{shortest} to /{longest}"
            return f"subnet pool {pool.name} {gives}, and {cidr} is none: choose another."
        ours = {one.id for one in self.observed.subnets}
        for one in self._subnets:
            if one.subnet_pool_id == pool.id and one.id not in ours and overlap(ip_network(one.cidr), cidr):
                has = f"{one.cidr} is in use (subnet {one.name or one.id})"
                return f"of subnet pool {pool.name}, {has}: choose another prefix."
        return ""

    # Networks

    def _judge_network(self, what: str, network: Network, one: CloudNetwork) -> None:
        subnets = [subnet for subnet in self._subnets if subnet.network_id == one.id]
        for subnet in network.subnets:
            fits = [its for its in subnets if ip_network(its.cidr) == ip_network(subnet.cidr)]
            if not fits:
                has = few(sorted(its.cidr for its in subnets), 10) or "none"
                self._problem(f"{what} has no subnet {subnet.cidr} in the cloud; its `cidr` is one of: {has}.")
                continue
            self.found.subnets[subnet.cloud_name] = fits[0].id
            self._judge_subnet(what, network, subnet, fits[0])
        if all(subnet.cloud_name in self.found.subnets for subnet in network.subnets):
            self._judge_addresses(what, network, one)

    def _judge_subnet(self, what: str, network: Network, subnet: Subnet, its: CloudSubnet) -> None:
        if (its.gateway_ip or None) != subnet.gateway_ip:
            fix = f"write `gateway: {its.gateway_ip}`" if its.gateway_ip else "no router of the file can be its gateway"
            said = subnet.gateway_ip or "none"
            self._problem(f"{what}: the gateway of {subnet.cidr} is {its.gateway_ip or 'none'}, not {said}: {fix}.")
        mode = its.ipv6_address_mode if its.ipv6_address_mode in SLAAC else None
        if mode != subnet.ipv6_address_mode:
            how = f"follow from MAC addresses ({mode})" if mode else "do not follow from MAC addresses"
            fix = f"write `ipv6_address_mode: {mode}`" if mode else "remove `ipv6_address_mode`"
            self._problem(f"{what}: in the cloud addresses of {subnet.cidr} {how}: {fix}.")
        if its.is_dhcp_enabled is False:
            hosts = [
                host.name
                for host in self.plan.hosts
                if any(port.network == network.name for port in host.ports)
                and not (host.server and host.server.config_drive)
            ]
            if hosts:
                self._problem(
                    f"{what}: {subnet.cidr} has no DHCP, so hosts learn their addresses by a config drive alone: give "
                    f"{few(hosts)} `config_drive: true`."
                )

    def _judge_addresses(self, what: str, network: Network, one: CloudNetwork) -> None:
        """Report planned addresses that somebody else has, and that the cloud's policy does not let us choose."""
        ours = {port.name: port for port in self.observed.ports if port.network_id == one.id}
        wanted = {
            address: (f"host {host.name}", port.cloud_name)
            for host in self.plan.hosts
            for port in host.ports
            if port.network == network.name
            for address in port.addresses
        } | {
            address: (f"router {router.name}", interface.port_name)
            for router in self.plan.routers
            for interface in router.interfaces
            if interface.network == network.name and interface.own
            for address in interface.addresses
        }
        mine = {port.id for port in self.observed.ports}
        for port in self._ports.get(one.id, []):
            for fixed in port.fixed_ips or ():
                address = str(ip_address(fixed["ip_address"]))
                if address in wanted and port.id not in mine:
                    holder = f"{port.name or port.id} ({port.device_owner or 'not in use'})"
                    fix = "give it another `address:`" if "host" in wanted[address][0] else "name an address for it"
                    self._problem(f"{what}: {address} of {wanted[address][0]} is taken by port {holder}: {fix}.")
        missing = sorted({name for _, name in wanted.values()} - ours.keys())
        allowed = self._addresses_allowed or "admin" in self.cloud.roles
        if missing and one.project_id != self.cloud.project and not allowed:
            further = network.subnet_of or any(its.subnet_of == network.name for its in self.plan.networks)
            ids = [self.found.subnets[its.cloud_name] for its in network.subnets] if further else []
            on = "".join(f"--fixed-ip subnet={id_} " for id_ in ids)
            self._problem(
                f"{what} is another project's, and unless its operator decides otherwise, Neutron lets only its owner "
                f"choose addresses on it ({few(missing)}). Where you know that this cloud's policy "
                "(create_port:fixed_ips:ip_address) lets you: -e allow=fixed-address. Or make the port yourself, with "
                f"the address that the cloud gives it, and write that into the file: openstack port create --network "
                f"{one.id} {on}--description {marker(self.plan.topology)} {missing[0]}."
            )

    # Routers

    def _judge_router(self, what: str, router: Router, one: CloudRouter) -> None:
        if one.is_admin_state_up is False:
            self._problem(f"{what} is switched off in the cloud (admin_state_up): nothing passes it.")
        gateway = (one.external_gateway_info or {}).get("network_id")
        if bool(gateway) != router.external:
            verb, fix = ("has a", "true") if gateway else ("has no", "false")
            self._problem(f"{what} {verb} gateway to an external network in the cloud: write `external: {fix}`.")
        there = {(route["destination"], route["nexthop"]) for route in one.routes or ()}
        for route in router.routes:
            if (route.destination, route.next_hop) not in there:
                self._problem(
                    f"{what} has no route to {route.destination} via {route.next_hop}, which hosts need of it, and it "
                    f"is not the topology's to change. Its owner adds it: openstack router add route --route "
                    f"destination={route.destination},gateway={route.next_hop} {one.id}."
                )
        ports = [port for its in self._ports.values() for port in its if port.device_id == one.id]
        ours = {port.id for port in self.observed.ports}
        for interface in router.interfaces:
            if interface.own:
                continue
            has = {
                fixed["ip_address"]
                for port in ports
                if port.network_id == self.found.networks.get(interface.network)
                for fixed in port.fixed_ips or ()
            }
            lacking = [address for address in interface.addresses if address not in has]
            if lacking and interface.network in self.found.networks:
                shown = few(sorted(has)) or "none"
                self._problem(
                    f"{what} does not have {few(lacking)} on network {interface.network}, where its addresses are: "
                    f"{shown}. Write that, or leave the network out of its `networks`."
                )
        self._judge_overlaps(what, router, [port for port in ports if port.id not in ours])

    def _judge_overlaps(self, what: str, router: Router, ports: Iterable[CloudPort]) -> None:
        """Report networks of the topology that overlap what the router joins already: it takes no such interface."""
        used = {fixed.get("subnet_id") for port in ports for fixed in port.fixed_ips or ()}
        external = {port.network_id for port in ports if str(port.device_owner or "") == "network:router_gateway"}
        theirs = [ip_network(one.cidr) for one in self._subnets if one.id in used and one.network_id not in external]
        joins = {interface.network for interface in router.interfaces if interface.own}
        for network in self.plan.networks:
            for subnet in network.subnets if network.name in joins else ():
                mine = ip_network(subnet.cidr)
                if other := next((one for one in theirs if one.version == mine.version and one.overlaps(mine)), None):
                    self._problem(
                        f"{what} joins {other} already, which {mine} of network {network.name} overlaps: take another."
                    )


def _called(known: Iterable[Any], name: str) -> list[Any]:
    return [one for one in known if one.id == name] if is_id(name) else [one for one in known if one.name == name]
