"""What is done to hosts after their first day is as its preview says; killed at each write, the next run ends it.

Nothing is left over.

One write of each operation by default, and with ``--part`` of some operations: which, the seed says. With ``--every``
(make operations-full) all of them, before and after the cloud has it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from life import counted

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = Path(__file__).with_name("operate.yml")
MOVED = {"floating_ip: {keep: true}}": "}", "left: {network: net1}": "left: {network: net1, floating_ip: {keep: true}}"}
KILLS = ("killed before", "killed after")
BUSY = "Nova is at work on its server"


class Day:
    """A topology after its first day."""

    def __init__(self, life, moved):
        self.life, self.moved = life, moved
        self.compute, self.net = life.direct.compute, life.direct.network
        assert self.run("clear").how == "ok"
        self.before = life.everything()
        self.did("provision")
        self.base = self.server.image.id

    def run(self, action, faults=()):
        """Run an operation; ``move`` is the run with the floating address at the other host."""
        self.life.topology = self.moved if "move" in action else FILE
        return self.life.run(action.replace("move", "provision"), faults)

    def did(self, action):
        """Run one that must end well."""
        found = self.run(action)
        assert found.how == "ok", found
        return found

    @property
    def server(self):
        """The server that the operations are for."""
        return next(iter(self.compute.servers(name="^faults-front$")))

    def idle(self):
        """Wait until Nova has nothing under way with it."""
        deadline = time.monotonic() + 60
        while self.server.task_state or self.server.status in {"REBUILD", "RESIZE", "REVERT_RESIZE"}:
            assert time.monotonic() < deadline, self.server
            time.sleep(0.2)

    def on_base(self):
        """Give it the disk that it had at first."""
        self.idle()
        self.compute.rebuild_server(self.server.id, self.base)
        self.idle()

    def made_anew(self):
        """Have a snapshot, and a server that is not the one that this was made of."""
        self.did("snapshot front")
        self.anew()

    def anew(self):
        """Have another server."""
        self.compute.delete_server(self.server.id)
        self.did("provision")

    def small(self):
        """Have the server with its flavor; a disk does not shrink."""
        self.idle()
        if self.server.flavor.original_name != "small":
            self.anew()

    def previewed(self, action):
        """Return what the preview says of an operation, which then has changed nothing."""
        found = self.run(f"check {action}")
        assert found.how == "ok", found
        assert [call for call in self.life.proxy.calls if call.writes] == []
        return timeless(found.changes)

    def as_it_is(self):
        """Return all that there is, and how servers and floating addresses are."""
        found = {(kind, timeless([name])[0]): n for (kind, name), n in self.resources().items()}
        for one in self.compute.servers():
            noted = ("netorder_hostkey" in one.metadata, one.metadata.get("netorder_power"))
            found["state", one.name] = (one.status, one.flavor.original_name, one.image.id, *noted)
        ports = {port.id: port.name for port in self.net.ports()}
        for ip in self.net.ips():
            found["address", ip.floating_ip_address] = (ports.get(ip.port_id), ip.description)
        return found

    def resources(self):
        """Count what was not there before."""
        return counted(self.life.everything() - self.before)

    def whole(self):
        """Assert that no image is half there."""
        mine = self.life.direct.image.images(owner=self.life.direct.current_project_id)
        assert {image.status for image in mine} <= {"active"}


@dataclass(frozen=True)
class Operation:
    """An operation; ``once`` comes before all, ``before`` before each time, ``after`` tidies up as its user does.

    ``refused``: what it says where it ends so; ``writes``: the least number of them.
    """

    action: str
    writes: int
    before: Callable[[Day], object]
    once: Callable[[Day], object] = lambda _: None
    after: Callable[[Day], object] = lambda _: None
    refused: str = ""


def timeless(names):
    """Return names without the times in them."""
    return [re.sub(r"\d{8}T\d{6}Z", "TIME", name) for name in names]


def fewer(what, number):
    return lambda day: day.did(f"{what} {number}")


OPERATIONS = {
    "snapshot": Operation("snapshot front", 1, fewer("snapshots", 0), after=fewer("snapshots", 1)),
    "snapshots removed": Operation("snapshots 0", 1, lambda day: (day.did("snapshots 0"), day.did("snapshot front"))),
    "stopped": Operation("power stopped front", 2, lambda day: day.did("power started front")),
    "restore": Operation("restore front", 2, Day.on_base, once=lambda day: day.did("snapshot front")),
    "restore, made anew": Operation("restore front", 3, Day.on_base, once=Day.made_anew),
    "golden": Operation("golden front", 10, fewer("golden-images", 0), after=fewer("golden-images", 1)),
    "resize": Operation("resize front small2", 2, Day.small),
    "resize, reverted": Operation(
        "resize front small2 silent", 2, Day.small,
        refused="did not answer with flavor small2 and has small again",
    ),
    "move of a kept address": Operation("move", 2, lambda day: day.did("provision")),
}  # fmt: skip


@pytest.fixture
def day(life, tmp_path, monkeypatch):
    text = FILE.read_text()
    for old, new in MOVED.items():
        assert old in text
        text = text.replace(old, new)
    moved = tmp_path / "moved.yml"
    moved.write_text(text.replace(", }", "}"))
    monkeypatch.setattr(life, "topology", FILE)
    one = Day(life, moved)
    yield one
    assert one.run("clear").how == "ok"
    assert counted(life.everything() ^ one.before) == {}


def ends(day, operation):
    """Run to the end; what is not done at once says what to do, which is done."""
    deadline = time.monotonic() + 60
    while True:
        found = day.run(operation.action)
        if not (found.how == "error" and BUSY in found.problems[0]):
            break
        assert "then run again" in found.problems[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    if operation.refused:
        assert found.how == "error", found
        assert operation.refused in found.problems[-1]
    else:
        assert found.how == "ok", found
    day.idle()
    day.whole()
    return timeless(found.changes)


def pytest_generate_tests(metafunc):
    """Take each operation, or of the sample one in so many."""
    if "name" in metafunc.fixturenames:
        every, seed, part = (metafunc.config.getoption(word) for word in ("every", "seed", "part"))
        metafunc.parametrize("name", [*OPERATIONS] if every else [*OPERATIONS][seed % part :: part])


def test_killed_at_a_write_the_next_run_ends_it_and_nothing_is_left(day, name, subtests, request):
    every, seed, only = (request.config.getoption(word) for word in ("every", "seed", "only"))
    number = list(OPERATIONS).index(name)
    operation = OPERATIONS[name]
    operation.once(day)
    operation.before(day)
    shown = day.previewed(operation.action)
    assert shown
    done = ends(day, operation)
    assert done == ([] if operation.refused else shown)
    writes = [call for call in day.life.proxy.calls if call.writes]
    assert len(writes) >= operation.writes, writes
    end = day.as_it_is()
    cases = [(call, kill) for call in writes for kill in KILLS]
    for call, kill in cases if every else [cases[(seed + number) % len(cases)]]:
        if only not in f"{call}: {kill}":
            continue
        print(f"{name}: {call}: {kill}", flush=True)
        with subtests.test(f"{call}: {kill}"):
            operation.before(day)
            assert day.run(operation.action, {call: kill}).how == "killed"
            ends(day, operation)
            operation.after(day)
            assert day.as_it_is() == end
