"""A cloud with fake guests, a proxy before it, and the cases to try. Needs root, as the local cloud does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from life import Life
from proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
BASE = Path(os.environ.get("LOCALCLOUD_DIR") or ROOT / ".localcloud").resolve()
ENTRY = "netorder-local-faults"
ENVIRONMENT = {
    **os.environ, "LOCALCLOUD_DIR": str(BASE), "LOCALCLOUD_NAME": "faults", "LOCALCLOUD_GUESTS": "fake"
}  # fmt: skip


def pytest_addoption(parser):
    parser.addoption("--every", action="store_true", help="each fault at each call, not each call with some fault")
    parser.addoption("--seed", type=int, default=1, help="which fault each call gets in the sample")


def localcloud(*words):
    """Run ``python -m localcloud``; a failure is told with what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "localcloud", *words],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def cloud():
    """Start the cloud, or use the one that runs already, which then goes on running; return its credentials."""
    status = [sys.executable, "-m", "localcloud", "status"]
    before = subprocess.run(status, cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=False, timeout=120)
    if before.returncode:
        localcloud("up")
    yield json.loads((BASE / "clouds.yaml").read_text())["clouds"][ENTRY]["auth"]
    if before.returncode:
        localcloud("clean")


@pytest.fixture(scope="session")
def life(cloud, tmp_path_factory):
    """Return what runs netorder through the proxy; at the end the project is as it was."""
    proxy = Proxy(urlsplit(cloud["auth_url"]).hostname)
    one = Life(proxy, tmp_path_factory.mktemp("faults"), ENTRY, cloud)
    yield one
    proxy.close()
