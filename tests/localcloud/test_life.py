"""The local cloud's life: beside another one, through a kill -9, to nothing left. Needs root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from localcloud.cloud import Cloud

ROOT = Path(__file__).resolve().parents[2]
BASE = Path(os.environ.get("LOCALCLOUD_DIR") or ROOT / ".localcloud").resolve()
NAME = "life"
DOWN = 3  # the status of `localcloud status`
HOME = BASE / NAME


def localcloud(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localcloud", *words],
        cwd=ROOT, env={**os.environ, "LOCALCLOUD_NAME": NAME, "LOCALCLOUD_GUESTS": "container", **environment},
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cloud():
    """Start a second cloud of this checkout, from an empty state."""
    assert not HOME.exists(), f"{HOME} is there already: LOCALCLOUD_NAME={NAME} make cloud-clean"
    up = localcloud("up")
    yield up
    localcloud("clean")


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def first_process() -> int:
    return int((HOME / "pid").read_text().split()[0])


def api_versions() -> int:
    parameters = json.loads((HOME / "shared/parameters.json").read_text())
    with urllib.request.urlopen(f"http://{parameters['ip']}:8774/", timeout=20) as answer:
        return len(json.load(answer)["versions"])


def namespaces_of(pid: int) -> set[str]:
    return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid")}


def living_in(namespaces: set[str]) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if namespaces & namespaces_of(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_starts_beside_another(cloud):
    """It chooses addresses that nothing else on the host uses, and its APIs answer."""
    assert cloud.returncode == 0, cloud.stderr
    assert api_versions() > 0


def ansible(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OS_CLIENT_CONFIG_FILE": str(BASE / "clouds.yaml"), "OS_CLOUD": f"netorder-local-{NAME}",
        "NETORDER_TOPOLOGY": str(Path(__file__).with_name("topology.yml")), "ANSIBLE_NOCOLOR": "1",
    }  # fmt: skip
    return subprocess.run(
        ["ansible-playbook", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def test_containers_are_guests_too(cloud):
    """A topology is made, configured and verified on Nova's system containers, and taken away again."""
    assert cloud.returncode == 0
    site = ansible("site.yml")
    assert site.returncode == 0, site.stdout + site.stderr
    assert ", 0 not as planned" in site.stdout
    gone = ansible("playbooks/teardown.yml", "-e", "confirm=life")
    assert gone.returncode == 0, gone.stdout + gone.stderr


def test_a_second_up_finds_it_up(cloud):
    assert cloud.returncode == 0
    before = first_process()
    again = localcloud("up")
    assert again.returncode == 0
    assert "up already" in again.stdout
    assert first_process() == before


def test_other_guests_are_refused(cloud):
    assert cloud.returncode == 0
    refused = localcloud("up", LOCALCLOUD_GUESTS="nothing")
    assert refused.returncode == 1
    assert "LOCALCLOUD_GUESTS=nothing: must be one of" in refused.stderr


def test_a_killed_service_comes_back(cloud):
    """The supervisor starts a process again that was ended by force."""
    assert cloud.returncode == 0
    steps = json.loads((HOME / "shared/status.json").read_text())["steps"]
    inside = steps["placement"]["pid"]
    subprocess.run(
        ["nsenter", f"--target={first_process()}", "--pid", "--mount", "kill", "-9", str(inside)], check=True
    )
    done = subprocess.run(
        ["timeout", "60", "sh", "-c", f"until grep -q '\"restarts\": 1' {HOME}/shared/status.json; do sleep 0.2; done"],
        check=False,
    )
    assert done.returncode == 0
    assert "started again 1 times" in localcloud("status").stdout


def test_starts_again_after_kill_9(cloud):
    """Its first process killed, everything of it ends; the next start has all its state."""
    assert cloud.returncode == 0
    before = namespaces_of(first_process())
    os.kill(first_process(), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (
        living_in(before) or localcloud("status").returncode != DOWN
    ):  # before the next start: the kernel gives a namespace's number away again
        assert time.monotonic() < deadline, living_in(before)
        time.sleep(0.1)
    again = localcloud("up")
    assert again.returncode == 0, again.stderr
    assert api_versions() > 0


def test_clean_leaves_nothing(cloud):
    """No process, namespace, mount, link, loop device or file of it is left."""
    assert cloud.returncode == 0
    mine = Cloud(BASE, NAME)
    prefix = mine.parameters()["gateway"].rsplit(".", 1)[0]
    inside = namespaces_of(first_process())
    assert living_in(inside)
    assert mine.link in output("ip", "-br", "link")
    assert f"{prefix}.0/24" in output("ip", "route")
    cleaned = localcloud("clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert not HOME.exists()
    assert not living_in(inside)
    assert str(HOME) not in Path("/proc/self/mountinfo").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{mine.link}"))
    assert str(HOME) not in output("losetup", "-a")
    assert mine.link not in output("ip", "-br", "link")
    assert f"{prefix}.0/24" not in output("ip", "route")
