"""Action netorder_restore: puts a snapshot onto a host's disk, and shows its progress while it works."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import Operation
from netorder.cloud.waits import HOSTKEY_TIMEOUT
from netorder.controller.operations.site import SSH_TIMEOUT
from netorder.controller.operations.snapshots import restore


class ActionModule(Operation, ActionBase):
    """Options and results are documented in plugins/modules/netorder_restore.py."""

    do = staticmethod(restore)
    options = {  # noqa: RUF012 - as Operation has it
        "host": {"type": "str", "required": True},
        "snapshot": {"type": "str"},
        "allow": {"type": "list", "elements": "str", "default": []},
        "ssh_key": {"type": "path"},
        "hostkey_timeout": {"type": "float", "default": HOSTKEY_TIMEOUT},
        "ssh_timeout": {"type": "float", "default": SSH_TIMEOUT},
    }
