"""What a plan is on real machines: the nodes, their interfaces, kernel routes and packet filters.

Pure: a plan in, text for the kernel out. It knows the plan's data and how Neutron and OVN treat them, and nothing of
how netorder predicts what follows; the two meet only in what is measured.

- A host sends by its connected prefixes, its own routes, those that DHCP brings it from its subnets, and its gateways.
- A port lets out packets from its own addresses and allowed pairs only, and in those to them only; ARP and IPv6
  neighbour discovery always pass. Then the security groups, whose state is that of each port alone (in OVN a conntrack
  zone each; ovn-northd(8), "Logical Switch Datapaths").
- A router forwards anything. At its gateway to the outside it translates a floating address to its host's, both ways,
  and the source addresses of the IPv4 subnets that it joins, not of others (ovn-nb(5), "NAT"); it has a default route.
- Outside is one machine, the next hop of all those default routes. It knows the external networks and nothing behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from netorder.plan.model import Host, Plan, Port, Router, Rule

    Prefix = IPv4Network | IPv6Network

OUTSIDE = "outside"
BROADCAST = "255.255.255.255/32"  # nobody sends from it
EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


# IANA, Protocol Numbers: names that nft need not know
NUMBERS = {
    "igmp": 2, "ipip": 4, "egp": 8, "dccp": 33, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "eigrp": 88, "ospf": 89,
    "pim": 103, "vrrp": 112, "pgm": 113, "l2tp": 115, "sctp": 132, "udplite": 136,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a cable: ``device`` on ``network``, with ``addresses`` (address/prefix length) and a MAC address."""

    device: str
    network: str
    addresses: tuple[str, ...]
    mac: str


@dataclass(frozen=True, slots=True)
class Node:
    """One machine. ``routes`` are (destination prefix, next hop) pairs, ``ruleset`` is for ``nft -f``.

    ``rules`` are the chains of ``ruleset`` that hold security-group rules: one that is empty lets all pass.
    """

    name: str
    forwarding: bool
    interfaces: tuple[Interface, ...]
    routes: tuple[tuple[str, str], ...]
    ruleset: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wiring:
    """All nodes, by name; ``outside`` are the addresses outside.

    ``floating`` gives hosts their floating addresses, ``fixed`` gives these the addresses that they stand for.

    The first of ``outside`` is in no prefix that the plan names. For each prefix in a rule that holds addresses of
    nobody in the plan, one of these follows.
    """

    nodes: Mapping[str, Node]
    networks: tuple[str, ...]
    floating: Mapping[str, str]
    fixed: Mapping[str, str]
    outside: tuple[str, ...]


def held(plan: Plan) -> Plan:
    """Return the plan where each virtual address is at the first of the hosts that share it."""
    holders: dict[str, str] = {}
    hosts = []
    for host in plan.hosts:
        ports = []
        for port in host.ports:
            mine = [one for one in port.virtual_addresses if holders.setdefault(one, host.name) == host.name]
            ports.append(replace(port, virtual_addresses=tuple(mine)))
        hosts.append(replace(host, ports=tuple(ports)))
    return replace(plan, hosts=tuple(hosts))


def wire(plan: Plan) -> Wiring:
    """Return the machines that ``plan`` stands for; a virtual address must be at one host alone."""
    return _Wirer(plan).wire()


class _Wirer:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._prefixes = {
            address: ip_network(subnet.cidr).prefixlen
            for network in plan.networks
            for subnet in network.subnets
            for address in self._on(network.name, ip_network(subnet.cidr))
        }
        self._defaults = {gateway for host in plan.hosts for gateway in host.gateways}
        self._defaults |= {
            r.next_hop for router in plan.routers for r in router.routes if r.destination == EVERYTHING[4]
        }
        self._macs = iter(range(1, 1 << 24))
        self._space = _free(plan)
        external = {self._external(router): None for router in plan.routers if router.external}
        # one /24 for each external network: .1 is outside, the routers follow, then the floating addresses
        self._addresses = {
            name: prefix.hosts() for name, prefix in zip(external, self._space.subnets(new_prefix=24), strict=False)
        }
        self._outside = {name: str(next(addresses)) for name, addresses in self._addresses.items()}
        self._floating: dict[str, str] = {}
        self._fixed: dict[str, str] = {}

    def wire(self) -> Wiring:
        routers = [self._router(router) for router in self._plan.routers]
        hosts = [self._host(host) for host in self._plan.hosts]
        others = tuple(self._strangers())
        far = str(self._space[-2])
        nodes = [*routers, *hosts, self._outside_node((far, *others))]
        return Wiring(
            {node.name: node for node in nodes},
            (*(network.name for network in self._plan.networks), *self._outside),
            self._floating,
            self._fixed,
            (far, *others),
        )

    def _on(self, network: str, prefix: Prefix) -> Iterator[str]:
        """Yield the addresses of ``prefix`` that somebody on ``network`` has."""
        ends = [port for host in self._plan.hosts for port in host.ports]
        ends += [interface for router in self._plan.routers for interface in router.interfaces]
        for end in ends:
            if end.network == network:
                yield from (address for address in end.addresses if ip_address(address) in prefix)

    def _external(self, router: Router) -> str:
        # a name that no network can have
        return f"external {router.external_network or self._plan.external_network or ''}"

    def _interface(self, index: int, network: str, addresses: Iterable[str]) -> Interface:
        lengths = tuple(f"{address}/{self._prefixes[address]}" for address in addresses)
        return Interface(f"eth{index}", network, lengths, self._mac())

    def _mac(self) -> str:
        return "02:00:00:" + next(self._macs).to_bytes(3, "big").hex(":")

    def _router(self, router: Router) -> Node:
        interfaces = [self._interface(index, end.network, end.addresses) for index, end in enumerate(router.interfaces)]
        routes = [(route.destination, route.next_hop) for route in router.routes]
        ruleset: list[str] = []
        if router.external:
            external = self._external(router)
            own = str(next(self._addresses[external]))
            pairs = self._translated(router, external)
            addresses = (f"{own}/24", *(f"{floating}/32" for floating in pairs))
            interfaces.append(Interface("outside", external, addresses, self._mac()))
            routes.append((EVERYTHING[4], self._outside[external]))
            ruleset = list(self._translation(router, own, pairs))
        return Node(router.name, True, tuple(interfaces), tuple(routes), tuple(ruleset))

    def _translated(self, router: Router, external: str) -> dict[str, str]:
        """Give floating addresses to the hosts whose gateway is ``router``; return these with the fixed ones."""
        addresses = {end.network: end.addresses for end in router.interfaces}
        pairs: dict[str, str] = {}
        for host in self._plan.hosts:
            port = host.ports[0]
            if host.floating_ip and self._gateway(port.network) in addresses.get(port.network, ()):
                floating = self._floating[host.name] = str(next(self._addresses[external]))
                pairs[floating] = _version(port.addresses, 4)[0]
        self._fixed |= pairs
        return pairs

    def _translation(self, router: Router, own: str, pairs: Mapping[str, str]) -> Iterator[str]:
        """Yield the rules that translate ``pairs`` (floating, fixed), and the networks that are joined to ``own``."""
        names = {end.network for end in router.interfaces}
        networks = [network for network in self._plan.networks if network.name in names]
        joined = [subnet.cidr for network in networks for subnet in network.subnets if subnet.version == 4]
        yield "table ip nat {"
        yield " chain in { type nat hook prerouting priority dstnat;"
        yield from (f"  ip daddr {floating} dnat to {fixed}" for floating, fixed in pairs.items())
        yield " }"
        yield " chain out { type nat hook postrouting priority srcnat;"
        yield from (f"  oifname outside ip saddr {fixed} snat to {floating}" for floating, fixed in pairs.items())
        if joined and router.snat:
            yield f"  oifname outside ip saddr {{ {', '.join(joined)} }} snat to {own}"
        yield " }"
        yield "}"

    def _gateway(self, network: str) -> str | None:
        subnets = next(one.subnets for one in self._plan.networks if one.name == network)
        return next((subnet.gateway_ip for subnet in subnets if subnet.version == 4), None)

    def _host(self, host: Host) -> Node:
        interfaces = [self._interface(index, port.network, port.addresses) for index, port in enumerate(host.ports)]
        ruleset = _ruleset(self._plan, host)
        shared = [one for port in host.ports for one in port.virtual_addresses]
        if self._defaults.intersection((*host.addresses, *shared)):  # what it does is its own: here it translates
            mine = ", ".join(_version(host.addresses, 4))
            own = ", ".join(
                subnet.cidr for network in self._plan.networks for subnet in network.subnets if subnet.version == 4
            )
            ruleset += ("table ip own {", " chain out { type nat hook postrouting priority srcnat;")
            ruleset += (f"  ip saddr != {{ {mine} }} ip daddr != {{ {own} }} masquerade", " }", "}")
        for index, port in enumerate(host.ports):
            virtual = tuple(f"{one}/{128 if ':' in one else 32}" for one in port.virtual_addresses)  # as keepalived's
            interfaces[index] = replace(interfaces[index], addresses=(*interfaces[index].addresses, *virtual))
        if host.loopback_addresses:
            own = tuple(f"{one}/{128 if ':' in one else 32}" for one in host.loopback_addresses)
            interfaces.append(Interface("lo", "", own, ""))
        routes = [(route.destination, route.next_hop) for route in host.routes]
        routes += [(EVERYTHING[ip_address(gateway).version], gateway) for gateway in host.gateways]
        routes += [
            (route.destination, route.next_hop)
            for port in host.ports
            for network in self._plan.networks
            if network.name == port.network
            for subnet in network.subnets
            for route in subnet.host_routes
            # a host that is itself the next hop gets the route too, and cannot use it
            if route.next_hop not in host.addresses
        ]
        return Node(
            host.name,
            host.forwarding,
            tuple(interfaces),
            tuple(dict.fromkeys(routes)),
            ruleset,
            tuple(
                f"{direction}_rules_{index}" for index in range(len(host.ports)) for direction in ("ingress", "egress")
            ),
        )

    def _outside_node(self, addresses: tuple[str, ...]) -> Node:
        interfaces = [Interface("lo", "", tuple(f"{address}/32" for address in addresses), "")]
        interfaces += [
            Interface(f"eth{index}", network, (f"{address}/24",), self._mac())
            for index, (network, address) in enumerate(self._outside.items())
        ]
        return Node(OUTSIDE, False, tuple(interfaces), ())

    def _strangers(self) -> Iterator[str]:
        """Yield an address of nobody for each IPv4 prefix in a rule, if it has one outside the plan's networks."""
        own = [prefix for prefix in self._plan.own if isinstance(prefix, IPv4Network)]
        for remote in sorted(
            {rule.remote_cidr for group in self._plan.security_groups for rule in group.rules} - {None, BROADCAST}
        ):
            rest = [prefix] if isinstance(prefix := ip_network(remote), IPv4Network) else []
            for taken in own:
                rest = [part for whole in rest for part in _less(whole, taken)]
            if rest:
                yield str(rest[-1][-1 if rest[-1].prefixlen > 30 else -2])


def _less(whole: IPv4Network, taken: IPv4Network) -> list[IPv4Network]:
    if whole.subnet_of(taken):
        return []
    return list(whole.address_exclude(taken)) if taken.subnet_of(whole) else [whole]


def _free(plan: Plan) -> IPv4Network:
    """Return a private /16 (RFC 1918) that no prefix of the plan meets."""
    named = [*plan.own]
    named += [ip_network(route.destination) for node in (*plan.hosts, *plan.routers) for route in node.routes]
    named += [
        ip_network(rule.remote_cidr) for group in plan.security_groups for rule in group.rules if rule.remote_cidr
    ]
    named = [prefix for prefix in named if isinstance(prefix, IPv4Network) and prefix.prefixlen]
    for block in ("172.16.0.0/12", "10.0.0.0/8"):
        for space in reversed(list(IPv4Network(block).subnets(new_prefix=16))):
            if not any(space.overlaps(prefix) for prefix in named):
                return space
    raise ValueError("the plan leaves no private /16 for the outside")


def _version(values: Iterable[str], version: int) -> list[str]:
    return [value for value in values if ip_network(value).version == version]


def _ruleset(plan: Plan, host: Host) -> tuple[str, ...]:
    """Return the filters of a host's ports.

    One conntrack entry serves the whole host; bit ``n`` of its mark says that port ``n`` has let the connection pass.
    So each port knows what it would know with a conntrack zone of its own: what it never let pass is new to it,
    whatever the other ports saw.
    """
    groups = {group.name: group for group in plan.security_groups}
    lines = ["table inet ports {"]
    for index, port in enumerate(host.ports):
        rules = [rule for name in port.security_groups for rule in groups[name].rules]
        for direction in ("ingress", "egress"):
            lines.append(f" chain {direction}_rules_{index} {{")
            # nobody here is a member of a cloud's security group
            its = (rule for rule in rules if rule.direction == direction and rule.remote_group is None)
            lines += [f"  {_match(rule)} return" for rule in its]
            lines += ["  drop", " }", f" chain {direction}_{index} {{", *_guard(port, direction, index), " }"]
    for hook, passes in (("input", "i"), ("forward", "io"), ("output", "o")):
        lines.append(f" chain {hook} {{ type filter hook {hook} priority filter;")
        for way in passes:
            direction = {"i": "ingress", "o": "egress"}[way]
            filtered = [index for index, port in enumerate(host.ports) if port.port_security]
            lines += [f"  {way}ifname eth{index} jump {direction}_{index}" for index in filtered]
        lines.append(" }")
    return (*lines, "}")


def _guard(port: Port, direction: str, index: int) -> Iterator[str]:
    """Yield what stands before the rules of ``port`` in one direction; a packet that comes to the end has passed."""
    yield "  icmpv6 type { 133, 134, 135, 136, 137 } return"
    end = {"ingress": "daddr", "egress": "saddr"}[direction]
    always = {
        4: {"ingress": ["224.0.0.0/4"], "egress": []},
        6: {"ingress": ["fe80::/10", "ff00::/8"], "egress": ["fe80::/10"]},
    }
    for version, family in ((4, "ip"), (6, "ip6")):
        own = _version((*port.addresses, *port.allowed_address_pairs), version) + always[version][direction]
        prefixes = ", ".join(map(str, collapse_addresses(map(ip_network, own))))
        yield f"  {family} {end} != {{ {prefixes} }} drop" if own else f"  meta nfproto ipv{version} drop"
    bit = f"{1 << index:#x}"
    yield f"  ct state established,related ct mark and {bit} == {bit} return"
    # an answer to what this port never saw
    yield "  tcp flags & (syn | ack) == syn | ack drop"
    yield "  icmp type echo-reply drop"
    yield "  icmpv6 type echo-reply drop"
    yield "  ct state invalid drop"
    yield f"  jump {direction}_rules_{index}"
    yield f"  ct mark set ct mark or {bit}"


def _match(rule: Rule) -> str:
    """Return the nft match of a security-group rule."""
    family = {"IPv4": "ip", "IPv6": "ip6"}[rule.ethertype]
    end = {"ingress": "saddr", "egress": "daddr"}[rule.direction]
    match = [f"meta nfproto {rule.ethertype.lower()}"]
    if rule.remote_cidr is not None:
        match.append(f"{family} {end} {rule.remote_cidr}")
    if rule.protocol is not None:
        match.append(f"meta l4proto {NUMBERS.get(rule.protocol, rule.protocol)}")
    if icmp := {"icmp": "icmp", "ipv6-icmp": "icmpv6"}.get(rule.protocol or ""):
        match += [f"{icmp} type {rule.port_min}"] if rule.port_min is not None else []
        match += [f"{icmp} code {rule.port_max}"] if rule.port_max is not None else []
    elif rule.port_min is not None:
        match.append(f"th dport {rule.port_min}-{rule.port_max}")
    return " ".join(match)
