"""From what a project has to the lines of a topology, each with what it is about; what no line can say is noted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from netorder.cloud.importing.ask import interfaces
from netorder.cloud.importing.lines import Line, flow, scalar
from netorder.cloud.importing.names import reference
from netorder.cloud.importing.rules import Member, RuleMaker, Rules
from netorder.cloud.importing.subnets import subnets_of
from netorder.cloud.observe import is_neutrons_own, is_router_port
from netorder.cloud.resources.server import METADATA
from netorder.cloud.resources.server_group import policy_of
from netorder.ip import IPV4, IPV6, SLAAC, covers, joined
from netorder.language.prefixes import MOST_OF_POOL
from netorder.language.subnet_layout import FEWEST, Layout
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from netorder.cloud.importing.ask import Project
    from netorder.cloud.importing.lines import Key
    from netorder.cloud.importing.names import Names
    from netorder.ip import Prefix

__all__ = ["convert"]

SETTINGS = ("image", "flavor", "user", "config_drive")
USER = "debian"  # the language's default
# whom public images let in, by a word of the image's name: asked for only where the image itself does not say
USERS = {
    "debian": USER, "ubuntu": "ubuntu", "fedora": "fedora", "rocky": "rocky", "alma": "almalinux", "cirros": "cirros",
}  # fmt: skip
ZONE = "nova"  # Nova's default zone, which nobody has to ask for
POOL = 8  # addresses left to the cloud where hosts have those that it would have: as many as the language leaves
Said = tuple[object, str]  # a value, and a note


def convert(project: Project, names: Names, out: Mapping[Key, str]) -> tuple[list[Line], list[str]]:
    """Return the file's lines, and what they do not say; rules do not count on hosts and networks in ``out``."""
    converter = _Converter(project, names, out)
    lines = [*converter.lines()]
    return lines, [*converter.notes]


class _Converter:
    def __init__(self, project: Project, names: Names, out: Mapping[Key, str]) -> None:
        self.project = project
        self.names = names
        self.out = out
        self.notes: dict[str, None] = {}
        self.interfaces = interfaces(project)
        subnets = {id_: self._subnets_of(id_) for id_ in names.networks}
        self.subnets = {id_: its for id_, its in subnets.items() if its}
        self.prefixes: list[Prefix] = [ip_network(one.cidr) for its in self.subnets.values() for one in its.values()]
        self.hosts = {id_: its for id_ in names.servers if (its := self._ports_of(id_))}
        self.external, self.per_router = self._external_networks()
        self.settings = {id_: self._settings(names.servers[id_]) for id_ in self.hosts}
        self.shared = self._shared()
        self.zones = {one.availability_zone for one in names.servers.values()}

    def lines(self) -> Iterator[Line]:
        """Yield the lines, in the order of the file."""
        yield Line((), 0, f"topology: {scalar(self.names.topology)}")
        if self.external:
            yield Line(("external_network",), 0, f"external_network: {flow(self.external)}")
        rules = self._rules()
        yield from _section("defaults", self._defaults())
        yield from _section("networks", (line for id_ in self.names.networks for line in self._network(id_)))
        yield from _section("routers", (line for id_ in self.names.routers for line in self._router(id_)))
        yield from _section("hosts", (line for id_ in self.names.servers for line in self._host(id_, rules)))
        for section, entries in (("allow", rules.allow), ("egress", rules.egress)):
            yield from _section(section, (Line((section, text), 1, f"- {text}") for text in map(flow, entries)))
        for note in rules.notes:
            self._note(note)
        self._note_others()

    def _note(self, text: str) -> None:
        self.notes[text] = None

    def _said(self, id_: str) -> str:
        return self.names.called[id_]

    def _otherwise(self, one: Any) -> str:  # noqa: ANN401 - a resource
        """Return what something is called in the cloud, where the file calls it otherwise."""
        mine = str(one.name or "").removeprefix(self.names.prefix)
        return "" if mine == self._said(one.id) else f"{one.name or one.id} in the cloud"

    def _word(self, kind: str, one: Any, sep: str = "-") -> str:  # noqa: ANN401 - a resource
        """Return the name of what is named only where a line needs it."""
        if one.id not in self.names.called:
            self.names.called[one.id] = self.names.name(kind, one, self.names.prefix, sep)
        return self.names.called[one.id]

    # Networks

    def _subnets_of(self, id_: str) -> dict[int, Any]:
        """Return the subnet of each IP version that a network of the file has."""
        network = self.names.networks[id_]
        if id_ in self.names.parents:
            return {IPV4: next(one for one in self.project.subnets if one.id == id_)}
        kept, others = subnets_of(self.project, network)
        for one in others if id_ not in self.names.existing else ():
            if one.id not in self.names.parents:
                why = f"a network has one prefix of each IP version, and {kept[int(one.ip_version)].cidr} is written"
                self._note(f"network {network.name}: its subnet {one.cidr}: {why}")
        if not kept:
            self._note(f"network {network.name or network.id}: it has no subnet that this login sees")
        return kept

    def _network(self, id_: str) -> Iterator[Line]:
        if id_ not in self.subnets:
            return
        network, name, its = self.names.networks[id_], self._said(id_), self.subnets[id_]
        foreign = id_ in self.names.existing
        key = ("networks", name)

        def line(word: str, value: object, note: str = "") -> Line:
            return Line((*key, word), 2, f"{word}: {flow(value)}", note)

        yield Line(key, 1, f"{name}:", "" if foreign else self._otherwise(network))
        if id_ in self.names.parents:
            yield line("subnet_of", self._said(self.names.parents[id_]))
        elif foreign:
            there = reference(network, self.project.networks)
            yield line("existing", True if there == name else there)
        yield line("cidr", _one_or_all(str(ip_network(one.cidr)) for one in its.values()))
        if gateways := self._gateways(id_):
            yield line("gateway", _one_or_all(gateways))
        if IPV6 in its and its[IPV6].ipv6_address_mode in SLAAC:
            yield line("ipv6_address_mode", its[IPV6].ipv6_address_mode)
        if foreign:
            if network.is_router_external:
                yield line("reachable", True)
            return
        yield from self._own(id_, line)

    def _own(self, id_: str, line: Any) -> Iterator[Line]:  # noqa: ANN401 - a function
        """Yield what only a network of the topology's own has."""
        network, its = self.names.networks[id_], self.subnets[id_]
        dhcp = [one.is_dhcp_enabled is not False for one in its.values()]
        if not dhcp[0]:
            yield line("dhcp", False)
        if len({*dhcp}) > 1:
            self._note(f"network {network.name}: DHCP of one IP version alone, as `dhcp` is of both")
        if IPV4 in its and (pool := self._pool(id_, its[IPV4], dhcp=dhcp[0])):
            yield line("allocation_pool", f"{pool[0]}-{pool[1]}")
        if servers := [*dict.fromkeys(str(server) for one in its.values() for server in one.dns_nameservers or ())]:
            yield line("dns_nameservers", servers)
        others = self.names.existing | self.names.parents.keys()
        mtus = Counter(one.mtu for other, one in self.names.networks.items() if other not in others)
        usual = mtus.most_common(1)[0][0]
        if id_ in self.names.parents:
            pass  # its network's
        elif network.mtu and network.mtu != usual:
            yield line("mtu", network.mtu)
        elif usual:
            self._note(f"MTU {usual}, which is taken for the cloud's own")
        if IPV4 in its and its[IPV4].host_routes:
            yield line("routes", "subnet", "handed out by DHCP; which ones follows from the rest")
        if network.is_admin_state_up is False:
            self._note(f"network {network.name}: it is switched off (admin_state_up)")

    def _joining(self, id_: str) -> dict[str, str]:
        """Return the routers of the file on a network, by their addresses there."""
        return {
            str(ip_address(fixed["ip_address"])): self._said(router)
            for router in self.names.routers
            for port in self.interfaces.get(router, ())
            if self.names.on(port) == id_
            for fixed in port.fixed_ips or ()
        }

    def _gateways(self, id_: str) -> list[str]:
        """Return the gateways to write: of an own network a router's, and only where that does not follow."""
        name, its = self._said(id_), self.subnets[id_]
        there = {str(ip_address(one.gateway_ip)): one for one in its.values() if one.gateway_ip}
        if id_ in self.names.existing:
            return [*there]
        joining = self._joining(id_)
        if joining:
            for version, one in its.items():
                if not one.gateway_ip:
                    self._note(f"network {name}: that it has no IPv{version} gateway; a router that joins one has it")
            for address in there:
                if address not in joining:
                    self._note(f"network {name}: its gateway {address}, which no router that joins it has")
        every = {str(ip_network(one.cidr).network_address) for one in its.values()}  # Neutron takes it with SLAAC
        known = [address for address in there if address in joining and address not in every]
        first = {str(ip_network(one.cidr).network_address + 1) for one in its.values()}
        return [] if {*known} <= first and len({*joining.values()}) == 1 else known

    def _pool(self, id_: str, subnet: Any, *, dhcp: bool) -> tuple[object, object] | None:  # noqa: ANN401 - a resource
        """Return the allocation pool to write, if any: the cloud's, or one that leaves out what hosts have.

        Neutron gives hosts addresses of its pool; in the language nobody has one of those.
        """
        cidr = ip_network(subnet.cidr)
        gateway = ip_address(subnet.gateway_ip) if subnet.gateway_ip in self._joining(id_) else None
        usual = Layout(cidr, gateway, dhcp=dhcp).pool
        if usual is None:
            return None
        taken = sorted({int(one) for one in self._taken(id_) if one in cidr} | ({int(gateway)} if gateway else set()))
        least = FEWEST if dhcp else 1

        def fits(low: int, high: int) -> bool:
            return least <= high - low + 1 <= MOST_OF_POOL and not any(low <= one <= high for one in taken)

        pools = [(ip_address(one["start"]), ip_address(one["end"])) for one in subnet.allocation_pools or ()]
        if len(pools) == 1 and fits(*map(int, pools[0])):
            return None if pools[0] == usual else pools[0]
        if fits(*map(int, usual)):
            return None
        ends = [int(cidr.network_address), *taken, int(cidr.broadcast_address)]
        gaps = [(one + 1, other - 1) for one, other in pairwise(ends) if other - one > least]
        if not gaps:
            return None  # the parser says what that means for whom
        low, high = max(gaps, key=lambda gap: (min(gap[1] - gap[0] + 1, POOL), gap))
        return IPv4Address(max(low, high - POOL + 1)), IPv4Address(high)

    def _taken(self, id_: str) -> Iterator[Any]:
        """Yield the addresses of those in the file on a network, shared ones too."""
        for port in self.project.ports:
            mine = port.device_id in self.names.servers or (is_router_port(port) and port.device_id in self.interfaces)
            if self.names.on(port) == id_ and mine:
                yield from (ip_address(fixed["ip_address"]) for fixed in port.fixed_ips or ())
                yield from (address.network_address for address in _pairs(port) if _is_one(address))

    def _addresses(self, who: str, network: str, ports: Iterable[Any]) -> list[str]:
        """Return what can be said of ports' addresses on a network: one of each IP version."""
        kept: dict[int, str] = {}
        for port in ports:
            for fixed in port.fixed_ips or ():
                address = ip_address(fixed["ip_address"])
                subnet = self.subnets[network].get(address.version)
                if subnet is None or subnet.id != fixed.get("subnet_id"):
                    known = any(
                        one.id == fixed.get("subnet_id") for its in self.subnets.values() for one in its.values()
                    )
                    why = (
                        "of another subnet of its network than the rest" if known else "on a subnet that is not written"
                    )
                    self._note(f"{who}: {address}, {why}")
                elif address.version in kept:
                    self._note(f"{who}: {address}, a second IPv{address.version} address on one network")
                elif address == ip_network(subnet.cidr).network_address:
                    self._note(f"{who}: {address}, which is every router's there; it gets another")
                elif address.version == IPV6 and self._is_neutrons(network, subnet, address):
                    self._note(f"{who}: {address}: ::100 to ::1ff are left to the cloud's own ports; it gets another")
                else:
                    kept[address.version] = str(address)
        return [kept[version] for version in sorted(kept)]

    def _is_neutrons(self, network: str, subnet: Any, address: Any) -> bool:  # noqa: ANN401 - a resource, an address
        return Layout(ip_network(subnet.cidr), None, existing=network in self.names.existing).in_pool(address)

    # Routers

    def _external_networks(self) -> tuple[str, bool]:
        """Return the external network to name for all, and whether routers name their own instead."""
        known = [one for one in self.project.networks if one.is_router_external]
        own = [one for id_, one in self.names.routers.items() if id_ not in self.names.existing]
        used = {info["network_id"] for one in own if (info := one.external_gateway_info or {}).get("network_id")}
        if len(known) < 2 or not used:  # noqa: PLR2004 - the only one need not be named
            return "", False
        only = [one for one in known if one.id in used]
        return (reference(only[0], self.project.networks), False) if len(used) == len(only) == 1 else ("", True)

    def _router(self, id_: str) -> Iterator[Line]:
        router, name = self.names.routers[id_], self._said(id_)
        foreign, key = id_ in self.names.existing, ("routers", name)
        joins: dict[str, list[Any]] = {}
        for port in self.interfaces.get(id_, ()):
            if (on := self.names.on(port)) in self.subnets:
                joins.setdefault(on, []).append(port)
        if not joins:
            self._note(f"router {router.name or router.id}: it joins no network of the file")
            return
        yield Line(key, 1, f"{name}:", "" if foreign else self._otherwise(router))
        if foreign:
            there = reference(router, self.project.routers)
            yield Line((*key, "existing"), 2, f"existing: {flow(True if there == name else there)}")
        info = router.external_gateway_info or {}
        if info.get("network_id"):
            fixed = few([one["ip_address"] for one in info.get("external_fixed_ips") or ()])
            note = "" if foreign or not fixed else f"at {fixed} in the cloud"
            yield Line((*key, "external"), 2, f"external: {flow(True if foreign else self._outside(info))}", note)
        yield Line((*key, "networks"), 2, "networks:")
        for network in (one for one in self.subnets if one in joins):
            addresses = self._addresses(f"router {name}", network, joins[network])
            value = flow(_one_or_all(addresses) if addresses else {})
            yield Line((*key, "networks", self._said(network)), 3, f"{self._said(network)}: {value}")
        if routes := [] if foreign else [*self._routes(router)]:
            yield Line((*key, "routes"), 2, "routes:")
            yield from (Line((*key, "routes", text), 3, f"- {text}") for text in map(flow, routes))
        if router.is_admin_state_up is False:
            self._note(f"router {router.name}: it is switched off (admin_state_up)")

    def _outside(self, info: Mapping[str, Any]) -> object:
        network = next((one for one in self.project.networks if one.id == info["network_id"]), None)
        said = reference(network, self.project.networks) if network else str(info["network_id"])
        if info.get("enable_snat") is False:
            return ({"network": said} if self.per_router else {}) | {"snat": False}
        return said if self.per_router else True

    def _routes(self, router: Any) -> Iterator[dict[str, str]]:  # noqa: ANN401 - a resource
        """Yield a router's routes to the outside: those to networks of the file follow from the file."""
        for route in sorted(router.routes or (), key=lambda route: str(route["destination"])):
            to = ip_network(route["destination"])
            within = [prefix for prefix in self.prefixes if covers(to, prefix)]
            if not any(covers(prefix, to) for prefix in self.prefixes) and (not within or joined(within) != [to]):
                yield {"to": str(to), "via": str(route["nexthop"])}

    # Hosts

    def _ports_of(self, id_: str) -> dict[str, Any]:
        """Return a server's ports by their networks, in the order of its interfaces."""
        server = self.names.servers[id_]
        listed = [one for its in (server.addresses or {}).values() for one in its]
        macs = [str(one.get("OS-EXT-IPS-MAC:mac_addr")).lower() for one in listed]
        order = {mac: place for place, mac in reversed([*enumerate(macs)])}
        ports = [port for port in self.project.ports if port.device_id == id_]
        ports.sort(key=lambda port: (order.get(str(port.mac_address).lower(), len(order)), str(port.id)))
        found: dict[str, Any] = {}
        for port in ports:
            if (on := self.names.on(port)) not in self.subnets:
                continue
            if any(port.network_id == other.network_id for other in found.values()):
                named = few([str(fixed["ip_address"]) for fixed in port.fixed_ips or ()])
                self._note(f"server {server.name}: its second port on one network ({named})")
            else:
                found[on] = port
        if not found:
            self._note(f"server {server.name}: it has no port on a network of the file")
        return found

    def _settings(self, server: Any) -> dict[str, Said]:  # noqa: ANN401 - a resource
        """Return what all servers may have the same, as far as it is known."""
        found: dict[str, Said] = {}
        made_from = str((server.image and server.image.id) or "")
        image = self.project.images.get(made_from)
        noted = str((server.metadata or {}).get(METADATA["image"], ""))
        if image and image.name:
            found["image"] = (image.name if image.named == 1 else image.id, "" if image.named == 1 else image.name)
        elif made_from:
            found["image"] = (made_from, "that image is no longer there: name another")
        else:
            self._note(f"server {server.name}: it starts from a volume, and hosts start from images: name an `image`")
        flavor = server.flavor and (server.flavor.original_name or server.flavor.name)
        if flavor:
            found["flavor"] = (str(flavor), "")
        else:
            self._note(f"server {server.name}: its flavor, which the cloud does not name")
        name = (image.name if image else "") or noted
        user = (image.user if image else "") or next((its for word, its in USERS.items() if word in name.lower()), "")
        if user and user != USER:
            found["user"] = (user, "" if image and image.user else "by the image's name")
        elif not user:
            self._note(f"user of image {name or made_from or 'of a volume'}: `{USER}`, unless you write `user:`")
        if server.has_config_drive in (True, "True"):
            found["config_drive"] = (True, "")
        return found

    def _shared(self) -> dict[str, Said]:
        """Return the settings that all hosts have."""
        several = len(self.settings) > 1
        found = {}
        for key in SETTINGS:
            its = [one.get(key) for one in self.settings.values()]
            if several and its[0] is not None and all(one == its[0] for one in its):
                found[key] = its[0]
        return found

    def _defaults(self) -> Iterator[Line]:
        for key, (value, note) in self.shared.items():
            yield Line(("defaults", key), 1, f"{key}: {flow(value)}", note)

    def _host(self, id_: str, rules: Rules) -> Iterator[Line]:
        if id_ not in self.hosts:
            return
        server, name, ports = self.names.servers[id_], self._said(id_), self.hosts[id_]
        key = ("hosts", name)

        def line(word: str, value: object, note: str = "") -> Line:
            return Line((*key, word), 2, f"{word}: {flow(value)}", note)

        yield Line(key, 1, f"{name}:", self._otherwise(server))
        addresses = {one: self._addresses(f"host {name}", one, [port]) for one, port in ports.items()}
        if len(ports) == 1:
            ((network, mine),) = addresses.items()
            yield line("network", self._said(network))
            if mine:
                yield line("address", _one_or_all(mine))
        else:
            yield Line((*key, "networks"), 2, "networks:")
            for network, mine in addresses.items():
                value = flow(_one_or_all(mine) if mine else {})
                yield Line((*key, "networks", self._said(network)), 3, f"{self._said(network)}: {value}")
        yield from self._filtering(id_, name, line)
        yield from self._floating(id_, name, line)
        if name in rules.groups:
            yield line("groups", rules.groups[name])
        for word, said in self.settings[id_].items():
            if word not in self.shared:
                yield line(word, *said)
        yield from self._start(server, line)

    def _filtering(self, id_: str, name: str, line: Any) -> Iterator[Line]:  # noqa: ANN401 - a function
        """Yield what passes a host's ports besides what rules say."""
        ports = [*self.hosts[id_].values()]
        if self._forwards(id_):
            yield line("forward", True, "its ports pass other addresses than its own")
        if virtual := self._virtual(self.hosts[id_]):
            yield line("virtual_addresses", _one_or_all(virtual))
        others = [
            str(one) for port in ports for one in _pairs(port) if not self._is_shared(port, one)
        ] if not self._forwards(id_) else []  # fmt: skip
        if others:
            self._note(f"host {name}: what else passes its ports (allowed address pairs): {few(others)}")
        open_ports = [not _is_filtered(port) for port in ports]
        if all(open_ports):
            yield line("port_security", False)
        elif any(open_ports):
            self._note(f"host {name}: one of its ports has no port security, and `port_security` is of all")
        groups = [{*(port.security_group_ids or ())} for port in ports]
        if any(one != groups[0] for one in groups):
            self._note(f"host {name}: its ports have different security groups; here each has the rules of all")
        known = {one.id for one in self.project.groups}
        if theirs := sorted({id_ for its in groups for id_ in its} - known):
            yield line("security_groups", theirs, "of another project")

    def _forwards(self, id_: str) -> bool:
        """Return whether a host with several interfaces lets whole prefixes pass."""
        ports = [*self.hosts[id_].values()]
        return len(ports) > 1 and any(not _is_one(one) for port in ports for one in _pairs(port))

    def _virtual(self, ports: Mapping[str, Any]) -> list[str]:
        """Return the addresses that a host may have beside its own."""
        its = ((port, one) for port in ports.values() for one in _pairs(port))
        return [*dict.fromkeys(str(one.network_address) for port, one in its if self._is_shared(port, one))]

    def _is_shared(self, port: Any, prefix: Prefix) -> bool:  # noqa: ANN401 - a resource
        its = [ip_network(one.cidr) for one in self.subnets[self.names.on(port)].values()]
        mine = {str(ip_address(fixed["ip_address"])) for fixed in port.fixed_ips or ()}
        there = any(covers(one, prefix) for one in its)
        return _is_one(prefix) and there and str(prefix.network_address) not in mine

    def _floating(self, id_: str, name: str, line: Any) -> Iterator[Line]:  # noqa: ANN401 - a function
        found: dict[str, Any] = {}
        for network, port in self.hosts[id_].items():
            its = [one for one in self.project.floating_ips if one.port_id == port.id]
            for one in its[1:]:
                self._note(f"host {name}: floating address {one.floating_ip_address}, a second one on one network")
            if its:
                found[network] = its[0]
        if not found:
            return
        note = f"{few([str(one.floating_ip_address) for one in found.values()])} in the cloud"
        if [*found] == [*self.hosts[id_]][:1]:
            yield line("floating_ip", True, note)
        else:
            yield line("floating_ip", [{"network": self._said(network)} for network in found], note)

    def _start(self, server: Any, line: Any) -> Iterator[Line]:  # noqa: ANN401 - a resource, a function
        """Yield how a server is started."""
        group = next((one for one in self.project.server_groups if server.id in (one.member_ids or ())), None)
        if group:
            yield line("server_group", {"name": self._word("group", group), "policy": policy_of(group)})
        if server.availability_zone and self.zones != {ZONE}:
            yield line("availability_zone", server.availability_zone)
        metadata = {key: str(value) for key, value in sorted((server.metadata or {}).items())}
        if mine := {key: value for key, value in metadata.items() if not key.startswith("netorder_")}:
            yield line("metadata", mine)
        if tags := sorted(str(tag) for tag in server.tags or () if not str(tag).startswith("netorder:")):
            yield line("tags", tags)
        if server.attached_volumes:
            self._note(f"server {server.name}: its volumes")
        if server.status == "ERROR":
            self._note(f"server {server.name}: that it is in ERROR")

    # Rules, and the rest

    def _rules(self) -> Rules:
        members, joints = [], []
        for id_, ports in self.hosts.items():
            name = self._said(id_)
            live = {one: port for one, port in ports.items() if ("networks", self._said(one)) not in self.out}
            if ("hosts", name) in self.out or not live:
                continue
            groups = frozenset(group for port in live.values() for group in port.security_group_ids or ())
            addresses = [
                one for network, port in live.items() for one in self._addresses(f"host {name}", network, [port])
            ]
            on = tuple(map(self._said, live))
            filtered = any(_is_filtered(port) for port in live.values())
            members.append(Member(name, on, tuple(addresses), groups, filtered, tuple(self._virtual(live))))
            joints += [on] if self._forwards(id_) else []
        for id_ in self.names.routers:
            if ("routers", self._said(id_)) not in self.out:
                its = {self.names.on(port) for port in self.interfaces.get(id_, ())}
                joints.append(tuple(self._said(one) for one in self.subnets if one in its))
        networks = {
            self._said(id_): [str(ip_network(one.cidr)) for one in its.values()]
            for id_, its in self.subnets.items()
            if ("networks", self._said(id_)) not in self.out
        }
        used = {group for member in members for group in member.groups}
        called = {one.id: self._word("group", one, "_") for one in self.project.groups if one.id in used}
        for one in self.project.groups:
            if one.id not in used and one.name != "default" and str(one.name).startswith(self.names.prefix):
                self._note(f"security group {one.name}: no host of the file has it")
        # a group in a rule stands for its members' addresses, and those of nobody in the file mean nothing there
        in_file = {self.names.servers[id_].id for id_ in self.hosts if ("hosts", self._said(id_)) not in self.out}
        there = {id_ for id_ in self.subnets if ("networks", self._said(id_)) not in self.out}
        near = tuple(
            port
            for port in self.project.ports
            if (its_on := self.names.on(port)) in there and (port.device_id in in_file or its_on in self.names.existing)
        )
        return RuleMaker(replace(self.project, ports=near), members, networks, joints, called).made()

    def _note_others(self) -> None:
        """Note what of the project is of no kind that a topology has."""
        for port in self.project.ports:
            owner = str(port.device_owner or "")
            plain = is_neutrons_own(port) or is_router_port(port) or owner.startswith(("network:", "compute:"))
            if not plain and (id_ := self.names.on(port)) in self.subnets:
                on = self._said(id_)
                self._note(f"port {port.name or port.id} ({owner or 'not in use'}) on network {on}")
        hosts = {port.id for ports in self.hosts.values() for port in ports.values()}
        for one in () if self.names.prefix else self.project.floating_ips:
            if one.port_id not in hosts:
                where = f"to port {one.port_id}, which is no host's" if one.port_id else "nowhere"
                self._note(f"floating address {one.floating_ip_address}: it leads {where}")
        if self.hosts:
            self._note("user data, which Nova gives back to administrators alone; what is inside the servers")
            self._note("key pairs: a topology has one of its own, unless `key_pair:` names one")


def _section(name: str, lines: Iterable[Line]) -> Iterator[Line]:
    """Yield a section with a blank line before it, nothing where it is empty."""
    its = [*lines]
    if its:
        yield from (Line((), 0, ""), Line((), 0, f"{name}:"), *its)


def _one_or_all(values: Iterable[object]) -> object:
    its = [*values]
    return its[0] if len(its) == 1 else its


def _pairs(port: Any) -> list[Prefix]:  # noqa: ANN401 - a resource
    return [ip_network(pair["ip_address"], strict=False) for pair in port.allowed_address_pairs or ()]


def _is_one(prefix: Prefix) -> bool:
    return prefix.prefixlen == prefix.max_prefixlen


def _is_filtered(port: Any) -> bool:  # noqa: ANN401 - a resource
    """Return whether a port has port security; a cloud without that extension says nothing, which reads as off."""
    return bool(port.is_port_security_enabled or port.security_group_ids)
