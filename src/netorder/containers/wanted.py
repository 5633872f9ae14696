"""What a plan needs on this machine: namespaces, cables between them, filters, containers. Pure.

Networks are bridges in one namespace, the switch; a router is a namespace; a host's ports are in a namespace that its
container joins, so that they outlive its restarts. The machine's own namespace gets one cable, if a router is external.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, ip_network
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from netorder.analysis.reach import Matrix
from netorder.containers.health import health
from netorder.ip import IPV4, covers, joined, overlap
from netorder.protocols import number
from netorder.text import few
from netorder.topology import SSH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from netorder.containers.kernel import Way
    from netorder.ip import Prefix
    from netorder.plan.model import Host, Plan, Router, Rule, SecurityGroup, Subnet

__all__ = [
    "LABEL",
    "MACHINE",
    "OUTSIDE",
    "Cable",
    "Guest",
    "Ports",
    "Published",
    "Routing",
    "Wanted",
    "dport",
    "external_prefix",
    "file_names",
    "host_space",
    "image_name",
    "let_in_by",
    "let_out_by",
    "mac",
    "machine_table",
    "no_external_prefix",
    "port_range",
    "prefix",
    "published_ports",
    "rules_in_guise",
    "snapshots_name",
    "switch_space",
    "uplink",
    "wanted",
]

LABEL = "netorder.topology"  # of containers and images: the topology that they belong to
MACHINE = ""  # the machine's own network namespace
OUTSIDE = "ext"  # the bridge of the outside in the switch, and a router's device there
SPACE = IPv4Network("172.29.0.0/16")  # of the outsides, a /24 each
SPARE = IPv4Network("198.18.0.0/15")  # where none of SPACE is free: of measurements (RFC 2544), on no LAN
_FIRST_FLOATING, _LAST_FLOATING = 50, 249  # of a /24; below are the machine (1) and the routers
_SHOWN = 5  # prefixes, in a message
_GUISE = 254  # of a /24: whom hosts see in the place of outsiders that have an address of the topology's
Ports: TypeAlias = tuple[str, int, int]  # protocol, first and last port
# by ports of this machine: the host, and the prefixes that may come; none means everybody
Published: TypeAlias = "Mapping[Ports, tuple[str, tuple[str, ...]]]"
DEFAULT_MTU = 1500


def prefix(topology: str) -> str:
    """Return how the names of all of a topology's namespaces begin; no topology's name has a dot in it."""
    return f"netorder.{topology}."


def switch_space(topology: str) -> str:
    """Return the name of the namespace with the bridges."""
    return f"{prefix(topology)}switch"


def host_space(topology: str, host: str) -> str:
    """Return the name of a host's namespace."""
    return f"{prefix(topology)}host.{host}"


def machine_table(topology: str) -> str:
    """Return the name of the topology's table of rules in the machine's own namespace."""
    return f"netorder.{topology}"


def uplink(topology: str) -> str:
    """Return the name of the machine's device towards the topology."""
    return f"no{_short(topology)}"


def snapshots_name(topology: str) -> str:
    """Return what podman calls the images that are the topology's snapshots, without their tags."""
    return f"localhost/netorder-snapshots/{topology.lower()}"


def image_name(image: str) -> str:
    """Return what podman calls an image: a name without a registry is one made on this machine."""
    return image if "/" in image else f"localhost/netorder/{image}"


def mac(topology: str, name: str) -> str:
    """Return the hardware address of a port, which its name draws."""
    drawn = _short(f"{topology} {name}")
    return ":".join(["02", *(drawn[i : i + 2] for i in range(0, 10, 2))])


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]  # a device's name has at most 15 characters


@dataclass(frozen=True, slots=True)
class Cable:
    """From ``port`` of the switch, on ``bridge``, to ``device`` in a namespace; ``addresses`` None: not set here."""

    kind: str
    name: str
    port: str
    bridge: str
    space: str
    device: str
    mac: str
    addresses: tuple[str, ...] | None
    mtu: int


@dataclass(frozen=True, slots=True)
class Routing:
    """A router's namespace: its routes as (destination, next hop), and its nft ruleset."""

    name: str
    space: str
    routes: tuple[tuple[str, str], ...]
    ruleset: str


@dataclass(frozen=True, slots=True)
class Guest:
    """A host as a container. ``settings`` are what it was made from: another one replaces it.

    ``kernel`` are settings of its namespace (kernel.SETTINGS), which it cannot change itself. ``files`` are those of
    ``file_names``. ``health`` is the script that checks its applications.
    """

    host: str
    name: str
    space: str
    kernel: dict[str, str]
    settings: dict[str, object]
    files: dict[str, str]
    health: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """All that a plan needs. ``bridges`` by name with their network and MTU. ``floating`` addresses by host.

    ``machine`` is the ruleset of the machine's own namespace, None where nothing is outside. ``published`` are the
    ports of this machine that lead to hosts.
    """

    topology: str
    bridges: dict[str, tuple[str, int]]
    cables: tuple[Cable, ...]
    routings: tuple[Routing, ...]
    guests: tuple[Guest, ...]
    filters: str
    machine: str | None
    outside: IPv4Network
    floating: dict[str, str]
    published: dict[Ports, str]


def external_prefix(plan: Plan, routes: Iterable[Way]) -> IPv4Network | None:
    """Return the /24 for the plan's outside: one that meets nothing of the plan and none of the machine's ``routes``.

    It begins to look where the topology's name says, so that several topologies mostly get the same each time. Where
    none is left it may lie in a wide prefix that is elsewhere (a VPN): the route to the /24 is longer, and wins.
    """
    ways = [*routes]
    named = _named(plan)
    drawn = int(_short(plan.topology), 16)
    for taken in (ways, [one for one in ways if one.connected or one.prefix.prefixlen >= SPACE.prefixlen]):
        used = [*named, *(one.prefix for one in taken)]
        for space in (SPACE, SPARE):
            spaces = list(space.subnets(new_prefix=24))
            first = drawn % len(spaces)
            free = (one for one in spaces[first:] + spaces[:first] if not any(overlap(one, it) for it in used))
            if found := next(free, None):
                return found
    return None


def no_external_prefix(plan: Plan, routes: Iterable[Way]) -> str:
    """Return who takes what could be the plan's outside, and what to do."""
    ways = sorted({f"{one.prefix} ({one.device})" for one in routes if _in_the_way(one.prefix)})
    named = sorted({str(one) for one in _named(plan) if _in_the_way(one)})
    who = [f"routes of this machine (`ip route`): {few(ways, _SHOWN)}"] if ways else []
    who += [f"prefixes of the topology file (networks, routes, `allow`): {few(named, _SHOWN)}"] if named else []
    return (
        f"no /24 of {SPACE} or {SPARE} is free for the outside of the topology, because of {'; and of '.join(who)}. "
        "Make one of these narrower"
    )


def _in_the_way(prefix: Prefix) -> bool:
    return any(overlap(prefix, space) for space in (SPACE, SPARE))


def _named(plan: Plan) -> list[Prefix]:
    """Return the prefixes that mean something in the plan, all addresses apart."""
    routes = [route for host in plan.hosts for route in host.routes]
    routes += [route for router in plan.routers for route in router.routes]
    named = [*plan.own, *(ip_network(route.destination) for route in routes)]
    named += [ip_network(r.remote_cidr) for group in plan.security_groups for r in group.rules if r.remote_cidr]
    return [one for one in named if one.prefixlen]


def wanted(plan: Plan, outside: IPv4Network, name_servers: Iterable[str], *, tracks_bridges: bool) -> Wanted:
    """Return what the plan needs.

    ``name_servers`` are for hosts whose network names none. ``tracks_bridges``: the kernel's bridges know connections
    themselves; else bridged packets pass the filters of routed ones (br_netfilter).
    """
    return _Maker(plan, outside, tuple(name_servers), tracks_bridges).make()


class _Maker:
    def __init__(self, plan: Plan, outside: IPv4Network, name_servers: tuple[str, ...], tracks_bridges: bool) -> None:
        self._plan = plan
        self._topology = plan.topology
        self._outside = outside
        own = plan.own  # who has an address of these is reached in here, not on the machine's LAN
        self._name_servers = [one for one in name_servers if not any(covers(its, ip_network(one)) for its in own)]
        self._tracks_bridges = tracks_bridges
        self._matrix = Matrix(plan)
        self._networks = {network.name: network for network in plan.networks}
        self._external = [router for router in plan.routers if router.external]
        self._guise = outside[_GUISE]
        self._floating = dict(_floating(plan, outside))

    def make(self) -> Wanted:
        # a further subnet is a bridge of its own: hosts that reach each other by routers cannot tell
        bridges = {_bridge(name): (f"{self._topology}-{name}", self._mtu(name)) for name in self._networks}
        published = published_ports(self._plan) if self._external else {}
        return Wanted(
            topology=self._topology,
            bridges=bridges | ({OUTSIDE: ("the outside", DEFAULT_MTU)} if self._external else {}),
            cables=tuple(self._cables()),
            routings=tuple(self._routing(router) for router in self._plan.routers),
            guests=tuple(self._guest(host) for host in self._plan.hosts),
            filters=self._filters(),
            machine=self._machine(published) if self._external else None,
            outside=self._outside,
            floating=self._floating,
            published={key: host for key, (host, _) in published.items()},
        )

    def _subnet(self, network: str) -> Subnet:
        return self._networks[network].subnets[0]

    def _with_length(self, network: str, address: str) -> str:
        return f"{address}/{ip_network(self._subnet(network).cidr).prefixlen}"

    def _mtu(self, network: str) -> int:
        return self._networks[network].mtu or DEFAULT_MTU

    # Cables

    def _cables(self) -> Iterator[Cable]:
        if self._external:
            own = f"{self._outside[1]}/{self._outside.prefixlen}"
            device = uplink(self._topology)
            yield self._cable("router interface", "outside", OUTSIDE, MACHINE, device, (own, f"{self._guise}/32"))
        for router in self._plan.routers:
            space = self._router_space(router)
            for end in router.interfaces:
                addresses = tuple(self._with_length(end.network, one) for one in end.addresses)
                device = f"n{_short(end.network)}"
                yield self._cable(
                    "router interface", end.port_name, _bridge(end.network), space, device, addresses, end.network
                )
            if router.external:
                own = f"{self._own(router)}/{self._outside.prefixlen}"
                floating = tuple(f"{one}/32" for one in sorted(self._translated(router)))
                name = f"{router.cloud_name}.outside"
                yield self._cable("router interface", name, OUTSIDE, space, OUTSIDE, (own, *floating))
        for host in self._plan.hosts:
            space = host_space(self._topology, host.name)
            for index, port in enumerate(host.ports):
                yield self._cable(
                    "port", port.cloud_name, _bridge(port.network), space, f"eth{index}", None, port.network
                )

    def _cable(  # noqa: PLR0917 - the parts of a cable
        self,
        kind: str,
        name: str,
        bridge: str,
        space: str,
        device: str,
        addresses: tuple[str, ...] | None,
        network: str = "",
    ) -> Cable:
        mtu = self._mtu(network) if network else DEFAULT_MTU
        return Cable(kind, name, _port(name), bridge, space, device, mac(self._topology, name), addresses, mtu)

    # Routers

    def _router_space(self, router: Router) -> str:
        return f"{prefix(self._topology)}router.{router.name}"

    def _own(self, router: Router) -> IPv4Address:
        return self._outside[2 + self._external.index(router)]

    def _translated(self, router: Router) -> dict[str, str]:
        """Return the floating and fixed addresses of the hosts whose gateway is ``router``."""
        its = {address for end in router.interfaces for address in end.addresses}
        return {
            self._floating[host.name]: host.ports[0].addresses[0]
            for host in self._plan.hosts
            if host.name in self._floating and self._subnet(host.ports[0].network).gateway_ip in its
        }

    def _routing(self, router: Router) -> Routing:
        routes = [(route.destination, route.next_hop) for route in router.routes]
        ruleset = ""
        if router.external:
            routes.append(("0.0.0.0/0", str(self._outside[1])))
            ruleset = self._translation(router)
        return Routing(router.cloud_name, self._router_space(router), tuple(sorted(routes)), ruleset)

    def _translation(self, router: Router) -> str:
        pairs = sorted(self._translated(router).items())
        inside = sorted({self._subnet(end.network).cidr for end in router.interfaces})
        own = ", ".join(map(str, self._plan.own))
        return _lines(
            "table ip netorder {",
            " chain in {",
            "  type nat hook prerouting priority dstnat; policy accept;",
            *(f"  ip daddr {floating} dnat to {fixed}" for floating, fixed in pairs),
            " }",
            " chain out {",
            "  type nat hook postrouting priority srcnat; policy accept;",
            *(f'  oifname "{OUTSIDE}" ip saddr {fixed} snat to {floating}' for floating, fixed in pairs),
            *(f'  oifname "{OUTSIDE}" ip saddr {cidr} snat to {self._own(router)}' for cidr in inside),
            " }",
            " chain forward {",
            "  type filter hook forward priority filter; policy accept;",
            # whoever routes to a private address from outside gets nothing
            f'  iifname "{OUTSIDE}" ct state new ct status & dnat != dnat drop',
            # nothing out there has the topology's addresses: who lacks a route is told so, at once
            f'  oifname "{OUTSIDE}" ip daddr {{ {own} }} reject with icmp net-unreachable',
            " }",
            "}",
        )

    # Filters of the hosts' ports, in the switch, where no host can change them

    def _filters(self) -> str:
        guards: list[str] = []
        doors: list[tuple[str, str]] = []  # by port of the switch: the chain of what comes in to the host
        exits: list[tuple[str, str]] = []  # and that of what it sends, where that is limited
        limited = {group.name for group in self._plan.security_groups if group.is_limited}
        for host in self._plan.hosts:
            for port in (one for one in host.ports if one.port_security):
                name = _port(port.cloud_name)
                own = ", ".join(map(str, joined(map(ip_network, (*port.addresses, *port.allowed_address_pairs)))))
                guards += [
                    f'  iifname "{name}" arp saddr ip != {{ {own} }} drop',
                    f'  iifname "{name}" ip saddr != {{ {own} }} drop',
                    f'  iifname "{name}" ether type != {{ arp, ip }} drop',
                ]
                doors += [(name, f"in-{group}") for group in port.security_groups[:1]]
                exits += [(name, f"out-{group}") for group in port.security_groups[:1] if group in limited]
        chains = [line for group in self._plan.security_groups for line in self._chain(group)]
        for group in self._plan.security_groups:
            chains += _chain_out(group.name, group.rules) if group.is_limited else []
        let_in = ["  type filter hook forward priority filter; policy accept;", "  ct state established,related accept"]
        if self._tracks_bridges:
            # a connection needs both ends: the chains of what is sent return, those of what comes in accept
            jumps = [f'  iifname "{name}" jump {chain}' for name, chain in exits]
            jumps += [f'  oifname "{name}" jump {chain}' for name, chain in doors]
            guard = ["  type filter hook forward priority -10; policy accept;", *guards]
            return _lines(
                "table bridge netorder {", *chains,
                " chain guard {", *guard, " }",
                " chain forward {", *let_in, *jumps, " }", "}",
            )  # fmt: skip
        # br_netfilter shows the bridges in place of their ports: a mark tells where a packet comes from, and goes
        sent = [(name, number << 16, chain) for number, (name, chain) in enumerate(exits, 1)]
        taken = [(name, number, chain) for number, (name, chain) in enumerate(doors, 1)]
        set_marks = [f'  iifname "{name}" meta mark set {mark:#x}' for name, mark, _ in sent]
        set_marks += [f'  oifname "{name}" meta mark set mark or {mark:#x}' for name, mark, _ in taken]
        jumps = [f"  meta mark and 0xffff0000 == {mark:#x} jump {chain}" for _, mark, chain in sent]
        jumps += [f"  meta mark and 0xffff == {mark:#x} jump {chain}" for _, mark, chain in taken]
        return _lines(
            "table bridge netorder {",
            " chain guard {", "  type filter hook forward priority -10; policy accept;", *guards, *set_marks, " }",
            "}",
            "table inet netorder {", *chains, " chain forward {", *let_in, *jumps, " }", "}",
        )  # fmt: skip

    def _chain(self, group: SecurityGroup) -> list[str]:
        """Return the chain of what comes in to the hosts of a group."""
        in_guise = rules_in_guise(self._plan, group.rules, str(self._guise)) if self._external else []
        let_in = [f"  {match} accept" for match in let_in_by((*group.rules, *in_guise))]
        head = [f" chain in-{group.name} {{", "  ip version 4 ct state invalid drop"]
        return [*head, *let_in, "  ip version 4 drop", " }"]

    # The machine

    def _machine(self, published: Published) -> str:
        device = uplink(self._topology)
        own = ", ".join(str(one) for one in self._plan.own if one.version == IPV4)
        to_hosts = []
        for ports, (host, sources) in sorted(published.items()):
            come = f"ip saddr {{ {', '.join(sorted(sources))} }} " if sources else ""
            to_hosts.append(f"{come}{dport(ports)} dnat ip to {self._floating[host]}")
        return _lines(
            f"table inet {machine_table(self._topology)} {{",
            " chain in {",
            "  type nat hook prerouting priority dstnat; policy accept;",
            *(f'  iifname != "{device}" fib daddr type local {rule}' for rule in to_hosts),
            " }",
            " chain own {",
            "  type nat hook output priority -100; policy accept;",
            *(f"  fib daddr type local ip daddr != 127.0.0.0/8 {rule}" for rule in to_hosts),
            " }",
            " chain out {",
            "  type nat hook postrouting priority srcnat; policy accept;",
            f'  ip saddr {self._outside} oifname != "{device}" masquerade',
            # an answer to the topology's own addresses would stay in there: on a LAN that has a prefix of the plan's
            f'  oifname "{device}" ip saddr {{ {own} }} ct status & dnat == dnat snat ip to {self._guise}',
            " }",
            " chain forward {",
            "  type filter hook forward priority filter; policy accept;",
            # from other machines only what is published, and answers
            f'  oifname "{device}" ct state new ct status & dnat != dnat drop',
            " }",
            "}",
        )

    # Containers

    def _guest(self, host: Host) -> Guest:
        interfaces = [self._interface(host, index) for index in range(len(host.ports))]
        servers = [one for port in host.ports for one in self._subnet(port.network).dns_nameservers]
        servers = list(dict.fromkeys(servers or self._name_servers))
        text = "".join(f"nameserver {one}\n" for one in servers)
        files = dict(zip(file_names(len(interfaces)), (text, *interfaces), strict=True))
        settings: dict[str, object] = {
            "image": host.image,
            "user": host.user,
            "networks": [port.network for port in host.ports],
            "addresses": [self._with_length(port.network, port.addresses[0]) for port in host.ports],
            "gateway": ", ".join(host.gateways) or None,
        }
        # as the role host_network has it on a host, where a container's /proc/sys is for reading
        kernel = dict.fromkeys(("ipv4/ip_forward", "ipv6/conf/all/forwarding"), "1") if host.forwarding else {}
        kernel |= {"ipv4/conf/all/rp_filter": "2"} if host.forwarding or len(host.ports) > 1 else {}
        space = host_space(self._topology, host.name)
        return Guest(host.name, host.cloud_name, space, kernel, settings, files, health(self._matrix, host))

    def _interface(self, host: Host, index: int) -> str:
        """Return the file that configures an interface with systemd-networkd."""
        port = host.ports[index]
        subnet = self._subnet(port.network)
        lines = ["[Match]", f"Name=eth{index}", "", "[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
        lines += [f"Address={self._with_length(port.network, address)}" for address in port.addresses]
        lines += [f"Gateway={subnet.gateway_ip}"] if subnet.gateway_ip in host.gateways else []
        lines += [f"DNS={one}" for one in subnet.dns_nameservers or self._name_servers]
        for route in subnet.host_routes:
            if route.next_hop not in host.addresses:
                lines += ["", "[Route]", f"Destination={route.destination}", f"Gateway={route.next_hop}"]
        return "\n".join(lines) + "\n"


def file_names(ports: int) -> list[str]:
    """Return the files of a host with so many ports that say how its network is."""
    return ["/etc/resolv.conf", *(f"/etc/systemd/network/08-container-eth{index}.network" for index in range(ports))]


def published_ports(plan: Plan) -> Published:
    """Return what is published of the hosts with floating addresses."""
    groups = {group.name: group.rules for group in plan.security_groups}
    own = plan.own
    found: dict[Ports, tuple[str, tuple[str, ...]]] = {}
    for host in (one for one in plan.hosts if one.floating_ip):
        for rule in groups.get(host.group, ()):
            source = rule.remote_cidr
            if source is not None and any(covers(one, ip_network(source)) for one in own):
                continue
            for key in _ports(rule):
                _, before = found.get(key, (host.name, ()))
                known = key in found and not before  # everybody already
                found[key] = (host.name, () if source is None or known else (*before, source))
    return found


def rules_in_guise(plan: Plan, rules: Iterable[Rule], guise: str) -> list[Rule]:
    """Return what rules publish to prefixes of which the plan's networks have a part, for who comes in this guise.

    Where it is put on, the source has been compared with the rule already.
    """
    return [replace(rule, remote_cidr=f"{guise}/32") for rule in rules if any(_ports(rule)) and _meets(plan.own, rule)]


def _meets(own: Sequence[Prefix], rule: Rule) -> bool:
    """Whether a rule's prefix has a part in common with these, and is in none of them."""
    if rule.remote_cidr is None:
        return False
    source = ip_network(rule.remote_cidr)
    return any(overlap(source, one) for one in own) and not any(covers(one, source) for one in own)


def _bridge(network: str) -> str:
    return f"b{_short(network)}"


def _port(name: str) -> str:
    return f"p{_short(name)}"


def _floating(plan: Plan, outside: IPv4Network) -> Iterator[tuple[str, str]]:
    """Yield each host's floating address, which its name draws: another host mostly changes nobody's."""
    room = _LAST_FLOATING - _FIRST_FLOATING + 1
    taken: set[int] = set()
    hosts = [host.name for host in plan.hosts if host.floating_ip]
    for name in islice(sorted(hosts), room):
        place = int(_short(name), 16) % room
        while place in taken:
            place = (place + 1) % room
        taken.add(place)
        yield name, str(outside[_FIRST_FLOATING + place])


def _ports(rule: Rule) -> Iterator[Ports]:
    """Yield what a rule publishes to those that it lets in: all but SSH, which the machine has itself."""
    if rule.direction != "ingress" or rule.protocol not in ("tcp", "udp") or rule.port_min is None:
        return
    first, last = rule.port_min, rule.port_max or rule.port_min
    parts = [(first, min(last, SSH - 1)), (max(first, SSH + 1), last)] if rule.protocol == "tcp" else [(first, last)]
    yield from ((rule.protocol, first, last) for first, last in parts if first <= last)


def port_range(ports: Ports) -> str:
    """Return the ports as nft and compose files write them."""
    _, first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def dport(ports: Ports) -> str:
    """Return the nft match of what is sent to these ports."""
    return f"{ports[0]} dport {port_range(ports)}"


def _chain_out(group: str, rules: Iterable[Rule]) -> list[str]:
    passed = [f"  {match} return" for match in let_out_by(rules)]
    return [f" chain out-{group} {{", *passed, "  ip version 4 drop", " }"]


def let_in_by(rules: Iterable[Rule]) -> list[str]:
    """Return the nft matches of what rules let in, of IPv4."""
    return [_match(rule) for rule in rules if rule.direction == "ingress" and rule.ethertype == "IPv4"]


def let_out_by(rules: Iterable[Rule]) -> list[str]:
    """Return the nft matches of what rules let out, of IPv4."""
    return [_match(rule) for rule in rules if rule.direction == "egress" and rule.ethertype == "IPv4"]


def _match(rule: Rule) -> str:
    end = "saddr" if rule.direction == "ingress" else "daddr"
    match = [f"ip {end} {rule.remote_cidr}"] if rule.remote_cidr is not None else []
    if rule.protocol is None:
        return " ".join([*match, "ip version 4"])
    match.append(f"ip protocol {number(rule.protocol)}")
    if rule.protocol == "icmp":
        match += [f"icmp type {rule.port_min}"] if rule.port_min is not None else []
        match += [f"icmp code {rule.port_max}"] if rule.port_max is not None else []
    elif rule.port_min is not None:
        ports = rule.port_min if rule.port_min == rule.port_max else f"{rule.port_min}-{rule.port_max}"
        match.append(f"th dport {ports}")
    return " ".join(match)


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)
