"""The calculator by the project's own playbooks, in a virtual machine of this machine: twice, drift, teardown."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from conftest import ROOT
from test_machine import free_port

from netorder.machine import qemu, store

pytestmark = pytest.mark.full


def play(*arguments: str) -> str:
    environment = {**os.environ, "NETORDER_TARGET": "machine", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        ["ansible-playbook", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return f"status {done.returncode}\n{done.stdout}{done.stderr}"


def test_the_calculator_answers_and_nothing_stays(tmp_path):
    text = (ROOT / "topologies/machine.yml").read_text(encoding="utf-8")
    name, port, ssh = f"calc{os.getpid()}", free_port(), free_port()
    text = text.replace("topology: machine", f"topology: {name}").replace("../applications", f"{ROOT}/applications")
    text = text.replace("host: 50000", f"host: {port}").replace("host: 2000", f"host: {ssh}")
    file = tmp_path / "t.yml"
    file.write_text(text, encoding="utf-8")
    topology, where = f"topology={file}", store.root(ROOT / ".netorder", name)
    try:
        first = play("site.yml", "-e", topology)
        assert "status 0" in first, first
        assert "0 differ from the plan" in first
        asked = ["curl", "-s", "--max-time", "10", "-d", "(5+3)*2", f"http://127.0.0.1:{port}"]
        assert subprocess.check_output(asked, text=True).strip() == "result = 16"
        second = play("site.yml", "-e", topology)
        assert "status 0" in second, second
        assert set(re.findall(r"changed=(\d+)", second)) == {"0"}
        file.write_text(text.replace(f"{{host: {ssh}, guest: 22}}, ", ""), encoding="utf-8")
        drift = play("playbooks/drift.yml", "-e", topology)
        assert "status 2" in drift, drift
        assert f"port forwarding {name}-box" in drift
        third = play("site.yml", "-e", topology)
        assert "status 0" in third, third
        assert "no drift" in play("playbooks/drift.yml", "-e", topology)
    finally:
        down = play("playbooks/teardown.yml", "-e", topology, "-e", f"confirm={name}")
    assert "status 0" in down, down
    assert not where.exists()
    assert qemu.processes(where) == {}
