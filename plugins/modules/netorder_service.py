#!/usr/bin/python
"""A systemd service of one executable file: file, unit, state, in one exchange with the host."""

# Sent to the host as it is, with its arguments in the last lines, and read by Python from standard input (Ansible's
# module style "new" of the kind jsonargs): the standard library alone, nothing newer than Python 3.8 but annotations.

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCUMENTATION = r"""
module: netorder_service
short_description: install and run a systemd service that is one file
description:
  - Compares the file (by digest), the unit (by text), their owners and modes, and the unit's state; changes what
    differs. The unit of a service that is there is replaced, and the service stopped, only when its command accepts
    its configuration.
  - Restarts the service when its file or unit changed, or when systemd has not read its present unit; starts and
    enables it otherwise.
  - The file's content goes to the host only where the host does not have it (see plugins/action/).
  - Check mode changes nothing and says what a run would do; diff mode shows the unit's text.
  - Runs on the host and needs Python's standard library and systemd only.
options:
  unit:
    description: The unit's name, for instance V(netorder-sum.service).
    type: str
    required: true
  text:
    description: The unit's text.
    type: str
    required: true
  file:
    description: The absolute path of the service's file on the host. Written only if O(source) is given.
    type: path
    required: true
  source:
    description: The file on the controller. Without it the file must be on the host already.
    type: path
  check:
    description: A command, as a list, that accepts the service's configuration; run before a unit is replaced.
    type: list
    elements: str
    default: []
author: netorder
"""

EXAMPLES = r"""
- name: Run sum
  netorder_service:
    unit: netorder-sum.service
    text: "{{ lookup('ansible.builtin.template', 'sum.service.j2') }}"
    file: /usr/local/lib/sum.pyz
    source: files/sum.pyz
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in words.
  type: list
  elements: str
  returned: success
file_differs:
  description: Whether the file was missing or another one.
  type: bool
  returned: success
unit_differs:
  description: Whether the unit's text, owner or mode was another one.
  type: bool
  returned: success
unit_before:
  description: The unit's text before; empty when there was none.
  type: str
  returned: success
state:
  description: The unit's ActiveState, UnitFileState and NeedDaemonReload before.
  type: dict
  returned: success
"""

UNITS = Path("/etc/systemd/system")
MODE = 0o644
# what of a crash loop between two attempts is no failure yet
SETTLE_SECONDS = 6
JOURNAL_LINES = 20


class ServiceError(Exception):
    """Something that the user has to fix; the text says what."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except OSError as error:
        raise ServiceError(f"{command[0]}: {error.strerror}") from None


def systemctl(*arguments: str) -> str:
    """Return what systemctl prints. Raise ServiceError when it fails."""
    done = run("systemctl", *arguments)
    if done.returncode:
        raise ServiceError(f"systemctl {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def state_of(unit: str) -> dict[str, str]:
    """Return ActiveState, UnitFileState and NeedDaemonReload."""
    shown = systemctl("show", "--property=ActiveState,UnitFileState,NeedDaemonReload", unit)
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def owned(path: Path) -> bool:
    """Whether a file is root's and has the mode that it gets here. One that cannot be read is an error."""
    status = path.stat()
    return (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, MODE)


def write(path: Path, content: bytes) -> None:
    """Replace a file in one step: whoever reads it meets the old or the new one, never a part."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as part:
            os.fchmod(number, MODE)
            part.write(content)
            part.flush()
            os.fsync(number)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink()
        raise


def installed(path: Path, pattern: str) -> list[str]:
    """List what is beside ``path`` by the same pattern."""
    return sorted(str(one) for one in path.parent.glob(pattern))


class Service:
    """What is, what must be and what differs."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.unit: str = params["unit"]
        self.file = Path(params["file"])
        self.path = UNITS / self.unit
        self.planned: str = params["text"]
        self.before = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        found = hashlib.sha256(self.file.read_bytes()).hexdigest() if self.file.is_file() else ""
        self.lacking = bool(params["digest"]) and found != params["digest"]
        self.file_differs = self.lacking or (bool(params["digest"]) and not owned(self.file))
        if not params["digest"] and not found:
            others = installed(self.file, "*" + self.file.suffix)
            raise ServiceError(f"{self.file} is not on this host, which has: {' '.join(others) or 'none'}")
        self.unit_differs = self.before != self.planned or not owned(self.path)
        self.state = state_of(self.unit)
        self.stale = self.state.get("NeedDaemonReload") == "yes"
        self.active = self.state.get("ActiveState", "unknown")
        self.enabled = self.state.get("UnitFileState") == "enabled"

    def restarts(self) -> bool:
        """Whether what runs is not what must run."""
        return self.file_differs or self.unit_differs or self.stale

    def actions(self) -> list[str]:
        """Say what has to be done."""
        found = [f"write {self.file}"] if self.file_differs else []
        found += [f"write {self.path}"] if self.unit_differs else []
        if self.restarts():
            found.append("start it" if self.active in {"inactive", "failed"} else "restart it")
        elif self.active not in {"active", "activating"}:
            found.append("start it")
        return found + ([] if self.enabled else ["enable it"])

    def result(self) -> dict[str, Any]:
        """Return the module's answer."""
        actions = self.actions()
        return {
            "changed": bool(actions),
            "actions": actions,
            "file_differs": self.file_differs,
            "unit_differs": self.unit_differs,
            "unit_before": self.before,
            "state": self.state,
            "diff": [
                *(
                    [{"before_header": str(self.path), "after_header": str(self.path),
                      "before": self.before, "after": self.planned}]
                    if self.unit_differs
                    else []
                ),
                *([{"prepared": f"{self.unit}: {', '.join(actions)}\n"}] if actions else []),
            ],
        }  # fmt: skip

    def install(self, content: bytes) -> None:
        """Write file and unit; the unit only when the file accepts its configuration."""
        if self.lacking:
            write(self.file, content)
        elif self.file_differs:
            os.chown(self.file, 0, 0)
            self.file.chmod(MODE)
        if self.unit_differs:
            # one that is new has nothing to lose: its start tells the same, and asks Python to begin once, not twice
            check = self.params["check"] if self.before else []
            done = run(*check) if check else None
            if done and done.returncode:
                said = (done.stderr or done.stdout).strip()
                raise ServiceError(f"{self.file.name} does not run here or refuses its configuration: {said}")
            write(self.path, self.planned.encode())

    def start(self) -> None:
        """Make it run, now and at boot. Raise ServiceError, with the end of its journal, when it does not."""
        try:
            if not self.enabled:
                systemctl("--quiet", "enable", self.unit)  # which reads all units anew, too
            elif self.unit_differs or self.stale:
                systemctl("daemon-reload")
            if self.restarts():
                systemctl("restart", self.unit)
            elif self.active not in {"active", "activating"}:
                systemctl("start", self.unit)
            self.settle()
        except ServiceError as error:
            journal = run(
                "journalctl", "--unit", self.unit, "--lines", str(JOURNAL_LINES), "--no-pager", "--output=short"
            )
            raise ServiceError(
                f"{self.unit} does not start: {error}\nIts journal ends with:\n{journal.stdout.rstrip()}"
            ) from None

    def settle(self) -> None:
        """Wait for one that systemd is restarting: a moment later it runs, or it is in a crash loop."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (active := state_of(self.unit).get("ActiveState")) != "active":
            if time.monotonic() > deadline:
                raise ServiceError(f"it keeps dying after its start (it is {active})")
            time.sleep(0.5)


def converge(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Compare with what is, change it unless in check mode, and return the module's result."""
    service = Service(params)
    result = service.result()
    if check_mode:
        return result
    if service.lacking and params["content"] is None:
        return {"changed": False, "wants_content": True}
    content = zlib.decompress(base64.b64decode(params["content"])) if service.lacking else b""
    if service.lacking and hashlib.sha256(content).hexdigest() != params["digest"]:
        raise ServiceError(f"what came for {service.file} has another digest: was the source changed meanwhile?")
    service.install(content)
    if result["changed"] or service.active == "activating":
        service.start()
    return result


# Arguments and answer, which Ansible's own library would do at several times the cost on a slow host

REQUIRED = ("unit", "text", "file")
# digest and content are the action's: what the source is, and its bytes, compressed, as base64
DEFAULTS: dict[str, Any] = {"digest": "", "content": None, "check": []}


def validated(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with their defaults. Raise ServiceError that names each that is wrong."""
    problems = [f"{key} is not supported" for key in given if key not in {*REQUIRED, *DEFAULTS}]
    problems += [
        f"{key} is required, a text" for key in REQUIRED if not isinstance(given.get(key), str) or not given[key]
    ]
    if "/" in str(given.get("unit")):
        problems.append(f"unit must be a name, not {given['unit']}")
    if isinstance(given.get("file"), str) and not given["file"].startswith("/"):
        problems.append(f"file must be an absolute path, not {given['file']}")
    check = given.get("check") or []
    if not isinstance(check, list) or not all(isinstance(one, str) for one in check):
        problems.append("check must be a list of texts")
    if problems:
        raise ServiceError("; ".join(problems))
    return {**DEFAULTS, **given, "check": check}


def result(given: dict[str, Any]) -> dict[str, Any]:
    """Return Ansible's result for Ansible's arguments."""
    params = {key: value for key, value in given.items() if not key.startswith("_ansible_")}
    try:
        found = converge(validated(params), check_mode=bool(given.get("_ansible_check_mode")))
        if not given.get("_ansible_diff"):
            found.pop("diff", None)
    except (ServiceError, OSError) as error:
        found = {"failed": True, "msg": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever it is, Ansible gets an answer that it can read
        found = {"failed": True, "msg": f"{type(error).__name__}: {error}", "exception": traceback.format_exc()}
    params.pop("content", None)
    return {**found, "invocation": {"module_args": params}}


def main(arguments: str) -> int:
    """Run with Ansible's arguments as JSON, print the result as JSON, and return the exit status."""
    found = result(json.loads(arguments))
    print(json.dumps(found))
    return 1 if found.get("failed") else 0


# JSON has no three quotes in a row and nothing that ends with a backslash
ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""

if __name__ == "__main__":
    sys.exit(main(ARGUMENTS))
