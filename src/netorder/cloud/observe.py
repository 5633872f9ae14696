"""What the cloud has of a topology: one list for each type, filtered by the marker on the server's side."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from openstack.exceptions import ConflictException, ForbiddenException, NotFoundException

from netorder.cloud.change import kept_for, keypair_marker, keypair_name, marker, server_group_name
from netorder.cloud.errors import translate_errors
from netorder.cloud.jobs import gather
from netorder.cloud.poll import Again, poll
from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from openstack.compute.v2.keypair import Keypair
    from openstack.compute.v2.server import Server
    from openstack.compute.v2.server_group import ServerGroup
    from openstack.network.v2.floating_ip import FloatingIP
    from openstack.network.v2.network import Network
    from openstack.network.v2.port import Port
    from openstack.network.v2.router import Router
    from openstack.network.v2.security_group import SecurityGroup
    from openstack.network.v2.subnet import Subnet

    from netorder.cloud.session import Cloud

__all__ = [
    "Chosen",
    "Observed",
    "console_text",
    "external_networks",
    "fault_text",
    "is_kept",
    "is_neutrons_own",
    "is_router_port",
    "let_finish",
    "list_servers",
    "observe",
]

# Tags at creation (2.52); everything else used here is older, except the optional host name (2.90).
MIN_COMPUTE = (2, 52)
_FLOATING = 5  # of the answers
# How far (s) the cloud's clock is known: it tells whole seconds, and an answer takes its time.
_CLOCK = 3.0
# Nova cuts the message of a fault off after so many characters.
FAULT_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Observed:
    """The resources that carry a topology's marker; ``foreign_keypair`` has the name of its key pair, but not that.

    ``floating_ips`` carry it, also with a note of what they are kept for; the project's others are
    ``other_floating_ips``.
    ``server_groups`` are None where the cloud has no such API, or forbids it.
    """

    networks: tuple[Network, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    routers: tuple[Router, ...] = ()
    ports: tuple[Port, ...] = ()
    groups: tuple[SecurityGroup, ...] = ()
    floating_ips: tuple[FloatingIP, ...] = ()
    servers: tuple[Server, ...] = ()
    server_groups: tuple[ServerGroup, ...] | None = ()
    keypair: Keypair | None = None
    foreign_keypair: Keypair | None = None
    other_floating_ips: tuple[FloatingIP, ...] = ()

    @property
    def associated(self) -> list[FloatingIP]:
        """The floating IPs that lead to the topology's ports, whosever they are."""
        ports = {port.id for port in self.ports}
        return [ip for ip in (*self.floating_ips, *self.other_floating_ips) if ip.port_id in ports]

    def youngest(self) -> datetime | None:
        """Return when the newest resource was made, with its time zone; None when there is none."""
        everything = (
            self.networks,
            self.subnets,
            self.routers,
            self.ports,
            self.groups,
            self.floating_ips,
            self.servers,
        )
        times = [datetime.fromisoformat(one.created_at) for kind in everything for one in kind if one.created_at]
        # not every service writes that it is UTC
        return max((time.replace(tzinfo=time.tzinfo or UTC) for time in times), default=None)

    def foreign_subnets(self, network: Network) -> list[str]:
        """Return the ids of the subnets on a network that are not the topology's, and would go with it."""
        return sorted({*(network.subnet_ids or ())} - {subnet.id for subnet in self.subnets})

    def leftovers(self) -> list[str]:
        """Name every resource that a teardown deletes, for its end."""
        kinds: tuple[tuple[str, Iterable[Any]], ...] = (
            ("floating IP", [ip for ip in self.floating_ips if not is_kept(ip)]),
            ("server", self.servers),
            ("server group", self.server_groups or ()),
            ("router", self.routers),
            ("port", self.ports),
            ("subnet", self.subnets),
            ("network", self.networks),
            ("security group", self.groups),
            ("key pair", (self.keypair,) if self.keypair else ()),
        )
        return [f"{kind} {one.name} ({one.id})" for kind, them in kinds for one in them]


def observe(cloud: Cloud, topology: str) -> Observed:
    """List what carries the topology's marker in the credentials' own project, each type once, all at the same time."""
    conn, mark = cloud.conn, marker(topology)
    # An administrator sees every project: without project_id another project's topology of this name would match.
    marked = {"description": mark, "project_id": cloud.project}
    net = conn.network

    def keypair() -> tuple[Any, ...]:
        try:
            return (conn.compute.get_keypair(keypair_name(topology)),)
        except NotFoundException:
            return ()

    def listed(call: Callable[..., Iterable[Any]]) -> Callable[[], tuple[Any, ...]]:
        # asked for and looked at: an API that passes over a word that it does not know lists what is others'
        return lambda: tuple(one for one in call(**marked) if one.description == mark)

    def if_there(call: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
        def listed() -> tuple[Any, ...]:
            try:
                return call()
            except NotFoundException:  # a Neutron of provider networks alone has neither routers nor floating IPs
                return ()

        return listed

    with translate_errors():
        _check_compute(cloud)
        answers: list[tuple[Any, ...] | None] = gather(
            cloud,
            [
                listed(net.networks),
                listed(net.subnets),
                if_there(listed(net.routers)),
                listed(net.ports),
                listed(net.security_groups),
                if_there(lambda: tuple(net.ips(project_id=cloud.project))),
                partial(list_servers, cloud, topology),
                partial(_server_groups, cloud, topology),
                keypair,
            ],
        )
    own, foreign = None, next(iter(answers.pop() or ()), None)
    if foreign and foreign.public_key.split()[2:] == [keypair_marker(topology, cloud.project)]:
        own, foreign = foreign, None
    ips = answers[_FLOATING] or ()
    answers[_FLOATING] = tuple(ip for ip in ips if ip.description == mark or kept_for(topology, ip.description))
    others = tuple(ip for ip in ips if ip not in answers[_FLOATING])  # type: ignore[operator]
    return Observed(*answers, keypair=own, foreign_keypair=foreign, other_floating_ips=others)  # type: ignore[misc,arg-type]


def let_finish(cloud: Cloud, topology: str, observed: Observed) -> Observed:
    """Wait while the topology's newest resource is only moments old; return what there is then.

    The requests of a run that was killed go on inside the cloud. To create beside them makes second networks, and
    second servers that break each other on their one port; to delete beside them leaves some behind.
    """
    first = iter((observed,))

    def check() -> Observed | Again[Observed]:
        found = next(first, None) or observe(cloud, topology)
        if (newest := found.youngest()) is None:
            return found
        age = (datetime.now(UTC) - newest).total_seconds() - cloud.clock_ahead
        if not -_CLOCK <= age < cloud.in_flight:  # below that the cloud's clocks differ: nothing can be concluded
            return found
        return Again(cloud.in_flight - age, otherwise=found, left=f"something was made {max(age, 0):.0f} s ago")

    return poll(cloud, "what a stopped run may still have under way", check, 4 * cloud.in_flight)


def list_servers(cloud: Cloud, topology: str, *, details: bool = True, status: str | None = None) -> tuple[Server, ...]:
    """List the topology's servers, with status, fault, flavor and metadata; without ``details`` only id and name.

    ``status`` (Nova's word, as BUILD) names those that are wanted; None: all.

    A server that no host took is kept in Nova's cell 0, whose faults a list leaves out: each is fetched by itself.
    """
    compute = cloud.conn.compute
    wanted: dict[str, Any] = {"status": status} if status else {}
    mark = marker(topology)
    servers = [
        server
        for server in compute.servers(details=details, tags=mark, **wanted)
        if not details or mark in (server.tags or ())
    ]
    for number, server in enumerate(servers):
        if details and server.status == "ERROR" and not server.fault:
            with suppress(NotFoundException):  # deleted meanwhile: the list is as good an answer
                servers[number] = compute.get_server(server.id)
    return tuple(servers)


def _server_groups(cloud: Cloud, topology: str) -> tuple[ServerGroup, ...] | None:
    """List the topology's server groups: those whose name ends in its marker."""
    end = server_group_name(topology, "")
    try:
        return tuple(one for one in cloud.conn.compute.server_groups() if str(one.name).endswith(end))
    except (ForbiddenException, NotFoundException):
        return None


def fault_text(server: Server) -> str:
    """Return why Nova gave the server up, in its words, as one line that ends like a sentence."""
    said = str((server.fault or {}).get("message") or "no reason given")
    line = " ".join(said.split())
    return line if line.endswith(".") else f"{line}{'…' if len(said) >= FAULT_LENGTH else '.'}"


def console_text(cloud: Cloud, server: Server, lines: int | None = None) -> str | None:
    """Return what the server has printed, the last ``lines`` of it; None where Nova has no console of it yet."""
    try:
        answer: dict[str, Any] = cloud.conn.compute.get_server_console_output(server.id, length=lines)
    except (ConflictException, NotFoundException):
        return None
    return str(answer.get("output") or "")


def external_networks(cloud: Cloud) -> tuple[Network, ...]:
    """List the external networks that the project sees."""
    with translate_errors():
        return tuple(cloud.conn.network.networks(is_router_external=True))


def is_kept(ip: FloatingIP) -> bool:
    """Return whether a floating IP of the topology outlives it."""
    return " keep " in str(ip.description)


def is_router_port(port: Port) -> bool:
    """Return whether a router holds this port (plain, distributed or highly available interface)."""
    return str(port.device_owner or "").startswith(("network:router_interface", "network:ha_router_replicated"))


def is_neutrons_own(port: Port) -> bool:
    """Return whether Neutron made a port by itself, and deletes it with what it is for.

    Such are those of DHCP, metadata, distributed and highly available routers, and of what drivers add. Interfaces and
    gateways of routers, floating IPs and local IPs are somebody's, who has to remove them.
    """
    owner = str(port.device_owner or "")
    somebodys = ("router_gateway", "vpn_router_gateway", "floatingip", "local_ip")
    return owner.startswith("network:") and not is_router_port(port) and owner.removeprefix("network:") not in somebodys


class Chosen:
    """The resources by name, and the ``surplus`` ones where a name occurs twice (a killed run's last create came late).

    Security groups are not identified by name: see :class:`netorder.cloud.groups.Groups`.

    The one in use stays, then the oldest: that is what everything else is wired to.
    """

    def __init__(self, observed: Observed) -> None:
        used = {port.network_id for port in observed.ports} | {port.device_id for port in observed.ports}
        used |= {fixed.get("subnet_id") for port in observed.ports for fixed in port.fixed_ips or ()}
        used |= {port.id for port in observed.ports if port.device_id}
        self._used = used
        self.networks, self.surplus_networks = self.by_name(observed.networks)
        self.routers, self.surplus_routers = self.by_name(observed.routers)
        self.servers, self.surplus_servers = self.by_name(observed.servers)
        self.ports, self.surplus_ports = self.by_name(observed.ports)

    def by_name(self, resources: Iterable[Any]) -> tuple[dict[str, Any], list[Any]]:
        """Return one resource for each name, and the others."""
        kept: dict[str, Any] = {}
        surplus = []
        for one in sorted(resources, key=lambda r: (r.id not in self._used, str(r.created_at or ""), str(r.id))):
            if one.name in kept:
                surplus.append(one)
            else:
                kept[one.name] = one
        return kept, surplus


def _check_compute(cloud: Cloud) -> None:
    data = cloud.conn.compute.get_endpoint_data()
    newest = data.max_microversion if data else None
    if newest is None:
        raise CloudError(
            "The cloud's compute API does not report its versions. Run again; if it stays so, see `openstack versions "
            "show`."
        )
    if tuple(newest) < MIN_COMPUTE:
        shown = ".".join(map(str, newest))
        raise CloudError(f"This cloud's compute API is too old: microversion {shown}, needed 2.52 (OpenStack Pike).")
