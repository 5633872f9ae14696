"""Runs and teardowns that are killed before each of their effects: the next run converges, a teardown leaves nothing.

What is made is a real QEMU; nobody waits for its guest to boot.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from conftest import NAME
from test_machine import free_port

from netorder.machine import qemu, store, target
from netorder.machine.observe import observe

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.full

# what changes something, or has another process change it (https://docs.python.org/3/library/audit_events.html)
EFFECTS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.kill", "shutil.rmtree", "subprocess.Popen"}
)
CONNECT = "socket.connect"  # to a monitor


def killed(number: int, action: Callable[[], object]) -> bool:
    """Do it in a process that is killed, with what it started in the foreground, before its effect of this number."""

    def child() -> None:
        os.setsid()
        seen = count(1)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            counts = event in EFFECTS and not (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR))
            if (counts or (event == CONNECT and isinstance(arguments[1], str))) and next(seen) == number:
                os.killpg(0, signal.SIGKILL)

        sys.addaudithook(hook)
        action()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0


@pytest.fixture
def quick(site, monkeypatch):
    """Give what makes a topology, without waiting for anything to boot."""
    monkeypatch.setattr(target, "_wait", lambda *_: None)
    monkeypatch.setattr(qemu, "_POWERDOWN", 0.1)  # what does not boot does not shut down
    site.teardown()

    def run(hosts: str) -> Any:
        return target.reconcile(
            site.plan(hosts),
            files=site.files,
            key="ssh-ed25519 AAAA",
            check=False,
            allow=("delete", "replace"),
            progress=site.said.append,
            hostkey_timeout=1,
        )

    yield run
    site.teardown()


def is_whole(site: Any, hosts: set[str]) -> None:
    seen = observe(site.where)
    assert seen.kept.keys() == seen.running.keys() == hosts
    assert seen.leftovers == ()
    assert all(its is not None for its in seen.forwards.values())


def test_a_run_killed_before_each_effect_converges(site, quick):
    """Two hosts from nothing, one a clone of the other."""
    port = free_port()
    both = f"{{box: {{network: nat, memory: 64, forward: [{{host: {port}, guest: 22}}]}}, "
    both += "copy: {network: nat, memory: 64, clone: {of: box}}}"
    for number in count(1):
        was_killed = killed(number, lambda: quick(both))
        quick(both)
        assert quick(both).changes == (), number
        is_whole(site, {"box", "copy"})
        site.teardown()
        assert not store.root(site.files, NAME).exists()
        if not was_killed:
            break
    assert number > 20, "effects are not seen"


def test_changes_killed_before_each_effect_converge(site, quick):
    """One host goes, one has more memory, one other ports, one is cloned."""
    old, new = free_port(), free_port()
    before = (
        f"{{box: {{network: nat, memory: 64, forward: [{{host: {old}, guest: 22}}]}}, "
        "more: {network: nat, memory: 64}, gone: {network: nat, memory: 64}, src: {network: nat, memory: 64}}"
    )
    after = (
        f"{{box: {{network: nat, memory: 64, forward: [{{host: {new}, guest: 22}}]}}, more: {{network: nat, "
        "memory: 80}, src: {network: nat, memory: 64}, copy: {network: nat, memory: 64, clone: {of: src}}}"
    )
    for number in count(1):
        quick(before)
        was_killed = killed(number, lambda: quick(after))
        quick(after)
        assert quick(after).changes == (), number
        is_whole(site, {"box", "more", "src", "copy"})
        if not was_killed:
            break
        site.teardown()
    assert number > 20, "effects are not seen"


def test_a_teardown_killed_before_each_effect_is_finished_by_the_next(site, quick):
    for number in count(1):
        quick("{box: {network: nat, memory: 64}}")
        was_killed = killed(number, site.teardown)
        site.teardown()
        assert not store.root(site.files, NAME).exists()
        assert qemu.processes(site.where) == {}
        if not was_killed:
            break
    assert number > 5, "effects are not seen"
