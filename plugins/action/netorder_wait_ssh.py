"""Action netorder_wait_ssh: waits on the controller until the host answers SSH, and says why it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase

from netorder.ansible.live import progress
from netorder.controller import ssh_wait
from netorder.controller.answering import Login, until_answered
from netorder.topology import OPENSTACK


class ActionModule(ActionBase):
    """A wrapper; options and results are documented in plugins/modules/netorder_wait_ssh.py."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Wait; in check mode, try once, and leave the judgement to the playbook."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "topology": {"type": "str", "required": True},
                "directory": {"type": "path", "required": True},
                "host": {"type": "str", "required": True},
                "user": {"type": "str", "required": True},
                "address": {"type": "str", "required": True},
                "before": {"type": "list", "elements": "str", "default": []},
                "blocked": {"type": "str", "default": ""},
                "target": {"type": "str", "default": OPENSTACK},
                "timeout": {"type": "float", "default": 180.0},
            }
        )
        given = task_vars or {}
        login = Login(
            topology=options["topology"],
            host=options["host"],
            user=options["user"],
            address=options["address"],
            before=(*options["before"],),
            blocked=options["blocked"],
            target=options["target"],
            cloud=given.get("netorder_cloud") or None,
            files=Path(given.get("netorder_files") or ".netorder"),
            directory=Path(options["directory"]),
        )
        # of this task in this run: all its hosts, in however many turns, share one bound
        marker = Path(constants.DEFAULT_LOCAL_TMP, f"netorder-wait-{self._task._uuid}")  # noqa: SLF001
        answer, why = until_answered(
            login,
            options["timeout"],
            progress=progress(self._display, task_vars),
            warn=self._display.warning,
            spent=ssh_wait.spent(marker),
            once=self._task.check_mode,
        )
        if why:
            return {"failed": True, "msg": why}  # alone: Ansible shows each value of a failed result
        # not as rc: with one that is not 0 Ansible takes a task for failed, in check mode too
        return result | {"answered": answer.rc == 0, "stderr": answer.said, "seconds": round(answer.seconds, 1)}
