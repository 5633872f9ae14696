"""The calculator by the project's own playbooks, in containers: to its answer, twice, drift, teardown."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from netorder.containers import engine, kernel, target

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.full


def play(*arguments: str) -> str:
    environment = {**os.environ, "NETORDER_TARGET": "containers", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        ["ansible-playbook", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return f"status {done.returncode}\n{done.stdout}{done.stderr}"


def test_the_calculator_answers_and_nothing_stays(tmp_path, machine):
    text = (ROOT / "topologies/calculator.yml").read_text(encoding="utf-8")
    name = f"calc{os.getpid()}"
    text = text.replace("topology: calculator", f"topology: {name}").replace("../applications", f"{ROOT}/applications")
    file = tmp_path / "t.yml"
    file.write_text(text, encoding="utf-8")
    topology = f"topology={file}"
    try:
        first = play("site.yml", "-e", topology)
        assert "status 0" in first, first
        assert "0 differ from the plan" in first
        assert first.count("before the route: ping: no answer; after: ping answers (icmp_seq=1 ttl=63") == 4, first
        with machine.entered():
            asked = ["curl", "-s", "--max-time", "10", "-d", "(5+3)*2", "http://10.202.0.1:50000"]
            assert subprocess.check_output(asked, text=True).strip() == "result = 16"
        second = play("site.yml", "-e", topology)
        assert "status 0" in second, second
        assert set(re.findall(r"changed=(\d+)", second)) == {"0"}
        engine.shell(
            next(one for one in engine.containers(name) if one.host == "sum"), "systemctl stop netorder-sum.service"
        )
        kernel.delete_space(f"netorder.{name}.host.div")
        assert target.health(name)["sum"] == "sum: unit netorder-sum.service is inactive"
        assert target.health(name)["calculator"]  # which calls it
        drift = play("playbooks/drift.yml", "-e", topology)
        assert "status 2" in drift
        assert f"server {name}-div" in drift
        assert "unit netorder-sum.service" in drift
        third = play("site.yml", "-e", topology)
        assert "status 0" in third, third
        assert set(target.health(name).values()) == {""}
        assert "no drift" in play("playbooks/drift.yml", "-e", topology)
    finally:
        down = play("playbooks/teardown.yml", "-e", topology, "-e", f"confirm={name}")
    assert "status 0" in down, down
    assert engine.containers(name) == []
    assert kernel.spaces(f"netorder.{name}.") == []
