"""Action netorder_service: one exchange with the host; a second with the file's content only if the host lacks it."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Options and results are documented in plugins/modules/netorder_service.py."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Let the module compare digests, and send it what it asks for."""
        super().run(tmp, task_vars)
        arguments = {key: value for key, value in self._task.args.items() if value is not None}
        content = b""
        if "digest" in arguments or "content" in arguments:
            raise AnsibleActionFail("digest and content follow from source: leave them out")
        if source := arguments.pop("source", ""):
            try:
                content = Path(self._find_needle("files", source)).read_bytes()
            except OSError as error:
                raise AnsibleActionFail(f"source {source}: {error.strerror}") from None
            arguments["digest"] = hashlib.sha256(content).hexdigest()
        result = self._ask(arguments, task_vars)
        if result.get("wants_content"):
            packed = base64.b64encode(zlib.compress(content)).decode()
            result = self._ask(arguments | {"content": packed}, task_vars)
        if self._task.check_mode and result.get("changed"):
            host = (task_vars or {}).get("inventory_hostname", "")
            self._display.display(
                f"  {host}: {arguments['unit']}: a run would {', '.join(result['actions'])}", color="yellow"
            )
        return result

    def _ask(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="netorder_service", module_args=arguments, task_vars=task_vars
        )
        return result
