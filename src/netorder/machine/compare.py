"""What is wanted against what is there: the differences as changes, each with what makes it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from netorder.cloud.change import Change, deletion
from netorder.machine.qemu import BROKEN, ssh_forward
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netorder.machine.observe import Seen
    from netorder.machine.store import Kept
    from netorder.machine.wanted import Guest
    from netorder.topology import Forward

__all__ = ["FORWARDING", "Stage", "Step", "Verb", "compare", "paused", "removals"]

FORWARDING = "port forwarding"
MISSING, NOT_WANTED = "missing", "not in the topology"
_HARDWARE = "it starts anew with that, and keeps its disk"
_LOST = "its disk was made with another, and is lost"
_UNKNOWN = "it has no host.json (any more) that says what its disk is"


class Stage(IntEnum):
    """What goes is gone before what comes: a port that leads to another host now is free by then.

    Disks are made while hosts are off whose disks are cloned.
    """

    GO = 0
    DISK = 1
    COME = 2


class Verb(StrEnum):
    """What is done to a host."""

    DELETE = "delete"
    STOP = "stop"
    CLEAN_UP = "clean up"
    UNFORWARD = "forward no more"
    MAKE = "make"
    START = "start"
    RESUME = "resume"
    FORWARD = "forward"


@dataclass(frozen=True, slots=True)
class Step:
    """What makes a change, or a part of one that another step shows; it may be repeated after a kill.

    ``depth`` orders disks: that of a clone is made after that which it is a clone of.
    """

    stage: Stage
    verb: Verb
    host: str
    change: Change | None = None
    guest: Guest | None = None
    ports: tuple[Forward, ...] = ()
    depth: int = 0

    @property
    def turn(self) -> tuple[Stage, int]:
        """By what steps are put into order; those with the same one are made at the same time."""
        return self.stage, self.depth

    @property
    def needs(self) -> set[str]:
        """The hosts with which nothing may have failed before."""
        of = self.guest.disk.get("clone of") if self.guest and self.verb == Verb.MAKE else None
        return {self.host, of} if of else {self.host}


def compare(guests: tuple[Guest, ...], seen: Seen) -> list[Step]:
    """Return the steps that make this machine match the plan."""
    steps = {guest.host: [*_guest(guest, seen)] for guest in guests}
    for guest in guests:
        clones = [its.host for its in guests if its.disk.get("clone of") == guest.host and _makes(steps[its.host])]
        if clones and guest.host in seen.running and not any(step.verb == Verb.STOP for step in steps[guest.host]):
            steps[guest.host] = [*_still(guest, seen.kept[guest.host], clones)]
    others = {host for host in (*seen.kept, *seen.running, *seen.lost) if host not in steps}
    removed = _removals(seen, NOT_WANTED, others)
    return sorted([*removed, *(step for its in steps.values() for step in its)], key=lambda step: step.turn)


def removals(seen: Seen, reason: str) -> list[Step]:
    """Return the steps that take away all that there is."""
    return _removals(seen, reason, {*seen.kept, *seen.running, *seen.lost})


def _removals(seen: Seen, reason: str, hosts: set[str]) -> list[Step]:
    steps = []
    for host in sorted(hosts):
        its = seen.kept.get(host)
        if host in seen.lost:
            steps.append(_unknown(host, host, seen, f"{reason}; {_UNKNOWN}"))
            continue
        change = deletion(
            "server", host, its.uuid if its else f"process {seen.running[host]}", reason, lossless=not its
        )
        steps.append(Step(Stage.GO, Verb.DELETE, host, change))
    if seen.leftovers:
        steps.append(Step(Stage.GO, Verb.CLEAN_UP, ""))
    return steps


def _unknown(host: str, name: str, seen: Seen, reason: str) -> Step:
    """Return the deletion of a directory with a disk that nothing is known of: somebody may have a use for that."""
    change = Change("server", name, "delete", reason, before={"directory": str(seen.lost[host])})
    return Step(Stage.GO, Verb.DELETE, host, change)


def _makes(steps: list[Step]) -> bool:
    return any(step.verb == Verb.MAKE for step in steps)


def _still(guest: Guest, kept: Kept, clones: list[str]) -> Iterator[Step]:
    """Yield what has a host off while its disk is cloned; with its start come the ports that it forwards."""
    yield Step(Stage.GO, Verb.STOP, guest.host)
    reason = f"its disk is cloned for {few(clones)}: it shuts down for that, and starts anew"
    before, after = {"state": "running"}, {"state": "running, started anew"}
    yield _start("update", guest, reason, before, after, kept)


def _guest(guest: Guest, seen: Seen) -> Iterator[Step]:
    kept, runs = seen.kept.get(guest.host), guest.host in seen.running
    stop = Step(Stage.GO, Verb.STOP, guest.host)
    if kept is None:
        yield from _missing(guest, seen)
        return
    differing, before, after = _differing(kept.disk, guest.disk)
    if differing:
        reason = f"{' and '.join(differing)}: {_LOST}"
        if runs:
            yield stop
        yield from _made(guest, "replace", reason, before, after, kept)
        return
    differing, before, after = _differing(kept.hardware, guest.hardware)
    if differing:
        if runs:
            yield stop
        reason = f"{' and '.join(differing)}: {_HARDWARE}"
        yield _start("update", guest, reason, before, after, kept)
    elif not runs:
        yield _start("update", guest, "does not run", {"state": "off"}, {"state": "running"}, kept)
    else:
        yield from _running(guest, kept, seen)


def _missing(guest: Guest, seen: Seen) -> Iterator[Step]:
    if guest.host in seen.lost:
        yield _unknown(guest.host, guest.name, seen, f"{_UNKNOWN}: it is made anew")
    elif guest.host in seen.running:
        yield Step(Stage.GO, Verb.STOP, guest.host)  # its directory was taken away
    yield from _made(guest, "create", MISSING, None, {**guest.disk, **guest.hardware, **_ports(guest)})


def _running(guest: Guest, kept: Kept, seen: Seen) -> Iterator[Step]:
    """Yield what has a host that should run as it does, and does not, really run; and its ports."""
    state, there = seen.paused.get(guest.host), seen.forwards[guest.host]
    after = {"state": "running"}
    if state == BROKEN:
        yield Step(Stage.GO, Verb.STOP, guest.host)
        reason = "QEMU cannot go on with it, and it is started anew"
        yield _start("update", guest, reason, {"state": paused(state)}, after, kept)
    elif there is None:
        yield Step(Stage.GO, Verb.STOP, guest.host)
        before, after = {"monitor": "no answer"}, {"monitor": "answers"}
        yield _start("update", guest, "hangs, and is started anew", before, after, kept)
    else:
        if state:
            start = _start("update", guest, f"is {paused(state)}", {"state": paused(state)}, after, kept)
            yield replace(start, verb=Verb.RESUME)
        yield from _forwards(guest, kept, there)


def paused(state: str) -> str:
    """Say why a guest stands still: ``state`` is QEMU's word."""
    why = {"io-error": "disk full?", BROKEN: "KVM failed?"}.get(state)
    return f"paused ({state}: {why})" if why else state


def _start(  # noqa: PLR0917 - the parts of a change
    action: str,
    guest: Guest,
    reason: str,
    before: Mapping[str, object] | None,
    after: Mapping[str, object],
    kept: Kept | None = None,
) -> Step:
    had = None if before is None else {**before}
    change = Change("server", guest.name, action, reason, had, {**after}, kept.uuid if kept else "")
    return Step(Stage.COME, Verb.START, guest.host, change, guest)


def _made(  # noqa: PLR0917 - the parts of a change
    guest: Guest,
    action: str,
    reason: str,
    before: Mapping[str, object] | None,
    after: Mapping[str, object],
    kept: Kept | None = None,
) -> Iterator[Step]:
    """Yield what makes a host's disk, and starts it."""
    start = _start(action, guest, reason, before, after, kept)
    yield replace(start, stage=Stage.DISK, verb=Verb.MAKE, depth=guest.depth)
    yield replace(start, change=None)


def _differing(
    had: dict[str, str], wanted: dict[str, str]
) -> tuple[list[str], dict[str, object] | None, dict[str, object]]:
    names = [name for name in wanted if had.get(name) != wanted[name]]
    return names, {name: had.get(name) for name in names}, {name: wanted[name] for name in names}


def _ports(guest: Guest) -> dict[str, object]:
    return {"forward": [str(one) for one in guest.forwards]} if guest.forwards else {}


def _forwards(guest: Guest, kept: Kept, there: frozenset[Forward]) -> Iterator[Step]:
    own = ssh_forward(kept)
    wanted = {*guest.forwards, own}
    if there == wanted:
        return
    gone = tuple(sorted(there - wanted, key=str))
    new = tuple(one for one in (own, *guest.forwards) if one not in there)
    before, after = ({"forward": sorted(map(str, these))} for these in (there, wanted))
    if gone:
        yield Step(Stage.GO, Verb.UNFORWARD, guest.host, ports=gone)
    change = Change(FORWARDING, guest.name, "update", "differs from the plan", {**before}, {**after}, kept.uuid)
    yield Step(Stage.COME, Verb.FORWARD, guest.host, change, guest, new)
