"""Action netorder_wait_ssh: waits on the controller until the host answers SSH, and says why it does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible import constants
from ansible.plugins.action import ActionBase

from netorder.ansible.live import progress
from netorder.cloud.waits import Waits
from netorder.controller import local, ssh_wait
from netorder.controller.ssh import own_address
from netorder.errors import NetorderError
from netorder.topology import OPENSTACK

if TYPE_CHECKING:
    from netorder.cloud.signs import Signs


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
        cloud = (task_vars or {}).get("netorder_cloud") or None
        host, address, behind = options["host"], options["address"], bool(options["before"])
        causes: list[str] = []
        seen: list[tuple[Signs, ssh_wait.Cause]] = []
        sources, blocked = options["before"], options["blocked"]
        if not behind:
            try:
                sources = [own_address(address)]
            except OSError as error:
                blocked = f"this machine has no route to {address}: {error.strerror}"

        def look(said: str) -> bool:
            """Ask the cloud; a cloud that does not answer proves nothing about the host."""
            # here: each host has a process of its own, and importing the SDK takes longer than a host's answer
            if options["target"] in local.LOCAL:
                files = Path((task_vars or {}).get("netorder_files") or ".netorder")
                text, certain = local.unanswered(options["target"], options["topology"], host, files)
                causes[:] = [text]
                return certain
            from netorder.cloud.session import connect  # noqa: PLC0415
            from netorder.cloud.signs import signs  # noqa: PLC0415

            try:
                found = signs(connect(lambda _: None, cloud), options["topology"], host)
            except NetorderError as error:
                self._display.warning(f"{host}: the cloud could not be asked why it does not answer: {error}")
                return False
            cause = ssh_wait.likely_cause(
                said,
                found,
                sources=sources,
                blocked=blocked,
                expected=None if behind else address,
            )
            seen[:] = [(found, cause)]
            return cause.certain

        directory = Path(options["directory"])
        # of this task in this run: all its hosts, in however many turns, share one bound
        marker = Path(constants.DEFAULT_LOCAL_TMP, f"netorder-wait-{self._task._uuid}")  # noqa: SLF001
        answer = ssh_wait.wait(
            ["ssh", "-F", str(directory / "ssh_config"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
             f"{options['user']}@{address}", "true"],
            options["timeout"],
            waits=Waits.of(directory),
            host=host,
            progress=progress(self._display, task_vars),
            hopeless=look,
            spent=ssh_wait.spent(marker),
            once=self._task.check_mode,
        )  # fmt: skip
        # not as rc: with one that is not 0 Ansible takes a task for failed, in check mode too
        result |= {"answered": answer.rc == 0, "stderr": answer.said, "seconds": round(answer.seconds, 1)}
        if answer.rc and not self._task.check_mode:
            look(answer.said)
            # once: Ansible shows each value of a failed result
            result = {"failed": True, "msg": f"{host} does not answer SSH: {answer.said}"}
            if causes:
                result["msg"] += f"; likely cause: {causes[0]}"
            if seen:
                found, cause = seen[0]
                result["msg"] = ssh_wait.diagnosis(host, answer, cause, found)
        return result
