"""The role's data: argument spec, defaults and README agree, and systemd accepts the unit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROLE = Path(__file__).parents[2] / "roles" / "calculator"
DIGEST = "0123456789ab"
PEERS = {name: f"http://192.168.2.{20 + at}:{50001 + at}" for at, name in enumerate(("sum", "sub", "mul", "div"))}
PEERS["sum"] += ",http://192.168.2.30:50001"  # a second copy


def load(path):
    return yaml.safe_load((ROLE / path).read_text())


def options():
    return load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def test_spec_and_defaults_agree():
    """A variable is required or has a default, and the defaults are the same."""
    defaults = load("defaults/main.yml")
    assert [name for name, option in options().items() if not option.get("required")] == list(defaults)
    assert {name: option["default"] for name, option in options().items() if "default" in option} == {
        name: defaults[name] for name, option in options().items() if "default" in option
    }


def test_readme_and_spec_agree():
    """The README lists the same variables in the same order, with their types and defaults."""
    rows = re.findall(r"^\| `(calculator_\w+)` \| (\w+) \| ([^|]+) \|", (ROLE / "README.md").read_text(), re.MULTILINE)
    assert [(name, kind) for name, kind, _ in rows] == [(name, option["type"]) for name, option in options().items()]
    assert {name for name, _, default in rows if default == "required"} == {
        name for name, option in options().items() if option.get("required")
    }
    written = {name: yaml.safe_load(default[1:-1]) for name, _, default in rows if default.startswith("`")}
    assert written == {name: option["default"] for name, option in options().items() if "default" in option}


def test_the_readme_shows_a_call_that_the_spec_accepts():
    """The example gives every required variable and none that does not exist."""
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROLE / "README.md").read_text(), re.DOTALL)
    given = yaml.safe_load(example)[0]["roles"][0]["vars"]
    required = {name for name, option in options().items() if option.get("required")}
    assert required <= given.keys() <= options().keys()


def test_the_role_reaches_no_file_outside_itself():
    """What it needs it is given: so it also works in another repository."""
    for path in ROLE.rglob("*.yml"):
        assert not re.search(r"role_path|\.\./|playbook_dir", path.read_text()), path


@pytest.fixture(
    scope="module", params=[("sum", {}, None), ("calculator", PEERS, None), ("sub", {}, 80)], ids=lambda p: p[0]
)
def unit(request, tmp_path_factory):
    """Yield the unit's path, rendered by Ansible itself."""
    service, peers, port = request.param
    path = tmp_path_factory.mktemp("unit") / f"netorder-{service}.service"
    given = {name: urls.split(",") if "," in urls else urls for name, urls in peers.items()}
    variables = load("defaults/main.yml") | {"calculator_service": service, "calculator_peers": given}
    variables |= {"calculator_port": port} if port else {}
    arguments = f"src={ROLE}/templates/calculator.service.j2 dest={path}"
    inputs = path.with_suffix(".yml")
    inputs.write_text(yaml.safe_dump(variables | load("vars/main.yml") | {"_calculator_digest": DIGEST}))
    command = [Path(sys.executable).with_name("ansible"), "localhost", "-i", "localhost,", "-c", "local"]
    command += ["-m", "ansible.builtin.template"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(path.parent), "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [*command, "-a", arguments, "-e", f"@{inputs}"],
        check=True,
        capture_output=True,
        env=environment,
        cwd=path.parent,
    )
    return path


def test_command_line(unit):
    """The service starts isolated, with the plan's port and peers."""
    port = {"netorder-sum": 50001, "netorder-calculator": 50000, "netorder-sub": 80}[unit.stem]
    service = unit.stem.removeprefix("netorder-")
    artefact = "/usr/local/lib/netorder-calculator-0123456789ab.pyz"
    expected = f"ExecStart=/usr/bin/python3 -I {artefact} {service} --host 0.0.0.0 --port {port}"
    if service == "calculator":
        expected += "".join(f" --{name} {url}" for name, url in sorted(PEERS.items()))
    assert [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")] == [expected]


def test_systemd_accepts_the_unit(unit):
    """Nothing in it is unknown to systemd."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


def test_exposure(unit):
    """What `systemd-analyze security` counts against the unit is 2.0 at most, of 10."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
    assert float(re.search(r"Overall exposure level for \S+: ([0-9.]+) ", done.stdout)[1]) <= 2.0


def test_own_user_and_no_capability_but_that_for_its_port(unit):
    """The settings that the score alone would not miss."""
    lines = unit.read_text().splitlines()
    capability = "CAP_NET_BIND_SERVICE" if " --port 80" in unit.read_text() else ""
    for setting in (
        *("DynamicUser=yes", "NoNewPrivileges=yes"),
        *("ProtectSystem=strict", "PrivateTmp=yes", "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"),
        *("SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"),
    ):
        assert setting in lines
    # a user namespace would take the capability's effect away: it counts for the host's own ports
    assert not any(line.startswith("PrivateUsers=") for line in lines)
    assert [line for line in lines if "Capabilit" in line and not line.startswith("#")] == [
        f"AmbientCapabilities={capability}",
        f"CapabilityBoundingSet={capability}",
    ]
