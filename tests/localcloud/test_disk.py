"""A full disk: reported, and survived. Needs root."""

from __future__ import annotations

import os
import subprocess

import pytest
from conftest import until
from running import BASE, Running

SIZE = 9 * 2**30  # more than a start requires


@pytest.fixture
def cloud(tmp_path):
    """Start a cloud whose state is on a disk of its own (sparse: it takes what is written)."""
    disk, place = tmp_path / "disk", tmp_path / "base"
    with disk.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", disk, place], check=True)
    running = Running("full", "container", place)
    try:
        running.cloud.cache.symlink_to(BASE / "cache")
        running.up()
        yield running
    finally:
        running.command("clean")
        subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_reported_and_survived(cloud):
    """Status names it; with room again services continue, nothing is lost, and resources can be created."""
    connection = cloud.connection(api_timeout=20)
    before = connection.network.create_network(name="before")
    filler = cloud.cloud.base / "filler"
    with filler.open("wb") as file:
        free = os.statvfs(cloud.cloud.base)
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - (4 << 20))
        while True:  # and the rest
            try:
                os.write(file.fileno(), bytes(1 << 20))
            except OSError:
                break
    status = cloud.command("status")
    assert status.returncode == 1
    assert "the disk is full" in status.stdout
    assert "fix: free some" in status.stdout
    for number in range(5):  # these may fail, but none may be acknowledged and lost
        try:
            connection.network.create_network(name=f"full-{number}")
        except Exception as error:  # noqa: BLE001 - any refusal will do
            print(f"full-{number}: {error}")
    filler.unlink()
    until(cloud.well, 120)

    def made():
        try:
            return cloud.connection().network.create_network(name="after")
        except Exception:  # noqa: BLE001 - services are coming back
            return None

    after = until(made, 120)
    names = {network.id: network.name for network in cloud.connection().network.networks()}
    assert names[before.id] == "before"
    assert names[after.id] == "after"
