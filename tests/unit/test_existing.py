"""What a topology uses and does not own: existing networks, routers, groups, key pairs, given floating addresses."""

from __future__ import annotations

from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from openstack.compute.v2.keypair import Keypair
from openstack.exceptions import NotFoundException
from openstack.network.v2.floating_ip import FloatingIP
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.router import Router
from openstack.network.v2.security_group import SecurityGroup
from openstack.network.v2.subnet import Subnet
from test_reconcile_compare import KEY, as_built
from test_reconcile_ownership import FakeCloud

from netorder.analysis.probes import from_outside
from netorder.analysis.reach import Matrix
from netorder.cloud import session
from netorder.cloud.change import kept
from netorder.cloud.compare import compare
from netorder.cloud.existing import Existing, look_up
from netorder.cloud.observe import Observed
from netorder.cloud.preview import unchanged
from netorder.cloud.resources import floating_ip
from netorder.cloud.teardown import deletions
from netorder.controller import state
from netorder.errors import CloudError
from netorder.language.load import parse
from netorder.plan.build import build_plan
from netorder.topology import cloud_and_region

if TYPE_CHECKING:
    from netorder.plan.model import Plan

ROOT = Path(__file__).parents[2]
TEXT = """
topology: t
key_pair: laptop
networks:
  campus: {existing: true, cidr: 10.77.0.0/24, gateway: 10.77.0.1}
  lab: {cidr: 192.168.7.0/24}
  back: {cidr: 192.168.8.0/24}
routers:
  rt: {existing: campus-rt, external: true, networks: [campus, lab]}
  inner: {networks: [lab, back]}
hosts:
  door: {network: campus, address: 10.77.0.20, security_groups: [monitoring]}
  pc: {network: lab}
  store: {network: back}
"""
PLAN = build_plan(parse(TEXT))


class Cloud(FakeCloud):
    """A cloud with what the topology uses; each list may be another one."""

    roles: frozenset[str] = frozenset({"member"})

    def __init__(self, **lists: Any) -> None:
        route = {"destination": "192.168.8.0/24", "nexthop": PLAN.routers[1].interfaces[0].addresses[0]}
        has: dict[str, Any] = {
            "networks": [Network.existing(id="n1", name="campus", project_id="p1", is_admin_state_up=True)],
            "subnets": [
                Subnet.existing(id="s0", network_id="n1", cidr="10.78.0.0/24", gateway_ip="10.78.0.1"),
                Subnet.existing(id="s1", network_id="n1", cidr="10.77.0.0/24", gateway_ip="10.77.0.1"),
            ],
            "routers": [
                Router.existing(
                    id="r1",
                    name="campus-rt",
                    project_id="p1",
                    external_gateway_info={"network_id": "public"},
                    routes=[route],
                )
            ],
            "ports": [
                Port.existing(
                    id="x", network_id="n1", device_id="r1", fixed_ips=[{"ip_address": "10.77.0.1", "subnet_id": "s1"}]
                )
            ],
            "security_groups": [SecurityGroup.existing(id="g1", name="monitoring", project_id="p1")],
            "keys": {"laptop": KEY},
        } | lists
        super().__init__(**{key: its for key, its in has.items() if key != "keys"})
        self._keys: dict[str, str] = has["keys"]
        self.conn.compute.get_keypair = self._pair

    def _pair(self, name: str) -> Keypair:
        if name not in self._keys:
            raise NotFoundException
        return Keypair.existing(name=name, public_key=self._keys[name])


def look(
    plan: Plan = PLAN,
    *,
    observed: Observed | None = None,
    allowed: bool = False,
    roles: frozenset[str] | None = None,
    **lists: Any,
) -> Existing:
    """Look up what a plan uses in a cloud."""
    cloud = Cloud(**lists)
    cloud.roles = roles or cloud.roles
    return look_up(cloud, plan, observed or Observed(), addresses_allowed=allowed)  # type: ignore[arg-type]


def test_what_exists_is_found_and_nothing_of_it_is_made():
    found = look()
    assert found.problems == []
    assert (found.networks, found.routers, found.groups) == ({"campus": "n1"}, {"rt": "r1"}, {"monitoring": "g1"})
    assert found.subnets == {"campus": "s1"}
    changes = compare(PLAN, Observed(), key=KEY, existing=found)
    assert changes.problems == ()
    made = {(one.kind, one.name) for one in changes.changes}
    assert {one for one in made if one[0] in {"network", "router", "key pair"}} == {
        ("network", "t-lab"),
        ("network", "t-back"),
        ("router", "t-inner"),
    }
    # the interface on the topology's own network is the topology's; the one on the campus is not
    assert {name for kind, name in made if kind == "router interface"} == {"t-rt.lab", "t-inner.lab", "t-inner.back"}
    assert changes.ids.networks == {"campus": "n1"}
    assert changes.ids.routers == {"campus-rt": "r1"}
    assert [one.router for one in changes.routes] == ["t-inner"]  # not the existing one


def built(plan: Plan = PLAN) -> tuple[Observed, Existing]:
    """Return a cloud that has all of the plan: what carries the marker, and what exists beside it."""
    seen = as_built(plan)
    own_networks = {f"network:{network.name}" for network in plan.networks if not network.existing}
    own_ports = {one.port_name for router in plan.routers for one in router.interfaces if one.own}
    own_ports |= {port.cloud_name for host in plan.hosts for port in host.ports}
    for port in seen.ports:
        if port.name == "t-door":
            port.security_group_ids = [*port.security_group_ids, "g1"]
    observed = replace(
        seen,
        networks=tuple(one for one in seen.networks if one.id in own_networks),
        subnets=tuple(one for one in seen.subnets if one.network_id in own_networks),
        routers=tuple(one for one in seen.routers if one.id == "router:inner"),
        ports=tuple(one for one in seen.ports if one.name in own_ports),
        keypair=None,
    )
    found = Existing(
        networks={"campus": "network:campus"},
        subnets={"campus": "subnet:campus"},
        routers={"rt": "router:rt"},
        groups={"monitoring": "g1"},
        keypair=Keypair.existing(name="laptop", public_key=KEY),
    )
    return observed, found


def test_a_second_run_changes_nothing():
    observed, found = built()
    result = compare(PLAN, observed, key=KEY, existing=found)
    assert (result.changes, result.problems, result.routes) == ((), (), ())


def test_a_group_that_somebody_took_away_is_given_back():
    observed, found = built()
    port = next(one for one in observed.ports if one.name == "t-door")
    port.security_group_ids = ["group:door"]
    (change,) = compare(PLAN, observed, key=KEY, existing=found).changes
    assert (change.action, change.kind, change.after) == (
        "update",
        "port",
        {"security_groups": ["monitoring", "t-door"]},
    )


def test_a_teardown_leaves_what_exists():
    """It needs no file: the interface on the existing router is ours by its marker, the router is not."""
    observed, _ = built()
    gone = {(one.kind, one.name) for one in deletions(observed)}
    assert ("router interface", "t-rt.lab") in gone
    assert not gone & {("network", "campus"), ("router", "campus-rt"), ("router interface", "t-rt.campus")}


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"networks": []}, "Network campus (<text>:5): there is no network campus"),
        (
            {"networks": [Network.existing(id=one, name="campus", project_id=one) for one in ("n1", "n2")]},
            "2 networks are called campus; write the id of one: n1 (project n1); n2 (project n2)",
        ),
        (
            {"networks": [Network.existing(id="n1", name="campus", project_id="p1", description="netorder:t")]},
            "is this topology's own, not an existing one",
        ),
        (
            {"networks": [Network.existing(id="n1", name="campus", project_id="p1", is_admin_state_up=False)]},
            "is switched off",
        ),
        ({"networks": [Network.existing(id="n1", name="campus", project_id="p2")]}, "-e allow=fixed-address"),
        ({"subnets": [Subnet.existing(id="s", network_id="n1", cidr="10.9.0.0/24")]}, "`cidr` is one of: 10.9.0.0/24"),
        (
            {"subnets": [Subnet.existing(id="s1", network_id="n1", cidr="10.77.0.0/24", gateway_ip="10.77.0.254")]},
            "is 10.77.0.254, not 10.77.0.1: write `gateway: 10.77.0.254`",
        ),
        (
            {
                "subnets": [
                    Subnet.existing(
                        id="s1", network_id="n1", cidr="10.77.0.0/24", gateway_ip="10.77.0.1", is_dhcp_enabled=False
                    )
                ]
            },
            "has no DHCP, so hosts learn their addresses by a config drive alone: give door",
        ),
        (
            {
                "ports": [
                    Port.existing(id="y", network_id="n1", name="theirs", fixed_ips=[{"ip_address": "10.77.0.20"}])
                ]
            },
            "10.77.0.20 of host door is taken by port theirs",
        ),
        ({"routers": []}, "Router rt (<text>:9): there is no router campus-rt"),
        (
            {"routers": [Router.existing(id="r1", name="campus-rt", project_id="p1")]},
            "has no gateway to an external network in the cloud: write `external: false`",
        ),
        (
            {
                "routers": [
                    Router.existing(
                        id="r1", name="campus-rt", project_id="p1", external_gateway_info={"network_id": "x"}
                    )
                ]
            },
            "has no route to 192.168.8.0/24 via",
        ),
        ({"ports": []}, "does not have 10.77.0.1 on network campus"),
        (
            {
                "ports": [
                    Port.existing(id="x", network_id="n1", device_id="r1", fixed_ips=[{"ip_address": "10.77.0.1"}]),
                    Port.existing(
                        id="z",
                        network_id="n9",
                        device_id="r1",
                        fixed_ips=[{"ip_address": "192.168.0.1", "subnet_id": "s9"}],
                    ),
                ],
                "subnets": [
                    Subnet.existing(id="s1", network_id="n1", cidr="10.77.0.0/24", gateway_ip="10.77.0.1"),
                    Subnet.existing(id="s9", network_id="n9", cidr="192.168.0.0/16"),
                ],
            },
            "joins 192.168.0.0/16 already, which 192.168.7.0/24 of network lab overlaps",
        ),
        ({"security_groups": []}, "Security group monitoring (hosts: door): there is no security group monitoring"),
        ({"keys": {}}, "Key pair laptop (key_pair) does not exist for this login"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_changed(lists: dict[str, Any], said: str):
    assert said in "\n".join(look(**lists).problems)


def test_of_several_that_of_the_own_project_is_meant():
    """An administrator sees each project's."""
    both = [
        SecurityGroup.existing(id=f"g-{project}", name="monitoring", project_id=project) for project in ("p2", "p1")
    ]
    found = look(security_groups=both)
    assert (found.groups, found.problems) == ({"monitoring": "g-p1"}, [])


def test_addresses_on_others_networks_are_chosen_where_that_is_known_to_be_allowed():
    theirs = [Network.existing(id="n1", name="campus", project_id="p2")]
    assert look(networks=theirs, allowed=True).problems == []
    assert look(networks=theirs, roles=frozenset({"admin"})).problems == []


def test_a_cloud_is_asked_for_nothing_where_the_plan_uses_nothing():
    plain = build_plan(parse("topology: t\nnetworks: {a: {cidr: 10.0.0.0/24}}\nhosts: {h: {network: a}}\n"))
    assert look_up(SimpleNamespace(roles=()), plan=plain, observed=Observed(), addresses_allowed=False) == Existing()  # type: ignore[arg-type]


def test_the_key_pair_must_hold_the_controllers_key():
    other = look(keys={"laptop": KEY.replace("F1nH", "F1nX")})
    (problem,) = compare(PLAN, Observed(), key=KEY, existing=other).problems
    assert "Key pair laptop (key_pair) holds another public key" in problem


def test_what_existing_groups_let_in_is_not_judged():
    """The plan cannot know it, so verify tries nothing that they may open; what the file opens it tries."""
    text = TEXT.replace("10.77.0.1}", "10.77.0.1, reachable: true}") + "allow: [{from: anywhere, to: door, tcp: 22}]\n"
    matrix = Matrix(build_plan(parse(text)))
    assert [(one.address, one.port, one.open) for one in from_outside(matrix, matrix.hosts["door"])] == [
        ("10.77.0.20", 22, True)
    ]
    reason = matrix.explain("outside", "door", "tcp", 9100).reason
    assert "what its existing security groups (monitoring) allow is not in the plan" in reason


def test_the_counts_leave_out_what_is_not_the_topologys():
    counts = unchanged(PLAN, [])
    assert (counts["network"], counts["router"], counts["router interface"]) == (2, 1, 3)
    assert "key pair" not in counts


# Floating addresses

SHOP = """
topology: t
networks: {a: {cidr: 10.0.1.0/24}, b: {cidr: 10.0.2.0/24}}
routers: {r: {external: true, networks: [a, b]}}
hosts:
  web: {network: a, floating_ip: WEB}
  app: {networks: [a, b], floating_ip: APP}
"""


def shop(web: object = "false", app: object = "false") -> Plan:
    return build_plan(parse(SHOP.replace("WEB", str(web)).replace("APP", str(app))))


def ip(address: str, port: str | None = None, description: str | None = "netorder:t") -> FloatingIP:
    return FloatingIP.existing(
        id=f"ip-{address}",
        name=address,
        floating_ip_address=address,
        port_id=port and f"port:{port}",
        description=description,
        floating_network_id="public",
    )


def floating(plan: Plan, *own: FloatingIP, others: tuple[FloatingIP, ...] = ()) -> list[tuple[object, ...]]:
    """Return the changes of floating IPs, where all else is as planned, as (action, name, before, after)."""
    observed = replace(as_built(plan), floating_ips=own, other_floating_ips=others)
    found = compare(plan, observed, key=KEY)
    assert {one.kind for one in found.changes} <= {floating_ip.KIND}
    return [(one.action, one.name, one.before, one.after) for one in found.changes] + list(found.problems)


GIVEN, OWN, OTHER = "172.24.4.7", "172.24.4.8", "172.24.4.9"


def test_a_given_address_is_associated_and_let_go():
    free = ip(GIVEN, None, "mine")
    (change,) = floating(shop(GIVEN), others=(free,))
    assert change == ("update", "web", {"address": GIVEN, "port": None}, {"address": GIVEN, "port": "t-web"})
    assert floating(shop(GIVEN), others=(ip(GIVEN, "t-web", "mine"),)) == []
    (release,) = compare(shop(), replace(as_built(shop()), other_floating_ips=(ip(GIVEN, "t-web"),)), key=KEY).changes
    assert isinstance(release, floating_ip.FloatingRelease)
    assert (release.stays, release.permission) == (True, "delete")


def test_a_given_address_that_is_not_there_or_somebody_elses():
    (missing,) = floating(shop(GIVEN), others=(ip(OTHER, None, ""),))
    assert missing.startswith(f"Host web: this project has no floating address {GIVEN}; it has: {OTHER}.")
    (held,) = floating(shop(GIVEN), others=(ip(GIVEN, "not-ours", ""),))
    assert f"floating address {GIVEN} leads to port port:not-ours, which is not this topology's" in held


@pytest.mark.parametrize("given", [True, False])
def test_an_address_moves_with_the_word_in_the_file(given: bool):
    """From web to app, which has it on its second network: one request, nothing is deleted."""
    there = ip(GIVEN, "t-web", "mine" if given else "netorder:t")
    word = f"{{network: b, address: {GIVEN}}}" if given else "{network: b}"
    (change,) = floating(shop(app=word), *(() if given else (there,)), others=(there,) if given else ())
    assert change == ("update", "app", {"address": GIVEN, "port": "t-web"}, {"address": GIVEN, "port": "t-app.b"})


def test_two_addresses_of_one_host():
    both = shop(app="[{network: b}, {network: a}]")
    assert [one[:2] for one in floating(both)] == [("create", "app"), ("create", "app.b")]
    assert floating(both, ip(OWN, "t-app"), ip(OTHER, "t-app.b")) == []


def test_kept_addresses_are_noted_and_come_back_to_their_host():
    plan = shop("{keep: true}", "{keep: true}")
    mine = [ip(OWN, None, kept("t", "app", "a")), ip(OTHER, None, kept("t", "web", "a"))]
    changes = floating(plan, *mine)
    assert [(one[1], one[3]["address"]) for one in changes] == [("web", OTHER), ("app", OWN)]  # type: ignore[index]
    assert floating(shop(), *mine) == []  # they wait
    note = floating(shop("{keep: true}"), ip(OWN, "t-web"))
    assert note == [("update", "web", {"keep": None}, {"keep": "web on a"})]
    assert floating(shop("true"), ip(OWN, "t-web", kept("t", "web", "a"))) == [
        ("update", "web", {"keep": "web on a"}, {"keep": None})
    ]


@pytest.mark.parametrize("keep", [True, False])
def test_an_address_that_a_killed_run_took_off_one_host_still_comes_to_the_other(keep: bool):
    """It is off before it is put there, and between is free: a kept one would else wait for its old host."""
    word = "{keep: true}" if keep else "true"
    had = kept("t", "web", "a") if keep else "netorder:t"
    found = compare(shop(app=word), replace(as_built(shop()), floating_ips=(ip(OWN, "t-web", had),)), key=KEY)
    (change,) = floating_ip.loosened(found)
    sent: dict[str, object] = {}
    conn: Any = SimpleNamespace(network=SimpleNamespace(update_ip=lambda _, **fields: sent.update(fields)))
    floating_ip.release(conn, change)
    assert sent["port_id"] is None
    (again,) = floating(shop(app=word), ip(OWN, None, str(sent["description"])))
    assert again == ("update", "app", {"address": OWN, "port": None}, {"address": OWN, "port": "t-app"})


def test_a_teardown_keeps_what_is_kept_and_lets_go_what_is_given():
    observed = replace(
        as_built(shop("true")),
        floating_ips=(ip(OWN, "t-app", kept("t", "app", "a")), ip("172.24.4.10", "t-web")),
        other_floating_ips=(ip(GIVEN, "t-web", "mine"), ip(OTHER, "elsewhere", "mine")),
    )
    stays = {one.name: one.stays for one in deletions(observed) if isinstance(one, floating_ip.FloatingRelease)}
    assert stays == {OWN: True, "172.24.4.10": False, GIVEN: True}
    assert OWN not in " ".join(observed.leftovers())
    all_of_them = {
        one.name: one.stays for one in deletions(observed, kept=False) if isinstance(one, floating_ip.FloatingRelease)
    }
    assert all_of_them == {OWN: False, "172.24.4.10": False, GIVEN: True}


# Where runs keep what they need


@pytest.mark.parametrize(
    ("declared", "environment", "name"),
    [
        ("north", {"OS_CLOUD": "south"}, "north"),
        (None, {"OS_CLOUD": "my cloud/2"}, "my_cloud_2"),
        (
            None,
            {"OS_AUTH_URL": "https://keystone.example.org:5000/v3", "OS_PROJECT_NAME": "lab"},
            "keystone.example.org-lab",
        ),
        (None, {"OS_CLOUD": "../x"}, "_x"),
        (None, {}, "default"),
    ],
)
def test_the_clouds_directory(declared: str | None, environment: dict[str, str], name: str):
    assert state.cloud_name(declared, environment) == name


CLOUDS = """
clouds:
  north:
    auth: {auth_url: "http://127.0.0.1:1/v3", username: u, password: p, project_name: lab}
    regions: [RegionOne, RegionTwo]
"""


def test_a_region_of_a_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is that of every login, also of the inventory's, and has a directory of its own."""
    (tmp_path / "clouds.yaml").write_text(CLOUDS)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.setenv("OS_CLOUD", "another")
    text = TEXT.replace("topology: t", "topology: t\ncloud: {name: north, region: RegionTwo}")
    cloud = build_plan(parse(text)).cloud
    assert cloud == "north (RegionTwo)"
    assert cloud_and_region(cloud) == ("north", "RegionTwo")
    assert cloud_and_region("north") == ("north", None)
    assert state.cloud_name(cloud, {}) == "north-RegionTwo"
    plugin = SourceFileLoader("inventory", str(ROOT / "plugins/inventory/netorder_openstack_servers.py")).load_module()
    config = plugin.upstream.openstack.config.loader.OpenStackConfig
    with plugin._in_region("RegionTwo"):
        assert config().get_one(cloud="north").region_name == "RegionTwo"
    with plugin._in_region(None):
        assert config().get_one(cloud="north").region_name == "RegionOne"
    asked: list[str] = []

    def log_in(its: Any) -> None:
        asked.append(its.auth.auth_url)
        raise CloudError("far enough")

    monkeypatch.setattr(session, "_log_in", log_in)
    made: list[Any] = []
    monkeypatch.setattr(session, "Cloud", lambda conn, _: made.append(conn.config.region_name))
    for name in (cloud, "north"):
        with pytest.raises(CloudError, match="far enough"):
            session.connect(lambda _: None, name)
    assert (made, asked) == (["RegionTwo", "RegionOne"], ["http://127.0.0.1:1/v3"] * 2)
    with pytest.raises(CloudError, match="RegionThree"):
        session.connect(lambda _: None, "north (RegionThree)")


def test_what_was_kept_before_moves_into_its_cloud(tmp_path: Path):
    """Nothing is lost, nothing that is there is replaced, and a cloud called as a topology is left alone."""
    old = tmp_path / "shop"
    (old / "other").mkdir(parents=True)
    for name in ("ssh_config", "database.password", "other.lock", "other/ssh_config"):
        (old / name).write_text(name)
    (tmp_path / "waits/shop").mkdir(parents=True)
    (tmp_path / "waits/shop/ssh").write_text("12")
    (tmp_path / "id_ed25519").write_text("key")
    found = state.directory(tmp_path, "north", "shop")
    assert found == tmp_path / "north/shop"
    assert sorted(one.name for one in found.iterdir()) == ["database.password", "ssh_config"]
    assert sorted(one.name for one in old.iterdir()) == ["other", "other.lock"]
    assert (tmp_path / "north/waits/shop/ssh").read_text() == "12"
    (old / "ssh_config").write_text("stale")
    assert state.directory(tmp_path, "north", "shop") == found
    assert (found / "ssh_config").read_text() == "ssh_config"
    assert state.directory(tmp_path, "south", "shop") == tmp_path / "south/shop"
