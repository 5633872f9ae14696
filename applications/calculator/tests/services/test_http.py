"""The five services as processes, over real HTTP on loopback."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import OPERATIONS, REFERENCE, answers, calculator, reply


@pytest.mark.parametrize("kind", ["operations", "calculator"])
def test_reference(services, kind):
    """Every original answer, over kept connections: one number and CR LF, as text/plain."""
    cases = [json.loads(line) for line in (REFERENCE / f"{kind}.jsonl").read_text().splitlines()]
    connections = {name: http.client.HTTPConnection("127.0.0.1", each.port) for name, each in services.items()}
    answered = []
    for case in cases:
        connection = connections[case.get("operation", "calculator")]
        connection.request("POST", "/", case["request"])
        response = connection.getresponse()
        assert (response.status, response.headers["Content-Type"]) == (200, "text/plain")
        answered.append(response.read().decode())
    for connection in connections.values():
        connection.close()
    assert answered == [f"{case['response']}\r\n" for case in cases]


def test_leading_minus(services):
    """The originals did not take it; ours do."""
    assert services["calculator"].ask("-5+3")[:2] == (200, "result = -2\r\n")


def test_every_request_is_logged(services):
    """Operands and result, and an error's line, each on one line whatever the client sent."""
    service = services["div"]
    service.ask("15 5")
    service.ask("1\n2 \x1b[31m")
    lines = []
    while not lines or "1b[31m" not in lines[-1]:
        lines.append(service.log.get(timeout=20))
    assert "POST / '15 5' -> 200 3 [" in lines[-2]
    assert "POST / '1\\n2 \\x1b[31m' -> 400 the first operand '1\\n2' is not a number [" in lines[-1]


def test_health(services):
    """GET and HEAD /healthz tell that a service serves."""
    for service in services.values():
        assert service.ask(None, "GET", "/healthz")[:2] == (200, "ok\r\n")
        assert service.ask(None, "HEAD", "/healthz")[:2] == (200, "")


@pytest.mark.parametrize("name", [*OPERATIONS, "calculator"])
@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/x", "POST"),
        ("HEAD", "/x", "POST"),
        ("PUT", "/x", "POST"),
        ("DELETE", "/", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/readyz", "GET, HEAD"),
        ("PUT", "/metrics", "GET, HEAD"),
    ],
)
def test_wrong_method(services, name, method, path, allow):
    """405 names the methods that are allowed."""
    if (name, path) == ("calculator", "/"):
        allow = "GET, HEAD, POST"  # the page
    status, line, headers = services[name].ask("2 3", method, path)
    assert (status, headers["Allow"]) == (405, allow)
    assert line == (
        "" if method == "HEAD" else f"{method} is not allowed on '{path}': use {allow.replace(', ', ' or ')}\r\n"
    )


@pytest.mark.parametrize("name", [*OPERATIONS, "calculator"])
@pytest.mark.parametrize("body", ["", "5+", "abc", "2 x", "1+2)", b"\xff\xfe", "(" * 60_000])
def test_bad_body(services, name, body):
    """400 and one line of text; the service goes on serving."""
    status, line, headers = services[name].ask(body)
    assert (status, headers["Content-Type"]) == (400, "text/plain")
    assert line.endswith("\r\n")
    assert len(line.splitlines()) == 1
    assert services[name].ask(None, "GET", "/healthz")[0] == 200


@pytest.mark.parametrize("name", ["sum", "calculator"])
def test_longest_body(services, name):
    """64 KiB are read, one byte more is not, whether its length is told or not."""
    service = services[name]
    assert service.ask("1".ljust(65536))[0] == (400 if name == "sum" else 200)
    assert service.ask("1".ljust(65537))[:2] == (413, "the body is longer than 65536 bytes\r\n")
    assert service.ask(iter([b"1" * 40000, b"1" * 40000]))[:2] == (413, "the body is longer than 65536 bytes\r\n")


def test_huge_body_gets_its_answer(services):
    """A client that sends 10 MB before it reads still receives the 413, not a reset."""
    assert services["sum"].ask(b"1" * 10_000_000)[0] == 413


def test_expect_continue(services):
    """A client that waits for leave to send gets it, or the refusal at once."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: "
    with socket.create_connection(("127.0.0.1", services["sum"].port), timeout=30) as connection:
        connection.sendall(head + b"3\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"2 3")
        assert b"".join(iter(lambda: connection.recv(65536), b"")).endswith(b"\r\n\r\n5\r\n")
    with socket.create_connection(("127.0.0.1", services["sum"].port), timeout=30) as connection:
        connection.sendall(head + b"99999999\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 411),
        (b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n2 3" % (b"x" * 9000), 414),
        (b"POST /%s" % (b"x" * 100_000), 414),
        (b"POST / HTTP/1.1\r\nHost: x\r\nA: %s\r\nContent-Length: 3\r\n\r\n2 3" % (b"x" * 17000), 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nA: %s" % (b"x" * 100_000), 431),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n2 3", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n2 3", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n2 3", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n2 3", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n2 3", 200),
        (b"POST http://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\n2 3", 200),
    ],
)
def test_raw_requests(services, data, status):
    """What is no request that we take gets its status, and the connection ends."""
    answer = services["sum"].raw(data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1") == 1
    assert services["sum"].ask("2 3")[0] == 200


def test_pipelined_requests(services):
    """Requests sent without waiting are answered in their order."""
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n1 %d0"
    last = request.replace(b"Host", b"Connection: close\r\nHost")
    answer = services["sum"].raw(b"".join(request % number for number in range(1, 6)) + last % 6)
    assert [part.split(b"\r\n")[0] for part in answer.split(b"\r\n\r\n")[1:]] == [
        b"11",
        b"21",
        b"31",
        b"41",
        b"51",
        b"61",
    ]


@pytest.mark.parametrize("sent", [b"POST / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n2"])
def test_slow_client(services, sent):
    """A request that does not end is refused with 408, while others are served."""
    with socket.create_connection(("127.0.0.1", services["sum"].port), timeout=30) as connection:
        connection.sendall(sent)
        assert services["sum"].ask("2 3")[:2] == (200, "5\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"\r\n\r\nthe request was not complete after 1 s\r\n")


def test_cut_request(services):
    """A client that ends in the middle of its body is told so."""
    with socket.create_connection(("127.0.0.1", services["sum"].port), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n2 3")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_many_at_once(services):
    """Concurrent expressions get each its own result."""
    wanted = {f"({a}+{b})*{a}-{b}/(2-1)": f"result = {(a + b) * a - b}\r\n" for a in range(20) for b in range(5, 10)}
    with ThreadPoolExecutor(24) as clients:
        got = dict(zip(wanted, clients.map(lambda text: services["calculator"].ask(text)[1], wanted), strict=True))
    assert got == wanted


def test_deep_nesting(services):
    """As many parentheses as the longest body takes."""
    text = "(" * 32_000 + "1" + ")" * 32_000
    assert services["calculator"].ask(text)[:2] == (200, "result = 1\r\n")


def test_deeper_nesting(services):
    """100,000 parentheses, where the limit lets them in; and 100,000 that are never closed."""
    with calculator({name: services[name].url for name in OPERATIONS}, "--max-body", "1048576") as front:
        text = "(" * 100_000 + "1+1" + ")" * 100_000
        assert front.ask(text)[:2] == (200, "result = 2\r\n")
        assert front.ask(text[:150_000])[:2] == (400, "column 50003: '(' is never closed\r\n")


def test_refused_peer(front):
    """503 when nothing listens."""
    line = f"sub ({front.refusing}) cannot be reached: connection refused\r\n"
    assert front.ask("2-3")[:2] == (503, line)


def test_unknown_peer():
    """503 when a name does not resolve."""
    with calculator(dict.fromkeys(OPERATIONS, "http://nowhere.invalid:1")) as service:
        status, line, _ = service.ask("2-3")
    assert status == 503
    assert line.startswith("sub (http://nowhere.invalid:1) cannot be reached: ")


def test_slow_peer(front, fake):
    """504 when there is no answer in time."""
    fake.script = lambda connection: (connection.recv(65536), connection.recv(65536))
    assert front.ask("2+3")[:2] == (504, f"sum ({fake.url}) did not answer within 0.5 s\r\n")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (reply("hello"), "answered 'hello', which is not a number"),
        (reply(""), "answered '', which is not a number"),
        (reply("5 5"), "answered '5 5', which is not a number"),
        (reply("5", "201 Created"), "answered with status 201: '5'"),
        (reply("oh", "500 Oh"), "answered with status 500: 'oh'"),
        (reply("5" * 2000), "did not answer in HTTP: an answer of more than 1024 bytes"),
        (b"\x00\x01 nonsense\r\n\r\n", "did not answer in HTTP: illegal status line"),
    ],
    ids=["word", "empty", "two numbers", "201", "500", "long", "not HTTP"],
)
def test_nonsense_peer(front, fake, data, line):
    """502 and what was answered."""
    fake.script = answers(data)
    status, got, _ = front.ask("2+3")
    assert status == 502
    assert got == f"sum ({fake.url}) {line}\r\n"


def test_cut_answer(front, fake):
    """502 when the service ends in the middle of its answer, or before it."""

    def script(connection):
        connection.recv(65536)
        connection.sendall(reply("55555")[:-2])

    fake.script = script
    assert front.ask("2+3")[0] == 502
    fake.script = lambda connection: connection.recv(65536)
    assert front.ask("2+3")[:2] == (502, f"sum ({fake.url}) closed the connection without an answer\r\n")


def test_kept_connection(front, fake):
    """Calls in a row share a connection."""
    fake.script = answers(reply("5"))
    assert front.ask("1+1+1+1")[:2] == (200, "result = 5\r\n")
    assert fake.connections == 1


def test_closed_kept_connection(front, fake):
    """A connection that the service closed while it was idle is not used again."""

    def script(connection):
        connection.recv(65536)
        connection.sendall(reply("5"))

    fake.script = script
    for _ in range(5):
        assert front.ask("2+3")[:2] == (200, "result = 5\r\n")


def test_unasked_answer_is_never_used(front, fake):
    """Bytes after an answer spoil the connection: the next request goes over a new one."""
    numbers = iter(range(1, 100))

    def script(connection):
        while connection.recv(65536):
            connection.sendall(reply(str(next(numbers))) + reply("666"))

    fake.script = script
    assert [front.ask("2+3")[1] for _ in range(4)] == [f"result = {number}\r\n" for number in (1, 2, 3, 4)]


def test_late_answer_is_never_used(front, fake):
    """An answer after the timeout belongs to nobody."""
    first = threading.Event()

    def script(connection):
        while connection.recv(65536):
            if first.is_set():
                connection.sendall(reply("5"))
            else:
                first.set()
                connection.recv(65536)  # until the calculator gives up
                connection.sendall(reply("666"))

    fake.script = script
    assert front.ask("1+1")[0] == 504
    assert front.ask("2+3")[:2] == (200, "result = 5\r\n")


def test_deadline(fake):
    """504 when an expression takes too long in all, though every call is quick enough."""

    def script(connection):
        while connection.recv(65536):
            threading.Event().wait(0.1)
            connection.sendall(reply("5"))

    fake.script = script
    with calculator(dict.fromkeys(OPERATIONS, fake.url), "--deadline", "0.5") as service:
        line = "100 operations were not done within 0.5 s\r\n"
        assert service.ask("+".join(["1"] * 101))[:2] == (504, line)


def test_stop_finishes_the_request_under_way(fake):
    """SIGTERM: the request under way is answered, an idle connection is closed, and the exit status is 0."""
    asked, stopped = threading.Event(), threading.Event()

    def script(connection):
        connection.recv(65536)
        asked.set()
        stopped.wait(20)
        connection.sendall(reply("5"))

    fake.script = script
    with calculator(dict.fromkeys(OPERATIONS, fake.url)) as service, ThreadPoolExecutor(1) as client:
        idle = socket.create_connection(("127.0.0.1", service.port), timeout=30)
        answer = client.submit(service.ask, "2+3")
        assert asked.wait(20)
        service.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        stopped.set()
        status, line, headers = answer.result(timeout=20)
        assert (status, line, headers["Connection"]) == (200, "result = 5\r\n", "close")
        assert service.process.wait(timeout=20) == 0


def test_port_in_use(services):
    """One line and status 1."""
    port = services["sum"].port
    command = [sys.executable, "-m", "calculator", "sum", "--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = f"calculator: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_tells_systemd(tmp_path):
    """READY=1 is sent when the service listens."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.settimeout(20)
        environment = os.environ | {"NOTIFY_SOCKET": address}
        with subprocess.Popen(
            [sys.executable, "-m", "calculator", "sum", "--port", "0"], env=environment, stdout=subprocess.DEVNULL
        ) as process:
            assert notify.recv(100) == b"READY=1"
            process.terminate()
