"""The proxy for packages: what OpenSSH makes of its arguments, whose connections are closed, what a refusal says."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from netorder.ansible.inventory import proxy_vars
from netorder.controller import proxy
from netorder.language.load import load
from netorder.plan.build import build_plan
from tests.unit.test_inventory import run

ROOT = Path(__file__).parents[2]
GOOD = ROOT / "tests/golden/good/proxy.yml"


def settings(*arguments: str) -> dict[str, str]:
    """Return what OpenSSH itself makes of its arguments."""
    out = subprocess.run(["ssh", "-G", *arguments, "db"], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in out.splitlines() if " " in line)


def test_openssh_takes_the_arguments_for_a_proxy_on_loopback_with_a_socket_of_its_own(tmp_path):
    config = tmp_path / "ssh_config"
    config.write_text("Host db\n  ProxyJump jump\n  ControlPath ~/.ssh/netorder-plain\n")
    given = settings("-F", str(config), *shlex.split(proxy.ssh_arguments("db", tmp_path, 23456)))
    assert given["remoteforward"].split() == ["[127.0.0.1]:23456", "[socks]:0"]  # dynamic, loopback alone
    assert given["exitonforwardfailure"] == "yes"
    assert given["proxyjump"] == "jump"
    socket = Path(given["controlpath"])
    assert socket.name.startswith("netorder-proxy-23456-")
    assert len(socket.name) + len("/home/someone-with-a-name/.ssh/") + 17 < 104


def test_each_host_of_each_topology_has_a_socket_of_its_own(tmp_path):
    names = [(host, tmp_path / topology) for host in ("a", "b") for topology in ("one", "two")]
    assert len({proxy.ssh_arguments(host, directory, 23456) for host, directory in names}) == 4


def test_the_port_is_drawn_once_a_process_and_not_ephemeral():
    assert proxy.drawn_port() == proxy.drawn_port()
    assert proxy.FIRST_PORT + proxy.PORTS <= 32768


def test_names_are_resolved_on_the_controller_and_the_host_itself_needs_no_proxy():
    variables = proxy.environment(23456, ["10.2.0.53", "fd00::53"])
    assert variables["http_proxy"] == variables["https_proxy"] == "socks5h://127.0.0.1:23456"
    assert variables["no_proxy"] == "localhost,127.0.0.1,::1,10.2.0.53,fd00::53"


def test_only_the_connections_of_this_run_are_closed(tmp_path, monkeypatch):
    home, tools = tmp_path / "home", tmp_path / "tools"
    (home / ".ssh").mkdir(parents=True)
    tools.mkdir()
    mine, others = "netorder-proxy-23456-abc", ["netorder-proxy-23457-abc", "netorder-abc"]
    for name in (mine, *others):
        (home / ".ssh" / name).touch()
    (tools / "ssh").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\nexit 255\n')
    (tools / "ssh").chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(tools))
    assert proxy.close(23456) == [mine]
    called = (tmp_path / "called").read_text().splitlines()
    assert called == [f"-F /dev/null -o ControlPath={home}/.ssh/{mine} -O exit host"]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("Failed to connect to the host via ssh: Error: remote port forwarding failed for listen port 23456", "sshd"),
        ("Bad remote forwarding specification '127.0.0.1:23456'", "7.6"),
        ("Permission denied (publickey).", ""),
    ],
)
def test_a_refusal_says_what_to_do(said, names):
    why = proxy.why_refused(said)
    assert (names in why) if names else why == ""


def test_hosts_have_it_only_where_the_topology_says_so(tmp_path):
    hosts = {host.name: host for host in build_plan(load(GOOD)).hosts}
    assert proxy_vars(hosts["jump"], tmp_path, 23456) == {}
    assert proxy_vars(hosts["db"], tmp_path, 23456).keys() == {"netorder_proxy_arguments", "netorder_environment"}


def test_the_inventory_has_it_for_users_own_plays(tmp_path):
    """``environment: "{{ netorder_environment }}"`` works on every host, those without a proxy too."""
    done = run(tmp_path, {"NETORDER_TOPOLOGY": str(GOOD)}, "-i", "inventory/10-plan.yml", "--list")
    assert done.returncode == 0, done.stderr
    # --list marks every text that is no template
    listed = json.loads(done.stdout, object_hook=lambda found: found.get("__ansible_unsafe", found))
    hosts = listed["_meta"]["hostvars"]
    assert hosts["jump"]["netorder_environment"] == {}
    assert "ansible_ssh_extra_args" not in hosts["jump"]
    assert listed["proxied"]["hosts"] == ["db"]
    assert "netorder_proxy_arguments" in str(hosts["db"]["ansible_ssh_extra_args"])
    port = hosts["db"]["netorder_environment"]["http_proxy"].rpartition(":")[2]
    assert f"127.0.0.1:{port}" in hosts["db"]["netorder_proxy_arguments"]
