"""Three tiers of other people's software, deployed as a user does: nginx, a web application in two copies, PostgreSQL.

On containers. Their packages come through this machine, since the inner hosts have no way out.
"""

from __future__ import annotations

import json
import urllib.request
from functools import partial

import pytest
from running import BASE, ROOT, Running, recap
from running import ansible as playbook

TOPOLOGY = ROOT / "topologies/three-tiers.yml"


ansible = partial(playbook, TOPOLOGY)


@pytest.fixture(scope="module")
def tiers():
    """Deploy them; give a function that asks the page at the floating address. Torn down at the end, to nothing."""
    with Running("tiers", "container").lent() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLOUD", running.cloud.entry)
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(BASE / "clouds.yaml"))
        ansible("ansible-playbook", "site.yml")
        address = json.loads(ansible("ansible-inventory", "--host", "web"))["ansible_host"]

        def page() -> str:
            with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
                return answer.read().decode()

        yield page
        said = ansible("ansible-playbook", "playbooks/teardown.yml", "-e", "confirm=three-tiers")
        assert "failed=0" in said


def test_a_page_comes_through_all_three(tiers):
    """Each visit is counted in the database, by one copy of the application after the other."""
    visits = [tiers() for _ in range(4)]
    numbers = [int(one.split()[0]) for one in visits]
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert {one.split()[-1] for one in visits} == {"app-1", "app-2"}


def test_a_second_run_changes_nothing_and_nothing_drifts(tiers):
    assert tiers()
    for words in (["site.yml"], ["site.yml", "--check", "--diff"]):
        found = recap(ansible("ansible-playbook", *words))
        assert len(found) == 5, "four hosts and the controller"
        assert {one[1:] for one in found} == {("0", "0")}
    assert "no drift" in ansible("ansible-playbook", "playbooks/drift.yml")


def test_what_stopped_is_drift_and_a_run_starts_it(tiers):
    """The application alone, though the page in front of it fails as well; the other copy serves meanwhile."""
    stop = ["app-1,app-2", "-b", "-m", "ansible.builtin.command", "-a", "systemctl stop wsgi_app"]
    ansible("ansible", *stop)
    said = ansible("ansible-playbook", "playbooks/drift.yml", ends=2)
    assert "2 differences" in said
    assert said.count("unit wsgi_app.service") == 2
    ansible("ansible-playbook", "site.yml", "--tags", "applications")
    assert "visits" in tiers()


def test_another_file_is_redeployed_host_by_host(tiers):
    """As the file is; nothing else changes."""
    found = recap(ansible("ansible-playbook", "playbooks/redeploy.yml"))
    assert {one[1:] for one in found} == {("0", "0")}
    assert "visits" in tiers()
