"""A new version of the services: host by host, stopped by the first that serves wrongly, and the rollback.

After each test all hosts have the version that the source gives.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from netorder.controller import state
from playbooks import ROOT, changes, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import On

    from netorder.plan.model import Plan

# What a redeploy reads; not .netorder, where the artefact is built.
PARTS = ("ansible.cfg", "applications", "inventory", "molecule", "playbooks", "plugins", "roles", "src", "topologies")
# In the order of the redeploy.
HOSTS = ("sum", "sub", "mul", "div", "calculator")


@pytest.fixture
def changed(tmp_path: Path, the_plan: Plan) -> Callable[[str, str], Path]:
    """Give a function that copies the repository with one line of the operations changed, and returns its path."""

    def copy(line: str, new: str) -> Path:
        root = tmp_path / "netorder"
        root.mkdir()
        for part in PARTS:
            where = ROOT / part
            (shutil.copytree if where.is_dir() else shutil.copy)(where, root / part)
        here, there = (state.directory(one / ".netorder", the_plan.cloud, the_plan.topology) for one in (root, ROOT))
        here.parent.mkdir(parents=True)
        here.symlink_to(there)
        file = root / "applications/calculator/src/calculator/operations.py"
        text = file.read_text()
        assert text.count(line) == 1
        file.write_text(text.replace(line, new))
        return root

    return copy


@pytest.fixture
def versions(on: On) -> Callable[[], dict[str, str]]:
    """Give a function that returns the version which each host's service reports."""

    def reported() -> dict[str, str]:
        found = {}
        for name in HOSTS:
            unit = on(name).file(f"/etc/systemd/system/netorder-{name}.service").content_string
            where = re.search(r"--host (\S+) --port (\d+)", unit)
            assert where, unit
            url = f"http://{where[1]}:{where[2]}/metrics"
            code = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
            metrics = on(name).check_output(f'python3 -c "{code}"')
            version = re.search(r'artefact="([0-9a-f]{12})"', metrics)
            assert version, metrics
            found[name] = version[1]
        return found

    return reported


def test_a_new_version_goes_from_host_to_host_and_the_old_one_comes_back(
    changed: Callable[[str, str], Path], versions: Callable[[], dict[str, str]]
) -> None:
    """The printed command rolls back; the run after it finds nothing to do."""
    before = versions()
    assert len({*before.values()}) == 1
    comment = "Python raises ZeroDivisionError."
    done = run("playbooks/redeploy.yml", root=changed(comment, f"{comment} (Another source.)"))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    after = versions()
    assert len({*after.values()}) == 1
    assert after != before
    turns = re.findall(
        r"^TASK \[Wait until its applications serve\].*\n(?:.*\n)*?(?:ok|changed): \[([a-z]+)\]",
        done.stdout,
        re.MULTILINE,
    )
    assert tuple(turns) == HOSTS
    back = re.search(r"before: ansible-playbook (playbooks/redeploy.yml) -e (version=[0-9a-f]{12})", done.stdout)
    assert back, said
    again = run(back[1], "-e", back[2])
    assert again.returncode == 0, again.stdout + again.stderr
    assert versions() == before
    assert changes("site.yml") == set()


def test_a_version_that_serves_wrongly_stops_at_its_first_host(
    changed: Callable[[str, str], Path], versions: Callable[[], dict[str, str]]
) -> None:
    """That host has its previous version again, the hosts after it never had the new one, those before it have it."""
    before = versions()
    done = run("playbooks/redeploy.yml", root=changed('"mul": operator.mul', '"mul": operator.add'))
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    after = versions()
    assert {name for name in HOSTS if after[name] != before[name]} == {"sum", "sub"}, said
    assert "mul did not serve with the new version and runs the previous one again" in said
    assert re.search(r"mul on mul: expected\s14,\sfound\s9", said), said
    back = re.search(r"ansible-playbook (playbooks/redeploy.yml) -e (version=[0-9a-f]{12})", said)
    assert back, said
    again = run(back[1], "-e", back[2])
    assert again.returncode == 0, again.stdout + again.stderr
    assert versions() == before


def test_a_version_that_no_host_has_changes_nothing(versions: Callable[[], dict[str, str]]) -> None:
    """The error names those that are there."""
    before = versions()
    done = run("playbooks/redeploy.yml", "-e", "version=000000000000")
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert re.search(r"000000000000.pyz\s+is\s+not\s+on\s+this\s+host,\s+which\s+has:\s[^:]*" + before["sum"], said), (
        said
    )
    assert versions() == before
