"""What the actions that work on hosts share: progress, diff and errors as Ansible shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netorder.controller import lock
from netorder.errors import NetorderError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["operate"]


def operate(action: Any, do: Callable[..., dict[str, Any]], **options: object) -> dict[str, Any]:  # noqa: ANN401 - untyped
    """Return what ``do`` returns, called as the task of this Ansible ``action`` asks.

    Its ``lines`` are shown, and its ``hint`` as a warning. A NetorderError fails the task with its words; of a refused
    change the diff is shown all the same: Ansible shows none for a failed task.
    """
    lock.end_with_parent()
    display, task = action._display, action._task  # noqa: SLF001 - an action's own
    try:
        done = do(check=bool(task.check_mode), progress=lambda line: display.display(f"  {line}"), **options)
    except NetorderError as error:
        preview = error.preview.as_dict() if isinstance(error, RefusedError) else {}
        if task.diff and "diff" in preview:
            display.display(preview["diff"]["prepared"])
        return {"failed": True, "msg": "\n".join(error.problems)}
    for line in done.get("lines", []):
        display.display(f"  {line}")
    if done.get("hint"):
        display.display(f"  {done['hint']}", color="yellow")
    return done
