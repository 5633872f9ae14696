"""Action netorder_golden_images: lists a topology's golden images, and removes some."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import operate
from netorder.controller.operate import golden_images


class ActionModule(ActionBase):
    """A wrapper; options and results are documented in plugins/modules/netorder_golden_images.py."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it; an error fails the task with its own message."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "topology": {"type": "path", "required": True},
                "files": {"type": "path", "required": True},
                "cloud": {"type": "str"},
                "remove": {"type": "list", "elements": "str", "default": []},
                "keep": {"type": "int"},
            }
        )
        return result | operate(self, golden_images, **options)
