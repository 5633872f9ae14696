"""A local cloud for tests and benchmarks, driven by its commands as a user drives it. Needs root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import openstack

from localcloud import machine
from localcloud.cloud import Cloud

ROOT = Path(__file__).resolve().parents[1]
BASE = Path(os.environ.get("LOCALCLOUD_DIR") or ROOT / ".localcloud").resolve()


class Running:
    """One local cloud."""

    def __init__(self, name, guests, base=BASE):
        self.cloud = Cloud(base, name)
        self.environment = {
            **os.environ, "LOCALCLOUD_DIR": str(base), "LOCALCLOUD_NAME": name, "LOCALCLOUD_GUESTS": guests
        }  # fmt: skip

    def command(self, *words, prefix=(), patience=900, **environment):
        """Run ``localcloud`` with these words."""
        return subprocess.run(
            [*prefix, sys.executable, "-m", "localcloud", *words],
            cwd=ROOT, env={**self.environment, **environment}, capture_output=True, text=True, check=False,
            timeout=patience,
        )  # fmt: skip

    def done(self, *words, **environment):
        """Run ``localcloud`` with these words, and return its output; a failure shows that output."""
        ended = self.command(*words, **environment)
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr
        return ended.stdout

    def up(self):
        """Start it."""
        self.done("up")

    @contextmanager
    def lent(self):
        """Start it for the block; clean it afterwards, unless it ran before."""
        ran = self.well()
        self.up()
        yield self
        if not ran:
            self.done("clean")

    def inside(self, *words, check=True):
        """Run a command inside the cloud and return its output."""
        return subprocess.run(
            [*machine.entering(self.cloud.pid()), *words],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, capture_output=True, text=True, check=check,
        ).stdout  # fmt: skip

    def steps(self):
        """Return the supervisor's report on each step."""
        return self.cloud.status()["steps"]

    def well(self):
        """Return whether ``localcloud status`` reports it up."""
        return self.command("status").returncode == 0

    def login(self):
        """Return the ordinary user's entry of clouds.yaml."""
        return json.loads((self.cloud.base / "clouds.yaml").read_text())["clouds"][self.cloud.entry]

    def connection(self, **options):
        """Return a session of the ordinary user."""
        entry = self.login()
        return openstack.connection.Connection(
            auth=entry["auth"], region_name=entry["region_name"], identity_api_version="3", **options
        )


def ansible(topology, program, *words, ends=0):
    """Run a program of Ansible's as a user does, in the project's directory; return what it printed."""
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "400", "NETORDER_TOPOLOGY": str(topology), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    assert done.returncode == ends, done.stdout + done.stderr
    return done.stdout


def recap(said):
    """Return host, changed and failed of each host of a run."""
    lines = [line.replace("=", " ").split() for line in said.splitlines() if " changed=" in line]
    return [(line[0], line[line.index("changed") + 1], line[line.index("failed") + 1]) for line in lines]
