"""Another flavor: confirmed, reverted, or taken back by Nova, and which line of the file says another."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.compute.v2.server_action import ServerAction
from openstack.exceptions import BadRequestException, ConflictException, ForbiddenException, HttpException
from test_reconcile_compare import PLAN, altered, as_built, only_problem, work
from test_reconcile_jobs import Session

from netorder.cloud import idle
from netorder.cloud.resize import resize, settle
from netorder.cloud.resources import server
from netorder.controller.operations.resize import not_asked, resize_hint
from netorder.errors import CloudError
from netorder.language.load import parse

FAILED = {"event": "compute_prep_resize", "result": "Error", "details": "Unable to resize disk down."}
DONE = {"event": "compute_resize_instance", "result": "Success", "details": None}
TOPOLOGY = """\
topology: lab
networks: {n: {cidr: 10.0.0.0/24}}
defaults: {flavor: large}
hosts:
  own:
    network: n
    flavor: small
  bare: {network: n}
  many: {network: n, count: 3, flavor: tiny}
"""


class Nova:
    """A compute API with one server, which goes through ``states`` (status, task, flavor), one a request."""

    def __init__(
        self,
        *states: tuple[str, str | None, str],
        events: Any = (DONE,),
        conflict: str = "",
        error: HttpException | None = None,
    ) -> None:
        self.states = [*states]
        self._error = error or ConflictException()
        self.calls: list[str] = []
        self._events = events
        self._conflict = conflict

    def get_server(self, _: object) -> Server:
        status, task, flavor = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        fields = {"id": "s", "name": "lab-own", "status": status, "OS-EXT-STS:task_state": task}
        return Server.existing(**fields, flavor={"original_name": flavor})

    def _do(self, name: str) -> None:
        self.calls.append(name)
        if name == self._conflict:
            raise self._error

    def resize_server(self, _: object, flavor: str) -> None:
        self._do(f"resize {flavor}")

    def confirm_server_resize(self, _: object) -> None:
        self._do("confirm")

    def revert_server_resize(self, _: object) -> None:
        self._do("revert")

    def server_actions(self, _: object) -> list[ServerAction]:
        if isinstance(self._events, Exception):
            raise self._events
        made = [("resize", "r1", "2026-01-01"), ("resize", "r2", "2026-01-02"), ("stop", "r3", "2026-01-03")]
        return [ServerAction.existing(action=a, request_id=r, start_time=t, message="Error") for a, r, t in made]

    def get_server_action(self, request: str, _: object) -> ServerAction:
        assert request == "r2", "the newest of that name"
        return ServerAction.existing(request_id=request, action="resize", events=[*self._events])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(idle, "IDLE_POLL", 0.0)


def cloud(nova: Nova) -> Any:
    session: Any = Session()
    session.conn = SimpleNamespace(compute=nova)
    return session


BUSY = ("RESIZE", "resize_migrating", "small")
READY = ("VERIFY_RESIZE", None, "big")


@pytest.mark.parametrize(
    ("answers", "after", "calls", "status"),
    [
        (lambda: "", ("ACTIVE", None, "big"), ["resize f", "confirm"], "ACTIVE"),
        (None, ("SHUTOFF", None, "big"), ["resize f", "confirm"], "SHUTOFF"),
    ],
)
def test_it_is_confirmed_when_the_host_answers_or_is_not_asked(answers, after, calls, status):
    nova = Nova(("ACTIVE", "resize_prep", "small"), BUSY, READY, after)
    assert (resize(cloud(nova), "s", "lab-own", ("big", "f"), answers), nova.calls) == (status, calls)


def test_it_is_reverted_when_the_host_does_not_answer():
    nova = Nova(BUSY, READY, READY, ("REVERT_RESIZE", "resize_reverting", "big"), ("ACTIVE", None, "small"))
    session = cloud(nova)
    with pytest.raises(CloudError, match=r"did not answer with flavor big and has small again.*no route"):
        resize(session, "s", "lab-own", ("big", "f"), lambda: "no route")
    assert nova.calls == ["resize f", "revert"]
    assert "the resize is reverted" in session.reported[-1]


def test_a_revert_that_the_cloud_forestalled_says_so():
    """It confirms by itself after a while, and a confirmed resize cannot be reverted."""
    nova = Nova(READY, conflict="revert")
    with pytest.raises(CloudError, match=r"confirmed the resize by itself .*resize_confirm_window.* no route"):
        settle(cloud(nova), "s", "lab-own", lambda: "no route")


def test_a_resize_that_a_killed_run_had_confirmed_is_waited_for():
    """Until that is done Nova says VERIFY_RESIZE, and answers 400 to whoever confirms or reverts."""
    refused = BadRequestException(message="Instance has not been resized.", http_status=400)
    nova = Nova(READY, READY, ("ACTIVE", None, "big"), conflict="confirm", error=refused)
    assert settle(cloud(nova), "s", "lab-own", lambda: "") == "ACTIVE"
    nova = Nova(READY, conflict="revert", error=refused)
    said = r"a run that was killed had most likely confirmed .*has not been resized.* cannot be reverted.* no route"
    with pytest.raises(CloudError, match=said):
        settle(cloud(nova), "s", "lab-own", lambda: "no route")


@pytest.mark.parametrize(("conflict", "answer"), [("confirm", ""), ("revert", "no route")])
def test_a_locked_server_is_named_and_not_waited_for(conflict, answer):
    class Locked(Nova):
        def get_server(self, ident: object) -> Server:
            found = super().get_server(ident)
            found._update(is_locked=True)
            return found

    with pytest.raises(CloudError, match=r"Server lab-own is locked.*`openstack server unlock lab-own`"):
        settle(cloud(Locked(READY, conflict=conflict)), "s", "lab-own", lambda: answer)


def test_a_cloud_that_confirms_by_itself_is_no_fault():
    nova = Nova(BUSY, ("ACTIVE", None, "big"))
    assert resize(cloud(nova), "s", "lab-own", ("big", "f"), lambda: "not asked") == "ACTIVE"
    nova = Nova(BUSY, READY, ("ACTIVE", None, "big"), conflict="confirm")
    assert resize(cloud(nova), "s", "lab-own", ("big", "f"), lambda: "") == "ACTIVE"


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ((DONE, FAILED), "event compute_prep_resize ended with an error: Unable to resize disk down."),
        (({**FAILED, "details": None},), "ended with an error: Error."),
        ((DONE,), "no event of it ended with an error; `openstack server event show s r2`"),
        (ForbiddenException(), "`openstack server event list s` may say why"),
    ],
)
def test_what_nova_takes_back_in_silence_is_told_by_its_events(events, said):
    """The server is ACTIVE again with its old flavor, and has no fault."""
    nova = Nova(("ACTIVE", "resize_prep", "small"), ("ACTIVE", None, "small"), events=events)
    with pytest.raises(CloudError) as error:
        resize(cloud(nova), "s", "lab-own", ("big", "f"))
    assert "took the change of flavor to big back, lab-own has small as before" in str(error.value)
    assert said in str(error.value)


def test_an_error_is_not_waited_for():
    with pytest.raises(CloudError, match="went to ERROR"):
        resize(cloud(Nova(("ERROR", None, "big"))), "s", "lab-own", ("big", "f"))


def test_what_a_killed_run_left_is_confirmed_and_then_resized_as_the_file_says():
    """Never reverted by a run: the host may have worked for hours, and its disk of then is the old one."""
    nova = Nova(("ACTIVE", None, "tiny"), READY, ("ACTIVE", None, "small"))
    servers = altered(as_built().servers, "calculator-sum", status="VERIFY_RESIZE", flavor={"original_name": "tiny"})
    one = work(PLAN, replace(as_built(), servers=servers))
    (change,) = one.changes.of(server.ServerChange)
    one.cloud = cloud(nova)
    server._update(one, change)
    assert nova.calls == ["confirm", "resize f", "confirm"]
    servers = altered(as_built().servers, "calculator-sum", status="RESIZE")
    assert "wait until that has ended, then run again" in only_problem(replace(as_built(), servers=servers))


class Strict:
    """A compute API with one server, which refuses what Nova refuses in the state that it is in."""

    def __init__(self, status: str, *, runs: bool = True, stuck: bool = False) -> None:
        self.status = status
        self.runs = runs
        self.stuck = stuck
        self.calls: list[str] = []

    def _take(self, call: str, *states: str, then: str = "") -> None:
        if self.status not in states:
            raise ConflictException(f"{call} in {self.status}")
        self.calls.append(call)
        self.status = then or self.status

    def get_server(self, ident: str) -> Server:
        return Server.existing(id=ident, name="calculator-sum", status=self.status, flavor={"original_name": "small"})

    def servers(self, **_: object) -> list[Server]:
        return [self.get_server("server:sum")]

    def set_server_metadata(self, _: str, **__: str) -> None:
        self._take("metadata", "ACTIVE", "PAUSED", "SUSPENDED", "SHUTOFF")

    def create_server_interface(self, _: str, **__: str) -> None:
        self._take("plug", "ACTIVE", "PAUSED", "SHUTOFF")

    def delete_server_interface(self, _: str, **__: object) -> None:
        self._take("unplug", "SHUTOFF")

    def resize_server(self, *_: str) -> None:
        self.runs = self.status == "ACTIVE"
        self._take("resize", "ACTIVE", "SHUTOFF", then="VERIFY_RESIZE")

    def confirm_server_resize(self, _: str) -> None:
        self._take("confirm", "VERIFY_RESIZE", then="ACTIVE" if self.runs else "SHUTOFF")

    def stop_server(self, _: str) -> None:
        self._take("stop", "ACTIVE", then="SHUTOFF")

    def unpause_server(self, _: str) -> None:
        self._take("unpause", "PAUSED", then="ACTIVE")

    def resume_server(self, _: str) -> None:
        self._take("resume", "SUSPENDED", then=self.status if self.stuck else "ACTIVE")

    def server_actions(self, _: str) -> list[Any]:
        return []

    def start_server(self, _: str) -> None:
        self._take("start", "SHUTOFF", then="ACTIVE")


def updated(nova: Strict, **fields: Any) -> list[str]:
    """Return what Nova is asked when `sum`, which lacks its port and has another one, is updated."""
    observed = as_built()
    elsewhere = [{"ip_address": "192.168.2.9", "subnet_id": "subnet:net2"}]
    altered(observed.ports, "calculator-sum", fixed_ips=elsewhere)
    altered(observed.servers, "calculator-sum", status=nova.status, **fields)
    one = work(PLAN, observed)
    session: Any = Session()
    session.project = "p1"
    session.conn = SimpleNamespace(compute=nova, network=SimpleNamespace(ports=lambda **_: []))
    one.cloud = session
    one.ids.ports["calculator-sum"] = "p"
    (change,) = one.changes.of(server.ServerChange)
    server.unplug(one)
    server._update(one, replace(change, items=(("tier", "back"),)))
    return nova.calls


def test_a_resize_that_a_killed_run_left_is_confirmed_before_anything_else():
    """Nova takes neither metadata nor ports nor another flavor before it."""
    rest = ["metadata", "plug", "start"]
    assert updated(Strict("VERIFY_RESIZE"), power_state=1) == ["confirm", "stop", "unplug", *rest]
    tiny = {"original_name": "tiny"}
    asked = updated(Strict("VERIFY_RESIZE"), power_state=1, flavor=tiny)
    assert asked == ["confirm", "stop", "unplug", "metadata", "plug", "resize", "confirm", "start"]
    assert updated(Strict("VERIFY_RESIZE", runs=False), power_state=4) == ["confirm", "unplug", *rest]


def test_a_host_that_is_off_on_purpose_stays_off_after_a_resize_that_was_not_confirmed():
    known = {**as_built().servers[0].metadata, "netorder_host": "sum", "netorder_power": "stopped"}
    nova = Strict("VERIFY_RESIZE", runs=False)
    assert updated(nova, power_state=4, metadata=known) == ["confirm", "unplug", "metadata", "plug"]
    servers = altered(as_built().servers, "calculator-sum", status="VERIFY_RESIZE", power_state=4, metadata=known)
    (change,) = work(PLAN, replace(as_built(), servers=servers)).changes.of(server.ServerChange)
    assert change.after == {"status": "SHUTOFF"}
    nova = Strict("VERIFY_RESIZE")
    assert updated(nova, power_state=1, metadata=known)[-1] == "start", "on a server that runs the note means nothing"


def test_a_paused_or_suspended_host_goes_on_before_it_is_resized_or_plugged():
    """Nova resizes neither, and plugs nothing into a suspended one."""
    tiny = {"original_name": "tiny"}
    for status, first in (("PAUSED", "unpause"), ("SUSPENDED", "resume")):
        asked = updated(Strict(status), flavor=tiny)
        assert asked == [first, "stop", "unplug", "metadata", "plug", "resize", "confirm", "start"]
        servers = altered(as_built().servers, "calculator-sum", status=status, flavor=tiny)
        one = work(PLAN, replace(as_built(), servers=servers))
        nova = Strict(status)
        one.cloud = cloud(nova)  # type: ignore[arg-type]
        server._update(one, *one.changes.of(server.ServerChange))
        assert (nova.calls, nova.status) == ([first, "resize", "confirm"], "ACTIVE")
    with pytest.raises(
        CloudError, match=r"calculator-sum is SUSPENDED still.*`openstack server event list server:sum`"
    ):
        updated(Strict("SUSPENDED", stuck=True), flavor=tiny)


@pytest.mark.parametrize(
    ("status", "power_state", "said"),
    [
        ("ACTIVE", 1, ""),
        ("SHUTOFF", 4, "it is stopped"),
        ("VERIFY_RESIZE", 1, ""),
        ("VERIFY_RESIZE", 4, "it is stopped"),
        ("VERIFY_RESIZE", 6, ""),  # it crashed: with that flavor it does not answer
    ],
)
def test_a_host_that_was_stopped_is_not_asked_after_a_killed_resize_either(status, power_state, said):
    """It could not answer, and its resize would be reverted for that."""
    found = Server.existing(name="calculator-sum", status=status, power_state=power_state)
    assert not_asked(PLAN.hosts[0], found) == said


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("own", "lab.yml:7: write `flavor: big` there"),
        ("bare", "lab.yml:8: write `flavor: big` into its entry there"),
        ("many-2", "lab.yml:9 is for 3 hosts alike"),
    ],
)
def test_the_line_of_the_topology_file_that_says_another_flavor(host, said):
    topology = parse(TOPOLOGY, "lab.yml")
    assert said in resize_hint(topology, host, "big")
    assert resize_hint(topology, host, next(one.flavor for one in topology.hosts if one.name == host)) == ""
