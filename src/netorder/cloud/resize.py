"""Change a server's flavor: Nova's resize, then confirmed, or reverted where the host no longer answers.

Nova may take a resize back without a word in the server's status: what its events say is then the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openstack.exceptions import BadRequestException, ConflictException, HttpException

from netorder.cloud.errors import explain
from netorder.cloud.idle import failed_action, until_idle
from netorder.cloud.locked import locked_problem
from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable

    from openstack.compute.v2.server import Server

    from netorder.cloud.session import Cloud

    # "" where the host answers, else why not, for people
    Answers = Callable[[], str]

__all__ = ["VERIFY", "powered_off", "resize", "settle"]

VERIFY = "VERIFY_RESIZE"
SHUTDOWN = 4  # Nova's power state
# What Nova answers where a resize is confirmed already, and (400) where it is at that, for a run that was killed.
REFUSED = (ConflictException, BadRequestException)


def powered_off(server: Server) -> bool:
    """Return whether a server does not run; at VERIFY_RESIZE its status does not tell what it was before."""
    return bool(server.status == "SHUTOFF" or (server.status == VERIFY and server.power_state == SHUTDOWN))


def resize(cloud: Cloud, server: str, name: str, flavor: tuple[str, str], answers: Answers | None = None) -> str:
    """Give a server, by id and name, the ``flavor`` (name, id); return its status when that is done.

    ``answers`` as in :func:`settle`. Raises CloudError, also where Nova or this took the change back.
    """
    compute: Any = cloud.conn.compute
    compute.resize_server(server, flavor[1])
    found = until_idle(cloud, server, f"server {name} to be resized")
    if found.status == VERIFY:
        return settle(cloud, server, name, answers)
    if found.flavor.original_name == flavor[0]:  # the cloud confirms by itself
        return str(found.status)
    why = failed_action(cloud, server, "resize")
    raise CloudError(
        f"Nova took the change of flavor to {flavor[0]} back, {name} has {found.flavor.original_name} as before: {why}"
    )


def settle(cloud: Cloud, server: str, name: str, answers: Answers | None = None) -> str:
    """End a resize that waits for it (VERIFY_RESIZE); return the server's status.

    It is confirmed if ``answers`` returns "", or is None: then the host is not asked. Else it is reverted, what was
    written since is lost, and CloudError says why.
    """
    compute: Any = cloud.conn.compute
    why = answers() if answers else ""
    if not why:
        try:
            compute.confirm_server_resize(server)
        except REFUSED as error:
            _not_locked(compute.get_server(server), error)
            cloud.say(f"{name}: the resize is confirmed already, or is just being: {explain(error)}")
        return str(until_idle(cloud, server, f"the resize of {name} to be confirmed", out_of=VERIFY).status)
    had = compute.get_server(server).flavor.original_name
    cloud.say(f"{name} does not answer with flavor {had}: the resize is reverted")
    try:
        compute.revert_server_resize(server)
    except REFUSED as error:
        _not_locked(compute.get_server(server), error)
        raise CloudError(
            f"{name} does not answer with flavor {had}, and {_confirmed(error)}, so that it cannot be reverted. Resize "
            f"it back: playbooks/resize.yml. {why}"
        ) from error
    found = until_idle(cloud, server, f"the resize of {name} to be reverted", out_of=VERIFY)
    has = found.flavor.original_name
    if has == had:
        raise CloudError(f"{name} kept flavor {had}: {failed_action(cloud, server, 'revertResize')} {why}")
    raise CloudError(f"{name} did not answer with flavor {had} and has {has} again, with its disk as before. {why}")


def _confirmed(error: HttpException) -> str:
    """Say who had confirmed a resize, by how Nova refuses to revert it."""
    if isinstance(error, ConflictException):
        return "the cloud had confirmed the resize by itself (Nova's resize_confirm_window)"
    return f"a run that was killed had most likely confirmed the resize ({explain(error)})"


def _not_locked(found: Server, error: HttpException) -> None:
    if found.status == VERIFY and found.is_locked:
        raise CloudError(locked_problem(found)) from error
