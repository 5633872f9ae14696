"""Action netorder_local_command: a command on the controller, without a module's process on the way."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Options and results are documented in plugins/modules/netorder_local_command.py."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the command to its end."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "argv": {"type": "list", "elements": "str", "required": True},
                "environment": {"type": "dict", "default": {}},
            }
        )
        argv = options["argv"]
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env={**os.environ, **options["environment"]},
            )
        except OSError as error:
            return result | {"failed": True, "msg": f"{argv[0]}: {error.strerror}"}
        result |= {"changed": False, "rc": done.returncode}
        result |= {"stdout": done.stdout.rstrip("\r\n"), "stderr": done.stderr.rstrip("\r\n")}
        result |= {"stdout_lines": result["stdout"].splitlines(), "stderr_lines": result["stderr"].splitlines()}
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            result |= {"failed": True, "msg": f"{' '.join(argv)} ended with {done.returncode}: {said}"}
        return result
