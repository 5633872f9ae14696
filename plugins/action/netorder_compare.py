"""Action netorder_compare: sends the texts of several of netorder's modules and their arguments at once."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

_MODULES = Path(__file__).parents[1] / "modules"
# those that have check mode and run on hosts; netorder_service is an option of its own
_KNOWN = ("netorder_observe", "netorder_host_network")


def _text(module: str) -> str:
    return (_MODULES / f"{module}.py").read_text(encoding="utf-8")


def _started(module: str, arguments: dict[str, Any]) -> subprocess.Popen[str]:
    """Start one of the modules here, as Ansible would on a host."""
    text = _text(module).replace("<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>", json.dumps(arguments))
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write(text)
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, "-"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate()
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError:
        return {"failed": True, "msg": f"ended with status {process.returncode}: {(output + errors).strip()}"}
    return found


def _clock(here: tuple[float, float], there: tuple[float, float]) -> dict[str, float]:
    """Return how far a clock is ahead of ours, by begin and end of an exchange on both (RFC 5905, section 8)."""
    ahead = ((there[0] - here[0]) + (there[1] - here[1])) / 2
    give = max(((here[1] - here[0]) - (there[1] - there[0])) / 2, 0.0)
    return {"ahead": round(ahead, 3), "give": round(give, 3)}


class ActionModule(ActionBase):
    """Options and results are documented in plugins/modules/netorder_compare.py."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the modules in one exchange."""
        super().run(tmp, task_vars)
        spec = {
            "modules": {"type": "dict", "required": True},
            "services": {"type": "list", "default": []},
            "outside": {"type": "dict"},
        }
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
        # what does not answer is waited for as long as on the host, so at the same time
        outside = _started("netorder_observe", options["outside"]) if options["outside"] else None
        begin = time.time()
        try:
            result: dict[str, Any] = self._execute_module(
                module_name="netorder_compare",
                module_args={"modules": modules, "sources": sources},
                task_vars=task_vars,
            )
        except BaseException:
            if outside:
                outside.kill()
                outside.wait()
            raise
        if "clock" in result:
            result["clock"] = _clock((begin, time.time()), result["clock"])
        found = _answer(outside) if outside else {}
        if found.get("failed"):
            return {
                **result,
                "failed": True,
                "msg": "; ".join(filter(None, [result.get("msg"), f"outside: {found['msg']}"])),
            }
        if outside and "answers" in result:
            result["answers"]["outside"] = found
        return result
