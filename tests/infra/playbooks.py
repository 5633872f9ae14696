"""Ansible's playbooks as a user runs them, and their output, parsed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PLAYBOOK_SECONDS = 900


def environment(root: Path = ROOT) -> dict[str, str]:
    """Return ours, with the settings of the repository at ``root`` and without the one that only molecule needs."""
    ours = {
        **os.environ,
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "default",  # a line for each host and task, which is what these tests look at
    }
    ours.pop("ANSIBLE_INVENTORY_ENABLED", None)
    if topology := os.environ.get("NETORDER_TOPOLOGY"):
        file = Path(topology).resolve()
        # in a copy of the repository its own, as what an application builds lies beside the file that declares it
        ours["NETORDER_TOPOLOGY"] = str(root / file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)
    return ours


def topology_file() -> dict[str, Any]:
    """Return what the topology under test holds, to be written elsewhere: what it includes is found from there too."""
    path = Path(environment()["NETORDER_TOPOLOGY"])
    topology: dict[str, Any] = yaml.safe_load(path.read_text())
    return topology | {"include": str(path.parent / topology["include"])}


def run(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the repository at ``root`` to its end, whatever that is."""
    return subprocess.run(
        ["ansible-playbook", *arguments],
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=PLAYBOOK_SECONDS,
        check=False,
    )


def changes(*arguments: str) -> set[tuple[str, str]]:
    """Run a playbook that must succeed; return what it changed, as (task, host)."""
    done = run(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found, lines, task = set(), 0, ""
    for line in done.stdout.splitlines():
        if match := re.match(r"TASK \[(.*)\] \*", line):
            task = match[1]
        elif match := re.match(r"changed: \[([^\] ]+)", line):
            found.add((task, match[1]))
            lines += 1
    # the run's own count guards against output that is parsed wrongly
    assert lines == sum(map(int, re.findall(r" changed=(\d+) ", done.stdout))), done.stdout
    assert "PLAY RECAP" in done.stdout
    return found


def drift(report: Path, *arguments: str) -> dict[str, Any]:
    """Run playbooks/drift.yml; return its report, with which its exit status must agree."""
    report.unlink(missing_ok=True)
    done = run("playbooks/drift.yml", "-e", "format=json", "-e", f"report={report}", *arguments)
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    assert done.returncode == (2 if found["drift"] else 0), done.stdout + done.stderr
    return found
