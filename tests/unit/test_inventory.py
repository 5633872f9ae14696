"""Both inventory sources together: the plan's hosts, and what the cloud says of them.

``ansible-inventory`` itself runs, against a cloud that is a small HTTP server here or is not there at all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
CALCULATOR = ROOT / "topologies/calculator.yml"


def server(name: str, host: str, topology: str = "calculator", **addresses: str) -> dict[str, Any]:
    """Return a server as Nova lists it; ``addresses`` by type, fixed or floating."""
    listed = [
        {"addr": addr, "version": 6 if ":" in addr else 4, "OS-EXT-IPS:type": kind} for kind, addr in addresses.items()
    ]
    return {
        "id": f"id-{name}",
        "name": name,
        "status": "ACTIVE",
        "metadata": {"netorder_topology": topology, "netorder_host": host},
        "addresses": {"calculator-net1": listed},
    }


class _Cloud(ThreadingHTTPServer):
    """Keystone and Nova, as far as listing servers needs them."""

    def __init__(self, servers: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.servers = servers
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: _Cloud

    def answer(self, status: int, body: dict[str, Any], **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if wanted["auth"]["identity"]["password"]["user"]["password"] != "right":  # noqa: S105
            self.answer(401, {"error": {"code": 401, "message": "The request you have made requires authentication."}})
            return
        endpoint = {"interface": "public", "region": "R", "region_id": "R", "url": f"{self.server.url}/compute/v2.1"}
        catalog = [{"type": "compute", "name": "nova", "endpoints": [endpoint]}]
        token = {"catalog": catalog, "expires_at": "2099-01-01T00:00:00Z", "project": {"id": "p", "name": "p"}}
        self.answer(201, {"token": token}, **{"X-Subject-Token": "t"})

    def do_GET(self) -> None:
        if "/servers/detail" in self.path:
            self.answer(200, {"servers": self.server.servers})
        elif self.path.startswith("/compute"):
            links = [{"rel": "self", "href": f"{self.server.url}/compute/v2.1/"}]
            version = {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1", "links": links}
            self.answer(200, {"version": version})
        else:
            links = [{"rel": "self", "href": f"{self.server.url}/v3/"}]
            self.answer(200, {"version": {"id": "v3.14", "status": "stable", "links": links}})

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def cloud() -> Iterator[Callable[[list[dict[str, Any]]], dict[str, str]]]:
    """Give a function that starts a cloud with some servers and returns the environment that names it."""
    running: list[_Cloud] = []

    def start(servers: list[dict[str, Any]]) -> dict[str, str]:
        running.append(_Cloud(servers))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return {
            "OS_AUTH_URL": f"{running[-1].url}/v3",
            "OS_USERNAME": "u",
            "OS_PASSWORD": "right",
            "OS_PROJECT_NAME": "p",
            "OS_USER_DOMAIN_NAME": "d",
            "OS_PROJECT_DOMAIN_NAME": "d",
            "OS_REGION_NAME": "R",
        }

    yield start
    for it in running:
        it.shutdown()
        it.server_close()


def run(
    tmp_path: Path, environment: dict[str, str], *arguments: str, program: str = "ansible-inventory"
) -> subprocess.CompletedProcess[str]:
    """Run it with no cloud but the one that ``environment`` names."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "ANSIBLE_", "NETORDER_"))}
    ours |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    path = Path(sys.executable).with_name(program)
    return subprocess.run(
        [path, *arguments], cwd=ROOT, env=ours | environment, capture_output=True, text=True, timeout=60, check=False
    )


def listed(tmp_path: Path, environment: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return groups and host variables; the inventory must be read without an error."""
    done = run(tmp_path, environment, "--list")
    assert done.returncode == 0, done.stderr
    # --list marks every text that is no template
    groups = json.loads(done.stdout, object_hook=lambda found: found.get("__ansible_unsafe", found))
    return groups, groups.pop("_meta")["hostvars"]


def test_the_cloud_says_where_a_planned_host_is(tmp_path: Path, cloud: Callable[..., dict[str, str]]) -> None:
    """A floating address comes before a fixed one, of IPv6 too; what the cloud lacks is absent; others are not ours."""
    groups, hosts = listed(
        tmp_path,
        cloud(
            [
                server("calculator-calculator", "calculator", fixed="192.168.1.151", floating="172.24.4.7"),
                server("calculator-sum", "sum", fixed="192.168.2.64"),
                server("calculator-mul", "mul", fixed="fd00:2::64"),
                server("calculator-old", "old", fixed="192.168.2.99"),
                server("calculator-2-sum", "sum", topology="calculator-2", fixed="10.0.0.1"),
            ]
        ),
    )
    assert {name: hosts[name].get("ansible_host") for name in ("calculator", "sum", "mul", "old")} == {
        "calculator": "172.24.4.7",
        "sum": "192.168.2.64",
        "mul": "fd00:2::64",
        "old": "192.168.2.99",
    }
    assert sorted(groups["absent"]["hosts"]) == ["div", "sub"]
    assert groups["stray"]["hosts"] == ["old"]
    assert "is not in the cloud" in str(hosts["div"]["ansible_host"])


def test_what_is_off_on_purpose_is_known_to_all(tmp_path: Path, cloud: Callable[..., dict[str, str]]) -> None:
    """By the server's metadata; one that was stopped otherwise, or that runs, is not."""
    names = ("calculator", "sum", "mul", "div")
    mine = {name: server(f"calculator-{name}", name, fixed="192.168.2.64") for name in names}
    for name, status in (("sum", "SHUTOFF"), ("mul", "SHELVED_OFFLOADED"), ("div", "ACTIVE")):
        mine[name]["status"] = status
        mine[name]["metadata"]["netorder_power"] = "stopped"
    mine["calculator"]["status"] = "SHUTOFF"
    _, hosts = listed(tmp_path, cloud([*mine.values()]))
    assert {tuple(sorted(its["netorder_off"])) for its in hosts.values()} == {("mul", "sum")}


def test_a_cloud_without_our_servers_leaves_every_host_absent(
    tmp_path: Path, cloud: Callable[..., dict[str, str]]
) -> None:
    """That is so before provisioning: hosts are there to be planned with, and none can be connected to."""
    groups, hosts = listed(tmp_path, cloud([]))
    assert sorted(groups["absent"]["hosts"]) == sorted(hosts) == ["calculator", "div", "mul", "sub", "sum"]


def test_two_servers_for_one_host_are_an_error(tmp_path: Path, cloud: Callable[..., dict[str, str]]) -> None:
    """Neither is taken for the host."""
    twice = [server("calculator-sum", "sum", fixed="192.168.2.64"), server("calculator-sum-2", "sum", fixed="1.2.3.4")]
    done = run(tmp_path, cloud(twice), "--list")
    assert done.returncode != 0
    assert "two servers for host sum of calculator: id-calculator-sum and id-calculator-sum-2" in done.stderr


def test_wrong_credentials_are_an_error(tmp_path: Path, cloud: Callable[..., dict[str, str]]) -> None:
    """Not an empty inventory: the answer of the cloud is passed on."""
    done = run(tmp_path, cloud([]) | {"OS_PASSWORD": "wrong"}, "--list")
    assert done.returncode != 0
    assert "no servers from envvars: The cloud refused the credentials" in done.stderr


def test_no_cloud_at_all_is_an_error(tmp_path: Path) -> None:
    """With what to do about it."""
    done = run(tmp_path, {}, "--list")
    assert done.returncode != 0
    assert "Set OS_CLOUD to an entry of clouds.yaml" in done.stderr


def test_the_plan_alone_needs_no_cloud(tmp_path: Path) -> None:
    """Groups and variables of the plan, for whoever wants to look before there is a cloud."""
    done = run(tmp_path, {}, "-i", "inventory/10-plan.yml", "--host", "calculator")
    variables = json.loads(done.stdout)
    assert variables["netorder_routes"] == [{"destination": "192.168.2.0/24", "next_hop": "192.168.1.9"}]
    assert "{{" in variables["netorder_inside"]  # worked out when it is asked for
    assert variables["netorder_manage"] == {"addresses": False, "forwarding": False}


@pytest.mark.parametrize(
    ("variable", "more", "names"),
    [
        ("netorder_route_probes", [], {"sum", "sub", "mul", "div"}),
        ("netorder_inside", [], {"calculator", "sum", "sub", "mul", "div"}),
        ("netorder_inside", ["-e", "probes=all"], {"calculator", "sum", "sub", "mul", "div"}),
        ("netorder_outside", [], {"calculator"}),
    ],
)
def test_what_a_host_probes(tmp_path: Path, variable: str, more: list[str], names: set[str]) -> None:
    """As a play sees it; a small topology is probed in full."""
    asked = ["calculator", "-m", "ansible.builtin.debug", "-a", f"var={variable}", *more]
    done = run(tmp_path, {}, "-i", "inventory/10-plan.yml", *asked, program="ansible")
    assert set(re.findall(r"name: (\S+)", done.stdout)) == names, done.stderr


def test_a_thousand_hosts_are_an_inventory_of_what_each_needs(tmp_path: Path) -> None:
    """Its size grows with the hosts, and not with their pairs; `verify` says what it samples."""
    sizes = {}
    for hosts in (50, 200):
        file = tmp_path / f"{hosts}.yml"
        net = f"networks: {{n: {{cidr: 10.0.0.0/16}}}}\nhosts: {{a: {{network: n, count: {hosts}}}}}\n"
        file.write_text(f"topology: t\n{net}")
        done = run(tmp_path, {"NETORDER_TOPOLOGY": str(file)}, "-i", "inventory/10-plan.yml", "--list")
        sizes[hosts] = len(done.stdout)
    assert sizes[200] < 4.2 * sizes[50]


def test_an_unknown_choice_of_probes_is_an_error(tmp_path: Path) -> None:
    """A slip of the pen does not verify less."""
    asked = ["calculator", "-m", "ansible.builtin.debug", "-a", "var=netorder_inside", "-e", "probes=al"]
    done = run(tmp_path, {}, "-i", "inventory/10-plan.yml", *asked, program="ansible")
    assert "write `probes=all` or `probes=sample`" in done.stdout + done.stderr


@pytest.mark.parametrize("way", ["extra variable", "environment"])
def test_every_error_of_a_topology_is_shown_with_its_place(tmp_path: Path, way: str) -> None:
    """However the topology was named, and on lines of their own."""
    bad = tmp_path / "bad.yml"
    bad.write_text("topology: bad\nnetworks:\n  net1: {cidr: 10.0.0.0/33}\nhosts:\n  a: {network: net9}\n")
    named = ["-e", f"topology={bad}"] if way == "extra variable" else []
    environment = {} if named else {"NETORDER_TOPOLOGY": str(bad)}
    done = run(tmp_path, environment, "-i", "inventory/10-plan.yml", "--list", *named)
    assert done.returncode != 0
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines[:2]] == [[f"{bad}:3:16", "error"], [f"{bad}:5:16", "error"]]
