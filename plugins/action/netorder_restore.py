"""Action netorder_restore: puts a snapshot onto a host's disk, and shows its progress while it works."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import operate
from netorder.cloud.reconcile import HOSTKEY_TIMEOUT
from netorder.controller.operate import SSH_TIMEOUT, restore


class ActionModule(ActionBase):
    """A wrapper; options and results are documented in plugins/modules/netorder_restore.py."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Restore; an error fails the task with its own message."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "topology": {"type": "path", "required": True},
                "files": {"type": "path", "required": True},
                "cloud": {"type": "str"},
                "target": {"type": "str"},
                "host": {"type": "str", "required": True},
                "snapshot": {"type": "str"},
                "allow": {"type": "list", "elements": "str", "default": []},
                "ssh_key": {"type": "path"},
                "hostkey_timeout": {"type": "float", "default": HOSTKEY_TIMEOUT},
                "ssh_timeout": {"type": "float", "default": SSH_TIMEOUT},
            }
        )
        return result | operate(self, restore, **options)
