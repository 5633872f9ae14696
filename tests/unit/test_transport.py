"""What is sent again and what is not, against a server of this test's own on loopback."""

from __future__ import annotations

import json
import socket
import threading
from types import SimpleNamespace

import pytest
import requests

from netorder.cloud import transport as module
from netorder.cloud.session import connect
from netorder.cloud.transport import Transport, may_happen_twice
from netorder.errors import CloudError


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/v2.0/networks?description=x", None, True),
        ("DELETE", "/v2.0/networks/1", None, True),
        ("PUT", "/v2.0/ports/1", b"{}", True),
        ("PUT", "/v2.0/routers/1/add_router_interface", b"{}", False),
        ("PUT", "/v2.0/routers/1/remove_router_interface", b"{}", True),
        ("POST", "/v2.0/networks", b"{}", False),
        ("POST", "/v3/auth/tokens", b"{}", True),
        ("POST", "/v2.1/servers/1/action", b'{"os-getConsoleOutput": {}}', True),
        ("POST", "/v2.1/servers/1/action", b'{"os-start": null}', False),
        ("POST", "/v2.1/servers", b'{"server": {"name": "os-getConsoleOutput"}}', False),
    ],
)
def test_what_may_happen_twice(method, path, body, expected):
    assert may_happen_twice(method, f"http://192.0.2.1{path}", body) is expected


# one answer a connection, and saying so: else the next request may meet one that is about to be closed
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
CUT = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20\r\n\r\n{}"


def status(line, *headers):
    return "\r\n".join([f"HTTP/1.1 {line}", *headers, "Connection: close", "Content-Length: 0", "", ""]).encode()


@pytest.fixture
def answers():
    """Serve ``answers`` in turn, one a connection, None for none; the sessions' requests are in ``answers.got``."""

    class Answers(list):
        got = 0

    todo = Answers()
    listener = socket.create_server(("127.0.0.1", 0))
    todo.url = f"http://127.0.0.1:{listener.getsockname()[1]}/things"

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                answer = todo[todo.got]
                todo.got += 1
                if answer:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield todo
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)
    one = requests.Session()
    one.counts, one.notes = [], []
    one.mount("http://", Transport(requests.adapters.HTTPAdapter(), count=one.counts.append, note=one.notes.append))
    return one


@pytest.mark.parametrize(
    ("method", "first", "times"),
    [
        ("GET", status("503 Unavailable"), 2),
        ("GET", CUT, 2),
        ("GET", None, 2),
        ("DELETE", status("500 Error"), 2),
        ("POST", status("429 Slow", "Retry-After: 0"), 2),
        ("POST", status("503 Unavailable", "Retry-After: 0"), 2),
        ("POST", status("503 Unavailable"), 1),
        ("POST", status("500 Error"), 1),
        ("GET", status("409 Conflict"), 1),
        ("GET", status("429 Slow", "Retry-After: 3600"), 1),
    ],
)
def test_requests_that_are_sent_again(answers, session, method, first, times):
    """Each attempt is counted, each repetition reported; the last answer is what the SDK gets."""
    answers += [first, OK]
    answer = session.request(method, answers.url)
    assert (answers.got, len(session.counts), len(session.notes)) == (times, times, times - 1)
    assert (answer.status_code == 200) is (times == 2)


@pytest.mark.parametrize("broken", [CUT, None], ids=["cut", "closed"])
def test_a_create_whose_answer_did_not_come_is_not_sent_again(answers, session, broken):
    answers += [broken]
    with pytest.raises(CloudError, match=r"POST http://.*/things: the connection broke.*not known. Run again"):
        session.post(answers.url, json={})
    assert answers.got == 1


def test_it_gives_up(answers, session):
    answers += [None] * module.ATTEMPTS
    with pytest.raises(CloudError, match=r"the connection broke .*Run again"):
        session.get(answers.url)
    assert len(session.counts) == module.ATTEMPTS


@pytest.mark.parametrize(
    ("course", "attempts"),
    [("closed late ok", 3), ("late closed closed ok", 4), ("late late", 2), ("closed late late", 3)],
)
def test_of_attempts_two_may_be_late(monkeypatch, course, attempts):
    """One that came late after another failure is no second late one."""
    monkeypatch.setattr(module, "PAUSE", 0.0)
    todo = iter(course.split())

    def send(*_args, **_more):
        match next(todo):
            case "late":
                raise requests.ReadTimeout
            case "closed":
                raise requests.ConnectionError
        return requests.Response()

    counts = []
    transport = Transport(SimpleNamespace(send=send), count=counts.append, note=lambda _: None)
    request = requests.Request("GET", "http://127.0.0.1/things").prepare()
    if course.endswith("ok"):
        assert isinstance(transport.send(request), requests.Response)
    else:
        with pytest.raises(CloudError, match="no answer in time"):
            transport.send(request)
    assert len(counts) == attempts


def test_nothing_listens(session):
    """Even a create is tried again: it reached nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/things"
    with pytest.raises(CloudError, match=r"Nothing answers: no connection for POST .* Is the cloud up"):
        session.post(url, json={})
    assert len(session.counts) == module.ATTEMPTS


def test_a_401_to_the_question_for_versions_ends_the_login(answers, monkeypatch, tmp_path):
    """Keystoneauth would ask again with a token, inside the login that is to bring it: for ever."""
    answers += [status("401 Unauthorized")] * 2
    entry = {"auth_url": answers.url, "username": "u", "password": "p", "project_name": "p"}
    settings = {"auth": {**entry, "user_domain_id": "default", "project_domain_id": "default"}}
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {"behind-a-gate": settings}}))
    monkeypatch.setattr("openstack.config.loader.CONFIG_FILES", [str(file)])
    said = []

    def log_in():
        try:
            connect(said.append, "behind-a-gate")
        except CloudError as error:
            said.append(str(error))

    thread = threading.Thread(target=log_in, daemon=True)
    thread.start()
    thread.join(30)
    assert said, "the login does not end"
    assert said[0].startswith(f"No identity API at {answers.url}: ")
    assert "HTTP 401 to GET" in said[0]
    assert "Correct the entry of clouds.yaml" in said[0]
