"""The action netorder_wait_ready, run by ansible on this machine against a service that becomes ready, or does not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def service():
    """Give a service that is ready when its ``busy`` is zero, which each question counts down."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            server.busy -= 1
            body = b"ready" if server.busy < 0 else b"not ready: mul"
            self.send_response(200 if server.busy < 0 else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(service, directory: Path, seconds: float) -> str:
    wanted = {
        "what": "web on here",
        "url": f"http://127.0.0.1:{service.server_port}/readyz",
        "contains": "ready",
        "unit": "no-such.service",
    }
    arguments = {"answers": [wanted], "directory": str(directory / "lab")}
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible", "-i", "here,", "here", "-c", "local", "-m", "netorder_wait_ready",
         "-e", f"ansible_python_interpreter={sys.executable}", "-a", json.dumps(arguments | {"timeout": seconds})],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_service_that_becomes_ready_is_waited_for(service, tmp_path):
    """The second time it is known how long that took."""
    service.busy = 2
    assert re.search(
        r"waiting for applications on here since ..:..:.., for 60 s at most: web on here: expected",
        ask(service, tmp_path, 60),
    )
    service.busy = 2
    said = ask(service, tmp_path, 60)
    assert re.search(
        r"for 60 s at most; the last time it took \d+ s: web on here: .*found status 503 not ready: mul", said
    ), said
    assert re.search(r"here \| (SUCCESS|CHANGED)", said), said


def test_a_service_that_does_not_is_waited_for_so_many_seconds(service, tmp_path):
    service.busy = 1000
    said = ask(service, tmp_path, 3)
    assert re.search(
        r"not serving after \d s: web on here: expected \.\.\. ready \.\.\., found status 503 not ready: mul", said
    ), said
    assert "FAILED" in said, said
    assert not (tmp_path / "waits").exists()
