"""Action netorder_teardown: deletes what carries a topology's marker and shows its progress while it works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from netorder.ansible.live import progress
from netorder.controller import lock
from netorder.controller.provision import teardown
from netorder.errors import NetorderError
from netorder.topology import OPENSTACK, TARGETS


class ActionModule(ActionBase):
    """A wrapper; options and results are documented in plugins/modules/netorder_teardown.py."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Tear down; leftovers fail the task with their names."""
        lock.end_with_parent()
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "name": {"type": "str", "required": True},
                "files": {"type": "path", "required": True},
                "cloud": {"type": "str"},
                "snapshots": {"type": "str", "choices": ["keep", "delete"], "default": "keep"},
                "floating_ips": {"type": "str", "choices": ["keep", "delete"], "default": "keep"},
                "target": {"type": "str", "choices": list(TARGETS), "default": OPENSTACK},
            }
        )
        try:
            return result | teardown(
                options["name"],
                files=Path(options["files"]),
                cloud=options["cloud"],
                snapshots=options["snapshots"],
                floating_ips=options["floating_ips"],
                check=self._task.check_mode,
                target=options["target"],
                progress=progress(self._display, task_vars),
            )
        except NetorderError as error:
            raise AnsibleActionFail("\n".join(error.problems)) from None
