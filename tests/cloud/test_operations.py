"""What is done to a host after its first day, on one real virtual machine: the playbooks, and what is on its disk."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running import BASE, ROOT, Running

from netorder.cloud.resize import resize
from netorder.cloud.session import connect
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
  - {from: 0.0.0.0/0, to: one, tcp: [22]}
"""


@dataclass
class Day:
    """A user's directory with a topology of one host, and the commands that the user runs there."""

    file: Path
    files: Path
    cloud: Any

    def play(self, book: str, *words: str, ends: int = 0) -> str:
        """Run a playbook as a user does; return what it printed."""
        program = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [program, f"playbooks/{book}.yml", "-e", f"topology={self.file}", *words],
            cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "400"},
        )  # fmt: skip
        print(done.stdout, done.stderr)
        assert done.returncode == ends, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    def ssh(self, command: str) -> str:
        """Run a command on the host."""
        return subprocess.run(
            ["ssh", "-F", self.files / "operate/ssh_config", "-o", "ControlPath=none", "one", command],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip

    def server(self) -> Any:
        """Return the host's server."""
        return next(iter(self.cloud.compute.servers(name="operate-one")))


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Lend a cloud with virtual machines, and provision the topology there."""
    files = ROOT / ".netorder"  # where the playbooks have it
    file = tmp_path_factory.mktemp("day") / "operate.yml"
    file.write_text(TOPOLOGY)
    with Running("operate", "vm").lent() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLOUD", running.cloud.entry)
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(BASE / "clouds.yaml"))
        session = connect(print)
        provision(file, files=files, progress=print)
        one = Day(file, files, session.conn)
        one.play("configure", "--tags", "routes")  # waits for SSH
        yield one
        teardown("operate", files=files, progress=print)


def test_resize(day):
    """Up, refused, undone by Nova, reverted: the disk is kept, and the flavor is the one that was said."""
    day.ssh("echo before > kept; sync")
    there = day.play("resize", "-e", "host=one", "-e", "flavor=small2", "--check", "--diff")
    assert "- flavor: small + flavor: small2" in there
    assert day.server().flavor.original_name == "small"
    done = day.play("resize", "-e", "host=one", "-e", "flavor=small2")
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
    day.play("configure", "--tags", "routes")
    assert (day.server().flavor.original_name, day.ssh("cat kept")) == ("small2", "before")
