"""The local cloud's decisions before anything is changed: pure, or reading the host only."""

from __future__ import annotations

import ipaddress
import json
import os
import sys

import pytest

from localcloud import CloudError, __main__, host, rootfs


@pytest.fixture
def cloud(tmp_path):
    return host.Cloud(tmp_path, "default")


def routed(monkeypatch, *prefixes):
    found = [(ipaddress.IPv4Network(prefix), "eth9") for prefix in prefixes]
    monkeypatch.setattr(host, "routes", lambda: found)


def test_the_first_free_prefixes_are_chosen(cloud, monkeypatch):
    """Both the floating IPs' prefix and the API's must be free."""
    routed(monkeypatch, "172.24.4.0/24", "172.24.7.0/30")
    assert host.pick_net(cloud) == {"gateway": "172.24.8.1", "host_ip": "172.24.9.1", "ip": "172.24.9.2"}


def test_a_wider_route_of_someone_else_is_a_clash(cloud, monkeypatch):
    """Nothing is free inside a routed 172.16.0.0/12, and the error names the route and its device."""
    routed(monkeypatch, "172.16.0.0/12")
    with pytest.raises(CloudError, match=r"172\.16\.0\.0/12 is routed to eth9"):
        host.pick_net(cloud)


def test_the_state_keeps_its_prefixes(cloud, monkeypatch):
    """A cloud whose prefix was taken meanwhile says so: its catalog holds the address."""
    cloud.shared.mkdir(parents=True)
    (cloud.shared / "parameters.json").write_text(json.dumps({"gateway": "172.24.6.1"}))
    routed(monkeypatch)
    assert host.pick_net(cloud)["ip"] == "172.24.7.2"
    routed(monkeypatch, "172.24.6.0/25")
    with pytest.raises(CloudError, match="in use"):
        host.pick_net(cloud)


def test_all_that_is_missing_is_said_at_once(cloud, monkeypatch):
    """Memory, disk and programs: one error names them all, and nothing is made."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "MEMORY_NEEDED", 2**60)
    monkeypatch.setattr(host, "DISK_NEEDED", 2**60)
    monkeypatch.setattr(host.shutil, "which", lambda _: None)
    with pytest.raises(CloudError) as error:
        host.preflight(cloud)
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
    """The pid file holds the start time; a number alone would take any process for the cloud."""
    cloud.home.mkdir()
    (cloud.home / "pid").write_text(f"{os.getpid()} {host.started_at(os.getpid())}\n")
    assert cloud.pid() == os.getpid()
    (cloud.home / "pid").write_text(f"{os.getpid()} 1\n")
    assert cloud.pid() is None


def test_the_time_stamp_counter_is_measured_steadily():
    """Two measurements agree within 0.1 %, the limit beyond which guests are told anew."""
    one, two = host.tsc_khz(), host.tsc_khz()
    assert abs(one - two) < one / 1000


def test_the_cache_key_depends_on_the_packages(monkeypatch):
    """Another list, another root file system."""
    before = rootfs.digest()
    monkeypatch.setattr(rootfs, "PACKAGES", [*rootfs.PACKAGES, "tree"])
    assert rootfs.digest() != before
