"""Action netorder_wait_ready: asks on the host until its applications serve, within a bound in seconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from netorder.ansible.live import progress
from netorder.cloud.waits import SPOKEN, Wait, Waits

PAUSE = 1.0


class ActionModule(ActionBase):
    """Options and results are documented in plugins/modules/netorder_wait_ready.py."""

    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask with netorder_observe until nothing differs; return its last checks."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "answers": {"type": "list", "elements": "dict", "default": []},
                "connections": {"type": "list", "elements": "dict", "default": []},
                "units": {"type": "list", "elements": "str", "default": []},
                "directory": {"type": "path", "required": True},
                "timeout": {"type": "float", "default": 30.0},
            }
        )
        directory, host = Path(options["directory"]), (task_vars or {}).get("inventory_hostname", "")
        wait = Wait(Waits.of(directory), f"applications on {host}", options["timeout"])
        asked = {key: options[key] for key in ("connections", "units")}
        # whether or not its unit runs: one that does not has nothing that serves
        asked["answers"] = [{key: one[key] for key in one if key != "unit"} for one in options["answers"]]
        while True:
            answer = self._execute_module(module_name="netorder_observe", module_args=asked, task_vars=task_vars)
            wrong = [one for one in answer.get("checks", []) if not one["ok"]]
            if answer.get("unreachable") or answer.get("failed") or not wrong:
                wait.done()
                return result | answer
            said = "; ".join(f"{one['what']}: expected {one['expected']}, found {one['found']}" for one in wrong)
            if wait.took + PAUSE >= options["timeout"]:
                return result | answer | {"failed": True, "msg": f"not serving after {wait.took:.0f} s: {said}"}
            if not wait.told and wait.took + PAUSE >= SPOKEN:
                progress(self._display, task_vars)(wait.opening(said))
            time.sleep(PAUSE)
