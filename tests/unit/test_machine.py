"""The target machine without a machine: what a plan needs, what differs from what is there, drives, command lines."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from netorder.analysis.probes import from_inside, from_outside
from netorder.analysis.reach import Matrix
from netorder.ansible.applications import forwarded, forwarded_answers
from netorder.ansible.ending import Named, addresses
from netorder.cli.main import main
from netorder.cloud.result import HostFacts
from netorder.controller.operations import lacking
from netorder.controller.ssh import ssh_config
from netorder.errors import CloudError, RefusedError, UsageError
from netorder.language.load import load, parse
from netorder.machine import images, qemu, seed, store, target
from netorder.machine.compare import FORWARDING, Stage, Verb, compare, removals
from netorder.machine.observe import Seen, observe
from netorder.machine.store import Kept
from netorder.machine.wanted import Guest, wanted
from netorder.plan.build import build_plan
from netorder.topology import Forward

ROOT = Path(__file__).parents[2]
FILE = ROOT / "topologies/machine.yml"
SEVERAL = ROOT / "tests/golden/good/machine-several.yml"
PLAN = build_plan(load(FILE))
(BOX,) = wanted(PLAN)


def guest_of(text: str) -> Guest:
    return wanted(build_plan(parse(text, target="machine")))[0]


def kept_of(guest: Guest) -> Kept:
    return Kept("uuid-1", guest.disk, guest.hardware, guest.outside, 20022, "", hostkey="ssh-ed25519 AAAA")


def as_wanted(guest: Guest) -> Seen:
    kept = kept_of(guest)
    there = frozenset({*guest.forwards, qemu.ssh_forward(kept)})
    return Seen({guest.host: kept}, {guest.host: 7}, {guest.host: there})


def verbs(steps):
    return [(step.stage, step.verb, step.host) for step in steps]


def kinds(steps):
    return [(step.change.action, step.change.kind) for step in steps if step.change]


# From the file


def test_a_host_is_where_qemus_nat_has_it():
    assert BOX.hardware["network"] == "10.0.2.0/24"
    assert BOX.hardware["address"] == "10.0.2.15"
    assert BOX.hardware["gateway"] == "10.0.2.2"
    assert BOX.hardware["name server"] == "10.0.2.3"
    assert BOX.outside.startswith("127.")
    assert PLAN.hosts[0].ssh_path == ()


def test_another_prefix_and_given_addresses_are_kept():
    text = "topology: t\nnetworks: {a: {cidr: 192.168.7.0/24, gateway: 192.168.7.1}}\n"
    text += "hosts: {x: {network: a, address: 192.168.7.77, memory: 256}}\n"
    its = guest_of(text).hardware
    assert its["gateway"] == "192.168.7.1"
    assert its["address"] == "192.168.7.77"
    assert its["name server"] == "192.168.7.3"
    assert its["memory"] == "256"


def test_a_file_of_openstacks_is_refused_with_each_place_and_reason(capsys):
    assert main(["check", "--target", "machine", str(ROOT / "topologies/calculator.yml")]) == 1
    said = capsys.readouterr().err
    for words in ("has no `routers`", "has no `allow`", "has no `floating_ip`", "has one network"):
        assert words in said, words


def test_hosts_behind_nats_do_not_see_each_other():
    matrix = Matrix(build_plan(load(SEVERAL)))
    box, other = matrix.hosts["box"], matrix.hosts["other"]
    assert [probe.open for probe in from_inside(matrix, box, [other])] == [False]
    assert matrix.verdict("127.0.0.1", "box", "tcp", 22) == "open"
    assert matrix.verdict("127.0.0.1", "box", "tcp", 80) != "open"
    assert not any(probe.open for probe in from_outside(matrix, box))


def test_there_are_no_warnings_of_what_was_written_for_the_nat():
    assert load(FILE).warnings == ()
    assert load(SEVERAL).warnings == ()


def test_each_host_has_an_address_and_a_mac_of_its_own():
    guests = wanted(build_plan(load(SEVERAL)))
    assert len({guest.outside for guest in guests}) == len(guests)
    assert len({guest.hardware["mac address"] for guest in guests}) == len(guests)
    assert len({guest.hardware["address"] for guest in guests}) == len(guests)
    assert guests[1].hardware["mac address"] == "52:54:00:00:00:01"
    assert guests[0].disk["clone"] == "full"


# Comparison


def test_what_is_as_wanted_is_left_alone():
    assert compare((BOX,), as_wanted(BOX)) == []


def test_what_is_missing_is_made():
    assert verbs(compare((BOX,), Seen({}, {}, {}))) == [
        (Stage.DISK, Verb.MAKE, "box"),
        (Stage.COME, Verb.START, "box"),
    ]


def test_a_process_without_a_directory_is_ended_and_the_host_made():
    steps = compare((BOX,), Seen({}, {"box": 7}, {"box": frozenset()}))
    assert verbs(steps) == [
        (Stage.GO, Verb.STOP, "box"),
        (Stage.DISK, Verb.MAKE, "box"),
        (Stage.COME, Verb.START, "box"),
    ]


def test_what_does_not_run_or_hangs_is_started():
    seen = as_wanted(BOX)
    assert verbs(compare((BOX,), replace(seen, running={}, forwards={}))) == [(Stage.COME, Verb.START, "box")]
    hangs = compare((BOX,), replace(seen, forwards={"box": None}))
    assert verbs(hangs) == [(Stage.GO, Verb.STOP, "box"), (Stage.COME, Verb.START, "box")]


@pytest.mark.parametrize(("state", "said"), [("io-error", "paused (io-error: disk full?)"), ("paused", "paused")])
def test_what_is_paused_goes_on(state, said):
    """Its process is there, so nothing else would find it."""
    steps = compare((BOX,), replace(as_wanted(BOX), paused={"box": state}))
    assert verbs(steps) == [(Stage.COME, Verb.RESUME, "box")]
    assert (steps[0].change.reason, steps[0].change.before) == (f"is {said}", {"state": said})
    assert steps[0].change.permission is None


def test_what_kvm_failed_at_is_started_anew():
    steps = compare((BOX,), replace(as_wanted(BOX), paused={"box": "internal-error"}))
    assert verbs(steps) == [(Stage.GO, Verb.STOP, "box"), (Stage.COME, Verb.START, "box")]


@pytest.mark.parametrize("name", ["image", "clone", "user"])
def test_another_disk_is_a_replacement_that_needs_permission(name):
    steps = compare((replace(BOX, disk={**BOX.disk, name: "other"}),), as_wanted(BOX))
    assert verbs(steps) == [
        (Stage.GO, Verb.STOP, "box"),
        (Stage.DISK, Verb.MAKE, "box"),
        (Stage.COME, Verb.START, "box"),
    ]
    assert steps[1].change.permission == "replace"


@pytest.mark.parametrize("name", ["memory", "address", "network", "gateway", "mac address"])
def test_other_hardware_is_a_restart_that_keeps_the_disk(name):
    steps = compare((replace(BOX, hardware={**BOX.hardware, name: "other"}),), as_wanted(BOX))
    assert verbs(steps) == [(Stage.GO, Verb.STOP, "box"), (Stage.COME, Verb.START, "box")]
    assert steps[-1].change.permission is None
    assert "keeps its disk" in steps[-1].change.reason


def test_forwards_are_added_and_removed_while_it_runs():
    new = replace(BOX, forwards=(Forward(2001, 22), *BOX.forwards[1:]))
    steps = compare((new,), as_wanted(BOX))
    assert verbs(steps) == [(Stage.GO, Verb.UNFORWARD, "box"), (Stage.COME, Verb.FORWARD, "box")]
    assert steps[0].ports == (Forward(2000, 22),)
    assert steps[1].ports == (Forward(2001, 22),)
    assert kinds(steps) == [("update", FORWARDING)]
    assert "tcp 127.0.0.1:2001 to 22" in steps[1].change.after["forward"]


def test_the_forward_for_ssh_is_put_back():
    seen = as_wanted(BOX)
    steps = compare((BOX,), replace(seen, forwards={"box": frozenset(BOX.forwards)}))
    assert steps[-1].ports == (Forward(20022, 22, "tcp", BOX.outside),)


def test_strays_and_leftovers_go():
    seen = Seen({"old": kept_of(BOX)}, {"gone": 9}, {"gone": frozenset()}, (Path("/x/.box.new"),))
    steps = compare((BOX,), seen)
    assert verbs(steps) == [
        (Stage.GO, Verb.DELETE, "gone"),
        (Stage.GO, Verb.DELETE, "old"),
        (Stage.GO, Verb.CLEAN_UP, ""),
        (Stage.DISK, Verb.MAKE, "box"),
        (Stage.COME, Verb.START, "box"),
    ]
    assert [step.change.permission for step in steps[:2]] == [None, "delete"]
    assert verbs(removals(seen, "teardown")) == verbs(steps)[:3]


def test_a_disk_without_host_json_is_deleted_with_permission_alone(tmp_path):
    """Of a host in the file it is in the way, of another it is a stray."""
    seen = Seen({}, {"box": 9}, {"box": frozenset()}, lost={"box": tmp_path / "box", "old": tmp_path / "old"})
    steps = compare((BOX,), seen)
    assert verbs(steps) == [
        (Stage.GO, Verb.DELETE, "old"),
        (Stage.GO, Verb.DELETE, "box"),
        (Stage.DISK, Verb.MAKE, "box"),
        (Stage.COME, Verb.START, "box"),
    ]
    changes = [step.change for step in steps if step.change]
    assert [change.permission for change in changes] == ["delete", "delete", None]
    assert [change.before for change in changes[:2]] == [
        {"directory": str(tmp_path / "old")},
        {"directory": str(tmp_path / "box")},
    ]
    assert {step.host for step in removals(seen, "teardown")} == {"box", "old"}


# Clones

CLONES = """topology: t
target: machine
networks: {a: {}}
hosts:
  box: {network: a, image: other, user: me}
  copy: {network: a, clone: {of: box}}
  second: {network: a, clone: {of: copy, disk: full}}
"""


def clones() -> tuple[Guest, ...]:
    return wanted(build_plan(parse(CLONES)))


def seen_of(*guests: Guest) -> Seen:
    """Return these as running, as they are wanted."""
    each = [as_wanted(guest) for guest in guests]
    kept, running, forwards = ({}, {}, {})
    for one in each:
        kept |= one.kept
        running |= one.running
        forwards |= one.forwards
    return Seen(kept, running, forwards)


def test_a_clone_has_image_and_user_of_the_host_whose_disk_it_gets():
    box, copy, second = clones()
    assert box.disk == {"image": "other", "clone": "linked", "user": "me"}
    assert copy.disk == {**box.disk, "clone of": "box"}
    assert second.disk == {**box.disk, "clone": "full", "clone of": "copy"}
    assert (box.depth, copy.depth, second.depth) == (0, 1, 2)
    assert len({guest.hardware["mac address"] for guest in (box, copy, second)}) == 3


def test_clones_are_made_after_what_they_are_made_of():
    assert verbs(compare(clones()[::-1], Seen({}, {}, {})))[:3] == [
        (Stage.DISK, Verb.MAKE, "box"),
        (Stage.DISK, Verb.MAKE, "copy"),
        (Stage.DISK, Verb.MAKE, "second"),
    ]


def test_a_host_is_off_while_its_disk_is_cloned():
    box, copy, second = clones()
    steps = compare((box, copy, second), seen_of(box, second))
    assert verbs(steps) == [
        (Stage.GO, Verb.STOP, "box"),
        (Stage.DISK, Verb.MAKE, "copy"),
        (Stage.COME, Verb.START, "box"),
        (Stage.COME, Verb.START, "copy"),
    ]
    assert kinds(steps) == [("create", "server"), ("update", "server")]
    assert "its disk is cloned for copy" in steps[2].change.reason
    off = compare((box, copy, second), replace(seen_of(box, second), running={"second": 7}))
    assert verbs(off) == verbs(steps)[1:]
    hangs = seen_of(box, second)
    hangs.forwards["box"] = None
    assert verbs(compare((box, copy, second), hangs)) == verbs(steps)


def test_with_the_start_after_cloning_come_new_ports():
    box, copy, second = clones()
    more = replace(box, forwards=(Forward(2001, 22),))
    steps = compare((more, copy, second), seen_of(box, second))
    assert [step.verb for step in steps if step.host == "box"] == [Verb.STOP, Verb.START]


def test_clones_that_are_there_stay():
    """What becomes of the other does not matter, nor that the file does not name it any more."""
    box, copy, second = clones()
    assert compare((box, copy, second), seen_of(box, copy, second)) == []
    alone = replace(copy, disk={key: its for key, its in copy.disk.items() if key != "clone of"})
    assert compare((alone,), seen_of(copy)) == []
    assert verbs(compare((box, copy, second), seen_of(copy, second))) == [
        (Stage.DISK, Verb.MAKE, "box"),
        (Stage.COME, Verb.START, "box"),
    ]


def test_a_host_that_is_to_be_a_clone_loses_its_disk_with_permission():
    box, copy, second = clones()
    own = replace(copy, disk={key: its for key, its in copy.disk.items() if key != "clone of"})
    steps = compare((box, copy, second), seen_of(box, own, second))
    assert [step.verb for step in steps if step.host == "copy"] == [Verb.STOP, Verb.MAKE, Verb.START]
    (change,) = (step.change for step in steps if step.change and step.verb == Verb.MAKE)
    assert change.permission == "replace"
    assert change.after == {"clone of": "box"}


def test_a_host_runs_again_though_there_was_no_room_for_its_clone():
    """What needs the disk that is not there is left out; the rest is made, and the error is raised then."""
    box, copy, second = clones()
    made = []

    class Maker:
        def make(self, step):
            if (step.verb, step.host) == (Verb.MAKE, "copy"):
                raise CloudError("no space left")
            made.append((step.verb, step.host))

    steps = compare((box, copy, second), seen_of(box))
    with pytest.raises(CloudError, match="no space left"):
        target._make(Maker(), steps, lambda _: None)
    assert made == [(Verb.STOP, "box"), (Verb.START, "box")]


def test_no_host_is_started_where_one_does_not_stop():
    class Maker:
        def make(self, step):
            assert step.verb == Verb.STOP
            raise CloudError("does not end")

    box, copy, second = clones()
    with pytest.raises(CloudError, match="does not end"):
        target._make(Maker(), compare((box, copy, second), seen_of(box)), lambda _: None)


@pytest.mark.parametrize(("base", "kernel"), [("base", ""), ("", "kernel")])
def test_what_a_disk_needs_of_its_image_and_is_gone_is_said_before_the_first_change(tmp_path, base, kernel):
    kept = replace(kept_of(BOX), base=base and str(tmp_path / base), kernel=kernel and str(tmp_path / kernel))
    (problem,) = target._gone(tmp_path, "box", kept)
    assert f"is gone: {tmp_path / (base or kernel)}. Bring it back" in problem
    (tmp_path / (base or kernel)).touch()
    assert target._gone(tmp_path, "box", kept) == []


def test_a_host_of_a_version_that_did_not_note_its_kernel(tmp_path):
    """It has that of its image, as it had then."""
    where = tmp_path / "box"
    where.mkdir()
    store.write(where, kept_of(BOX))
    before = json.loads((where / "host.json").read_text())
    (where / "host.json").write_text(json.dumps({key: its for key, its in before.items() if key != "kernel"}))
    kept = store.kept(tmp_path)["box"]
    assert kept.kernel is None
    (problem,) = target._gone(tmp_path, "box", kept)
    assert "make machine-image" in problem
    image = tmp_path / "machine-images/debian-13"
    image.mkdir(parents=True)
    for name in ("disk.qcow2", "kernel"):
        (image / name).touch()
    assert target._gone(tmp_path, "box", kept) == []
    assert target._kernel(tmp_path, kept) == str(image)


def test_what_is_gone_is_in_the_way_of_a_start_alone(tmp_path, monkeypatch):
    """A port of a host that runs needs no image."""
    monkeypatch.setattr(qemu, "check_installed", lambda: None)
    monkeypatch.setattr(qemu, "bind_problem", lambda _: "")
    kept = replace(kept_of(BOX), base=str(tmp_path / "gone"))
    runs = Seen({"box": kept}, {"box": 7}, {"box": frozenset({qemu.ssh_forward(kept)})})
    assert target._preflight(tmp_path, (BOX,), runs, compare((BOX,), runs)) == []
    off = Seen({"box": kept}, {}, {})
    (problem,) = target._preflight(tmp_path, (BOX,), off, compare((BOX,), off))
    assert "is gone" in problem


def test_a_clones_config_drive_gives_a_machine_id_to_cloud_init():
    drive = seed.config_drive("12-34", "box", "k", is_clone=True)
    assert b"VENDOR_DATA.JSON;1" in drive
    assert b"echo 1234 >/etc/machine-id" in drive
    assert b"VENDOR_DATA" not in seed.config_drive("12-34", "box", "k", is_clone=False)


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_a_machine_of_another_kind_is_told_so(monkeypatch, tmp_path, machine):
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(CloudError, match=f"this one is {machine}: use `target: openstack`"):
        target.reconcile(PLAN, files=tmp_path, key="k", check=True, progress=print, hostkey_timeout=1)


# KVM


@pytest.fixture
def dev_kvm(tmp_path, monkeypatch):
    """Have a /dev/kvm that opens, and a QEMU whose trials say what these commands of a shell say."""
    monkeypatch.setattr(qemu, "_KVM", tmp_path / "kvm")
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(qemu, "_TRIALS", (2, 20))
    program = tmp_path / "bin" / qemu.PROGRAM
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def says(*trials: str) -> Path:
        cases = "".join(f"{number}) {said};;\n" for number, said in enumerate(trials, 1))
        tries = tmp_path / "tries"
        program.write_text(f"#!/bin/sh\necho tried >>{tries}\ncase $(wc -l <{tries}) in\n{cases}esac\n")
        program.chmod(0o755)
        return tmp_path / "cache"

    return says


LINUX, FAILS = "echo '[0.0] Linux version 6'", "echo 'KVM: entry failed' >&2; exit 1"


@pytest.mark.parametrize(
    ("trials", "works", "tries"),
    [([LINUX], True, 1), ([FAILS, FAILS], False, 2), ([FAILS, LINUX], True, 2), (["exec sleep 9", LINUX], True, 2)],
)
def test_kvm_is_used_where_a_kernel_starts_on_it(dev_kvm, tmp_path, trials, works, tries):
    """Tried until this machine boots again, by one of those that start at the same time; one trial may be unlucky."""
    cache = dev_kvm(*trials)
    cache.mkdir()
    (cache / "kvm-of-another-boot").touch()
    with ThreadPoolExecutor(4) as pool:
        (why,) = {*pool.map(lambda _: qemu.kvm_problem(cache, tmp_path / "kernel"), range(8))}
    assert (not why) == works
    assert (tmp_path / "tries").read_text() == tries * "tried\n"
    (verdict,) = cache.iterdir()
    assert verdict.name.startswith("kvm-")
    if works:
        return
    assert "KVM: entry failed" in why
    assert f"remove {verdict}" in why
    verdict.unlink()
    dev_kvm(*trials, LINUX)
    assert not qemu.kvm_problem(cache, tmp_path / "kernel")


def test_without_a_kernel_to_try_qemu_must_begin_on_kvm(dev_kvm, monkeypatch, tmp_path):
    """An image with a boot loader, on a machine whose kernels nobody may read: QEMU itself may fail there."""
    monkeypatch.setattr("os.access", lambda path, _: path == tmp_path / "kvm")
    dev_kvm("grep -q quit", "echo 'failed to set MSR 0x10a' >&2; kill -ABRT $$")
    assert qemu.kvm_problem(tmp_path, None) == ""
    assert qemu.kvm_problem(tmp_path, None) == "failed to set MSR 0x10a"


def test_the_no_of_a_version_that_tried_kvm_once_is_not_believed(dev_kvm, tmp_path):
    cache = dev_kvm(FAILS, FAILS, LINUX)
    qemu.kvm_problem(cache, tmp_path / "kernel")
    (verdict,) = cache.iterdir()
    verdict.write_text("no")
    assert not qemu.kvm_problem(cache, tmp_path / "kernel")


def test_kvm_that_is_not_ours_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr(qemu, "_KVM", tmp_path / "kvm")
    assert "this machine has no " in qemu.kvm_problem(tmp_path, tmp_path / "kernel")
    (tmp_path / "kvm").touch()
    assert "not open to this user" in qemu.kvm_problem(tmp_path, tmp_path / "kernel")


def test_that_hosts_are_emulated_is_said_once(monkeypatch, tmp_path):
    """With the reason, however many hosts there are."""
    monkeypatch.setattr(qemu, "kvm_problem", lambda *_: "because")
    monkeypatch.setattr(qemu, "start", lambda *_: None)
    (tmp_path / "kernel").touch()
    where, said = store.root(tmp_path, "t"), list[str]()
    maker = target._Maker(tmp_path, where, Seen({}, {}, {}), "k", said.append)
    for guest in clones()[:2]:
        (where / guest.host).mkdir(parents=True)
        store.write(where / guest.host, replace(kept_of(guest), kernel=str(tmp_path / "kernel")))
        maker._start(guest)
    assert said == ["KVM does not work here, hosts are emulated, which is slow: because"]


# State


def test_a_host_is_kept_whole(tmp_path):
    where = store.root(tmp_path, "t")
    new = store.scratch(where, "box")
    assert store.kept(where) == {}
    assert store.leftovers(where) == [new]
    store.write(new, kept_of(BOX))
    assert store.kept(where) == {}
    new.rename(where / "box")
    assert store.kept(where) == {"box": kept_of(BOX)}
    assert observe(where) == Seen({"box": kept_of(BOX)}, {}, {})
    store.remove(where / "box")
    assert store.leftovers(where) == []


def with_files_of_others(where: Path) -> list[Path]:
    """Put there what is no host, and not ours: a copy of a disk, a directory, a link."""
    where.mkdir(parents=True)
    (where / "box-backup.qcow2").write_text("a disk")
    (where / "backups").mkdir()
    (where / "backups/box.qcow2").write_text("a disk")
    (where / "link").symlink_to(where / "backups")
    return [where / "backups", where / "box-backup.qcow2", where / "link"]


def test_only_what_killed_runs_left_is_removed_unasked(tmp_path):
    where = store.root(tmp_path, "t")
    others = with_files_of_others(where)
    store.write(store.scratch(where, "box"), kept_of(BOX))
    (where / "old").mkdir()
    (where / "old/disk.qcow2").touch()
    seen = observe(where)
    assert seen.leftovers == (where / ".box.new",)
    assert seen.lost == {"old": where / "old"}
    assert sorted(seen.foreign) == others
    maker = target._Maker(tmp_path, where, seen, "k", print)
    target._make(maker, removals(seen, "teardown"), print)
    assert sorted(where.iterdir()) == others
    assert (where / "backups/box.qcow2").read_text() == "a disk"


def test_a_copy_of_a_hosts_directory_is_its_owners(tmp_path, monkeypatch):
    """A copy in the same directory, and one of a host of the same name of another topology."""
    where, elsewhere = store.root(tmp_path, "t"), store.root(tmp_path, "other")
    (where / "box").mkdir(parents=True)
    (where / "box/disk.qcow2").touch()
    store.write(where / "box", kept_of(BOX))  # by a version that did not note of which host it is
    target._wait(where, set(), 1, print)  # a run notes it
    copies = [where / "box-backup", elsewhere / "box"]
    for copy in copies:
        shutil.copytree(where / "box", copy)
    monkeypatch.setattr(qemu, "processes", lambda _: {"box": 7, "box-backup": 8})
    monkeypatch.setattr(qemu, "forwards", lambda _: frozenset())
    monkeypatch.setattr(qemu, "state", lambda _: "running")
    seen = observe(where)
    assert (set(seen.kept), seen.running, seen.foreign, seen.lost) == ({"box"}, {"box": 7}, (copies[0],), {})
    assert {step.host for step in removals(seen, "teardown")} == {"box"}
    there = observe(elsewhere)
    assert (there.kept, there.running.keys() & {"box"}, there.foreign) == ({}, set(), (copies[1],))
    shutil.rmtree(where / "box")
    copies[0].rename(where / "box")  # a copy that is put back is the host
    assert set(observe(where).kept) == {"box"}


def test_a_removal_that_is_killed_leaves_what_the_next_run_removes(tmp_path, monkeypatch):
    """And not a disk of which nobody knows whose it is."""
    where = store.root(tmp_path, "t")
    new = store.scratch(where, "box")
    store.write(new, kept_of(BOX))
    (new / "disk.qcow2").touch()
    new.rename(where / "box")
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda _: None)
        store.remove(where / "box")
    seen = observe(where)
    assert (seen.kept, seen.lost, len(seen.leftovers)) == ({}, {}, 1)
    store.remove(seen.leftovers[0])
    assert observe(where).leftovers == ()


def test_a_teardown_leaves_what_is_not_ours_says_so_and_ends_well(tmp_path):
    where = store.root(tmp_path, "t")
    others = with_files_of_others(where)
    said: list[str] = []
    assert target.teardown("t", files=tmp_path, check=False, progress=said.append) == []
    (line,) = said
    assert "not made by netorder" in line
    assert all(str(one) in line for one in others)
    assert sorted(where.iterdir()) == others


def test_a_file_in_a_hosts_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(qemu, "check_installed", lambda: None)
    monkeypatch.setattr(qemu, "bind_problem", lambda _: "")
    seen = Seen({}, {}, {}, foreign=(tmp_path / "box",))
    problems = target._preflight(tmp_path, (BOX,), seen, compare((BOX,), seen))
    assert f"Host box: {tmp_path / 'box'} is in its place" in problems[0]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    where = store.root(tmp_path, "t")
    (where / "box").mkdir(parents=True)
    (where / "box/host.json").write_text("{")
    with pytest.raises(CloudError, match=r"box/host\.json cannot be read"):
        observe(where)


def test_only_our_process_is_ours(tmp_path):
    """Found by the pidfile on its command line: not by a number in a file, nor in another's directory."""
    where = store.root(tmp_path, "t")
    (where / "box").mkdir(parents=True)
    program = tmp_path / "qemu-system-x86_64"
    program.symlink_to(sys.executable)
    sleep = "import time; time.sleep(60)"
    mine = subprocess.Popen([program, "-c", sleep, "-pidfile", where / "box/pid"])
    other = subprocess.Popen([program, "-c", sleep, "-pidfile", store.root(tmp_path, "other") / "box/pid"])
    plain = subprocess.Popen([sys.executable, "-c", sleep, "-pidfile", where / "box/pid"])
    try:
        (where / "box/pid").write_text(str(other.pid))
        assert qemu.processes(where) == {"box": mine.pid}
        assert qemu.is_running(where / "box", mine.pid)
        assert not qemu.is_running(where / "box", other.pid)
        assert not qemu.is_running(where / "box", plain.pid)
        assert not qemu.is_running(where / "box", 2**22)
    finally:
        for process in (mine, other, plain):
            process.kill()
            process.wait()


# The SSH key

OLD, NEW = "ssh-ed25519 AAAA me", "ssh-ed25519 BBBB me"


def with_key(key: str | None) -> Seen:
    seen = as_wanted(BOX)
    return replace(seen, kept={"box": replace(seen.kept["box"], key=key)})


@pytest.mark.parametrize("key", [NEW, None])
def test_a_host_that_lets_another_key_in_is_refused_before_the_first_change(tmp_path, monkeypatch, key):
    """None is a key that this run would make: a lost one is not the one that it makes then."""
    monkeypatch.setattr(target, "observe", lambda _: with_key(seed.fingerprint(OLD)))
    with pytest.raises(RefusedError) as refused:
        target.reconcile(PLAN, files=tmp_path, key=key, check=True, progress=print, hostkey_timeout=1)
    (problem,) = refused.value.problems
    assert problem.startswith(f"box: made with the SSH key {seed.fingerprint(OLD)}")
    assert (seed.fingerprint(key) if key else "still to be made") in problem
    assert "Set netorder_ssh_key" in problem


@pytest.mark.parametrize("noted", [seed.fingerprint("ssh-ed25519 AAAA you"), None])
def test_the_same_key_or_none_that_was_noted_is_let_in(tmp_path, monkeypatch, noted):
    """Hosts that earlier versions made have none: nothing is compared."""
    monkeypatch.setattr(target, "observe", lambda _: with_key(noted))
    result = target.reconcile(PLAN, files=tmp_path, key=OLD, check=True, progress=print, hostkey_timeout=1)
    assert result.changes == ()


def test_a_host_that_is_made_anew_gets_the_new_key():
    other = replace(BOX, disk={**BOX.disk, "image": "other"})
    seen = with_key(seed.fingerprint(OLD))
    assert not [*target._key_problems(seen, compare((other,), seen), (other,), NEW)]


def test_a_hosts_key_is_noted_when_it_is_made(tmp_path, monkeypatch):
    (tmp_path / "machine-images").mkdir()
    (tmp_path / "machine-images/debian-13.qcow2").touch()
    monkeypatch.setattr(images, "make_disk", lambda *_, **__: None)
    where = store.root(tmp_path, "t")
    target._Maker(tmp_path, where, Seen({}, {}, {}), OLD, print)._make_disk(BOX)
    assert store.kept(where)["box"].key == seed.fingerprint(OLD)


def test_a_fingerprint_is_that_of_ssh_keygen(tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", key], check=True)
    said = subprocess.check_output(["ssh-keygen", "-l", "-f", f"{key}.pub"], text=True)
    assert seed.fingerprint(key.with_suffix(".pub").read_text()) == said.split()[1]


# Drives and images


def test_a_config_drive_is_read_back(tmp_path):
    """Its bytes are those that its reader asks for: the label, and the file by its path."""
    drive = seed.config_drive("uuid-1", "box", 'ssh-ed25519 AAAA "me"', is_clone=False)
    assert drive[32768:32774] == b"\x01CD001"
    assert drive[32808:32816] == b"config-2"
    assert len(drive) % 2048 == 0
    assert int.from_bytes(drive[32848:32852], "little") * 2048 == len(drive)

    def entries(sector, size):
        at, end = sector * 2048, sector * 2048 + size
        while at < end and drive[at]:
            record = drive[at : at + drive[at]]
            yield (
                record[33 : 33 + record[32]],
                int.from_bytes(record[2:6], "little"),
                int.from_bytes(record[10:14], "little"),
            )
            at += drive[at]

    place = (int.from_bytes(drive[32926:32930], "little"), 2048)
    for name in (b"OPENSTACK", b"LATEST", b"META_DATA.JSON;1"):
        place = next(its for its in ((s, n) for found, s, n in entries(*place) if found == name))
    data = json.loads(drive[place[0] * 2048 : place[0] * 2048 + place[1]])
    assert data["uuid"] == "uuid-1"
    assert data["public_keys"] == {"netorder": 'ssh-ed25519 AAAA "me"'}
    if shutil.which("isoinfo"):
        file = tmp_path / "d.iso"
        file.write_bytes(drive)
        assert "META_DATA.JSON" in subprocess.check_output(["isoinfo", "-i", file, "-f"], text=True)


def test_images_are_found_by_name_and_by_path(tmp_path):
    where = tmp_path / images.DIRECTORY
    (where / "debian-13-abc").mkdir(parents=True)
    for name in ("disk.raw", "kernel", "initrd"):
        (where / "debian-13-abc" / name).touch()
    (where / "debian-13-abc/cmdline").write_text("root=/dev/vda\n")
    (where / "debian-13").symlink_to("debian-13-abc")
    (where / "ubuntu.qcow2").touch()
    found = images.find(tmp_path, "debian-13")
    assert found is not None
    assert found.disk == where / "debian-13-abc/disk.raw"  # not by the link, which moves on
    assert (found.cmdline, found.emulated) == ("root=/dev/vda", "root=/dev/vda")
    assert images.find(tmp_path, "ubuntu").disk == where / "ubuntu.qcow2"
    assert images.find(tmp_path, str(where / "ubuntu.qcow2")).disk == where / "ubuntu.qcow2"
    assert "make machine-image" in images.problem(tmp_path / "x", "debian-13")
    assert "named by their path" in images.problem(tmp_path, "fedora")
    assert "is not a file" in images.problem(tmp_path, "/no/such.qcow2")
    assert images.problem(tmp_path, "ubuntu") == ""


# QEMU


def test_the_command_line_says_nat_drive_and_forwards():
    image = images.Image(Path("/i/disk.raw"), Path("/i/kernel"), Path("/i/initrd"), "plain", "tsc")
    ports = (qemu.ssh_forward(kept_of(BOX)), *BOX.forwards)
    words = qemu.arguments(Path("/s/a,b/box"), kept_of(BOX), "box", image, ports, kvm=False)
    (netdev,) = (word for word in words if word.startswith("user,"))
    assert "net=10.0.2.0/24,host=10.0.2.2,dns=10.0.2.3,dhcpstart=10.0.2.15" in netdev
    assert f"hostfwd=tcp:{BOX.outside}:20022-10.0.2.15:22,hostfwd=tcp:127.0.0.1:2000-10.0.2.15:22" in netdev
    assert "file=/s/a,,b/box/disk.qcow2,format=qcow2,if=virtio,discard=unmap" in words
    assert words[words.index("-append") + 1] == "tsc systemd.machine_id=uuid1"
    assert "tcg,tb-size=96" in words
    fast = qemu.arguments(Path("/s/box"), kept_of(BOX), "box", replace(image, kernel=None), ports, kvm=True)
    assert "-kernel" not in fast
    assert fast[fast.index("-accel") + 1] == "kvm"


def test_what_the_monitor_says_of_forwards():
    text = """Hub -1 (net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   14       127.0.0.1  2000       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  12       127.0.0.1  2000       10.0.2.15    22     0     0
  UDP[HOST_FORWARD]  13               *  5353       10.0.2.15    53     0     0
"""
    assert qemu.parse_forwards(text) == {Forward(2000, 22), Forward(5353, 53, "udp", "0.0.0.0")}  # noqa: S104 - parsed


@pytest.fixture
def monitor(tmp_path):
    """Answer as QEMU's monitor does, in a directory whose path is longer than a socket's may be."""
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    said: list[str] = []
    answers = {"hostfwd_add": "", "hostfwd_remove": "host forwarding rule for tcp:127.0.0.1:1 removed\r\n"}
    answers |= {"info": "", "status": "running", "after cont": "running"}
    handle = os.open(directory, os.O_RDONLY)
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"/proc/self/fd/{handle}/monitor")
    server.listen()

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                stream.write(b'{"QMP": {}}\n')
                stream.flush()
                for line in stream:
                    request = json.loads(line)
                    stream.write(b'{"event": "SOMETHING"}\n')
                    if request["execute"] == "human-monitor-command":
                        words = request["arguments"]["command-line"]
                        said.append(words)
                        stream.write(json.dumps({"return": answers[words.split()[0]]}).encode() + b"\n")
                    elif request["execute"] in {"qmp_capabilities", "system_powerdown"}:
                        said.extend({request["execute"]} & {"system_powerdown"})
                        stream.write(b'{"return": {}}\n')
                    elif request["execute"] == "cont":
                        said.append("cont")
                        answers["status"] = answers["after cont"]
                        stream.write(b'{"return": {}}\n')
                    elif request["execute"] == "query-status":
                        stream.write(json.dumps({"return": {"status": answers["status"]}}).encode() + b"\n")
                    else:
                        stream.write(b'{"error": {"desc": "no such command"}}\n')
                    stream.flush()

    threading.Thread(target=serve, daemon=True).start()
    yield directory, said, answers
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    os.close(handle)


def test_forwards_are_said_to_the_monitor(monitor):
    directory, said, answers = monitor
    qemu.add_forward(directory, Forward(2000, 22), "10.0.2.15")
    qemu.remove_forward(directory, Forward(2000, 22))
    assert said == [
        "hostfwd_add net0 tcp:127.0.0.1:2000-10.0.2.15:22",
        "hostfwd_remove net0 tcp:127.0.0.1:2000",
    ]
    answers["hostfwd_add"] = "could not set up host forwarding rule\r\n"
    answers["hostfwd_remove"] = "host forwarding rule for tcp:127.0.0.1:2000 not found\r\n"
    with pytest.raises(CloudError, match="cannot be forwarded: could not set up"):
        qemu.add_forward(directory, Forward(2000, 22), "10.0.2.15")
    with pytest.raises(CloudError, match="is still forwarded"):
        qemu.remove_forward(directory, Forward(2000, 22))
    with pytest.raises(CloudError, match="no such command"), qemu.monitor(directory) as ask:
        ask("nonsense")


def test_a_paused_host_is_seen_said_and_goes_on(monitor, monkeypatch):
    directory, said, answers = monitor
    files, host = directory.parent, directory.name
    monkeypatch.setattr(store, "root", lambda *_: files)
    monkeypatch.setattr(qemu, "processes", lambda _: {host: 7})
    monkeypatch.setattr(qemu, "_RESUMED", 0)
    store.write(directory, kept_of(BOX))
    assert observe(files).paused == {}
    answers["status"] = "io-error"
    assert observe(files).paused == {host: "io-error"}
    text, certain = target.unanswered("t", host, files)
    assert "paused (io-error: disk full?): make room" in text
    assert certain
    plan = replace(PLAN, hosts=(replace(PLAN.hosts[0], name=host),))
    (its,) = target.hosts(plan, files)[0].values()
    assert (its["status"], its["note"]) == ("PAUSED", "paused (io-error: disk full?)")
    answers["after cont"] = "io-error"
    with pytest.raises(CloudError, match="stands still again"):
        qemu.resume(directory)
    answers["after cont"] = "running"
    qemu.resume(directory)
    assert said[-1] == "cont"


def test_a_paused_host_goes_on_before_its_power_button_is_pressed(monitor, monkeypatch):
    directory, said, _ = monitor
    monkeypatch.setattr(qemu, "is_running", lambda *_: "system_powerdown" not in said)
    assert qemu.stop(directory, 2**22) == "shut down"
    assert said == ["cont", "system_powerdown"]


def test_no_monitor_is_an_error_that_names_the_host(tmp_path):
    with pytest.raises(CloudError, match=f"host {tmp_path.name}: its monitor does not answer"):
        qemu.forwards(tmp_path)


def test_a_port_that_somebody_has_is_refused_before_the_first_change(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "has that port" in qemu.bind_problem(Forward(port, 22))
        assert qemu.answer(Forward(port, 22), 0.1) == "open"
        host = f"{{network: a, forward: [{{host: {port}, guest: 22}}]}}"
        plan = build_plan(parse(f"topology: t\ntarget: machine\nnetworks: {{a: {{}}}}\nhosts: {{box: {host}}}\n"))
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("qemu-system-x86_64", "qemu-img"):
            (programs / name).symlink_to("/bin/true")
        monkeypatch.setenv("PATH", str(programs))
        with pytest.raises(RefusedError) as refused:
            target.reconcile(plan, files=tmp_path, key="k", check=False, progress=print, hostkey_timeout=1)
    assert f"tcp 127.0.0.1:{port} cannot be forwarded to its port 22" in str(refused.value)
    assert "make machine-image" in str(refused.value)
    assert not (tmp_path / "machine").exists()
    assert qemu.bind_problem(Forward(port, 22)) == ""
    assert qemu.answer(Forward(port, 22), 0.1) == "refused"
    assert "no such address" in qemu.bind_problem(Forward(port, 22, "tcp", "192.0.2.1"))


def test_without_qemu_the_error_says_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CloudError, match=r"not installed.*make machine-image"):
        target.reconcile(PLAN, files=tmp_path, key="k", check=True, progress=print, hostkey_timeout=1)
    assert target.teardown("machine", files=tmp_path, check=False, progress=print) == []  # needs none


def test_the_host_key_is_the_last_that_the_console_showed(tmp_path):
    assert qemu.host_key(tmp_path) is None
    block = "-----BEGIN SSH HOST KEY KEYS-----\r\n{}\r\n-----END SSH HOST KEY KEYS-----\r\n"
    first, last = block.format("ssh-ed25519 AAAA root@box"), block.format("ecdsa-x BBBB\r\nssh-ed25519 CCCC root@box")
    (tmp_path / "console.log").write_text(
        f"boot\r\n{first}more\r\n{last}-----BEGIN SSH HOST KEY KEYS-----\r\nssh-ed25519 D"
    )
    assert qemu.host_key(tmp_path) == "ssh-ed25519 CCCC"


def test_ssh_that_is_slow_to_speak_is_given_more_time_each_time(monkeypatch, tmp_path):
    """Connections that are given up too early keep an emulated host too busy to answer any."""
    where = store.root(tmp_path, "t")
    (where / "box").mkdir(parents=True)
    store.write(where / "box", kept_of(BOX))
    waited: list[float] = []

    def answer(_, seconds):
        waited.append(seconds)
        return "answers" if seconds >= 4 else "open"

    monkeypatch.setattr(qemu, "answer", answer)
    monkeypatch.setattr(target, "_POLL", 0)
    target._wait(where, {"box"}, 60, lambda _: None)
    assert waited == [1, 2, 4]
    target._wait(where, set(), 60, lambda _: None)  # what runs is not asked
    assert waited == [1, 2, 4]


# To Ansible and SSH


def test_ssh_goes_to_the_forwarded_port(tmp_path):
    facts = {"box": HostFacts("id", "10.0.2.15", "127.70.1.2", "ssh-ed25519 AAAA", port=20023)}
    text = ssh_config(PLAN, facts, directory=tmp_path, key=tmp_path / "key")
    assert "Host box 10.0.2.15 127.70.1.2\n  HostName 127.70.1.2\n  Port 20023\n" in text


def test_verify_asks_at_the_ports_of_this_machine():
    forwards = [
        {"protocol": "tcp", "address": "0.0.0.0", "host": 5000, "guest": 50000},  # noqa: S104 - compared
        {"protocol": "udp", "address": "127.0.0.1", "host": 53, "guest": 53},
    ]
    assert forwarded(forwards, "box") == [
        {"name": "box", "address": "127.0.0.1", "port": 5000, "open": True, "forwarded": True}
    ]
    check = {"what": "w", "body": "b", "status": 200, "answer": "a", "contains": None, "path": "/", "port": 50000}
    (asked,) = forwarded_answers([{"check": check}, {"check": {**check, "port": 80}}, {"check": None}], forwards)
    assert asked["url"] == "http://127.0.0.1:5000/"


@pytest.mark.parametrize("operation", ["resize", "power", "golden", "snapshot", "restore"])
def test_operations_that_there_are_not_say_what_to_do(operation):
    with pytest.raises(UsageError, match="target `machine`"):
        lacking.require("machine", operation)
    lacking.require("openstack", operation)


def test_a_run_ends_with_the_ports_of_this_machine():
    lines = addresses(Matrix(PLAN), {"box": BOX.outside}, Named("topologies/machine.yml", is_default=False))
    assert "  box  this machine  tcp 127.0.0.1:2000 to 22, tcp 127.0.0.1:50000 to 50000" in lines
    assert "  calculator: http://127.0.0.1:50000" in lines
    assert not any("sum:" in line for line in lines)  # no port leads there


def test_a_forwarded_connection_that_ends_at_once_is_refused():
    """The NAT has accepted it by then; one that lasts is open, and so is any that is not forwarded."""
    spec = importlib.util.spec_from_file_location("observe", ROOT / "plugins/modules/netorder_observe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with socket.create_server(("127.0.0.1", 0)) as closing, socket.create_server(("127.0.0.1", 0)) as lasting:
        threading.Thread(target=lambda: [closing.accept()[0].close() for _ in range(2)], daemon=True).start()
        ports = [server.getsockname()[1] for server in (closing, lasting)]
        closed, kept = ({"address": "127.0.0.1", "port": port, "open": True} for port in ports)
        probes = [{**closed, "forwarded": True}, {**kept, "forwarded": True}, closed]
        found = module.connected(probes, 4.0)
    assert [one["found"] for one in found] == ["refused", "open", "open"]
