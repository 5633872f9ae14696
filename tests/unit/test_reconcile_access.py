"""SSH access: host keys out of consoles, ssh_config and known_hosts as text and as files."""

from __future__ import annotations

import base64
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from netorder.cloud.reconcile import HostFacts
from netorder.cloud.wait import host_key
from netorder.controller import records, ssh
from netorder.errors import AccessError
from netorder.language.load import load
from netorder.plan.build import build_plan

PLAN = build_plan(load(Path(__file__).parents[2] / "topologies/calculator.yml"))


def key(fill: int) -> str:
    raw = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes([fill]) * 32
    return f"ssh-ed25519 {base64.b64encode(raw).decode()}"


def facts() -> dict[str, HostFacts]:
    return {
        h.name: HostFacts(f"id-{h.name}", h.ports[0].addresses[0], "172.24.4.150" if h.floating_ip else None, key(n))
        for n, h in enumerate(PLAN.hosts)
    }


def console(*keys: str, end: bool = True, prefix: str = "") -> str:
    lines = ["-----BEGIN SSH HOST KEY KEYS-----", *(f"{k} root@sum" for k in keys)]
    lines += ["-----END SSH HOST KEY KEYS-----"] if end else []
    return "".join(f"{prefix}{line}\r\n" for line in ["[ 1.0] booting", *lines, "sum login:"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        (console(key(1)), key(1)),
        (console("ssh-rsa AAAAB3NzaC1yc2E=", key(1)), key(1)),
        (console(key(1), prefix="[   31.2] cloud-init[412]: "), key(1)),
        (console(key(1), end=False), None),
        (console(key(1)) + console(key(2)), key(2)),
        (console(key(1)[:40] + "[ 9.1] eth0: link up" + key(1)[40:]), None),
        (f"{key(1)} outside of any block\n", None),
        (console("ssh-rsa AAAAB3NzaC1yc2E="), None),
    ],
    ids=["empty", "plain", "other types", "prefixed", "cut off", "second boot", "run through", "no block", "rsa only"],
)
def test_host_key_from_a_console(text, expected):
    assert host_key(text) == expected


def test_known_hosts_has_one_alias_a_host():
    lines = ssh.known_hosts(PLAN, facts()).splitlines()
    assert lines == [f"{h.name}.calculator {key(n)}" for n, h in enumerate(PLAN.hosts)]


def ssh_settings(config: Path, host: str) -> dict[str, str]:
    """Return what OpenSSH itself makes of the configuration."""
    out = subprocess.run(["ssh", "-G", "-F", str(config), host], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in out.splitlines() if " " in line)


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    directory = tmp_path / "a 100% 'good' #directory" / "calculator"
    ssh.write(PLAN, facts(), directory=directory, key=tmp_path / "id")
    return directory


def test_openssh_jumps_through_the_bastion(written):
    settings = ssh_settings(written / "ssh_config", "sum")
    assert settings["hostname"] == next(h.ports[0].addresses[0] for h in PLAN.hosts if h.name == "sum")
    command = settings["proxycommand"].replace("%%", "%")
    assert shlex.split(command) == ["ssh", "-F", str(written / "ssh_config"), "-W", "[%h]:%p", "calculator"]
    assert settings["user"] == "debian"
    assert settings["hostkeyalias"] == "sum.calculator"
    assert settings["stricthostkeychecking"] in {"true", "yes"}
    assert Path(settings["userknownhostsfile"]) == written / "known_hosts"


def test_openssh_goes_straight_to_the_floating_ip(written):
    settings = ssh_settings(written / "ssh_config", "calculator")
    assert settings["hostname"] == "172.24.4.150"
    assert "proxycommand" not in settings


def test_openssh_gets_through_a_jump_host_whatever_the_path_of_the_file(written, tmp_path):
    """The one that plays the jump host is greeted by the ssh that leads through it."""
    with socket.create_server(("127.0.0.1", 0)) as jump:
        jump.settimeout(20)
        port = jump.getsockname()[1]
        there = facts() | {"calculator": HostFacts("id", "192.168.1.151", "127.0.0.1", key(0), port=port)}
        ssh.write(PLAN, there, directory=written, key=tmp_path / "id")
        command = ["ssh", "-F", str(written / "ssh_config"), "sum", "true"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as asking:
            try:
                came, _ = jump.accept()
                with came:
                    came.settimeout(20)
                    assert came.recv(8) == b"SSH-2.0-"
            except TimeoutError:
                asking.kill()
                pytest.fail(asking.communicate()[1])
    assert asking.returncode == 255  # the jump host said nothing and hung up


def test_address_and_name_are_the_same_host(written):
    address = next(h.ports[0].addresses[0] for h in PLAN.hosts if h.name == "sum")
    by_name, by_address = (ssh_settings(written / "ssh_config", name) for name in ("sum", address))
    for settings in (by_name, by_address):
        settings.pop("host", None)  # newer ssh repeats what was typed
    assert by_name == by_address


def test_each_host_has_its_own_short_control_socket(written):
    paths = {ssh_settings(written / "ssh_config", host.name)["controlpath"] for host in PLAN.hosts}
    assert len(paths) == len(PLAN.hosts)
    assert all(len(Path(path).name) + len("/home/someone-with-a-name/.ssh/") + 17 < 104 for path in paths)


def test_files_are_private_and_written_only_when_they_change(written, tmp_path):
    assert (written.stat().st_mode & 0o777, (written / "ssh_config").stat().st_mode & 0o777) == (0o700, 0o600)
    assert ssh.write(PLAN, facts(), directory=written, key=tmp_path / "id") == []
    changed = facts() | {"sum": HostFacts("new", "192.168.2.64", None, key(99))}
    assert len(ssh.write(PLAN, changed, directory=written, key=tmp_path / "id")) == 2


def test_teardown_removes_the_files_and_nothing_else(written):
    (written / "notes").write_text("mine")
    records.note({}, written)  # a run that was killed
    assert len(ssh.remove(written)) == 3
    assert [path.name for path in written.iterdir()] == ["notes"]


def test_host_without_a_known_key_has_no_block():
    unknown = facts() | {"sum": HostFacts("id", "192.168.2.64", None, None)}
    assert "sum" not in ssh.ssh_config(PLAN, unknown, directory=Path("/d"), key=Path("/k"))


def test_key_is_made_once_and_only_on_request(tmp_path):
    private = tmp_path / "keys" / "id_ed25519"
    assert ssh.public_key(private, make=False) is None
    made = ssh.public_key(private, make=True)
    assert made is not None
    assert made.startswith("ssh-ed25519 ")
    assert private.stat().st_mode & 0o777 == 0o600
    private.with_name("id_ed25519.pub").unlink()
    derived = ssh.public_key(private, make=True)
    assert derived is not None
    assert derived.split()[:2] == made.split()[:2]


def test_unusable_key_is_named(tmp_path):
    (tmp_path / "id").write_text("no key\n")
    (tmp_path / "id").chmod(0o600)
    with pytest.raises(AccessError, match="ssh-keygen says"):
        ssh.public_key(tmp_path / "id", make=False)


@pytest.mark.parametrize("sources", [[], ["0.0.0.0/0"], ["192.0.2.0/24", "127.0.0.0/8"]])
def test_no_reason_for_a_machine_that_is_allowed(sources):
    """Nor where the SSH path is through another host, for which no prefixes are given."""
    assert ssh.ssh_blocked_reason(sources, "127.0.0.9") == ""


def test_a_machine_that_is_not_allowed_gets_the_prefixes_that_are():
    assert ssh.ssh_blocked_reason(["192.0.2.0/24", "198.51.100.7/32"], "127.0.0.9").startswith(
        "SSH is allowed from 192.0.2.0/24, 198.51.100.7/32, and this machine connects from 127.0.0."
    )


def test_no_route_is_a_reason_too():
    assert ssh.ssh_blocked_reason(["0.0.0.0/0"], "255.255.255.255").startswith(
        "this machine has no route to 255.255.255.255: "
    )
