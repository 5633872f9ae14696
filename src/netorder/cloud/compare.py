"""Plan against cloud: every difference as a change, and everything that cannot be changed as a problem.

Pure: no call to the cloud; :mod:`netorder.cloud.apply` does exactly what is listed here, with the ids found here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.cloud.change import deletion
from netorder.cloud.draft import Draft
from netorder.cloud.observe import is_router_port
from netorder.cloud.resources import (
    floating_ip,
    keypair,
    network,
    port,
    router,
    router_interface,
    security_group,
    server,
    server_group,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from openstack.network.v2.network import Network as CloudNetwork

    from netorder.cloud.change import ChangeSet
    from netorder.cloud.existing import Existing
    from netorder.cloud.observe import Observed
    from netorder.plan.model import Plan

__all__ = ["compare"]


def compare(
    plan: Plan,
    observed: Observed,
    *,
    key: str | None,
    externals: Iterable[CloudNetwork] = (),
    host_keys: bool = True,
    existing: Existing | None = None,
) -> ChangeSet:
    """Return the changes that make the cloud match the plan, and the problems that forbid them.

    ``key`` is the controller's public key, None when it has none yet; ``externals`` is only needed where the plan
    names the external network, ``existing`` where it uses what exists. Without ``host_keys`` it is no difference that a
    host's key is not known.
    """
    draft = Draft(plan, observed, key=key, externals=externals, host_keys=host_keys, existing=existing)
    keypair.compare(draft)
    network.compare(draft)
    security_group.compare(draft)
    router.compare(draft)
    port.compare(draft)
    _remove(draft)
    server_group.compare(draft)
    server.compare(draft)
    floating_ip.compare(draft)
    return draft.finished(*router.routes(draft))


def _remove(draft: Draft) -> None:
    """Delete what is in no plan, and what is there twice."""
    plan, chosen = draft.plan, draft.chosen
    _remove_kind(draft, server.KIND, chosen.servers, {h.cloud_name for h in plan.hosts}, chosen.surplus_servers)
    ports = {name for r in plan.routers for i in r.interfaces for name in router_interface.parts(i, chosen.ports)}
    ports |= {p.cloud_name for h in plan.hosts for p in h.ports}
    attached = {name: one for name, one in chosen.ports.items() if is_router_port(one)}
    for name, one in attached.items():
        if name not in ports:
            draft.detach(one)
            draft.add(router_interface.removal(one, "not in the topology"))
    for one in chosen.surplus_ports:
        if is_router_port(one):
            draft.add(router_interface.removal(one, "a second one of this name", lossless=True))
    others = {name: one for name, one in chosen.ports.items() if name not in attached}
    _remove_kind(draft, port.KIND, others, ports, [one for one in chosen.surplus_ports if not is_router_port(one)])
    _remove_kind(draft, router.KIND, chosen.routers, {r.cloud_name for r in plan.routers}, chosen.surplus_routers)
    _remove_kind(draft, network.KIND, chosen.networks, {n.cloud_name for n in plan.networks}, chosen.surplus_networks)
    for net in draft.observed.networks:
        if net.id in draft.going and (problem := network.foreign_problem(draft.observed, net)):
            draft.refuse(network.KIND, "subnets", problem)
    security_group.compare_surplus(draft)


def _remove_kind(draft: Draft, kind: str, found: Mapping[str, Any], planned: set[str], surplus: Iterable[Any]) -> None:
    for name, one in found.items():
        if name not in planned:
            draft.add(deletion(kind, name, one.id, "not in the topology"))
    for one in surplus:
        draft.add(deletion(kind, one.name, one.id, "a second one of this name", lossless=True))
