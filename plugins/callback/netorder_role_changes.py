"""Callback: in plays that ask for it, notes on each host what tasks of roles changed, or would in check mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.playbook.handler import Handler
from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENTATION = """
name: netorder_role_changes
type: aggregate
short_description: what tasks of roles changed on each host, as a variable of the host
description:
  - In plays with the variable C(netorder_notes_role_changes), each host that a task ran on has the variable
    C(netorder_role_changes), a list with C(task) (its role and name) and C(what) (files and the like, if it says so).
  - Handlers are left out, since they follow from a task.
requirements:
  - enabled in callbacks_enabled
"""
_ABOUT = ("dest", "path", "name")  # arguments of most modules, by which people know what a task is about


class CallbackModule(CallbackBase):
    """Sets a variable of hosts, since a play has no other way to learn the results of a role's tasks."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "netorder_role_changes"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._asked = False
        self._changes: dict[str, list[dict[str, str]]] = {}

    def v2_playbook_on_play_start(self, play: Any) -> None:  # noqa: ANN401, D102 - Ansible's names and types, here and below
        self._asked = bool(play.get_vars().get("netorder_notes_role_changes"))

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401, D102
        if not self._asked:
            return
        found = self._changes.setdefault(result.host.get_name(), [])
        task, its = result.task, result.result
        if task._role and not isinstance(task, Handler) and its.get("changed"):  # noqa: SLF001 - no other way to it
            given = {} if task.loop or task.no_log else _arguments(result)
            what = dict.fromkeys(_about(one, given) for one in its.get("results", [its]) if one.get("changed"))
            role = task._role.get_name().rpartition("/")[2]  # noqa: SLF001 - of one in a directory that is the path
            name = task.name or task.action
            found.append({"task": f"{role}: {name}", "what": ", ".join(one for one in what if one)})
        result.host.set_variable("netorder_role_changes", found)


def _arguments(result: Any) -> Mapping[str, Any]:  # noqa: ANN401 - Ansible's
    """Return what the task was given, its templates resolved: from ansible-core 2.21 on copy does not say it."""
    given = (getattr(result, "task_fields", None) or {}).get("args")
    return given if isinstance(given, dict) else {}


def _about(result: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Return what a result is about: what its module says or was given, else the item of a loop."""
    given = (result.get("invocation") or {}).get("module_args") or ({} if "censored" in result else arguments)
    for one in (result, given):
        for key in _ABOUT:
            if value := one.get(key):
                return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    label = result.get("_ansible_item_label")
    return label if isinstance(label, str) else ""
