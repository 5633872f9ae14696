"""What the operations on hosts say before they log in to any cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netorder.controller.operations import site
from netorder.controller.operations.power import power
from netorder.controller.operations.resize import resize
from netorder.controller.operations.snapshots import restore, snapshot, snapshots
from netorder.errors import UsageError

TOPOLOGY = str(Path(__file__).parents[2] / "topologies/calculator.yml")


@pytest.fixture(autouse=True)
def no_cloud(monkeypatch):
    def connect(*_: object) -> None:
        raise AssertionError("no cloud is needed to see that")

    monkeypatch.setattr(site, "connect", connect)


@pytest.mark.parametrize(
    ("call", "options"),
    [
        (resize, {"host": "sun", "flavor": "small"}),
        (snapshot, {"host": "sun"}),
        (restore, {"host": "sun"}),
        (power, {"hosts": ["mul", "sun"], "state": "stopped"}),
    ],
)
def test_a_host_that_the_topology_does_not_have(tmp_path, call, options: dict[str, Any]):
    with pytest.raises(UsageError, match=r"host=sun: topology calculator has no such host; did you mean `sum`\?"):
        call(topology=TOPOLOGY, files=str(tmp_path), progress=print, **options)
    assert [*tmp_path.iterdir()] == [], "not even a lock"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"remove": ["x"], "keep": 2}, "remove= and keep= at the same time"),
        ({"keep": -1}, "keep=-1: write how many"),
    ],
)
def test_which_snapshots_go_is_said_one_way(tmp_path, options: dict[str, Any], said):
    with pytest.raises(UsageError, match=said):
        snapshots(topology=TOPOLOGY, files=str(tmp_path), progress=print, **options)
