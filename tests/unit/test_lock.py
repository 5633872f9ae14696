"""The lock of a topology: who holds it is reported, and it ends with its process, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from netorder.controller import lock
from netorder.errors import LockedError

HOLD = """
import sys, time, pathlib
from netorder.controller import lock
with lock.held(pathlib.Path(sys.argv[1]), "lab"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_holder_is_named(tmp_path, holder):
    with (
        pytest.raises(LockedError, match=rf"lab: process {holder.pid} on \S+, since 20\S+ \S+ UTC"),
        lock.held(tmp_path, "lab"),
    ):
        pass


def test_another_topology_is_free(tmp_path, holder):
    assert holder.poll() is None
    with lock.held(tmp_path, "other"):
        assert "other.lock" in {path.name for path in tmp_path.iterdir()}


def test_it_ends_with_its_process(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    for _ in range(2):  # and with its block
        with lock.held(tmp_path, "lab"):
            assert str(holder.pid) not in (tmp_path / "lab.lock").read_text()


# As Ansible runs an action: a forked process, in a session of its own.
CHILD = """
import multiprocessing, os, pathlib, sys, time
from netorder.controller import lock
def work():
    os.setsid()
    lock.end_with_parent()
    with lock.held(pathlib.Path(sys.argv[1]), "lab"):
        print("held", flush=True)
        time.sleep(60)
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""


def test_a_killed_parent_takes_the_holder_with_it(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, tmp_path], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockedError), lock.held(tmp_path, "lab"):
            pass
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 10
        while True:  # the kernel does it in no time, but not in none
            try:
                with lock.held(tmp_path, "lab"):
                    return
            except LockedError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
