"""Action netorder_compare: sends the texts of several of netorder's modules and their arguments at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

_MODULES = Path(__file__).parents[1] / "modules"
# those that have check mode and run on hosts; netorder_service is an option of its own
_KNOWN = ("netorder_observe", "netorder_host_network")


def _text(module: str) -> str:
    return (_MODULES / f"{module}.py").read_text(encoding="utf-8")


class ActionModule(ActionBase):
    """Options and results are documented in plugins/modules/netorder_compare.py."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the modules in one exchange."""
        super().run(tmp, task_vars)
        spec = {"modules": {"type": "dict", "required": True}, "services": {"type": "list", "default": []}}
        _, options = self.validate_argument_spec(spec)
        modules = {name: arguments for name, arguments in options["modules"].items() if arguments is not None}
        if unknown := modules.keys() - set(_KNOWN):
            raise AnsibleActionFail(f"{', '.join(sorted(unknown))}: not among {', '.join(_KNOWN)}")
        sources = {name: _text(name) for name in modules}
        for service in options["services"]:
            name = f"netorder_service {service['unit']}"
            digest = hashlib.sha256(Path(service["source"]).read_bytes()).hexdigest()
            modules[name] = {key: value for key, value in service.items() if key != "source"} | {"digest": digest}
            sources[name] = _text("netorder_service")
        result: dict[str, Any] = self._execute_module(
            module_name="netorder_compare", module_args={"modules": modules, "sources": sources}, task_vars=task_vars
        )
        return result
