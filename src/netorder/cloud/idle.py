"""Wait until Nova has nothing under way with one server; and why what it had under way failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openstack.exceptions import SDKException

from netorder.cloud.observe import fault_text
from netorder.cloud.poll import Again, poll
from netorder.errors import CloudError

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server

    from netorder.cloud.session import Cloud

__all__ = ["failed_action", "until_idle"]

# Resizing and unshelving copy a disk, on slow storage for minutes (s).
IDLE_TIMEOUT = 900
IDLE_POLL = 1.0
BUSY = frozenset({"RESIZE", "REVERT_RESIZE", "REBUILD", "REBOOT", "HARD_REBOOT", "BUILD", "MIGRATING"})


def until_idle(cloud: Cloud, server: str, what: str, out_of: str = "") -> Server:
    """Return the server, by id, when Nova has nothing under way with it, and its status is another than ``out_of``."""
    late = f"Not done after {IDLE_TIMEOUT} s: see `openstack server show {server}`, then run again."

    def check() -> Server | Again[Server]:
        found: Server = cloud.conn.compute.get_server(server)
        if found.status == "ERROR":
            raise CloudError(f"Server {found.name} went to ERROR: {fault_text(found)}")
        busy = found.task_state or found.status in {*BUSY, out_of}
        return Again(IDLE_POLL, (late,), left=str(found.task_state or found.status).lower()) if busy else found

    return poll(cloud, what, check, IDLE_TIMEOUT)


def failed_action(cloud: Cloud, server: str, action: str) -> str:
    """Return what the events of a server's newest ``action`` (Nova's word) say of its failure, as one sentence."""
    compute: Any = cloud.conn.compute
    try:
        known = [one for one in compute.server_actions(server) if one.action == action]
        newest = max(known, key=lambda one: str(one.start_time))
        events = compute.get_server_action(newest.request_id, server).events or []
    except (SDKException, ValueError):
        return f"`openstack server event list {server}` may say why."
    for event in events:
        one: dict[str, Any] = event if type(event) is dict else event.to_dict()
        if str(one.get("result") or "").lower() == "error":
            said = " ".join(str(one.get("details") or newest.message or "no details").split()).rstrip(".")
            return f"its event {one['event']} ended with an error: {said}."
    return f"no event of it ended with an error; `openstack server event show {server} {newest.request_id}` has them."
