"""What is done to hosts after their first day, by the playbooks, with what is on their disks.

On a virtual machine, and but for another flavor (Nova loses the disks of containers then) on containers as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from running import BASE, ROOT, Running

from netorder.cloud.resize import resize
from netorder.cloud.session import connect
from netorder.controller import state
from netorder.controller.provision import provision, teardown
from netorder.errors import CloudError

TOPOLOGY = """\
topology: operate
networks:
  front: {cidr: 10.31.0.0/24}
routers:
  edge: {external: true, networks: [front]}
hosts:
  one:
    network: front
    floating_ip: true
    flavor: small
allow:
  - {from: anywhere, to: front, tcp: [22]}
"""
CALCULATOR = f"""\
topology: operate-golden
include: {ROOT}/applications/calculator.yml
defaults: {{image: {{golden: true, base: debian-13}}}}
networks:
  front: {{cidr: 10.32.0.0/24}}
  back: {{cidr: 10.32.1.0/24}}
routers:
  edge: {{external: true, networks: [front]}}
  inner: {{networks: [front, back]}}
hosts:
  calculator: {{network: front, applications: [calculator], floating_ip: true}}
  four: {{network: back, applications: [sum, sub, mul, div]}}
allow:
  - {{from: anywhere, to: calculator, tcp: [22, 50000]}}
  - {{from: calculator, to: [four], application: true}}
"""
COPY = "  copy: {network: front, floating_ip: true, image: {snapshot: one}}\nallow:"
PATIENCE = ("-e", "netorder_ssh_timeout=400")  # s; virtual machines without KVM
FILES = ROOT / ".netorder"  # where the playbooks have it


@dataclass
class Day:
    """A topology, and the commands that its user runs."""

    file: Path
    cloud: Any

    def play(self, book: str, *words: str, ends: int = 0) -> str:
        """Run a playbook as a user does; return what it printed, on one line."""
        program = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [program, f"playbooks/{book}.yml", "-e", f"topology={self.file}", *words],
            cwd=ROOT, capture_output=True, text=True, check=False,
            # a line for each host and task, which is what these tests look at
            env={**os.environ, "COLUMNS": "400", "ANSIBLE_STDOUT_CALLBACK": "default"},
        )  # fmt: skip
        print(done.stdout, done.stderr)
        assert done.returncode == ends, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    def run(self, text: str = "", *, check: bool = False) -> list[dict[str, Any]]:
        """Provision the topology; return the changes."""
        if text:
            self.file.write_text(text)
        changes: list[dict[str, Any]] = provision(self.file, files=FILES, progress=print, check=check)["changes"]
        return changes

    def ssh(self, command: str, host: str = "one") -> str:
        """Run a command on a host."""
        settings = state.directory(FILES, None, "operate") / "ssh_config"
        return subprocess.run(
            ["ssh", "-F", settings, "-o", "ControlPath=none", host, command],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip

    def server(self, host: str = "one") -> Any:
        """Return a host's server."""
        return next(iter(self.cloud.compute.servers(name=f"^operate-{host}$")))


def play_of(said: str, name: str) -> str:
    """Return what a run printed of one of its plays."""
    return said.partition(f"PLAY [{name}]")[2].partition("PLAY [")[0].partition("PLAY RECAP")[0]


class Client:
    """Somebody who calls the calculator all the time, while something is done to it."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}:50000/"
        self.failures: list[str] = []
        self.answers = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def ask(self) -> str:
        with urllib.request.urlopen(self.url, data=b"(5+3)*2", timeout=5) as answer:  # noqa: S310 - http, see above
            return answer.read().decode().strip()

    def first(self) -> float:
        """Return when there is an answer (monotonic clock)."""
        for _ in range(240):
            try:
                assert self.ask() == "result = 16"
            except OSError:  # it boots
                time.sleep(0.5)
            else:
                return time.monotonic()
        raise AssertionError(f"{self.url} does not answer")

    def _call(self) -> None:
        while not self._end.wait(0.1):
            try:
                said = self.ask()
            except OSError as error:
                self.failures.append(f"{time.strftime('%T')} {error}")
            else:
                self.answers += 1
                if said != "result = 16":
                    self.failures.append(said)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        print(f"{self.answers} answers, {len(self.failures)} failures: {self.failures[:3]}")


@contextmanager
def lent(kind: str, directory: Path) -> Any:
    """Lend a cloud with guests of this kind, with the topology in it, up to SSH."""
    with Running(f"operate-{kind}", kind).lent() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLOUD", running.cloud.entry)
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(BASE / "clouds.yaml"))
        one = Day(directory / "operate.yml", connect(print).conn)
        one.run(TOPOLOGY)
        one.play("configure", "--tags", "routes", *PATIENCE)
        yield one
        teardown("operate", files=FILES, progress=print, snapshots="delete")
        assert [image.name for image in one.cloud.image.images() if "operate" in image.name] == []


GUESTS = ("vm", pytest.param("container", marks=pytest.mark.full))


@pytest.fixture(scope="module", params=GUESTS)
def day(request, tmp_path_factory):
    with lent(request.param, tmp_path_factory.mktemp(request.param)) as one:
        yield one


def test_snapshot_and_restore(day):
    """As it was, under the same id and address; a copy of it beside; what is used is not removed."""
    day.ssh("echo before > kept")
    assert "+ create snapshot operate-one-" in day.play("snapshot", "-e", "host=one", "--check", "--diff")
    assert "operate has no snapshots" in day.play("snapshots")
    assert "synced over SSH just before: /" in day.play("snapshot", "-e", "host=one")
    first = next(image for image in day.cloud.image.images() if image.name.startswith("operate-one-"))
    assert first.name in day.play("snapshots", "-e", "host=one")

    day.ssh("echo after > kept")
    was = day.server()
    refused = day.play("restore", "-e", "host=one", ends=2)
    assert "allow it: -e allow=replace" in refused
    assert f"+ disk: snapshot {first.name}" in day.play("restore", "-e", "host=one", "--check", "--diff")
    assert day.ssh("cat kept") == "after"
    day.play("restore", "-e", "host=one", "-e", "allow=replace", *PATIENCE)
    now = day.server()
    assert (now.id, now.addresses.keys(), day.ssh("cat kept")) == (was.id, was.addresses.keys(), "before")
    assert day.run(check=True) == []

    made = day.run(TOPOLOGY.replace("allow:", COPY))
    assert {change["kind"] for change in made if "copy" in change["name"]} >= {"server", "port", "floating IP"}
    day.play("configure", "--tags", "routes", *PATIENCE)
    assert day.ssh("cat kept", "copy") == "before"
    keys = [day.server(host).metadata["netorder_hostkey"] for host in ("one", "copy")]
    assert len(set(keys)) == 2
    assert day.run(check=True) == []

    day.play("snapshot", "-e", "host=one")
    assert f"{first.name} stays: a server is made from it" in day.play("snapshots", "-e", "keep=0")
    left = [image.name for image in day.cloud.image.images() if image.name.startswith("operate-one-")]
    assert left == [first.name]


def test_power(day):
    """What is stopped or shelved on purpose stays so in a run, and comes back with its disk."""
    day.ssh("echo power > kept; sync")
    assert "SHUTOFF" in day.play("power", "-e", "state=stopped", "-e", "host=one", "--check", "--diff")
    day.play("power", "-e", "state=stopped", "-e", "host=one")
    assert (day.server().status, day.run()) == ("SHUTOFF", [])
    assert "one: left alone: stopped on purpose" in day.play("configure", "--tags", "routes")
    day.play("power", "-e", "state=shelved", "-e", "host=one")
    assert (day.server().status, day.run()) == ("SHELVED_OFFLOADED", [])
    assert "no drift" in day.play("drift")
    day.play("power", "-e", "state=started")
    day.play("configure", "--tags", "routes", *PATIENCE)
    assert (day.server().status, day.ssh("cat kept"), day.run()) == ("ACTIVE", "power", [])


@pytest.mark.parametrize("day", GUESTS[:1], indirect=True)
def test_resize(day):
    """Up, refused, undone by Nova, reverted: the disk is kept, and the flavor is the one that was said."""
    day.ssh("echo before > kept; sync")
    there = day.play("resize", "-e", "host=one", "-e", "flavor=small2", "--check", "--diff")
    assert "- flavor: small + flavor: small2" in there
    assert day.server().flavor.original_name == "small"
    done = day.play("resize", "-e", "host=one", "-e", "flavor=small2", *PATIENCE)
    line = 1 + TOPOLOGY.splitlines().index("    flavor: small")
    assert f"operate.yml:{line}: write `flavor: small2` there" in done
    found = day.server()
    assert (found.status, found.flavor.original_name, day.ssh("cat kept")) == ("ACTIVE", "small2", "before")
    assert int(day.ssh("awk '/MemTotal/ {print $2}' /proc/meminfo")) > 300_000

    assert "a disk does not shrink" in day.play("resize", "-e", "host=one", "-e", "flavor=small", ends=2)
    small = next(one for one in day.cloud.compute.flavors() if one.name == "small")
    with pytest.raises(CloudError, match=r"took the change of flavor to small back.*its event .* ended with an error"):
        resize(connect(print), found.id, found.name, ("small", small.id))

    # no guest boots in a second
    lost = day.play("resize", "-e", "host=one", "-e", "flavor=medium", "-e", "netorder_ssh_timeout=1", ends=2)
    assert "did not answer with flavor medium and has small2 again" in lost
    day.play("configure", "--tags", "routes", *PATIENCE)
    assert (day.server().flavor.original_name, day.ssh("cat kept")) == ("small2", "before")


@pytest.mark.parametrize("day", GUESTS[1:], indirect=True)
def test_a_container_is_not_resized(day):
    """Refused with the reason, by the playbook and by a run."""
    said = day.play("resize", "-e", "host=one", "-e", "flavor=small2", ends=2)
    assert "its image is for containers (lxc)" in said
    with pytest.raises(CloudError, match="its image is for containers"):
        day.run(TOPOLOGY.replace("flavor: small", "flavor: small2"))
    day.file.write_text(TOPOLOGY)


@pytest.fixture(scope="module", params=["vm", "container"])
def calculator(request, tmp_path_factory):
    """Lend a cloud with a calculator, configured by roles; return it with the seconds that this took."""
    directory = tmp_path_factory.mktemp("calculator")
    with Running(f"operate-{request.param}", request.param).lent() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLOUD", running.cloud.entry)
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(BASE / "clouds.yaml"))
        day = Day(directory / "calculator.yml", connect(print).conn)
        day.file.write_text(CALCULATOR)
        start = time.monotonic()
        day.play("../site", "--skip-tags", "verify")
        yield day, time.monotonic() - start
        teardown("operate-golden", files=FILES, progress=print, snapshots="delete")
        assert [image.name for image in day.cloud.image.images() if image.name.startswith("operate-golden-")] == []
        assert names_of_servers(day) == set()


def names_of_servers(day: Day) -> set[str]:
    """Return the servers of the calculator's topology and of what makes its golden images."""
    return {server.name for server in day.cloud.compute.servers(name="^operate-golden-")}


def floating(day: Day) -> str:
    """Return the calculator's address outside."""
    (address,) = day.cloud.network.ips(description="netorder:operate-golden")
    return str(address.floating_ip_address)


@pytest.mark.full
def test_golden_images(calculator):
    """A project that is rebuilt from them serves, and no role has changed anything; nothing of the makers is left."""
    day, configured = calculator
    there = day.play("golden", "--check", "--diff")
    assert "+ create golden image operate-golden-golden-calculator-" in there
    said = day.play("golden")
    assert "golden-sum+sub+mul+div" in said
    assert names_of_servers(day) == {"operate-golden-calculator", "operate-golden-four"}
    images = [image for image in day.cloud.image.images() if "-golden-golden-" in image.name]
    assert {image.properties["netorder_tried"] for image in images} == {image.name for image in images}
    assert all("calculator=" in one.properties["netorder_versions"] for one in images if "calculator-2" in one.name)
    day.play("teardown", "-e", "confirm=operate-golden")
    start = time.monotonic()
    day.play("provision", "-e", "golden=true")
    first = Client(floating(day)).first()
    print(f"until the first answer: {configured:.0f} s configured, {first - start:.0f} s from golden images")
    rebuilt = day.play("../site", "--skip-tags", "verify")
    applications = play_of(rebuilt, "Configure, applications")
    assert "ok: [four]" in applications
    assert "changed: [" not in applications
    assert "changed: [" not in play_of(rebuilt, "Configure, routes"), "kept from the host that it was made of"
    assert day.run(check=True) == []


@pytest.mark.full
def test_services_change_while_they_are_called(calculator):
    """Whether calls fail meanwhile is what the preview says: only where it restarts what is called."""
    day, _ = calculator
    for change in (
        lambda text: text.replace("tcp: [22, 50000]", "tcp: [22, 50000, 50010]"),
        lambda text: text,
        lambda text: text.replace("  four:", "  more: {network: back, applications: [sum]}\n  four:").replace(
            "to: [four]", "to: [four, more]"
        ),
        lambda text: text,
    ):
        day.file.write_text(change(CALCULATOR))
        preview = day.play("../site", "--check", "--diff", "--skip-tags", "verify")
        with Client(floating(day)) as client:
            day.play("../site", "--skip-tags", "verify", "-e", "allow=delete")
        assert client.answers > 20
        if "netorder-calculator.service: a run would" not in preview:
            assert client.failures == []
        assert client.ask() == "result = 16"
