"""Action netorder_local_command: a command on the controller, or a function here, without a process on the way."""

from __future__ import annotations

import io
import os
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Any

from ansible.plugins.action import ActionBase


def _called(module: str, arguments: list[str]) -> tuple[int, str, str]:
    """Call a module's ``main``; return its status and what it printed."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            status = import_module(module).main(arguments) or 0
        except SystemExit as end:  # argparse's
            status = end.code if isinstance(end.code, int) else 1
    return status, output.getvalue(), errors.getvalue()


def _run(argv: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


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
                "module": {"type": "str"},
            },
        )
        argv, module = options["argv"], options["module"]
        try:
            status, output, errors = _called(module, argv) if module else _run(argv, options["environment"])
        except OSError as error:
            return result | {"failed": True, "msg": f"{module or argv[0]}: {error.strerror}"}
        result |= {"changed": False, "rc": status}
        result |= {"stdout": output.rstrip("\r\n"), "stderr": errors.rstrip("\r\n")}
        result |= {"stdout_lines": result["stdout"].splitlines(), "stderr_lines": result["stderr"].splitlines()}
        if status:
            line = " ".join([module, *argv] if module else argv)
            result |= {"failed": True, "msg": f"{line} ended with {status}: {(errors or output).strip()}"}
        return result
