"""A compose file for real, by podman-compose: the calculator answers, what must be closed is closed, nothing stays."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netorder.cli.main import main
from netorder.containers import engine
from netorder.language.load import load
from netorder.plan.build import build_plan

ROOT = Path(__file__).parents[2]
NAME = f"compose{os.getpid()}"
TEXT = f"""
topology: {NAME}
include: {ROOT}/applications/calculator.yml
networks: {{front: {{cidr: 10.203.1.0/24}}, back: {{cidr: 10.203.2.0/24}}}}
routers: {{rt1: {{external: true, networks: [front]}}, rt2: {{networks: [front, back]}}}}
hosts:
  calculator: {{network: front, applications: [calculator], floating_ip: true}}
  sum: {{network: back, applications: [sum]}}
  sub: {{network: back, applications: [sub]}}
  mul: {{network: back, applications: [mul]}}
  div: {{network: back, applications: [div]}}
allow:
  - {{from: 10.202.0.0/24, to: calculator, tcp: 50000, icmp: true}}
  - {{from: 10.203.0.0/16, to: calculator, tcp: 50009}}
  - {{from: calculator, to: [sum, sub, mul, div], application: true, icmp: true}}
"""
MACHINE = "10.202.0.1"
PODMANS_FILES = 1048576  # open files that podman asks for
ON_THE_LAN = "10.203.1.200"  # a machine of the LAN, with an address that the plan's network has too
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1, (sys.argv[3], 0))"


def opens(address: str, port: int, *inside: str, source: str = "") -> bool:
    """Tell whether a TCP port answers: from here, or by a command that runs others inside."""
    words = [*inside, "python3", "-c", CONNECT, address, str(port), source]
    return subprocess.run(words, capture_output=True, check=False, timeout=20).returncode == 0


def answer(url: str) -> str:
    asked = ["curl", "-s", "--max-time", "10", "-d", "(5+3)*2", url]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


class Stack:
    """The project of the compose file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.plan = build_plan(load(file.with_name("t.yml"), "containers"))
        self.address = {host.name: host.addresses[0] for host in self.plan.hosts}

    def compose(self, *words: str) -> str:
        command = [sys.executable, "-m", "podman_compose", "-f", str(self.file), *words]
        # podman has systemd run health checks; where there is none they are run by hand
        environment = os.environ | {"PYTHONPATH": str(ROOT / "build/compose"), "DISABLE_HC_SYSTEMD": "true"}
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most < PODMANS_FILES:  # and this process may not raise it, in some containers
            limits = self.file.with_name("containers.conf")
            limits.write_text(f'[containers]\ndefault_ulimits = ["nofile={most}:{most}", "nproc=4096:4096"]\n')
            environment["CONTAINERS_CONF"] = str(limits)
        done = subprocess.run(
            engine.viewed(*command), env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def inspect(self, service: str) -> dict:
        return json.loads(engine.podman("inspect", f"{NAME}_{service}_1"))[0]

    def ids(self) -> dict[str, str]:
        found = json.loads(engine.podman("ps", "--format", "json") or "[]")
        return {one["Names"][0]: one["Id"] for one in found if one["Names"][0].startswith(f"{NAME}_")}

    def within(self, service: str, namespace: str = "--net") -> tuple[str, ...]:
        return ("nsenter", "--target", str(self.inspect(service)["State"]["Pid"]), namespace, "--")


@pytest.fixture(scope="module")
def stack(machine, tmp_path_factory):
    directory = tmp_path_factory.mktemp("compose")
    (directory / "t.yml").write_text(TEXT)
    file = directory / "compose.yml"
    assert main(["compose", str(directory / "t.yml"), "-o", str(file)]) == 0
    its = Stack(file)
    try:
        its.compose("up", "-d")
        with machine.entered():
            deadline = time.monotonic() + 30
            while answer(f"http://{MACHINE}:50000") != "result = 16":
                assert time.monotonic() < deadline, its.compose("logs")
                time.sleep(0.3)
        yield its
    finally:
        its.compose("down")
    left = engine.podman("ps", "--all", "--format", "{{.Names}}") + engine.podman("network", "ls")
    assert NAME not in left


def test_a_neighbour_gets_the_answer_and_nothing_else(stack, machine):
    addresses = stack.address
    closed = [(MACHINE, 50001), (MACHINE, 22), (addresses["calculator"], 50000), (addresses["sum"], 50001)]
    with machine.entered():
        assert answer(f"http://{MACHINE}:50000") == "result = 16"
        assert [one for one in closed if opens(*one)] == []


def test_a_lan_with_a_prefix_of_the_plan_is_answered(stack, machine):
    """Where the machine itself has a way there; what the rule's prefix does not cover stays out."""
    route = ["ip", "route", "add", f"{ON_THE_LAN}/32", "dev", "lan0"]
    serve = [*stack.within("calculator.network"), "python3", "-m", "http.server", "50009"]
    subprocess.run(route, check=True)
    with machine.entered():
        machine.ip([f"address add {ON_THE_LAN}/32 dev eth0"])
    server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        with machine.entered():
            while not opens(MACHINE, 50009, source=ON_THE_LAN):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert not opens(MACHINE, 50009)
            assert not opens(MACHINE, 50000, source=ON_THE_LAN)
    finally:
        server.kill()
        server.wait()
        with machine.entered():
            machine.ip([f"address delete {ON_THE_LAN}/32 dev eth0"])
        subprocess.run(["ip", "route", "delete", *route[3:]], check=True)


def test_the_machine_reaches_no_host_directly(stack):
    """Though the engine gives it an address on each network."""
    closed = [(stack.address["calculator"], 50000), (stack.address["sum"], 50001), (stack.address["div"], 50004)]
    assert [one for one in closed if opens(*one)] == []


def test_the_machine_itself_uses_the_published_port(stack):
    assert stack.plan
    assert answer(f"http://{MACHINE}:50000") == "result = 16"


def test_hosts_reach_each_other_as_allowed_and_by_the_router(stack):
    address = stack.address
    assert opens(address["sum"], 50001, *stack.within("calculator"))
    assert not opens(address["sum"], 50002, *stack.within("calculator"))
    assert not opens(address["sub"], 50002, *stack.within("sum"))  # on the same network
    assert not opens(address["calculator"], 50000, *stack.within("sum"))
    ping = [*stack.within("calculator"), "ping", "-c", "1", "-W", "2", address["sum"]]
    assert "ttl=63" in subprocess.run(ping, capture_output=True, text=True, check=False).stdout


def test_the_route_is_what_carries(stack):
    """Without the router's forwarding the service behind it does not answer."""
    switch = [*stack.within("router.rt2"), "sh", "-c"]
    subprocess.run([*switch, "echo 0 >/proc/sys/net/ipv4/ip_forward"], check=True)
    try:
        assert not opens(stack.address["sum"], 50001, *stack.within("calculator"))
    finally:
        subprocess.run([*switch, "echo 1 >/proc/sys/net/ipv4/ip_forward"], check=True)
    assert opens(stack.address["sum"], 50001, *stack.within("calculator"))


def test_applications_are_nobody_and_can_do_nothing(stack):
    for service in ("calculator", "sum", "sub", "mul", "div"):
        pid = stack.inspect(service)["State"]["Pid"]
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        assert status["Uid"].split() == ["65534"] * 4
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {0}
        assert status["NoNewPrivs"] == "1"
        tried = engine.podman("exec", f"{NAME}_{service}_1", "sh", "-c", "touch /usr/x /var/x 2>&1 || true")
        assert tried.count("Read-only file system") == 2
        for change in ("nft flush ruleset", "ip route del default"):
            said = engine.podman("exec", f"{NAME}_{service}_1", "sh", "-c", f"{change} 2>&1 || true")
            assert "not permitted" in said, said
    assert not opens(stack.address["sub"], 50002, *stack.within("sum"))


def test_what_dies_comes_back_with_its_logs_and_is_healthy(stack, machine):
    before = stack.inspect("sum")["State"]["Pid"]
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 30
    with machine.entered():
        while stack.inspect("sum")["State"]["Pid"] in {0, before} or answer(f"http://{MACHINE}:50000") != "result = 16":
            assert time.monotonic() < deadline
            time.sleep(0.3)
    assert "listening on" in engine.podman("logs", f"{NAME}_sum_1", check=True) + stack.compose("logs", "sum")
    for service in ("calculator", "sum", "sum.network", "router.rt1"):
        engine.podman("healthcheck", "run", f"{NAME}_{service}_1")  # an error where it fails
        assert stack.inspect(service)["State"]["Health"]["Status"] == "healthy", service


def test_a_second_up_changes_nothing(stack):
    before = stack.ids()
    assert len(before) == 2 + 2 * 5
    stack.compose("up", "-d")
    assert stack.ids() == before
