"""Names, networks, routers and hosts: whether what the file says is possible, and who gets which address."""

from __future__ import annotations

from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from netorder import schema
from netorder.addresses import LONGEST_PREFIX, Layout, draw
from netorder.diagnostics import did_you_mean
from netorder.routes import Graph, nearest_to_outside
from netorder.spec import ANYWHERE, PORTS, HostSpec, NetworkSpec, RouterSpec, ServiceSpec

if TYPE_CHECKING:
    from netorder.reader import Reader
    from netorder.source import Path

__all__ = ["Checker"]

LONGEST_NAME = 63  # of a DNS label (RFC 1123)
SHORTEST_PREFIX = 8
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
UNUSABLE = {
    IPv4Network("0.0.0.0/8"): "means `this network` (RFC 1122)",
    IPv4Network("127.0.0.0/8"): "is every host's own loopback",
    IPv4Network("169.254.0.0/16"): "is link-local, where the cloud's metadata service is",
    IPv4Network("224.0.0.0/4"): "is for multicast",
    IPv4Network("240.0.0.0/4"): "is reserved",
}
RESERVED = {
    "all": "Ansible's group of all hosts",
    "anywhere": "the word for everybody in `allow`",
    "bastions": "the group of the hosts that others are reached through",
    "external": "the word for the cloud's external network",
    "localhost": "every host's name for itself",
    "netorder": "the group of all hosts",
    "services": "the group of all hosts with a service",
    "ungrouped": "Ansible's group of the hosts without one",
}
OUTSIDE = frozenset({"external", "ext", "ext-net", "external-network", "internet", "outside", "provider", "public"})


class Checker:
    """Checks in the order of the file's sections, each relying on those before it; then gives what it settled.

    Names are known even when what they name is wrong, so that one mistake gives one error.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.cidrs: dict[str, IPv4Network] = {}  # networks whose prefix can be used
        self._layouts: dict[str, Layout] = {}
        self._joined: dict[str, dict[str, IPv4Address | None]] = {}  # router -> network -> declared address
        self._gateway_routers: dict[str, str] = {}
        self._owners: dict[str, dict[IPv4Address, str]] = {}  # network -> address -> whose it is, in words
        self._router_addresses: dict[tuple[str, str], IPv4Address] = {}
        self.addresses: dict[str, IPv4Address] = {}  # of hosts
        self.network_of: dict[str, str] = {}  # hosts whose network is known
        self.services: dict[str, ServiceSpec] = {}
        self.groups: dict[str, list[str]] = {}  # group -> its hosts

        self._check_names()
        self._check_networks()
        self._check_routers()
        self._settle_gateways()
        self._claim_router_addresses()
        self._check_hosts()
        self._settle_routers()
        self._settle_hosts()
        self._check_groups()

    @cached_property
    def graph(self) -> Graph:
        """Which router joins which networks."""
        joined = {name: tuple(its) for name, its in self._joined.items()}
        return Graph(tuple(self._reader.mapping("networks")), joined, self._gateway_routers)

    # What was settled; only when there is no error

    def networks(self) -> tuple[NetworkSpec, ...]:
        """Return the networks."""
        specs = []
        for name, layout in self._layouts.items():
            router = self._gateway_routers.get(name)
            dns = self._dns("networks", name, "dns_nameservers")
            if dns is None:
                dns = self._dns("defaults", "dns_nameservers") or tuple(schema.default("dns_nameservers"))
            specs.append(NetworkSpec(name, layout.cidr, layout.gateway, router, layout.pool, dns))
        return tuple(specs)

    def routers(self) -> tuple[RouterSpec, ...]:
        """Return the routers."""
        return tuple(
            RouterSpec(
                name,
                self._reader.true("routers", name, "external"),
                tuple((network, self._router_addresses[name, network]) for network in its),
            )
            for name, its in self._joined.items()
        )

    def hosts(self) -> tuple[HostSpec, ...]:
        """Return the hosts."""
        return tuple(self._host(name) for name in self._reader.mapping("hosts"))

    def _host(self, name: str) -> HostSpec:
        reader = self._reader

        def setting(key: str) -> str:
            return reader.text("hosts", name, key) or reader.text("defaults", key) or str(schema.default(key))

        routes = [route for _, route in reader.items("hosts", name, "routes")]
        return HostSpec(
            name=name,
            network=self.network_of[name],
            address=self.addresses[name],
            floating_ip=reader.true("hosts", name, "floating_ip"),
            image=setting("image"),
            flavor=setting("flavor"),
            user=setting("user"),
            service=self.services.get(name),
            groups=tuple(str(group) for _, group in reader.items("hosts", name, "groups")),
            routes=tuple((IPv4Network(route["to"]), IPv4Address(route["via"])) for route in routes),
        )

    # Names

    def _check_names(self) -> None:
        topology = self._reader.text("topology")
        kinds: dict[str, str] = {}
        for section in ("networks", "routers", "hosts"):
            kind = section[:-1]
            for name in self._reader.mapping(section):
                full = f"{topology}-{name}"
                message = None
                if name in RESERVED:
                    message = f"the name is taken, it is {RESERVED[name]}; choose another"
                elif name in kinds:
                    message = f"a {kinds[name]} has the same name; one name, one thing: rename one"
                elif section == "networks" and name == self._reader.text("external_network"):
                    message = "the cloud's external network has this name; rename this one"
                elif topology and len(full) > LONGEST_NAME and not self._reader.refused(section, name):
                    message = (
                        f"its name in the cloud, `{full}`, has {len(full)} characters, and {LONGEST_NAME} are allowed; "
                        "shorten it or the topology's name"
                    )
                if message:
                    self._reader.error((section, name), f"{kind} `{name}`: {message}", of_key=True)
                kinds.setdefault(name, kind)

    def _known_network(self, path: Path, name: str, user: str) -> bool:
        """Tell whether ``name`` is a declared network; report at ``path`` if it is not."""
        networks = self._reader.mapping("networks")
        if name in networks:
            return True
        if not isinstance(self._reader.get("networks"), dict):
            return False  # none are known, which is reported as such
        if name not in OUTSIDE and name != self._reader.text("external_network"):
            mend = did_you_mean(name, networks) or "; declare it under `networks:`"
            message = f"{user}: there is no network `{name}`{mend}"
        elif path[0] == "hosts":
            message = (
                f"{user} cannot be put straight on the external network `{name}`: OpenStack refuses that to ordinary "
                "users; put it on a network that an external router joins, and add `floating_ip: true`"
            )
        else:
            message = f"{user} joins the external network by `external: true`, not by `{name}` among its networks"
        self._reader.error(path, message)
        return False

    # Networks

    def _check_networks(self) -> None:
        self._dns("defaults", "dns_nameservers")
        for name in self._reader.mapping("networks"):
            self._dns("networks", name, "dns_nameservers")
            path = ("networks", name, "cidr")
            cidr = self._reader.prefix(*path)
            gateway = self._reader.address("networks", name, "gateway")
            if cidr is None or not self._usable(path, cidr):
                continue
            for other, its_cidr in self.cidrs.items():
                if cidr.overlaps(its_cidr):
                    message = f"`{cidr}` of network `{name}` overlaps `{its_cidr}` of network `{other}`; choose another"
                    self._reader.error(path, message)
                    break
            self.cidrs[name] = cidr
            self._owners[name] = {}
            if gateway and not self._on_subnet(("networks", name, "gateway"), gateway, name, "gateway"):
                gateway = None
            self._layouts[name] = Layout(cidr, gateway)

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
                    f"`{cidr}` is a public range; unless it is yours, its owners cannot be reached from these hosts: "
                    "use one in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
                )
                self._reader.warning(path, message)
            return True
        self._reader.error(path, message)
        return False

    def _dns(self, *path: str) -> tuple[str, ...] | None:
        if self._reader.get(*path) is None:
            return None
        servers = (self._reader.address(*place) for place, _ in self._reader.items(*path))
        return tuple(str(server) for server in servers if server)

    def _on_subnet(self, path: Path, address: IPv4Address, network: str, what: str) -> bool:
        """Tell whether ``address`` can be used on the network's subnet; report if not."""
        cidr = self.cidrs[network]
        if address not in cidr:
            first, last = cidr.network_address + 1, cidr.broadcast_address - 1
            message = f"{what} `{address}` is not in `{cidr}` of network `{network}`; use one of {first} to {last}"
        elif address == cidr.network_address:
            message = f"{what} `{address}` is the address of `{cidr}` itself; use {address + 1} or above"
        elif address == cidr.broadcast_address:
            message = f"{what} `{address}` is the broadcast address of `{cidr}`; use {address - 1} or below"
        else:
            return True
        self._reader.error(path, message)
        return False

    # Routers and gateways

    def _check_routers(self) -> None:
        for name in self._reader.mapping("routers"):
            path = ("routers", name, "networks")
            networks = self._reader.get(*path)
            if not isinstance(networks, dict | list):
                continue
            its: dict[str, IPv4Address | None] = {}
            for index, network in enumerate(networks):
                place = (*path, network if isinstance(networks, dict) else index)
                if not isinstance(network, str):
                    continue
                if network in its:
                    self._reader.error(place, f"router `{name}` joins network `{network}` twice; remove one")
                elif self._known_network(place, network, f"router `{name}`"):
                    address = self._reader.address(*place) if isinstance(networks, dict) else None
                    if address and network in self.cidrs and not self._on_subnet(place, address, network, "address"):
                        address = None
                    its[network] = address
            self._joined[name] = its
            if not networks:
                self._reader.error(path, f"router `{name}` joins nothing; name its networks, or remove it")
            elif len(networks) == 1 and its and not self._external(name):
                message = f"router `{name}` joins `{next(iter(its))}` to nothing; add a network or `external: true`"
                self._reader.warning(("routers", name), message, of_key=True)

    def _external(self, router: str) -> bool:
        return self._reader.true("routers", router, "external") or self._reader.refused("routers", router, "external")

    def _settle_gateways(self) -> None:
        """Choose each network's gateway router and its address: the joined router that is nearest to the outside."""
        external = {name for name in self._joined if self._external(name)}
        nearest = nearest_to_outside(self._reader.mapping("networks"), self._joined, external)
        for name, layout in self._layouts.items():
            routers = nearest[name]
            declared = {router: self._joined[router][name] for router in routers}
            gateway = layout.gateway
            if gateway:
                routers = [router for router in routers if declared[router] == gateway]
                routers += [router for router in nearest[name] if declared[router] is None]
                if not routers and not self._reader.refused("routers"):
                    message = f"gateway `{gateway}`: no router has it on network `{name}`; give it to one, or remove it"
                    self._reader.error(("networks", name, "gateway"), message)
            if not routers:
                continue
            gateway = gateway or declared[routers[0]] or layout.first
            self._gateway_routers[name] = routers[0]
            self._layouts[name] = Layout(layout.cidr, gateway)
            self._router_addresses[routers[0], name] = gateway
            self._owners[name][gateway] = f"router `{routers[0]}`, the gateway of `{name}`"

    def _claim_router_addresses(self) -> None:
        for name, its in self._joined.items():
            for network, address in its.items():
                if address and network in self._layouts and (name, network) not in self._router_addresses:
                    self._claim(("routers", name, "networks", network), network, address, f"router `{name}`")
                    self._router_addresses[name, network] = address

    def _settle_routers(self) -> None:
        """Give every router its other addresses; hosts and routers that ask for one have theirs by now."""
        for name, its in self._joined.items():
            for network in its:
                if network not in self._layouts or (name, network) in self._router_addresses:
                    continue
                layout, owners = self._layouts[network], self._owners[network]
                address = draw(name, layout.routers, owners) or draw(name, layout.hosts, owners)
                if address:
                    self._router_addresses[name, network] = address
                    owners[address] = f"router `{name}`"
                else:
                    message = f"router `{name}`: network `{network}` ({layout.cidr}) is full; use a shorter prefix"
                    self._reader.error(("routers", name), message, of_key=True)

    def _claim(self, path: Path, network: str, address: IPv4Address, what: str) -> None:
        """Give the declared ``address`` to ``what``; report when somebody has it, or when it is the cloud's to give."""
        layout, owners = self._layouts[network], self._owners[network]
        if address in owners:
            self._reader.error(path, f"{what}: `{address}` is taken by {owners[address]}; choose another")
        elif layout.in_pool(address):
            first, last = layout.pool
            message = f"{what}: `{address}` is one of {first} to {last}, left to the cloud's own ports; choose another"
            self._reader.error(path, message)
        else:
            owners[address] = what

    # Hosts

    def _check_hosts(self) -> None:
        for name in self._reader.mapping("hosts"):
            path = ("hosts", name)
            what = f"host `{name}`"
            network = self._reader.text(*path, "network")
            if network and self._known_network((*path, "network"), network, what):
                self.network_of[name] = network
                if self._reader.true(*path, "floating_ip"):
                    self._check_floating(name, network)
            address = self._reader.address(*path, "address")
            if address and network in self.cidrs and self._on_subnet((*path, "address"), address, network, "address"):
                self._claim((*path, "address"), network, address, what)
                self.addresses[name] = address
            self._check_declared_routes(name, network, address)
            service = self._reader.text(*path, "service") or self._reader.text(*path, "service", "name") or ""
            if service in PORTS:
                port = self._reader.get(*path, "service", "port")
                self.services[name] = ServiceSpec(service, port if isinstance(port, int) else PORTS[service])

    def _check_floating(self, name: str, network: str) -> None:
        router = self._gateway_routers.get(network)
        if network not in self.cidrs or self._reader.refused("routers"):
            return
        if router is None:
            reason = f"no router joins network `{network}`"
        elif self._external(router):
            return
        else:
            reason = f"router `{router}`, the gateway of `{network}`, is not external"
        message = f"host `{name}` cannot have a floating address: {reason}; join an external router (`external: true`)"
        self._reader.error(("hosts", name, "floating_ip"), message)

    def _check_declared_routes(self, name: str, network: str | None, address: IPv4Address | None) -> None:
        seen: set[IPv4Network] = set()
        for path, _ in self._reader.items("hosts", name, "routes"):
            via = self._reader.address(*path, "via")
            on_subnet = via and network in self.cidrs and self._on_subnet((*path, "via"), via, network, "next hop")
            if on_subnet and via == address:
                self._reader.error((*path, "via"), f"next hop `{via}` is host `{name}` itself; name another")
            to = self._reader.prefix(*path, "to")
            if to is None:
                continue
            inside = next((other for other, cidr in self.cidrs.items() if cidr.overlaps(to)), None)
            message = None
            if to == ANYWHERE:
                message = f"`{to}` is the default route, which DHCP gives: remove it"
            elif inside:
                message = f"`{to}` overlaps network `{inside}`; routes inside the topology are derived: remove it"
            elif to in seen:
                message = f"host `{name}` has two routes to `{to}`; remove one"
            if message:
                self._reader.error((*path, "to"), message)
            seen.add(to)

    def _settle_hosts(self) -> None:
        """Give an address to every host that asks for none."""
        for name, network in self.network_of.items():
            if network not in self._layouts or self._reader.get("hosts", name, "address") is not None:
                continue
            layout, owners = self._layouts[network], self._owners[network]
            address = draw(name, layout.hosts, owners)
            if address:
                self.addresses[name] = address
                owners[address] = f"host `{name}`"
            else:
                message = f"host `{name}`: network `{network}` ({layout.cidr}) is full; use a shorter prefix"
                self._reader.error(("hosts", name), message, of_key=True)

    def _check_groups(self) -> None:
        self.groups["services"] = list(self.services)
        others = {name for section in ("networks", "routers", "hosts") for name in self._reader.mapping(section)}
        for host in self._reader.mapping("hosts"):
            for path, group in self._reader.items("hosts", host, "groups"):
                if not isinstance(group, str):
                    continue
                message = None
                if group in RESERVED or group.startswith("service_"):
                    reason = RESERVED.get(group, "the group of the hosts with that service")
                    message = f"group `{group}`: the name is taken, it is {reason}; choose another"
                elif group in others:
                    message = f"group `{group}`: something else has the same name; one name, one thing: rename one"
                elif host in self.groups.get(group, ()):
                    message = f"host `{host}` is in group `{group}` twice; remove one"
                if message:
                    self._reader.error(path, message)
                else:
                    self.groups.setdefault(group, []).append(host)
