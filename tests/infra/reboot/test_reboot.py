"""After a reboot everything matches the plan."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from playbooks import changes

if TYPE_CHECKING:
    from collections.abc import Callable

    import testinfra
    from conftest import On

BOOT_SECONDS = 300


def boot(guest: testinfra.host.Host) -> str | None:
    """Return what is different after each boot; None while SSH does not get through."""
    try:
        return guest.check_output("cat /proc/sys/kernel/random/boot_id")
    except RuntimeError:  # as testinfra reports ssh's exit status 255
        return None


def test_a_reboot_keeps_routes_and_services(on: On, calculate: Callable[[str], str]) -> None:
    """They come back without a run: the run afterwards finds nothing to do."""
    guests = [on("calculator"), on("sum")]
    before = [boot(guest) for guest in guests]
    # the host behind first: its SSH path leads through the other
    for guest in reversed(guests):
        guest.check_output("systemd-run --on-active=1 systemctl reboot")
    deadline = time.monotonic() + BOOT_SECONDS
    for guest, old in zip(guests, before, strict=True):
        while boot(guest) in {None, old}:
            assert time.monotonic() < deadline, f"not back after {BOOT_SECONDS} s"
            time.sleep(3)
    assert changes("site.yml") == set()
    assert calculate("(5+3)*2") == "result = 16"
