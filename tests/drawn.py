"""Random topologies in the language, as Hypothesis draws them: valid, of a named shape, and small when shrunk."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import assume
from hypothesis import strategies as st

from netorder.errors import TopologyError
from netorder.language.load import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NETWORKS, ROUTERS, HOSTS = 12, 12, 30  # at most
VERSIONS = st.sampled_from(["4", "4", "4", "46", "46", "6"])
GROUPS = ["front", "back", "spare"]
PORTS = [22, 80, 5432, 8000]
APPLICATIONS = {"any": {"role": "any", "ports": [8000]}, "web": {"role": "web", "ports": [443, "53/udp"]}}
TCP = [22, 80, [22, 80], "8000-8003", [80, "8002-8005"]]
UDP = [53, [53, 5432], "8001-8003"]
SERVERS: list[dict[str, Any]] = [  # how a host is started, as far as one compute host in one zone can do it
    {"availability_zone": "nova"},
    {"server_group": "affinity"},
    {"server_group": {"name": "apart", "policy": "soft-anti-affinity"}},
    {"config_drive": True, "tags": ["drawn", "two words"]},
    {"metadata": {"tier": "back", "number": 7}},
    {"user_data": "#!/bin/sh\n:\n"},
]
MESSAGES = ["echo-request", "time-exceeded", ["packet-too-big", "echo-request"]]  # there in both IP versions
OTHERS: list[dict[str, Any]] = [
    {"all": True},
    {"protocol": "gre"},
    {"protocol": [112, "tcp"]},
    {"sctp": [5000, "6000-6002"]},
]
FOREIGN = ["172.20.0.0/16", "172.20.7.0/24", "172.21.1.1/32", "fd77::/48"]

LENGTHS = [68, 80, 96, 112, 120]  # of IPv6 prefixes that are no /64
MODES = ["slaac", "dhcpv6-stateless", "dhcpv6-stateful"]  # of those that are

Draw = Any  # what st.composite passes
Joined = list[list[int]]  # the networks (numbers) of each router


@st.composite
def chain(draw: Draw, most: int) -> tuple[int, Joined]:
    """Networks in a row, a router between each two."""
    networks = draw(st.integers(2, most))
    return networks, [[index, index + 1] for index in range(networks - 1)]


@st.composite
def ring(draw: Draw, most: int) -> tuple[int, Joined]:
    """Networks in a circle: two ways everywhere, some of them equally long."""
    networks = draw(st.integers(3, most))
    return networks, [[index, (index + 1) % networks] for index in range(networks)]


@st.composite
def tree(draw: Draw, most: int) -> tuple[int, Joined]:
    """Each network but the first hangs from an earlier one, by a router of its own or its elder sister's."""
    networks = draw(st.integers(2, most))
    routers: dict[Any, list[int]] = {}
    for child in range(1, networks):
        parent = draw(st.integers(0, child - 1))
        key = parent if draw(st.booleans()) else (parent, child)
        routers.setdefault(key, [parent]).append(child)
    return networks, list(routers.values())


@st.composite
def mesh(draw: Draw, most: int) -> tuple[int, Joined]:
    """Any routers between any networks; parts may be joined many times or not at all."""
    networks = draw(st.integers(1, most))
    some = st.lists(st.integers(0, networks - 1), min_size=1, max_size=4, unique=True)
    return networks, draw(st.lists(some, max_size=ROUTERS))


SHAPES: dict[str, Callable[[int], st.SearchStrategy[tuple[int, Joined]]]] = {
    "chain": chain,
    "ring": ring,
    "tree": tree,
    "mesh": mesh,
}


@st.composite
def topologies(draw: Draw, shape: str, networks: int = NETWORKS, hosts: int = HOSTS) -> str:
    """Draw a topology file of one of SHAPES, with so many networks and hosts at most."""
    drawn, joined = draw(SHAPES[shape](networks))
    text = _Drawer(draw, drawn, joined, hosts, networks - drawn).text()
    try:
        parse(text)
    except TopologyError as error:
        # the next hop of a route to elsewhere may be what a host's name gives it; any other error is the test's to see
        assume("which does not forward" not in str(error))
    return text


class _Drawer:
    def __init__(self, draw: Draw, networks: int, joined: Joined, hosts: int, more: int) -> None:
        self._draw = draw
        self._joined = joined
        self._names = [f"n{index}" for index in range(networks)]
        self._versions = {name: draw(VERSIONS) for name in self._names}
        # neighbours in number are neighbours in address, so that their routes can be merged
        self._v4 = dict(zip(self._names, IPv4Network("10.20.0.0/16").subnets(new_prefix=24), strict=False))
        self._v6 = dict(zip(self._names, self._ipv6(), strict=False))
        self._external = [self._chance(4) for _ in joined]
        self._pool = self._chance(2)
        self._taken = 0
        self._left = hosts
        self._hosts = self._draw_hosts(hosts)
        self._alike = min(more, self._left, draw(st.integers(0, 3)))
        self._on = {name: [host for host, its in self._hosts.items() if name in _networks(its)] for name in self._names}
        self._parents = self._further()
        self._groups = {
            group: [host for host, its in self._hosts.items() if group in its.get("groups", ())] for group in GROUPS
        }
        self._parts = {version: self._islands(version) for version in "46"}

    def text(self) -> str:
        """Return the file."""
        document: dict[str, Any] = {"topology": "drawn", "applications": APPLICATIONS}
        if self._pool:
            document["pool"] = ["10.20.0.0/16", "fd00:20::/48"]
        document["networks"] = {name: self._network(name) for name in self._names}
        if self._joined:
            document["routers"] = {f"r{index}": self._router(index) for index in range(len(self._joined))}
        document["hosts"] = self._hosts
        if self._alike:
            document["for_each"] = {"leaf": self._block()}
        document["allow"] = [self._rule() for _ in range(self._draw(st.integers(0, 9)))]
        limited = [name for name, its in self._hosts.items() if "forward" not in its and "port_security" not in its]
        if limited and self._chance(3):
            document["egress"] = [self._limit(limited) for _ in range(self._draw(st.integers(1, 3)))]
        return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120)

    def _ipv6(self) -> Iterator[IPv6Network]:
        """Yield a prefix for each network: /64, or parts of one /64, some of which are neighbours and some apart."""
        if not self._chance(3):
            yield from IPv6Network("fd00:20::/60").subnets(new_prefix=64)
        for part in IPv6Network("fd00:20::/64").subnets(new_prefix=68):
            yield next(part.subnets(new_prefix=self._draw(st.sampled_from(LENGTHS))))

    def _further(self) -> dict[str, str]:
        """Return the networks that are further subnets, with those that they are of: no host is on two of one."""
        parents: dict[str, str] = {}
        for name in self._names:
            if self._versions[name] != "4" or name in parents.values() or not self._chance(5):
                continue
            able = [one for one in self._names if one not in {*parents, name} and not self._meet(name, one, parents)]
            if able:
                parents[name] = self._draw(st.sampled_from(able))
        return parents

    def _meet(self, name: str, parent: str, parents: dict[str, str]) -> bool:
        """Tell whether a host is on a network and on one of those that are on the network of ``parent``."""
        others = {parent, *(one for one, its in parents.items() if its == parent)}
        return any(others.intersection(_networks(self._hosts[host])) for host in self._on[name])

    def _block(self) -> dict[str, Any]:
        """Return what there is for each of some: a network with a host, behind a router to one of the others."""
        numbers = self._draw(st.lists(st.integers(1, 99), min_size=self._alike, max_size=self._alike, unique=True))
        where = self._draw(st.sampled_from(self._names))
        v4 = "10.30.$number.0/24"
        v6 = self._draw(st.sampled_from(["fd00:30:0:$number::/64", "fd00:30::$number:0/112"]))
        return {
            "names": self._draw(st.sampled_from([numbers, {f"x{number}": number for number in numbers}])),
            "networks": {"lan": {"cidr": {"4": v4, "6": v6, "46": [v4, v6]}[self._versions[where]]}},
            "routers": {"rt": {"networks": [where, "lan"]}},
            "hosts": {"pc": {"network": "lan"}},
            "allow": [{"from": where, "to": "pc", "tcp": 80, "icmp": True}],
        }

    def _chance(self, one_in: int) -> bool:
        return bool(self._draw(st.integers(0, one_in - 1)) == one_in - 1)

    def _network(self, name: str) -> dict[str, Any]:
        network: dict[str, Any] = {}
        prefixes = [
            str(one[name]) for version, one in (("4", self._v4), ("6", self._v6)) if version in self._versions[name]
        ]
        if not self._pool or self._versions[name] != "46":
            network["cidr"] = prefixes[0] if len(prefixes) == 1 else prefixes
        if name in self._parents:
            network["subnet_of"] = self._parents[name]
        routed = any(self._names.index(name) in networks for networks in self._joined)
        if routed and "cidr" in network and self._chance(6):
            network["gateway"] = [str(one[name][-2]) for one in (self._v4, self._v6) if str(one[name]) in prefixes]
        # DHCP tells every host the same, which is wrong for those on other networks too
        alike = all(
            len(_networks(its)) == 1 and "loopback_addresses" not in its
            for its in (self._hosts[host] for host in self._on[name])
        )
        if alike and self._chance(3):
            network["routes"] = self._draw(st.sampled_from(["subnet", "host", "router"][: 2 + routed]))
        # nor can hosts do without it on another network than their first
        first = all(_networks(self._hosts[host])[0] == name for host in self._on[name])
        if first and network.get("routes") != "subnet" and self._chance(8):
            network["dhcp"] = False
        elif "6" in self._versions[name] and self._v6[name].prefixlen == 64 and self._chance(6):
            slaac = name not in self._parents.values()  # else further subnets would get addresses of it
            network["ipv6_address_mode"] = self._draw(st.sampled_from(MODES if slaac else MODES[2:]))
        return network

    def _router(self, index: int) -> dict[str, Any]:
        router: dict[str, Any] = {"networks": [self._names[network] for network in self._joined[index]]}
        if self._external[index]:
            router["external"] = self._draw(st.sampled_from([True, True, "north", "south"]))
        return router

    def _gate(self, name: str) -> bool:
        """Tell whether an external router joins the network: it is the gateway then, and can translate addresses."""
        number = self._names.index(name)
        return any(
            external and number in networks for external, networks in zip(self._external, self._joined, strict=True)
        )

    def _draw_hosts(self, left: int) -> dict[str, Any]:
        hosts: dict[str, Any] = {}
        for index in range(self._draw(st.integers(1, 14))):
            if left:
                host = hosts[f"h{index}"] = self._host(left)
                left -= host.get("count", 1)
        self._left = left
        return hosts

    def _host(self, left: int) -> dict[str, Any]:
        several = len(self._names) > 1 and self._chance(4)
        size = self._draw(st.integers(2, min(3, len(self._names)))) if several else 1
        names = self._draw(st.lists(st.sampled_from(self._names), min_size=size, max_size=size, unique=True))
        host: dict[str, Any] = {"networks": names} if several else {"network": names[0]}
        if several and self._chance(2):
            host["forward"] = True
        elif self._chance(3):
            host["count"] = self._draw(st.integers(1, min(6, left)))
        else:
            host |= self._by_hand(names)
        if "4" in self._versions[names[0]] and self._gate(names[0]) and self._chance(2):
            its = {"network": names[0]}
            host["floating_ip"] = self._draw(st.sampled_from([True, True, its, [its]]))  # none that outlives a teardown
        if self._chance(3):
            host["groups"] = self._draw(st.lists(st.sampled_from(GROUPS), min_size=1, max_size=2, unique=True))
        # one in several networks answers by another path than the question came, which `reach` does not foretell of it
        if not several and self._chance(8):
            host["port_security"] = False
        if self._versions[names[0]] == "4" and self._chance(6):
            host["virtual_addresses"] = str(self._v4[names[0]][200 + self._left_number()])
        if (not several or "forward" in host) and self._chance(6):
            host["loopback_addresses"] = list(self._loopbacks(names))
        if self._chance(4):
            names = self._draw(st.lists(st.sampled_from([*APPLICATIONS]), min_size=1, max_size=2, unique=True))
            port = self._draw(st.sampled_from(PORTS))
            host["applications"] = [{"name": "any", "ports": [port]} if name == "any" else name for name in names]
        if self._chance(4):
            host |= self._draw(st.sampled_from(SERVERS))
        return host

    def _loopbacks(self, names: list[str]) -> Iterator[str]:
        """Yield one address of each IP version that a network has, neighbours of those of other hosts."""
        number = 8 * self._left_number()  # a count of hosts takes the next ones
        versions = {version for name in names for version in self._versions[name]}
        yield from ([f"10.97.{number // 256}.{number % 256}"] if "4" in versions else [])
        yield from ([f"fd97::{number:x}"] if "6" in versions else [])

    def _left_number(self) -> int:
        """Return another number for each host."""
        self._taken += 1
        return self._taken

    def _by_hand(self, names: list[str]) -> dict[str, Any]:
        """Draw an address, and a route to somewhere else, that are written down."""
        host: dict[str, Any] = {}
        known = [name for name in names if self._versions[name] == "4"]
        # what each may have for itself: the number of the host is not known here, that of the draws is
        self._taken += 1
        if known and self._chance(3):
            addresses = {name: str(self._v4[name][100 + self._taken]) if name in known else {} for name in names}
            host |= {"networks": addresses} if len(names) > 1 else {"address": addresses[names[0]]}
        if known and self._chance(6):
            host["routes"] = [{"to": f"10.99.{self._taken}.0/24", "via": str(self._v4[known[0]][90])}]
        return host

    def _islands(self, version: str) -> dict[str, str]:
        """Give each network of a version the name of its island: what routers and forwarding hosts join is one."""
        island = {name: name for name in self._names if version in self._versions[name]}
        joints = [[self._names[number] for number in networks] for networks in self._joined]
        joints += [_networks(host) for host in self._hosts.values() if host.get("forward")]
        for joint in joints:
            merged = {island[name] for name in joint if name in island}
            island = {name: min(merged) if its in merged else its for name, its in island.items()}
        return island

    def _rule(self) -> dict[str, Any]:
        members = {host: [host] for host in self._hosts} | self._on | self._groups
        rule: dict[str, Any] = {"to": self._several([name for name in members if members[name]])}
        kind = self._draw(st.sampled_from(["tcp", "udp", "icmp", "mixed", "application", "other"]))
        if kind == "application":
            served = [name for name, host in self._hosts.items() if "applications" in host]
            named = self._draw(st.sampled_from([True, [*APPLICATIONS]]))
            rule |= {"to": self._several(served), "application": named} if served else {"icmp": True}
        if kind in ("tcp", "mixed"):
            rule["tcp"] = self._draw(st.sampled_from(TCP))
        if kind in ("udp", "mixed"):
            rule["udp"] = self._draw(st.sampled_from(UDP))
        if kind in ("icmp", "mixed"):
            rule["icmp"] = self._draw(st.sampled_from([True, True, *MESSAGES]))
        if kind == "other":
            rule |= self._draw(st.sampled_from(OTHERS))
        among = [
            name for name, its in members.items() if len(its) > 1 and all(self._met(name, its, one) for one in its)
        ]
        if among and kind != "application" and self._chance(6):
            return {"within": self._draw(st.sampled_from(among))} | {key: rule[key] for key in rule if key != "to"}
        targets = [host for name in _list(rule["to"]) for host in members[name]]
        joined = [
            name
            for name, hosts in members.items()
            if hosts and all(self._met(name, hosts, target) for target in targets)
        ]
        source = self._draw(st.sampled_from(["some", "some", "prefix", "prefix and some", "anywhere", "anyone"]))
        if source == "anywhere":
            rule["from"] = "anywhere"
        elif source != "anyone":
            prefixes = [*FOREIGN, *(str(one) for whole in self._v4.values() for one in [next(whole.subnets(2))])]
            rule["from"] = self._several(prefixes * ("prefix" in source or not joined) + joined * ("some" in source))
        return rule

    def _limit(self, hosts: list[str]) -> dict[str, Any]:
        """Draw what some hosts may send, to a place that some way leads to."""
        name = self._draw(st.sampled_from(hosts))
        met = [other for other in self._hosts if self._met(name, [name], other)]
        to = self._draw(st.sampled_from(["anywhere", "172.20.0.0/16", *met]))
        what = self._draw(
            st.sampled_from([{"all": False}, {"icmp": True}, {"tcp": [22, "80-8000"]}, {"udp": 53, "tcp": 80}])
        )
        return {"from": name, "to": to} | what

    def _met(self, name: str, hosts: list[str], target: str) -> bool:
        """Tell whether a way joins ``name``, which stands for ``hosts``, and ``target``."""
        networks = (
            [name] if name in self._on else [network for host in hosts for network in _networks(self._hosts[host])]
        )
        return any(
            one in part and other in part and part[one] == part[other]
            for part in self._parts.values()
            for one in networks
            for other in _networks(self._hosts[target])
        )

    def _several(self, values: list[Any]) -> Any:
        chosen = self._draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
        return chosen[0] if len(chosen) == 1 else chosen


def _networks(host: dict[str, Any]) -> list[str]:
    return list(host["networks"]) if "networks" in host else [host["network"]]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
