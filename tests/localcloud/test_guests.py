"""The guests of the cloud that the other tests use: real virtual machines (the local cloud's default). Needs root."""

from __future__ import annotations

import json
import os
import shutil

import ordinary
import pytest
from conftest import until
from running import Running

GIB = 2**30
USER_DATA = """#!/bin/sh
echo "once more" >>/var/lib/ordered
hostname >>/var/lib/ordered
"""
CLOUD_CONFIG = """#cloud-config
write_files:
  - {path: /var/lib/ordered, content: "by cloud-init"}
"""


@pytest.fixture(scope="module")
def cloud():
    """Return the running default cloud."""
    running = Running(os.environ.get("LOCALCLOUD_NAME") or "default", os.environ.get("LOCALCLOUD_GUESTS") or "vm")
    running.up()
    return running


@pytest.fixture(scope="module")
def placed(cloud, order):
    with order(cloud, "guests") as made:
        yield made


@pytest.fixture
def guests(placed):
    """Return an order whose guests end with the test: an idle one slows down the next test's guests."""
    yield placed
    for server in placed.servers.values():
        placed.cloud.compute.delete_server(server, ignore_missing=True)


def test_a_guest_is_its_own(guests):
    """Two of one image: each has its own name, identity, keys, disk size and user data, which runs once."""
    one = guests.server("one", flavor="small", user_data=USER_DATA)
    two = guests.server("two", flavor="small2")
    guests.reached(one)
    guests.reached(two)

    def ordered():
        return guests.ssh(one, "cat /var/lib/ordered") == "once more\none\n"

    until(ordered)
    assert guests.ssh(two, "test -e /var/lib/ordered || echo none") == "none\n"
    assert guests.ssh(two, "hostname") == "two\n"
    for command in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub"):
        assert guests.ssh(one, command) != guests.ssh(two, command)

    def grown(address, size):
        return size * 0.9 < int(guests.ssh(address, "df --output=size -B1 / | tail -1")) <= size

    until(lambda: grown(one, 2 * GIB))
    until(lambda: grown(two, 4 * GIB))
    boot = guests.ssh(one, "cat /proc/sys/kernel/random/boot_id")
    guests.cloud.compute.reboot_server(guests.servers["one"], "SOFT")

    def rebooted():
        return guests.ssh(one, "cat /proc/sys/kernel/random/boot_id", patience=5) not in (None, boot)

    until(rebooted, 180)
    assert guests.ssh(one, "cat /var/lib/ordered") == "once more\none\n"


def test_boots_from_its_own_snapshot(guests):
    """The new one has the files of the first, and nothing that identifies it."""
    first = guests.server("first")
    guests.reached(first)
    assert guests.ssh(first, "echo kept | sudo tee /var/lib/kept && sync") == "kept\n"
    image = guests.cloud.compute.create_server_image(guests.servers["first"], "guests-snapshot", wait=True, timeout=180)
    assert image.status == "active"
    second = guests.server("second", image="guests-snapshot")
    guests.reached(second)
    assert guests.ssh(second, "cat /var/lib/kept; hostname") == "kept\nsecond\n"
    for command in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub"):
        assert guests.ssh(first, command) != guests.ssh(second, command)


def test_a_killed_guest_is_restarted(cloud, guests):
    """The guest's process is killed as soon as it answers; the guest is restarted, with its host key."""
    address = guests.server("killed")
    guests.reached(address)
    boot = guests.ssh(address, "cat /proc/sys/kernel/random/boot_id")
    server = guests.servers["killed"].id
    cloud.inside("pkill", "-9", "-f", f"qemu-system-x86_64 .*-uuid {server}")

    def again():
        return guests.ssh(address, "cat /proc/sys/kernel/random/boot_id", patience=5) not in (None, boot)

    def state():
        there = guests.cloud.compute.get_server(server)
        return there.status, guests.cloud.compute.get_server_console_output(there, length=20)

    until(again, 180, detail=state)
    assert guests.cloud.compute.get_server(server).status == "ACTIVE"


def test_five_at_once_all_have_their_network(cloud, guests):
    """Requested together; every one answers, and the cloud's services have priority over each of its threads."""
    names = [f"at-once-{number}" for number in range(5)]
    for address in [guests.server(name) for name in names]:
        guests.reached(address, 240)
    for name in names:
        pid = cloud.inside("pgrep", "-f", f"qemu-system-x86_64 .*-uuid {guests.servers[name].id}").strip()
        # where the kernel weighs sessions, the session's weight counts
        niceness = cloud.inside("sh", "-c", f"ps -L -o ni= -p {pid}; cut -d' ' -f3 /proc/{pid}/autogroup || true")
        assert {*niceness.split()} == {"10"}


def test_no_guest_waits_for_the_host_of_a_routers_interface(cloud, guests):
    """Neutron searched that host three times, 4 to 6 s, and reported no port to nova meanwhile; it does not exist."""
    guests.reached(guests.server("behind"))
    interfaces = [port.id for port in guests.cloud.network.ports(device_owner="network:router_interface")]
    log = (cloud.cloud.shared / "log" / "neutron.log").read_text(errors="replace")
    reported = [one for one in interfaces if f"OVN reports status up for port: {one}" in log]
    assert reported
    assert not [one for one in reported if f"No hosting information found for port {one}" in log]


def test_an_ordinary_cloud_image_is_a_guest(cloud, guests):
    """Imported by one command. It has boot loader, initrd, cloud-init with its user data, partition and disk grown."""
    raw = ordinary.make(cloud.cloud.cache, print)
    scratch = cloud.cloud.shared / "ordinary.raw"
    shutil.copyfile(raw, scratch)
    cloud.inside("qemu-img", "convert", "-O", "qcow2", "/localcloud/shared/ordinary.raw", "/localcloud/shared/o.qcow2")
    scratch.unlink()
    image = cloud.cloud.shared / "o.qcow2"
    imported = cloud.command("image", "guests-ordinary", str(image))
    assert imported.returncode == 0, imported.stderr
    image.unlink()
    try:
        address = guests.server("ordinary", image="guests-ordinary", flavor="medium", user_data=CLOUD_CONFIG)
        guests.active("ordinary", 300)
        guests.reached(address, 600)
        status = json.loads(guests.ssh(address, "sudo cloud-init status --wait --format json", patience=300))
        assert status["status"] == "done", status
        assert status["datasource"] == "configdrive"
        assert guests.ssh(address, "cat /var/lib/ordered; hostname") == "by cloud-initordinary\n"
        size = int(guests.ssh(address, "df --output=size -B1 / | tail -1"))
        assert 8 * GIB * 0.9 < size <= 8 * GIB
    finally:
        guests.cloud.compute.delete_server(guests.servers["ordinary"], ignore_missing=True)
        guests.cloud.compute.wait_for_delete(guests.servers["ordinary"], wait=120)
        assert cloud.command("shell", "openstack", "image", "delete", "guests-ordinary").returncode == 0
