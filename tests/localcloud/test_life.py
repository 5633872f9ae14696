"""The local cloud's life: beside another one, after every kill -9, a lost lease, until it is removed completely.

Needs root. The guests are containers, one of which survives all faults.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from conftest import Order, ping, until
from running import BASE, ROOT, Running

NAME = "life"
DOWN = 3  # the status of `localcloud status`


@pytest.fixture(scope="module")
def cloud():
    """Start a second cloud of this checkout from an empty state, by two commands at once, and beside it a third."""
    running, running.beside = Running(NAME, "container"), Running(f"{NAME}-beside", "fake")
    for one in (running, running.beside):
        assert not one.cloud.home.exists(), (
            f"{one.cloud.home} exists; fix: `localcloud clean` with that LOCALCLOUD_NAME"
        )
    starts = [
        subprocess.Popen(
            [sys.executable, "-m", "localcloud", "up"], cwd=ROOT, env=one.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for one in (running, running, running.beside)
    ]  # fmt: skip
    running.output = [one.communicate(timeout=900) for one in starts]
    running.statuses = [one.returncode for one in starts]
    yield running
    running.beside.command("clean")
    running.command("clean")


@pytest.fixture(scope="module")
def guest(cloud, key):
    """Return an order with one server that is there through all faults; `clean` takes it away."""
    made = Order(cloud, "survivor", key)
    made.make()
    made.address = made.server("one")
    made.active("one")
    made.reached(made.address)
    return made


def output(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def api_versions(cloud):
    with urllib.request.urlopen(f"http://{cloud.cloud.parameters()['ip']}:8774/", timeout=20) as answer:
        return len(json.load(answer)["versions"])


def namespaces_of(pid):
    return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid")}


def living_in(namespaces):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if namespaces & namespaces_of(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_two_starts_at_once_are_one(cloud):
    """Both succeed; the second reports that it waits and finds it up; beside another cloud's addresses."""
    assert cloud.statuses[:2] == [0, 0], cloud.output
    text = "".join(out + err for out, err in cloud.output[:2])
    assert text.count("another command works") == 1
    assert text.count("up already") == 1
    assert cloud.well()
    assert api_versions(cloud) > 0


def test_one_started_at_the_same_time_has_addresses_of_its_own(cloud):
    """Both answer, and each prefix of floating IPs is routed to its own cloud."""
    beside = cloud.beside
    assert cloud.statuses[2] == 0, cloud.output[2]
    try:
        gateways = [one.cloud.parameters()["gateway"] for one in (cloud, beside)]
        paths = [json.loads(output("ip", "-json", "route", "get", gateway))[0]["dev"] for gateway in gateways]
        assert len({*gateways}) == 2
        assert paths == [cloud.cloud.link, beside.cloud.link]
        assert min(api_versions(cloud), api_versions(beside)) > 0
    finally:
        beside.done("clean")


def test_a_third_finds_it_up(cloud):
    before = cloud.cloud.pid()
    again = cloud.command("up")
    assert (again.returncode, "up already" in again.stdout) == (0, True), again.stderr
    assert cloud.cloud.pid() == before


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"LOCALCLOUD_GUESTS": "nothing"}, "LOCALCLOUD_GUESTS=nothing: must be one of vm, container, fake; fix: "),
        (
            {"LOCALCLOUD_GUESTS": "vm"},
            f"LOCALCLOUD_GUESTS=vm: the state in {BASE / NAME} is for guests of the kind container; fix: ",
        ),
        ({"LOCALCLOUD_API_WORKERS": "many"}, "LOCALCLOUD_API_WORKERS=many: must be a number from 1 to 32; fix: "),
    ],
)
def test_an_impossible_setting_is_refused(cloud, environment, message):
    refused = cloud.command("up", **environment)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert cloud.well()


def test_an_ordinary_user_gets_the_fix():
    """Nothing is created; the error names what root is needed for."""
    with tempfile.TemporaryDirectory() as path:
        place = Path(path)
        place.chmod(0o777)
        shutil.copytree(ROOT / "localcloud", place / "localcloud")
        refused = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
             "/usr/bin/python3", "-B", "-m", "localcloud", "up"],
            cwd=place, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "needs root (namespaces, mounts, a veth); fix: run it with sudo" in refused.stderr
        assert [one.name for one in place.iterdir()] == ["localcloud"]


def test_its_secrets_are_its_owners(cloud):
    """State and clouds.yaml are private to their owner; no two clouds share a password."""
    assert cloud.cloud.home.stat().st_mode & 0o077 == 0
    assert (BASE / "clouds.yaml").stat().st_mode & 0o077 == 0
    values = cloud.cloud.parameters()
    mine = {values[name] for name in ("secret", "admin_password", "user_password")}
    assert len(mine) == 3
    for other in BASE.glob("*/shared/parameters.json"):
        if NAME not in other.parts:
            assert not mine & set(json.loads(other.read_text()).values())


def test_a_password_of_the_copied_state_is_not_valid(cloud):
    """The state began as a copy; no password of the original is accepted."""
    values = cloud.cloud.parameters()
    hashes = cloud.inside("mariadb", "-N", "-e", "SELECT name, password_hash FROM keystone.password p"
                          " JOIN keystone.local_user u ON p.local_user_id = u.id").split()  # fmt: skip
    code = (
        "import bcrypt, sys; t = sys.argv[3:]; print(sum(bcrypt.checkpw(p.encode(), h.encode()) for h in t[1::2]"
        " for p in sys.argv[1:3]) + 0, len(t) // 2)"
    )
    right, users = cloud.inside("python3", "-c", code, values["secret"], values["admin_password"], *hashes).split()
    assert int(users) == 6  # admin, netorder and four services
    assert int(right) == 5  # all but netorder's own
    assert cloud.connection().authorize()


def test_beyond_the_host_nothing_is_reached(cloud):
    """Packets that the host forwards from elsewhere are dropped by the cloud; the host's own are answered."""
    api = (cloud.cloud.parameters()["ip"], 5000)

    def dropped():
        lines = [line.split() for line in cloud.inside("cat", "/proc/net/netstat").splitlines()]
        return int(dict(zip(lines[0], lines[1], strict=True))["IPReversePathFilter"])

    socket.create_connection(api, 5).close()
    before = dropped()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT: send under an address that is not the host's
        stranger.bind(("10.99.99.99", 0))
        stranger.settimeout(1.5)
        with pytest.raises(TimeoutError):
            stranger.connect(api)
    assert dropped() > before


def serving(cloud):
    """Return the cloud's processes as {id inside: command line}: not its first two, the guests, and what passes."""
    found = {}
    for line in cloud.inside("ps", "-e", "-o", "pid=,ppid=,args=").splitlines():
        pid, parent, command = line.split(None, 2)
        if pid != "1" and parent != "0" and "localcloud.inside" not in command:
            found[int(pid)] = command
    guests = [pid for pid, command in found.items() if "libvirt_lxc" in command]
    for line in cloud.inside("ps", "-e", "-o", "pid=,ppid=").splitlines():  # parents come before their children
        pid, parent = map(int, line.split())
        if parent in guests:
            guests.append(pid)
    passing = re.compile(r"^(ps|sh -s|sleep|/bin/sh -s|pgrep|ovs-vsctl|inet_gethost|\[)")
    return {pid: command for pid, command in found.items() if pid not in guests and not passing.search(command)}


def test_every_killed_process_comes_back(cloud, guest):
    """Each process in turn; the guest survives, and another can be created."""
    alive = guest.ssh(guest.address, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1")
    # privileged helpers are started when they are needed
    wanted = Counter(command for command in serving(cloud).values() if "privsep-helper" not in command)
    steps = [name for name, step in cloud.steps().items() if step["kind"] == "process"]
    assert len(steps) == 21
    assert wanted.total() > len(steps)
    names = {step["pid"]: name for name, step in cloud.steps().items() if step["kind"] == "process"}
    for pid in sorted(serving(cloud)):
        if pid not in serving(cloud):
            continue  # it ended with another that it belongs to, and was started again with that
        print(names.get(pid, ""), pid, serving(cloud)[pid])
        cloud.inside("kill", "-9", str(pid))

        def back(pid=pid):
            now = serving(cloud)
            well = all(step["state"] in ("running", "done") for step in cloud.steps().values())
            return pid not in now and well and not wanted - Counter(now.values())

        until(
            back, 120, detail=lambda: f"{cloud.command('status').stdout}\n{wanted - Counter(serving(cloud).values())}"
        )
    restarts = {name for name in steps if cloud.steps()[name].get("restarts")}
    assert restarts == set(steps)
    assert "restarted" in cloud.command("status").stdout
    assert cloud.well()

    def answers():
        return ping(guest.address)

    until(answers, 60)
    assert guest.ssh(guest.address, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1") == alive
    second = guest.server("two")
    guest.active("two")
    guest.reached(second)


def test_everything_killed_at_once_comes_back(cloud, guest):
    """All processes but the first, supervisor and guests too: all are restarted, the guest as well."""
    before = cloud.cloud.pid()
    cloud.inside("sh", "-c", "kill -9 -1", check=False)

    def again():
        return "starting everything again" in cloud.cloud.log_file("init").read_text()

    until(again)

    def ready():
        return cloud.cloud.status().get("ready") and cloud.well()

    until(ready, 180)
    assert cloud.cloud.pid() == before
    guest.reached(guest.address)


def test_starts_again_after_its_end(cloud, guest):
    """Its first process killed, as a reboot of the host would: all of it ends; the next start has all its state."""
    before = namespaces_of(cloud.cloud.pid())
    os.kill(cloud.cloud.pid(), signal.SIGKILL)

    def ended():  # before the next start: the kernel gives a namespace's number away again
        return not living_in(before)

    until(ended, 30)
    status = cloud.command("status")
    assert status.returncode == DOWN
    assert "its first process was killed, or the machine was rebooted" in status.stdout
    cloud.up()
    assert api_versions(cloud) > 0
    guest.reached(guest.address)


def test_a_lost_lease_is_renewed(cloud, guest):
    """While nothing answers DHCP the lease expires and the address is lost; it returns with the DHCP server."""
    options = cloud.inside("ovn-nbctl", "--bare", "--columns=_uuid", "find", "dhcp_options", "cidr=10.77.0.0/24")
    cloud.inside("ovn-nbctl", "--wait=hv", "set", "dhcp_options", options.strip(), "options:lease_time=30")
    guest.ssh(guest.address, "sudo systemctl restart systemd-networkd")  # a new request gets the short lease
    guest.reached(guest.address)
    controller = str(cloud.steps()["ovn-controller"]["pid"])
    cloud.inside("kill", "-STOP", controller)
    try:

        def silent():
            return not ping(guest.address)

        until(silent, 90)
    finally:
        cloud.inside("kill", "-CONT", controller)
    guest.reached(guest.address)


def test_clean_removes_everything(cloud):
    """No process, namespace, mount, link, route, loop device, control group or file of it remains."""
    mine = cloud.cloud
    prefix = mine.parameters()["gateway"].rsplit(".", 1)[0]
    inside = namespaces_of(mine.pid())
    assert living_in(inside)
    assert mine.link in output("ip", "-br", "link")
    assert f"{prefix}.0/24" in output("ip", "route")
    cleaned = cloud.command("clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert not mine.home.exists()
    assert not living_in(inside)
    assert str(mine.home) not in Path("/proc/self/mountinfo").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{mine.link}"))
    assert str(mine.home) not in output("losetup", "-a")
    assert mine.link not in output("ip", "-br", "link")
    assert f"{prefix}.0/24" not in output("ip", "route")
    assert mine.entry not in (BASE / "clouds.yaml").read_text() if (BASE / "clouds.yaml").exists() else True
