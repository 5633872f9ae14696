"""The modules netorder_service, netorder_observe and netorder_compare as Ansible runs them: a text into a Python.

Each is a process of its own with its arguments in its text. systemd is a script that keeps a unit's state in files.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

MODULES = Path(__file__).parents[2] / "plugins/modules"
PLACEHOLDER = "<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"
SYSTEMCTL = """#!/bin/sh
cd "$STATE"
[ "$1" = show ] || echo "$@" >>log
case "$1" in
show) echo "ActiveState=$(cat active)"; echo "UnitFileState=$(cat enabled)"; echo "NeedDaemonReload=$(cat stale)";;
daemon-reload) echo no >stale;;
--quiet) echo enabled >enabled;;
start|restart) [ ! -e fails ] || { echo "Job for $2 failed." >&2; echo failed >active; exit 1; }; cat becomes >active;;
esac
"""
JOURNAL = "#!/bin/sh\necho 'the last words of the service'\n"
OLD, NEW = b"old artefact", b"new artefact"
TEXT = 'ExecStart=/x "\\\\"\n'  # quotes and backslashes, which the way into the module could break


def process(name, arguments, *, check=False, change=(), **environment):
    """Run a module and return its answer. ``change`` are parts of its text with what stands for them here."""
    text = (MODULES / f"{name}.py").read_text()
    for before, after in change:
        assert before in text
        text = text.replace(before, after)
    given = arguments | {"_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        [sys.executable, "-S", "-"],
        input=text.replace(PLACEHOLDER, json.dumps(given)),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]} | environment,
    )
    answer = json.loads(done.stdout)
    assert done.returncode == bool(answer.get("failed"))
    return answer


class Host:
    """A host whose units are in a directory and whose systemd is a script."""

    def __init__(self, root):
        self.root = root
        self.units, self.state = root / "units", root / "state"
        for one in (self.units, self.state, root / "bin"):
            one.mkdir()
        for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNAL)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        self.is_(active="inactive", enabled="", stale="no", becomes="active")
        self.file, self.unit = root / "x-1.pyz", self.units / "u.service"

    def is_(self, **state):
        for name, value in state.items():
            (self.state / name).write_text(f"{value}\n")

    def log(self):
        """Return what systemd was asked since the last time."""
        path = self.state / "log"
        said = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return said

    def ask(self, content=NEW, *, check=False, send=True, **more):
        """Run the module; with ``send`` also the second time, with the content, as its action does."""
        digest = hashlib.sha256(content).hexdigest() if content else ""
        arguments = {"unit": "u.service", "text": TEXT, "file": str(self.file), "digest": digest} | more
        answer = self.process(arguments, check)
        if send and answer.get("wants_content"):
            answer = self.process(arguments | {"content": base64.b64encode(zlib.compress(content)).decode()}, check)
        return answer

    def process(self, arguments, check):
        change = (
            ('Path("/etc/systemd/system")', f"Path({str(self.units)!r})"),
            ("== (0, 0, MODE)", f"== ({os.getuid()}, {os.getgid()}, MODE)"),
            ("SETTLE_SECONDS = 6", "SETTLE_SECONDS = 0.6"),
        )
        path = f"{self.root}/bin:{os.environ['PATH']}"
        return process("netorder_service", arguments, check=check, change=change, PATH=path, STATE=str(self.state))

    def files(self):
        return {path.name: path.read_bytes() for path in (*self.units.iterdir(), *self.root.glob("*.pyz"))}


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def running(host):
    """Give a host that has and runs all of it."""
    assert host.ask()["changed"]
    host.log()
    return host


def test_from_nothing_to_a_running_service_and_then_nothing_to_do(host):
    """The content is asked for once; the second run asks systemd for the state alone."""
    assert host.ask(send=False) == {
        "changed": False,
        "wants_content": True,
        "invocation": {"module_args": {"unit": "u.service", "text": TEXT, "file": str(host.file),
                                       "digest": hashlib.sha256(NEW).hexdigest()}},
    }  # fmt: skip
    assert host.files() == {}
    first = host.ask()
    assert first["actions"] == [f"write {host.file}", f"write {host.unit}", "start it", "enable it"]
    assert host.files() == {"u.service": TEXT.encode(), "x-1.pyz": NEW}
    assert host.log() == ["--quiet enable u.service", "restart u.service"]
    second = host.ask(send=False)
    assert (second["changed"], second["actions"], second["diff"], host.log()) == (False, [], [], [])


def test_the_answer_does_not_repeat_the_content(host):
    host.ask(send=False)
    answer = host.ask()
    assert "content" not in answer["invocation"]["module_args"]


@pytest.mark.parametrize(
    ("change", "actions", "asked"),
    [
        (lambda h: h.file.write_bytes(OLD), ["write FILE", "restart it"], ["restart u.service"]),
        (lambda h: h.file.chmod(0o666), ["write FILE", "restart it"], ["restart u.service"]),
        (lambda h: h.unit.write_text("x"), ["write UNIT", "restart it"], ["daemon-reload", "restart u.service"]),
        (lambda h: h.unit.chmod(0o600), ["write UNIT", "restart it"], ["daemon-reload", "restart u.service"]),
        (lambda h: h.is_(stale="yes"), ["restart it"], ["daemon-reload", "restart u.service"]),
        (lambda h: h.is_(active="inactive"), ["start it"], ["start u.service"]),
        (lambda h: h.is_(active="failed"), ["start it"], ["start u.service"]),
        (lambda h: h.is_(enabled="disabled"), ["enable it"], ["--quiet enable u.service"]),
    ],
    ids=["file", "file's mode", "unit", "unit's mode", "not loaded", "stopped", "failed", "disabled"],
)
def test_each_difference_is_seen_in_check_mode_and_repaired(running, change, actions, asked):
    """Check mode says the same, changes nothing and asks systemd for nothing."""
    planned = running.files()
    change(running)
    before = running.files()
    preview = running.ask(check=True, send=False)
    assert preview["changed"]
    assert [
        one.replace(str(running.file), "FILE").replace(str(running.unit), "UNIT") for one in preview["actions"]
    ] == (actions)
    assert (running.files(), running.log()) == (before, [])
    done = running.ask()
    assert (done["actions"], running.log()) == (preview["actions"], asked)
    assert running.files() == planned
    assert not running.ask(send=False)["changed"]


def test_diff_mode_shows_the_units_text(running):
    running.unit.write_text("other\n")
    shown = running.ask(check=True, send=False)["diff"][0]
    assert (shown["before"], shown["after"]) == ("other\n", TEXT)


def test_a_configuration_that_the_new_file_refuses_changes_neither_unit_nor_service(running):
    """What runs keeps running: the unit is still its own."""
    before = running.unit.read_bytes()
    command = [sys.executable, "-c", "import sys; sys.exit('port 0 is none')"]
    arguments = {"unit": "u.service", "text": "ExecStart=/bad\n", "file": str(running.file), "check": command}
    answer = running.process(arguments, check=False)
    assert answer["failed"]
    assert answer["msg"] == "x-1.pyz does not run here or refuses its configuration: port 0 is none"
    assert (running.unit.read_bytes(), running.log()) == (before, [])


def test_a_new_service_is_started_without_asking_it_first(host):
    """It would replace nothing, and a start that fails says why; the next time it is asked first."""
    asked = host.root / "asked"
    command = [sys.executable, "-c", f"open({str(asked)!r}, 'w')"]
    host.is_(fails="")
    digest = hashlib.sha256(NEW).hexdigest()
    given = {"unit": "u.service", "file": str(host.file), "check": command, "digest": digest}
    content = {"content": base64.b64encode(zlib.compress(NEW)).decode()}
    assert (
        "u.service does not start" in host.process(given | content | {"text": "ExecStart=/bad\n"}, check=False)["msg"]
    )
    assert not asked.exists()
    (host.state / "fails").unlink()
    assert host.process(given | {"text": TEXT}, check=False)["changed"]
    assert asked.exists()


def test_a_service_that_does_not_start_fails_with_its_journal(running):
    running.is_(active="inactive", fails="")
    answer = running.ask()
    assert answer["msg"] == (
        "u.service does not start: systemctl start u.service: Job for u.service failed.\n"
        "Its journal ends with:\nthe last words of the service"
    )


def test_a_masked_unit_is_written(running):
    """`systemctl mask` leaves a symbolic link to /dev/null, which stays what it is."""
    running.unit.unlink()
    running.unit.symlink_to("/dev/null")
    running.is_(active="inactive", enabled="masked")
    assert running.ask()["changed"]
    assert (running.unit.is_symlink(), running.unit.read_text()) == (False, TEXT)
    assert running.log() == ["--quiet enable u.service", "restart u.service"]


def test_a_host_without_systemd_says_so(host):
    (host.root / "bin/systemctl").unlink()
    answer = process(
        "netorder_service",
        {"unit": "u.service", "text": TEXT, "file": str(host.file), "digest": "d"},
        PATH=f"{host.root}/bin",
    )
    assert answer["msg"] == "systemctl: No such file or directory"


def test_a_crash_loop_is_a_failure(running):
    """To systemd a service between two starts is `activating`."""
    running.is_(active="activating")
    assert "it keeps dying after its start (it is activating)" in running.ask()["msg"]


def test_an_earlier_version_must_be_there(running):
    """Without a source nothing is sent; the error names what there is."""
    assert not running.ask(b"")["changed"]
    answer = running.process({"unit": "u.service", "text": TEXT, "file": str(running.root / "x-2.pyz")}, check=False)
    assert answer["msg"] == f"{running.root}/x-2.pyz is not on this host, which has: {running.file}"


def test_a_content_that_is_not_the_announced_one_is_refused(host):
    arguments = {"unit": "u.service", "text": TEXT, "file": str(host.file), "digest": hashlib.sha256(NEW).hexdigest()}
    answer = host.process(arguments | {"content": base64.b64encode(zlib.compress(OLD)).decode()}, check=False)
    assert "has another digest" in answer["msg"]
    assert host.files() == {}


def test_wrong_arguments_are_named(host):
    answer = host.process({"unit": "a/b", "text": "t", "file": "x"}, check=False)
    assert answer["msg"] == "unit must be a name, not a/b; file must be an absolute path, not x"
    answer = host.process({"unit": "u", "file": "/x", "check": "a command", "stat": 1}, check=False)
    assert answer["msg"] == "stat is not supported; text is required, a text; check must be a list of texts"


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers as a calculator's service does."""

    def do_GET(self):
        self.answer(b'calculator_info{artefact="abc"} 1\n' if self.path == "/metrics" else b"ok\r\n")

    def do_POST(self):
        said = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(b"result = 16\r\n" if said == b"(5+3)*2" else b"no", 200 if said == b"(5+3)*2" else 400)

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Be silent."""


@pytest.fixture
def port():
    """Give a port at which a service answers."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def observed(host, arguments):
    path = f"{host.root}/bin:{os.environ['PATH']}"
    return process("netorder_observe", arguments, PATH=path, STATE=str(host.state))


def test_what_does_not_answer(running, port):
    """A listener whose queue is full drops what comes: right where nothing may answer, and found where it must."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as waiting:
        dropping = full.getsockname()[1]
        waiting.connect(("127.0.0.1", dropping))
        checks = observed(
            running,
            {
                "timeout": 2,
                "connections": [
                    {"name": "a", "address": "127.0.0.1", "port": port, "open": True},
                    {"name": "b", "address": "127.0.0.1", "port": dropping, "open": False},
                    {"name": "c", "address": "127.0.0.1", "port": dropping, "open": True},
                    {"name": "d", "address": "127.0.0.1", "port": port, "open": False},
                ],
            },
        )["checks"]
    assert [(one["name"], one["found"], one["ok"]) for one in checks] == [
        ("a", "open", True),
        ("b", "no answer", True),
        ("c", "no answer", False),
        ("d", "open", False),
    ]


def test_what_connections_tell_of_their_paths(running, port):
    """The kernel's round trip of what was made, and the MTU; of what does not answer neither."""
    probes = [
        {"name": "a", "address": "127.0.0.1", "port": port, "open": True},
        {"name": "b", "address": "127.0.0.1", "port": 1, "open": True},
    ]
    made, refused = observed(running, {"connections": probes})["checks"]
    assert (made["found"], made["address"], made["mtu"] >= 1280) == ("open", "127.0.0.1", True)
    assert 0 < made["ms"] < 1000
    assert "warning" not in made
    assert refused["found"] == "refused"
    assert not {"ms", "mtu", "warning"} & refused.keys()


def test_names_lead_to_their_hosts(running):
    """Asked as programs on the host ask; one finding for all, which names the wrong ones."""

    def found(*wanted: tuple[str, str]):
        given = [{"name": name, "address": address} for name, address in wanted]
        return observed(running, {"names": given})["checks"]

    assert found() == []
    (right,) = found(("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"))
    assert (right["found"], right["ok"]) == ("2 lead to their hosts", True)
    (wrong,) = found(("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.3"), ("no such.invalid", "127.0.0.3"))
    assert not wrong["ok"]
    assert "127.0.0.2: 127.0.0.2, not 127.0.0.3; no such.invalid: " in wrong["found"]
    assert "localhost" not in wrong["found"]


def test_answers_are_compared(running, port):
    """The status, all of an answer, a part of it: each by what is expected and found."""
    url = f"http://127.0.0.1:{port}"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
        checks = observed(
            running,
            {
                "units": ["u.service"],
                "connections": [
                    {"name": "a", "address": "127.0.0.1", "port": port, "open": True},
                    {"name": "b", "address": "127.0.0.1", "port": closed, "open": True},
                ],
                "answers": [
                    {"what": "w", "url": f"{url}/", "body": "(5+3)*2", "answer": "result = 16"},
                    {"what": "x", "url": f"{url}/", "body": "5", "answer": "result = 5"},
                    {"what": "y", "url": f"http://127.0.0.1:{closed}/", "body": "", "answer": "result = 5"},
                    {"what": "health", "url": f"{url}/healthz", "body": None, "status": 200, "unit": "u.service"},
                    {"what": "gone", "url": f"{url}/", "body": "5", "status": 400},
                    {"what": "moved", "url": f"{url}/", "status": 301},
                    {"what": "version", "url": f"{url}/metrics", "contains": 'artefact="abc"'},
                    {"what": "newer", "url": f"{url}/metrics", "contains": 'artefact="abd"'},
                ],
            },
        )["checks"]
    assert [(one["what"], one["found"], one["ok"]) for one in checks] == [
        ("unit u.service", "active, enabled", True),
        (f"tcp {port} of a (127.0.0.1)", "open", True),
        (f"tcp {closed} of b (127.0.0.1)", "refused", False),
        ("w", "result = 16", True),
        ("x", "status 400 no", False),
        ("y", "no answer ([Errno 111] Connection refused)", False),
        ("health", "status 200", True),
        ("gone", "status 400", True),
        ("moved", "status 200 ok", False),
        ("version", '... artefact="abc" ...', True),
        ("newer", 'calculator_info{artefact="abc"} 1', False),
    ]


def test_a_stopped_or_changed_unit_is_seen_and_its_service_not_asked(running):
    running.is_(active="failed", enabled="disabled", stale="yes")
    (one,) = observed(running, {"units": ["u"], "answers": [{"what": "w", "url": "http://[::1]:9", "unit": "u"}]})[
        "checks"
    ]
    assert (one["found"], one["ok"]) == ("failed, disabled, its file changed since it was read", False)


def test_observe_names_wrong_arguments(host):
    answer = observed(host, {"units": "u", "routes": [{"destination": 3}], "more": 1})
    assert answer["msg"] == (
        "ValueError: more is not supported: use units, routes, connections, names, answers, timeout; "
        'units must be a list, not "u"; routes[0].destination must be str, not 3; '
        "routes[0].next_hop must be str, not null"
    )


def compared(host, modules, **sources):
    sources = {name: (MODULES / f"{name.partition(' ')[0]}.py").read_text() for name in modules} | sources
    path = f"{host.root}/bin:{os.environ['PATH']}"
    arguments = {"modules": modules, "sources": sources}
    return process("netorder_compare", arguments, PATH=path, STATE=str(host.state))


def test_several_modules_run_in_one_process_and_change_nothing(running):
    """Each gives what it gives alone, in check mode."""
    unit = {"unit": "u.service", "text": "other\n", "file": str(running.file)}
    observe = {"units": ["u.service"]}
    answers = compared(running, {"netorder_observe": observe, "netorder_service u": unit})["answers"]
    assert answers["netorder_observe"]["checks"] == observed(running, observe)["checks"]
    assert (answers["netorder_service u"]["unit_differs"], answers["netorder_service u"]["changed"]) == (True, True)
    assert running.unit.read_text() == TEXT
    assert running.log() == []


def test_one_that_fails_is_named(running):
    """So is one that breaks."""
    answer = compared(
        running,
        {"netorder_observe": {"units": 1}, "netorder_service": {"unit": "u", "text": "t", "file": "/nowhere/x"}},
    )
    assert answer["failed"]
    assert "netorder_observe: ValueError: units must be a list, not 1" in answer["msg"]
    assert "netorder_service: /nowhere/x is not on this host, which has: none" in answer["msg"]


def acted(arguments):
    """Run the action netorder_compare against this machine, which is the host and the controller."""
    program = Path(sys.executable).with_name("ansible")
    command = [program, "localhost", "--inventory", "localhost,", "--connection", "local"]
    command += ["--module-name", "netorder_compare", "--args", json.dumps(arguments)]
    environment = {**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    output = subprocess.run(
        command, cwd=MODULES.parents[1], env=environment, capture_output=True, text=True, check=False
    ).stdout
    outcome, _, answer = output.partition("=>")
    return json.loads(answer) | {"failed": "FAILED" in outcome}


def test_outside_is_tried_from_the_controller():
    """What is found there stands beside what is found on the host; one that fails there fails the task."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outside = {"connections": [{"name": "x", "address": "127.0.0.1", "port": port, "open": True}]}
        answer = acted({"modules": {"netorder_observe": {}}, "outside": outside})
    answers = answer["answers"]
    assert not answer["failed"]
    assert abs(answer["clock"]["ahead"]) <= answer["clock"]["give"] + 0.01
    assert answers["netorder_observe"]["checks"] == []
    (check,) = answers["outside"]["checks"]
    assert (check["port"], check["found"], check["ok"]) == (port, "open", True)

    answer = acted({"modules": {"netorder_observe": {"units": 1}}, "outside": {"connections": 1}})
    assert answer["failed"]
    assert "units must be a list, not 1" in answer["msg"]
    assert "; outside: ValueError: connections must be a list, not 1" in answer["msg"]


@pytest.mark.parametrize("name", ["netorder_service", "netorder_observe", "netorder_compare", "netorder_host_network"])
def test_standard_library_alone(name):
    """A module that imported Ansible's library would be sent as an archive: five times slower on a slow host."""
    text = (MODULES / f"{name}.py").read_text()
    assert text.count(PLACEHOLDER) == 1
    assert "ansible.module_utils" not in text
