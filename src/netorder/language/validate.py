"""What is wrong with a topology as a whole: what only its routes, rules and SSH paths together show."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from netorder.ip import IPV4, IPV6, VERSIONS, covers, joined, overlap
from netorder.language.routes import astray, entry_network, ssh_sources
from netorder.text import few
from netorder.topology import SSH, HostSpec, Match, RuleSpec, default_interface, outside_interface

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netorder.ip import Address, Prefix
    from netorder.language.document import Reader
    from netorder.language.routes import Routes
    from netorder.language.specs import Specs
    from netorder.language.yaml_source import Path
    from netorder.topology import EgressSpec, NetworkSpec

__all__ = ["check"]

# Neutron's limits unless its operator raises them
MOST_HOST_ROUTES = 20  # of a subnet (max_subnet_host_routes)
MOST_NAME_SERVERS = 5  # of a subnet (max_dns_nameservers)
MOST_ROUTES = 30  # of a router (max_routes)
LEAST_IPV6_MTU = 1280


def check(
    reader: Reader,
    specs: Specs,
    rules: tuple[RuleSpec, ...],
    routes: Routes,
    egress: tuple[EgressSpec, ...],
    *,
    behind_nat: bool = False,
    on_one_link: bool = True,
) -> None:
    """Report what Neutron's limits refuse and DHCP cannot hand out, and services and SSH that no rule allows.

    With ``behind_nat`` each host is behind a NAT of its own; subnets of one network are ``on_one_link`` or apart.
    """
    _check_subnet_routes(reader, specs, routes)
    _check_router_routes(reader, specs, routes)
    _check_name_servers(reader, specs)
    _check_announced(reader, specs)
    _check_reachable(reader, specs)
    _check_mtu(reader, specs)
    _check_port_security(reader, specs)
    _check_without_dhcp(reader, specs)
    _check_shared(reader, specs, rules)
    if on_one_link:
        _check_further(reader, specs, routes)
        _check_past_routers(reader, specs, routes)
    if not reader.failed:
        _check_calls(reader, specs, rules, routes, {} if behind_nat else _sent(egress), behind_nat=behind_nat)
        _check_limits(reader, specs, rules, egress)
        _check_packages(reader, specs)
        _check_ssh_paths(reader, specs, rules, routes)
        _check_floating_sources(reader, specs)
        _check_unused(reader, specs)
        _check_name_servers_reached(reader, specs)


def _check_subnet_routes(reader: Reader, specs: Specs, routes: Routes) -> None:
    at_defaults: set[str] = set()  # kinds of errors that are reported where `defaults` cause them

    def report(network: str, kind: str, message: str) -> None:
        path: Path = ("networks", network, "routes")
        if reader.get(*path) is None:
            path = ("defaults", "routes")
            if kind in at_defaults:
                return
            at_defaults.add(kind)
        reader.error(path, message)

    for network in specs.networks:
        if network.routes == "router" and network.gateway_router is None:
            message = f"network `{network.name}` has no router to live on for its hosts' routes; use `host` or `subnet`"
            report(network.name, "no router", message)
        if network.routes != "subnet" or IPV4 not in routes.routings:
            continue
        for kind, host in _wrong_for_dhcp(specs, network):
            message = f"host `{host.name}` {_WRONG_FOR_DHCP[kind].format(network.name)}"
            report(network.name, kind, f"{message}; use `routes: host` for this network")
        count = len(routes.tables.of_network(network.name, IPV4))
        if count > MOST_HOST_ROUTES:
            message = f"network `{network.name}` needs {count} routes, and DHCP hands out {MOST_HOST_ROUTES} at most"
            report(network.name, "many", f"{message}; use `routes: host` or `routes: router`")


_WRONG_FOR_DHCP = {
    "several": "is on other networks too, where what DHCP gives on `{}` is wrong",
    "loopback": "has a loopback address, to which DHCP would give it a route by itself",
}


def _wrong_for_dhcp(specs: Specs, network: NetworkSpec) -> Iterator[tuple[str, HostSpec]]:
    """Yield the first host of each kind for which routes that DHCP hands out on the network are wrong."""
    on = [host for host in specs.hosts if host.address(network.name, IPV4) is not None]
    several = [host for host in on if sum(one.address(IPV4) is not None for one in host.interfaces) > 1]
    loopback = [host for host in on if host.loopback_networks(IPV4)]
    yield from (("several", host) for host in several[:1])
    yield from (("loopback", host) for host in loopback[:1] if host not in several)


def _check_port_security(reader: Reader, specs: Specs) -> None:
    """Warn of hosts that are open to the world by it."""
    for host in _first_of_each(specs):
        if host.security_groups and not host.port_security:
            message = f"without port security host `{host.name}` has no security groups"
            path: Path = ("hosts", specs.entries[host.name], "security_groups")
            reader.error(path, f"{message}; remove these, or `port_security: false`")
        if host.floating_ip and not host.port_security:
            message = f"without port security everything on host `{host.name}` is open to the whole world"
            fix = "filter on the host itself, or take its floating address away"
            reader.warning(("hosts", specs.entries[host.name], "port_security"), f"{message}; {fix}")


def _check_without_dhcp(reader: Reader, specs: Specs) -> None:
    """Report what hosts cannot learn from a config drive."""
    networks = {network.name: network for network in specs.networks if not network.dhcp}
    for network in networks.values():
        if network.routes == "subnet":
            path: Path = ("networks", network.name, "routes")
            path = path if reader.get(*path) is not None else ("defaults", "routes")
            message = f"network `{network.name}` has no DHCP to hand out routes (`dhcp: false`)"
            reader.error(path, f"{message}; use `routes: host` or `routes: router` for it")
    for host in _first_of_each(specs):
        for interface in host.interfaces[1:]:
            its = networks.get(interface.network)
            if its and its.gateway_router:
                message = f"host `{host.name}` would use the gateway of network `{its.name}` too: without DHCP "
                message += "images take that of each network; name that network first, or give it DHCP"
                reader.error(("hosts", specs.entries[host.name], "networks"), message)


def _check_shared(reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...]) -> None:
    """Warn of hosts that share an address and let nothing in by which they could agree whose it is."""
    sharers: dict[Address, list[HostSpec]] = {}
    for host in specs.hosts:
        for address in host.virtual_addresses:
            sharers.setdefault(address, []).append(host)
    warned: set[str] = set()
    for address, hosts in sharers.items():
        first, entry = hosts[0], specs.entries[hosts[0].name]
        others = [one for host in hosts[1:] for one in host.addresses]
        talks = any(
            first.name in rule.targets and any(one in source for one in others for source in rule.sources)
            for rule in rules
            if rule.to(first)
        )
        if others and not talks and first.port_security and entry not in warned:
            warned.add(entry)
            message = f"`{address}` is shared by {few([f'`{host.name}`' for host in hosts])}, and no rule lets them "
            message += f"agree whose it is; add to `allow:` `- {{within: {entry}, protocol: vrrp}}`, or what they speak"
            reader.warning(("hosts", entry, "virtual_addresses"), message)


def _check_further(reader: Reader, specs: Specs, routes: Routes) -> None:
    """Warn of further subnets to which no way leads from their network: Neutron's agents give hosts one all the same.

    By DHCP they tell hosts that each other's IPv4 subnets of the network are on the link.
    """
    routing = routes.routings.get(IPV4)
    populated = frozenset(routing.populated if routing else ())
    before: dict[str, list[str]] = {}  # by the network that they are on: what is there itself comes first
    for network in sorted(specs.networks, key=lambda one: one.subnet_of is not None):
        if network.existing or network.name not in populated:  # what joins others' networks is not known here
            continue
        there = before.setdefault(network.subnet_of or network.name, [])
        apart = next((one for one in there if routing and not routing.graph.joined(network.name, one)), None)
        there.append(network.name)
        if apart:
            message = f"no router joins `{network.name}` and `{apart}`, and yet hosts of both may reach each other: "
            message += "they are on one link, and DHCP of some clouds (ML2/OVS) says so; only rules keep them apart; "
            message += "join both to a router, or remove this"
            reader.warning(("networks", network.name, "subnet_of"), message)


def _check_past_routers(reader: Reader, specs: Specs, routes: Routes) -> None:
    """Warn of hosts that would send to a further subnet by another interface than Neutron's agents tell them to."""
    routing = routes.routings.get(IPV4)
    link = {network.name: network.subnet_of or network.name for network in specs.networks if network.subnet(IPV4)}
    for host in _first_of_each(specs) if routing else ():
        on = [one.network for one in host.interfaces if one.network in link]
        pairs = ((name, other) for name in on for other in link if other != name and link[other] == link[name])
        for name, other in pairs if len(on) > 1 else ():
            by = routing.egress(host.name, other) if routing else None
            if by not in {None, name}:
                message = f"host `{host.name}` sends to `{other}` by `{by}`, but DHCP of some clouds (ML2/OVS) has it "
                message += f"send by `{name}`, on whose link `{other}` is: from another address than rules and SSH "
                message += f"count on; name `{name}` before `{by}`, or take the host off `{name}`"
                reader.warning(("hosts", specs.entries[host.name], "networks"), message)
                break


def _check_reachable(reader: Reader, specs: Specs) -> None:
    """Report networks said to be reached from outside whose gateway is a router here that does not join that."""
    inner = {router.name for router in specs.routers if not router.external}
    for network in specs.networks:
        if network.reachable and network.subnet(IPV4) and network.gateway_router in inner:
            router = network.gateway_router
            message = f"the gateway of `{network.name}` here is router `{router}`, which is not external, so nothing "
            message += "outside reaches the hosts on it; add `external: true` to that, or, if somebody else's is their "
            message += (
                f"gateway, name it (`gateway:`) and the address of `{router}` (`networks: {{{network.name}: ...}}`)"
            )
            reader.error(("networks", network.name, "reachable"), message)


def _check_mtu(reader: Reader, specs: Specs) -> None:
    for network in specs.networks:
        if network.mtu and network.mtu < LEAST_IPV6_MTU and network.subnet(IPV6):
            message = f"IPv6 needs an `mtu` of {LEAST_IPV6_MTU} or more (RFC 8200), and network `{network.name}` has it"
            reader.error(("networks", network.name, "mtu"), f"{message}; write {LEAST_IPV6_MTU}, or remove its IPv6")


def _check_router_routes(reader: Reader, specs: Specs, routes: Routes) -> None:
    counts = {
        router.name: len(router.routes) + sum(len(routes.tables.of_router(router.name, one)) for one in VERSIONS)
        for router in specs.routers
    }
    over = [f"`{name}`" for name, count in counts.items() if count > MOST_ROUTES]
    if over:
        first = over[0].strip("`")
        others = f" ({few(over[1:])} too many as well)" if over[1:] else ""
        message = (
            f"router `{first}` needs {counts[first]} routes{others}; Neutron refuses more than {MOST_ROUTES} unless "
        )
        message += (
            "its operator raised `max_routes`: give networks behind one next hop adjacent prefixes, whose routes "
        )
        reader.warning(("routers", first), f"{message}are merged, or join more of them to one router", of_key=True)


def _check_name_servers(reader: Reader, specs: Specs) -> None:
    reported: set[Path] = set()
    for network in specs.networks:
        for subnet in network.subnets:
            count, version = len(subnet.dns_nameservers), subnet.cidr.version
            path: Path = ("networks", network.name, "dns_nameservers")
            path = path if reader.get(*path) is not None else ("defaults", "dns_nameservers")
            if count > MOST_NAME_SERVERS and path not in reported:
                reported.add(path)
                message = f"{count} IPv{version} name servers, and Neutron allows {MOST_NAME_SERVERS} on a subnet"
                reader.error(path, f"{message} (max_dns_nameservers); remove some")


def _check_announced(reader: Reader, specs: Specs) -> None:
    """Warn of networks on which hosts learn no address: IPv6 alone, and no router to announce it (RFC 4861)."""
    for network in specs.networks:
        if network.gateway_router is None and network.subnet(IPV4) is None and not network.existing:
            message = (
                f"network `{network.name}` has IPv6 only and no router, so nothing announces addresses to its hosts"
            )
            reader.warning(("networks", network.name), f"{message}; join a router, or add an IPv4 prefix", of_key=True)


def _first_of_each(specs: Specs) -> list[HostSpec]:
    """Return the first host of each entry: the others are alike."""
    first: dict[str, HostSpec] = {}
    for host in specs.hosts:
        first.setdefault(specs.entries[host.name], host)
    return list(first.values())


_BEHIND_NATS = (
    "hosts behind NATs reach each other by forwarded ports at the gateway alone; put these applications on one host, "
    "or use another target"
)
_Sent = dict[str, "list[tuple[Match, Prefix]]"]  # what hosts may send, of those that are limited


def _sent(egress: tuple[EgressSpec, ...]) -> _Sent:
    found: _Sent = {}
    for limit in egress:
        for source in limit.sources:
            found.setdefault(source, []).extend(limit.allowed)
    return found


def _check_calls(
    reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...], routes: Routes, sent: _Sent, *, behind_nat: bool
) -> None:
    """Warn of applications that no rule allows to call those that they need, or to send that."""
    running: dict[str, HostSpec] = {}
    for host in specs.hosts:
        for application in host.applications:
            running.setdefault(application.name, host)
    for caller in _first_of_each(specs):
        for called in dict.fromkeys(one for application in caller.applications for one in application.calls):
            callee = running[called]
            if caller.name == callee.name:
                continue
            entry = f"{{from: {caller.name}, to: {callee.name}, application: {called}}}"
            fixes = []
            if callee.port_security and not _allowed(caller, callee, called, rules, routes):
                fixes.append(_BEHIND_NATS if behind_nat else f"no rule lets it in; add to `allow:` `- {entry}`")
            if not _may_send(sent, caller, callee, called) and not _named(rules, caller, callee, called):
                fixes.append(f"`egress` does not let it out; add to `egress:` `- {entry}`")
            for fix in fixes:
                message = f"`{caller.name}` calls `{called}` on `{callee.name}`, and {fix}"
                reader.warning(("hosts", specs.entries[caller.name], "applications"), message)


def _may_send(sent: _Sent, caller: HostSpec, callee: HostSpec, called: str) -> bool:
    """Tell whether ``caller`` may send to application ``called`` on ``callee``, at one of its addresses."""
    port = _port(callee, called)
    if caller.name not in sent or port is None:
        return True
    return any(match.tcp(port) and one in prefix for match, prefix in sent[caller.name] for one in callee.addresses)


def _named(rules: tuple[RuleSpec, ...], caller: HostSpec, callee: HostSpec, called: str) -> bool:
    """Tell whether a rule names ``caller`` as source of that: then what it may not send is reported of the rule."""
    port = _port(callee, called)
    return port is not None and any(
        source.prefixlen and one in source
        for rule in rules
        if callee.name in rule.targets and any(match.tcp(port) for match in rule.to(callee))
        for source in rule.sources
        for one in caller.addresses
    )


def _port(callee: HostSpec, called: str) -> int | None:
    return next(one.port for one in callee.applications if one.name == called)


def _allowed(caller: HostSpec, callee: HostSpec, called: str, rules: tuple[RuleSpec, ...], routes: Routes) -> bool:
    """Tell whether some rule allows ``caller`` to reach application ``called`` on ``callee``; true without ports."""
    sources: list[Address] = []
    for version, routing in routes.routings.items():
        if met := routing.meets(caller.name, callee.name):
            address = caller.address(met[0], version)
            sources += [address] if address else []
            break
    port = _port(callee, called)
    return port is None or any(
        callee.name in rule.targets
        and any(address in cidr for cidr in rule.sources for address in sources)
        and any(match.tcp(port) for match in rule.to(callee))
        for rule in rules
    )


def _check_limits(reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...], egress: tuple[EgressSpec, ...]) -> None:
    """Warn of rules of `allow` that name a host as source which `egress` does not let send that."""
    sent = _sent(egress)
    first = _first_of_each(specs)
    targets = {host.name: host for host in first}
    paths = [path for path, rule in reader.items("allow") if isinstance(rule, dict)]
    for path, rule in zip(paths, rules, strict=True) if sent else ():
        named = [source for source in rule.sources if source.prefixlen]
        for host in first:
            if host.name not in sent:
                continue
            mine = [one for one in host.addresses if any(one in source for source in named)]
            others = [targets[name] for name in rule.targets if name in targets and name != host.name]
            lost = next((one for one in others if not _sends(sent[host.name], mine, rule, one)), None)
            if lost:
                message = f"`{host.name}` may not send what this lets into `{lost.name}`; add it to `egress:`, or"
                reader.warning(path, f"{message} leave `{host.name}` out here")
                break


def _sends(sent: list[tuple[Match, Prefix]], mine: list[Address], rule: RuleSpec, target: HostSpec) -> bool:
    """Tell whether a host, with these addresses, sends all that a rule lets into a target, at one of its addresses."""
    ways = [one for one in target.addresses if any(one.version == address.version for address in mine)]
    there = [match for match, prefix in sent if any(way in prefix for way in ways)]
    return not ways or all(any(match.covers(wanted) for match in there) for wanted in rule.to(target))


def _check_packages(reader: Reader, specs: Specs) -> None:
    """Warn of applications that install packages on hosts that have no way to them."""
    external = {router.name for router in specs.routers if router.external and router.snat}
    networks = {network.name: network for network in specs.networks}
    for host in _first_of_each(specs):
        wanting = [one.name for one in host.applications if one.packages]
        if not wanting or host.proxy != "none":
            continue
        network = networks[host.interfaces[0].network]
        elsewhere = network.existing and network.gateway_router is None and any(one.gateway for one in network.subnets)
        out = (
            elsewhere
            or host.floating_ip
            or network.gateway_router in external
            or any(to.prefixlen == 0 for to in _ways_out(specs, network))
        )
        if not out:
            message = f"application `{wanting[0]}` installs packages on `{host.name}`, which reaches nothing outside: "
            message += f"no external router joins `{network.name}`; give the host `proxy: controller`, or join one"
            reader.warning(("hosts", specs.entries[host.name], "applications"), message)


def _check_ssh_paths(reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...], routes: Routes) -> None:
    """Warn of hosts that cannot be configured because SSH does not get to them."""
    networks = {network.name: network for network in specs.networks}
    sources = ssh_sources(specs, rules)
    alike: dict[str, list[HostSpec]] = {}  # by what would help
    for host in _first_of_each(specs):
        if routes.ssh_paths[host.name] is not None:
            continue
        fix = "let SSH in from outside to a host with a floating address from which this one can be reached"
        if entry := entry_network(networks, host):
            fix = _fix_of_entry(networks, host, entry, sources.get(host.name, []))
            if groups := _groups_let_in(rules, host):
                fix = f"who is in security group {few(groups)} is not known here: let in the prefix that you come from"
        alike.setdefault(fix, []).append(host)
    for fix, hosts in alike.items():
        more = f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""
        it = "them" if more else "it"
        message = f"host `{hosts[0].name}`{more} cannot be configured: SSH does not reach {it} from outside; {fix}"
        reader.warning(("hosts", specs.entries[hosts[0].name]), message, of_key=True)


def _groups_let_in(rules: tuple[RuleSpec, ...], host: HostSpec) -> list[str]:
    """List the security groups whose members SSH to a host is allowed to."""
    return [
        name
        for rule in rules
        if host.name in rule.targets and any(one.covers(Match("tcp", SSH, SSH)) for one in rule.to(host))
        for name in rule.security_groups
    ]


def _fix_of_entry(networks: Mapping[str, NetworkSpec], host: HostSpec, entry: str, sources: list[Prefix]) -> str:
    """Say what lets SSH in from outside by network ``entry`` to a host with a way in."""
    default = default_interface(networks, host)
    subnet = networks[default.network].subnet(IPV4) if default else None
    if default and default.network != entry:
        fix = f"name `{entry}`, where its floating address leads, first in its `networks`: "
        return f"{fix}until it has been configured it answers by its default gateway, on `{default.network}`"
    if sources and subnet and subnet.gateway and (route := astray(host, subnet.gateway, sources[0])):
        return f"its route to `{route}` sends the replies elsewhere: remove it, or allow SSH from elsewhere"
    return f"let it in: add to `allow:` `- {{from: anywhere, to: {host.name}, tcp: {SSH}}}`"


def _check_floating_sources(reader: Reader, specs: Specs) -> None:
    """Warn of rules from outside to hosts that have no floating address, so that nothing outside reaches them."""
    own = specs.own
    networks = {network.name: network for network in specs.networks}
    floating = {host.name for host in specs.hosts if host.floating_ip or outside_interface(networks, host)}
    members: dict[str, set[str]] = {}
    for host in specs.hosts:
        for word in {host.name, specs.entries[host.name], *host.groups, *(one.network for one in host.interfaces)}:
            members.setdefault(word, set()).add(host.name)
    behind = _behind_next_hops(specs)
    for rule, _ in reader.items("allow"):
        outside = next((word for _, word in reader.items(*rule, "from") if _is_outside(word, own, behind)), None)
        closed = [word for _, word in reader.items(*rule, "to") if not members.get(str(word), set()) & floating]
        if outside is not None and closed:
            message = f"`{outside}` reaches nothing of `{closed[0]}` from outside, for want of a floating address; add "
            reader.warning((*rule, "to"), f"{message}`floating_ip: true`, or name sources inside")


def _behind_next_hops(specs: Specs) -> list[Prefix]:
    """Return the prefixes outside that declared routes lead to by a host: by a tunnel of its they come in as well."""
    hosts = {address for host in specs.hosts for address in (*host.addresses, *host.virtual_addresses)}
    return joined(to for node in specs.nodes for to, via in node.routes if to.prefixlen and via in hosts)


def _is_outside(word: object, own: list[Prefix], behind: list[Prefix]) -> bool:
    """Tell whether a word of `from` means what only a floating address lets in.

    That is `anywhere`, or a prefix without any address of ``own`` that is not ``behind`` a host here.
    """
    if not isinstance(word, str) or word == "anywhere":
        return word == "anywhere"
    try:
        prefix = ip_network(word)
    except ValueError:
        return False
    inside = any(overlap(one, prefix) for one in own) or any(covers(one, prefix) for one in behind)
    return prefix.version == IPV4 and not inside  # floating addresses are IPv4


def _check_unused(reader: Reader, specs: Specs) -> None:
    """Warn of networks that no host is on and that join no two routers."""
    ends = Counter(one.network for owner in specs.nodes for one in owner.interfaces)
    hosts = {one.network for host in specs.hosts for one in host.interfaces}
    hosts |= {network.subnet_of or "" for network in specs.networks}  # what has a further subnet cannot go
    for network in specs.networks:
        if network.name not in hosts and not network.existing and ends[network.name] < 2:  # noqa: PLR2004 - what two routers share is used
            message = f"network `{network.name}` is unused: no host is on it, and it joins no two routers"
            reader.warning(("networks", network.name), f"{message}; put a host on it, or remove it", of_key=True)


def _check_name_servers_reached(reader: Reader, specs: Specs) -> None:
    """Warn of name servers outside on networks that packets do not leave: no router of the network is external."""
    own = specs.own
    external = {router.name for router in specs.routers if router.external and router.snat}
    populated = {one.network for host in specs.hosts for one in host.interfaces}
    # what the name servers were wanted for is there if all hosts have their packages through the controller
    proxied = populated - {one.network for host in specs.hosts if host.proxy == "none" for one in host.interfaces}
    found: dict[Path, list[tuple[str, str]]] = {}  # network and name server, by the place that declares these
    for network in specs.networks:
        subnet = network.subnet(IPV4)
        if subnet is None or network.gateway_router in external or network.name not in populated - proxied:
            continue
        outside = [one for one in subnet.dns_nameservers if not any(ip_address(one) in mine for mine in own)]
        if outside and not any(covers(to, ip_network(one)) for one in outside for to in _ways_out(specs, network)):
            path: Path = ("networks", network.name, "dns_nameservers")
            path = path if reader.get(*path) is not None else ("defaults", "dns_nameservers")
            found.setdefault(path, []).append((network.name, outside[0]))
    for path, these in found.items():
        more = f" and {len(these) - 1} more" if len(these) > 1 else ""
        message = f"hosts on network `{these[0][0]}`{more} reach neither name server `{these[0][1]}` nor anything else "
        message += "outside: no external router joins it; to give them the internet, join one (`external: true`) to "
        reader.warning(path, f"{message}their own network; for packages alone, give them `proxy: controller`")


def _ways_out(specs: Specs, network: NetworkSpec) -> list[Prefix]:
    """Return the destinations of declared routes that hosts of the network may use: their own, and their router's."""
    routers = [router.routes for router in specs.routers if router.name == network.gateway_router]
    hosts = [host.routes for host in specs.hosts if any(one.network == network.name for one in host.interfaces)]
    return [to for routes in (*routers, *hosts) for to, _ in routes]
