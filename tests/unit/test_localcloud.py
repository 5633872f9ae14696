"""The local cloud's decisions before anything is changed: pure, or reading the host only."""

from __future__ import annotations

import ipaddress
import json
import lzma
import os
import string
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from localcloud import CloudError, __main__, build, capacity, checks, life
from localcloud.build import guest, rootfs, state
from localcloud.capacity import Provider, Room, fitting, overcommit
from localcloud.cloud import Cloud
from localcloud.inside.flavors import SMALL


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path, "default")


def routed(monkeypatch, *prefixes):
    found = [(ipaddress.IPv4Network(prefix), "eth9") for prefix in prefixes]
    monkeypatch.setattr(checks, "routes", lambda: found)


def test_the_first_free_prefixes_are_chosen(cloud, monkeypatch):
    """Both the floating IPs' prefix and the API's must be free."""
    routed(monkeypatch, "172.24.4.0/24", "172.24.7.0/30")
    assert checks.pick_net(cloud) == {"gateway": "172.24.8.1", "host_ip": "172.24.9.1", "ip": "172.24.9.2"}


def test_a_wider_route_of_someone_else_is_a_clash(cloud, monkeypatch):
    """Nothing is free inside a routed 172.16.0.0/12, and the error names the route and its device."""
    routed(monkeypatch, "172.16.0.0/12")
    with pytest.raises(CloudError, match=r"172\.16\.0\.0/12 is routed to eth9"):
        checks.pick_net(cloud)


def test_the_state_keeps_its_prefixes(cloud, monkeypatch):
    """A cloud whose prefix was taken meanwhile reports it: its catalog holds the address."""
    cloud.shared.mkdir(parents=True)
    (cloud.shared / "parameters.json").write_text(json.dumps({"gateway": "172.24.6.1"}))
    routed(monkeypatch)
    assert checks.pick_net(cloud)["ip"] == "172.24.7.2"
    routed(monkeypatch, "172.24.6.0/25")
    with pytest.raises(CloudError, match="in use"):
        checks.pick_net(cloud)


def test_all_that_is_missing_is_reported_at_once(cloud, monkeypatch):
    """Memory, disk and programs: one error names them all with a fix each, and nothing is created."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(checks, "MEMORY_NEEDED", 2**60)
    monkeypatch.setattr(checks, "DISK_NEEDED", 2**60)
    monkeypatch.setattr(checks.shutil, "which", lambda _: None)
    with pytest.raises(CloudError) as error:
        checks.preflight(cloud)
    assert [word in str(error.value) for word in ("of memory", "of disk", "mmdebstrap")] == [True] * 3
    problems = str(error.value).splitlines()[1:]
    assert [problem for problem in problems if "; fix: " not in problem] == []
    assert not cloud.home.exists()


@pytest.mark.parametrize("name", ["../x", "cache", "A", "x" * 40, "a b"])
def test_a_name_that_is_no_directory_of_ours_is_refused(name, monkeypatch, capsys, tmp_path):
    """The name becomes a directory that `clean` removes."""
    monkeypatch.setenv("LOCALCLOUD_NAME", name)
    monkeypatch.setenv("LOCALCLOUD_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["localcloud", "clean"])
    assert __main__.main() == 1
    message = capsys.readouterr().err
    assert message.startswith(f"localcloud: LOCALCLOUD_NAME={name}: must be 1 to 31 lower-case letters")
    assert "; fix: " in message


def test_a_process_is_distinguished_from_another_of_the_same_id(cloud):
    """The pid file holds start time and boot; a number alone would match any later process."""
    cloud.make()
    cloud.remember(os.getpid())
    assert cloud.pid() == os.getpid()
    pid, ticks, boot = (cloud.home / "pid").read_text().split()
    for other in (f"{pid} 1 {boot}", f"{pid} {ticks} 00000000-0000-0000-0000-000000000000", f"{pid}", ""):
        (cloud.home / "pid").write_text(other)
        assert cloud.pid() is None, other


def test_only_its_owner_enters_the_state(cloud):
    """It contains guests' disks, logs and passwords."""
    cloud.home.mkdir(parents=True, mode=0o755)
    cloud.make()
    assert cloud.home.stat().st_mode & 0o077 == 0


def test_clouds_that_start_together_keep_each_others_entries(cloud):
    """Each reads the file and writes it again."""
    values = {"ip": "169.254.0.1", "user": "u", "user_password": "p", "project": "x"}
    clouds = [Cloud(cloud.base, f"c{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda one: one.add_to_clouds_yaml(values), clouds))
    assert json.loads((cloud.base / "clouds.yaml").read_text())["clouds"].keys() == {one.entry for one in clouds}


def test_clouds_share_one_clouds_yaml(cloud):
    """Each cloud adds and removes its own entry; the file is removed with the last one."""
    values = {"ip": "172.24.5.2", "user": "u", "user_password": "p", "project": "q"}
    cloud.add_to_clouds_yaml(values)
    other = Cloud(cloud.base, "other")
    other.add_to_clouds_yaml(values)
    path = cloud.base / "clouds.yaml"
    assert list(json.loads(path.read_text())["clouds"]) == ["netorder-local", "netorder-local-other"]
    assert path.stat().st_mode & 0o077 == 0
    cloud.remove_from_clouds_yaml()
    assert list(json.loads(path.read_text())["clouds"]) == ["netorder-local-other"]
    other.remove_from_clouds_yaml()
    assert not path.exists()


def test_the_time_stamp_counter_is_measured_steadily():
    """Two measurements agree within 0.1 %."""
    one, two = checks.tsc_khz(), checks.tsc_khz()
    assert abs(one - two) < one / 1000


def test_the_cache_key_depends_on_the_packages(monkeypatch):
    """Another list, another root file system."""
    before = rootfs.digest()
    monkeypatch.setattr(rootfs, "PACKAGES", [*rootfs.PACKAGES, "tree"])
    assert rootfs.digest() != before


def test_a_build_is_complete_or_absent(tmp_path):
    """A failed build leaves only the lock, the remains of a killed one are removed, a complete one is not repeated."""
    target = tmp_path / "cache" / "thing"
    made = []

    def fail(result):
        (result / "half").touch()
        raise CloudError("no room")

    def work(result):
        made.append(result)
        (result / "whole").touch()

    with pytest.raises(CloudError, match="no room"):
        build.once(target, fail)
    assert [path.name for path in target.parent.iterdir()] == ["thing.lock"]
    (target.parent / "thing.making-killed" / "result").mkdir(parents=True)
    assert build.once(target, work) == target
    assert build.once(target, work) == target
    assert len(made) == 1
    assert sorted(path.name for path in target.parent.iterdir()) == ["thing", "thing.lock"]


def test_concurrent_builds_build_once(tmp_path):
    """The others wait for the first and take its result."""
    target, made = tmp_path / "thing", []

    def work(result):
        made.append(result)
        time.sleep(0.2)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: build.once(target, work), range(4)))
    assert len(made) == 1


def test_a_digest_follows_names_modes_and_contents(tmp_path):
    """All inputs are in the key, compiled bytecode is not."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("1")
    keys = [build.digest("x", tree)]
    (tree / "a").chmod(0o755)
    keys.append(build.digest("x", tree))
    (tree / "a").write_text("2")
    keys.append(build.digest("x", tree))
    (tree / "a").rename(tree / "b")
    keys.append(build.digest("x", tree))
    assert len(set(keys)) == len(keys)
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "a.pyc").write_text("")
    assert build.digest("x", tree) == keys[-1]


def unpacked(archive):
    """Return what a newc archive holds, in its order: {name: (mode, content)}."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * number :][:8], 16) for number in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        if name == "TRAILER!!!":
            return found
        begin = at + (110 + length + 3) // 4 * 4
        found[name] = (mode, archive[begin : begin + size])
        at = (begin + size + 3) // 4 * 4


def test_the_initrd_has_the_modules_in_the_order_of_their_dependencies(tmp_path):
    """Each once and unpacked, what it needs before it, built-in ones left out, and directories before their files."""
    tree, parts = tmp_path / "tree", tmp_path / "parts"
    place = tree / "lib/modules/6/kernel"
    place.mkdir(parents=True)
    parts.mkdir()
    for name in ("failover", "virtio_net", "virtio_blk"):
        (place / f"{name}.ko.xz").write_bytes(lzma.compress(name.encode()))
    (parts / "busybox").write_bytes(b"box")
    insmod = "insmod /lib/modules/6/kernel/"
    lines = ["builtin virtio", f"{insmod}failover.ko.xz", f"{insmod}virtio_net.ko.xz numbers=1",
             f"{insmod}failover.ko.xz", f"{insmod}virtio_blk.ko.xz"]  # fmt: skip
    (parts / "dependencies").write_text("\n".join(lines) + "\n")
    found = unpacked(guest._initrd(parts, tree))
    assert found["modules/order"][1] == b"failover.ko\nvirtio_net.ko\nvirtio_blk.ko\n"
    assert {name: content for name, (_, content) in found.items() if name.startswith("modules/") and content} == {
        "modules/order": found["modules/order"][1], "modules/failover.ko": b"failover",
        "modules/virtio_net.ko": b"virtio_net", "modules/virtio_blk.ko": b"virtio_blk",
    }  # fmt: skip
    assert found["init"] == (0o100755, (guest.TREE / "init").read_bytes())
    names = list(found)
    for name, (mode, _) in found.items():
        parent = name.rpartition("/")[0]
        assert not parent or names.index(parent) < names.index(name)
        assert mode == (0o40755 if name in {"bin", "dev", "modules", "root"} else 0o100755)


def test_a_root_file_system_without_a_cloud_is_removed(cloud):
    """A newer one has replaced it; those of other clouds are kept, and everything else in the cache."""
    for name in ("rootfs-old", "rootfs-mine", "rootfs-others", "guest-1"):
        (cloud.cache / name).mkdir(parents=True)
    (cloud.cache / "rootfs-old.lock").touch()
    for owner, name in ((cloud, "rootfs-mine"), (Cloud(cloud.base, "other"), "rootfs-others")):
        owner.make()
        (owner.shared / "parameters.json").write_text(json.dumps({"rootfs": name}))
    life._prune(cloud)
    assert sorted(path.name for path in cloud.cache.iterdir()) == ["guest-1", "rootfs-mine", "rootfs-others"]


def test_clean_keeps_the_cache_without_all(cloud, capsys):
    """It takes minutes to rebuild; while there is another cloud, even `--all` keeps it."""
    cloud.cache.mkdir(parents=True)
    cloud.make()
    other = Cloud(cloud.base, "other")
    other.make()
    life.clean(cloud, False, print)
    assert (cloud.home.exists(), cloud.cache.exists()) == (False, True)
    life.clean(cloud, True, print)
    assert cloud.cache.exists()
    assert "other may need it" in capsys.readouterr().out
    life.clean(other, True, print)
    assert not cloud.base.exists()


@pytest.mark.parametrize("mirror", ["deb.example.org", "http://mirror.example.org/ubuntu"])
def test_a_mirror_that_is_none_is_refused_by_its_source(mirror, monkeypatch):
    """The error names the variable with its value, not apt's sources."""
    monkeypatch.setenv("LOCALCLOUD_MIRROR", mirror)
    with pytest.raises(CloudError, match=f"^LOCALCLOUD_MIRROR={mirror}: no URL of a Debian mirror; fix: "):
        build.mirrors()


def test_a_directory_that_overlay_cannot_mount_is_refused(tmp_path, monkeypatch):
    """The separators of mount options are not escaped; the error names the variable and the fix."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(CloudError, match=r"LOCALCLOUD_DIR=.*/a:b contains .*; fix: choose another directory"):
        checks.preflight(Cloud(tmp_path / "a:b", "default"))


def nova_capacity(parameters, total, cores):
    """Return the vCPUs and MiB that nova offers of a host, by its parameters."""
    memory = int((total - int(parameters["reserved_memory"])) * float(parameters["ram_ratio"]))
    return int(cores * float(parameters["cpu_ratio"])), memory


GIB = 1024  # MiB


@pytest.mark.parametrize(
    ("guests", "cores", "total", "available", "expected"),
    [
        ("vm", 2, 8 * GIB, 7 * GIB, 18),  # (7 - 2.5) GiB / 256 MiB
        ("container", 2, 8 * GIB, 7 * GIB, 72),  # (7 - 2.5) GiB * 4 / 256 MiB
        ("vm", 2, 24 * GIB, 21 * GIB, 74),
        ("container", 2, 24 * GIB, 21 * GIB, 296),
        ("container", 64, 24 * GIB, 21 * GIB, 296),  # many processors: the ratio stays that of Nova
        ("container", 3, 8 * GIB, 7 * GIB, 72),  # 72 on 3 processors: 24 each
        ("vm", 1, 4 * GIB, 1 * GIB, 0),  # less than the services need
    ],
)
def test_memory_limits_the_number_of_guests(guests, cores, total, available, expected):
    """Processors are overcommitted until all guests fit whose memory does, and never less than Nova does by default."""
    chosen = overcommit(guests, cores, total, available)
    vcpus, memory = nova_capacity(chosen, total, cores)
    assert memory // SMALL.ram == expected
    assert vcpus >= expected * SMALL.vcpus
    assert float(chosen["cpu_ratio"]) >= capacity.LEAST_CPU_RATIO


def test_a_class_of_twenty_fits_in_containers():
    """20 students with 41 hosts on 2 processors and the least memory that a start accepts, and the services."""
    needed = checks.MEMORY_NEEDED >> 20
    vcpus, memory = nova_capacity(overcommit("container", 2, 8 * GIB, needed), 8 * GIB, 2)
    assert min(vcpus // SMALL.vcpus, memory // SMALL.ram) >= 41


def test_fake_guests_need_no_memory():
    """The fake driver's node has processors and memory of its own; the host's decide nothing."""
    assert overcommit("fake", 2, 0, 0) == {"cpu_ratio": "16", "ram_ratio": "2.0", "reserved_memory": "0"}


def provider(vcpus=(2, 16.0, 0), memory=(8192, 1.5, 3584), used=(0, 0, 0), max_vcpus=None):
    """Return a node as Placement reports one: (total, ratio, reserved) of processors and memory, 100 GB of disk."""
    inventory = {
        name: {"total": total, "allocation_ratio": ratio, "reserved": reserved, "max_unit": total}
        for name, (total, ratio, reserved) in (("VCPU", vcpus), ("MEMORY_MB", memory), ("DISK_GB", (100, 10.0, 0)))
    }
    if max_vcpus is not None:
        inventory["VCPU"]["max_unit"] = max_vcpus
    return Provider(inventory, dict(zip(("VCPU", "MEMORY_MB", "DISK_GB"), used, strict=True)))


@pytest.mark.parametrize(
    ("providers", "servers", "limit"),
    [
        ([provider()], 27, "memory"),  # (8192 - 3584) * 1.5 / 256
        ([provider(memory=(24576, 1.5, 0))], 32, "processors"),  # 2 * 16
        ([provider(used=(5, 1280, 10))], 22, "memory"),
        ([provider(used=(5, 1280, 999))], 0, "disk"),
        ([provider(used=(40, 0, 0))], 0, "processors"),  # more used than there is, after a lower ratio
        ([provider(), provider(used=(31, 0, 0))], 28, "processors"),  # a server is on one node
        ([provider(max_vcpus=0)], 0, "processors"),
        ([provider(), Provider({"IPV4_ADDRESS": {"total": 9}}, {})], 27, "memory"),  # a sharing provider
        ([], 0, ""),
    ],
)
def test_the_room_is_what_the_scheduler_would_place(providers, servers, limit):
    """Inventory less reserve times ratio, less usage, and the scarcest resource is named."""
    assert fitting(providers, SMALL) == Room(SMALL, servers, limit)


def test_the_room_is_one_line():
    """`status` prints it."""
    expected = "room for 27 more of the flavor small (1 vCPU, 256 MiB, 2 GB); memory is the limit"
    assert str(fitting([provider()], SMALL)) == expected


def test_the_room_is_read_from_placement(cloud, monkeypatch):
    """One login, the flavor as Nova has it (a user may have changed it), inventory and usage of each node."""
    cloud.make()
    (cloud.shared / "parameters.json").write_text(json.dumps({"ip": "192.0.2.1", "admin_password": "p"}))
    node = provider()
    answers = {
        ":5000/v3/auth/tokens": {},
        ":8774/v2.1/flavors/detail": {"flavors": [{"name": "small", "vcpus": 1, "ram": 512, "disk": 2}]},
        ":8778/resource_providers": {"resource_providers": [{"uuid": "u"}]},
        ":8778/resource_providers/u/inventories": {"inventories": node.inventory},
        ":8778/resource_providers/u/usages": {"usages": node.usage},
    }
    tokens = []

    def call(url, token="", body=None):  # noqa: ARG001
        tokens.append(token)
        return answers[url.removeprefix("http://192.0.2.1")], "t"

    monkeypatch.setattr(capacity, "_call", call)
    assert capacity.read_room(cloud) == Room(SMALL._replace(ram=512), 13, "memory")
    assert tokens == ["", "t", "t", "t", "t"]


def test_status_reports_services_that_do_not_answer(cloud, monkeypatch):
    """The line says so; whether the cloud is up is decided by its steps."""

    def refuse(_):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(capacity, "read_room", refuse)
    assert life._room(cloud) == "room for more guests is unknown: [Errno 111] Connection refused"


@pytest.mark.parametrize("kind", ["vm", "container", "fake"])
def test_every_parameter_of_the_templates_has_a_value(kind):
    """What the templates name is decided by the host, or by the step that writes the files."""
    texts = [path.read_text() for path in (state.INSIDE / "config").rglob("*") if path.is_file()]
    named = set().union(*(string.Template(text).get_identifiers() for text in texts))
    decided = {*state.constants(kind), *overcommit(kind, 2, 8 * GIB, 7 * GIB), "ip", "gateway", "workers", "secret"}
    by_the_step = {name for name in named if name.startswith("auth_")} | {"db", "db_green", "token_check"}
    assert named - decided - by_the_step == set()


@pytest.mark.parametrize(("said", "works", "tries"), [(["", "Linux version 6"], True, 2), (["", ""], False, 2)])
def test_one_unlucky_trial_of_kvm_is_not_believed(tmp_path, monkeypatch, said, works, tries):
    """What two trials have found is recorded until this machine boots again."""
    tried = []

    def run(command, **_):
        tried.append(command)
        return subprocess.CompletedProcess(command, 0, said[len(tried) - 1].encode())

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(checks, "KVM", tmp_path)
    (tmp_path / "boot").mkdir()
    (tmp_path / "kernel").touch()
    for _ in range(2):
        assert checks.kvm_works(tmp_path, tmp_path / "kernel", tmp_path) == works
        assert len(tried) == tries
