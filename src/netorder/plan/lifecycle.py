"""What a change costs: for each kind of resource and each field, whether the cloud changes it in place.

The one table of that. `netorder diff`, the comparison with the cloud, the run and docs/changes.md read it.
``python -m netorder.plan.lifecycle`` prints it as the table in docs/changes.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from netorder.topology import GOLDEN, NEWEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netorder.plan.model import Plan, Router

__all__ = [
    "FIELDS",
    "NAMES",
    "NO_COST",
    "PARTS",
    "Effect",
    "Field",
    "address_fields",
    "changed_fields",
    "effect",
    "exit_router",
    "image_field",
    "markdown",
    "reason",
    "server_fields",
    "stops",
]


class Effect(IntEnum):
    """What the cloud does when a field changes; of several fields the largest counts."""

    IN_PLACE = 1
    REPLACE = 2
    REFUSE = 3

    def __str__(self) -> str:
        return {1: "in place", 2: "**replaced**", 3: "refused"}[self.value]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kind of resource, as previews name it, and what a change of it costs.

    ``planned`` are the fields of :mod:`netorder.plan.model` (``Class.field``) that it is made of; none where it is a
    state of the cloud's or the controller's. ``reason`` stands in previews beside a replacement, ``note`` in the
    documentation. ``stops``: what passes the resource is interrupted although it is changed in place.
    """

    kind: str
    name: str
    effect: Effect
    planned: tuple[str, ...] = ()
    note: str = ""
    reason: str = ""
    stops: bool = False


_IN_PLACE, _REPLACE, _REFUSE = Effect
_VERSION = "one of another IP version more, or one less"
_OTHER_PLACE = "on another network or address"
_LOST = "its disk is lost"
_MAC = "its host stops for it, and stays; taken away, it stays as it is"
_IMAGE = f"{_LOST}; one that is named by its id now, or became the `base` of a golden one, is no change"
_POOL = "with every port on it; taken away, it stays"
_MODE = ("with every port on it", "its address mode differs")
_ZONE = "with the key taken away it stays where it is"
_GROUP = "one that leaves a group that goes stays"
_BOOT = "cloud-init reads it at the first boot alone"
_DRIVE = "for `true`, where it has none; that a new one needs it where metadata is out of reach replaces nothing"
_USER = ("User.name", "User.ssh_authorized_keys", "User.sudo")
_GROUPS = ("Port.security_groups", "Port.existing_groups")
_ROUTE = ("Route.destination", "Route.next_hop")
_RULE = tuple(
    f"Rule.{name}" for name in "direction ethertype protocol port_min port_max remote_cidr remote_group".split()
)

FIELDS = (
    Field("key pair", "public_key", _REFUSE, note="the hosts would not accept another key"),
    Field("existing", "found", _REFUSE, note="what exists is missing, ambiguous, or not as the file says"),
    Field("network", "mtu", _IN_PLACE, ("Network.mtu",), "hosts learn it with the next lease; taken away, it stays"),
    Field("network", "admin_state_up", _IN_PLACE),
    Field("network", "subnets", _REFUSE, note="a subnet of somebody else's is on a network that must go"),
    Field("subnet", "cidr", _REPLACE, ("Subnet.cidr", "Subnet.version"), "with every port on it", "its prefix differs"),
    Field("subnet", "network", _REPLACE, ("Network.subnet_of",), "with every port on it", "it is on another network"),
    Field("subnet", "subnet_pool", _REPLACE, ("Network.subnet_pools",), _POOL, "its subnet pool differs"),
    Field("subnet", "ipv6_address_mode", _REPLACE, ("Subnet.ipv6_address_mode",), *_MODE),
    Field("subnet", "holder", _REFUSE, note="a port of somebody else's is on a subnet that must go"),
    Field("subnet", "gateway_ip", _IN_PLACE, ("Subnet.gateway_ip",)),
    Field("subnet", "dns_nameservers", _IN_PLACE, ("Subnet.dns_nameservers",), "hosts learn it with the next lease"),
    Field("subnet", "allocation_pools", _IN_PLACE, ("Subnet.allocation_pool",)),
    Field("subnet", "enable_dhcp", _IN_PLACE, ("Subnet.dhcp",), "of IPv4; off where no host is on it"),
    Field("subnet", "dhcp", _REFUSE, note="IPv6 has its modes from creation; hosts on it would lose their addresses"),
    Field("subnet", "host_routes", _IN_PLACE, ("Subnet.host_routes", *_ROUTE), "hosts learn it with the next lease"),
    Field("router", "admin_state_up", _IN_PLACE),
    Field("router", "external", _IN_PLACE, ("Router.external",)),
    Field(
        "router",
        "external_network",
        _IN_PLACE,
        ("Router.external_network", "Plan.external_network"),
        "but its hosts' floating IPs are replaced",
    ),
    Field("router", "external_address", _IN_PLACE, ("Router.external_address",), "taken away, it stays as it is"),
    Field("router", "snat", _IN_PLACE, ("Router.snat",)),
    Field("router", "routes", _IN_PLACE, ("Router.routes", *_ROUTE)),
    Field("router interface", "network", _REPLACE, ("RouterInterface.network",), reason=_OTHER_PLACE),
    Field("router interface", "address", _REPLACE, ("RouterInterface.addresses",), reason=_OTHER_PLACE),
    Field("router interface", "addresses", _IN_PLACE, ("RouterInterface.addresses",), _VERSION),
    Field("router interface", "attached", _IN_PLACE),
    Field("router interface", "holder", _REFUSE, note="somebody else's router holds the port"),
    Field("security group", "name", _IN_PLACE, ("SecurityGroup.cloud_name",), "after one of the hosts that use it"),
    Field("security group", "rules", _IN_PLACE, ("SecurityGroup.rules", *_RULE), "rule by rule"),
    Field("port", "network", _REPLACE, ("Port.network",), "its host stops for it, and stays", _OTHER_PLACE),
    Field("port", "address", _REPLACE, ("Port.addresses",), "its host stops for it, and stays", _OTHER_PLACE),
    Field("port", "addresses", _IN_PLACE, ("Port.addresses",), f"{_VERSION}; its host runs on"),
    Field("port", "security_groups", _IN_PLACE, _GROUPS, "the host is never without its rules"),
    Field("port", "mac_address", _REPLACE, ("Port.mac_address",), _MAC, "its MAC address differs"),
    Field("port", "allowed_address_pairs", _IN_PLACE, ("Port.allowed_address_pairs", "Port.virtual_addresses")),
    Field("port", "port_security", _IN_PLACE, ("Port.port_security",), "with its security groups and address pairs"),
    Field("port", "admin_state_up", _IN_PLACE),
    Field("port", "holder", _REFUSE, note="somebody else's server holds the port"),
    Field("server group", "policy", _REPLACE, ("ServerGroup.policy",), "and its servers with it", "its policy differs"),
    Field("server group", "list", _REFUSE, note="the cloud has none, or does not let the login see them"),
    Field("server", "image", _REPLACE, ("Host.image",), _IMAGE, f"its image differs; {_LOST}"),
    Field("server", "flavor", _IN_PLACE, ("Host.flavor",), "resized, which restarts it", stops=True),
    Field("server", "disk", _REFUSE, note="the new flavor has a smaller disk: a disk does not shrink"),
    Field("server", "ports", _IN_PLACE, ("Host.ports",), "one more is plugged in; to unplug one, the host is stopped"),
    Field("server", "metadata", _IN_PLACE, ("Server.metadata",), "the file's items; those of others stay"),
    Field("server", "tags", _IN_PLACE, ("Server.tags",), "the file's; those of others stay"),
    Field("server", "availability_zone", _REPLACE, ("Server.availability_zone",), _ZONE, f"its zone differs; {_LOST}"),
    Field("server", "server_group", _REPLACE, ("Server.server_group",), _GROUP, f"its server group differs; {_LOST}"),
    Field("server", "user_data", _REPLACE, ("Server.user_data",), _BOOT, f"its user data differs; {_LOST}"),
    Field("server", "users", _REPLACE, ("Server.users", *_USER), _BOOT, f"its users differ; {_LOST}"),
    Field("server", "config_drive", _REPLACE, ("Server.config_drive",), _DRIVE, f"it has no config drive; {_LOST}"),
    Field("server", "status", _IN_PLACE, note="a stopped, paused or suspended one is started, unless on purpose"),
    Field("server", "state", _REFUSE, note="a rescued one, or in another state that only its owner can end"),
    Field("floating IP", "network", _REPLACE, note="another address", reason="of another external network"),
    Field("floating IP", "port", _IN_PLACE, ("FloatingIp.network",), "associated again; its address stays"),
    Field("floating IP", "keep", _IN_PLACE, ("FloatingIp.keep",)),
    Field("floating IP", "holder", _REFUSE, note="a given one is somebody else's port's"),
)

_TABLE = {(field.kind, field.name): field for field in FIELDS}

# The other fields of the plan. By these a resource is known: by another name it is another resource.
NAMES = frozenset(
    "Plan.topology Network.name Network.cloud_name Subnet.cloud_name Router.name Router.cloud_name "
    "RouterInterface.port_name SecurityGroup.name Port.cloud_name Host.name Host.cloud_name ServerGroup.name "
    "ServerGroup.cloud_name Network.existing Router.existing Plan.key_pair FloatingIp.address Plan.cloud".split()
)
# What these hold are resources of their own: one more is created, one less is deleted.
PARTS = frozenset(
    "Plan.networks Plan.routers Plan.security_groups Plan.hosts Network.subnets Router.interfaces "
    "Host.floating_ip Host.floating_ips Host.server Plan.server_groups".split()
)
# These cost nothing in the cloud: what they are about is done inside the hosts, or on the controller.
NO_COST = frozenset(
    "Host.user Host.gateways Host.forwarding Host.routes Host.ssh_path Host.ssh_address Host.groups Host.applications "
    "Host.manages Host.proxy Host.names Host.outside_address RouterInterface.own Network.place Router.place "
    "Plan.group_places Host.forwards Host.clone Host.clone_of Host.memory Host.loopback_addresses "
    "Forward.host Forward.guest Forward.protocol Forward.address "
    "Application.name Application.role Application.tcp_ports Application.udp_ports Application.calls "
    "Application.stage Application.variables Application.check Application.ready Application.units Application.become "
    "Application.gather_facts Application.packages Application.entry_points Application.directory "
    "Application.container Application.place "
    "Container.image Container.build Container.command Container.environment Container.health "
    "Container.user Endpoint.host Endpoint.address "
    "Endpoint.port Check.port Check.path Check.body Check.status Check.answer Check.contains".split()
)


def changed_fields(actual: Mapping[str, object], planned: Mapping[str, object]) -> list[str]:
    """Return the names of the planned fields whose actual value is another."""
    return [name for name in planned if actual[name] != planned[name]]


def server_fields(
    had: Mapping[str, object], planned: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, object]]:
    """Return the fields of a server that are compared, not those that the plan leaves to the cloud (``Server.fields``).

    So nothing is replaced because a zone, or a config drive, is not asked for any more.
    """
    left = {name for name in ("availability_zone", "config_drive") if not planned[name]}
    kept = [{name: its for name, its in one.items() if name not in left} for one in (had, planned)]
    if "image" in planned:
        kept[0]["image"] = image_field(str(had["image"]), str(planned["image"]))
    return kept[0], kept[1]


def image_field(had: str, planned: str) -> str:
    """Return the image that a server was made from, or the planned one where that one allows it.

    Golden images and the image before there is one (``base``) are the same to a host: it is never replaced by that. Nor
    by a newer one of the same name.
    """
    if NEWEST in (had[: len(NEWEST)], planned[: len(NEWEST)]):
        return planned if had.removeprefix(NEWEST) == planned.removeprefix(NEWEST) else had
    if not planned.startswith(GOLDEN):
        return had
    kind, _, base = planned.removeprefix(GOLDEN).partition(":")
    return planned if had and had in {f"{GOLDEN}{kind}", base} else had


def effect(kind: str, names: Iterable[str]) -> Effect:
    """Return what it costs to change these fields of a ``kind``, at least one; KeyError for one that has no row."""
    return max(_TABLE[kind, name].effect for name in names)


def reason(kind: str, names: Iterable[str]) -> str:
    """Return why a ``kind`` of which these fields differ is replaced; nothing if it is not."""
    return next((field.reason for name in names if (field := _TABLE[kind, name]).reason), "")


def stops(kind: str, names: Iterable[str]) -> bool:
    """Return whether what passes a ``kind`` is interrupted when these fields change, though they change in place."""
    return any(_TABLE[kind, name].stops for name in names)


def address_fields(had: Iterable[str], planned: Iterable[str]) -> tuple[dict[str, object], dict[str, object]]:
    """Return how the addresses of a port are compared: as ``addresses`` where only those of one IP version come or go.

    Else as ``address``, which says that it is another place.
    """
    old, new = sorted(had, key=_by_version), sorted(planned, key=_by_version)
    versions = {_by_version(one) for one in old} & {_by_version(one) for one in new}
    stays = [[one for one in these if _by_version(one) in versions] for these in (old, new)]
    if old != new and versions and stays[0] == stays[1]:
        return {"addresses": old}, {"addresses": new}
    return {"address": ", ".join(old)}, {"address": ", ".join(new)}


def _by_version(address: str) -> bool:
    return ":" in address


def exit_router(plan: Plan, name: str) -> Router:
    """Return the router that translates floating IPs on a network: the external one that is its gateway."""
    network = next(network for network in plan.networks if network.name == name)
    gateways = {subnet.gateway_ip for subnet in network.subnets}
    return next(
        router
        for router in plan.routers
        for interface in router.interfaces
        if router.external and interface.network == network.name and gateways.intersection(interface.addresses)
    )


def markdown() -> str:
    """Return the table for docs/changes.md, ending with a newline."""
    lines = ["| resource | field | a change of it is | |", "|---|---|---|---|"]
    before = ""
    for field in FIELDS:
        kind = field.kind if field.kind != before else ""
        lines.append(f"| {kind} | `{field.name}` | {field.effect} | {field.note} |")
        before = field.kind
    return "\n".join(line.replace("  ", " ") for line in lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
