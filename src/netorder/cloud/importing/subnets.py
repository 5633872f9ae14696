"""Which subnets of a network are written as its own, and which as further ones."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from netorder.ip import IPV4, IPV6, SLAAC

if TYPE_CHECKING:
    from collections.abc import Collection

    from netorder.cloud.importing.ask import Project

__all__ = ["further", "subnets_of"]


def subnets_of(project: Project, network: Any) -> tuple[dict[int, Any], list[Any]]:  # noqa: ANN401 - a resource
    """Return the subnet of each IP version that is the network's own, and the others.

    That is the one that most ports are on; of IPv4 the one that is called as the network, as netorder does it.
    """
    uses = Counter(fixed.get("subnet_id") for port in project.ports for fixed in port.fixed_ips or ())

    def order(one: Any) -> tuple[object, ...]:  # noqa: ANN401 - a resource
        other_name = int(one.ip_version) == IPV4 and one.name != network.name
        return other_name, -uses[one.id], str(one.cidr), str(one.id)

    its = sorted((one for one in project.subnets if one.network_id == network.id), key=order)
    kept = {int(one.ip_version): one for one in reversed(its)}  # the first of each
    return dict(sorted(kept.items())), [one for one in its if kept[int(one.ip_version)] is not one]


def further(project: Project, network: Any, users: Collection[str] | None) -> list[Any]:  # noqa: ANN401 - a resource
    """Return which of the others are written: of IPv4, where no SLAAC gives their ports more addresses.

    Where ``users`` (ids of servers and routers) are named, those on which one of these has a port.
    """
    kept, others = subnets_of(project, network)
    if IPV6 in kept and kept[IPV6].ipv6_address_mode in SLAAC:
        return []
    used = {
        fixed.get("subnet_id")
        for port in project.ports
        for fixed in port.fixed_ips or ()
        if users is None or port.device_id in users
    }
    return [one for one in others if int(one.ip_version) == IPV4 and (users is None or one.id in used)]
