"""Wait for the cloud: one bounded loop for everything that is waited for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from netorder.cloud.errors import translate_errors
from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netorder.cloud.session import Cloud

__all__ = ["Again", "poll", "wait_until_none"]

T = TypeVar("T")
# Until servers are deleted or stopped, their guests shut down (s).
NONE_TIMEOUT = 300
NONE_POLL = 1.0
NONE_POLL_MOST = 4.0


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


def wait_until_none(cloud: Cloud, what: str, names: Callable[[], Sequence[str]]) -> None:
    """Wait until ``names`` (one list for each check) is empty; report how many are left when that changes."""
    reported, pause = 0, NONE_POLL

    def check() -> bool | Again[bool]:
        nonlocal reported, pause
        left = sorted(names())
        if not left:
            return True
        if len(left) != reported:
            reported = len(left)
            cloud.progress(f"waiting for {reported} {what}: {', '.join(left)}")
        late = (
            f"After {NONE_TIMEOUT} s still waiting for {len(left)} {what}: {', '.join(left)}. "
            "See `openstack server show`; then run again."
        )
        wait, pause = pause, min(pause * 1.3, NONE_POLL_MOST)  # a list takes the cloud's time from what is waited for
        return Again(wait, (late,))

    poll(check, NONE_TIMEOUT)
