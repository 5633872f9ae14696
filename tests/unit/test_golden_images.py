"""Golden images: which there are, what hosts are made of, how one is made, and what a failed one leaves."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from keystoneauth1.exceptions import ConnectFailure
from openstack.exceptions import NotFoundException
from openstack.image.v2.image import Image
from test_reconcile_compare import PLAN, as_built, brief, change_set, work
from test_reconcile_jobs import Session
from test_reconcile_ownership import FakeCloud as Owned
from test_reconcile_preflight import FakeCloud, judged, without_a_host
from test_reconcile_preflight import image as base_image

from netorder.cloud import golden, snapshots
from netorder.cloud.golden import Golden, Source, find, goldens, leftovers, make, of_image, removals, versions_text
from netorder.cloud.golden_scripts import clean, tried
from netorder.cloud.observe import Observed
from netorder.cloud.preflight import preflight
from netorder.cloud.resources import server
from netorder.cloud.teardown import teardown
from netorder.controller.operations.golden import golden_hosts, golden_problems
from netorder.controller.provision import provision
from netorder.errors import CloudError, TopologyError, UsageError
from netorder.language.load import parse
from netorder.plan.build import build_plan
from netorder.plan.lifecycle import image_field

NOW = datetime(2026, 11, 28, 15, 0, tzinfo=UTC)
KEY = "ssh-ed25519 AAAAC3Nz me@here"


def image(name: str = "calculator-golden-sum-1", ident: str = "g1", owner: str = "p1", **fields: Any) -> Image:
    own = {"netorder_golden": name, "netorder_tried": name, "netorder_topology": "calculator"}
    own |= {"netorder_applications": "sum", "netorder_host": "sum", "netorder_time": "2026-01-01"}
    made = {"status": "active", "size": 2 << 20, "disk_format": "qcow2", **own, **fields}
    return Image.existing(**made, id=ident, name=name, owner=owner)


# In topologies


def topology(image_text: str, host: str = "applications: [web, cache]") -> str:
    return f"""\
topology: lab
networks: {{front: {{cidr: 10.0.0.0/24}}}}
applications:
  web: {{role: web, ports: [80]}}
  cache: {{role: cache, ports: [6379]}}
defaults: {{image: {image_text}}}
hosts:
  one: {{network: front, {host}}}
  two: {{network: front, image: debian-12}}
"""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{golden: true}", "golden:web+cache"),
        ("{golden: true, base: debian-13}", "golden:web+cache:debian-13"),
        ("{golden: web}", "golden:web"),
        ("{golden: lab-golden-web-20260102T030405Z}", "golden:lab-golden-web-20260102T030405Z"),
        (
            "{golden: web, base: 1B2C3D4E-0000-4000-8000-000000000001}",
            "golden:web:1b2c3d4e-0000-4000-8000-000000000001",
        ),
    ],
)
def test_a_topology_names_golden_images(said, expected):
    assert [host.image for host in parse(topology(said)).hosts] == [expected, "debian-12"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (topology("{golden: true}", "groups: [plain]"), "host `one` has none; name an `image` for it"),
        (topology("{golden: false}"), "image"),
        (topology("{base: debian-13}"), "golden"),
        (topology("{golden: 'a:b'}"), "golden"),
    ],
)
def test_what_names_no_golden_image_is_an_error_with_its_place(text, message):
    with pytest.raises(TopologyError) as error:
        parse(text, "lab.yml")
    errors = [one for one in error.value.diagnostics if one.severity == "error"]
    assert message in errors[0].message
    assert errors[0].line == 6


@pytest.mark.parametrize(
    ("had", "planned", "same"),
    [
        ("golden:web", "golden:web", True),
        ("golden:web", "golden:web:debian-13", True),
        ("debian-13", "golden:web:debian-13", True),
        ("debian-12", "golden:web:debian-13", False),
        ("debian-13", "golden:web", False),
        ("golden:db", "golden:web:debian-13", False),
        ("golden:web", "debian-13", False),
        ("", "golden:web", False),
    ],
)
def test_a_host_stays_when_its_topology_allows_what_it_is_made_of(had, planned, same):
    assert (image_field(had, planned) == planned) is same


# Which there are


def several(*times: str, kind: str = "web", **fields: Any) -> list[Golden]:
    return [
        Golden(f"{kind}{t}", f"lab-golden-{kind}-{t}", "lab", kind, "h", t, **{"tried": True, **fields}) for t in times
    ]


def test_one_is_ours_by_its_own_name_and_usable_when_it_was_tried():
    """An image that somebody makes of a server inherits the properties of the server's."""
    ours = of_image(image(), "p1")
    assert ours
    assert (ours.applications, ours.tried) == ("sum", True)
    assert of_image(image(netorder_tried="another"), "p1").tried is False
    assert of_image(image(netorder_golden="another"), "p1") is None
    assert of_image(image(owner="p2"), "p1") is None
    known = [*several("1", "2"), *several("3", tried=False), *several("4", status="queued")]
    assert find(known, "lab", "web").time == "2"
    assert find(known, "lab", "lab-golden-web-1").time == "1"
    assert find(known, "other", "lab-golden-web-1").time == "1"
    assert find(known, "other", "web") is None
    assert find(known, "lab", "lab-golden-web-3") is None


def test_which_go():
    known = [*several("1", "2", "3"), *several("1", kind="db")]
    assert [one.id for one in removals(known, {"web1"}, keep=1)[0]] == ["web2"]
    assert removals(known, {"web1"}, keep=1)[1] == ["Golden image lab-golden-web-1 stays: a server is made from it."]
    assert removals(known, (), names=["x"]) == ([], ["There is no golden image x."])


def test_one_that_was_not_tried_pushes_none_out():
    """A run that was killed in the trial leaves it, whole and newer than the one that hosts are made of."""
    known = [*several("1", "2"), *several("3", tried=False)]
    assert [one.id for one in removals(known, (), keep=1)[0]] == ["web1"]
    assert [one.id for one in removals(known, (), names=["lab-golden-web-3"])[0]] == ["web3"]


def test_which_is_the_newest_the_image_service_says():
    """Controllers' clocks differ."""
    times = {f"golden-{n}": (f"2026-01-0{3 - n}T00:00:00Z", f"2026-01-01T00:00:0{n}Z") for n in (2, 1)}
    made = [image(name, name, netorder_time=ours, created_at=its) for name, (ours, its) in times.items()]
    found = goldens(Owned(images=made), "calculator")  # type: ignore[arg-type]
    assert [one.name for one in found] == ["golden-1", "golden-2"]


def with_golden(text: str) -> Any:
    return replace(PLAN, hosts=tuple(replace(h, image=text) if h.name == "sum" else h for h in PLAN.hosts))


def test_a_server_is_made_of_the_newest_one_and_stays_when_there_is_a_newer():
    old, new = (image(f"calculator-golden-sum-{n}", f"g{n}", netorder_time=f"2026-0{n}") for n in (1, 2))
    wanted = with_golden("golden:sum:debian-13")
    facts, problems = judged(FakeCloud((new, old, base_image())), without_a_host(), wanted)
    assert (facts.images, problems) == ({"golden:sum:debian-13": ("g2", "golden:sum")}, [])
    one = work(wanted, without_a_host())
    one.facts.images |= facts.images
    (change,) = one.changes.of(server.ServerChange)
    assert server.create_body(one, change)["metadata"]["netorder_image"] == "golden:sum"
    assert brief(as_built(with_golden("golden:sum")), wanted) == []
    assert brief(as_built(with_golden("debian-13")), wanted) == []
    (change,) = change_set(with_golden("debian-13"), as_built(with_golden("golden:sum")), key=None).of(
        server.ServerChange
    )
    assert change.action == "replace"


def test_while_there_is_none_a_server_is_made_of_the_base():
    facts, problems = judged(FakeCloud(), without_a_host(), with_golden("golden:sum:debian-13"))
    assert (facts.images["golden:sum:debian-13"][1], problems) == ("debian-13", [])
    _, (problem,) = judged(FakeCloud((image(netorder_tried=""),)), without_a_host(), with_golden("golden:sum"))
    assert problem.startswith("The image of sum: There is no golden image sum. This topology has them of: none.")
    _, (problem,) = judged(FakeCloud(()), without_a_host(), with_golden("golden:sum:debian-13"))
    assert "does not exist in this cloud" in problem


@pytest.mark.parametrize(
    ("image_text", "known", "said"),
    [
        ("golden:sum:debian-13", (), "The image of sum: There is no golden image sum."),
        (
            "golden:sum:debian-13",
            (image(netorder_tried=""),),
            "without --golden (golden=true) a run begins with its base",
        ),
        ("golden:sum", (), "`base: IMAGE` beside `golden` says what to begin with."),
        ("golden:sum:debian-13", (image(),), None),
        (
            "debian-13",
            (image(),),
            "The topology makes sum of debian-13, which is no golden image. Write `image: {golden: ",
        ),
        ("snapshot:sum", (), "There is no snapshot sum"),
    ],
)
def test_a_rebuild_is_of_golden_images_alone_or_nothing_is_done(image_text, known, said):
    """The base would have to be configured by roles; a disk that a snapshot keeps has been."""
    wanted, observed = with_golden(image_text), without_a_host()
    found = change_set(wanted, observed, key=None)
    cloud: Any = FakeCloud((*known, base_image()))
    facts, problems = preflight(cloud, wanted, observed, found.changes, golden_only=True)
    assert len(problems) == (said is not None)
    assert (said or "") in "".join(problems)
    if said is None:
        assert facts.images[image_text] == ("g1", "golden:sum")


def test_hosts_without_applications_need_no_golden_image():
    plan = build_plan(parse(topology("{golden: true}")))
    observed = Observed()
    found = change_set(plan, observed, key=None)
    cloud: Any = FakeCloud((image("x", netorder_topology="lab", netorder_applications="web+cache"), base_image()))
    _, problems = preflight(cloud, plan, observed, found.changes, golden_only=True)
    assert [one for one in problems if "golden" in one] == []


def test_containers_have_none_to_rebuild_from(tmp_path):
    file = tmp_path / "lab.yml"
    file.write_text(topology("debian-13"))
    with pytest.raises(UsageError, match="target `containers` has no golden images"):
        provision(file, files=tmp_path, progress=print, target="containers", golden=True)
    assert [*tmp_path.iterdir()] == [file], "not even a lock"


def test_of_which_hosts_they_are_made():
    """Of alike ones the first that is there; those that are named are one of a kind, with applications."""
    assert {kind: host.name for kind, host in golden_hosts(PLAN, {}).items()}["sum"] == "sum"
    plan = build_plan(parse(topology("debian-13").replace("two: {", "two: {applications: [web, cache], ")))
    assert golden_hosts(plan, {"two": None})["web+cache"].name == "two"  # type: ignore[dict-item]
    assert golden_hosts(plan, {})["web+cache"].name == "one"
    with pytest.raises(UsageError, match="both have web"):
        golden_hosts(plan, {}, ["one", "two"])
    bare = build_plan(parse(topology("debian-13", "groups: [plain]")))
    with pytest.raises(UsageError, match="host=one has no application"):
        golden_hosts(bare, {}, ["one"])
    with pytest.raises(UsageError, match="Topology lab has no application"):
        golden_hosts(bare, {})


@pytest.mark.parametrize(
    ("server_fields", "said"),
    [({"status": "ERROR"}, "its server is ERROR"), ({"image": None}, "starts from a volume"), ({}, "")],
)
def test_of_which_servers_none_can_be_made(server_fields, said):
    found: Any = SimpleNamespace(**{"status": "ACTIVE", "image": SimpleNamespace(id="i"), **server_fields})
    problems = golden_problems({"web": (PLAN.hosts[0], found)})
    assert len(problems) == bool(said)
    assert said in "".join(problems)


def test_versions_fit_into_a_property():
    """Nova refuses more than 255 characters."""
    assert versions_text({"b": "2", "a": "1", "c": ""}) == "a=1,b=2"
    many = versions_text({f"application-{n}": "0123456789abcdef" for n in range(20)})
    assert len(many) <= 255
    assert many.endswith("0123456789abcdef,...")


# Making one


class Nova:
    """A cloud in which one golden image is made; ``says`` are the consoles of the servers, one after the other."""

    def __init__(self, *says: str) -> None:
        self.says, self.log, self.scripts = [*says], [], []
        self.there: dict[str, Any] = {}
        self.images_there: dict[str, Image] = {}
        self.session: Any = Session()
        self.session.project = "p1"
        self.session.progress = lambda _: None
        self.session.conn = SimpleNamespace(compute=self, image=self)
        self.source = self._server("s0")

    def _server(self, ident: str, name: str = "lab-web", **more: Any) -> Any:
        def create_image(_: object, name: str, marks: dict[str, str]) -> str:
            made = f"i{len(self.log)}"
            self.log.append(f"image {name}")
            inherited = {"netorder_versions": "web=0", **marks}
            self.images_there[made] = Image.existing(id=made, name=name, owner="p1", status="active", **inherited)
            return made

        flavor, source = SimpleNamespace(original_name="small"), SimpleNamespace(id="base")
        return SimpleNamespace(
            id=ident, name=name, status="ACTIVE", task_state=None, flavor=flavor, image=source,
            create_image=create_image, **{"metadata": {}, **more},
        )  # fmt: skip

    def find_flavor(self, name: str, **_: object) -> Any:
        return SimpleNamespace(id=f"id of {name}")

    def create_server(self, **body: Any) -> Any:
        assert (body["networks"], body["config_drive"]) == ("none", True)
        self.scripts.append(base64.b64decode(body["user_data"]).decode())
        made = self._server(f"s{len(self.log)}", body["name"], metadata=body["metadata"])
        self.log.append(f"server {body['name']} of {self.images_there[body['image_id']].name}")
        self.there[made.id] = made
        return made

    def get_server(self, ident: str) -> Any:
        return self.there.get(ident, self.source)

    def servers(self, **_: object) -> list[Any]:
        return [*self.there.values()]

    def get_server_console_output(self, _: str, **__: object) -> dict[str, str]:
        return {"output": self.says[0]}

    def stop_server(self, ident: str) -> None:
        self.there[ident].status = "SHUTOFF"

    def delete_server(self, ident: str, **_: object) -> None:
        self.says = self.says[1:] or self.says
        self.log.append(f"delete {self.there.pop(ident).name}")

    def get_image(self, ident: str) -> Image:
        return self.images_there[ident]

    def images(self, **_: object) -> list[Image]:
        return [*self.images_there.values()]

    def update_image(self, ident: str, **more: str) -> Image:
        one = self.images_there[ident]
        own = {**one.properties, **more}
        self.images_there[ident] = Image.existing(id=ident, name=one.name, owner="p1", status="active", **own)
        return self.images_there[ident]

    def delete_image(self, ident: str, **_: object) -> None:
        self.log.append(f"delete {self.images_there.pop(ident).name}")

    def made(self) -> Golden:
        keys, units = (KEY,), ("web.service",)
        source = Source("lab", "web", "web", self.source, ("10.0.0.3",), units, (80,), keys, "ssh-ed25519 AAAAHOST")
        return make(self.session, source, NOW)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(golden, "POLL", 0.0)
    monkeypatch.setattr(snapshots, "SNAPSHOT_POLL", 0.0)


NAME = "lab-golden-web-20261128T150000Z"


def test_the_host_is_copied_and_the_copy_is_cleaned_and_tried():
    nova = Nova("boot\nnetorder-golden: done\n")
    found = nova.made()
    assert nova.log == [
        f"image {NAME}-part",
        f"server lab-golden-web of {NAME}-part",
        f"image {NAME}",
        "delete lab-golden-web",
        f"delete {NAME}-part",
        f"server lab-golden-web of {NAME}",
        "delete lab-golden-web",
    ]
    assert (found.name, found.tried, found.base, found.applications) == (NAME, True, "base", "web")
    assert found.versions == "", "not those of the image that the host was made of"
    assert "AAAAC3Nz" in nova.scripts[0], "the topology's key goes"
    assert "10.0.0.3/32" in nova.scripts[1]
    assert [one.name for one in goldens(nova.session, "lab")] == [NAME]


def test_a_copy_that_ended_before_it_was_heard_is_done():
    """Of a server that is off not every cloud has a console; it turns itself off only when it is done."""
    nova = Nova("")
    made = nova.create_server

    def create_server(**body: Any) -> Any:
        found = made(**body)
        found.status = "SHUTOFF"
        return found

    def no_console(*_: object, **__: object) -> None:
        raise NotFoundException

    nova.create_server, nova.get_server_console_output = create_server, no_console  # type: ignore[method-assign]
    assert nova.made().tried


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (("netorder-golden: failed: cloud-init clean: status 1\r\n",), "cloud-init clean: status 1"),
        (("netorder-golden: done\n", "netorder-golden: failed: web.service does not run"), "web.service does not run"),
    ],
)
def test_of_one_that_fails_nothing_is_left_and_the_reason_is_said(says, reason):
    nova = Nova(*says)
    with pytest.raises(CloudError, match=reason):
        nova.made()
    assert (nova.there, nova.images_there) == ({}, {})


def test_an_image_whose_upload_cannot_be_watched_goes_too():
    """Unlike a snapshot's it is of no use to anybody: it is a part, or was not tried."""
    nova = Nova("netorder-golden: done\n")

    def no_answer(_: str) -> Image:
        raise ConnectFailure("refused")

    nova.get_image = no_answer  # type: ignore[method-assign]
    with pytest.raises(CloudError, match="Nothing answers") as error:
        nova.made()
    assert "nevertheless" not in str(error.value)
    assert (nova.there, nova.images_there) == ({}, {})


def test_an_image_that_runs_no_user_data_is_told(monkeypatch):
    monkeypatch.setattr(golden, "TIMEOUT", -1)
    nova = Nova("login:")
    with pytest.raises(CloudError, match=r"cloud-init or its like, is that in the image\?"):
        nova.made()
    assert (nova.there, nova.images_there) == ({}, {})


def test_what_a_killed_run_left_is_found_by_its_marks():
    """Not what others made of it, nor what is whole."""
    nova = Nova()
    nova.there = {
        "s1": nova._server("s1", "lab-golden-web", metadata={"netorder_golden": "lab"}),
        "s2": nova._server("s2", "lab-golden-web", metadata={}),
    }
    part = {"netorder_golden_part": "p", "netorder_topology": "lab"}
    nova.images_there = {
        "i1": Image.existing(id="i1", name="p", owner="p1", **part),
        "i2": Image.existing(id="i2", name="made of it", owner="p1", **part),
        "i3": image("untried", "i3", netorder_tried="", netorder_topology="lab"),
        "i4": image("whole", "i4", netorder_topology="lab"),
        "i5": image("untried", "i5", netorder_tried="", netorder_topology="other"),
    }
    servers, parts = leftovers(nova.session, "lab")
    assert ([one.id for one in servers], [one.id for one in parts]) == (["s1"], ["i1", "i3"])


def test_a_teardown_keeps_them_unless_told():
    kept: Any = Owned(images=[image(netorder_topology="lab")])
    assert teardown(kept, "lab", check=False) == []
    assert kept.told == ["of the hosts' images stay calculator-golden-sum-1. `-e snapshots=delete` deletes them too"]
    told: Any = Owned(images=[image(netorder_topology="lab")])
    assert [c.kind for c in teardown(told, "lab", check=False, snapshots=True)] == ["golden image"]


@pytest.mark.parametrize("options", ["", "restrict ", 'from="10.0.0.1 10.0.0.2",no-pty '])
def test_only_the_topologys_keys_go(tmp_path, options):
    """Not every key of their type, where options are written before it."""
    blob, other = (base64.b64encode(b"\0\0\0\x0bssh-ed25519" + key).decode() for key in (b"mine", b"other"))
    script = clean([f"{options}ssh-ed25519 {blob} me@here"])
    file = tmp_path / "authorized_keys"
    file.write_text(f"{options}ssh-ed25519 {blob}\nssh-ed25519 {other} backup\n")
    keys = next(line for line in script.splitlines() if line.startswith("keys="))
    loop = script[script.index("for file in /root/.ssh") : script.index("for file in /etc/ssh")]
    loop = loop.replace("/root/.ssh/authorized_keys /home/*/.ssh/authorized_keys", str(file))
    subprocess.run(["sh", "-u"], input=f"{keys}\n{loop}", text=True, check=True)
    assert file.read_text() == f"ssh-ed25519 {other} backup\n"


@pytest.mark.parametrize(
    "script", [clean([KEY]), clean([]), tried("", [], [], []), tried(KEY, ["10.0.0.3", "fd00::3"], ["a.service"], [80])]
)
def test_the_scripts_are_shell(script):
    assert script.startswith("#!/bin/sh\n")
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
