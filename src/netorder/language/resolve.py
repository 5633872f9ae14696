"""Names, networks, routers and hosts: whether what the file says is possible, and who gets which address."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from netorder.ip import IPV4, VERSIONS
from netorder.language import schema
from netorder.language.assign import Addressing
from netorder.routing.graph import nearest_to_outside
from netorder.text import did_you_mean
from netorder.topology import PORTS, HostSpec, Interface, NetworkSpec, RouterSpec, ServiceSpec, SubnetSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.ip import Address, Prefix
    from netorder.language.document import Reader
    from netorder.language.yaml_source import Path

__all__ = ["Checker"]

LONGEST_NAME = 63  # of a DNS label (RFC 1123)
RESERVED = {
    "all": "Ansible's group of all hosts",
    "anywhere": "the word for everybody in `allow`",
    "bastions": "the group of the hosts that others are reached through",
    "external": "the word for the cloud's external network",
    "localhost": "every host's name for itself",
    "netorder": "the group of all hosts",
    "outside": "the word for everybody outside the topology",
    "services": "the group of all hosts with a service",
    "ungrouped": "Ansible's group of the hosts without one",
}
OUTSIDE = frozenset({"external", "ext", "ext-net", "external-network", "internet", "outside", "provider", "public"})
Declared = dict[str, list[tuple["Path", "Address"]]]  # network -> the addresses asked for, each with its place


class Checker:
    """Checks in the order of the file's sections, each relying on those before it; then gives what it settled.

    Names are known even when what they name is wrong, so that one mistake gives one error.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.networks: list[str] = list(reader.mapping("networks"))
        self.family: dict[str, list[str]] = {}  # what `hosts` declares -> the hosts that it stands for
        self.joined: dict[str, Declared] = {}  # router -> its networks
        self.external: set[str] = set()  # routers
        self.gateway_routers: dict[str, str] = {}
        self._router_addresses: dict[tuple[str, str, int], Address] = {}
        self._addresses: dict[tuple[str, str, int], Address] = {}  # of hosts
        self.networks_of: dict[str, list[str]] = {}  # of hosts: those of their networks that are known
        self.services: dict[str, ServiceSpec] = {}
        self.groups: dict[str, list[str]] = {}  # group -> its hosts

        self._count_hosts()
        self._check_names()
        self.addressing = Addressing(reader)
        self._check_networks()
        self._check_routers()
        self._settle_gateways()
        self.addressing.check_gateways()
        self._claim_router_addresses()
        self._check_hosts()
        self._settle_routers()
        self._settle_hosts()
        self._check_routes()
        self._check_groups()

    # What was settled; only when there is no error

    def network_specs(self) -> tuple[NetworkSpec, ...]:
        """Return the networks."""
        reader = self._reader
        specs = []
        for name in self.networks:
            servers = self._dns("networks", name, "dns_nameservers")
            if servers is None:
                servers = self._dns("defaults", "dns_nameservers") or []
            router = self.gateway_routers.get(name)
            subnets = []
            for version in self.addressing.versions(name):
                layout = self.addressing.layouts[name, version]
                dns = tuple(str(server) for server in servers if server.version == version)
                subnets.append(SubnetSpec(layout.cidr, layout.gateway if router else None, layout.pool, dns))
            where = reader.text("networks", name, "routes") or reader.text("defaults", "routes")
            specs.append(NetworkSpec(name, tuple(subnets), router, where or str(schema.default("where"))))
        return tuple(specs)

    def router_specs(self) -> tuple[RouterSpec, ...]:
        """Return the routers."""
        return tuple(
            RouterSpec(
                name,
                name in self.external,
                self._reader.text("routers", name, "external"),
                self._interfaces(name, its, self._router_addresses),
                self._declared_routes("routers", name),
            )
            for name, its in self.joined.items()
        )

    def host_specs(self) -> tuple[HostSpec, ...]:
        """Return the hosts."""
        return tuple(self._host(entry, name) for entry, name in self.hosts)

    def _host(self, entry: str, name: str) -> HostSpec:
        reader = self._reader

        def setting(key: str) -> str:
            return reader.text("hosts", entry, key) or reader.text("defaults", key) or str(schema.default(key))

        return HostSpec(
            name=name,
            interfaces=self._interfaces(name, self.networks_of[name], self._addresses),
            floating_ip=reader.true("hosts", entry, "floating_ip"),
            forward=reader.true("hosts", entry, "forward"),
            image=setting("image"),
            flavor=setting("flavor"),
            user=setting("user"),
            service=self.services.get(name),
            groups=tuple(str(group) for _, group in reader.items("hosts", entry, "groups")),
            routes=self._declared_routes("hosts", entry),
        )

    def _interfaces(
        self,
        name: str,
        networks: dict[str, object] | list[str] | Declared,
        addresses: dict[tuple[str, str, int], Address],
    ) -> tuple[Interface, ...]:
        return tuple(
            Interface(network, tuple(addresses[name, network, v] for v in self.addressing.versions(network)))
            for network in networks
        )

    def _declared_routes(self, section: str, name: str) -> tuple[tuple[Prefix, Address], ...]:
        found = []
        for path, _ in self._reader.items(section, name, "routes"):
            to, via = next(self._reader.prefixes(*path, "to"))[1], next(self._reader.addresses(*path, "via"))[1]
            found.append((to, via))
        return tuple(found)

    # Names

    @cached_property
    def hosts(self) -> list[tuple[str, str]]:
        """All hosts in order, each with the entry of the file that declares it."""
        return [(entry, name) for entry, names in self.family.items() for name in names]

    def _count_hosts(self) -> None:
        for entry in self._reader.mapping("hosts"):
            count = self._reader.get("hosts", entry, "count")
            names = [f"{entry}-{number}" for number in range(1, count + 1)] if isinstance(count, int) else [entry]
            self.family[entry] = names

    def _check_names(self) -> None:
        topology = self._reader.text("topology")
        kinds: dict[str, str] = {}
        for section in ("networks", "routers", "hosts"):
            kind = section[:-1]
            for entry in self._reader.mapping(section):
                names = [entry, *self.family[entry]] if section == "hosts" else [entry]
                message = None
                for name in dict.fromkeys(names):
                    message = message or self._wrong_name(section, name, kinds, topology)
                    kinds.setdefault(name, kind)
                if message:
                    self._reader.error((section, entry), f"{kind} {message}", of_key=True)

    def _wrong_name(self, section: str, name: str, kinds: dict[str, str], topology: str | None) -> str | None:
        full = f"{topology}-{name}"
        if name in RESERVED:
            return f"`{name}`: the name is taken, it is {RESERVED[name]}; choose another"
        if name in kinds:
            return f"`{name}`: a {kinds[name]} has the same name; one name, one thing: rename one"
        if section == "networks" and name == self._reader.text("external_network"):
            return f"`{name}`: the cloud's external network has this name; rename this one"
        if topology and len(full) > LONGEST_NAME and not self._reader.refused(section, name):
            return (
                f"`{name}`: its name in the cloud, `{full}`, has {len(full)} characters, and {LONGEST_NAME} are "
                "allowed; shorten it or the topology's name"
            )
        return None

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
        for name in self.networks:
            self._dns("networks", name, "dns_nameservers")

    def _dns(self, *path: str) -> list[Address] | None:
        if self._reader.get(*path) is None:
            return None
        return [server for _, server in self._reader.addresses(*path)]

    # Routers and gateways

    def _members(self, path: Path, user: str, verb: str) -> Declared:
        """Return the networks that the list or mapping at ``path`` names, with the addresses that it asks for."""
        its: Declared = {}
        networks = self._reader.get(*path)
        for index, network in enumerate(networks if isinstance(networks, dict | list) else ()):
            place = (*path, network if isinstance(networks, dict) else index)
            if not isinstance(network, str):
                continue
            if network in its:
                self._reader.error(place, f"{user} {verb} network `{network}` twice; remove one")
            elif self._known_network(place, network, user):
                its[network] = self._asked(place, network) if isinstance(networks, dict) else []
        return its

    def _asked(self, path: Path, network: str) -> list[tuple[Path, Address]]:
        """Return the addresses at ``path`` that can be used on the network; one for each IP version."""
        found: dict[int, tuple[Path, Address]] = {}
        for place, address in self._reader.addresses(*path):
            if address.version in found:
                message = f"`{address}` is a second IPv{address.version} address on network `{network}`; remove one"
                self._reader.error(place, message)
            elif self.addressing.on_subnet(place, address, network, "address"):
                found[address.version] = (place, address)
        return list(found.values())

    def _check_routers(self) -> None:
        for name in self._reader.mapping("routers"):
            path = ("routers", name, "networks")
            networks = self._reader.get(*path)
            if not isinstance(networks, dict | list):
                continue
            external = self._reader.get("routers", name, "external")
            if external or self._reader.refused("routers", name, "external"):
                self.external.add(name)
            its = self.joined[name] = self._members(path, f"router `{name}`", "joins")
            if not networks:
                self._reader.error(path, f"router `{name}` joins nothing; name its networks, or remove it")
            elif len(networks) == 1 and its and name not in self.external:
                message = f"router `{name}` joins `{next(iter(its))}` to nothing; add a network or `external: true`"
                self._reader.warning(("routers", name), message, of_key=True)

    def _settle_gateways(self) -> None:
        """Choose each network's gateway router and its addresses: the joined router that is nearest to the outside."""
        nearest = nearest_to_outside(self.networks, self.joined, self.external)
        for name in self.networks:
            routers = nearest[name]
            declared: dict[str, dict[int, Address]] = {
                router: {a.version: a for _, a in self.joined[router][name]} for router in routers
            }
            for version in self.addressing.versions(name):
                gateway = self.addressing.layouts[name, version].gateway
                if gateway is None:
                    continue
                able = [router for router in routers if declared[router].get(version) == gateway]
                able += [router for router in routers if version not in declared[router]]
                if not able and not self._reader.refused("routers"):
                    message = f"gateway `{gateway}`: no router has it on network `{name}`; give it to one, or remove it"
                    self._reader.error(("networks", name, "gateway"), message)
                routers = able
            if not routers:
                continue
            self.gateway_routers[name] = routers[0]
            for version in self.addressing.versions(name):
                layout = self.addressing.layouts[name, version]
                address = layout.gateway or declared[routers[0]].get(version) or layout.first
                self.addressing.set_gateway(name, routers[0], address)
                self._router_addresses[routers[0], name, version] = address

    def _claim_router_addresses(self) -> None:
        for name, its in self.joined.items():
            for network, asked in its.items():
                for path, address in asked:
                    key = name, network, address.version
                    if key not in self._router_addresses:
                        self.addressing.claim(path, network, address, f"router `{name}`")
                        self._router_addresses[key] = address

    def _settle_routers(self) -> None:
        """Give every router its other addresses; hosts and routers that ask for one have theirs by now."""
        for name, its in self.joined.items():
            for network in its:
                for version in self.addressing.versions(network):
                    if (name, network, version) in self._router_addresses:
                        continue
                    address = self.addressing.draw_router(("routers", name), name, network, version)
                    if address:
                        self._router_addresses[name, network, version] = address

    # Hosts

    def _check_hosts(self) -> None:
        for entry, names in self.family.items():
            path = ("hosts", entry)
            its = self._host_networks(entry)
            for name in names:
                self.networks_of[name] = list(its)
            self._claim_host_addresses(names, its)
            if self._reader.true(*path, "floating_ip") and its:
                self._check_floating(entry, next(iter(its)))
            if self._reader.true(*path, "forward"):
                self._check_forward(entry, list(its))
            service = self._reader.text(*path, "service") or self._reader.text(*path, "service", "name") or ""
            if service in PORTS:
                port = self._reader.get(*path, "service", "port")
                spec = ServiceSpec(service, port if isinstance(port, int) else PORTS[service])
                self.services |= dict.fromkeys(names, spec)

    def _host_networks(self, entry: str) -> Declared:
        reader, path = self._reader, ("hosts", entry)
        host = reader.mapping(*path)
        if "networks" in host:
            for key in ("network", "address"):
                if key in host:
                    message = f"host `{entry}` has `networks`, which says it all; put what `{key}` says there"
                    reader.error((*path, key), message, of_key=True)
            its = self._members((*path, "networks"), f"host `{entry}`", "is on")
        elif "network" in host:
            network = reader.text(*path, "network")
            known = network is not None and self._known_network((*path, "network"), network, f"host `{entry}`")
            its = {network: self._asked((*path, "address"), network)} if known and network else {}
        else:
            if not reader.refused(*path) or any(key not in schema.host_keys() for key in host):
                self._report_no_network(entry, host)
            its = {}
        return its

    def _report_no_network(self, entry: str, host: dict[str, object]) -> None:
        if isinstance(self._reader.get("hosts", entry), dict) and not did_you_mean(
            "network", host.keys() - schema.host_keys()
        ):
            message = f"host `{entry}` has no `network`; add `network:` with the name of a network"
            self._reader.error(("hosts", entry), message, of_key=True)

    def _claim_host_addresses(self, names: list[str], its: Declared) -> None:
        """Give the hosts of one entry the addresses that it asks for: to the first the first, to others the next."""
        for network, asked in its.items():
            for path, first in asked:
                for index, name in enumerate(names):
                    address = first + index
                    what = f"host `{name}`"
                    if index and not self.addressing.on_subnet(path, address, network, f"{what}: address"):
                        break
                    if self.addressing.claim(path, network, address, what) or not index:
                        self._addresses[name, network, address.version] = address

    def _check_floating(self, name: str, network: str) -> None:
        router = self.gateway_routers.get(network)
        if self._reader.refused("routers") or not self.addressing.versions(network):
            return
        path = ("hosts", name, "floating_ip")
        if IPV4 not in self.addressing.versions(network):
            message = (
                f"host `{name}` cannot have a floating address: its first network, `{network}`, has no IPv4 prefix"
            )
            self._reader.error(path, f"{message}; floating addresses are IPv4: give it one, or remove this")
            return
        if router is None:
            reason = f"no router joins network `{network}`"
        elif router in self.external:
            return
        else:
            reason = f"router `{router}`, the gateway of `{network}`, is not external"
        message = f"host `{name}` cannot have a floating address: {reason}; join an external router (`external: true`)"
        self._reader.error(path, message)

    def _check_forward(self, entry: str, networks: list[str]) -> None:
        its = self._reader.get("hosts", entry, "networks")
        if len(networks) > 1 or self._reader.refused("hosts", entry) or (isinstance(its, dict | list) and len(its) > 1):
            return
        message = f"host `{entry}` has one interface and nothing to route between; give it `networks:`, two or more"
        self._reader.error(("hosts", entry, "forward"), message)

    def _settle_hosts(self) -> None:
        """Give an address to every host that asks for none."""
        for entry, name in self.hosts:
            for network in self.networks_of[name]:
                if self._reader.refused("hosts", entry, "address"):
                    continue
                for version in self.addressing.versions(network):
                    if (name, network, version) not in self._addresses:
                        address = self.addressing.draw_host(("hosts", entry), name, network, version)
                        if address:
                            self._addresses[name, network, version] = address

    def address(self, host: str, network: str, version: int) -> Address | None:
        """Return a host's address on a network."""
        return self._addresses.get((host, network, version))

    def host_addresses(self, host: str) -> list[Address]:
        """Return all addresses of a host that are settled."""
        keys = [(host, network, v) for network in self.networks_of[host] for v in self.addressing.versions(network)]
        return [self._addresses[key] for key in keys if key in self._addresses]

    # Routes asked for by hand

    def _check_routes(self) -> None:
        for name, its in self.joined.items():
            keys = [(name, network, version) for network in its for version in self.addressing.versions(network)]
            mine = {self._router_addresses[key] for key in keys if key in self._router_addresses}
            self._check_declared("routers", name, list(its), mine)
        for entry, names in self.family.items():
            self._check_declared("hosts", entry, self.networks_of[names[0]], set(self.host_addresses(names[0])))

    def _check_declared(self, section: str, name: str, networks: list[str], mine: set[Address]) -> None:
        what = f"{section[:-1]} `{name}`"
        seen: set[Prefix] = set()
        for path, _ in self._reader.items(section, name, "routes"):
            to = next((to for _, to in self._reader.prefixes(*path, "to")), None)
            via = next((via for _, via in self._reader.addresses(*path, "via")), None)
            if to and via and to.version != via.version:
                message = f"next hop `{via}` is no IPv{to.version} address, and `{to}` is reached by one; name another"
                self._reader.error((*path, "via"), message)
            elif via and networks:
                self._check_next_hop((*path, "via"), via, what, networks, mine)
            if to is None:
                continue
            if wrong := self._wrong_destination(to, section, networks, seen, what):
                self._reader.error((*path, "to"), wrong)
            seen.add(to)

    def _check_next_hop(self, path: Path, via: Address, what: str, networks: list[str], mine: set[Address]) -> None:
        cidrs = [(cidr, network) for network in networks for cidr in self.addressing.cidrs(network)]
        if not cidrs:
            return
        on = [network for cidr, network in cidrs if via in cidr]
        if via in mine:
            self._reader.error(path, f"next hop `{via}` is {what} itself; name another")
        elif on:
            self.addressing.on_subnet(path, via, on[0], "next hop")
        elif len(cidrs) == 1:
            self.addressing.on_subnet(path, via, networks[0], "next hop")
        else:
            its = ", ".join(f"`{cidr}`" for cidr, _ in cidrs)
            self._reader.error(path, f"next hop `{via}` is on no network of {what} ({its}); name an address on one")

    def _wrong_destination(
        self, to: Prefix, section: str, networks: list[str], seen: set[Prefix], what: str
    ) -> str | None:
        if to.prefixlen == 0:
            gives = "which DHCP gives" if section == "hosts" else "which an external router has"
            return f"`{to}` is the default route, {gives}: remove it"
        if to in seen:
            return f"{what} has two routes to `{to}`; remove one"
        low, high = int(to.network_address), int(to.broadcast_address)
        inside = next(
            (
                (name, cidr)
                for name in self.networks
                for cidr in self.addressing.cidrs(name)
                if cidr.version == to.version
                and int(cidr.network_address) <= high
                and low <= int(cidr.broadcast_address)
            ),
            None,
        )
        if inside is None:
            return None
        name, cidr = inside
        if name in networks:
            return f"`{to}` overlaps network `{name}`, which {what} is on; remove it"
        if section == "routers" or to != cidr:
            return f"`{to}` overlaps network `{name}`; routes inside the topology are derived: remove it"
        return None  # asked for by hand: compared with what is derived, once that is known

    # Groups

    def _check_groups(self) -> None:
        self.groups["services"] = list(self.services)
        others = {name for section in ("networks", "routers", "hosts") for name in self._reader.mapping(section)}
        others |= {name for _, name in self.hosts}
        for entry, names in self.family.items():
            for path, group in self._reader.items("hosts", entry, "groups"):
                if not isinstance(group, str):
                    continue
                message = None
                if group in RESERVED or group.startswith("service_"):
                    reason = RESERVED.get(group, "the group of the hosts with that service")
                    message = f"group `{group}`: the name is taken, it is {reason}; choose another"
                elif group in others:
                    message = f"group `{group}`: something else has the same name; one name, one thing: rename one"
                elif names[0] in self.groups.get(group, ()):
                    message = f"host `{entry}` is in group `{group}` twice; remove one"
                if message:
                    self._reader.error(path, message)
                else:
                    self.groups.setdefault(group, []).extend(names)

    # Who meets whom

    @cached_property
    def _parts(self) -> dict[int, dict[str, str]]:
        """For each IP version a name of the part that each network is in: equal where some way joins them."""
        answer = {}
        for version in VERSIONS:
            leader = {name: name for name in self.networks if version in self.addressing.versions(name)}

            def find(name: str, leader: dict[str, str] = leader) -> str:
                while leader[name] != name:
                    leader[name] = name = leader[leader[name]]
                return name

            for its in self._joining():
                known = [name for name in its if name in leader]
                for other in known[1:]:
                    leader[find(other)] = find(known[0])
            answer[version] = {name: find(name) for name in leader}
        return answer

    def _joining(self) -> Iterator[list[str]]:
        yield from (list(its) for its in self.joined.values())
        for entry, names in self.family.items():
            if self._reader.true("hosts", entry, "forward"):
                yield self.networks_of[names[0]]

    def meet(self, one: str, other: str) -> bool:
        """Tell whether some way joins two networks, in any IP version; also when it cannot be known."""
        if self._reader.refused("routers") or not (self.addressing.versions(one) and self.addressing.versions(other)):
            return True
        return any(one in part and other in part and part[one] == part[other] for part in self._parts.values())
