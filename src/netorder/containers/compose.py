"""A plan as a compose file: networks with their prefixes, routers and hosts' networks as containers, applications.

What a host is to others, its addresses, routes and filters, is a container of its own (``HOST.network``), whose network
the containers of its applications join: they need no capability, and cannot change what filters them. Pure.
"""

from __future__ import annotations

import hashlib
import os.path
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from netorder.analysis.probes import listens_on
from netorder.analysis.reach import Matrix
from netorder.containers.wanted import (
    SPACE,
    dport,
    image_name,
    let_in_by,
    let_out_by,
    mac,
    port_range,
    published_ports,
    rules_in_guise,
)
from netorder.errors import Diagnostic, NetorderError, TopologyError
from netorder.ip import IPV4, overlap
from netorder.plan.model import Endpoint
from netorder.text import few
from netorder.topology import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from netorder.containers.wanted import Published
    from netorder.plan.model import Application, Container, Host, Network, Plan, Router, Rule

__all__ = ["compose", "outside_prefix"]

OUTSIDE = "outside"
READY = "/run/netorder-ready"
_ANYWHERE = "0.0.0.0"  # noqa: S104 - what is listened on, not by us
_PRIVILEGED = 1024
_FORWARDS = {"net.ipv4.ip_forward": "1"}
_LOOSE = {"net.ipv4.conf.all.rp_filter": "2"}
_ANSWERS = 1  # mark and routing table of what answers outsiders
_NEEDS = "podman-compose 1.3.0 or later, or Docker Compose 2.24.0 or later with Docker Engine 25"
_AGAIN = 5  # s before what ends is restarted, or its log would fill
HEAD = """\
# {topology}: written by `netorder compose` from the plan of {file}. Yours to keep and to change.
#
#   podman-compose -f FILE up -d     or: docker compose -f FILE up -d
#   podman-compose -f FILE down      or: docker compose -f FILE down
#
# HOST.network and router.NAME hold addresses, routes and filters, and alone have a capability, NET_ADMIN. They need ip,
# nft and sleep: NETORDER_IMAGE names an image with these, else it is the one that `make container-image` makes.
#
# It needs {needs}.
# Others give no MAC addresses by network, so that the filters would drop all: HOST.network and router.NAME say so, and
# end. Each network is a bridge on the machine that runs this, which reaches nothing else by these prefixes then.
#
# Docker drops what the routers here forward (a packet on a network from another one's address), until a rule lets
# bridged packets pass; podman needs none:  iptables -I DOCKER-USER -m physdev --physdev-is-bridged -j ACCEPT
"""


def outside_prefix(plan: Plan) -> IPv4Network | None:
    """Return the prefix of the routers' outside, which the topology's name draws; None where none is free."""
    own = plan.own
    many = list(SPACE.subnets(new_prefix=24))
    first = int(hashlib.sha256(plan.topology.encode()).hexdigest(), 16) % len(many)
    drawn = (many[(first + number) % len(many)] for number in range(len(many)))
    return next((one for one in drawn if not any(overlap(one, its) for its in own)), None)


def compose(plan: Plan, outside: IPv4Network, directory: str, file: str) -> str:
    """Return the compose file. ``directory`` is that of the topology ``file``, relative to the compose file's.

    Raises TopologyError where an application has no `container`, NetorderError where a network has no address left for
    its bridge.
    """
    missing: dict[str, tuple[Application, list[str]]] = {}
    for host in plan.hosts:
        for one in host.applications:
            if one.container is None:
                missing.setdefault(one.name, (one, []))[1].append(host.name)
    if missing:
        raise TopologyError(_no_container(one, hosts) for one, hosts in missing.values())
    whole = _Writer(plan, outside, directory).whole()
    text = yaml.dump(whole, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=120, allow_unicode=True)
    for name in _COMMON:  # PyYAML writes no merge keys
        text = text.replace(f"x-{name}:\n", f"x-{name}: &{name}\n").replace(f"'<<': '*{name}'", f"<<: *{name}")
    return HEAD.format(topology=plan.topology, file=file, needs=_NEEDS) + text


def _no_container(one: Application, hosts: list[str]) -> Diagnostic:
    path, line, column = one.place.rsplit(":", 2)
    message = f"application `{one.name}` of {few(hosts, 3)} has no `container`, so nothing says which image runs it"
    fix = "write `container: {image: NAME}` or `container: {build: ./DIRECTORY}`"
    return Diagnostic(path, int(line), int(column), "error", f"{message}; {fix}")


class _Dumper(yaml.SafeDumper):
    """Lists of words on one line, scripts as blocks."""


class _Words(list[str]):
    pass


_Dumper.add_representer(
    _Words, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)
_Dumper.add_representer(
    str,
    lambda dumper, data: dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None),
)
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]


# what all containers of a kind have, as an anchor
_COMMON: dict[str, dict[str, Any]] = {
    "network": {
        "image": f"${{NETORDER_IMAGE:-{image_name('debian-13')}}}",
        "entrypoint": _Words(["sh", "-euc"]),
        "user": "0:0",
        "read_only": True,
        "tmpfs": _Words(["/run"]),
        "cap_drop": _Words(["ALL"]),
        "cap_add": _Words(["NET_ADMIN"]),
        "security_opt": _Words(["no-new-privileges"]),
        "restart": "unless-stopped",
        "stop_signal": "SIGKILL",  # it has nothing to end
        "healthcheck": {"test": _Words(["CMD", "test", "-e", READY]), "interval": "2s", "retries": 15},
    },
    "application": {
        "read_only": True,
        "tmpfs": _Words(["/tmp"]),  # noqa: S108 - the container's own
        "cap_drop": _Words(["ALL"]),
        "security_opt": _Words(["no-new-privileges"]),
        "restart": "unless-stopped",
        "logging": {"driver": "json-file", "options": {"max-size": "10m"}},
    },
}


def _escaped(text: str) -> str:
    """Return a text as compose reads it, which puts variables in the place of what follows a dollar."""
    return text.replace("$", "$$")


class _End(NamedTuple):
    """Where something is on a network; ``mac`` None is the engine's choice."""

    address: str
    mac: str | None = None


class _Writer:
    def __init__(self, plan: Plan, outside: IPv4Network, directory: str) -> None:
        self._plan = plan
        self._outside = outside
        self._directory = directory
        self._matrix = Matrix(plan)
        self._networks = {network.name: network for network in plan.networks}
        self._bridges = {network.name: self._bridge(network) for network in plan.networks}
        self._external = [router for router in plan.routers if router.external]
        self._published = published_ports(plan) if self._external else {}
        self._filters = {group.name: group for group in plan.filters}

    def whole(self) -> dict[str, Any]:
        services: dict[str, Any] = {}
        for router in self._plan.routers:
            services[f"router.{router.name}"] = self._router(router)
        for host in self._plan.hosts:
            services[f"{host.name}.network"] = self._host(host)
            for one in host.applications:
                name = host.name if len(host.applications) == 1 else f"{host.name}.{one.name}"
                services[name] = self._application(host, one)
        networks = {name: self._network(network) for name, network in self._networks.items()}
        if self._external:
            networks[OUTSIDE] = {"ipam": {"config": [{"subnet": str(self._outside), "gateway": str(self._outside[1])}]}}
        common = {f"x-{name}": its for name, its in _COMMON.items()}
        return {"name": self._plan.topology, **common, "services": services, "networks": networks}

    # Networks

    def _cidr(self, network: str) -> str:
        return self._networks[network].subnets[0].cidr

    def _bridge(self, network: Network) -> IPv4Address:
        """Return the address that the engine takes on a network: one that nobody of the plan has."""
        subnet = network.subnets[0]
        if subnet.allocation_pool:
            return IPv4Address(subnet.allocation_pool[1])
        taken = {address for host in self._plan.hosts for address in host.addresses}
        taken |= {address for host in self._plan.hosts for port in host.ports for address in port.virtual_addresses}
        taken |= {a for router in self._plan.routers for end in router.interfaces for a in end.addresses}
        free = (one for one in reversed(list(IPv4Network(subnet.cidr).hosts())) if str(one) not in taken)
        found = next(free, None)
        if found is None:
            raise NetorderError(
                f"network `{network.name}` ({subnet.cidr}) is full: the engine needs an address on it too; give it a "
                "shorter prefix"
            )
        return found

    def _mac(self, port: str) -> str:
        return mac(self._plan.topology, port)

    def _guard(self, networks: Collection[str]) -> str:
        """Return the rule that drops what is sent by nobody of the plan on these networks: by the machine itself.

        The engine gives it an address on each, and it would pass on what others send here.
        """
        ends = [
            self._mac(port.cloud_name) for host in self._plan.hosts for port in host.ports if port.network in networks
        ]
        ends += [
            self._mac(end.port_name)
            for router in self._plan.routers
            for end in router.interfaces
            if end.network in networks
        ]
        return f"ether saddr != {{ {', '.join(ends)} }} drop"

    def _network(self, network: Network) -> dict[str, Any]:
        config = {"subnet": network.subnets[0].cidr, "gateway": str(self._bridges[network.name])}
        # internal: the engine routes nothing from here or to here, the routers do
        return {"internal": True, "x-podman.disable_dns": True, "ipam": {"config": [config]}}

    # What has addresses, routes and filters

    def _holder(
        self, name: str, ends: Mapping[str, _End], script: Iterable[str], sysctls: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return a container with these ends by network, whose network is as the script makes it."""
        # the filters first: until it has run, the applications have not begun
        lines = "\n".join([*script, *self._macs(name, ends), f"touch {READY}", "exec sleep infinity", ""])
        return {
            "<<": "*network",
            "hostname": name,
            "networks": {
                network: _without_none(ipv4_address=end.address, mac_address=end.mac) for network, end in ends.items()
            },
            **({"sysctls": {**sysctls}} if sysctls else {}),
            "command": [_escaped(lines)],
        }

    def _macs(self, name: str, ends: Mapping[str, _End]) -> Iterator[str]:
        """Yield what ends a container whose engine has drawn other MAC addresses: the filters know the planned ones."""
        planned = [end.mac for end in ends.values() if end.mac]
        if planned:
            said = f"error: {name}: no device has the MAC address $mac, so all would be dropped: use {_NEEDS}"
            yield "links=$(ip -o link)"
            yield f"for mac in {' '.join(planned)}; do"
            yield f' case "$links" in *$mac*) ;; *) echo "{said}" >&2; sleep {_AGAIN}; exit 1 ;; esac'
            yield "done"

    def _mtus(self, ends: Mapping[str, _End]) -> Iterator[str]:
        for network, end in ends.items():
            mtu = self._networks[network].mtu if network in self._networks else None
            if mtu:
                yield f"device=$(ip -o -4 address show to {end.address} | cut -d ' ' -f 2)"
                yield f'ip link set "$device" mtu {mtu}'

    def _host(self, host: Host) -> dict[str, Any]:
        ends = {port.network: _End(port.addresses[0], self._mac(port.cloud_name)) for port in host.ports}
        group = self._filters[host.group]
        rules = [f"{match} accept" for match in let_in_by((*group.rules, *self._in_guise(host)))]
        chain = [
            "type filter hook {0} priority filter; policy drop;",
            self._guard(ends),
            "ct state established,related accept",
            "ct state invalid drop",
            *rules,
        ]
        through = (" chain through {", *(f"  {line}" for line in _hooked(chain, "forward")), " }")
        through = through if host.forwarding else ()
        out = ["type filter hook output priority filter; policy drop;", 'oifname "lo" accept']
        out += ["ct state established,related accept", *(f"{match} accept" for match in let_out_by(group.rules))]
        sent = (" chain out {", *(f"  {line}" for line in out), " }") if group.is_limited else ()
        script = [
            "nft -f - <<'END'",
            "table inet netorder {",
            " chain in {", *(f"  {line}" for line in _hooked(chain, "input")), " }",
            *through,
            *sent,
            "}",
            "END",
            *self._mtus(ends),
            *(f"ip address replace {one}/32 dev lo" for one in host.loopback_addresses),  # IPv6 there is none
            *(f"ip route replace default via {one}" for one in host.gateways),
            *(f"ip route replace {route.destination} via {route.next_hop}" for route in host.routes),
        ]  # fmt: skip
        sysctls = _FORWARDS if host.forwarding else {}
        sysctls |= _LOOSE if len(ends) > 1 else {}
        if any(port < _PRIVILEGED for one in host.applications for port in (*one.tcp_ports, *one.udp_ports)):
            sysctls |= {
                "net.ipv4.ip_unprivileged_port_start": "0"
            }  # its applications have no capability to listen there
        holder = self._holder(host.cloud_name, ends, script, sysctls)
        servers = [one for port in host.ports for one in self._networks[port.network].subnets[0].dns_nameservers]
        return holder | ({"dns": _Words(dict.fromkeys(servers))} if servers else {})

    def _in_guise(self, host: Host) -> list[Rule]:
        """Return what lets outsiders in that have an address of the topology's: they look like the router to hosts."""
        router = self._networks[host.ports[0].network].subnets[0].gateway_ip
        if router is None or all(host.name != its for its, _ in self._published.values()):
            return []
        return rules_in_guise(self._plan, self._filters[host.group].rules, router)

    def _router(self, router: Router) -> dict[str, Any]:
        ends = {end.network: _End(end.addresses[0], self._mac(end.port_name)) for end in router.interfaces}
        guard = self._guard(ends)
        script = [f"ip route replace {route.destination} via {route.next_hop}" for route in router.routes]
        ports: list[str] = []
        if router.external:
            own = self._outside[2 + self._external.index(router)]
            its = {name for end in router.interfaces for name in self._behind(end.addresses)}
            published = {key: one for key, one in sorted(self._published.items()) if one[0] in its}
            ports = [f"{port_range(one)}:{port_range(one)}" + ("/udp" if one[0] == "udp" else "") for one in published]
            guard = f'iifname != "$outside" {guard}'
            script = [*self._translation(router, own, published), *script]
            ends |= {OUTSIDE: _End(str(own))}
        begin = ["nft -f - <<END", "table inet netorder {", " chain through {"]
        begin += ["  type filter hook forward priority filter - 1; policy accept;", f"  {guard}", " }", "}", "END"]
        script = [*script[:1], *begin, *script[1:]] if router.external else [*begin, *script]
        holder = self._holder(router.cloud_name, ends, [*script, *self._mtus(ends)], _FORWARDS | _LOOSE)
        return holder | ({"ports": ports} if ports else {})

    def _behind(self, addresses: Collection[str | None]) -> Iterator[str]:
        """Yield the hosts whose first port has one of these addresses as its gateway."""
        for host in self._plan.hosts:
            if self._networks[host.ports[0].network].subnets[0].gateway_ip in addresses:
                yield host.name

    def _translation(self, router: Router, own: IPv4Address, published: Published) -> list[str]:
        entries = {host.name: host.ports[0].addresses[0] for host in self._plan.hosts}
        inside = ", ".join(self._cidr(end.network) for end in router.interfaces)
        prefixes = ", ".join(str(one) for one in self._plan.own if one.version == IPV4)
        to_hosts = []
        for ports, (host, sources) in published.items():
            come = f"ip saddr {{ {', '.join(sorted(sources))} }} " if sources else ""
            to_hosts.append(f"{come}{dport(ports)} dnat to {entries[host]}")
        return [
            f"outside=$(ip -o -4 address show to {own} | cut -d ' ' -f 2)",
            "nft -f - <<END",
            "table ip netorder {",
            " chain in {",
            "  type nat hook prerouting priority dstnat; policy accept;",
            *(f'  iifname "$outside" {rule}' for rule in to_hosts),
            " }",
            # without root a process of the engine, in here, connects on behalf of those who ask
            " chain own {",
            "  type nat hook output priority -100; policy accept;",
            *(f"  fib daddr type local {rule}" for rule in to_hosts),
            " }",
            " chain out {",
            "  type nat hook postrouting priority srcnat; policy accept;",
            f'  oifname "$outside" ip saddr {{ {inside} }} snat to {own}',
            # a host would answer the topology's own addresses itself: on a LAN that has a prefix of the plan's
            f'  oifname != "$outside" ip saddr {{ {prefixes} }} ct status & dnat == dnat masquerade',
            " }",
            # and so would this router: answers leave by the way that was asked
            " chain answers {",
            "  type filter hook prerouting priority mangle; policy accept;",
            f'  iifname != "$outside" ct direction reply ct status & dnat == dnat meta mark set {_ANSWERS}',
            " }",
            " chain through {",
            "  type filter hook forward priority filter; policy accept;",
            '  iifname "$outside" ct state new ct status & dnat != dnat drop',
            " }",
            "}",
            "END",
            f"ip route replace default via {self._outside[1]}",
            f"ip route replace default via {self._outside[1]} table {_ANSWERS}",
            f"ip rule add fwmark {_ANSWERS} lookup {_ANSWERS}",
        ]

    # Applications

    def _application(self, host: Host, one: Application) -> dict[str, Any]:
        container = one.container
        assert container is not None  # noqa: S101 - `compose` has looked
        values = self._values(host, one)
        filled = {
            key: _Words(_filled(text, values) for text in getattr(container, key)) for key in ("command", "health")
        }
        environment = {name: _filled(text, values) for name, text in container.environment}
        return {
            "<<": "*application",
            **self._image(container),
            "network_mode": f"service:{host.name}.network",
            "depends_on": {f"{host.name}.network": {"condition": "service_healthy"}},
            **({"command": filled["command"]} if filled["command"] else {}),
            **({"environment": environment} if environment else {}),
            "user": container.user,
            **({"healthcheck": self._health(filled["health"])} if filled["health"] else {}),
        }

    def _image(self, container: Container) -> dict[str, Any]:
        its: dict[str, Any] = {}
        if container.image:
            its["image"] = container.image
        if container.build is not None:
            its["build"] = {"context": _joined(self._directory, container.build)}
        return its

    def _health(self, command: Iterable[str]) -> dict[str, Any]:
        return {"test": _Words(["CMD", *command]), "interval": "30s", "timeout": "10s", "start_period": "10s"}

    def _values(self, host: Host, one: Application) -> dict[str, str]:
        """Return what templates stand for: the words that a role is given as ``application``."""
        address = listens_on(self._matrix, host)
        port = next(iter(one.tcp_ports), None)
        asked = host.addresses[0] if address == _ANYWHERE else address
        return {
            "name": one.name,
            "address": address,
            "port": str(port),
            "url": Endpoint(host.name, asked, port).url,
            **{f"urls.{name}": ",".join(copy.url for copy in copies) for name, copies in one.calls},
        }


def _without_none(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _hooked(chain: Iterable[str], hook: str) -> Iterator[str]:
    first, *rest = chain
    yield first.format(hook)
    yield from (['iifname "lo" accept'] if hook == "input" else [])
    yield from rest


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _escaped(TEMPLATE.sub(lambda found: values[".".join(filter(None, found.groups()))], text))


def _joined(directory: str, path: str) -> str:
    """Return a path below a directory, as compose knows one of this machine: it begins with a dot or a slash."""
    whole = os.path.normpath(f"{directory}/{path}")
    return whole if whole.startswith((".", "/")) else f"./{whole}"
