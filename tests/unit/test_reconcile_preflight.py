"""What a run asks the cloud before its first change, and what it makes of the answers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from openstack.compute.v2.flavor import Flavor
from openstack.exceptions import NotFoundException
from openstack.image.v2.image import Image
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from test_reconcile_compare import KEY, PLAN, altered, as_built, brief, without, work
from test_reconcile_compare import change_set as compared

from netorder.cloud.preflight import preflight
from netorder.cloud.resources import server
from netorder.cloud.waits import Waits
from netorder.language.load import load
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from pathlib import Path

    from netorder.cloud.facts import Facts
    from netorder.cloud.observe import Observed
    from netorder.plan import model

GIB = 1024**3
ONE, TWO = (f"1b2c3d4e-0000-4000-8000-00000000000{n}" for n in "12")
SMALL = Flavor.existing(id="f", name="small", disk=5, ram=512, vcpus=1)


def image(ident: str = ONE, name: str = "debian-13", **fields: Any) -> Image:
    made = {"status": "active", "size": GIB, "created_at": "2026-01-02T03:04:05Z", "owner": "p1"}
    return Image.existing(**{**made, "id": ident, "name": name, **fields})


class FakeCloud:
    """A cloud that answers what a preflight asks."""

    project = "p1"
    patience = 90.0
    waits = Waits()
    clock_ahead = 0.0

    def __init__(
        self,
        images: tuple[Image, ...] = (image(),),
        flavors: tuple[Flavor, ...] = (SMALL,),
        externals: tuple[Network, ...] = (),
        ports: tuple[Port, ...] = (),
        roles: tuple[str, ...] = ("member",),
    ) -> None:
        self.roles = frozenset(roles)

        def get_image(ident: str) -> Image:
            found = [one for one in images if one.id == ident]
            if not found:
                raise NotFoundException
            return found[0]

        no_limits = SimpleNamespace(
            instances=-1, instances_used=0, total_cores=-1, total_cores_used=0, total_ram=-1, total_ram_used=0
        )
        self.conn = SimpleNamespace(
            image=SimpleNamespace(
                images=lambda name=None, **_: [i for i in images if name in {None, i.name}], get_image=get_image
            ),
            compute=SimpleNamespace(flavors=lambda: flavors, get_limits=lambda: SimpleNamespace(absolute=no_limits)),
            network=SimpleNamespace(
                networks=lambda **_: externals,
                ports=lambda **_: ports,
                extensions=lambda: [
                    SimpleNamespace(alias=alias)
                    for alias in ("standard-attr-description", "security-group", "router", "external-net", "extraroute")
                ],
                get=lambda _: SimpleNamespace(status_code=404),
            ),
        )

    def relay(self) -> None:
        """Nothing was noted."""


def judged(
    cloud: FakeCloud, observed: Observed, wanted: model.Plan = PLAN, allow: tuple[str, ...] = ()
) -> tuple[Facts, list[str]]:
    found = compared(wanted, observed, key=KEY)
    assert not found.problems
    return preflight(cloud, wanted, observed, found.changes, allow)  # type: ignore[arg-type]


def without_a_host() -> Observed:
    """Return a cloud where one server is missing, and nothing else."""
    built = as_built()
    freed = altered(built.ports, "calculator-sum", device_id="", device_owner="")
    return replace(built, servers=without(built.servers, "calculator-sum"), ports=freed)


def with_image(named: str) -> model.Plan:
    return replace(PLAN, hosts=tuple(replace(host, image=named) for host in PLAN.hosts))


# Images


def test_the_one_image_of_a_name_is_taken():
    facts, problems = judged(FakeCloud(), without_a_host())
    assert problems == []
    assert facts.images == {"debian-13": (ONE, "debian-13")}


def test_of_several_images_of_a_name_none_is_guessed():
    """All that tells them apart is said, and what to write."""
    newer = image(TWO, created_at="2026-05-06T07:08:09Z", owner="p2")
    facts, (problem,) = judged(FakeCloud((image(), newer)), without_a_host())
    assert facts.images == {}
    assert problem == (
        "Image debian-13 (hosts: sum): 2 images have this name, and which is meant is not guessed. Put the id of one "
        f"in the place of the name (`image: {TWO}`), or `{{newest: debian-13}}`. The choices: debian-13 ({TWO}, made "
        f"2026-05-06, project p2's); debian-13 ({ONE}, made 2026-01-02, this project's)."
    )


def test_the_newest_of_a_name_where_that_is_said():
    """Of the public ones and the project's own, not of what somebody shared; a newer one later is no difference."""
    three = [f"1b2c3d4e-0000-4000-8000-00000000000{n}" for n in "345"]
    images = (
        image(),
        image(TWO, created_at="2026-05-06T07:08:09Z", owner="p2", visibility="public"),
        image(three[0], created_at="2026-07-01T00:00:00Z", owner="p2", visibility="shared"),
        image(three[1], created_at="2026-08-01T00:00:00Z", status="queued"),
    )
    wanted = with_image("newest:debian-13")
    built = as_built()  # of the plain name
    freed = altered(built.ports, "calculator-sum", device_id="", device_owner="")
    missing = replace(built, servers=without(built.servers, "calculator-sum"), ports=freed)
    facts, problems = judged(FakeCloud(images), missing, wanted)
    assert (problems, facts.images) == ([], {"newest:debian-13": (TWO, "debian-13")})
    assert compared(wanted, as_built(), key=KEY).changes == ()
    assert compared(PLAN, as_built(wanted), key=KEY).changes == ()
    _, (problem,) = judged(FakeCloud(images[2:3]), missing, wanted)
    assert problem.startswith("Image debian-13 (hosts: sum) does not exist in this cloud")


@pytest.mark.parametrize("status", ["queued", "saving", "deactivated", "killed"])
def test_an_image_that_nothing_can_start_from_is_no_choice(status):
    facts, problems = judged(FakeCloud((image(TWO, status=status), image())), without_a_host())
    assert (problems, facts.images["debian-13"][0]) == ([], ONE)
    _, (problem,) = judged(FakeCloud((image(status=status),)), without_a_host())
    assert f"is {status}, not active" in problem


def test_an_image_by_its_id_is_that_image_though_others_have_its_name():
    wanted = with_image(TWO)
    built = as_built(wanted)
    freed = altered(built.ports, "calculator-sum", device_id="", device_owner="")
    missing = replace(built, servers=without(built.servers, "calculator-sum"), ports=freed)
    facts, problems = judged(FakeCloud((image(), image(TWO))), missing, wanted)
    assert (problems, facts.images) == ([], {TWO: (TWO, "debian-13")})
    _, (problem,) = judged(FakeCloud((image(),)), missing, wanted)
    assert problem.startswith(f"Image {TWO} (hosts: sum) does not exist")


def test_a_server_is_known_by_name_and_id_of_its_image():
    """From name to id of the same image and back: nothing is replaced; another id of the same name is."""
    built = as_built()
    for one in built.servers:
        one._update(image={"id": TWO})
    assert brief(built, with_image(TWO)) == []
    assert brief(built, with_image("debian-13")) == []
    assert {change[:2] for change in brief(built, with_image(ONE))} == {("replace", "server")}
    one = work(with_image(TWO), without_a_host())
    one.facts.images[TWO] = (TWO, "debian-13")
    one.ids.ports["calculator-sum"] = "p"
    body = server.create_body(one, one.changes.of(server.ServerChange)[-1])
    assert (body["image_id"], body["metadata"]["netorder_image"]) == (TWO, "debian-13")


# Flavors


@pytest.mark.parametrize(
    ("disk", "fields", "need"),
    [
        (5, {"min_disk": 10}, 10),
        (5, {"size": 6 * GIB}, 6),
        (5, {"size": GIB, "virtual_size": 5 * GIB + 1}, 6),
        (5, {"min_disk": 5, "size": 5 * GIB}, None),
    ],
)
def test_a_disk_too_small_for_the_image_is_named(disk, fields, need):
    flavor = Flavor.existing(id="f", name="small", disk=disk, ram=512, vcpus=1)
    _, problems = judged(FakeCloud((image(**fields),), (flavor,)), without_a_host())
    said = f"Flavor small has a disk of 5 GiB, image debian-13 needs {need}. Take a larger."
    assert problems == ([said] if need else [])


ZERO = Flavor.existing(id="z", name="small0", disk=0, ram=512, vcpus=1)
LARGE = Flavor.existing(id="l", name="large", disk=20, ram=512, vcpus=1)


def lone_host(flavor: str = "none") -> model.Plan:
    """Return a plan where one host alone has that flavor."""
    return replace(PLAN, hosts=tuple(replace(h, flavor=flavor) if h.name == "sum" else h for h in PLAN.hosts))


def test_a_flavor_without_disk_is_refused_to_ordinary_users():
    _, (problem,) = judged(FakeCloud(flavors=(ZERO, LARGE)), without_a_host(), lone_host("small0"))
    assert problem.startswith("Flavor small0 has a disk of 0 GiB: unless its operator decides otherwise, Nova")
    assert problem.endswith("-e allow=zero-disk. With a disk: large.")


def test_but_not_where_it_is_known_to_work():
    """For an administrator, on the user's word, or where the topology has such a server already."""
    wanted, missing = lone_host("small0"), without_a_host()
    assert judged(FakeCloud(flavors=(ZERO,), roles=("member", "admin")), missing, wanted)[1] == []
    assert judged(FakeCloud(flavors=(ZERO,)), missing, wanted, ("zero-disk",))[1] == []
    missing.servers[0]._update(flavor={"original_name": "small0"})
    wanted = replace(wanted, hosts=(replace(wanted.hosts[0], flavor="small0"), *wanted.hosts[1:]))
    assert judged(FakeCloud(flavors=(ZERO,)), missing, wanted)[1] == []


def test_a_disk_does_not_shrink_to_nothing_either():
    """Nova refuses to resize to a flavor without disk."""
    built = as_built()
    for one in built.servers:
        one._update(flavor={"original_name": "small", "disk": 5, "vcpus": 1, "ram": 512})
    _, (problem,) = judged(FakeCloud(flavors=(SMALL, ZERO)), built, lone_host("small0"))
    assert problem.startswith("Host sum: flavor small0 has a disk of 0 GiB, the host's has 5: a disk does not shrink.")
    assert "revert" not in problem


def test_a_disk_that_a_killed_resize_made_larger_is_undone_by_nova():
    """Until it is confirmed Nova has the old disk still; which flavor that was, it does not tell."""
    built = as_built()
    large = {"original_name": "large", "disk": 40, "vcpus": 1, "ram": 512}
    servers = altered(built.servers, "calculator-sum", status="VERIFY_RESIZE", flavor=large)
    _, (problem,) = judged(FakeCloud(), replace(built, servers=servers))
    assert "a disk does not shrink" in problem
    assert "undo its last resize, which is not confirmed: `openstack server resize revert calculator-sum`" in problem


def test_a_flavor_by_its_id_is_told_its_name():
    """Flavors have one name each, and Nova tells of a server its flavor's name alone."""
    wanted = lone_host(ONE)
    flavors = (SMALL, Flavor.existing(id=ONE, name="medium", disk=9))
    _, problems = judged(FakeCloud(flavors=flavors), without_a_host(), wanted)
    assert problems == [f"Flavor {ONE} is called medium here: write that, no two flavors have the same name."]
    _, problems = judged(FakeCloud(), without_a_host(), wanted)
    assert problems == [f"Flavor {ONE} does not exist in this cloud. The choices: small."]


# Locked servers


def test_a_locked_server_is_refused_only_where_it_would_change():
    """Nova holds nobody up with the role admin; what a login is whose roles are not known, it has to say itself."""

    def locked(**fields: Any) -> Observed:
        built = as_built()
        fields = {"is_locked": True, "locked_reason": "audit", **fields}
        return replace(built, servers=altered(built.servers, "calculator-sum", **fields))

    wanted = replace(PLAN, hosts=tuple(h for h in PLAN.hosts if h.name != "sum"))
    cases = {
        "unchanged": (locked(), PLAN, False),
        "stopped": (locked(status="SHUTOFF"), PLAN, True),
        "no host key": (locked(metadata={"netorder_host": "sum"}), PLAN, True),
        "no more planned": (locked(), wanted, True),
        "its image differs": (locked(), with_image("debian-12"), True),
    }
    clouds = {"member": True, "admin": False, "": False}
    for case, (observed, plan, refused) in cases.items():
        for role, held in clouds.items():
            cloud = FakeCloud((image(name="debian-12"), image()), roles=(role,) if role else ())
            problems = judged(cloud, observed, plan)[1]
            assert any("server unlock calculator-sum" in one for one in problems) == (refused and held), (case, role)
    (problem,) = judged(FakeCloud(), locked(), wanted)[1]
    assert problem.startswith("Server calculator-sum is locked (audit), and Nova neither changes nor deletes it:")


# Networks


def external(ident: str, name: str, owner: str) -> Network:
    return Network.existing(id=ident, name=name, project_id=owner, created_at="2026-01-02T03:04:05Z")


def without_a_router() -> Observed:
    built = as_built()
    return replace(built, routers=altered(built.routers, "calculator-rt1", external_gateway_info=None))


def test_of_two_external_networks_of_a_name_one_is_meant_by_its_id():
    cloud = FakeCloud(externals=(external(ONE, "public", "p1"), external(TWO, "public", "p2")))
    for named in (None, "public"):
        _, (problem,) = judged(cloud, without_a_router(), replace(PLAN, external_network=named))
        assert "`external_network`), or its id" in problem
        assert (
            f"public ({ONE}, made 2026-01-02, this project's); public ({TWO}, made 2026-01-02, project p2's)" in problem
        )
    facts, problems = judged(cloud, without_a_router(), replace(PLAN, external_network=TWO))
    assert (problems, facts.externals) == ([], {TWO: TWO})


@pytest.mark.parametrize(
    ("owner", "blocks"),
    [
        ("network:dhcp", False),
        ("network:router_centralized_snat", False),
        ("network:router_interface_distributed", True),
        ("network:ha_router_replicated_interface", True),
        ("compute:nova", True),
        ("", True),
    ],
)
def test_a_port_on_a_subnet_that_must_go_blocks_if_it_is_somebodys(owner, blocks):
    built = as_built()
    altered(built.subnets, "calculator-net2", cidr="10.77.0.0/24")
    fixed = [{"subnet_id": "subnet:calculator-net2", "ip_address": "192.168.2.77"}]
    port = Port.existing(id="theirs", name="", network_id="network:net2", device_owner=owner, fixed_ips=fixed)
    _, problems = judged(FakeCloud(ports=(*built.ports, port)), built)
    expected = f"Port theirs ({owner or 'not in use'}) on network calculator-net2 is not this topology's"
    assert [problem.partition(",")[0] for problem in problems] == ([expected] if blocks else [])


def test_a_port_on_another_subnet_of_the_network_blocks_none():
    built = as_built()
    altered(built.subnets, "calculator-net2", cidr="10.77.0.0/24")
    fixed = [{"subnet_id": "subnet:theirs", "ip_address": "10.99.0.7"}]
    port = Port.existing(id="theirs", name="", network_id="network:net2", device_owner="", fixed_ips=fixed)
    assert judged(FakeCloud(ports=(*built.ports, port)), built)[1] == []


# Config drive

LAB = """\
topology: lab
networks:
  routed: {cidr: 10.1.0.0/24}
  both: {cidr: [10.2.0.0/24, "fd00:2::/64"]}
  six: {cidr: "fd00:3::/64"}
  alone: {cidr: 10.4.0.0/24}
routers: {rt: {networks: [routed, both, six]}}
hosts:
  h-routed: {network: routed}
  h-both: {network: both}
  routed-twice: {networks: [routed, both]}
  h-six: {network: six}
  h-alone: {network: alone}
  mixed: {networks: [routed, alone]}
  mixed-late: {networks: [six, routed]}
"""


def test_a_config_drive_where_metadata_may_be_out_of_reach(tmp_path: Path):
    """No router, or IPv6 alone, on any of a host's networks; what runs without one is left as it is."""
    (tmp_path / "lab.yml").write_text(LAB)
    wanted = build_plan(load(tmp_path / "lab.yml"))
    built = as_built(wanted)
    freed = tuple(Port.existing(**{**port.to_dict(), "device_id": ""}) for port in built.ports)
    one = work(wanted, replace(built, servers=(), ports=freed))
    bodies = {c.host.name: (server.create_body(one, c), c.after or {}) for c in one.changes.of(server.ServerChange)}
    told = {name for name, (_, after) in bodies.items() if "config_drive" in after}
    assert {name for name, (body, _) in bodies.items() if body.get("config_drive") is True} == told
    assert told == {"h-six", "h-alone", "mixed", "mixed-late"}
    for server_ in built.servers:
        server_._update(has_config_drive="")
    assert brief(built, wanted) == []
