"""The report over HTTP: what it answers to whom, as runs go on; and how the command ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from findings import measured, stage

from netorder.ansible.course import Course
from netorder.cli.main import main
from netorder.controller import records, serve
from netorder.language.load import load
from netorder.report.page import running

ROOT = Path(__file__).parents[2]
CALCULATOR = ROOT / "topologies/calculator.yml"


class Served:
    """A server of a report whose runs keep their files in ``directory``, and a client."""

    def __init__(self, tmp_path: Path) -> None:
        self.file = tmp_path / "calculator.yml"
        self.file.write_text(CALCULATOR.read_text().replace("../applications", f"{ROOT}/applications"))
        self.directory = tmp_path / "default/calculator"
        self.directory.mkdir(parents=True)
        self.server = serve.server(serve.Report(self.file, tmp_path), 0)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read().decode()

    def raw(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(request)
            found = b""
            while part := connection.recv(65536):
                found += part
        return found

    def now(self) -> dict[str, str]:
        return json.loads(self.ask("/now")[1])


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.delenv("OS_CLOUD", raising=False)
    found = Served(tmp_path)
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_it_is_on_the_loopback_address_alone(served):
    assert served.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/", "/now", "/nowhere"])
def test_every_answer_has_the_headers(served, path):
    """Also an error; the page's own policy is that of its header."""
    answer, text = served.ask(path)
    assert answer.status == (404 if path == "/nowhere" else 200)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Access-Control-Allow-Origin"] is None
    assert "Python" not in answer.headers["Server"]
    if path == "/":
        assert "connect-src 'self'" in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_only_reads(served, method):
    answer, text = served.ask("/", method)
    assert (answer.status, answer.headers["Allow"], text) == (405, "GET, HEAD", "405 Method Not Allowed\n")


def test_head_is_without_a_body(served):
    answer, text = served.ask("/", "HEAD")
    assert (answer.status, text) == (200, "")
    assert int(answer.headers["Content-Length"]) > 1000


@pytest.mark.parametrize(
    "path",
    ["/..", "/../calculator.yml", "/now?x", "/now/", "/report.html", "/%2e%2e/", "http://localhost/now"],
)
def test_there_are_two_paths(served, path):
    answer, text = served.ask(path)
    assert (answer.status, text) == (404, "404 Not Found\n")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8640", 200), ("127.1.2.3:9", 200),
        ("evil.example", 421), ("evil.example:8640", 421), ("127.0.0.1.evil.example", 421), ("[::", 421), ("", 421),
        ("localhost.evil.example", 421), ("192.0.2.1", 421), ("0.0.0.1", 421), ("evil.example@localhost.x", 421),
    ],
)  # fmt: skip
def test_a_page_of_another_site_gets_nothing(served, host, status):
    """Its name may lead to this machine: the browser then sends that name."""
    answer, text = served.ask("/now", Host=host)
    assert answer.status == status
    assert status == 200 or text == "421 Misdirected Request\n"


def test_without_a_host_or_with_two_there_is_no_answer(served):
    assert b" 421 " in served.raw(b"GET / HTTP/1.0\r\n\r\n")
    assert b" 421 " in served.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert b"<script>" not in served.raw(b"<script>alert(1)</script>\r\n\r\n")


def test_a_run_is_shown_while_it_goes_on(served):
    """As the callback notes it; then what it found."""
    assert "No run is at work" in served.now()["html"]
    clock = iter(range(100))
    course = Course(lambda: float(next(clock)))
    course.stage("Make the cloud match the plan")
    course.task("Create <servers>")
    course.result("localhost", {"changed": True})
    records.note(course.progress("site"), served.directory)
    said = served.now()
    assert "Make the cloud match the plan: Create &lt;servers&gt;" in said["html"]
    assert "site, " in said["html"]
    version = said["version"]
    assert f"data-version={version}" in served.ask()[1]
    assert "nothing was measured yet" in served.ask()[1]
    findings = measured(load(CALCULATOR))
    records.keep({"verify": {"time": "just now", "findings": findings}}, served.directory)
    records.end(served.directory)
    assert "No run is at work" in served.now()["html"]
    assert served.now()["version"] != version
    assert "just now" in served.ask()[1]


def test_a_run_that_was_killed_is_said_to_be(served):
    """Its process is not there any more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    run = {
        "playbook": "site",
        "time": "then",
        "seconds": 1,
        "at": 0,
        "now": ["a"],
        "stages": [stage("a", 0, 1, tasks=[])],
    }
    (served.directory / records.NOW).write_text(json.dumps({**run, "process": child.pid}))
    assert "it was interrupted" in served.now()["html"]
    (served.directory / records.NOW).write_text("{")
    assert "No run is at work" in served.now()["html"]


def test_a_file_with_an_error_is_named_and_the_page_stays(served):
    """Somebody is editing it."""
    before = served.file.read_text()
    served.file.write_text("topology: [")
    served.ask()
    assert "calculator.yml:1:" in served.now()["html"]
    assert 'id="host-sum"' in served.ask()[1]
    served.file.write_text(before)
    served.ask()
    assert "calculator.yml:1:" not in served.now()["html"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_by_ctrl_c(tmp_path, number):
    """It says where it is, and that it has ended."""
    # who runs the tests in the background ignores Ctrl-C, and so would what these begin
    command = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-m",
        "netorder",
        "report",
        str(CALCULATOR),
        "--serve",
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:")
    port = int(line.rstrip("/\n").rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "")
    assert err.endswith("Ctrl-C ends it\n\nended\n")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--port", "80"], 2, "--port is that of --serve"),
        (["--serve", "--port", "70000"], 2, "70000 is no port"),
        (["--serve", "-o", "x.html"], 2, "--serve writes no file"),
    ],
)
def test_wrong_options_are_named(arguments, status, said, capsys):
    assert main(["report", str(CALCULATOR), *arguments]) == status
    assert said in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["report", str(CALCULATOR), "--serve", "--port", str(port)]) == 1
    assert (
        f"port {port} of 127.0.0.1 cannot be used: Address already in use; --port names another"
        in capsys.readouterr().err
    )


def test_files_of_another_user_are_named(tmp_path, capsys):
    """A run with sudo makes them root's."""
    tmp_path.chmod(0)
    me = os.geteuid()
    if me == 0:  # whom no mode stops
        os.seteuid(65534)
    try:
        status = main(["report", str(CALCULATOR), "--files", str(tmp_path)])
    finally:
        os.seteuid(me)
        tmp_path.chmod(0o700)
    assert status == 6
    assert f"netorder report: error: {tmp_path}/" in capsys.readouterr().err


def test_the_stage_that_goes_on_grows():
    """One that has ended, before the next has done anything, does not."""
    stages = [stage("a", 0, 2, tasks=[]), stage("b", 2, 1, tasks=[])]
    run = {"playbook": "site", "time": "then", "seconds": 3, "now": ["b", "x"], "stages": stages, "alive": True}
    assert 'class="time">10.0 s' in running(run, 12.0)
    assert 'class="time">1.0 s' in running({**run, "now": ["c"]}, 12.0)
