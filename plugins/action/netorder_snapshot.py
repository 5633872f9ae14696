"""Action netorder_snapshot: makes an image of a host, and shows its progress while it works."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import operate
from netorder.controller.operate import snapshot


class ActionModule(ActionBase):
    """A wrapper; options and results are documented in plugins/modules/netorder_snapshot.py."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make the image; an error fails the task with its own message."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "topology": {"type": "path", "required": True},
                "files": {"type": "path", "required": True},
                "cloud": {"type": "str"},
                "target": {"type": "str"},
                "host": {"type": "str", "required": True},
                "versions": {"type": "dict", "default": {}},
            }
        )
        return result | operate(self, snapshot, **options)
