"""Action netorder_wait_ready: asks on the host until its service is ready, within a bound in seconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from netorder.cloud.waits import SPOKEN, WAITS, Wait, Waits

PAUSE = 1.0
ATTEMPT = 10.0  # s, for one answer


class ActionModule(ActionBase):
    """Options and results are documented in plugins/modules/netorder_wait_ready.py."""

    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask with ansible.builtin.uri, where the task runs; return its last answer."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "url": {"type": "str", "required": True},
                "directory": {"type": "path", "required": True},
                "timeout": {"type": "float", "default": 30.0},
            }
        )
        url, directory = options["url"], Path(options["directory"])
        host = (task_vars or {}).get("inventory_hostname", "")
        wait = Wait(Waits(directory.parent / WAITS / directory.name), f"{url} on {host}", options["timeout"])
        while True:
            left = options["timeout"] - wait.took
            asked = {"url": url, "return_content": True, "timeout": int(max(1.0, min(ATTEMPT, left)))}
            answer = self._execute_module(module_name="ansible.builtin.uri", module_args=asked, task_vars=task_vars)
            said = str(answer.get("content") or answer.get("msg") or "").strip()
            if answer.get("unreachable") or not answer.get("failed"):
                wait.done()
                return result | answer
            if wait.took + PAUSE >= options["timeout"]:
                return result | answer | {"msg": f"{url} is not ready after {wait.took:.0f} s: {said}"}
            if not wait.told and wait.took + PAUSE >= SPOKEN:
                self._display.display(f"  {wait.opening(said)}")
            time.sleep(PAUSE)
