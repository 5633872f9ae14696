"""Action netorder_snapshots: lists a topology's snapshots, and removes some, and shows its progress while it works."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import HOSTS, Operation
from netorder.controller.operations.snapshots import snapshots


class ActionModule(Operation, ActionBase):
    """Options and results are documented in plugins/modules/netorder_snapshots.py."""

    do = staticmethod(snapshots)
    options = {  # noqa: RUF012 - as Operation has it
        "remove": {"type": "list", "elements": "str", "default": []},
        "keep": {"type": "int"},
        "hosts": HOSTS,
    }
