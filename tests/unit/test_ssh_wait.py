"""A host that does not answer SSH: how long it is waited for, and which cause is named."""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import replace

import pytest

from netorder.cloud.signs import Signs, read_console
from netorder.cloud.waits import Waits
from netorder.controller import answering, local, ssh_wait
from netorder.controller.answering import Login, until_answered
from netorder.errors import AccessError, CloudError

CONSOLE = """\
[    1.0] Linux version 6.12
ci-info: |  eth0  | True |        10.1.0.5        | 255.255.255.0 | global | fa:16:3e:00:00:01 |
ci-info: |  lo    | True |       127.0.0.1        |   255.0.0.0   |  host  |         .         |
-----BEGIN SSH HOST KEY KEYS-----
debian login:
"""
UP = read_console(
    CONSOLE,
    Signs(
        status="ACTIVE", name="lab-web", addresses=("10.1.0.5",), floating_ip="172.24.4.9", let_in=("172.24.4.0/24",)
    ),
)
TIMED_OUT = "ssh: connect to host 172.24.4.9 port 22: Connection timed out"

# through another host: neither its own floating IP nor this machine's address counts
BEHIND = {"sources": ("10.1.0.9",), "expected": None, "floating_ip": None, "let_in": ("10.1.0.0/24",)}
BEHIND_CLOSED = "kex_exchange_identification: Connection closed by remote host Connection closed by UNKNOWN port 65535"
BEHIND_SILENT = "Connection timed out during banner exchange Connection to UNKNOWN port 65535 timed out"


def cause(said=TIMED_OUT, *, sources=("172.24.4.1",), blocked="", expected="172.24.4.9", console=None, **other):
    values = {name: getattr(UP, name) for name in Signs.__dataclass_fields__} | other
    found = Signs(**values)
    if console is not None:
        found = read_console(console, found)
    return ssh_wait.likely_cause(said, found, sources=sources, blocked=blocked, expected=expected)


@pytest.mark.parametrize(
    ("found", "text", "certain"),
    [
        (cause(status=None), "no server of this host", True),
        (cause(status="ERROR", fault="No valid host was found."), "No valid host was found. Provisioning", True),
        (cause(status="ERROR", fault="Failed to reboot."), "reboot --hard lab-web` may bring it back", True),
        (cause(status="SHUTOFF"), "its server is SHUTOFF", True),
        (cause(status="SHELVED", off=True), "SHELVED on purpose: ansible-playbook playbooks/power.yml", True),
        (cause(status="PAUSED"), "its server is PAUSED: provisioning again starts it", True),
        (cause(status="RESCUE"), "its server is RESCUE: finish or undo that", True),
        (cause(status="HARD_REBOOT"), "its server is HARD_REBOOT, which takes longer", False),
        (cause(status="VERIFY_RESIZE"), "something on the way", False),
        (cause("debian@172.24.4.9: Permission denied (publickey)."), "another than `user` says", True),
        (cause("Host key verification failed."), "console log show lab-web", True),
        (cause(console="[ 2.0] Kernel panic - not syncing: VFS\n"), "Kernel panic - not syncing: VFS", True),
        (cause(floating_ip=None), "no floating IP is bound to it", True),
        (cause(floating_ip="172.24.4.7"), "SSH goes to 172.24.4.9, and its floating IP is 172.24.4.7", True),
        (cause(let_in=("198.51.100.0/24",)), "lets 172.24.4.1 in to port 22", True),
        (cause(let_in=()), "lets 172.24.4.1 in to port 22", True),
        (cause(let_in=("198.51.100.0/24",), blocked="SSH is allowed from 198.51.100.0/24"), "SSH is allowed", False),
        (cause("connect to host 172.24.4.9 port 22: Connection refused"), "nothing listens on port 22", False),
        (cause("Connection timed out during banner exchange"), "MTU", False),
        (cause(ports_down=("10.1.0.5",)), "10.1.0.5 (DOWN)", False),
        (cause(console=CONSOLE.replace("10.1.0.5", "169.254.3.4")), "DHCP did not reach it", False),
        (cause(console=""), "console is empty", False),
        (cause(), "something on the way", False),
        (cause(**BEHIND), "something on the way", False),
        (cause(**BEHIND | {"sources": ("10.2.0.9", "10.3.0.9")}), "lets 10.2.0.9 or 10.3.0.9 in to port 22", True),
        (cause(BEHIND_SILENT, **BEHIND), "something on the way", False),
        (cause(BEHIND_SILENT, **BEHIND | {"ports_down": ("10.1.0.5",)}), "10.1.0.5 (DOWN)", False),
        (cause("channel 0: open failed: connect failed: No route to host", **BEHIND), "answers for its address", False),
        (cause(BEHIND_CLOSED, **BEHIND), "the host before it cannot connect to it", False),
        (cause(let_in=(), members_let_in=True), "something on the way", False),
    ],
)
def test_the_likely_cause(found, text, certain):
    assert text in found.text
    assert found.certain is certain


def test_a_console_of_a_container_has_no_table():
    """Nothing is concluded from what was not printed."""
    assert "something on the way" in cause(console="login:\n", has=()).text


def test_a_console_is_shown_without_what_only_a_terminal_understands():
    found = read_console("[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mdbus\x1b[0m\x07.\ufffd\ufffd\r\n\r\n", Signs())
    assert found.console == ("[  OK  ] Started dbus.",)
    found = read_console("[[0;32m  OK  [0m] Started [0;1;39mdbus[0m - [1m] [12.5] x", Signs())
    assert found.console == ("[  OK  ] Started dbus - ] [12.5] x",)


def script(tmp_path, text):
    return [sys.executable, "-c", f"import pathlib, sys; directory = pathlib.Path({str(tmp_path)!r})\n{text}"]


def waited(tmp_path, text, seconds, **options):
    told = []
    answer = ssh_wait.wait(
        script(tmp_path, text),
        seconds,
        waits=Waits(tmp_path / "waits"),
        host="web",
        progress=told.append,
        **{"hopeless": lambda _: False, **options},
    )
    return answer, told


def test_an_answer_ends_the_wait_without_a_word(tmp_path):
    answer, told = waited(tmp_path, "", 60)
    assert (answer.rc, answer.said, told) == (0, "", [])
    assert not (tmp_path / "waits").exists()


def test_what_waiting_does_not_make_better_ends_it(tmp_path):
    answer, _ = waited(
        tmp_path, "(directory / 'tries').open('a').write('x'); sys.exit('Permission denied (publickey).')", 60
    )
    assert answer.said == "Permission denied (publickey)."
    assert (tmp_path / "tries").read_text() == "x"


def test_the_bound_is_in_seconds(tmp_path, monkeypatch):
    """A try that hangs ends with it too, and a check run tries once."""
    monkeypatch.setattr(ssh_wait, "ATTEMPT", 1.0)
    monkeypatch.setattr(ssh_wait, "PAUSE", 0.1)
    text = "(directory / 'tries').open('a').write('x'); import time; time.sleep(60)"
    answer, _ = waited(tmp_path, text, 60, once=True)
    assert answer.said == "no answer within 60 s"
    assert (tmp_path / "tries").read_text() == "x"
    answer, _ = waited(tmp_path, text, 2.5)
    assert 2 <= len((tmp_path / "tries").read_text()) - 1 <= 3


def test_what_is_waited_for_is_said_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(ssh_wait, "PAUSE", 0.01)
    monkeypatch.setattr(ssh_wait, "SPOKEN", 0.0)
    text = (
        "tries = directory / 'tries'; tries.open('a').write('x')\n"
        "sys.exit(0 if len(tries.read_text()) % 3 == 0 else 'Connection refused')"
    )
    _, told = waited(tmp_path, text, 60)
    assert len(told) == 2
    assert re.fullmatch(r"waiting for SSH on web since \d\d:\d\d:\d\d, for 60 s at most: Connection refused", told[0])
    assert re.fullmatch(r"web answers SSH after \d+ s", told[1])
    _, told = waited(tmp_path, text, 60)
    assert re.search(r"for 60 s at most; the last time it took \d+ s: ", told[0])


def test_the_cloud_can_end_the_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(ssh_wait, "PAUSE", 0.01)
    monkeypatch.setattr(ssh_wait, "LOOK", 0.0)
    asked = []
    answer, _ = waited(tmp_path, "sys.exit('timed out')", 600, hopeless=lambda said: bool(asked.append(said)) or True)
    assert asked == ["timed out"]
    assert answer.rc == 1


def test_hosts_whose_turn_comes_late_share_the_bound(tmp_path, monkeypatch):
    """Ansible has fewer forks than hosts: the later ones get what is left, and long enough for an answer."""
    marker = tmp_path / "marker"
    assert ssh_wait.spent(marker) == 0.0
    os.utime(marker, (time.time() - 100, time.time() - 100))
    assert 100 <= ssh_wait.spent(marker) < 110
    assert ssh_wait.spent(tmp_path / "nowhere/marker") == 0.0
    monkeypatch.setattr(ssh_wait, "LEAST", 1.0)
    monkeypatch.setattr(ssh_wait, "PAUSE", 0.1)
    answer, _ = waited(tmp_path, "sys.exit('timed out')", 120, spent=119.0)
    assert answer.seconds < 5
    answer, told = waited(tmp_path, "import time; time.sleep(0.5)", 120, spent=500.0)
    assert (answer.rc, told) == (0, [])


def test_the_report_has_the_cause_first():
    answer = ssh_wait.Answer(255, TIMED_OUT, 180.4)
    lines = ssh_wait.diagnosis("web", answer, cause(let_in=()), UP).splitlines()
    assert lines[0] == f"web does not answer SSH after 180 s: {TIMED_OUT}"
    assert lines[1].startswith("likely cause: no rule of its security groups lets 172.24.4.1 in")
    assert "  server: ACTIVE" in lines
    assert "  port 22 is open to: 172.24.4.0/24" in lines
    assert "  addresses it got: 10.1.0.5, 127.0.0.1" in lines


# In a run


@pytest.fixture
def login(tmp_path, monkeypatch):
    """Return a host behind another, to which ssh does not get."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "ssh").write_text("#!/bin/sh\necho Permission denied >&2; exit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    return Login("lab", "web", "debian", "10.1.0.5", ("10.1.0.9",), "", "containers", None, tmp_path, tmp_path)


def told(login, **options):
    warned: list[str] = []
    answer, why = until_answered(login, 5, progress=warned.append, warn=warned.append, **options)
    return answer, why, warned


def test_a_run_logs_in_by_its_ssh_config_and_asks_nothing_on_the_terminal(login, tmp_path):
    words = ["ssh", "-F", f"{tmp_path}/ssh_config", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
    assert login.command == [*words, "debian@10.1.0.5", "true"]


def test_it_comes_from_the_host_before_or_from_here(login, monkeypatch):
    assert login.origin == (("10.1.0.9",), "")
    direct = replace(login, before=(), blocked="a rule")
    monkeypatch.setattr(answering, "own_address", lambda _: "192.0.2.1")
    assert direct.origin == (("192.0.2.1",), "a rule")

    def no_route(_):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(answering, "own_address", no_route)
    assert direct.origin == ((), "this machine has no route to 10.1.0.5: Network is unreachable")


def test_a_target_on_this_machine_says_why(login, monkeypatch):
    monkeypatch.setattr(local, "unanswered", lambda *_: ("it does not run", True))
    answer, why, warned = told(login)
    assert (answer.rc, why, warned) == (
        255, "web does not answer SSH: Permission denied; likely cause: it does not run", []
    )  # fmt: skip


def test_the_cloud_says_why_and_one_that_does_not_answer_is_told(login, monkeypatch):
    there = replace(login, target="openstack", cloud="north")
    monkeypatch.setattr("netorder.cloud.session.connect", lambda _, cloud: cloud)
    monkeypatch.setattr("netorder.cloud.signs.signs", lambda cloud, *_: replace(UP, name=cloud))
    _, why, warned = told(there)
    assert (why.splitlines()[0], warned) == ("web does not answer SSH after 0 s: Permission denied", [])
    assert "likely cause: it refuses the key" in why

    def silent(*_):
        raise CloudError("Nothing answers.")

    monkeypatch.setattr("netorder.cloud.session.connect", silent)
    _, why, warned = told(there)
    assert why == "web does not answer SSH: Permission denied"
    assert warned == ["web: the cloud could not be asked why it does not answer: Nothing answers."]


def test_one_try_asks_nobody(login, monkeypatch):
    def asked(*_):
        raise AccessError

    monkeypatch.setattr(local, "unanswered", asked)
    answer, why, _ = told(login, once=True)
    assert (answer.rc, why) == (255, "")
