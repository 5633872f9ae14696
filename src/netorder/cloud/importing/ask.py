"""What a project has: each kind of resource listed once, all at the same time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from openstack.exceptions import ForbiddenException, NotFoundException

from netorder.cloud.errors import translate_errors
from netorder.cloud.jobs import gather
from netorder.cloud.observe import is_router_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from netorder.cloud.session import Cloud

__all__ = ["As", "Image", "Project", "ask", "interfaces", "remembered"]

Things = tuple[Any, ...]  # the SDK's resources


@dataclass(frozen=True, slots=True)
class Image:
    """What servers were made from: ``named`` is how many of that name there are, ``user`` whom it lets in, if it says.

    One that is deleted has no name.
    """

    id: str
    name: str = ""
    named: int = 1
    user: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """The answers; ``networks`` and ``subnets`` are all that the login sees, the rest is the project's own.

    ``address_groups`` are their prefixes, by id.
    """

    id: str
    networks: Things = ()
    subnets: Things = ()
    routers: Things = ()
    ports: Things = ()
    groups: Things = ()
    floating_ips: Things = ()
    servers: Things = ()
    server_groups: Things = ()
    images: Mapping[str, Image] = field(default_factory=dict)
    address_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def ask(cloud: Cloud) -> Project:
    """Ask the cloud for what the credentials' own project has. Raises CloudError."""
    net, compute = cloud.conn.network, cloud.conn.compute
    mine = {"project_id": cloud.project}

    def listed(call: Callable[..., Iterable[Any]], **given: object) -> Callable[[], Things]:
        return lambda: tuple(call(**given))

    with translate_errors():
        answers = gather(
            cloud,
            [
                listed(net.networks),
                listed(net.subnets),
                listed(net.routers, **mine),
                listed(net.ports, **mine),
                listed(net.security_groups, **mine),
                listed(net.ips, **mine),
                listed(compute.servers, details=True),
                lambda: _optional(compute.server_groups),
                lambda: _optional(net.address_groups),
            ],
        )
        networks, subnets, routers, ports, groups, floating_ips, servers, server_groups, address_groups = answers
        ids = sorted({str(one.image.id) for one in servers if one.image and one.image.id})
        _ = cloud.conn.image if ids else None  # its version discovery is not for several threads at once
        images = gather(cloud, [partial(_image, cloud, id_) for id_ in ids])
    return Project(
        cloud.project,
        networks,
        subnets,
        routers,
        ports,
        groups,
        floating_ips,
        servers,
        server_groups,
        images={one.id: one for one in images},
        address_groups={one.id: tuple(map(str, one.addresses or ())) for one in address_groups},
    )


def _optional(call: Callable[[], Iterable[Any]]) -> Things:
    """List what not every cloud has, or lets everybody list."""
    try:
        return tuple(call())
    except (ForbiddenException, NotFoundException):
        return ()


def _image(cloud: Cloud, id_: str) -> Image:
    try:
        found: Any = cloud.conn.image.get_image(id_)
    except (ForbiddenException, NotFoundException):
        return Image(id_)
    name = str(found.name or "")
    named = len(list(cloud.conn.image.images(name=name))) if name else 0
    return Image(
        id_, name, max(named, 1), str((found.properties or {}).get("os_admin_user") or found.os_admin_user or "")
    )


class As:
    """A resource of the cloud, some of whose attributes are others."""

    def __init__(self, one: Any, **others: object) -> None:  # noqa: ANN401 - a resource
        self.__dict__.update(others)
        self.__dict__["_one"] = one

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the resource has
        return getattr(self.__dict__["_one"], name)


class _Remembered:
    """A resource whose attributes are looked up once: the SDK makes some of them anew each time (a flavor in 10 ms)."""

    def __init__(self, one: Any) -> None:  # noqa: ANN401 - a resource
        self.__dict__["_one"] = one

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the resource has
        value = self.__dict__[name] = getattr(self.__dict__["_one"], name)
        return value


def remembered(project: Project) -> Project:
    """Return the same project, whose resources are quick to look at often."""
    kinds = "networks subnets routers ports groups floating_ips servers server_groups".split()
    quick: dict[str, Any] = {kind: tuple(map(_Remembered, getattr(project, kind))) for kind in kinds}
    return replace(project, **quick)


def interfaces(project: Project) -> dict[str, list[Any]]:
    """Return the ports of each router, by its id."""
    found: dict[str, list[Any]] = {}
    for port in project.ports:
        if is_router_port(port):
            found.setdefault(str(port.device_id), []).append(port)
    return found
