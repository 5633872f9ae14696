"""Services as processes of their own, and services that misbehave, for the tests of this directory."""

from __future__ import annotations

import contextlib
import http.client
import queue
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

REFERENCE = Path(__file__).parents[1] / "reference"
OPERATIONS = ("sum", "sub", "mul", "div")


class Service:
    """A running service; ``port`` is read from its log."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "calculator", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        assert " listening on 127.0.0." in first
        self.port = int(first.split()[-1])
        self.log = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.log.put(line)

    def stop(self):
        """Return the exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def kill(self):
        """End it, whatever its state."""
        self.process.kill()
        self.process.wait()

    @property
    def url(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, body, method="POST", path="/", headers=()):
        """Return (status, line, headers) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            with contextlib.suppress(BrokenPipeError):  # without room it answers and closes before all has been sent
                connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers
        finally:
            connection.close()

    def raw(self, data):
        """Return all that comes back for these bytes, the connection's end included."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def running(*arguments):
    service = Service(*arguments)
    try:
        yield service
    finally:
        service.stop()


def calculator(urls, *options):
    peers = [part for name in OPERATIONS for part in (f"--{name}", urls[name])]
    return running("calculator", "--port", "0", *peers, *options)


class Fake:
    """A service on a port of its own that plays ``script``: a function of the connection, run for each connection."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.script = None
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._play, args=(connection,), daemon=True).start()

    def _play(self, connection):
        with connection:
            self.script(connection)

    def close(self):
        """Take no further connection."""
        self.listener.close()


def reply(text, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


def answers(data):
    """Return a script that answers each request with these bytes and keeps the connection."""

    def script(connection):
        while connection.recv(65536):
            connection.sendall(data)

    return script
