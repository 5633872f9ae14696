"""The topology file: read, checked, and every address settled.

``load`` reports all that is wrong at once, each at its place in the file. What it returns is complete: planning from it
cannot fail.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from netorder import schema, source
from netorder.addresses import LONGEST_PREFIX, Layout, draw
from netorder.diagnostics import Diagnostic, TopologyError, did_you_mean
from netorder.routes import Graph, nearest_to_outside, ways_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netorder.source import Document, Path

__all__ = [
    "ANYWHERE",
    "PEERS",
    "HostSpec",
    "Match",
    "NetworkSpec",
    "RouterSpec",
    "RuleSpec",
    "ServiceSpec",
    "Topology",
    "load",
    "parse",
]

ANYWHERE = IPv4Network("0.0.0.0/0")
SSH = 22
PORTS = {"calculator": 50000, "sum": 50001, "sub": 50002, "mul": 50003, "div": 50004}
PEERS = {"calculator": ("sum", "sub", "mul", "div")}  # which services a service calls

LONGEST_NAME = 63  # of a DNS label (RFC 1123)
SHORTEST_PREFIX = 8
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
UNUSABLE = {
    IPv4Network("0.0.0.0/8"): "means `this network` (RFC 1122)",
    IPv4Network("127.0.0.0/8"): "is every host's own loopback",
    IPv4Network("169.254.0.0/16"): "is link-local: the cloud's metadata service is there",
    IPv4Network("224.0.0.0/4"): "is for multicast",
    IPv4Network("240.0.0.0/4"): "is reserved",
}
RESERVED = {
    "all": "Ansible's group of all hosts",
    "anywhere": "the word for everybody in `allow`",
    "bastions": "the group of hosts that others are reached through",
    "external": "the word for the cloud's external network",
    "localhost": "every host's own name",
    "netorder": "the group of all hosts",
    "services": "the group of all hosts with a service",
    "ungrouped": "Ansible's group of hosts without one",
}
OUTSIDE_WORDS = frozenset(
    {"external", "ext", "ext-net", "external-network", "internet", "outside", "provider", "public"}
)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network; ``gateway`` is the address of ``gateway_router``, both None when no router joins it."""

    name: str
    cidr: IPv4Network
    gateway: IPv4Address | None
    gateway_router: str | None
    allocation_pool: tuple[IPv4Address, IPv4Address]
    dns_nameservers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """A router and its (network, address) pairs."""

    name: str
    external: bool
    interfaces: tuple[tuple[str, IPv4Address], ...]


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service and its TCP port."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A host. ``routes`` are the declared ones: (destination, next hop)."""

    name: str
    network: str
    address: IPv4Address
    floating_ip: bool
    image: str
    flavor: str
    user: str
    service: ServiceSpec | None
    groups: tuple[str, ...]
    routes: tuple[tuple[IPv4Network, IPv4Address], ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A protocol and its ports, both ends included; None for one that has no ports."""

    protocol: str
    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """``sources`` may come in to the hosts ``targets``: by ``matches``, and to each target's own service if ``service``."""

    sources: tuple[IPv4Network, ...]
    targets: tuple[str, ...]
    matches: tuple[Match, ...]
    service: bool


@dataclass(frozen=True, slots=True)
class Topology:
    """A checked topology. ``entries`` are the hosts that let SSH in from outside; ``warnings`` are for people to read."""

    name: str
    external_network: str | None
    networks: tuple[NetworkSpec, ...]
    routers: tuple[RouterSpec, ...]
    hosts: tuple[HostSpec, ...]
    rules: tuple[RuleSpec, ...]
    entries: frozenset[str]
    warnings: tuple[Diagnostic, ...]

    def graph(self) -> Graph:
        """Return which router joins which networks."""
        return Graph(
            tuple(network.name for network in self.networks),
            {router.name: tuple(name for name, _ in router.interfaces) for router in self.routers},
            {network.name: network.gateway_router for network in self.networks if network.gateway_router},
        )


def load(path: str | FilePath) -> Topology:
    """Read the topology file at ``path``.

    Raises TopologyError, with every error found, when it cannot be used.
    """
    try:
        with FilePath(path).open("rb") as file:
            content = file.read(source.MAX_BYTES + 1)
        if len(content) > source.MAX_BYTES:
            raise TopologyError([Diagnostic(str(path), 0, 0, "error", f"larger than {source.MAX_BYTES} bytes")])
        text = content.decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise TopologyError([Diagnostic(str(path), 0, 0, "error", f"cannot be read: {reason}")]) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise TopologyError([Diagnostic(str(path), line, column, "error", message)]) from None
    return parse(text, str(path))


def parse(text: str, path: str = "<text>") -> Topology:
    """Do what ``load`` does for a file, for ``text``; ``path`` is what diagnostics call it."""
    try:
        document = source.read(text)
    except source.SourceError as error:
        raise TopologyError([Diagnostic(path, *error.place, "error", str(error))]) from None
    return _Checker(path, document).check()


class _Checker:
    """Collects diagnostics while it turns the document into a Topology.

    A part that the schema refuses is left out of the checks after it, and names are known even when what they name is
    wrong, so that one mistake gives one error.
    """

    def __init__(self, path: str, document: Document) -> None:
        self.path = path
        self.document = document
        self.diagnostics = [Diagnostic(path, *place, "error", text) for place, text in document.problems]
        self.refused: set[Path] = set()
        self.cidrs: dict[str, IPv4Network] = {}  # networks whose prefix is right
        self.layouts: dict[str, Layout] = {}
        self.joined: dict[str, dict[str, IPv4Address | None]] = {}  # router -> network -> explicit address
        self.gateway_routers: dict[str, str] = {}
        self.owners: dict[str, dict[IPv4Address, str]] = {}  # network -> address -> whose it is, in words
        self.addresses: dict[tuple[str, str], IPv4Address] = {}  # (kind/name, network) -> settled address
        self.host_networks: dict[str, str] = {}  # hosts whose network is right
        self.services: dict[str, ServiceSpec] = {}
        self.groups: dict[str, list[str]] = {}  # group -> its hosts

    def check(self) -> Topology:
        """Run every check; return the topology or raise TopologyError."""
        for violation in schema.violations(self.document.data):
            self.refused.add(violation.path)
            self._error(violation.path, violation.message, of_key=violation.of_key)
        self._check_names()
        self._check_networks()
        self._check_routers()
        self._settle_gateways()
        self._settle_routers()
        self._check_hosts()
        self._settle_hosts()
        self._check_groups()
        rules = self._check_rules()
        if any(diagnostic.severity == "error" for diagnostic in self.diagnostics):
            raise TopologyError(self.diagnostics)
        return self._result(rules)

    # Reading what the schema let through

    def _error(self, path: Path, message: str, *, of_key: bool = False, severity: str = "error") -> None:
        places = (self.document.keys, self.document.values) if of_key else (self.document.values, self.document.keys)
        while True:
            place = places[0].get(path) or places[1].get(path)
            if place or not path:
                break
            path = path[:-1]
        self.diagnostics.append(Diagnostic(self.path, *(place or (1, 1)), severity, message))

    def _warning(self, path: Path, message: str, *, of_key: bool = False) -> None:
        self._error(path, message, of_key=of_key, severity="warning")

    def _get(self, *path: str | int) -> Any:  # noqa: ANN401 - the document's data is any
        """Return the value at ``path``; None where there is none or the schema refused it or what holds it."""
        value = self.document.data
        if () in self.refused and not isinstance(value, dict):
            return None
        for depth, part in enumerate(path, 1):
            if path[:depth] in self.refused and not isinstance(value, dict | list):
                return None
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return None if path in self.refused and not isinstance(value, dict | list) else value

    def _mapping(self, *path: str | int) -> dict[str, Any]:
        value = self._get(*path)
        return value if isinstance(value, dict) else {}

    def _list(self, *path: str | int) -> list[Any]:
        value = self._get(*path)
        return value if isinstance(value, list) else []

    def _text(self, *path: str | int) -> str | None:
        value = self._get(*path)
        return value if isinstance(value, str) else None

    def _address(self, *path: str | int) -> IPv4Address | None:
        text = self._text(*path)
        if text is None:
            return None
        try:
            return IPv4Address(text)
        except ValueError:
            self._error(path, f"`{text}` is not an IPv4 address; its four numbers are 0 to 255, without leading zeros")
            return None

    def _prefix(self, *path: str | int) -> IPv4Network | None:
        text = self._text(*path)
        if text is None:
            return None
        try:
            network = IPv4Network(text, strict=False)
        except ValueError:
            message = f"`{text}` is not an IPv4 prefix; four numbers from 0 to 255, then `/` and 0 to 32"
            self._error(path, message)
            return None
        if str(network) != text:
            self._error(path, f"`{text}` is an address inside a prefix; the prefix is `{network}`")
        return network

    # Names

    def _check_names(self) -> None:
        topology = self._text("topology")
        first: dict[str, str] = {}
        for section in ("networks", "routers", "hosts"):
            for name in self._mapping(section):
                path = (section, name)
                what = f"{section[:-1]} `{name}`"
                if name in RESERVED:
                    self._error(path, f"{what}: the name is taken, it is {RESERVED[name]}; choose another", of_key=True)
                elif name in first:
                    message = f"{what}: {first[name]} has the same name; names are unique in a topology: rename one"
                    self._error(path, message, of_key=True)
                elif topology and path not in self.refused and len(f"{topology}-{name}") > LONGEST_NAME:
                    length = len(f"{topology}-{name}")
                    message = (
                        f"{what}: its name in the cloud, `{topology}-{name}`, has {length} characters, more than "
                        f"{LONGEST_NAME}; shorten it or the topology's name"
                    )
                    self._error(path, message, of_key=True)
                first.setdefault(name, f"a {section[:-1]}")

    def _known_network(self, path: Path, name: str, user: str) -> bool:
        """Tell whether ``name`` is a declared network; report at ``path`` if it is not."""
        networks = self._mapping("networks")
        if name in networks:
            return True
        if name in OUTSIDE_WORDS or name == self._text("external_network"):
            if path[0] == "hosts":
                message = (
                    f"{user} cannot be put straight on the external network `{name}`: OpenStack refuses that to ordinary "
                    f"users; put it on a network with an external router and add `floating_ip: true`"
                )
            else:
                message = f"{user} joins the external network by `external: true`, not by `{name}` in `networks`"
        else:
            mend = did_you_mean(name, networks) or "; declare it under `networks:`"
            message = f"{user}: there is no network `{name}`{mend}"
        self._error(path, message)
        return False

    # Networks

    def _check_networks(self) -> None:
        for name in self._mapping("networks"):
            path = ("networks", name, "cidr")
            cidr = self._prefix(*path)
            if cidr is None or not self._usable(path, cidr):
                continue
            for other, its_cidr in self.cidrs.items():
                if cidr.overlaps(its_cidr):
                    message = f"`{cidr}` of network `{name}` overlaps `{its_cidr}` of network `{other}`; choose another"
                    self._error(path, message)
                    break
            self.cidrs[name] = cidr
            self.owners[name] = {}
            self._dns("networks", name, "dns_nameservers")
            gateway = self._address("networks", name, "gateway")
            if gateway and not self._on_subnet(("networks", name, "gateway"), gateway, name, "gateway"):
                gateway = None
            self.layouts[name] = Layout(cidr, gateway)
        self._dns("defaults", "dns_nameservers")

    def _usable(self, path: Path, cidr: IPv4Network) -> bool:
        if cidr.prefixlen > LONGEST_PREFIX:
            usable = max(cidr.num_addresses - 2, 0)
            message = (
                f"`{cidr}` has {usable} usable addresses, too few for a gateway, hosts and the cloud's own ports; "
                f"use a /{LONGEST_PREFIX} or shorter"
            )
        elif cidr.prefixlen < SHORTEST_PREFIX:
            message = f"`{cidr}` is too wide for one network; use a /{SHORTEST_PREFIX} or longer"
        elif reason := next((why for range_, why in UNUSABLE.items() if cidr.overlaps(range_)), None):
            message = f"`{cidr}` {reason}; use a private range, such as 192.168.1.0/24"
        else:
            if not any(cidr.subnet_of(range_) for range_ in PRIVATE):
                message = (
                    f"`{cidr}` is a public range: unless it is yours, its owners cannot be reached from here; "
                    f"use 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
                )
                self._warning(path, message)
            return True
        self._error(path, message)
        return False

    def _dns(self, *path: str) -> tuple[str, ...] | None:
        if self._get(*path) is None:
            return None
        servers = (self._address(*path, index) for index in range(len(self._list(*path))))
        return tuple(str(server) for server in servers if server)

    def _on_subnet(self, path: Path, address: IPv4Address, network: str, what: str) -> bool:
        """Tell whether ``address`` can be used on the network's subnet; report if not."""
        cidr = self.cidrs[network]
        if address not in cidr:
            first, last = cidr.network_address + 1, cidr.broadcast_address - 1
            message = f"{what} `{address}` is not in `{cidr}` of network `{network}`; use one of {first} to {last}"
        elif address == cidr.network_address:
            message = f"{what} `{address}` is the address of network `{network}` itself; use {address + 1} or above"
        elif address == cidr.broadcast_address:
            message = f"{what} `{address}` is the broadcast address of `{cidr}`; use {address - 1} or below"
        else:
            return True
        self._error(path, message)
        return False

    # Routers and gateways

    def _check_routers(self) -> None:
        for name in self._mapping("routers"):
            path = ("routers", name, "networks")
            networks = self._get(*path)
            if not isinstance(networks, dict | list):
                continue
            what = f"router `{name}`"
            its: dict[str, IPv4Address | None] = {}
            for index, network in enumerate(networks):
                place = (*path, index if isinstance(networks, list) else network)
                if not isinstance(network, str):
                    continue
                if network in its:
                    self._error(place, f"{what} joins network `{network}` twice; remove one")
                elif self._known_network(place, network, what):
                    address = self._address(*place) if isinstance(networks, dict) else None
                    if address and network in self.cidrs and not self._on_subnet(place, address, network, what):
                        address = None
                    its[network] = address
            self.joined[name] = its
            external = self._get("routers", name, "external") is True
            if not networks:
                self._error(path, f"{what} joins nothing; name its networks, or remove it")
            elif len(networks) == 1 and its and not external:
                message = (
                    f"{what} joins only network `{next(iter(its))}`; add a network, `external: true`, or remove it"
                )
                self._warning(("routers", name), message, of_key=True)

    def _settle_gateways(self) -> None:
        """Choose each network's gateway router and its address: the joined router that is nearest to the outside."""
        external = {name for name in self.joined if self._get("routers", name, "external") is True}
        nearest = nearest_to_outside(self._mapping("networks"), self.joined, external)
        for name, layout in list(self.layouts.items()):
            path = ("networks", name, "gateway")
            asked = layout.gateway
            routers = nearest[name]
            if not routers:
                if asked:
                    message = f"gateway `{asked}`: no router joins network `{name}`; join one, or remove the gateway"
                    self._error(path, message)
                continue
            explicit = {router: self.joined[router][name] for router in routers}
            if asked is None:
                router = routers[0]
                asked = explicit[router] or layout.first
            else:
                fitting = [router for router in routers if explicit[router] == asked]
                fitting += [router for router in routers if explicit[router] is None]
                if not fitting:
                    message = f"gateway `{asked}`: no router has this address on `{name}`; give it to one, or remove it"
                    self._error(path, message)
                    continue
                router = fitting[0]
            self.gateway_routers[name] = router
            self.layouts[name] = Layout(layout.cidr, asked)
            self.addresses["router " + router, name] = asked
            self.owners[name][asked] = f"gateway of `{name}` (router `{router}`)"

    def _settle_routers(self) -> None:
        for explicit in (True, False):  # those that are given, then the others around them
            for name, its in self.joined.items():
                for network, address in its.items():
                    if network not in self.layouts or ("router " + name, network) in self.addresses:
                        continue
                    if explicit and address:
                        self._claim(("routers", name, "networks", network), network, address, f"router `{name}`")
                        self.addresses["router " + name, network] = address
                    elif not explicit:
                        layout = self.layouts[network]
                        taken = self._host_claims(network) | self.owners[network].keys()
                        drawn = draw(name, layout.routers, taken) or draw(name, layout.hosts, taken)
                        if drawn is None:
                            message = f"network `{network}` ({layout.cidr}) has no address left for router `{name}`"
                            self._error(("routers", name, "networks"), f"{message}; use a shorter prefix")
                            continue
                        self.addresses["router " + name, network] = drawn
                        self.owners[network][drawn] = f"router `{name}`"

    @functools.cached_property
    def _claims(self) -> dict[str, set[IPv4Address]]:
        claims: dict[str, set[IPv4Address]] = {}
        for name in self._mapping("hosts"):
            network, text = self._text("hosts", name, "network"), self._text("hosts", name, "address")
            if network and text and re.fullmatch(r"(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}", text):
                claims.setdefault(network, set()).add(IPv4Address(text))
        return claims

    def _host_claims(self, network: str) -> set[IPv4Address]:
        """Return the addresses that hosts on ``network`` ask for; nothing else may draw them."""
        return self._claims.get(network, set())

    def _claim(self, path: Path, network: str, address: IPv4Address, what: str) -> None:
        """Give ``address`` to ``what``; report when somebody has it, or when it is Neutron's to give."""
        owners = self.owners[network]
        layout = self.layouts[network]
        if address in owners:
            self._error(path, f"{what}: `{address}` is taken by {owners[address]}; choose another")
        elif layout.in_pool(address):
            first, last = layout.pool
            message = (
                f"{what}: `{address}` is in {first} to {last}, which is left to the cloud's own ports; choose another"
            )
            self._error(path, message)
        else:
            owners[address] = what

    # Hosts

    def _check_hosts(self) -> None:
        for name in self._mapping("hosts"):
            path = ("hosts", name)
            what = f"host `{name}`"
            network = self._text(*path, "network")
            if network and self._known_network((*path, "network"), network, what):
                self.host_networks[name] = network
                if self._get(*path, "floating_ip") is True:
                    self._check_floating(name, network)
            address = self._address(*path, "address")
            if address and network in self.layouts and self._on_subnet((*path, "address"), address, network, what):
                self._claim((*path, "address"), network, address, what)
                self.addresses["host " + name, network] = address
            self._read_service(name)
            self._check_declared_routes(name, network, address)

    def _check_floating(self, name: str, network: str) -> None:
        router = self.gateway_routers.get(network)
        if network not in self.layouts or (router and self._get("routers", router, "external") is True):
            return
        reason = f"its gateway, router `{router}`, is not external" if router else "no router joins it"
        message = (
            f"host `{name}` cannot have a floating address: network `{network}` has no way to the external network, since "
            f"{reason}; add a router with `external: true` to it"
        )
        self._error(("hosts", name, "floating_ip"), message)

    def _read_service(self, name: str) -> None:
        path = ("hosts", name, "service")
        service = self._text(*path) or self._text(*path, "name")
        if service in PORTS:
            port = self._get(*path, "port")
            self.services[name] = ServiceSpec(service, port if isinstance(port, int) else PORTS[service])

    def _check_declared_routes(self, name: str, network: str | None, address: IPv4Address | None) -> None:
        seen: set[IPv4Network] = set()
        for index in range(len(self._list("hosts", name, "routes"))):
            path = ("hosts", name, "routes", index)
            to, via = self._prefix(*path, "to"), self._address(*path, "via")
            if via and network in self.cidrs and self._on_subnet((*path, "via"), via, network, "next hop"):
                if via == address:
                    self._error((*path, "via"), f"next hop `{via}` is host `{name}` itself; name another")
            if to is None:
                continue
            inside = next((other for other, cidr in self.cidrs.items() if cidr.overlaps(to)), None)
            if to == ANYWHERE:
                self._error((*path, "to"), f"`{to}` is the default route, which the network's gateway gives; remove it")
            elif inside:
                message = f"`{to}` overlaps network `{inside}`; routes inside the topology are derived: remove it"
                self._error((*path, "to"), message)
            elif to in seen:
                self._error((*path, "to"), f"host `{name}` has two routes to `{to}`; remove one")
            seen.add(to)

    def _settle_hosts(self) -> None:
        for name, network in self.host_networks.items():
            if network not in self.layouts or ("host " + name, network) in self.addresses:
                continue
            if self._get("hosts", name, "address") is not None:
                continue  # asked for one, and was told that it will not do
            layout = self.layouts[network]
            drawn = draw(name, layout.hosts, self.owners[network])
            if drawn is None:
                message = (
                    f"host `{name}`: network `{network}` ({layout.cidr}) has no address left; use a shorter prefix"
                )
                self._error(("hosts", name), message, of_key=True)
                continue
            self.addresses["host " + name, network] = drawn
            self.owners[network][drawn] = f"host `{name}`"

    def _check_groups(self) -> None:
        hosts = self._mapping("hosts")
        self.groups["services"] = list(self.services)
        for name in hosts:
            seen: set[str] = set()
            for index, group in enumerate(self._list("hosts", name, "groups")):
                path = ("hosts", name, "groups", index)
                if not isinstance(group, str) or path in self.refused:
                    continue
                if group in RESERVED or group.startswith("service_"):
                    reason = RESERVED.get(group, "the group of the hosts with that service")
                    self._error(path, f"group `{group}`: the name is taken, it is {reason}; choose another")
                elif any(group in self._mapping(section) for section in ("networks", "routers", "hosts")):
                    self._error(path, f"group `{group}`: something else has the same name; rename one")
                elif group in seen:
                    self._error(path, f"host `{name}` is in group `{group}` twice; remove one")
                else:
                    self.groups.setdefault(group, []).append(name)
                seen.add(group)

    # Rules

    def _check_rules(self) -> list[RuleSpec]:
        return [self._rule(index) for index, rule in enumerate(self._list("allow")) if isinstance(rule, dict)]

    def _rule(self, index: int) -> RuleSpec:
        path = ("allow", index)
        rule = self._mapping(*path)
        if not rule.keys() & {"tcp", "udp", "icmp", "service"} and path not in self.refused:
            message = "this rule lets nothing in; say what: `tcp: 80`, `udp: 53`, `icmp: true` or `service: true`"
            self._error(path, message)
        targets: list[str] = []
        for place, word in self._words(*path, "to"):
            targets += [host for host in self._targets(place, word) if host not in targets]
            if self._get(*path, "service") is True:
                self._check_has_service(place, word)
        sources: list[IPv4Network] = []
        for place, word in self._words(*path, "from") if "from" in rule else [(path, "anywhere")]:
            sources += [cidr for cidr in self._sources(place, word, targets) if cidr not in sources]
        matches = [match for protocol in ("tcp", "udp") for match in self._ports(*path, protocol)]
        if self._get(*path, "icmp") is True:
            matches.append(Match("icmp", None, None))
        return RuleSpec(tuple(sources), tuple(targets), tuple(matches), self._get(*path, "service") is True)

    def _words(self, *path: str | int) -> Iterator[tuple[Path, str]]:
        value = self._get(*path)
        if isinstance(value, str):
            yield path, value
        for index in range(len(value) if isinstance(value, list) else 0):
            if word := self._text(*path, index):
                yield (*path, index), word

    def _members(self, word: str) -> list[str] | None:
        """Return the hosts that ``word`` names: itself, those on it or those in it; None if it names none of these."""
        if word in self._mapping("hosts"):
            return [word]
        if word in self._mapping("networks"):
            return [host for host, network in self.host_networks.items() if network == word]
        return self.groups.get(word)

    def _nameable(self) -> Iterable[str]:
        return [*self._mapping("hosts"), *self._mapping("networks"), *self.groups]

    def _targets(self, place: Path, word: str) -> list[str]:
        members = self._members(word)
        if members is None:
            mend = did_you_mean(word, self._nameable()) or "; declare it, or name a host, a network or a group"
            self._error(place, f"there is no host, network or group `{word}`{mend}")
        elif not members:
            self._warning(place, f"`{word}` has no hosts, so this lets nothing in")
        return members or []

    def _check_has_service(self, place: Path, word: str) -> None:
        lacking = [name for name in self._members(word) or () if self._get("hosts", name, "service") is None]
        if lacking:
            names = ", ".join(f"`{name}`" for name in lacking)
            verb = "has" if len(lacking) == 1 else "have"
            self._error(
                place, f"`service: true` needs a service, and {names} {verb} none; give it one, or name its port"
            )

    def _sources(self, place: Path, word: str, targets: list[str]) -> Iterator[IPv4Network]:
        """Yield the prefixes that ``word`` stands for."""
        members = self._members(word)
        if word == "anywhere":
            yield ANYWHERE
        elif re.fullmatch(r"[0-9.]+(/[0-9]+)?", word):
            cidr = self._prefix(*place) if "/" in word else self._address(*place)
            if cidr is not None:
                yield IPv4Network(cidr)
        elif members is None:
            mend = did_you_mean(word, [*self._nameable(), "anywhere"])
            mend = mend or "; name a host, a network, a group or a prefix, or write `anywhere`"
            self._error(place, f"there is no host, network or group `{word}`{mend}")
        else:
            networks = (
                {word} if word in self._mapping("networks") else {self.host_networks.get(name) for name in members}
            )
            self._check_joined(place, word, {name for name in networks if name}, targets)
            if word in self._mapping("networks"):
                if word in self.cidrs:
                    yield self.cidrs[word]
                return
            for name in members:
                address = self.addresses.get(("host " + name, self.host_networks.get(name, "")))
                if address:
                    yield IPv4Network(address)

    @functools.cached_property
    def _graph(self) -> Graph:
        return Graph(tuple(self._mapping("networks")), self.joined, self.gateway_routers)

    def _check_joined(self, place: Path, word: str, networks: set[str], targets: list[str]) -> None:
        """Report targets that packets from ``networks`` never reach, unless routers are in error already."""
        if any(path[0] == "routers" for path in self.refused if path):
            return
        for target in targets:
            its_network = self.host_networks.get(target)
            if its_network and networks and all(self._graph.hops(one, its_network) is None for one in networks):
                message = (
                    f"no router joins `{word}` and `{target}` (network `{its_network}`), so this rule lets nothing in"
                )
                self._error(place, f"{message}; join their networks, or remove it")
                return

    def _ports(self, *path: str | int) -> Iterator[Match]:
        value = self._get(*path)
        entries = [(path, value)]
        if isinstance(value, list):
            entries = [((*path, index), self._get(*path, index)) for index in range(len(value))]
        seen: list[Match] = []
        for place, entry in entries:
            if isinstance(entry, bool) or not isinstance(entry, int | str) or place in self.refused:
                continue
            first, _, last = str(entry).partition("-")
            match = Match(str(path[-1]), int(first), int(last or first))
            if not 1 <= int(first) <= int(last or first) <= 65535:  # noqa: PLR2004 - the last port
                self._error(place, f"`{entry}` is not a range of ports; write the lower first, both from 1 to 65535")
                continue
            if other := next((one for one in seen if match.first <= one.last and one.first <= match.last), None):  # type: ignore[operator]
                known = str(other.first) if other.first == other.last else f"{other.first}-{other.last}"
                self._error(place, f"`{entry}` is already in `{known}` of the same rule; remove one")
            seen.append(match)
            yield match

    # The whole

    def _result(self, rules: list[RuleSpec]) -> Topology:
        own_networks = tuple(self.cidrs.values())
        open_hosts = {
            target
            for rule in rules
            for target in rule.targets
            if any(match.protocol == "tcp" and match.first <= SSH <= match.last for match in rule.matches)  # type: ignore[operator]
            and any(not any(cidr.subnet_of(own) for own in own_networks) for cidr in rule.sources)
        }
        hosts = tuple(self._host(name) for name in self._mapping("hosts"))
        entries = frozenset(host.name for host in hosts if host.floating_ip and host.name in open_hosts)
        self._check_way_in(hosts, entries)
        self._check_peers(hosts, rules)
        if any(diagnostic.severity == "error" for diagnostic in self.diagnostics):
            raise TopologyError(self.diagnostics)
        return Topology(
            name=self.document.data["topology"],
            external_network=self._text("external_network"),
            networks=tuple(self._network(name) for name in self._mapping("networks")),
            routers=tuple(
                RouterSpec(
                    name,
                    self._get("routers", name, "external") is True,
                    tuple((network, self.addresses["router " + name, network]) for network in its),
                )
                for name, its in self.joined.items()
            ),
            hosts=hosts,
            rules=tuple(rules),
            entries=entries,
            warnings=tuple(sorted(set(self.diagnostics))),
        )

    def _network(self, name: str) -> NetworkSpec:
        layout = self.layouts[name]
        dns = self._dns("networks", name, "dns_nameservers")
        if dns is None:
            dns = self._dns("defaults", "dns_nameservers") or tuple(schema.default("dns_nameservers"))
        router = self.gateway_routers.get(name)
        return NetworkSpec(name, layout.cidr, layout.gateway if router else None, router, layout.pool, dns)

    def _host(self, name: str) -> HostSpec:
        def setting(key: str) -> str:
            return str(self._get("hosts", name, key) or self._get("defaults", key) or schema.default(key))

        network = self.host_networks[name]
        routes = self._list("hosts", name, "routes")
        return HostSpec(
            name=name,
            network=network,
            address=self.addresses["host " + name, network],
            floating_ip=self._get("hosts", name, "floating_ip") is True,
            image=setting("image"),
            flavor=setting("flavor"),
            user=setting("user"),
            service=self.services.get(name),
            groups=tuple(self._list("hosts", name, "groups")),
            routes=tuple((IPv4Network(route["to"]), IPv4Address(route["via"])) for route in routes),
        )

    def _check_way_in(self, hosts: tuple[HostSpec, ...], entries: frozenset[str]) -> None:
        ways = ways_in(self._graph, {host.name: host.network for host in hosts}, entries)
        for host in hosts:
            if ways[host.name] is not None:
                continue
            if host.floating_ip:
                mend = f"let SSH in: `allow: - {{from: anywhere, to: {host.name}, tcp: 22}}`"
            else:
                mend = "give a host that can reach it a floating address and let SSH in to that from outside"
            message = f"host `{host.name}` cannot be configured, since SSH does not reach it from outside; {mend}"
            self._warning(("hosts", host.name), message, of_key=True)

    def _check_peers(self, hosts: tuple[HostSpec, ...], rules: list[RuleSpec]) -> None:
        """Check that each service finds those it calls: on some host, by some way, through some rule."""
        for host in hosts:
            for peer in PEERS.get(host.service.name, ()) if host.service else ():
                path = ("hosts", host.name, "service")
                serving = [other for other in hosts if other.service and other.service.name == peer]
                if not serving:
                    self._error(path, f"the calculator calls `{peer}`, and no host has `service: {peer}`; add one")
                    continue
                callee = serving[0]
                if len(serving) > 1:
                    names = ", ".join(f"`{other.name}`" for other in serving)
                    self._warning(path, f"{names} all serve {peer}; `{host.name}` calls `{callee.name}`, the first")
                if self._graph.hops(host.network, callee.network) is None:
                    message = f"`{host.name}` calls `{callee.name}`, and no router joins their networks; join them"
                    self._error(path, message)
                elif not _lets_in(rules, host, callee):
                    message = (
                        f"`{host.name}` calls `{callee.name}`, and no rule lets it in; add "
                        f"`allow: - {{from: {host.name}, to: {callee.name}, service: true}}`"
                    )
                    self._warning(path, message)


def _lets_in(rules: list[RuleSpec], caller: HostSpec, callee: HostSpec) -> bool:
    """Tell whether some rule lets ``caller`` in to the service of ``callee``."""
    assert callee.service is not None  # noqa: S101 - for the type checker: callees are chosen by their service
    port = callee.service.port
    return caller.name == callee.name or any(
        callee.name in rule.targets
        and any(caller.address in cidr for cidr in rule.sources)
        and (
            rule.service or any(one.protocol == "tcp" and one.first <= port <= one.last for one in rule.matches)  # type: ignore[operator]
        )
        for rule in rules
    )
