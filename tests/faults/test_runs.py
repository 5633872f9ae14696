"""The user's own commands: two at once, one after a killed one, and servers that go to ERROR."""

from __future__ import annotations

import time

import pytest
import yaml
from life import TOPOLOGY, counted

HOSTS = ("front", "left", "right")


@pytest.fixture
def empty(life):
    """Begin and end with nothing of ours; return what else the project holds."""
    assert life.run("teardown").how == "ok"
    before = life.everything()
    yield before
    assert life.run("teardown", in_flight=None).how == "ok"
    assert counted(life.everything() ^ before) == {}


def once(life, before):
    """Assert that each resource that has a name is there once, and that a run has nothing to do."""
    found = life.run("provision", in_flight=None)
    assert (found.how, found.changes) == ("ok", ()), found
    named = {key: n for key, n in counted(life.everything() - before).items() if key[1]}
    assert set(named.values()) == {1}, named
    servers = {f"faults-{host}" for host in HOSTS}
    assert {name for kind, name in named if kind == "server"} == servers


def under_way(life, what):
    """Wait until the run has made such a call."""
    deadline = time.monotonic() + 120
    while not any(call.what.startswith(what) for call in list(life.proxy.calls)):
        assert time.monotonic() < deadline, life.proxy.calls
        time.sleep(0.05)


def test_the_second_of_two_runs_reports_the_holder_of_the_lock(life, empty):
    """It stops before any change, and the first one is not disturbed; a teardown is a run, too."""
    with life.started("provision", in_flight=None) as first:
        under_way(life, "POST network /v2.0/networks")
        for action in ("provision", "teardown"):
            with life.started(action, in_flight=None, arm=False) as second:
                found = second()
            assert found.how == "error", found
            assert f"Another run is at work on faults: process {first.pid} on " in found.problems[0]
        assert first().how == "ok"
    once(life, empty)


def test_a_run_after_a_killed_one_lets_its_requests_finish(life, empty):
    """The lock ended with its holder; the default wait covers what that one has sent."""
    with life.started("provision", in_flight=None) as first:
        under_way(life, "POST compute /v2.1/servers")
        first.kill()
        assert first().how == "killed"
    found = life.run("provision", in_flight=None)
    assert found.how == "ok", found
    assert any("waiting for what a stopped run may still have under way" in line for line in found.told), found.told
    once(life, empty)


def test_two_controllers_at_once_end_in_one_topology(life, empty):
    """There is no lock between them: the second waits where it can observe the first; the next run repairs the rest."""
    with life.started("provision", in_flight=15.0) as first:
        under_way(life, "POST network /v2.0/networks")
        with life.started("provision", in_flight=15.0, arm=False) as second:
            ends = first(), second()
    assert {end.how for end in ends} <= {"ok", "error"}, ends
    last = life.run("provision", in_flight=None)
    assert last.how == "ok", last
    once(life, empty)


def test_servers_that_no_host_takes_are_reported_in_novas_words_and_replaced(cloud, life, empty):
    """Nova refuses them after it has accepted them: each is named with its fault, and made anew when there is room."""
    compute = ("shell", "openstack", "compute", "service")
    host = cloud.done(*compute, "list", "--service", "nova-compute", "-f", "value", "-c", "Host").split()[0]
    cloud.done(*compute, "set", "--disable", host, "nova-compute")
    try:
        found = life.run("provision")
    finally:
        cloud.done(*compute, "set", "--enable", host, "nova-compute")
    assert found.how == "error", found
    assert len(found.problems) == len(HOSTS)
    for name in HOSTS:
        (problem,) = (one for one in found.problems if f"faults-{name} " in one)
        assert "went to ERROR: No valid host was found" in problem
    repaired = life.run("provision")
    assert repaired.how == "ok", repaired
    assert {change for change in repaired.changes if "server" in change} == {
        f"replace server faults-{name}" for name in HOSTS
    }
    once(life, empty)


def test_a_change_that_parts_hosts_is_killed_at_each_write(life, empty, tmp_path, monkeypatch, subtests, *, request):
    """Two hosts that share a security group get other rules each; the next run ends it, and needs no permission."""
    topology = yaml.safe_load(TOPOLOGY.read_text())
    topology["allow"] += [{"from": "front", "to": "left", "tcp": 50002}, {"from": "front", "to": "right", "tcp": 50003}]
    parted = tmp_path / "parted.yml"
    parted.write_text(yaml.safe_dump(topology))

    def run(file, faults=()):
        monkeypatch.setattr(life, "topology", file)
        return life.run("provision", faults)

    assert run(TOPOLOGY).how == "ok"
    found = run(parted)
    assert sorted(change.rpartition(" ")[0] for change in found.changes) == [
        *["create security group"] * 2, "delete security group", *["update port"] * 2,
    ]  # fmt: skip
    writes = [call for call in life.proxy.calls if call.writes]
    assert len(writes) == 6, writes
    end = counted(life.everything() - empty)
    part, seed = request.config.getoption("part"), request.config.getoption("seed")
    for number, call in enumerate(writes, seed):
        kills = ("killed before", "killed after")
        for kill in kills[number % part :: part]:
            with subtests.test(f"{call}: {kill}"):
                assert run(TOPOLOGY).how == "ok"
                assert run(parted, {call: kill}).how == "killed"
                assert run(parted).how == "ok"
                assert run(parted).changes == ()
                assert counted(life.everything() - empty) == end
