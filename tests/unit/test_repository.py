"""What the repository states in two places is the same in both."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# What drift.yml reads. Its topology is the default one.
PARTS = ("ansible.cfg", "applications", "inventory", "playbooks", "plugins", "roles", "src", "topologies")
# Instead of playbooks/tasks/observe.yml.
SERVICE_ALONE = """
- netorder_compare: {modules: {}, services: "{{ observe_compared | map(attribute='service') }}"}
  register: __observed
- ansible.builtin.set_fact:
    netorder_findings: "{{ others | combine(__observed.answers) | netorder_findings(netorder_topology_file, wanted) }}"
  vars:
    wanted: "{{ observe_compared | map(attribute='service') }}"
    others: {netorder_observe: {checks: []}, netorder_host_network: {differences: []}}
"""


NOTHING = "- ansible.builtin.set_fact: {netorder_findings: [], __observed: {}}\n"


def lock(name: str) -> dict[str, str]:
    """Return the versions that a lock file pins; each line must be exact."""
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.\-]+==[\w.]+", line)] == []
    return dict(line.split("==") for line in lines)


def test_the_newest_ansible_is_the_only_difference_between_the_locks():
    """What fails with the one and not with the other fails because of Ansible."""
    ours, newest = lock("requirements.lock"), lock("requirements-newest.lock")
    assert ours.keys() == newest.keys()
    assert {name for name in ours if ours[name] != newest[name]} == {"ansible", "ansible-core"}


def test_pre_commit_runs_the_linters_of_make_lint():
    """The same commands in the same order, from the environment that `make setup` makes."""
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^lint: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    variables = {"ANSIBLE_LINT": re.search(r"^ANSIBLE_LINT := (.*)$", makefile, re.MULTILINE)[1], "CURDIR": "."}
    commands = [line.strip() for line in recipe.splitlines()]
    for name, value in variables.items():
        commands = [command.replace(f"$({name})", value) for command in commands]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = [hook["entry"].removeprefix("env ").replace(".venv/bin/", "") for hook in hooks]
    assert entries == [command.replace("=./", "=") for command in commands]


def make(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS"}}
    command = ["make", "-C", directory, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_checkout_whose_path_has_a_space_is_refused_before_anything_is_installed(tmp_path):
    """There the commands of some targets would be split."""
    for directory in (tmp_path / "a b", tmp_path / "ab"):
        (directory / "scripts").mkdir(parents=True)
        for name in ("Makefile", "requirements.lock", "pyproject.toml", "scripts/packages.sh"):
            shutil.copy(ROOT / name, directory / name)
        setup = directory / "scripts/setup"
        setup.write_text("#!/bin/sh\nmkdir .venv; echo installed\n")
        setup.chmod(0o755)
    refused = make(tmp_path / "a b", "setup")
    assert refused.returncode != 0
    assert f"move this checkout elsewhere: {tmp_path / 'a b'}" in refused.stderr
    assert "installed" not in refused.stdout
    done = make(tmp_path / "ab", "setup")
    assert (done.returncode, "installed" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("target", ["container-image", "machine-image"])
@pytest.mark.parametrize(
    ("home", "cache"),
    [("/x/a b", '"/x/a b/cache"'), ("a b", f'"{ROOT}/a b/cache"'), ("", f'"{ROOT}/.localcloud/cache"')],
)
def test_a_cache_whose_path_has_a_space_is_one_word(target, home, cache):
    done = make(ROOT, "--dry-run", target, f"LOCALCLOUD_DIR={home}")
    assert f"--cache {cache}" in done.stdout, done.stderr


def test_what_ansible_lint_excludes_is_there_or_made_here():
    """No entry is left over from a file that is gone: git has it, or ignores it."""
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    excluded = [path.strip("/") for path in yaml.safe_load((ROOT / ".ansible-lint").read_text())["exclude_paths"]]
    assert [path for path in excluded if path not in ignored and not (ROOT / path).exists()] == []


def test_molecule_runs_with_our_ansible_cfg():
    """It states no setting of Ansible again, but for the inventory plugin that its own inventory needs."""
    settings = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text())["ansible"]
    ours = configparser.ConfigParser()
    ours.read(ROOT / "ansible.cfg")
    enabled = [name.strip() for name in ours["inventory"]["enable_plugins"].split(",")]
    assert "cfg" not in settings
    assert settings["env"]["ANSIBLE_CONFIG"] == "${MOLECULE_PROJECT_DIRECTORY}/ansible.cfg"
    assert settings["env"]["ANSIBLE_INVENTORY_ENABLED"].split(",") == [*enabled, "yaml"]


def test_names_of_plugins_clash_with_nobody_elses():
    """They carry the project's name: without a collection, Ansible has one namespace for all short names."""
    names = {path.stem for path in (ROOT / "plugins").rglob("*.py")}
    filters = set(
        re.findall(r'^            "(\w+)": ', (ROOT / "plugins/filter/netorder.py").read_text(), re.MULTILINE)
    )
    assert filters
    assert {name for name in names | filters if not name.startswith("netorder")} == set()


def test_drift_reports_a_service_of_which_nothing_is_installed(tmp_path):
    """Its artefact and its unit are missing; the module asks a systemd that knows no unit."""
    for part in PARTS:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, tmp_path / part)
    # the rest of a host is compared by modules that need one
    (tmp_path / "playbooks/tasks/observe.yml").write_text(SERVICE_ALONE)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text("#!/bin/sh\necho ActiveState=inactive\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
        "openstack": {"status": "ACTIVE"},
    }
    (tmp_path / "host.yml").write_text(yaml.safe_dump(host))
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "playbooks/drift.yml", "-v", "-i", "inventory/10-plan.yml", "--limit", "sum", "-e", "@host.yml"],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": f"{tmp_path}/src",  # the copy's, whichever is installed
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rescued=0" in done.stdout, done.stdout + done.stderr
    found = re.findall(r"what: file (\S+)", done.stdout)
    assert [re.sub(r"[0-9a-f]{12}", "DIGEST", path) for path in found] == [
        "/usr/local/lib/netorder-calculator-DIGEST.pyz",
        "/etc/systemd/system/netorder-sum.service",
    ]


OWN_ROLE = """
- name: Write a file
  ansible.builtin.copy: {content: planned, dest: "{{ directory }}/file", mode: "0644"}
  notify: Restart it
- name: Write what is there already
  ansible.builtin.copy: {content: planned, dest: "{{ directory }}/there", mode: "0644"}
- name: Make several
  ansible.builtin.file: {path: "{{ directory }}/{{ item }}", state: directory, mode: "0755"}
  loop: [one, two, there-too]
- name: Be told a secret
  ansible.builtin.copy: {content: "{{ directory }}", dest: "{{ directory }}/secret", mode: "0600"}
  no_log: true
- name: Not in check mode
  ansible.builtin.command: /bin/false
  when: not ansible_check_mode
- name: Ask for what is not there yet
  ansible.builtin.command: /bin/false
  check_mode: false
  changed_when: false
  when: fails
"""
OWN_TOPOLOGY = """
topology: own
networks: {n: {cidr: 10.0.0.0/24}}
routers: {r: {external: true, networks: [n]}}
applications: {page: {role: ./page, vars: {directory: DIRECTORY, fails: FAILS}}}
hosts: {h: {network: n, applications: page, floating_ip: true}}
allow: [{to: h, tcp: 22}]
"""


def drift_of_hosts(root: Path, tmp_path: Path, topology: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run drift.yml of a copy of the project; nothing is asked of a cloud, which has what the plan says."""
    play = yaml.safe_load((root / "playbooks/drift.yml").read_text())
    play[0]["tasks"] = [{"ansible.builtin.set_fact": {"netorder_provisioned": {"changes": []}}}]
    (root / "playbooks/drift.yml").write_text(yaml.safe_dump(play))
    return subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible-playbook"), "playbooks/drift.yml", "-i", "inventory/10-plan.yml"),
            *("-e", f"topology={topology}", "-e", "@host.yml", "-e", f"report={tmp_path}/report", "-e", "format=json"),
            *options,
        ],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "PYTHONPATH": f"{root}/src"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("fails", "options", "expected"),
    [(False, ["--check"], "changes"), (True, ["--check"], "fails"), (False, [], "not run")],
    ids=["check mode", "a role that cannot", "without"],
)
def test_drift_runs_other_roles_in_check_mode_where_it_is_asked_to(tmp_path, fails, options, expected):
    """What their tasks would change is drift; neither they nor their handlers change anything."""
    home, root = tmp_path / "host", tmp_path / "project"
    root.mkdir()
    for part in PARTS:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, root / part)
    (root / "playbooks/tasks/observe.yml").write_text(NOTHING)
    (root / "page/tasks").mkdir(parents=True)
    (root / "page/tasks/main.yml").write_text(OWN_ROLE)
    (root / "page/handlers").mkdir()
    touch = {"name": "Restart it", "ansible.builtin.file": {"path": f"{home}/handled", "state": "touch"}}
    (root / "page/handlers/main.yml").write_text(yaml.safe_dump([touch]))
    (root / "own.yml").write_text(OWN_TOPOLOGY.replace("DIRECTORY", str(home)).replace("FAILS", str(fails).lower()))
    (home / "there-too").mkdir(parents=True)
    (home / "there-too").chmod(0o755)
    (home / "there").write_text("planned")
    (home / "there").chmod(0o644)
    before = sorted(home.rglob("*"))
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
        "openstack": {"status": "ACTIVE"},
    }
    (root / "host.yml").write_text(yaml.safe_dump(host))
    done = drift_of_hosts(root, tmp_path, "own.yml", *options)
    said = done.stdout + done.stderr
    assert sorted(home.rglob("*")) == before
    found = json.loads((tmp_path / "report").read_text())
    rows = [(one["what"], one["actual"].replace(str(home), "~")) for one in found["differences"]]
    changes = [
        ("role page: Write a file", "would change ~/file"),
        ("role page: Make several", "would change ~/one, ~/two"),
        ("role page: Be told a secret", "would change something"),
    ]
    assert rows == ([] if expected == "not run" else changes)
    assert done.returncode == (0 if expected == "not run" else 2), said
    assert found["roles_checked"] == (["h"] if expected == "changes" else [])
    if expected != "changes":
        assert {"fails": "Ask for what is not there yet", "not run": "not run"}[expected] in found["roles_not_checked"][
            "h"
        ]


SILENT_TOPOLOGY = """
topology: silent
networks: {n: {cidr: 10.0.0.0/24}}
routers: {r: {external: true, networks: [n]}}
applications: {page: {role: ./page}}
hosts: {h: {network: n, applications: page, floating_ip: true}}
allow: [{to: h, tcp: 22}]
"""


@pytest.mark.parametrize("options", [[], ["--check"]], ids=["drift", "check mode"])
def test_a_host_that_does_not_answer_is_a_difference(tmp_path, options):
    """It is said with what SSH said, nothing else is asked of the host, and none of its roles is run."""
    root = tmp_path / "project"
    root.mkdir()
    for part in PARTS:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, root / part)
    (root / "page/tasks").mkdir(parents=True)
    role = {"name": "Be run", "ansible.builtin.debug": {"msg": "run"}}
    (root / "page/tasks/main.yml").write_text(yaml.safe_dump([role]))
    (root / "silent.yml").write_text(SILENT_TOPOLOGY)
    host = {
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,  # nobody listens there
        "ansible_ssh_common_args": "-F none",
        "openstack": {"status": "ACTIVE"},
    }
    (root / "host.yml").write_text(yaml.safe_dump(host))
    done = drift_of_hosts(root, tmp_path, "silent.yml", *options)
    said = done.stdout + done.stderr
    found = json.loads((tmp_path / "report").read_text())
    assert done.returncode == 2, said
    rows = [(one["where"], one["what"], "refused" in one["actual"]) for one in found["differences"]]
    assert rows == [("h", "SSH", True)], said
    assert "Be run" not in said


def test_an_application_is_not_named_where_all_of_them_are_run():
    """But for the topology that is the default, and examples in documentation, which need some name."""
    named = re.compile(r"calculator|netorder-(sum|sub|mul|div)\b|\b5000[0-4]\b", re.IGNORECASE)
    default = re.compile(r"topologies\\?/calculator\.yml")
    places = ("src/netorder", "playbooks", "plugins", "inventory", "roles/host_network", "site.yml")
    listed = subprocess.run(["git", "ls-files", *places], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = []
    for name in listed.split():
        text = (ROOT / name).read_text(encoding="utf-8")
        text = re.sub(r'(?ms)^(DOCUMENTATION|EXAMPLES|RETURN) = r?""".*?"""', "", text)
        found += [f"{name}: {line}" for line in text.splitlines() if named.search(default.sub("", line))]
    assert (len(listed.split()) > 100, found) == (True, [])


def test_waits_are_bounded_in_seconds():
    """Ansible's own loops count tries, whose time nobody knows, and print a line for each."""
    tasks = [*(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "roles").rglob("*.yml")]
    loops = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tasks
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.match(r"\s*(until|retries|async|poll):", line)
    ]
    assert (len(tasks) > 10, loops) == (True, [])
