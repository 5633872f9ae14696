"""What an operator sees and does: logs, health, readiness, metrics, stopping."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from harness import OPERATIONS, Service, answers, calculator, reply
from prometheus_client.parser import text_string_to_metric_families

from calculator.log import REQUEST_FIELDS, Log


def lines_until(service, last):
    """Return the log's lines up to the one that holds ``last``."""
    lines = []
    while not lines or last not in lines[-1]:
        lines.append(service.log.get(timeout=20))
    return lines


def test_request_id_goes_along(services):
    """The id that a client gives, or that the calculator makes, is in every service's log and in the answer."""
    _, _, headers = services["calculator"].ask("(5+3)*2", headers={"X-Request-Id": "order-66"})
    assert headers["X-Request-Id"] == "order-66"
    for name, line in (("sum", "'5 3' -> 200 8"), ("mul", "'8 2' -> 200 16"), ("calculator", "result = 16")):
        assert line in lines_until(services[name], "request order-66]")[-1]
    _, _, headers = services["calculator"].ask("7-4")
    made = headers["X-Request-Id"]
    assert lines_until(services["sub"], f"request {made}]")[-1].startswith("sub 127.0.0.1:")
    assert services["calculator"].ask("7-5")[2]["X-Request-Id"] != made


@pytest.mark.parametrize("given", ["a b", "x" * 65, "caf\u00e9", ""])
def test_request_id_that_is_none(services, given):
    """What could not stand in a log is not taken as an id."""
    _, _, headers = services["calculator"].ask("1", headers={"X-Request-Id": given.encode("latin-1")})
    assert headers["X-Request-Id"] != given


def test_json_log():
    """--log json: one object a line, with the fields of each request."""
    command = [sys.executable, "-m", "calculator", "sum", "--port", "0", "--log", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        started = json.loads(process.stdout.readline())
        port = int(started["message"].split()[-1])
        process.stdout.readline()  # the version
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/x", "2 3", {"X-Request-Id": "one"})
        connection.getresponse().read()
        record = json.loads(process.stdout.readline())
        connection.close()
        process.terminate()
    wanted = {"service": "sum", "level": "info", "method": "POST", "target": "/x", "operands": "2 3", "result": "5"}
    assert record | wanted | {"status": "200", "request_id": "one"} == record
    assert {name.lower() for name in REQUEST_FIELDS} <= set(record)
    assert float(record["microseconds"]) > 0


@contextmanager
def journal(tmp_path):
    """Yield a socket such as the journal's, and its path."""
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(20)
        yield listener, path


def test_journal_fields(tmp_path):
    """In the journal a record is its fields; a text of several lines goes with its length."""
    with journal(tmp_path) as (listener, path):
        log = Log("sum", "journal", journal=path)
        log.request("a message", tuple("12345678"))
        log("two\nlines", "error")
        first, second = listener.recv(65536), listener.recv(65536)
    fields = dict(line.split("=", 1) for line in first.decode().splitlines())
    assert fields == {
        "MESSAGE": "a message",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "netorder-sum",
        "SERVICE": "sum",
    } | dict(zip(REQUEST_FIELDS, "12345678", strict=True))
    assert second.startswith(b"MESSAGE\n" + (9).to_bytes(8, "little") + b"two\nlines\nPRIORITY=3\n")


def test_slow_journal_holds_nothing_up(tmp_path):
    """Records that the journal does not take are dropped and counted."""
    with journal(tmp_path) as (_, path):
        log = Log("sum", "journal", journal=path)
        for _ in range(5000):
            log("x" * 1000)
        assert 0 < log.dropped < 5000


def test_log_that_nobody_reads():
    """A service whose log is not read serves on."""
    command = [sys.executable, "-m", "calculator", "sum", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().split()[-1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = "1".rjust(150, "0") + " 1"
        for _ in range(10_000):  # far more than pipe and patience hold
            connection.request("POST", "/", body)
            assert connection.getresponse().read() == b"2\r\n"
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        process.kill()
    dropped = [line for line in text.splitlines() if line.startswith("calculator_log_records_dropped_total ")]
    assert float(dropped[0].split()[1]) > 0


def test_metrics(services):
    """Prometheus' own parser reads them, and they count what was asked."""

    def families():
        status, text, headers = services["div"].ask(None, "GET", "/metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        return {family.name: family for family in text_string_to_metric_families(text)}

    def count(found, status):
        samples = found["calculator_requests"].samples
        labels = {"endpoint": "compute", "status": status}
        return next((sample.value for sample in samples if sample.labels == labels), 0)

    before = families()
    services["div"].ask("15 5")
    services["div"].ask("x")
    after = families()
    assert (count(after, "200") - count(before, "200"), count(after, "400") - count(before, "400")) == (1, 1)
    buckets = [sample.value for sample in after["calculator_request_seconds"].samples
               if sample.name.endswith("_bucket") and sample.labels["endpoint"] == "compute"]  # fmt: skip
    total = [sample.value for sample in after["calculator_request_seconds"].samples
             if sample.name.endswith("_count") and sample.labels["endpoint"] == "compute"]  # fmt: skip
    assert buckets == sorted(buckets)
    assert buckets[-1:] == total
    assert after["calculator_build_info"].samples[0].labels == {
        "version": "0.1.0", "artefact": "source", "service": "div"
    }  # fmt: skip


def test_metrics_of_calls(services):
    """The calculator counts its calls by service, copy and outcome."""
    services["calculator"].ask("8/4")
    text = services["calculator"].ask(None, "GET", "/metrics")[1]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    calls = families["calculator_calls"].samples
    found = [sample for sample in calls if sample.labels["service"] == "div"]
    assert [sample.labels["copy"] for sample in found] == [services["div"].url]
    assert found[0].labels["outcome"] == "ok"
    assert {sample.labels["service"] for sample in families["calculator_copy_up"].samples} == set(OPERATIONS)


def test_readiness(services):
    """Ready is who can do its work: the calculator only with all four services."""
    assert services["sum"].ask(None, "GET", "/readyz")[:2] == (200, "ready\r\n")
    assert services["calculator"].ask(None, "GET", "/readyz")[:2] == (200, "ready\r\n")
    urls = {name: services[name].url for name in OPERATIONS} | {"mul": "http://127.0.0.1:1"}
    with calculator(urls) as front:
        assert front.ask(None, "GET", "/readyz")[:2] == (
            503, "not ready: mul does not answer at http://127.0.0.1:1\r\n"
        )  # fmt: skip
        assert front.ask(None, "GET", "/healthz")[:2] == (200, "ok\r\n")


def test_stopping_is_not_ready(fake):
    """While it finishes what it has, a service takes no new connection, and says so on an old one."""
    asked, go = threading.Event(), threading.Event()

    def script(connection):
        connection.recv(65536)
        asked.set()
        go.wait(20)
        connection.sendall(reply("5"))

    fake.script = script
    with calculator(dict.fromkeys(OPERATIONS, fake.url)) as front:
        busy = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
        busy.request("POST", "/", "2+3")
        assert asked.wait(20)
        front.process.send_signal(signal.SIGTERM)
        lines_until(front, "stopping")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", front.port), timeout=30)
        go.set()
        response = busy.getresponse()
        assert (response.status, response.read(), response.headers["Connection"]) == (200, b"result = 5\r\n", "close")
        busy.close()
        assert front.process.wait(timeout=20) == 0


def test_stop_does_not_wait_for_ever(fake):
    """A request that does not end is broken off when the time to stop is over."""
    asked = threading.Event()
    fake.script = lambda connection: (connection.recv(65536), asked.set(), connection.recv(65536))
    with calculator(dict.fromkeys(OPERATIONS, fake.url), "--stop-timeout", "0.2", "--timeout", "60") as front:
        client = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
        client.request("POST", "/", "2+3")
        assert asked.wait(20)
        assert front.stop() == 0
        with pytest.raises(http.client.RemoteDisconnected):
            client.getresponse()
        client.close()


def test_listens_on_one_address_only():
    """A service given 127.0.0.5 takes nothing on 127.0.0.1."""
    service = Service("sum", "--port", "0", "--host", "127.0.0.5")
    with socket.create_connection(("127.0.0.5", service.port), timeout=30):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", service.port), timeout=30)
    assert service.stop() == 0


def test_configuration_from_the_environment():
    """Options come from the environment too."""
    environment = os.environ | {"CALC_PORT": "0", "CALC_MAX_BODY": "5"}
    command = [sys.executable, "-m", "calculator", "sum"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        connection = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline().split()[-1]))
        connection.request("POST", "/", "22 333")
        assert connection.getresponse().status == 413
        connection.close()
        process.terminate()


def test_steps_as_json(services):
    """Accept: application/json gives each step with operands, result, URL, host and times."""
    _, text, headers = services["calculator"].ask("(1+2)*(3+4)", headers={"Accept": "application/json"})
    assert headers["Content-Type"] == "application/json"
    answer = json.loads(text)
    assert answer["result"] == "21"
    host = socket.gethostname()
    told = sorted((step["operation"], step["left"], step["right"], step["result"]) for step in answer["steps"])
    assert told == [("mul", "3", "7", "21"), ("sum", "1", "2", "3"), ("sum", "3", "4", "7")]
    assert {(step["url"], step["host"]) for step in answer["steps"]} == {
        (services["sum"].url, host), (services["mul"].url, host)
    }  # fmt: skip
    last = answer["steps"][-1]
    assert last["operation"] == "mul"
    assert all(step["end_ms"] <= last["start_ms"] for step in answer["steps"][:-1])


def test_fault_is_answered_and_told(fake):
    """A connection that never ends its answer costs its own call only."""
    fake.script = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n5")
    with calculator(dict.fromkeys(OPERATIONS, fake.url), "--timeout", "0.3") as front:
        assert front.ask("2+3")[0] == 504
        fake.script = answers(reply("5"))
        assert front.ask("2+3")[:2] == (200, "result = 5\r\n")
