"""Action netorder_power: stops, starts or shelves hosts, and shows its progress while it works."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import operate
from netorder.controller.operate import power


class ActionModule(ActionBase):
    """A wrapper; options and results are documented in plugins/modules/netorder_power.py."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Change their state; an error fails the task with its own message."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "topology": {"type": "path", "required": True},
                "files": {"type": "path", "required": True},
                "cloud": {"type": "str"},
                "target": {"type": "str"},
                "state": {"type": "str", "required": True, "choices": ["stopped", "started", "shelved"]},
                "hosts": {"type": "list", "elements": "str", "default": []},
            }
        )
        return result | operate(self, power, **options)
