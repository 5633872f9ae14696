"""The shipped topologies, each deployed once as a user does: it is as it says, a second run changes nothing, all goes.

On containers, in one cloud, one after the other. `three-tiers` is deployed by test_applications.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil

import openstack
import pytest
from conftest import Site, campus
from running import BASE, ROOT, Running, ansible, recap

from netorder.language.load import load

ELSEWHERE = {"three-tiers": "make applications", "machine": "make machine-full"}
EXAMPLES = [path.stem for path in sorted(ROOT.glob("topologies/*.yml")) if path.stem not in ELSEWHERE]
# a host, a file there that a role wrote and that somebody alters, and what drift then says
ALTERED = {"own-role": ("site-1", "/srv/page/index.html", "role page: Write the page")}
PREFIX = "203.0.113.0/24"  # of examples (RFC 5737), which a user replaces: here by anywhere


@pytest.fixture(scope="module")
def containers():
    """Give a session of the ordinary user."""
    with Running("examples", "container").lent() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLOUD", running.cloud.entry)
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(BASE / "clouds.yaml"))
        yield openstack.connect()


@pytest.fixture
def beside(name, containers):
    """Make what an example finds in the cloud."""
    with campus(containers.network) if name == "existing-network" else contextlib.nullcontext():
        yield


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.usefixtures("beside")
def test_it_is_deployed_as_it_says(name, containers, tmp_path):
    """The run ends with verify, which tries what must be open and what must be closed."""
    shutil.copytree(ROOT / "topologies", tmp_path / "topologies")
    (tmp_path / "applications").symlink_to(ROOT / "applications")
    file = tmp_path / f"topologies/{name}.yml"
    text = file.read_text().replace(f"from: {PREFIX}", "from: anywhere")
    if students := os.environ.get("STUDENTS"):  # where there is no room for the whole class
        text = text.replace("count: 20\n", f"count: {students}\n")
    file.write_text(text)
    topology = load(file)
    site = Site(tmp_path, containers, topology.name)
    ansible(file, "ansible-playbook", "playbooks/teardown.yml", "-e", f"confirm={topology.name}")
    try:
        ansible(file, "ansible-playbook", "site.yml")
        assert {one[1:] for one in recap(ansible(file, "ansible-playbook", "site.yml"))} == {("0", "0")}
        servers = {one for one in site.marked() if one.startswith("server ")}
        assert {f"server {topology.name}-{host.name}" for host in topology.hosts} <= servers  # server groups, too
        assert "no drift" in ansible(file, "ansible-playbook", "playbooks/drift.yml", "--check")
        if name in ALTERED:
            host, changed, row = ALTERED[name]
            ansible(file, "ansible", host, "-b", "-m", "ansible.builtin.shell", "-a", f"echo >>{changed}")
            said = ansible(file, "ansible-playbook", "playbooks/drift.yml")
            assert "no drift" in said
            assert "not compared: what roles installed on " in said
            said = ansible(file, "ansible-playbook", "playbooks/drift.yml", "--check", ends=2)
            assert row in said
            assert "1 difference, 0 in the cloud, 1 inside 1 host" in said
            ansible(file, "ansible-playbook", "site.yml", "--tags", "applications")
            assert "no drift" in ansible(file, "ansible-playbook", "playbooks/drift.yml", "--check")
    finally:
        ansible(file, "ansible-playbook", "playbooks/teardown.yml", "-e", f"confirm={topology.name}")
    assert site.marked() == []
