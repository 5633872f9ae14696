"""Action netorder_try_ssh: one login by the controller's ssh, without a module's process on the controller."""

from __future__ import annotations

import subprocess
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Options and results are documented in plugins/modules/netorder_try_ssh.py."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Try once; the outcome is in the result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "config": {"type": "path", "required": True},
                "target": {"type": "str", "required": True},
                "connect_timeout": {"type": "int", "default": 10},
            }
        )
        settings = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={options['connect_timeout']}"]
        done = subprocess.run(
            ["ssh", "-F", options["config"], *settings, options["target"], "true"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        return result | {"changed": False, "rc": done.returncode, "stderr": done.stderr}
