"""The target's interface: reconcile, teardown, what is there for the inventory, why a host does not answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from uuid import uuid4

from netorder.cloud.result import HostFacts, Result, not_allowed
from netorder.errors import CloudError, RefusedError
from netorder.machine import images, qemu, seed, store
from netorder.machine.compare import FORWARDING, Stage, Step, Verb, compare, paused, removals
from netorder.machine.observe import observe
from netorder.machine.qemu import ssh_forward
from netorder.machine.seed import fingerprint
from netorder.machine.store import Kept
from netorder.machine.wanted import SSH_PORT, wanted
from netorder.text import few
from netorder.topology import SSH, Forward

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from netorder.cloud.change import Change, Progress
    from netorder.machine.observe import Seen
    from netorder.machine.wanted import Guest
    from netorder.plan.model import Plan

__all__ = ["hosts", "reconcile", "teardown", "there", "unanswered"]

_PARALLEL = 4
_POLL = 0.25  # s
_FIRST_PATIENCE, _MOST_PATIENCE = 1.0, 30.0  # s for SSH to say a first word
_PORTS = range(SSH_PORT, SSH_PORT + 1000)
_SHOWN = 15  # last lines of a console


def reconcile(
    plan: Plan,
    *,
    files: Path,
    key: str | None,
    check: bool,
    allow: Collection[str] = (),
    progress: Progress,
    hostkey_timeout: float,
) -> Result:
    """Make this machine what the plan says. Raises RefusedError before the first change, CloudError after it."""
    start = time.monotonic()
    where = store.root(files, plan.topology)
    guests, seen = wanted(plan), observe(where)
    steps = compare(guests, seen)
    _tell_foreign(seen, progress)
    changes = tuple(step.change for step in steps if step.change)
    problems = [*_key_problems(seen, steps, guests, key), *_preflight(files, guests, seen, steps)]
    if not check:
        problems += not_allowed(changes, allow)
    if problems:
        raise RefusedError(_result(plan, changes, {}, start), *problems)
    if not check:
        if steps:
            if key is None:
                raise CloudError("No SSH key for the hosts: name one with netorder_ssh_key.")
            _make(_Maker(files, where, seen, key, progress), steps, progress)
        started = {step.host for step in steps if step.verb in (Verb.MAKE, Verb.START)}
        _wait(where, started, hostkey_timeout, progress)
    return _result(plan, changes, store.kept(where), start)


def _make(maker: _Maker, steps: Iterable[Step], progress: Progress) -> None:
    """Make the steps, turn by turn. Raises the first error, once what does not need that step is made.

    So a host that is off while its disk is cloned runs again, also where there was no room for the clone.
    """
    failed: dict[str, CloudError | OSError] = {}
    for turn, group in groupby(steps, key=lambda step: step.turn):
        start, these = time.monotonic(), list[Step]()
        for step in group:
            if cause := next((failed[host] for host in step.needs if host in failed), None):
                failed.setdefault(step.host, cause)
            else:
                these.append(step)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for step, done in [(step, pool.submit(maker.make, step)) for step in these]:
                try:
                    done.result()
                except (CloudError, OSError) as error:
                    if turn[0] == Stage.GO:
                        raise
                    failed.setdefault(step.host, error)
        if shown := few([f"{step.verb} {step.host}".strip() for step in these]):
            progress(f"{shown}: {time.monotonic() - start:.1f} s")
    if failed:
        raise next(iter(failed.values()))


class _Maker:
    """Makes steps on the hosts of one topology."""

    def __init__(self, files: Path, where: Path, seen: Seen, key: str, progress: Progress) -> None:
        self._files = files
        self._where = where
        self._seen = seen
        self._key = key
        self._progress = progress
        self._untold = Lock()

    def make(self, step: Step) -> None:
        match step.verb:
            case Verb.DELETE:
                self._stop(step.host, clean=False)
                self._remove(step.host)
            case Verb.CLEAN_UP:
                for left in self._seen.leftovers:
                    store.remove(left)
            case Verb.STOP:
                self._stop(step.host)
            case Verb.UNFORWARD:
                self._unforward(step)
            case Verb.FORWARD if step.guest:
                self._forward(step, step.guest)
            case Verb.MAKE if step.guest:
                self._make_disk(step.guest)
            case Verb.START if step.guest:
                self._start(step.guest)
            case Verb.RESUME:
                qemu.resume(self._where / step.host)

    def _unforward(self, step: Step) -> None:
        for one in step.ports:
            qemu.remove_forward(self._where / step.host, one)
            self._say(step.host, one, f"{_reached(one)} now")

    def _forward(self, step: Step, guest: Guest) -> None:
        for one in step.ports:
            before = _reached(one)
            qemu.add_forward(self._where / step.host, one, guest.hardware["address"])
            self._say(step.host, one, f"before: {before}; now: {_reached(one)}")

    def _say(self, host: str, one: Forward, what: str) -> None:
        self._progress(f"{host}: {one}: {what}")

    def _remove(self, host: str) -> None:
        if host in self._seen.kept or host in self._seen.lost:
            store.remove(self._where / host)

    def _stop(self, host: str, *, clean: bool = True) -> None:
        if host in self._seen.running:
            how = qemu.stop(self._where / host, self._seen.running[host], clean=clean)
            if clean and how != "shut down":
                self._progress(f"{host}: it did not shut down, and was {how}")

    def _make_disk(self, guest: Guest) -> None:
        """Make a host's directory, whole, in the place of the one that there is."""
        new, directory = store.scratch(self._where, guest.host), self._where / guest.host
        linked, of = guest.disk["clone"] == "linked", guest.disk.get("clone of")
        if of:
            its = store.kept(self._where)[of]
            kernel, base = _kernel(self._files, its), its.base if linked else ""
            images.clone_disk(self._where / of / store.DISK, new / store.DISK, base)
        else:
            image = _image(self._files, guest.disk["image"])
            kernel, base = _kernel_of(image), str(image.disk) if linked else ""
            images.make_disk(image, new / store.DISK, linked=linked)
        lets_in = fingerprint(self._key)
        kept = Kept(str(uuid4()), guest.disk, guest.hardware, guest.outside, SSH_PORT, kernel, base, key=lets_in)
        drive = seed.config_drive(kept.uuid, guest.host, self._key, is_clone=bool(of))
        (new / qemu.SEED).write_bytes(drive)
        store.write(new, kept.of(directory))
        store.remove(directory)
        new.rename(directory)

    def _start(self, guest: Guest) -> None:
        directory = self._where / guest.host
        kept = store.kept(self._where)[guest.host]
        port = _ssh_port(guest, kept)
        kernel = _kernel(self._files, kept)
        kept = replace(kept, hardware=guest.hardware, outside=guest.outside, ssh_port=port, kernel=kernel)
        store.write(directory, kept)
        disk = Path(kernel or directory / store.DISK)
        image = images.of_path(disk)
        if image is None:
            raise CloudError(f"host {guest.host}: {disk} is gone")
        why = qemu.kvm_problem(self._files.expanduser() / images.DIRECTORY, image.kernel)
        if why and self._untold.acquire(blocking=False):  # once, whichever host is the first
            self._progress(f"KVM does not work here, hosts are emulated, which is slow: {why}")
        ports = (ssh_forward(kept), *guest.forwards)
        qemu.start(directory, qemu.arguments(directory, kept, guest.host, image, ports, kvm=not why))


def _tell_foreign(seen: Seen, progress: Progress) -> None:
    """Say what is in the topology's directory that nobody asked us to remove."""
    if seen.foreign:
        named = few([str(one) for one in seen.foreign], _SHOWN)
        progress(f"warning: not made by netorder, or a copy of a host, and left as it is: {named}")


def _reached(one: Forward) -> str:
    """Say what a forwarded port comes to; of UDP nobody can tell."""
    return qemu.answer(one) if one.protocol == "tcp" else "not tried (udp)"


def _image(files: Path, name: str) -> images.Image:
    image = images.find(files, name)
    if image is None:
        raise CloudError(images.problem(files, name))
    return image


def _kernel_of(image: images.Image) -> str:
    return str(image.kernel.parent) if image.kernel else ""


def _kernel(files: Path, kept: Kept) -> str:
    """Return the image whose kernel boots a host, or nothing; where it was not noted, as its image is now."""
    return _kernel_of(_image(files, kept.disk["image"])) if kept.kernel is None else kept.kernel


def _ssh_port(guest: Guest, kept: Kept) -> int:
    """Return the port by which SSH reaches a host, at its address on this machine: the kept one if it is free."""
    ports: Iterable[int] = (kept.ssh_port, *_PORTS)
    for port in ports:
        if not qemu.bind_problem(Forward(port, SSH, "tcp", guest.outside)):
            return port
    raise CloudError(f"host {guest.host}: no port of {guest.outside} is free for SSH")


def _wait(where: Path, started: Collection[str], seconds: float, progress: Progress) -> None:
    """Wait until each host has shown its SSH host key, which is kept, and SSH answers on those that were started.

    Raises CloudError where a key is not shown; why SSH does not answer is said by who needs it.
    """
    start, told = time.monotonic(), False
    awaited, patience = set(store.kept(where)), dict.fromkeys(started, _FIRST_PATIENCE)
    while awaited := {host for host in awaited if not _is_ready(where, host, patience)}:
        if time.monotonic() - start > seconds:
            _complain(where, awaited, seconds)
            return
        if not told and time.monotonic() - start > 1:
            told = True
            progress(f"waiting for {few(sorted(awaited))} to boot")
        time.sleep(_POLL)
    if told:
        progress(f"booted: {time.monotonic() - start:.1f} s")


def _is_ready(where: Path, host: str, patience: dict[str, float]) -> bool:
    """Keep the SSH host key that a host has shown, and tell whether it is known, and SSH answers if it was started.

    Those that were started have ``patience``: the seconds to wait for SSH's first word, longer each time that a
    connection is open and nothing comes. Each costs the host as much as a login's beginning: where that takes longer
    than we wait, they pile up, and none is ever answered.
    """
    its, found = store.kept(where)[host], qemu.host_key(where / host)
    known = replace(its.of(where / host), hostkey=found or its.hostkey)
    if known != its:
        store.write(where / host, known)
    if not found and not its.hostkey:
        if host not in qemu.processes(where):
            raise CloudError(f"Host {host} ended before it showed its SSH host key:\n{_console(where / host)}")
        return False
    if host not in patience:
        return True
    answer = qemu.answer(ssh_forward(its), patience[host])
    if answer == "open":
        patience[host] = min(2 * patience[host], _MOST_PATIENCE)
    return answer == "answers"


def _complain(where: Path, awaited: Collection[str], seconds: float) -> None:
    """Raise CloudError where a host has not shown its key."""
    for host, its in store.kept(where).items():
        if host in awaited and not its.hostkey:
            raise CloudError(
                f"Host {host} has not shown its SSH host key on its console within {seconds:g} s "
                f"(netorder_hostkey_timeout); {where / host / qemu.CONSOLE} ends:\n{_console(where / host)}"
            )


def _console(directory: Path) -> str:
    try:
        text = (directory / qemu.CONSOLE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    return "\n".join(text.splitlines()[-_SHOWN:]) or "(nothing)"


def _preflight(files: Path, guests: tuple[Guest, ...], seen: Seen, steps: Iterable[Step]) -> list[str]:
    """Return what stands in the way of the changes."""
    coming = [step for step in steps if step.guest]
    if not coming:
        return []
    qemu.check_installed()
    problems = []
    made = {step.host: step.guest for step in coming if step.verb == Verb.MAKE and step.guest}
    fresh = [guest for guest in made.values() if "clone of" not in guest.disk]
    problems += [
        f"Host {one.name}: {one} is in its place, and is not netorder's: it has neither host.json nor a disk, or its "
        "host.json is of another `host` or `topology`. Move it elsewhere."
        for one in seen.foreign
        if one.name in made
    ]
    for image in dict.fromkeys(guest.disk["image"] for guest in fresh):
        problems += [found] if (found := images.problem(files, image)) else []
    for host in dict.fromkeys(step.host for step in coming if step.verb == Verb.START and step.host not in made):
        problems += _gone(files, host, seen.kept[host])
    held = {(one.protocol, one.host) for its in seen.forwards.values() for one in its or ()}
    differing = {step.host for step in coming}
    for guest in guests:
        for one in guest.forwards if guest.host in differing else ():
            why = "" if (one.protocol, one.host) in held else qemu.bind_problem(one)
            if why:
                place = f"{one.protocol} {one.address}:{one.host}"
                problems.append(f"Host {guest.host}: {place} cannot be forwarded to its port {one.guest}: {why}.")
    return problems


def _key_problems(seen: Seen, steps: Iterable[Step], guests: Iterable[Guest], key: str | None) -> Iterator[str]:
    """Yield why nobody would get in: hosts that stay were made with another SSH key than that of this run."""
    made = {step.host for step in steps if step.verb == Verb.MAKE}
    used = fingerprint(key) if key else None
    hosts: dict[str, list[str]] = {}
    for guest in guests:
        its = seen.kept[guest.host].key if guest.host in seen.kept and guest.host not in made else None
        if its and its != used:
            hosts.setdefault(its, []).append(guest.host)
    for its, names in hosts.items():
        yield (
            f"{few(names)}: made with the SSH key {its}, and letting nobody else in; the key of this run is "
            f"{used or 'still to be made'}. Set netorder_ssh_key to the private key of the first, or tear down first "
            "(`netorder down`), with which the disks are lost."
        )


def _gone(files: Path, host: str, kept: Kept) -> list[str]:
    """Say what a host needs to start that is there no more."""
    if kept.kernel is None and (problem := images.problem(files, kept.disk["image"])):
        return [f"Host {host}: {problem}"]
    needed = {"the image that its disk is linked to": kept.base, "the kernel that it boots": kept.kernel}
    return [
        f"Host {host}: {what} is gone: {path}. Bring it back, or give the host another image, with which its disk is "
        "lost."
        for what, path in needed.items()
        if path and not Path(path).exists()
    ]


def _result(plan: Plan, changes: tuple[Change, ...], kept: Mapping[str, Kept], start: float) -> Result:
    facts = {}
    for host in plan.hosts:
        its = kept.get(host.name)
        if its is None:
            facts[host.name] = HostFacts(None, host.ports[0].addresses[0], None, None)
        else:
            facts[host.name] = HostFacts(
                its.uuid, host.ports[0].addresses[0], its.outside, its.hostkey, port=its.ssh_port
            )
    differing = {change.name for change in changes if change.action != "delete"}
    same = sum(host.cloud_name not in differing for host in plan.hosts)
    unchanged = {"server": same, FORWARDING: same} if same else {}
    return Result(changes, unchanged, facts, requests={"total": 0}, seconds=round(time.monotonic() - start, 3))


def teardown(topology: str, *, files: Path, check: bool, progress: Progress) -> list[Change]:
    """Delete all of a topology, then look again; anything left is an error that names it."""
    where = store.root(files, topology)
    seen = observe(where)
    steps = removals(seen, "teardown")
    _tell_foreign(seen, progress)
    if not check:
        if steps:
            _make(_Maker(files, where, seen, "", progress), steps, progress)
        for directory in (where, where.parent):
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()
        if left := observe(where).everything:
            raise CloudError(f"Still there after the teardown of {topology}: {few(left, 20)}. Tear down again.")
    return [step.change for step in steps if step.change]


def hosts(plan: Plan, files: Path) -> tuple[dict[str, dict[str, object]], list[str]]:
    """Return by host its state, its address on this machine and its forwarded ports; and those not in the plan."""
    seen = observe(store.root(files, plan.topology))
    names = {host.name for host in plan.hosts}
    found: dict[str, dict[str, object]] = {
        host: {
            "status": _status(seen, host),
            "note": paused(seen.paused[host]) if host in seen.paused else "",
            "id": kept.uuid,
            "address": kept.outside,
            "forwards": [
                {"protocol": one.protocol, "address": one.address, "host": one.host, "guest": one.guest}
                for one in sorted(seen.forwards.get(host) or (), key=str)
            ],
        }
        for host, kept in seen.kept.items()
        if host in names
    }
    return found, sorted({*seen.kept, *seen.running, *seen.lost} - names)


def _status(seen: Seen, host: str) -> str:
    if host in seen.paused:
        return "PAUSED"
    return "ACTIVE" if host in seen.running else "SHUTOFF"


def there(plan: Plan, files: Path) -> dict[str, int]:
    """Return how many of the planned networks and routers there are: a host's NAT is there with it."""
    its = bool(observe(store.root(files, plan.topology)).kept)
    return {"network": its * len(plan.networks), "router": its * len(plan.routers)}


def unanswered(topology: str, host: str, files: Path) -> tuple[str, bool]:
    """Return the likely cause why a host does not answer, and whether waiting longer cannot help."""
    where = store.root(files, topology)
    seen = observe(where)
    console = where / host / qemu.CONSOLE
    if host not in seen.kept:
        return "this machine does not have it: run ansible-playbook playbooks/provision.yml", True
    if host not in seen.running:
        return f"it does not run: provisioning again starts it ({console} is what it said)", True
    its = seen.forwards[host]
    if its is None:
        return "its QEMU hangs: provisioning again starts it anew", True
    if state := seen.paused.get(host):
        return f"it is {paused(state)}: make room where {where / host} is, and provision again", True
    if ssh_forward(seen.kept[host]) not in its:
        return "the port for SSH is not forwarded: provision again", True
    return f"it runs: {console} is what it says", False
