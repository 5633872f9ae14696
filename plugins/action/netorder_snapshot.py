"""Action netorder_snapshot: makes an image of a host, and shows its progress while it works."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import Operation
from netorder.controller.operations.snapshots import snapshot


class ActionModule(Operation, ActionBase):
    """Options and results are documented in plugins/modules/netorder_snapshot.py."""

    do = staticmethod(snapshot)
    options = {  # noqa: RUF012 - as Operation has it
        "host": {"type": "str", "required": True},
        "versions": {"type": "dict", "default": {}},
    }
