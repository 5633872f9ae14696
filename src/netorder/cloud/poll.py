"""Wait for the cloud: one bounded loop for everything that is waited for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from netorder.cloud.errors import translate_errors
from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Again", "poll"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Again(Generic[T]):
    """Not yet: check again after ``pause`` (s).

    If the time is over, ``late`` are the problems, unless there is something to go on with ``otherwise``.
    """

    pause: float
    late: tuple[str, ...] = ()
    otherwise: T | None = None


def poll(check: Callable[[], T | Again[T]], seconds: float) -> T:
    """Return the first answer of ``check`` that is not Again; it is called at least once.

    When ``seconds`` are over, what the last Again says. Raises CloudError, also for what SDK and requests raise.
    """
    end = time.monotonic() + seconds
    while True:
        with translate_errors():
            found = check()
        if not isinstance(found, Again):
            return found
        if time.monotonic() > end:
            if found.otherwise is not None:
                return found.otherwise
            raise CloudError(*found.late)
        time.sleep(found.pause)
