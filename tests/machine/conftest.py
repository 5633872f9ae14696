"""Virtual machines of the test's own, on this machine: their files in a directory of the test's."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netorder.controller import ssh as access
from netorder.language.load import parse
from netorder.machine import images, store, target
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.cloud.result import Result
    from netorder.plan.model import Plan

ROOT = Path(__file__).parents[2]
NAME = f"test{os.getpid()}"


@dataclass
class Site:
    """A topology on this machine, as a run's controller has it."""

    files: Path
    key: Path
    said: list[str] = field(default_factory=list)

    @property
    def where(self) -> Path:
        return store.root(self.files, NAME)

    def plan(self, hosts: str) -> Plan:
        return build_plan(parse(f"topology: {NAME}\ntarget: machine\nnetworks: {{nat: {{}}}}\nhosts: {hosts}\n"))

    def run(self, hosts: str, *, check: bool = False, allow: tuple[str, ...] = ()) -> Result:
        plan = self.plan(hosts)
        public = self.key.with_suffix(".pub").read_text(encoding="utf-8").strip()
        result = target.reconcile(
            plan, files=self.files, key=public, check=check, allow=allow, progress=self.said.append, hostkey_timeout=600
        )
        if not check:
            access.write(plan, result.hosts, directory=self.files / "ssh", key=self.key)
        return result

    def ssh(self, host: str, command: str) -> str:
        """Run a command on a host, as the user that its image has; its key is on the console before sshd listens."""
        words = ["ssh", "-F", str(self.files / "ssh/ssh_config"), "-o", "BatchMode=yes"]
        words += ["-o", "ControlMaster=no", "-o", "ControlPath=none", host, command]
        end = time.monotonic() + 60
        while True:
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
            if "kex_exchange_identification" not in done.stderr or time.monotonic() > end:
                break
            time.sleep(1)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def teardown(self) -> list[str]:
        return [
            change.name for change in target.teardown(NAME, files=self.files, check=False, progress=self.said.append)
        ]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give a site with the repository's images; take away whatever a test made of it, at the end."""
    made = ROOT / ".netorder" / images.DIRECTORY
    assert (made / "debian-13").exists(), "make machine-image"
    files = tmp_path_factory.mktemp("files")
    (files / images.DIRECTORY).symlink_to(made)
    key = files / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    one = Site(files, key)
    yield one
    one.teardown()
