"""Snapshots: which images are ours, which of them go, what a failed upload leaves, and onto which disk one may come."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from keystoneauth1.exceptions import ConnectFailure
from openstack.compute.v2.server import Server
from openstack.compute.v2.server_action import ServerAction
from openstack.exceptions import HttpException, NotFoundException
from openstack.image.v2.image import Image
from test_reconcile_compare import PLAN, altered, as_built, brief, change_set, work
from test_reconcile_jobs import Session
from test_reconcile_ownership import FakeCloud as Owned
from test_reconcile_preflight import ONE, TWO, FakeCloud, judged, without_a_host

from netorder.cloud import idle, snapshots
from netorder.cloud.resources import server
from netorder.cloud.snapshots import Snapshot, compared, find, make, of_image, removals, restore
from netorder.cloud.teardown import teardown
from netorder.controller.operations.snapshots import restore_problems, synced
from netorder.errors import CloudError

NOW = datetime(2026, 11, 28, 15, 0, tzinfo=UTC)
KEY = "ssh-ed25519 AAAA"


def image(name: str = "lab-web-1", ident: str = "i1", owner: str = "p1", **fields: Any) -> Image:
    own = {"netorder_snapshot": name, "netorder_topology": "lab", "netorder_host": "web", "netorder_time": "2026-01-01"}
    made = {"status": "active", "size": 2 << 20, "disk_format": "qcow2", "instance_uuid": "s1"}
    return Image.existing(**{**made, **own, "id": ident, "name": name, "owner": owner, **fields})


def several(*times: str, host: str = "web", **fields: Any) -> list[Snapshot]:
    return [Snapshot(f"{host}{time}", f"lab-{host}-{time}", "lab", host, time, **fields) for time in times]


def test_an_image_is_ours_by_its_own_name_and_project():
    """Nova hands the properties of an image on to its servers, and to the images that others make of those."""
    ours = of_image(image(), "p1")
    assert ours == Snapshot("i1", "lab-web-1", "lab", "web", "2026-01-01", "active", 2 << 20, "qcow2", 0, "s1")
    assert of_image(image(owner="p2"), "p1") is None
    assert of_image(image(netorder_snapshot="lab-web-0"), "p1") is None
    assert of_image(Image.existing(id="x", name="debian-13", owner="p1"), "p1") is None


def test_which_is_the_newest_the_image_service_says():
    """Controllers' clocks differ."""
    late, early = (
        image(
            f"lab-web-{n}", f"i{n}", netorder_time=f"2026-01-0{3 - n}T00:00:00Z", created_at=f"2026-01-01T00:00:0{n}Z"
        )
        for n in (2, 1)
    )
    found = snapshots.snapshots(Owned(images=[late, early]), "lab")  # type: ignore[arg-type]
    assert [one.name for one in found] == ["lab-web-1", "lab-web-2"]


def test_a_snapshot_is_found_by_its_name_or_as_the_newest_that_is_whole_of_a_host():
    known = [*several("1", "2"), *several("3", status="queued"), *several("1", host="db")]
    assert find(known, "lab", "web").time == "2"
    assert find(known, "lab", "lab-web-1").time == "1"
    assert find(known, "other", "lab-db-1").host == "db"
    with pytest.raises(CloudError, match="lab-web-3 is queued, not ready"):
        find(known, "lab", "lab-web-3")
    with pytest.raises(CloudError, match=r"no snapshot web.*The newest: lab-db-1, lab-web-3"):
        find(known, "other", "web")
    with pytest.raises(CloudError, match="The newest: none"):
        find([], "lab", "web")


def test_which_go():
    known = [*several("1", "2", "3"), *several("4", status="saving"), *several("1", "2", host="db")]

    def names(**options: Any) -> list[str]:
        return [one.name for one in removals(known, {"db1"}, **options)[0]]

    assert names(keep=1) == ["lab-web-1", "lab-web-2"], "what is being made is not counted; db1 is in use"
    assert names(keep=0, hosts=["db"]) == ["lab-db-2"]
    assert names(keep=9) == []
    assert names(names=["lab-web-4"]) == ["lab-web-4"]
    assert removals(known, {"db1"}, names=["lab-db-1", "lab-x"]) == (
        [],
        ["There is no snapshot lab-x.", "Snapshot lab-db-1 stays: a server is made from it."],
    )


class Clouds:
    """A cloud in which one snapshot is made: its image goes through ``states`` (status, or "" when it is gone)."""

    def __init__(self, *states: str, tasks: tuple[str | None, ...] = ("image_uploading",), **options: Any) -> None:
        self.states, self.tasks, self.deleted, self.sent = [*states], [*tasks], [], {}
        self.refuses = options.get("refuses")
        self.inherited: dict[str, str] = {}
        self.session: Any = Session()
        self.session.project = "p1"
        self.session.conn = SimpleNamespace(compute=self, image=self)

    def create_image(self, _session: object, name: str, marks: dict[str, str]) -> str:
        self.sent = {**self.inherited, "name": name, **marks}
        return "i1"

    def get_image(self, _: str) -> Image:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if not state:
            raise NotFoundException
        return image(**{**self.sent, "status": state})

    def get_server(self, _: str) -> Server:
        task = self.tasks.pop(0) if len(self.tasks) > 1 else self.tasks[0]
        return Server.existing(id="s1", name="lab-web", **{"OS-EXT-STS:task_state": task})

    def delete_image(self, ident: str, **_: object) -> None:
        if self.refuses:
            raise self.refuses
        self.deleted.append(ident)

    def server_actions(self, _: str) -> list[ServerAction]:
        return [ServerAction.existing(action="createImage", request_id="r", start_time="1")]

    def get_server_action(self, _request: str, _server: str) -> ServerAction:
        return ServerAction.existing(events=[{"event": "e", "result": "Error", "details": "quota exceeded"}])

    def made(self, known: dict[str, str] | None = None) -> Snapshot:
        known = {"netorder_hostkey": KEY} if known is None else known
        found = SimpleNamespace(id="s1", name="lab-web", image=SimpleNamespace(id="b1"), metadata=known)
        found.create_image = self.create_image
        return make(self.session, "lab", "web", found, NOW)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(snapshots, "SNAPSHOT_POLL", 0.0)
    monkeypatch.setattr(idle, "IDLE_POLL", 0.0)


def test_a_snapshot_is_marked_in_the_request_that_makes_it():
    cloud = Clouds("queued", "saving", "active")
    made = cloud.made()
    assert (made.name, made.host, made.base, made.hostkey) == ("lab-web-20261128T150000Z", "web", "b1", KEY)
    assert made.time == "2026-11-28T15:00:00Z"
    assert cloud.deleted == []


def test_what_is_not_known_is_not_that_of_the_image_that_the_server_was_made_of():
    """Nova hands its properties on, but those that are sent."""
    cloud = Clouds("active")
    cloud.inherited = {"netorder_hostkey": "ssh-ed25519 THEIRS", "netorder_versions": "web=1", "netorder_base": "b0"}
    made = cloud.made({})
    assert (made.base, made.hostkey, made.versions) == ("b1", "", "")
    assert not {"ssh-ed25519 THEIRS", "web=1", "b0"} & {*cloud.sent.values()}


@pytest.mark.parametrize(
    ("cloud", "said", "deleted"),
    [
        (Clouds("queued", ""), "nothing of it is left: its event e ended with an error: quota exceeded", ["i1"]),
        (Clouds("queued", "killed"), "failed (killed): its event e ended with an error: quota exceeded", ["i1"]),
        (Clouds("queued", tasks=("image_snapshot", None)), "failed (queued): its event", ["i1"]),
        (Clouds("killed", refuses=HttpException("no space left")), "`openstack image delete i1`; that failed here", []),
        (Clouds("killed", refuses=ConnectFailure("refused")), "`openstack image delete i1`; that failed here", []),
        (Clouds("queued", refuses=NotFoundException(), tasks=(None,)), "failed (queued): its event", []),
    ],
)
def test_a_failed_upload_names_the_reason_and_leaves_nothing(cloud, said, deleted):
    with pytest.raises(CloudError) as error:
        cloud.made()
    assert said in str(error.value)
    assert cloud.deleted == deleted


def test_one_that_is_late_is_removed(monkeypatch):
    monkeypatch.setattr(snapshots, "SNAPSHOT_TIMEOUT", -1)
    cloud = Clouds("saving")
    with pytest.raises(CloudError, match="Not done after"):
        cloud.made()
    assert cloud.deleted == ["i1"]


@pytest.mark.parametrize("error", [ConnectFailure("refused"), HttpException("down", http_status=503)])
@pytest.mark.parametrize("asked", ["get_image", "get_server"])
def test_where_the_api_does_not_answer_the_upload_goes_on(error, asked):
    """Nova and Glance do it, whoever watches; it is named, with what to do."""
    cloud = Clouds("saving")

    def fail(_: str) -> None:
        raise error

    setattr(cloud, asked, fail)
    with pytest.raises(CloudError) as raised:
        cloud.made()
    assert cloud.deleted == []
    assert "Nova may finish lab-web-20261128T150000Z nevertheless, so it was left" in str(raised.value)
    assert "`netorder snapshots --remove lab-web-20261128T150000Z`" in str(raised.value)


def test_sizes_are_compared_with_their_like():
    before, made = several("1", "2", size=195 << 20, form="qcow2", base="b")

    def text(form: str, size: int) -> str:
        base = SimpleNamespace(name="debian-13", disk_format=form, size=size << 20)
        session: Any = SimpleNamespace(conn=SimpleNamespace(image=SimpleNamespace(get_image=lambda _: base)))
        return compared(session, made, [before, made])

    assert text("qcow2", 171) == "195 MiB (qcow2); its base image debian-13 has 171 MiB"
    assert text("raw", 262) == (
        "195 MiB (qcow2); the one before it has 195 MiB; its base image debian-13 is raw, whose size says nothing "
        "beside it"
    )


class Rebuilt:
    """A compute API that rebuilds one server."""

    def __init__(self, *, undone: bool = False, refuses: int = 0) -> None:
        self.calls: list[str] = []
        self.undone = undone
        self.refuses = refuses
        self.metadata = {"netorder_hostkey": "old"}
        self.session: Any = Session()
        self.session.conn = SimpleNamespace(compute=self)

    def delete_server_metadata(self, _: str, keys: list[str]) -> None:
        self.calls.append(f"forget {keys}")
        for key in keys:
            del self.metadata[key]

    def rebuild_server(self, _: str, chosen: str) -> None:
        self.calls.append(f"rebuild {chosen}")
        if self.refuses:
            raise HttpException("the flavor's disk is too small", http_status=self.refuses)

    def set_server_metadata(self, _: str, **known: str) -> None:
        self.calls.append(f"set {known}")
        self.metadata |= known

    def get_server(self, _: str) -> Server:
        return Server.existing(id="s1", name="lab-web", status="ACTIVE", image={"id": "b" if self.undone else "i"})

    def server_actions(self, _: str) -> list[ServerAction]:
        return []

    def restored(self, made_of: str, planned: str = "debian-13") -> bool:
        image = SimpleNamespace(id=ONE)
        found: Any = SimpleNamespace(id="s1", name="lab-web", metadata=dict(self.metadata), image=image)
        chosen = Snapshot("i", "n", "lab", "web", "t", server=made_of, hostkey=KEY)
        return restore(self.session, found, chosen, planned)


def test_the_host_key_is_that_of_the_snapshot_or_is_learned_again():
    """On another server's disk the image makes new keys, as for a new instance; the wrong one is forgotten first."""
    own, other = Rebuilt(), Rebuilt()
    assert own.restored("s1")
    assert own.calls == ["rebuild i", f"set {{'netorder_hostkey': '{KEY}'}}"]
    assert not other.restored("s0")
    assert other.calls == ["forget ['netorder_hostkey']", "rebuild i"]


def test_a_rebuild_that_nova_takes_back_is_an_error():
    with pytest.raises(CloudError, match="took the rebuild of lab-web back"):
        Rebuilt(undone=True).restored("s1")


@pytest.mark.parametrize("made_of", ["s0", "s1"])
@pytest.mark.parametrize("cloud", [{"undone": True}, {"refuses": 400}, {"refuses": 403}, {"refuses": 409}])
def test_a_host_that_was_not_rebuilt_keeps_its_key(cloud: dict[str, Any], made_of: str):
    """It has its disk, and prints its key on no console again."""
    one = Rebuilt(**cloud)
    with pytest.raises(CloudError):
        one.restored(made_of)
    assert one.metadata == {"netorder_hostkey": "old"}


def test_of_a_request_that_failed_inside_the_cloud_nothing_is_concluded():
    one = Rebuilt(refuses=503)
    with pytest.raises(CloudError):
        one.restored("s0")
    assert one.metadata == {}


def test_a_key_that_cannot_be_noted_again_is_told_beside_the_reason():
    one = Rebuilt(refuses=409)

    def refuse(*_: object, **__: object) -> None:
        raise HttpException("no", http_status=500)

    one.set_server_metadata = refuse  # type: ignore[method-assign]
    with pytest.raises(
        CloudError, match=r"disk is too small.* Its metadata \(netorder_hostkey\) could not be set again"
    ):
        one.restored("s0")


@pytest.mark.parametrize(
    ("planned", "had", "notes"),
    [
        (ONE, "debian-13", ONE),
        (f"golden:web:{ONE}", "debian-13", ONE),
        ("debian-13", "debian-13", "debian-13"),
        (ONE, ONE, ONE),
        ("golden:web:debian-13", "golden:web", "golden:web"),
        (TWO, "debian-13", "debian-13"),
        (ONE, None, None),
    ],
)
def test_an_image_that_is_known_by_its_id_is_noted_before_the_server_has_another(planned, had, notes):
    """Else the next run would replace the host. What differed before still differs."""
    one = Rebuilt()
    one.metadata |= {"netorder_image": had} if had else {}
    one.restored("s1", planned)
    assert one.metadata.get("netorder_image") == notes
    plan = replace(PLAN, hosts=tuple(replace(h, image=planned) if h.name == "sum" else h for h in PLAN.hosts))
    built = as_built(plan)
    made_from = {"image": {"id": "i"}, "metadata": {"netorder_hostkey": KEY} | one.metadata}
    changed = brief(replace(built, servers=altered(built.servers, "calculator-sum", **made_from)), plan)
    assert any("replace" in line for line in changed) is (planned == TWO)


def test_the_note_of_the_image_is_as_before_where_nova_refuses():
    one = Rebuilt(refuses=409)
    one.metadata |= {"netorder_image": "debian-13"}
    with pytest.raises(CloudError):
        one.restored("s0", ONE)
    assert one.metadata == {"netorder_hostkey": "old", "netorder_image": "debian-13"}


FROZEN = "frozen by its guest agent while it was copied"
TRIES = "frozen while it was copied, if its guest agent answered (os_require_quiesce would insist)"
CUT = "what it had not written yet is missing, as after a power cut"


@pytest.mark.parametrize(
    ("status", "properties", "said", "warned"),
    [
        ("ACTIVE", {"hw_qemu_guest_agent": "yes", "os_require_quiesce": "True"}, FROZEN, False),
        ("ACTIVE", {"hw_qemu_guest_agent": "yes", "os_require_quiesce": "no"}, TRIES, False),
        ("ACTIVE", {"hw_qemu_guest_agent": "1"}, TRIES, False),
        ("ACTIVE", {"hw_qemu_guest_agent": "no", "os_require_quiesce": "yes"}, None, True),
        ("ACTIVE", None, None, True),
        ("SHUTOFF", {"hw_qemu_guest_agent": "yes"}, "of a stopped host, complete", False),
        ("PAUSED", {"hw_qemu_guest_agent": "yes"}, f"not synced, the host is PAUSED: {CUT}", True),
    ],
)
def test_how_consistent_a_disk_is_said_to_be(status, properties, said, warned):
    """As Glance answers, in texts. Only a host that runs can be frozen."""
    answer = SimpleNamespace(ok=properties is not None, json=lambda: {"id": "b", **properties})
    site: Any = SimpleNamespace(
        cloud=SimpleNamespace(conn=SimpleNamespace(image=SimpleNamespace(get=lambda _: answer)))
    )
    host: Any = SimpleNamespace(name="web", ssh_path=() if status == "PAUSED" else None)
    found: Any = SimpleNamespace(status=status, image=SimpleNamespace(id="b"))
    told, warning = synced(site, host, found)
    assert told == (said or f"not synced, the plan has no SSH path to it: {CUT}")
    assert bool(warning) is warned


def test_what_a_host_cannot_be_restored_from():
    host = PLAN.hosts[0]
    fits = Snapshot("i", "n", "calculator", host.name, "t", min_disk=5)
    found: Any = SimpleNamespace(status="ACTIVE", flavor=SimpleNamespace(disk=5))
    assert restore_problems(host, found, fits, "calculator") == []
    found = SimpleNamespace(status="RESCUE", flavor=SimpleNamespace(disk=2))
    other, state, disk = restore_problems(host, found, fits, "lab")
    assert "`image: {snapshot: n}`" in other
    assert "RESCUE" in state
    assert "needs a disk of 5 GiB, the host's has 2" in disk
    for launched, said in (
        ("2026-01-02", "reboot --hard n` may bring it back with its disk; else"),
        (None, "ERROR: site"),
    ):
        found = Server.existing(name="n", status="ERROR", launched_at=launched, flavor={"disk": 5})
        (problem,) = restore_problems(host, found, fits, "calculator")
        assert said in problem


def test_a_topology_names_the_newest_snapshot_of_a_host_once():
    """When it is made; that there is a newer one later is no difference."""
    mine = {"netorder_topology": "calculator", "netorder_host": "sum"}
    old, new = (image(f"n{i}", f"i{i}", **mine, netorder_time=f"2026-0{i}") for i in (1, 2))
    wanted = replace(PLAN, hosts=tuple(replace(h, image="snapshot:sum") if h.name == "sum" else h for h in PLAN.hosts))
    facts, problems = judged(FakeCloud((new, old)), without_a_host(), wanted)
    assert (facts.images, problems) == ({"snapshot:sum": ("i2", "snapshot:sum")}, [])
    one = work(wanted, without_a_host())
    one.facts.images |= facts.images
    (change,) = one.changes.of(server.ServerChange)
    assert server.create_body(one, change)["metadata"]["netorder_image"] == "snapshot:sum"
    assert brief(as_built(wanted), wanted) == []
    _, (problem,) = judged(FakeCloud(()), without_a_host(), wanted)
    assert problem.startswith("The image of sum: There is no snapshot sum")
    (change,) = change_set(wanted, as_built(), key=None).of(server.ServerChange)
    assert (change.action, change.after) == ("replace", {"image": "snapshot:sum"})


def test_a_teardown_keeps_snapshots_unless_told():
    kept: Any = Owned(images=[image(), image("theirs", "i2", netorder_topology="other")])
    assert teardown(kept, "lab", check=False) == []
    assert (kept.deleted, kept.told) == (
        [],
        ["of the hosts' images stay lab-web-1. `-e snapshots=delete` deletes them too"],
    )
    told: Any = Owned(images=[image()])
    assert [c.kind for c in teardown(told, "lab", check=False, snapshots=True)] == ["snapshot"]
    assert told.deleted == ["i1"]


@pytest.mark.parametrize("check", [True, False])
def test_nor_those_that_servers_of_other_topologies_are_made_of(check):
    """Nova needs them again; the topology's own servers go."""
    golden = {"netorder_snapshot": "", "netorder_golden": "lab-golden-web-1", "netorder_tried": "lab-golden-web-1"}
    of_images = [image(), image("lab-web-2", "i2"), image("lab-golden-web-1", "i3", **golden)]
    cloud: Any = Owned(images=of_images)
    servers = [Server.existing(id=ident, name=ident, image={"id": of}) for ident, of in (("own", "i2"), ("x", "i1"))]
    servers += [Server.existing(id="y", name="y", image={"id": "i3"})]
    servers[0]._update(tags=["netorder:lab"])
    there = {"netorder:lab": servers[:1], None: servers}

    def delete_server(ident: str, **_: object) -> None:
        there["netorder:lab"] = []
        cloud.deleted.append(ident)

    cloud.conn.compute.servers = lambda tags=None, name=None, **_: [] if name else there[tags]
    cloud.conn.compute.delete_server = delete_server
    done = teardown(cloud, "lab", check=check, snapshots=True)
    assert [(one.kind, one.name) for one in done] == [("server", "own"), ("snapshot", "lab-web-2")]
    assert cloud.told[:2] == [
        "Snapshot lab-web-1 stays: a server is made from it.",
        "Golden image lab-golden-web-1 stays: a server is made from it.",
    ]
    assert cloud.deleted == ([] if check else ["own", "i2"])
