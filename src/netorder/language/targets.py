"""What of a topology its target cannot do: an error where the file asks for it, with the reason.

What each target lacks is data (``_LACKS``). Virtual machines on this machine have what no file says: behind each is a
NAT, which is written into the document as the router and the rules that it comes to (``_write_nat``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from netorder.ip import IPV4, covers
from netorder.language.specs import forwards
from netorder.protocols import ANYTHING
from netorder.topology import CONTAINERS, MACHINE, OPENSTACK, SSH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netorder.language.document import Reader
    from netorder.language.specs import Specs
    from netorder.language.yaml_source import Path
    from netorder.topology import HostSpec, Match, RuleSpec

__all__ = ["NAT", "check_target", "read_target"]

NAT = "NAT"  # the router in front of each virtual machine; no name of the file's has capital letters
_LOOPBACK = "127.0.0.0/8"
_CIDR = "10.0.2.0/24"  # QEMU's own
_GATEWAY, _NAME_SERVER, _FIRST = 2, 3, 15  # of the addresses of a NAT's network, as QEMU numbers them
_LONGEST_PREFIX = 27  # which has all three
_FIX = "remove it, or use `target: openstack`"
_SHOWN = 3  # of ports

_NO_CLOUD = "there is no cloud that has some already"
_IS_NOVA = "they are Nova's"
_OF_HOSTS_ON_THIS_MACHINE = {
    "availability_zone": "all hosts are on this machine",
    "server_group": "all hosts are on this machine",
    "metadata": "it is Nova's",
    "tags": _IS_NOVA,
    "security_groups": _NO_CLOUD,
}


@dataclass(frozen=True, slots=True)
class _Lacks:
    """What a target does not have, each with the reason: keys of the file, its networks, routers and hosts."""

    file: Mapping[str, str] = field(default_factory=dict)
    network: Mapping[str, str] = field(default_factory=dict)
    router: Mapping[str, str] = field(default_factory=dict)
    host: Mapping[str, str] = field(default_factory=dict)
    fix: str = _FIX


_NO_NAT = {
    "clone": "the cloud makes the disk",
    "memory": "a flavor says it",
}
_OPENSTACK = _Lacks(host=_NO_NAT, fix="remove it, or use `target: machine`")
_KEY_PAIR = "there is no cloud that keeps key pairs: name the private key with netorder_ssh_key"
_EXISTING = {"existing": _NO_CLOUD}
_OF_THE_CLOUD = _EXISTING | {"subnet_pool": _NO_CLOUD}
_LACKS: Mapping[str, _Lacks] = {
    OPENSTACK: _OPENSTACK,
    CONTAINERS: _Lacks(
        file={"key_pair": _KEY_PAIR},
        network=_OF_THE_CLOUD
        | {
            "reachable": "nothing outside reaches the networks of containers but by published ports",
            "ipv6_address_mode": "netorder gives containers their addresses itself",
        },
        router=_EXISTING,
        host=_OF_HOSTS_ON_THIS_MACHINE
        | {
            "user_data": "there is no cloud-init in a container",
            "config_drive": "a container has no drives",
            "metadata": "it is Nova's, and a container cannot ask for it",
            "mac_address": "netorder draws them by name",
            "users": "cloud-init makes them, and there is none in a container",
            "clone": "a container has no disk of its own",
            "memory": "a host takes what memory it needs",
        },
    ),
    MACHINE: _Lacks(
        file={
            "key_pair": _KEY_PAIR,
            "egress": "a NAT lets everything out",
            "external_network": "the one outside is this machine",
            "routers": "each host is behind a NAT of its own, and that is its only router",
            "allow": "a NAT lets nothing in but the ports that a host's `forward:` names",
        },
        network=_OF_THE_CLOUD
        | {
            "reachable": "nothing outside reaches hosts behind a NAT but by forwarded ports",
            "dns_nameservers": "the NAT is the name server, and asks those of this machine",
            "mtu": "the NAT has one of 1500",
            "dhcp": "the NAT hands out the addresses",
            "ipv6_address_mode": "the NAT is of IPv4",
        },
        host=_OF_HOSTS_ON_THIS_MACHINE
        | {
            "floating_ip": "a host is reached by the ports that its `forward:` names",
            "virtual_addresses": "hosts behind NATs do not see each other",
            "loopback_addresses": "hosts behind NATs do not see each other",
            "routes": "the NAT is the only router",
            "port_security": "there are no security groups",
            "user_data": "it is not handed on yet",
            "users": "cloud-init's data is not handed on yet",
        },
    ),
}
_OFF = frozenset({"dhcp", "port_security"})  # what is asked for by `false`
_FLAVORS = {
    CONTAINERS: "this is ignored, and a host takes what memory it needs",
    MACHINE: "this is ignored; `memory:` says how many MiB a host gets",
}


def read_target(reader: Reader, target: str) -> None:
    """Write into the document what the NATs of this machine's hosts come to, if they are wanted; report what else is.

    That is before anything is resolved: what is refused of them would be resolved to something else.
    """
    if target == MACHINE:
        _check_asked(reader, target)
        _check_one_network(reader)
        _write_nat(reader)


def check_target(reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...], target: str) -> None:
    """Report what ``target`` cannot do; OpenStack is what the language was made for."""
    if target == MACHINE:
        _check_forwards(reader, specs)
        return
    _check_asked(reader, target)
    _check_no_forwards(reader, target)
    if target == CONTAINERS:
        _check_outside(reader)
        _check_no_members(reader)
        _check_networks(reader, specs)
        _check_published(reader, specs, rules)


def _check_asked(reader: Reader, target: str) -> None:
    lacks = _LACKS[target]
    entries: list[Path] = [("defaults",), *(("hosts", entry) for entry in reader.mapping("hosts"))]
    refused: list[tuple[Path, Mapping[str, str]]] = [((), lacks.file)]
    for section, keys in (("networks", lacks.network), ("routers", lacks.router)):
        refused += [((section, name), keys) for name in reader.mapping(section)] if section not in lacks.file else []
    refused += [(entry, lacks.host) for entry in entries]
    for place, keys in refused:
        for key, reason in keys.items():
            value = reader.get(*place, key)
            if value is False if key in _OFF else value:
                path = (*place, key)
                reader.error(path, f"target `{target}` has no `{_shown(key)}`: {reason}; {lacks.fix}")
    for entry in entries:
        if target == CONTAINERS and reader.get(*entry, "floating_ip") not in (None, True, False):
            message = f"target `{target}` chooses floating addresses, one a host"
            reader.error((*entry, "floating_ip"), f"{message}; write `floating_ip: true`, or use `target: openstack`")
        if target in _FLAVORS and (name := reader.text(*entry, "image", "newest")):
            message = f"target `{target}` has one image of each name; write `image: {name}`"
            reader.error((*entry, "image"), f"{message}, or use `target: openstack`")
        if target in _FLAVORS and reader.get(*entry, "flavor") is not None:
            reader.warning((*entry, "flavor"), f"target `{target}` has no flavors: {_FLAVORS[target]}")


def _shown(key: str) -> str:
    return f"{key}: false" if key in _OFF else key


def _check_outside(reader: Reader) -> None:
    message = f"target `{CONTAINERS}` has one outside, this machine"
    if (name := reader.named("external_network")) is not None:
        reader.error(("external_network",), f"{message}, and no external network `{name}`; {_FIX}")
    for router in reader.mapping("routers"):
        if reader.get("routers", router, "external") not in (None, True, False):
            path: Path = ("routers", router, "external")
            reader.error(path, f"{message}; write `external: true`, or use `target: openstack`")


def _check_networks(reader: Reader, specs: Specs) -> None:
    for network in specs.networks:
        if any(subnet.cidr.version != IPV4 for subnet in network.subnets):
            path: Path = ("networks", network.name, "cidr")
            if reader.get(*path) is None:
                path = ("networks", network.name)
            reader.error(path, f"target `{CONTAINERS}` has no IPv6 yet; give network `{network.name}` IPv4 only")


# Containers


def _check_no_members(reader: Reader) -> None:
    """Report rules about the members of security groups: which are keys within keys, of rules."""
    for section, end in (("allow", "from"), ("egress", "to")):
        for rule, _ in reader.items(section):
            for place, one in reader.items(*rule, end):
                if isinstance(one, dict):
                    message = f"target `{CONTAINERS}` has no security groups of a cloud: {_NO_CLOUD}"
                    reader.error(place, f"{message}; {_FIX}")


def _check_published(reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...]) -> None:
    """Report ports that several hosts would publish on this one machine, and what is too much to publish."""
    first: dict[tuple[str, int], HostSpec] = {}
    for host in specs.hosts:
        if whole := sorted({one.protocol for one in _let_in_outsiders(specs, rules, host) if _is_all_ports(one)}):
            shown = " and ".join("TCP and UDP" if one == ANYTHING else one.upper() for one in whole)
            message = f"host `{host.name}` lets outsiders in on all ports of {shown}, of which target `{CONTAINERS}`"
            fix = "name those that others than this machine shall reach"
            path: Path = ("hosts", specs.entries[host.name], "floating_ip")
            reader.warning(path, f"{message} publishes none on this machine; {fix}")
        clashes: dict[str, list[str]] = {}
        for protocol, port in _published(specs, rules, host):
            other = first.setdefault((protocol, port), host)
            if other is not host:
                clashes.setdefault(other.name, []).append(f"{protocol} {port}")
        for name, ports in clashes.items():
            shown = ", ".join(ports[:_SHOWN]) + (", …" if len(ports) > _SHOWN else "")
            message = (
                f"target `containers` makes a floating address a published port of this machine, and {shown} of host "
                f"`{host.name}` would be that of host `{name}` too"
            )
            fix = "let one of them in on another port, or from this topology's networks only"
            reader.error(("hosts", specs.entries[host.name], "floating_ip"), f"{message}; {fix}")


def _published(specs: Specs, rules: tuple[RuleSpec, ...], host: HostSpec) -> Iterator[tuple[str, int]]:
    """Yield what of a host outsiders may use; SSH is never published: the machine has its own."""
    found: dict[tuple[str, int], None] = {}
    for match in _let_in_outsiders(specs, rules, host):
        if match.protocol in ("tcp", "udp") and match.some_ports:
            found |= dict.fromkeys((match.protocol, port) for port in range(match.first, match.last + 1))
    yield from (one for one in sorted(found) if one != ("tcp", SSH))


def _let_in_outsiders(specs: Specs, rules: tuple[RuleSpec, ...], host: HostSpec) -> Iterator[Match]:
    own = specs.own
    for rule in rules if host.floating_ip else ():
        if host.name in rule.targets and not all(any(covers(one, its) for one in own) for its in rule.sources):
            yield from rule.to(host)


def _is_all_ports(match: Match) -> bool:
    return match.protocol == ANYTHING or (match.protocol in ("tcp", "udp") and not match.some_ports)


# Virtual machines on this machine


def _check_no_forwards(reader: Reader, target: str) -> None:
    for entry in reader.mapping("hosts"):
        path: Path = ("hosts", entry, "forward")
        if isinstance(reader.get(*path), list):
            message = f"target `{target}` forwards no ports to hosts: `floating_ip: true` and `allow` let others in"
            reader.error(path, f"{message}; write these, or use `target: machine`")


def _check_one_network(reader: Reader) -> None:
    first, *others = [*reader.mapping("networks")] or [""]
    for name in others:
        message = f"target `{MACHINE}` has one network, behind each host's own NAT, and that is `{first}`"
        reader.error(("networks", name), f"{message}; {_FIX}", of_key=True)
    for entry in reader.mapping("hosts"):
        if reader.get("hosts", entry, "forward") is True:
            message = f"target `{MACHINE}` has one network, between which and others nothing can route"
            reader.error(("hosts", entry, "forward"), f"{message}; {_FIX}")
    for its in reader.mapping("hosts").values():
        if isinstance(its, dict) and its.get("forward") is True:
            del its["forward"]  # else the networks that it would need are missed


def _write_nat(reader: Reader) -> None:
    """Write into the document what the NATs come to: a router to the outside, and what is let in.

    Hosts are let in to from this machine alone, as with forwarded ports, so that they do not reach each other.
    """
    data, hosts = reader.document.data, reader.mapping("hosts")
    network = next(iter(reader.mapping("networks")), None)
    if network is None or not hosts:
        return  # reported as such
    for key in _LACKS[MACHINE].file:
        data.pop(key, None)
    for its in hosts.values():
        for key in _LACKS[MACHINE].host if isinstance(its, dict) else ():
            its.pop(key, None)
    data["routers"] = {NAT: {"external": True, "networks": _nat_joins(reader, network)}}
    data["allow"] = [_let_in(reader, entry) for entry, its in hosts.items() if isinstance(its, dict)]
    for index in range(len(data["allow"])):
        reader.document.values["allow", index] = reader.document.values[()]


def _nat_joins(reader: Reader, network: str) -> object:
    """Return the networks of the NATs' router, with its address; give the first host that which QEMU gives its only."""
    its = reader.mapping("networks", network)
    is_said = its.keys() & {"cidr", "prefix_length"} or reader.get("pool") is not None
    if not is_said and not reader.refused("networks", network):
        reader.document.data["networks"][network] = {**its, "cidr": _CIDR}
    cidr = _nat_prefix(reader, network)
    if cidr is None:
        return [network]
    hosts = reader.mapping("hosts")
    first, address = next(iter(hosts)), str(cidr[_FIRST])
    gateway = reader.text("networks", network, "gateway") or str(cidr[_GATEWAY])
    free = address != gateway and all(reader.text("hosts", entry, "address") != address for entry in hosts)
    if free and isinstance(hosts[first], dict) and not hosts[first].keys() & {"address", "networks"}:
        hosts[first]["address"] = address
    return {network: gateway}


def _let_in(reader: Reader, entry: str) -> dict[str, object]:
    """Return the rule that lets this machine in to an entry's hosts: to SSH, and where ports are forwarded."""
    reader.document.data["hosts"][entry]["floating_ip"] = True
    ports: dict[str, set[int]] = {"tcp": {SSH}, "udp": set()}
    for one in forwards(reader, entry) if not reader.refused("hosts", entry, "forward") else ():
        ports[one.protocol].add(one.guest)
    return {"from": _LOOPBACK, "to": entry, **{word: sorted(these) for word, these in ports.items() if these}}


def _nat_prefix(reader: Reader, network: str) -> IPv4Network | None:
    """Return the prefix of the NATs' network, None where it is not known yet, or wrong and reported."""
    path: Path = ("networks", network, "cidr")
    if any(":" in str(text) for _, text in reader.items(*path)):
        reader.error(path, f"target `{MACHINE}` has no IPv6 yet; give network `{network}` IPv4 only")
        reader.document.data["networks"][network]["cidr"] = _CIDR  # one error is enough
        return IPv4Network(_CIDR)
    try:
        cidr = IPv4Network(reader.text(*path) or "")
    except ValueError:
        return None
    if cidr.prefixlen > _LONGEST_PREFIX:
        message = f"target `{MACHINE}` has a gateway, a name server and hosts on `{cidr}`, which is too small for them"
        reader.error(path, f"{message}; use a /{_LONGEST_PREFIX} or a shorter prefix, such as `{_CIDR}`")
        return None
    return cidr


def _check_forwards(reader: Reader, specs: Specs) -> None:
    """Report ports of this machine that lead to two places, and a host at the address of the NAT's name server."""
    owners: dict[tuple[str, int], list[tuple[str, HostSpec]]] = {}
    for host in specs.hosts:
        for index, one in enumerate(host.forwards):
            path: Path = ("hosts", specs.entries[host.name], "forward", index)
            if reader.address((*path, "address"), one.address) is None:
                continue
            known = owners.setdefault((one.protocol, one.host), [])
            if other := next((its for address, its in known if _meet(address, one.address)), None):
                several = host is not other and specs.entries[host.name] == specs.entries[other.name]
                message = f"{one.protocol} port {one.host} of this machine leads to host `{other.name}` already"
                fix = "write these hosts as entries of their own" if several else "choose another `host:` port"
                reader.error((*path, "host"), f"{message}; {fix}")
            known.append((one.address, host))
    subnet = next((found for one in specs.networks if (found := one.subnet(IPV4))), None)
    for host in specs.hosts if subnet else ():
        if subnet and (name_server := subnet.cidr[_NAME_SERVER]) in host.addresses:
            message = f"`{name_server}` is the NAT's name server; choose another address for host `{host.name}`"
            reader.error(("hosts", specs.entries[host.name]), message, of_key=True)


def _meet(one: str, other: str) -> bool:
    everywhere = "0.0.0.0"  # noqa: S104 - compared, not bound
    return one == other or everywhere in (one, other)
