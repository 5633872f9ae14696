"""Wait for the cloud: one bounded loop for everything that is waited for, which says what that is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from netorder.cloud.errors import translate_errors
from netorder.cloud.waits import SPOKEN, Wait
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
# What is left is reported when it changes, but not more often than this (s).
REPORT = 15.0


@dataclass(frozen=True, slots=True)
class Again(Generic[T]):
    """Not yet: check again after ``pause`` (s); ``left`` names what is still lacking.

    If the time is over, ``late`` are the problems, unless there is something to go on with ``otherwise``.
    """

    pause: float
    late: tuple[str, ...] = ()
    otherwise: T | None = None
    left: str = ""


def poll(cloud: Cloud, what: str, check: Callable[[], T | Again[T]], seconds: float) -> T:
    """Return the first answer of ``check`` that is not Again; it is called at least once.

    When ``seconds`` are over, what the last Again says. Raises CloudError, also for what SDK and requests raise.
    ``what`` is waited for, by a name that is the same in every run: how long it took is kept for the next one.
    """
    wait = Wait(cloud.waits, what, seconds)
    reported, said = 0.0, ""
    while True:
        with translate_errors():
            found = check()
        if not isinstance(found, Again):
            wait.done()
            return found
        if wait.took > seconds:
            if found.otherwise is not None:
                return found.otherwise
            raise CloudError(*found.late)
        if not wait.told and wait.took + found.pause >= SPOKEN:
            cloud.say(wait.opening(found.left))
            reported, said = wait.took, found.left
        elif wait.told and found.left != said and wait.took - reported >= REPORT:
            cloud.say(f"still waiting for {what} ({wait.took:.0f} s): {found.left}")
            reported, said = wait.took, found.left
        time.sleep(found.pause)


def wait_until_none(cloud: Cloud, what: str, names: Callable[[], Sequence[str]]) -> None:
    """Wait until ``names`` (one list for each check) is empty."""
    pause = NONE_POLL

    def check() -> bool | Again[bool]:
        nonlocal pause
        left = sorted(names())
        if not left:
            return True
        late = (
            f"After {NONE_TIMEOUT} s still waiting for {what}: {', '.join(left)}. "
            "See `openstack server show`; then run again."
        )
        wait, pause = pause, min(pause * 1.3, NONE_POLL_MOST)  # a list takes the cloud's time from what is waited for
        return Again(wait, (late,), left=", ".join(left))

    poll(cloud, what, check, NONE_TIMEOUT)
