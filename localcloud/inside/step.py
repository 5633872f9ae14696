"""What a start is made of: steps, tasks and processes alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """One step: ``run`` (task) or ``argv`` (process, started as ``user`` and waited for until ``ready``).

    ``restarts`` names the process to restart when ``run`` returned True.
    """

    name: str
    after: tuple[str, ...] = ()
    run: Callable[[], object] | None = None
    argv: tuple[str, ...] = ()
    ready: Callable[[], bool] | None = None
    user: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    on_respawn: Callable[[], None] | None = None
    restarts: str = ""
