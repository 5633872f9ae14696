"""docs/ten-tasks.md as a new user types it: in an empty directory, command by command, to nothing left."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pages import assert_shown, replace_line, steps

from netorder.containers import engine, kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NAME = f"ten{os.getpid()}"
ASK = """
import socket, time
for _ in range(50):
    try:
        socket.create_connection(("{}", {}), 1)
        print("open")
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
    except TimeoutError:
        print("closed")
        break
"""
TYPED = "hostname; exit\n"  # into the shell that one gets without a command


def environment() -> dict[str, str]:
    """Return that of somebody who uses containers, and has said nothing else of this project."""
    found = {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "NETORDER_"))}
    return {**found, "NETORDER_TARGET": "containers", "NO_COLOR": "1"}


@dataclass
class User:
    """Somebody in an empty directory, whose topology is called otherwise than on the page: nobody else has it."""

    directory: Path
    said: dict[str, str] = field(default_factory=dict)

    def types(self, line: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            shlex.split(line),
            cwd=self.directory,
            env=environment(),
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )

    def does(self, line: str, typed: str = "") -> str:
        """Type a command that must succeed; return what it printed."""
        done = self.types(line, typed)
        assert done.returncode == 0, f"{line}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def follows(self, task: str) -> None:
        """Do one task of the page."""
        for command, expected in steps(task):
            if not command:
                for line in expected:
                    replace_line(self.directory / f"{NAME}.yml", line)
                continue
            is_login = command == f"netorder ssh -t {NAME}.yml web"
            self.said[command] = self.does(command, TYPED if is_login else "")
            if not is_login:
                assert_shown(self.said[command], expected or [""])


def tasks() -> dict[str, str]:
    """Return the tasks of the page by their titles, with the topology's other name."""
    text = re.sub(r"\blab\b", NAME, (ROOT / "docs/ten-tasks.md").read_text(encoding="utf-8"))
    found = dict(one.split("\n", 1) for one in re.split(r"(?m)^## ", text)[1:])
    assert [*found] == [
        "1. Order two tiers", "2. Add a host", "3. Open a port", "4. See the picture",
        "5. Find out why a pair is closed", "6. Preview", "7. Run", "8. Look at the report", "9. Log in",
        "10. Remove everything",
    ]  # fmt: skip
    return found


@pytest.fixture
def user(machine, tmp_path: Path) -> Iterator[User]:
    assert machine
    found = User(tmp_path)
    yield found
    found.types(f"netorder down --name {NAME} --yes --target containers")


def test_ten_tasks(user):
    """Each does what its title says; what one has printed is compared with the page."""
    its = tasks()
    todo = iter(its)

    def follow() -> None:
        user.follows(its[next(todo)])

    file = f"{NAME}.yml"
    assert not [*user.directory.iterdir()]
    follow()
    assert {path.name for path in user.directory.iterdir()} == {file}
    follow()
    planned = json.loads(user.does(f"netorder plan {file} --format json"))
    assert [host["name"] for host in planned["hosts"]] == ["web", "app-1", "app-2", "app-3"]
    follow()
    assert ": open" in user.does(f"netorder reach {file} --from web --to app-3 --port 9090")
    follow()
    drawn = (user.directory / f"{NAME}.svg").read_text(encoding="utf-8")
    assert drawn.startswith("<svg ")
    assert "9090" in drawn
    follow()
    follow()
    assert engine.containers(NAME) == []
    with watched(user, file) as seen:
        follow()
    assert any('role="status">Verify' in one for one in seen), seen
    assert "No run is at work" in seen[-1]
    assert {one.host for one in engine.containers(NAME)} == {"web", "app-1", "app-2", "app-3"}
    status = user.said[f"netorder status {file}"]
    assert re.search(r"(?m)^web .*\d+\.\d+\.\d+\.\d+", status), status
    again = user.types(f"netorder up {file} --format json")
    assert "changed: nothing" in again.stderr
    result = json.loads(again.stdout)
    assert (result["ok"], result["changes"], result["on_hosts"], result["failed"]) == (True, [], [], [])
    assert {one["host"] for one in result["findings"]} == {*result["hosts"]} == {"web", "app-1", "app-2", "app-3"}
    follow()
    report = Path(user.said[f"netorder report {file}"].strip())
    assert 'measured: <span class="right">as planned</span>' in report.read_text(encoding="utf-8")
    follow()
    assert "web" in user.said[f"netorder ssh -t {file} web"]
    assert_port_is_open(user, file, planned)
    assert_verify_says_where_it_dies(user, file, report)
    follow()
    assert engine.containers(NAME) == []
    assert kernel.spaces(f"netorder.{NAME}.") == []
    assert not report.exists()
    assert {path.name for path in user.directory.iterdir()} == {file, "before.yml", f"{NAME}.svg"}
    assert "nothing" in user.does(f"netorder down {file} --check")


@contextmanager
def watched(user: User, file: str) -> Iterator[list[str]]:
    """Serve the report meanwhile; yield what it says of the run, each time that this is something else."""
    seen: list[str] = []
    ended = threading.Event()
    line = shlex.split(f"netorder report {file} --serve --port 0")
    with subprocess.Popen(
        line, cwd=user.directory, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        address = server.stdout.readline().strip()

        def look() -> None:
            while True:
                last = ended.is_set()
                with urllib.request.urlopen(f"{address}now", timeout=10) as answer:  # noqa: S310 - http
                    said = json.load(answer)["html"]
                if said not in seen[-1:]:
                    seen.append(said)
                if last:
                    return
                time.sleep(0.2)

        watcher = threading.Thread(target=look)
        watcher.start()
        yield seen
        ended.set()
        watcher.join()
        server.send_signal(signal.SIGTERM)
        assert server.communicate(timeout=10)[1].endswith("ended\n")
        assert server.returncode == 0


def assert_port_is_open(user: User, file: str, planned) -> None:
    """Fail unless the port that task 3 opened is open and its neighbour is not; something listens on both."""
    (address,) = next(host["ports"][0]["addresses"] for host in planned["hosts"] if host["name"] == "app-3")
    for port in (9090, 9091):
        serve = f"systemd-run --unit=serve-{port} python3 -m http.server {port}"
        user.does(f"netorder ssh -t {file} app-3 -- sudo {serve}")
    for port, expected in ((9090, "open"), (9091, "closed")):
        said = user.does(f"netorder ssh -t {file} web -- python3 -c {shlex.quote(ASK.format(address, port))}")
        assert said.strip() == expected


def assert_verify_says_where_it_dies(user: User, file: str, report: Path) -> None:
    """Fail unless what was measured has its times, and without its route a host is named where the packet ends."""
    pairs = json.loads((report.parent / "last.json").read_text(encoding="utf-8"))["verify"]["findings"]
    timed = [one for one in pairs["web"] if one.get("name", "").startswith("app") and one["found"] == "open"]
    assert len(timed) == 3
    assert all(0 < one["ms"] < 1000 and one["mtu"] == 1500 for one in timed)
    assert next(one for one in pairs["web"] if one["what"] == "clock")["ok"]
    user.does(f"netorder ssh -t {file} web -- sudo ip route delete 192.168.2.0/24")
    verified = user.types(f"netorder verify {file} --format json")
    assert verified.returncode == 4  # behind web nobody answers
    assert "app-1: not observed" in verified.stderr
    assert verified.stderr.count("likely: the packet ends at web: route to 192.168.2.0/24 is ") >= 3
    result = json.loads(verified.stdout)
    assert not result["ok"]
    assert {one["host"] for one in result["failed"]} >= {"app-1", "app-2", "app-3"}
    assert {one["host"] for one in result["findings"] if not one["ok"]} == {"web"}
    previewed = json.loads(user.types(f"netorder preview {file} --format json").stdout)
    assert previewed["check"]
    assert "192.168.2.0/24" in json.dumps([one["diff"] for one in previewed["on_hosts"] if one["host"] == "web"])
