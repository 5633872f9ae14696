"""What a run shows: on a terminal lines that are rewritten, elsewhere short ones; no failure or warning is lost."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from netorder.analysis.reach import Matrix
from netorder.ansible import ending
from netorder.ansible.course import Course, stage_line, stages_table
from netorder.ansible.live import LIVE, Beside, Board, Live, duration, is_routine, progress
from netorder.language.load import load, parse
from netorder.plan.build import build_plan

ROOT = Path(__file__).parents[2]
CALCULATOR = ROOT / "topologies/calculator.yml"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def screen(text: str) -> list[str]:
    """Return what a terminal shows of a text: the control sequences that are used here, and no others."""
    rows = [""]
    row = column = 0
    for part in re.findall(r"\x1b\[\d*[A-Z]|\x1b\[[\d;]*m|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif part == "\r":
            column = 0
        elif part.startswith("\x1b"):
            if part == "\x1b[A":
                row -= 1
                assert row >= 0
            elif part == "\x1b[2K":
                rows[row] = ""
            else:
                assert part.endswith("m"), part
        else:
            rows[row] = rows[row][:column] + part + rows[row][column + len(part) :]
            column += len(part)
    return [one for one in rows if one]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def live(clock):
    board = Board(clock)
    return Live(io.StringIO(), board, lambda: 60)


class Locked(io.StringIO):
    """A stream that takes its printers' lock, as Ansible has it of standard output."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()

    def write(self, text: str) -> int:
        with self.lock:
            return super().write(text)


def test_printing_and_drawing_do_not_wait_for_each_other(clock):
    """Ansible has begun to print, and holds its lock; a thread begins to draw the lines before it comes to write."""
    stream = Locked()
    prints, draws = threading.Event(), threading.Event()

    def width() -> int:
        draws.set()
        return 60

    live = Live(stream, Board(clock), width, stream.lock)
    live.board.stage("Verify")

    def printing() -> None:
        with stream.lock:
            prints.set()
            draws.wait(0.5)
            live.write("text\n")

    def drawing() -> None:
        prints.wait()
        live.draw()

    threads = [threading.Thread(target=one, daemon=True) for one in (printing, drawing)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(10)
    assert not any(one.is_alive() for one in threads)
    assert screen(stream.getvalue()) == ["text", "Verify  0 s"]


# Lines


def test_a_line_for_the_stage_and_each_host(clock):
    """What it does or waits for, since when, and how long it took the last time."""
    board = Board(clock)
    assert board.lines(80) == []
    board.stage("Provision", 96.2)
    board.task("Make the cloud match the plan")
    board.begin("localhost")
    clock.time = 4.0
    assert board.lines(80) == [
        "Provision · Make the cloud match the plan  4 s (last time 96 s)",
        "  this machine  Make the cloud match the plan  4 s",
    ]
    board.note("localhost", "waiting for servers to run since 12:00:01, for 600 s at most: 2 of 5")
    clock.time = 130.0
    assert board.lines(100)[1:] == [
        "  this machine  waiting for servers to run since 12:00:01, for 600 s at most: 2 of 5  2 min 10 s"
    ]
    board.end("localhost")
    assert board.lines(80) == ["Provision · Make the cloud match the plan  2 min 10 s (last time 96 s)"]
    board.stage("")
    assert board.lines(80) == []


@pytest.mark.parametrize("width", [20, 40, 80, 300])
@pytest.mark.parametrize("hosts", [1, 8, 9, 1000])
def test_no_line_is_wider_than_the_screen(clock, width, hosts):
    """The times stay; of very many hosts the rest is counted."""
    board = Board(clock)
    board.stage("A stage with a long name", 10)
    board.task("a task\nof two lines")
    for number in range(hosts):
        board.begin(f"host-{number}")
    lines = board.lines(width)
    assert max(map(len, lines)) < width
    assert len(lines) == 1 + min(hosts, 8) + (hosts > 8)
    assert all("\n" not in line for line in lines)
    assert lines[1].endswith("0 s")
    if hosts == 1000 and width == 300:
        assert lines[-1] == "  and 992 hosts more: host-8, host-9, host-10, host-11 and 988 more"


def test_what_is_printed_goes_above_the_lines(live):
    """Nothing printed is lost or overwritten, whichever stream it comes by; at the end the lines are gone."""
    live.board.stage("Verify")
    live.draw()
    live.write("one\n")
    live.draw()
    live.board.begin("sum")
    live.draw()
    live.draw()
    Beside(live._stream, live).write("a warning\n")
    live.draw()
    live.board.end("sum")
    live.draw()
    assert screen(live._stream.getvalue()) == ["one", "a warning", "Verify  0 s"]
    live.stop()
    assert screen(live._stream.getvalue()) == ["one", "a warning"]


def test_a_question_is_not_drawn_over(live):
    """A line that has not ended waits for an answer."""
    live.board.stage("Verify")
    live.write("go on? ")
    live.draw()
    assert screen(live._stream.getvalue()) == ["go on? "]
    live.write("\n")
    live.draw()
    assert screen(live._stream.getvalue()) == ["go on? ", "Verify  0 s"]
    live.asks = True
    live.draw()
    assert screen(live._stream.getvalue()) == ["go on? "]


class Shown:
    """Ansible's display, which prints to a terminal."""

    def __init__(self, stream) -> None:
        self.stream = stream
        self.logged: list[str] = []

    def display(self, msg, *, screen_only=False, log_only=False) -> None:
        if not log_only:
            self.stream.write(f"{msg}\n")
        if not screen_only:
            self.logged.append(msg)


def test_progress_is_the_text_of_a_line_where_there_are_lines(live, monkeypatch):
    """The log has it all; without lines it is printed."""
    live.board.stage("Provision")
    shown = Shown(live)
    say = progress(shown, {"inventory_hostname": "sum"})
    say("network a: created (1.0 s)")
    monkeypatch.setenv(LIVE, "1")
    say("server b: created (5.0 s)")
    say("key pair c stays: it does not carry this topology's marker")
    live.draw()
    assert screen(live._stream.getvalue()) == [
        "  network a: created (1.0 s)",
        "  key pair c stays: it does not carry this topology's marker",
        "Provision  0 s",
        "  sum  server b: created (5.0 s)  0 s",
    ]
    assert [line.strip() for line in shown.logged] == [
        "network a: created (1.0 s)", "server b: created (5.0 s)",
        "key pair c stays: it does not carry this topology's marker",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "routine"),
    [
        ("server lab-sum: created (5.0 s)", True),
        ("2 networks (a, b): created (1.8 s)", True),
        ("waiting for servers to run since 12:00:01, for 600 s at most: 2 of 5", True),
        ("still waiting for servers to run (28 s): 2 of 5", True),
        ("sum answers SSH after 12 s", True),
        ("key pair k stays: it does not carry this topology's marker", False),
        ("2 snapshots stay: a, b. `-e snapshots=delete` deletes them too", False),
        ("lab-sum does not answer with flavor small: the resize is reverted", False),
    ],
)
def test_what_must_stay_on_the_screen_stays(line, routine):
    assert is_routine(line) is routine


def test_durations():
    assert [duration(one) for one in (0, 12.7, 99, 125, 3601)] == ["0 s", "12 s", "99 s", "2 min 05 s", "60 min 01 s"]


# The course


def test_the_course_counts_and_times(clock):
    """A stage for each play that did something; findings, changes and drift are what the report needs."""
    course = Course(clock)
    course.stage("Validate")
    course.stage("Provision")
    course.task("Make the cloud match the plan")
    changes = [{"action": "create", "kind": "network", "name": "n", "before": None, "after": {}}]
    provisioned = {"changed": True, "changes": changes, "timings": [], "hosts": {"a": {"floating_ip": "1.2.3.4"}}}
    course.result("localhost", provisioned, "netorder_provision")
    clock.time = 10.0
    course.stage("Verify")
    course.task("Observe")
    course.result("a", {"ansible_facts": {"netorder_findings": [{"ok": True}]}})
    course.failure("b")
    clock.time = 12.0
    course.end()
    assert [stage_line(stage) for stage in course.ran] == [
        "Provision: 10.0 s, 1 changed",
        "Verify: 2.0 s, 2 hosts, 1 failed",
    ]
    assert stages_table(course)[-1].split() == ["total", "12.0", "s", "1", "1"]
    kept = course.kept("site")
    assert kept["hosts"] == {"a": {"floating_ip": "1.2.3.4"}}
    assert kept["verify"]["findings"] == {"a": [{"ok": True}]}
    assert "drift" not in kept
    assert [stage["name"] for stage in kept["runs"]["site"]["stages"]] == ["Provision", "Verify"]
    assert kept["runs"]["site"]["changes"] == [{"action": "create", "kind": "network", "name": "n"}]
    assert ending.changed(course, check=False) == "changed: in the cloud 1 created"
    course = Course(clock)
    course.stage("Provision")
    course.result("localhost", provisioned, "netorder_provision", check=True)
    course.result("a", {"changed": True}, check=True)
    course.end()
    assert ending.changed(course, check=True) == "would change: in the cloud 1 to create; on the hosts 1 task"
    assert stage_line(course.stages[0]) == "Provision: 0.0 s, 2 hosts, 2 would change"


def test_the_result_for_programs(clock):
    """Changes of the cloud with their old and new values, of hosts with their diffs; failures that lasted alone."""
    course = Course(clock)
    course.stage("Provision")
    course.task("Make the cloud match the plan")
    change = {"action": "update", "kind": "network", "name": "n", "before": {"mtu": 1500}, "after": {"mtu": 1400}}
    made = {"changed": True, "changes": [change], "hosts": {"a": {"floating_ip": "1.2.3.4"}, "b": None}}
    course.result("localhost", made, "netorder_provision", check=True)
    course.stage("Configure")
    course.task("Write files")
    items = [{"changed": True, "diff": [{"before": "x", "after": "y"}]}, {"changed": False, "diff": {"before": ""}}, 7]
    course.result("a", {"changed": True, "results": items}, check=True)
    course.task("Start")
    course.result("a", {"changed": False, "diff": {"before": "", "after": ""}}, check=True)
    course.failure("a", "no")
    course.failure("b", "handled")
    course.failure("a", "ignored", counts=False)
    course.result("a", {"ansible_facts": {"netorder_findings": [{"what": "clock", "ok": False}]}})
    found = course.result_of("site", ["a"], check=True)
    assert (found["playbook"], found["check"], found["ok"]) == ("site", True, False)
    assert found["changes"] == [change]
    assert found["hosts"] == {"a": {"floating_ip": "1.2.3.4"}}
    assert found["on_hosts"] == [{"host": "a", "task": "Write files", "diff": [{"before": "x", "after": "y"}]}]
    assert found["findings"] == [{"host": "a", "what": "clock", "ok": False}]
    assert found["failed"] == [{"host": "a", "task": "Start", "message": "no"}]
    assert json.loads(json.dumps(found)) == found
    assert Course(clock).result_of("verify", [], check=False)["ok"]


# The end


def test_a_rebuild_says_how_long_it_took_and_what_roles_had_to_do():
    seconds = [0.0]
    course = Course(lambda: seconds[0])
    course.stage("Provision")
    course.result("localhost", {"changed": False, "golden": True, "changes": []}, "netorder_provision")
    assert ending.rebuilt(course)[0].startswith("no host was made")
    made = {"kind": "server", "action": "create", "name": "lab-a"}
    course.result("localhost", {"changed": True, "golden": True, "changes": [made]}, "netorder_provision")
    seconds[0] = 20.0
    course.stage("Configure, applications")
    course.task("sum : Unit")
    course.result("a", {"changed": False})
    seconds[0] = 31.0
    course.end()
    (line,) = ending.rebuilt(course)
    assert line == (
        "rebuilt from golden images, 1 host, in 31 s (Provision 20 s, Configure, applications 11 s): "
        "no role changed anything"
    )
    course.result("b", {"changed": True})
    assert ending.rebuilt(course)[1:] == [
        "  changed nevertheless: sum : Unit, on 1 host",
        "  golden images are as their hosts were then: netorder golden makes them anew",
    ]


def test_each_failure_once_causes_first_and_what_was_handled_apart():
    """Of hosts that say the same, but for their names, one."""
    found, handled = ending.problems(
        [
            ending.Failure("c", "Check", "r.yml:1", "c is reached through a, where something failed: see above"),
            ending.Failure("a", "Wait for SSH", "r.yml:2", "a does not answer SSH: /x/a/y"),
            ending.Failure("b", "Wait for SSH", "r.yml:2", "b does not answer SSH: /x/a/y"),
            ending.Failure("b", "Wait for SSH", "r.yml:2", "b does not answer SSH: /x/a/y"),
            ending.Failure("d", "Try", "", "no"),
        ],
        {"a", "b", "c"},
    )
    assert found == [
        "a, b: Wait for SSH\n  a does not answer SSH: /x/a/y\n  at r.yml:2",
        "c: Check\n  c is reached through a, where something failed: see above\n  at r.yml:1",
    ]
    assert handled == ["d: Try\n  no"]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"msg": "no such unit"}, "no such unit"),
        ({"msg": "non-zero return code", "rc": 5, "stderr": "bad\n", "stdout": ""},
         "non-zero return code\nbad\nexit status 5"),
        ({"msg": "ended with 5: bad", "rc": 5, "stderr": "bad"}, "ended with 5: bad"),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback", "rc": 1}, "MODULE FAILURE\nTraceback\nexit status 1"),
        ({"censored": "hidden", "msg": "secret"}, "hidden"),
        ({}, "it failed without a message (-v shows what it returned)"),
    ],
)  # fmt: skip
def test_a_failure_says_all_that_is_known(result, said):
    assert ending.outcome(result) == said


def test_who_is_reachable_where():
    """The way in, the addresses of applications, and how one gets behind."""
    matrix = Matrix(build_plan(load(CALCULATOR)))
    named = ending.Named("topologies/calculator.yml", is_default=True)
    assert ending.addresses(matrix, {"calculator": "172.24.4.148"}, named) == [
        "reachable from outside:",
        "  calculator  172.24.4.148  icmp, tcp 22, tcp 50000",
        "applications:",
        "  calculator: http://172.24.4.148:50000",
        "by SSH through calculator: sum, sub, mul, div",
    ]
    assert ending.addresses(matrix, {}, named) == ["by SSH through calculator: sum, sub, mul, div"]


def test_of_many_ways_in_some_are_shown():
    hosts = "".join(f"  h{chr(97 + i)}: {{network: n, floating_ip: true}}\n" for i in range(20))
    text = (
        "topology: many\nnetworks: {n: {cidr: 10.0.0.0/24}, m: {cidr: 10.0.1.0/24}}\n"
        f"routers: {{r: {{external: true, networks: [n]}}}}\nhosts:\n{hosts}  away: {{network: m}}\n"
    )
    matrix = Matrix(build_plan(parse(text, "many.yml")))
    given = {host.name: f"10.9.0.{i}" for i, host in enumerate(matrix.plan.hosts) if host.floating_ip}
    lines = ending.addresses(matrix, given, ending.Named("many.yml", is_default=False))
    assert len(lines) == 15
    assert lines[-2] == "  and 8 more: netorder status many.yml"
    assert lines[-1].startswith("not reachable from outside: ")


@pytest.mark.parametrize(
    ("playbook", "is_default", "check", "failed", "said"),
    [
        ("site", True, False, False, "netorder ssh a  "),
        ("site", False, False, False, "netorder ssh -t my.yml a"),
        ("site", False, True, False, "netorder up my.yml --allow delete"),
        ("site", False, False, True, "netorder reach my.yml --from a --to b --port 80"),
        ("verify", False, False, True, "netorder logs -t my.yml b  "),
        ("drift", False, False, True, "netorder up my.yml"),
        ("teardown", False, False, False, "netorder up my.yml"),
    ],
)
def test_what_to_type_next(playbook, is_default, check, failed, said):
    course = Course()
    course.provisioned = {"needs_allow": ["delete"] if check else []}
    if failed and playbook in {"site", "verify"}:
        expected = "closed" if playbook == "site" else "open"
        course.findings = {"a": [{"ok": False, "what": "tcp 80 of b", "name": "b", "port": 80, "expected": expected,
                                  "found": "closed"}]}  # fmt: skip
    named = ending.Named("my.yml", is_default=is_default)
    steps = ending.next_steps(playbook, named, course, ["a"], check=check, failed=failed)
    assert any(said in f"{step}  " for step in steps), steps


# The callback, in a run

PLAY = """
- name: Local
  hosts: localhost
  gather_facts: false
  tasks:
    - {name: Say, ansible.builtin.debug: {msg: "what is said\\nin two lines"}}
    - {name: Write, ansible.builtin.copy: {content: "new\\n", dest: "{{ lookup('env', 'OUT') }}", mode: "0600"}}
- name: Hosts
  hosts: netorder
  gather_facts: false
  connection: local
  vars: {ansible_host: localhost, ansible_python_interpreter: "{{ ansible_playbook_python }}", ansible_become: false}
  tasks:
    - name: Fail alike
      ansible.builtin.fail: {msg: "no good on {{ inventory_hostname }}"}
      when: inventory_hostname in ['sum', 'sub']
    - name: Fail in a loop
      ansible.builtin.command: {argv: [sh, -c, "echo said by {{ item }}; exit {{ item }}"]}
      loop: [0, 7]
      when: inventory_hostname == 'mul'
    - name: Secret
      ansible.builtin.command: {argv: ["false", "hunter2"]}
      no_log: true
      when: inventory_hostname == 'div'
    - name: Handled
      block:
        - {name: Try, ansible.builtin.fail: {msg: try another way}}
      rescue:
        - {name: Another way, ansible.builtin.debug: {msg: that worked}}
    - name: Take a while
      ansible.builtin.command: {argv: [sleep, "{{ lookup('env', 'WHILE') }}"]}
"""


@pytest.fixture
def playbook(tmp_path):
    """Give the command line, directory and environment of a playbook in which much goes wrong."""
    file = tmp_path / "site.yml"
    file.write_text(PLAY)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT / "src"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "OUT": str(tmp_path / "out"), "WHILE": "0", "TERM": "xterm",
        "ANSIBLE_LOCALHOST_WARNING": "False", "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
    }  # fmt: skip
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [program, "-i", ROOT / "inventory/10-plan.yml", file, "-e", f"netorder_dir={tmp_path}/.netorder/x"]
    return command, tmp_path, environment


def run(playbook, *more: str) -> subprocess.CompletedProcess[str]:
    command, directory, environment = playbook
    return subprocess.run(
        [*command, *more], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def check_end(said: str) -> None:
    """Fail unless each failure is there once, at the end, with its cause and place, and no secret."""
    head, _, end = said.partition("what failed:")
    assert end, said
    assert re.search(r"su[mb], su[mb]: Fail alike\n +no good on su[mb]\n +at site.yml:\d+", end), end
    assert re.search(r"mul: Fail in a loop \(7\)\n .*non-zero return code\.?\n +said by 7\n +exit status 7\n", end), end
    assert "div: Secret\n" in end
    assert "hunter2" not in said
    assert "no good on" not in head
    assert re.search(r"and the playbook went on:\n.*calculator: Try\n +try another way", head, re.DOTALL), said
    assert "what is said\nin two lines\n" in head
    assert "that worked" in head


def test_off_a_terminal(playbook):
    """Short lines, Ansible's recap, the errors; no control characters."""
    done = run(playbook)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert "Local:\n" in done.stdout
    assert "  changed: localhost: Write\n" in done.stdout
    assert re.search(r"^mul +: ok=0 +changed=0 +unreachable=0 +failed=1 ", done.stdout, re.MULTILINE), done.stdout
    assert "TASK [" not in done.stdout
    check_end(done.stdout)


def test_a_preview_shows_differences_and_changes_nothing(playbook):
    """What --check --diff is for. It keeps nothing, either."""
    (playbook[1] / ".netorder/x").mkdir(parents=True)
    done = run(playbook, "--check", "--diff")
    assert "check run: nothing is changed\n" in done.stdout
    assert re.search(r"localhost: Write:\n--- before\n.*\n@@.*\n\+new\n", done.stdout), done.stdout
    assert "would change: localhost: Write\n" in done.stdout
    assert not (playbook[1] / "out").exists()
    assert not [*(playbook[1] / ".netorder/x").iterdir()]


def test_with_v_it_is_ansibles_own(playbook):
    """What the run did is kept all the same, where a run has made the directory for it."""
    directory = playbook[1] / ".netorder/x"
    directory.mkdir(parents=True)
    done = run(playbook, "-v")
    assert [*json.loads((directory / "last.json").read_text())["runs"]["site"]] == [
        "time", "seconds", "stages", "changes", "timings"
    ]  # fmt: skip
    assert (directory / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert "TASK [Fail alike] *" in done.stdout
    assert "fatal: [sum]: FAILED! =>" in done.stdout
    assert "STAGES" in done.stdout
    assert "what failed:" not in done.stdout


def on_terminal(playbook, interrupted: str = "") -> tuple[int, str]:
    """Run it with a terminal of its own; return its status and all that it wrote. Ctrl-C once a text is there."""
    command, directory, environment = playbook
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, cwd=directory, env={**environment, "COLUMNS": "100"}, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        written = b""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the last end of the terminal was closed
                break
            written += part
            if interrupted and interrupted.encode() in written:
                process.send_signal(signal.SIGINT)
                interrupted = ""
        os.close(ours)
        return process.wait(), written.decode().replace("\r\n", "\n")


def test_on_a_terminal_the_lines_are_gone_at_the_end(playbook):
    """What stays is what was printed; while it went, the hosts at work had their lines."""
    playbook[2]["WHILE"] = "2"
    status, written = on_terminal(playbook)
    assert status == 2, written
    assert "Hosts · Take a while" in written
    assert "  calculator  Take a while" in written
    left = screen(written)
    assert not any("·" in line for line in left), left
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(left)) + "\n"
    assert re.search(r"^ok=\d+ changed=\d+ unreachable=0 failed=4 rescued=1 ", text, re.MULTILINE), text
    check_end(text)


def test_an_interrupted_run_shows_what_has_failed(playbook):
    """Though Ansible does not tell its callbacks of that end."""
    playbook[2]["WHILE"] = "30"
    _, written = on_terminal(playbook, interrupted="Take a while  1 s")
    left = "\n".join(screen(written))
    assert "what failed:" in left
    assert "no good on su" in left
