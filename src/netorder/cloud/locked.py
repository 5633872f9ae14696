"""Servers that somebody locked (`openstack server lock`): Nova changes and deletes none, unless for administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openstack.compute.v2.server import Server

    from netorder.cloud.change import Change
    from netorder.cloud.session import Cloud

__all__ = ["locked_problem", "locked_problems"]

# Kinds of changes that Nova is asked for, each with the id of a server.
OF_SERVERS = frozenset({"server", "host key"})


def locked_problems(cloud: Cloud, servers: Iterable[Server], changes: Iterable[Change]) -> list[str]:
    """Return a problem for each of ``servers`` that one of ``changes`` is about, and that is locked.

    None for an administrator, nor where the kind of login does not tell its roles: Nova itself then refuses what it
    does not allow.
    """
    concerned = {change.id for change in changes if change.kind in OF_SERVERS}
    locked = [server for server in servers if server.is_locked and server.id in concerned]
    if not locked or not (roles := cloud.roles) or "admin" in roles:
        return []
    return [locked_problem(server) for server in locked]


def locked_problem(server: Server) -> str:
    """Say that a server is locked, and what to do."""
    why = f" ({server.locked_reason})" if server.locked_reason else ""
    return (
        f"Server {server.name} is locked{why}, and Nova neither changes nor deletes it: `openstack server unlock "
        f"{server.name}`, then run again. What an administrator locked, only an administrator unlocks."
    )
