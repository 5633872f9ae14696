"""What the actions that work on hosts share: options, progress, diff and errors as Ansible shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from netorder.ansible.live import progress
from netorder.controller import lock
from netorder.errors import NetorderError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["HOSTS", "Operation"]

# Ansible's specification of a list of hosts
HOSTS = {"type": "list", "elements": "str", "default": []}


class Operation:
    """An action before Ansible's ActionBase, which has ``do`` done with its options, and shows what that returns.

    ``options`` are those beside the ones that all of them have. Lines of what is returned are shown, and its ``hint``
    as a warning. A NetorderError fails the task with its words; of a refused change the diff is shown all the same:
    Ansible shows none for a failed task.
    """

    do: Callable[..., dict[str, Any]]
    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    _supports_check_mode = True
    _requires_connection = False
    _task: Any  # Ansible's, as what follows
    _display: Any
    validate_argument_spec: Callable[..., Any]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it; an error fails the task with its own message."""
        lock.end_with_parent()
        result: dict[str, Any] = super().run(tmp, task_vars)  # type: ignore[misc]
        _, options = self.validate_argument_spec(
            {
                "topology": {"type": "path", "required": True},
                "files": {"type": "path", "required": True},
                "target": {"type": "str"},
                **self.options,
            }
        )
        display = self._display
        try:
            done = self.do(check=bool(self._task.check_mode), progress=progress(display, task_vars), **options)
        except NetorderError as error:
            preview = error.preview.as_dict() if isinstance(error, RefusedError) else {}
            if self._task.diff and "diff" in preview:
                display.display(preview["diff"]["prepared"])
            return result | {"failed": True, "msg": "\n".join(error.problems)}
        for line in done.get("lines", []):
            display.display(f"  {line}")
        if done.get("hint"):
            display.display(f"  {done['hint']}", color="yellow")
        return result | done
