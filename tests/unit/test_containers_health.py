"""The script by which podman checks a host of the target containers, run here beside a service and a systemctl."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from netorder.analysis.reach import Matrix
from netorder.containers.health import health
from netorder.language.load import parse
from netorder.plan.build import build_plan

QUOTES = '"""'  # which end a text in Python
TEXT = f"""
topology: t
networks: {{a: {{cidr: 10.9.0.0/24}}}}
applications:
  web: {{role: x, ports: [PORT], units: [web.service], check: {{http: /hello, answer: 'it''s {QUOTES} me\\'}}}}
  db: {{role: x, ports: [9], check: {{tcp: 9}}}}
  euro: {{role: x, ports: [PORT], check: {{http: /grün?a=%20b, body: 5 €}}}}
hosts: {{one: {{network: a, address: 10.9.0.10, applications: [APPLICATION]}}}}
"""


@pytest.fixture
def service():
    """Give a service that answers what its ``says`` is."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            server.got = self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.do_GET()

        def do_GET(self):
            status, text = server.says
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.9.0.10", 0), Answer)
    server.says = (200, 'it\'s """ me\\\n')
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Host:
    """A host: its files, the state of its units, its journal."""

    def __init__(self, directory, application: str, port: int) -> None:
        self.directory = directory
        text = TEXT.replace("PORT", str(port)).replace("APPLICATION", application)
        plan = build_plan(parse(text, target="containers"))
        script = health(Matrix(plan), plan.hosts[0])
        script = script.replace("10.9.0.10", "127.9.0.10")
        script = script.replace("/run/systemd/journal/socket", str(directory / "journal"))
        (directory / "script").write_text(script.replace("/run/netorder-health", str(directory / "note")))
        (directory / "systemctl").write_text(f"#!/bin/sh\ncat {directory}/state\n")
        (directory / "systemctl").chmod(0o755)
        self.state("active")
        self._journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._journal.bind(str(directory / "journal"))
        self._journal.setblocking(False)

    def state(self, word: str) -> None:
        (self.directory / "state").write_text(f"{word}\n")

    def ask(self) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", self.directory / "script"],
            env={**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout.strip()

    def journal(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._journal.recv(65536).decode())
            except BlockingIOError:
                return found


def test_what_serves_is_well_and_the_journal_has_nothing(tmp_path, service):
    host = Host(tmp_path, "web", service.server_port)
    assert host.ask() == (0, "all applications serve")
    assert host.journal() == []


def test_what_is_wrong_is_said_and_is_once_in_the_journal_of_its_unit(tmp_path, service):
    host = Host(tmp_path, "web", service.server_port)
    service.says = (503, "db is\ndown")
    said = f"http port {service.server_port} of 127.9.0.10 answers 503 with db is\ndown"
    assert host.ask() == (1, f"web: {said}")
    assert host.ask() == (1, f"web: {said}")
    (line,) = host.journal()
    assert "OBJECT_SYSTEMD_UNIT=web.service\n" in line
    assert line.endswith(f"MESSAGE=web does not serve: {said}\n".replace("is\ndown", "is down"))
    service.says = (200, 'it\'s """ me\\')
    assert host.ask()[0] == 0
    (line,) = host.journal()
    assert line.endswith("MESSAGE=web serves again\n")


def test_a_unit_that_does_not_run_is_the_reason(tmp_path, service):
    host = Host(tmp_path, "web", service.server_port)
    host.state("failed")
    assert host.ask() == (1, "web: unit web.service is failed")


def test_an_answer_that_is_another_one(tmp_path, service):
    host = Host(tmp_path, "web", service.server_port)
    service.says = (200, "somebody else")
    assert host.ask()[1].endswith("answers 200 with somebody else")


def test_a_service_that_is_gone(tmp_path, service):
    host = Host(tmp_path, "web", service.server_port)
    service.shutdown()
    service.socket.close()
    assert "refused" in host.ask()[1]


def test_text_that_is_not_ascii(tmp_path, service):
    """It is sent as UTF-8, as verify sends it."""
    host = Host(tmp_path, "euro", service.server_port)
    assert host.ask() == (0, "all applications serve")
    assert service.got == ("/gr%C3%BCn?a=%20b", "5 €")


def test_what_is_only_connected_to(tmp_path):
    status, said = Host(tmp_path, "db", 1).ask()
    assert (status, said[:24]) == (1, "db: tcp 9 of 127.9.0.10:")


def test_the_note_of_last_time_may_be_broken(tmp_path, service):
    host = Host(tmp_path, "web", service.server_port)
    (tmp_path / "note").write_text("{")
    assert host.ask()[0] == 0
    assert json.loads((tmp_path / "note").read_text()) == {"web": ""}
