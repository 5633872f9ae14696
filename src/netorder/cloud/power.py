"""Stop, start and shelve servers, and note in their metadata what was stopped on purpose: that is then no drift."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from netorder.cloud.change import Change
from netorder.cloud.errors import translate_errors
from netorder.cloud.idle import failed_action, until_idle
from netorder.cloud.jobs import Job, run
from netorder.cloud.resources.server import KIND, METADATA, REVIVE
from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from openstack.compute.v2.server import Server

    from netorder.cloud.session import Cloud

__all__ = ["STATES", "power", "power_changes"]

SHELVED = frozenset({"SHELVED", "SHELVED_OFFLOADED"})
# What -e state= may say: the status that a server then has, and the statuses from which Nova takes it there.
STATES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "stopped": (frozenset({"SHUTOFF"}), frozenset({"ACTIVE"})),
    "started": (frozenset({"ACTIVE"}), frozenset({*REVIVE, *SHELVED})),
    "shelved": (SHELVED, frozenset({"ACTIVE", *REVIVE})),
}
WORD = {"stopped": "stop", "shelved": "shelve", "started": "start"}


def power_changes(state: str, servers: Iterable[Server]) -> tuple[list[Change], list[str]]:
    """Return what differs from ``state``, by server, and why some cannot have it. Pure."""
    there, before = STATES[state]
    changes, problems = [], []
    for server in servers:
        mark = (server.metadata or {}).get(METADATA["power"])
        wanted = None if state == "started" else state
        if server.status in there and mark == wanted:
            continue
        if state == "shelved" and server.status in SHELVED:  # Nova takes no note of one
            if not mark:
                problems.append(
                    f"Server {server.name} was shelved without a note that it is so on purpose, and Nova takes none "
                    "of a shelved server. Start it first (-e state=started), then shelve it."
                )
            continue
        if server.status not in there | before:
            problems.append(
                f"Server {server.name} is {server.status}: it cannot be {state} from there. Start it first "
                "(-e state=started), or finish what is under way with it."
            )
            continue
        why = "asked for" if server.status not in there else "its note of what it should be differs"
        old: dict[str, object] = {"status": server.status}
        after: dict[str, object] = {"status": server.status if server.status in there else min(there, key=len)}
        if mark != wanted:
            old["on purpose"], after["on purpose"] = mark, wanted
        changes.append(Change(KIND, str(server.name), "update", why, old, after, str(server.id)))
    return changes, problems


def power(cloud: Cloud, state: str, steps: Sequence[Sequence[Server]]) -> None:
    """Bring the servers to ``state``, step by step, those of one step at the same time.

    The note comes before a server stops and goes before it starts: of a killed run it is right or, on a server that
    runs, means nothing. Of a shelved one it goes afterwards, as Nova does not let it go before.
    """
    for step in steps:
        jobs = [Job(KIND, (str(s.name),), WORD[state], partial(_one, cloud, state, s)) for s in step]
        run(cloud, jobs)
        for server in step:
            found = until_idle(cloud, str(server.id), f"server {server.name} to be {state}")
            if found.status not in STATES[state][0]:
                why = failed_action(cloud, str(server.id), "unshelve" if server.status in SHELVED else WORD[state])
                raise CloudError(f"Server {server.name} is {found.status}, not {state}: {why}")
            if state == "started" and server.status in SHELVED:
                _unnote(cloud, server)


def _one(cloud: Cloud, state: str, server: Server) -> None:
    compute: Any = cloud.conn.compute
    with translate_errors():
        if state == "started":
            if server.status not in SHELVED:
                _unnote(cloud, server)
        else:
            compute.set_server_metadata(server.id, **{METADATA["power"]: state})
        if server.status in STATES[state][0]:
            return
        if state == "stopped":
            compute.stop_server(server.id)
        elif state == "shelved":
            compute.shelve_server(server.id)
        elif server.status in SHELVED:
            compute.unshelve_server(server.id)
        else:
            getattr(compute, REVIVE[str(server.status)])(server.id)


def _unnote(cloud: Cloud, server: Server) -> None:
    """Remove the note that a server is off on purpose."""
    compute: Any = cloud.conn.compute
    if METADATA["power"] in (server.metadata or {}):
        with translate_errors():
            compute.delete_server_metadata(server.id, [METADATA["power"]])
