"""Stopped on purpose: in which order, what Nova is asked, and that neither a run nor drift takes offence."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.exceptions import ConflictException
from test_reconcile_compare import PLAN, altered, as_built, brief, only_problem, work
from test_reconcile_jobs import Session

from netorder.analysis.order import start_order
from netorder.ansible.drift import drift, off_reason
from netorder.cloud import idle
from netorder.cloud.power import power, power_changes
from netorder.cloud.resources import server
from netorder.controller.operations import power as operation
from netorder.errors import CloudError, RefusedError
from netorder.language.load import parse
from netorder.plan.build import build_plan

STOPPED = {"netorder_power": "stopped"}
FORWARDING = """\
topology: lab
include: ROOT/applications/calculator.yml
networks: {a: {cidr: 10.0.0.0/24}, b: {cidr: 10.0.1.0/24}}
routers: {edge: {external: true, networks: [a]}}
hosts:
  web: {network: b, applications: [calculator]}
  gate: {networks: [a, b], forward: true, floating_ip: true}
  sum: {network: b, applications: [sum]}
  sub: {network: b, applications: [sub]}
  mul: {network: b, applications: [mul]}
  div: {network: b, applications: [div]}
allow: [{from: web, to: [sum, sub, mul, div], application: true}, {from: 10.0.0.0/8, to: gate, tcp: [22]}]
"""


def test_who_is_called_starts_before_who_calls():
    everybody = [host.name for host in PLAN.hosts]
    assert start_order(PLAN, everybody) == [["sum", "sub", "mul", "div"], ["calculator"]]
    assert start_order(PLAN, ["calculator", "mul"]) == [["mul"], ["calculator"]]
    assert start_order(PLAN, ["calculator"]) == [["calculator"]]


def test_forwarding_hosts_start_first_and_whatever_they_call_is_no_cycle():
    plan = build_plan(parse(FORWARDING.replace("ROOT", str(Path(__file__).parents[2]))))
    assert start_order(plan, [host.name for host in plan.hosts]) == [["gate"], ["sum", "sub", "mul", "div"], ["web"]]
    web = next(host for host in plan.hosts if host.name == "web")
    gates = tuple(replace(host, applications=web.applications) if host.forwarding else host for host in plan.hosts)
    assert start_order(replace(plan, hosts=gates), ["gate", "sum"]) == [["gate"], ["sum"]]


def one(status: str, **metadata: str) -> Server:
    return Server.existing(id=f"id-{status}", name=f"lab-{status.lower()}", status=status, metadata=metadata)


@pytest.mark.parametrize(
    ("state", "found", "changes", "refused"),
    [
        ("stopped", one("ACTIVE"), {"status": "SHUTOFF", "on purpose": "stopped"}, False),
        ("stopped", one("SHUTOFF"), {"status": "SHUTOFF", "on purpose": "stopped"}, False),
        ("stopped", one("SHUTOFF", **STOPPED), None, False),
        ("stopped", one("PAUSED"), None, True),
        ("stopped", one("SHELVED_OFFLOADED", netorder_power="shelved"), None, True),
        ("shelved", one("SHUTOFF", **STOPPED), {"status": "SHELVED", "on purpose": "shelved"}, False),
        ("shelved", one("SHELVED_OFFLOADED", netorder_power="shelved"), None, False),
        ("shelved", one("SHELVED_OFFLOADED"), None, True),  # by hand: Nova takes no note of it any more
        ("shelved", one("SHELVED", **STOPPED), None, False),  # off on purpose, whichever way
        ("started", one("ACTIVE"), None, False),
        ("started", one("ACTIVE", **STOPPED), {"status": "ACTIVE", "on purpose": None}, False),  # a killed run's
        ("started", one("SHUTOFF"), {"status": "ACTIVE"}, False),
        (
            "started",
            one("SHELVED_OFFLOADED", netorder_power="shelved"),
            {"status": "ACTIVE", "on purpose": None},
            False,
        ),
        ("started", one("ERROR"), None, True),
    ],
)
def test_what_differs_from_the_state_that_is_asked_for(state, found, changes, refused):
    differing, problems = power_changes(state, [found])
    assert [change.after for change in differing] == ([changes] if changes else [])
    assert bool(problems) == refused


class Nova:
    """A compute API that notes what it is asked; its servers go where they are sent, unless ``stuck``."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.calls: list[str] = []
        self.status: dict[str, str] = {}
        self.stuck = stuck

    def get_server(self, ident: str) -> Server:
        return Server.existing(id=ident, name=ident, status=self.status.get(ident, "ACTIVE"))

    def set_server_metadata(self, ident: str, **marks: str) -> None:
        self.calls.append(f"note {ident} {marks['netorder_power']}")

    def delete_server_metadata(self, ident: str, _: list[str]) -> None:
        if self.status[ident].startswith("SHELVED"):
            raise ConflictException("Cannot 'delete metadata' while it is in vm_state shelved_offloaded")
        self.calls.append(f"unnote {ident}")

    def server_actions(self, _: str) -> list[Any]:
        return []

    def __getattr__(self, word: str) -> Any:
        after = {"stop_server": "SHUTOFF", "shelve_server": "SHELVED_OFFLOADED"}.get(word, "ACTIVE")

        def call(ident: str) -> None:
            self.calls.append(f"{word} {ident}")
            if not self.stuck:
                self.status[ident] = after

        return call


def asked(state: str, *steps: list[Server], nova: Nova | None = None) -> list[str]:
    nova = nova or Nova()
    nova.status = {found.id: found.status for step in steps for found in step}
    session: Any = Session()
    session.conn = SimpleNamespace(compute=nova)
    power(session, state, steps)
    return nova.calls


def test_the_note_comes_before_the_deed_and_one_step_after_the_other(monkeypatch):
    monkeypatch.setattr(idle, "IDLE_POLL", 0.0)
    a, b = (Server.existing(id=name, name=name, status="ACTIVE", metadata={}) for name in "ab")
    assert asked("stopped", [a], [b]) == ["note a stopped", "stop_server a", "note b stopped", "stop_server b"]
    gone = Server.existing(id="a", name="a", status="SHELVED_OFFLOADED", metadata={"netorder_power": "shelved"})
    assert asked("started", [gone]) == ["unshelve_server a", "unnote a"]
    with pytest.raises(CloudError, match="Server a is ACTIVE, not stopped: `openstack server event list a`"):
        asked("stopped", [a], nova=Nova(stuck=True))


def test_a_locked_server_is_refused_before_others_are_stopped(monkeypatch, tmp_path):
    """Nova would refuse it in the middle of the steps; one that is as it is asked for is no matter."""
    servers = {host.name: one("ACTIVE") for host in PLAN.hosts}
    servers["div"] = Server.existing(id="d", name="calculator-div", status="ACTIVE", metadata={}, is_locked=True)
    servers["mul"] = Server.existing(id="m", name="calculator-mul", status="SHUTOFF", metadata=STOPPED, is_locked=True)
    session: Any = Session()
    session.roles, session.calls, session.timings, session.api_seconds = {"member"}, Counter(), [], 0.0
    site = SimpleNamespace(plan=PLAN, cloud=session, host=lambda name: (None, servers[name]))
    monkeypatch.setattr(operation, "opened", lambda *_, **__: nullcontext(site))
    topology = str(Path(__file__).parents[2] / "topologies/calculator.yml")
    with pytest.raises(RefusedError) as refused:
        operation.power(topology=topology, files=str(tmp_path), state="stopped", progress=print)
    (problem,) = refused.value.problems
    assert "`openstack server unlock calculator-div`" in problem


class Mortal(Nova):
    """Nova, whose client is killed before its call number ``last``; it keeps what was noted."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last
        self.notes: dict[str, dict[str, str]] = {"a": {}, "b": {}}
        self.status = {"a": "ACTIVE", "b": "ACTIVE"}

    def _live(self) -> None:
        self.last -= 1
        if self.last < 0:
            raise CloudError("killed")  # in a thread; nothing more is sent

    def set_server_metadata(self, ident: str, **marks: str) -> None:
        self._live()
        self.notes[ident] |= marks

    def delete_server_metadata(self, ident: str, words: list[str]) -> None:
        self._live()
        super().delete_server_metadata(ident, words)
        for word in words:
            self.notes[ident].pop(word)

    def __getattr__(self, word: str) -> Any:
        call = super().__getattr__(word)

        def mortal(ident: str) -> None:
            self._live()
            call(ident)

        return mortal

    def found(self) -> list[Server]:
        return [
            Server.existing(id=name, name=name, status=status, metadata={**self.notes[name]})
            for name, status in self.status.items()
        ]


def bring(nova: Mortal, state: str) -> None:
    session: Any = Session()
    session.conn = SimpleNamespace(compute=nova)
    differing, problems = power_changes(state, nova.found())
    assert problems == []
    power(session, state, [[one] for one in nova.found() if one.id in {change.id for change in differing}])


@pytest.mark.parametrize("last", range(4))
@pytest.mark.parametrize(
    ("first", "then"),
    [("stopped", "stopped"), ("stopped", "started"), ("shelved", "shelved"), ("shelved", "started")],
)
def test_killed_at_each_write_the_next_one_ends_it(last, first, then):
    """Whatever is noted by then, a server that runs is not off on purpose, and one that is off has its note."""
    nova = Mortal(last)
    with pytest.raises(CloudError, match="killed"):
        bring(nova, first)
    assert [one.name for one in nova.found() if one.status != "ACTIVE" and not server.is_off(one)] == []
    nova.last = 99
    bring(nova, then)
    wanted = {"stopped": "SHUTOFF", "started": "ACTIVE", "shelved": "SHELVED_OFFLOADED"}[then]
    assert {one.status for one in nova.found()} == {wanted}
    assert [server.is_off(one) for one in nova.found()] == [then != "started"] * 2


def with_sum(**fields: Any) -> Any:
    built = as_built()
    known = {**built.servers[0].metadata, "netorder_host": "sum", **fields.pop("metadata", {})}
    return replace(built, servers=altered(built.servers, "calculator-sum", metadata=known, **fields))


def test_a_run_leaves_alone_what_is_off_on_purpose():
    """A server that was stopped by hand is started; one that runs although it is noted as stopped is in order."""
    assert brief(with_sum(status="SHUTOFF")) != []
    assert brief(with_sum(status="SHUTOFF", metadata=STOPPED)) == []
    assert brief(with_sum(status="SHELVED_OFFLOADED", metadata={"netorder_power": "shelved"})) == []
    assert brief(with_sum(status="ACTIVE", metadata=STOPPED)) == []
    assert brief(with_sum(status="PAUSED", metadata=STOPPED)) != []
    assert "finish or undo" in only_problem(with_sum(status="SHELVED_OFFLOADED"))


def test_a_stopped_one_is_resized_and_stays_stopped_a_shelved_one_is_refused():
    tiny = {"original_name": "tiny"}
    (change,) = work(PLAN, with_sum(status="SHUTOFF", metadata=STOPPED, flavor=tiny)).changes.of(server.ServerChange)
    assert (change.resize, change.off) == (True, True)
    shelved = with_sum(status="SHELVED_OFFLOADED", metadata={"netorder_power": "shelved"}, flavor=tiny)
    assert "power.yml -e state=started" in only_problem(shelved)


def test_drift_names_what_is_off_and_is_none():
    """Also for a host that is reached through one; a host that nobody stopped on purpose is drift as before."""
    hosts: dict[str, dict[str, Any]] = {
        "gate": {"netorder_ssh_path": [], "openstack": {"status": "SHUTOFF"}},
        "web": {"netorder_ssh_path": ["gate"], "openstack": {"status": "ACTIVE"}},
    }
    assert drift("lab", {}, hosts, ["gate", "web"])["drift"]
    for one in hosts.values():
        one["netorder_off"] = ["gate"]
    found = drift("lab", {}, hosts, ["gate", "web"])
    assert not found["drift"]
    assert found["not_checked"] == {
        "gate": "stopped on purpose (playbooks/power.yml)",
        "web": "it is reached through gate, which is stopped on purpose (playbooks/power.yml)",
    }
    assert off_reason([], "web", None) == ""
