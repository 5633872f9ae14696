"""The local cloud's decisions before anything is changed: pure, or reading the host only."""

from __future__ import annotations

import ipaddress
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from localcloud import CloudError, __main__, build, checks, life
from localcloud.build import rootfs
from localcloud.cloud import Cloud


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
    """A cloud whose prefix was taken meanwhile says so: its catalog holds the address."""
    cloud.shared.mkdir(parents=True)
    (cloud.shared / "parameters.json").write_text(json.dumps({"gateway": "172.24.6.1"}))
    routed(monkeypatch)
    assert checks.pick_net(cloud)["ip"] == "172.24.7.2"
    routed(monkeypatch, "172.24.6.0/25")
    with pytest.raises(CloudError, match="in use"):
        checks.pick_net(cloud)


def test_all_that_is_missing_is_said_at_once(cloud, monkeypatch):
    """Memory, disk and programs: one error names them all, and nothing is made."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(checks, "MEMORY_NEEDED", 2**60)
    monkeypatch.setattr(checks, "DISK_NEEDED", 2**60)
    monkeypatch.setattr(checks.shutil, "which", lambda _: None)
    with pytest.raises(CloudError) as error:
        checks.preflight(cloud)
    assert [word in str(error.value) for word in ("of memory", "of disk", "mmdebstrap")] == [True] * 3
    assert not cloud.home.exists()


@pytest.mark.parametrize("name", ["../x", "cache", "A", "x" * 40, "a b"])
def test_a_name_that_is_no_directory_of_ours_is_refused(name, monkeypatch, capsys, tmp_path):
    """The name becomes a directory that `clean` removes."""
    monkeypatch.setenv("LOCALCLOUD_NAME", name)
    monkeypatch.setenv("LOCALCLOUD_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["localcloud", "clean"])
    assert __main__.main() == 1
    assert f"LOCALCLOUD_NAME={name}" in capsys.readouterr().err


def test_a_process_is_told_from_another_of_the_same_id(cloud):
    """The pid file holds start time and boot; a number alone would take any process for the cloud."""
    cloud.make()
    cloud.remember(os.getpid())
    assert cloud.pid() == os.getpid()
    pid, ticks, boot = (cloud.home / "pid").read_text().split()
    for other in (f"{pid} 1 {boot}", f"{pid} {ticks} 00000000-0000-0000-0000-000000000000", f"{pid}", ""):
        (cloud.home / "pid").write_text(other)
        assert cloud.pid() is None, other


def test_only_its_owner_enters_the_state(cloud):
    """Guests' disks, logs and passwords are in there."""
    cloud.home.mkdir(parents=True, mode=0o755)
    cloud.make()
    assert cloud.home.stat().st_mode & 0o077 == 0


def test_clouds_share_one_clouds_yaml(cloud):
    """Each cloud enters and leaves on its own; the last one takes the file with it."""
    values = {"ip": "172.24.5.2", "user": "u", "user_password": "p", "project": "q"}
    cloud.enter_clouds_yaml(values)
    other = Cloud(cloud.base, "other")
    other.enter_clouds_yaml(values)
    path = cloud.base / "clouds.yaml"
    assert list(json.loads(path.read_text())["clouds"]) == ["netorder-local", "netorder-local-other"]
    assert path.stat().st_mode & 0o077 == 0
    cloud.leave_clouds_yaml()
    assert list(json.loads(path.read_text())["clouds"]) == ["netorder-local-other"]
    other.leave_clouds_yaml()
    assert not path.exists()


def test_the_time_stamp_counter_is_measured_steadily():
    """Two measurements agree within 0.1 %, the limit beyond which guests are told anew."""
    one, two = checks.tsc_khz(), checks.tsc_khz()
    assert abs(one - two) < one / 1000


def test_the_cache_key_depends_on_the_packages(monkeypatch):
    """Another list, another root file system."""
    before = rootfs.digest()
    monkeypatch.setattr(rootfs, "PACKAGES", [*rootfs.PACKAGES, "tree"])
    assert rootfs.digest() != before


def test_a_build_is_whole_or_not_there(tmp_path):
    """A maker that fails leaves nothing, what a killed one left goes, and what is made is not made again."""
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


def test_two_makers_at_once_make_once(tmp_path):
    """The second waits for the first and takes what that one made."""
    target, made = tmp_path / "thing", []

    def work(result):
        made.append(result)
        time.sleep(0.2)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: build.once(target, work), range(4)))
    assert len(made) == 1


def test_a_digest_follows_names_modes_and_contents(tmp_path):
    """Everything that decides what is made is in the key, compiled bytecode is not."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("1")
    seen = [build.digest("x", tree)]
    (tree / "a").chmod(0o755)
    seen.append(build.digest("x", tree))
    (tree / "a").write_text("2")
    seen.append(build.digest("x", tree))
    (tree / "a").rename(tree / "b")
    seen.append(build.digest("x", tree))
    assert len(set(seen)) == len(seen)
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "a.pyc").write_text("")
    assert build.digest("x", tree) == seen[-1]


def test_a_root_file_system_goes_when_no_cloud_stands_on_it(cloud):
    """A newer one has replaced it; another cloud's stays, and everything else in the cache."""
    for name in ("rootfs-old", "rootfs-mine", "rootfs-others", "guest-kernel-1"):
        (cloud.cache / name).mkdir(parents=True)
    (cloud.cache / "rootfs-old.lock").touch()
    for owner, name in ((cloud, "rootfs-mine"), (Cloud(cloud.base, "other"), "rootfs-others")):
        owner.make()
        (owner.shared / "parameters.json").write_text(json.dumps({"rootfs": name}))
    life._prune(cloud)
    assert sorted(path.name for path in cloud.cache.iterdir()) == ["guest-kernel-1", "rootfs-mine", "rootfs-others"]


def test_clean_keeps_the_cache_unless_all_is_asked_for(cloud, capsys):
    """It takes minutes to rebuild; and with another cloud beside, even `--all` leaves it."""
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
