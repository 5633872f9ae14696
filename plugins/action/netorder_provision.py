"""Action netorder_provision: runs netorder's reconciler on the controller and shows its progress while it works."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from netorder.ansible.live import LIVE, progress
from netorder.cloud.preview import unchanged_text
from netorder.cloud.waits import HOSTKEY_TIMEOUT
from netorder.controller import lock
from netorder.controller import timings as times
from netorder.controller.provision import provision
from netorder.errors import NetorderError, RefusedError


class ActionModule(ActionBase):
    """A wrapper; options and results are documented in plugins/modules/netorder_provision.py."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Provision; a topology or cloud error fails the task with its own message."""
        lock.end_with_parent()
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "topology": {"type": "path", "required": True},
                "files": {"type": "path", "required": True},
                "ssh_key": {"type": "path"},
                "allow": {"type": "list", "elements": "str", "default": []},
                "format": {"type": "str", "choices": ["text", "json"], "default": "text"},
                "hostkey_timeout": {"type": "float", "default": HOSTKEY_TIMEOUT},
                "fail": {"type": "bool", "default": True},
                "target": {"type": "str"},
                "golden": {"type": "bool", "default": False},
            }
        )
        try:
            done = provision(
                Path(options["topology"]),
                files=Path(options["files"]),
                ssh_key=Path(options["ssh_key"]) if options["ssh_key"] else None,
                check=self._task.check_mode,
                allow=options["allow"],
                hostkey_timeout=options["hostkey_timeout"],
                target=options["target"],
                golden=options["golden"],
                progress=progress(self._display, task_vars),
            )
        except NetorderError as error:
            preview = error.preview.as_dict() if isinstance(error, RefusedError) else {}
            if self._task.check_mode and not options["fail"]:
                return result | preview | {"problems": list(error.problems)}
            if self._task.diff and "diff" in preview:  # Ansible shows none for a failed task
                self._display.display(preview["diff"]["prepared"])
            raise AnsibleActionFail("\n".join(error.problems)) from None
        if not done["changes"]:
            self._display.display(f"  matches the plan: {unchanged_text(done['unchanged'])}")
        if self._task.check_mode and done["needs_allow"]:
            self._display.display(
                f"  a run needs permission for this: -e allow={','.join(done['needs_allow'])}", color="yellow"
            )
        if done["timings"]:
            if options["format"] == "json":
                text = json.dumps(done["timings"])
            elif os.environ.get(LIVE):  # who watches it wants a line; `netorder times` and the report have the table
                text = times.summary(done)[-1]
            else:
                text = times.text(done, times.SHOWN)
            self._display.display(text)
        return result | done
