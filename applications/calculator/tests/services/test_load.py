"""Many clients, bad clients, and copies of a service that come and go while they are asked."""

from __future__ import annotations

import http.client
import random
import re
import resource
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest
from harness import OPERATIONS, Service, calculator, running

FLOOD = 5000
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


@pytest.fixture
def many_files():
    """Let this process open as many sockets as the flood takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FLOOD + 1000:
        pytest.fail(f"at most {hard} open files are allowed, the flood needs {FLOOD + 1000}: raise ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FLOOD + 1000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def metric(service, name):
    """Return the sum of a metric's values."""
    text = service.ask(None, "GET", "/metrics")[1]
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


@contextmanager
def flood(service, sent):
    """Hold connections that have sent these bytes, and nothing more."""
    with ExitStack() as stack:
        for _ in range(FLOOD):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30))
            if sent:
                connection.sendall(sent)
        yield


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("sent", [b"", b"POST / HT", HEAD + b"2 "], ids=["silent", "half a head", "half a body"])
def test_flood(sent):
    """5,000 connections that do nothing, or not enough: others are served meanwhile, and all of them."""
    with running("sum", "--port", "0", "--client-timeout", "60") as service, flood(service, sent):
        answers = [service.ask(f"{number} 1")[:2] for number in range(50)]
        assert answers == [(200, f"{number + 1}\r\n") for number in range(50)]
        assert metric(service, "calculator_connections") > FLOOD


@pytest.mark.usefixtures("many_files")
def test_flood_beyond_the_limit():
    """Where there is no room, the connections that have been idle for longest make some."""
    with running("sum", "--port", "0", "--max-connections", "100") as service, flood(service, b""):
        assert [service.ask("2 3")[:2] for _ in range(50)] == [(200, "5\r\n")] * 50
        assert metric(service, "calculator_connections") <= 100
        assert metric(service, "calculator_connections_evicted_total") >= FLOOD - 100


def test_no_room_while_all_are_busy(fake):
    """Connections with a request under way make no room: 503, and they get their answers."""
    asked, go = threading.Semaphore(0), threading.Event()

    def script(connection):
        while connection.recv(65536):
            asked.release()
            go.wait(30)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n5")

    fake.script = script
    with (
        calculator(dict.fromkeys(OPERATIONS, fake.url), "--max-connections", "3", "--timeout", "30") as service,
        ThreadPoolExecutor(3) as clients,
    ):
        answers = [clients.submit(service.ask, "2+3") for _ in range(3)]
        for _ in range(3):
            assert asked.acquire(timeout=20)
        assert service.ask("2+3")[:2] == (503, "too many connections: try again later\r\n")
        go.set()
        assert [answer.result(timeout=20)[:2] for answer in answers] == [(200, "result = 5\r\n")] * 3


def test_idle_connection_is_closed():
    """A client that is gone without a word is not kept for ever."""
    with (
        running("sum", "--port", "0", "--idle-timeout", "0.2") as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection,
    ):
        connection.sendall(HEAD + b"2 3")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.endswith(b"\r\n\r\n5\r\n")


def test_half_closed_client(services):
    """A client that ends its side after the request still gets the answer."""
    for name, body, line in (("sum", b"2 3", b"5"), ("calculator", b"2+3", b"result = 5")):
        with socket.create_connection(("127.0.0.1", services[name].port), timeout=30) as connection:
            connection.sendall(HEAD + body)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.endswith(b"\r\n\r\n" + line + b"\r\n")


def test_client_that_does_not_read():
    """One that asks on and on and takes no answer is stopped, then let go; others are served."""
    with (
        running("sum", "--port", "0", "--client-timeout", "1") as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection,
    ):
        connection.settimeout(0.2)
        requests, taken = (HEAD + b"2 3") * 1000, 0
        with suppress(OSError):  # the server reads no more, or has let go
            while taken < 200 * 2**20:
                taken += connection.send(requests)
        assert taken < 100 * 2**20
        assert service.ask("2 3")[:2] == (200, "5\r\n")
        give_up = time.monotonic() + 30
        while metric(service, "calculator_connections") > 1:
            assert time.monotonic() < give_up
            time.sleep(0.05)


def test_many_pipelined_requests(services):
    """10,000 requests sent at once are all answered, in their order."""
    count = 10_000
    with socket.create_connection(("127.0.0.1", services["sum"].port), timeout=30) as connection:
        requests = b"".join(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            for body in (b"%d 1" % number for number in range(count))
        )
        sender = threading.Thread(target=connection.sendall, args=(requests,))
        sender.start()
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < count or not received.endswith(b"\r\n10000\r\n"):
            data = connection.recv(1 << 20)
            assert data
            received += data
        sender.join()
    answered = re.findall(rb"\r\n\r\n(\d+)\r\n", received)
    assert answered == [b"%d" % (number + 1) for number in range(count)]


class Load:
    """Clients that ask on and on; ``outcomes`` counts what they got."""

    def __init__(self, service, clients=8):
        self.outcomes = Counter()
        self._stop = threading.Event()
        self._port = service.port
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def _run(self, client):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        number = 0
        while not self._stop.is_set():
            number += 1
            left, right = client * 100_000 + number, number % 7
            try:
                connection.request("POST", "/", f"({left}+{right})+(1+2)")
                response = connection.getresponse()
                status, line = response.status, response.read().decode()
            except OSError as error:
                self.outcomes[repr(error)] += 1
                connection.close()
                continue
            right_one = (status, line) == (200, f"result = {left + right + 3}\r\n")
            self.outcomes["right" if right_one else f"{status} {line.strip()}"] += 1
        connection.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait(200)
        return self

    def wait(self, more):
        """Wait until so many more requests were answered."""
        wanted, give_up = self.outcomes.total() + more, time.monotonic() + 60
        while self.outcomes.total() < wanted:
            assert time.monotonic() < give_up, self.outcomes
            time.sleep(0.01)

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Copies:
    """Three copies of sum, on three addresses, and a calculator in front of them."""

    def __init__(self, stack, *options):
        self._stack = stack
        self.services = [self._run("0", f"127.0.0.{10 + number}") for number in range(3)]
        self.urls = [f"http://127.0.0.{10 + number}:{each.port}" for number, each in enumerate(self.services)]
        urls = dict.fromkeys(OPERATIONS, ",".join(self.urls))
        self.front = stack.enter_context(calculator(urls, *options))

    def start(self, number):
        """Start a copy again, where it was."""
        host, port = self.urls[number].removeprefix("http://").split(":")
        self.services[number] = self._run(port, host)

    def _run(self, port, host):
        service = Service("sum", "--port", port, "--host", host)
        self._stack.callback(service.kill)
        return service

    def up(self):
        """Return how many copies the calculator sends calls to."""
        text = self.front.ask(None, "GET", "/metrics")[1]
        return sum(map(int, re.findall(r'^calculator_copy_up{service="sum",.*} (\d)$', text, re.MULTILINE)))

    def wait_up(self, wanted):
        """Wait until the calculator sends calls to so many."""
        give_up = time.monotonic() + 30
        while self.up() != wanted:
            assert time.monotonic() < give_up, self.up()
            time.sleep(0.02)


@pytest.fixture
def copies():
    with ExitStack() as stack:
        yield Copies(stack, "--timeout", "3")


def test_rolling_restart_loses_nothing(copies):
    """Every copy is stopped and started again, one after the other, under load: every request is answered right."""
    with Load(copies.front) as load:
        for number in range(3):
            assert copies.services[number].stop() == 0
            load.wait(200)
            copies.start(number)
            copies.wait_up(3)
            load.wait(200)
    assert list(load.outcomes) == ["right"]
    assert load.outcomes["right"] > 1200


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_lost_copy_loses_nothing(copies, number):
    """A copy that dies, or hangs, under load: what it was asked is asked of another."""
    with Load(copies.front) as load:
        copies.services[0].process.send_signal(number)
        load.wait(1000)
        copies.wait_up(2)
    assert list(load.outcomes) == ["right"]


def test_no_copy_left(copies):
    """503 when none is left, and answers again as soon as one is back."""
    for service in copies.services:
        assert service.stop() == 0
    status, line, _ = copies.front.ask("2+3")
    assert status == 503
    assert line.endswith("cannot be reached: connection refused\r\n")
    assert copies.front.ask(None, "GET", "/readyz")[0] == 503
    copies.start(1)
    assert copies.front.ask("2+3")[:2] == (200, "result = 5\r\n")
    assert copies.front.ask(None, "GET", "/readyz")[:2] == (200, "ready\r\n")


def test_copies_share_the_load(copies):
    """Calls go to all copies."""
    with Load(copies.front) as load:
        load.wait(600)
    text = copies.front.ask(None, "GET", "/metrics")[1]
    calls = [
        float(value) for value in re.findall(r'^calculator_calls_total{.*outcome="ok"} (\S+)$', text, re.MULTILINE)
    ]
    assert len(calls) == 3
    assert min(calls) > 0.2 * sum(calls)


def test_requests_are_never_mixed_up(services):
    """Clients that break off in the middle leave nothing that another would take for its answer."""
    chance = random.Random(7)  # noqa: S311  the same run every time
    stop = threading.Event()

    def break_off():
        while not stop.is_set():
            with socket.create_connection(("127.0.0.1", services["calculator"].port), timeout=30) as connection:
                body = b"(666+0)*(600+66)/(6*111)-(333+333)"
                request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                connection.sendall(request[: chance.randrange(1, len(request) + 1)])
                if chance.random() < 0.5:  # a reset instead of an end
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            time.sleep(0.002)

    breakers = [threading.Thread(target=break_off) for _ in range(4)]
    for breaker in breakers:
        breaker.start()
    with Load(services["calculator"]) as load:
        load.wait(1500)
    stop.set()
    for breaker in breakers:
        breaker.join()
    assert list(load.outcomes) == ["right"]
