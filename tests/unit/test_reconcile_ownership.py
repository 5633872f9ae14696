"""What is a topology's own: everything that is deleted or changed carries its marker, the key pair too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from openstack.compute.v2.keypair import Keypair
from openstack.compute.v2.server import Server
from openstack.compute.v2.server_group import ServerGroup
from openstack.exceptions import ForbiddenException, NotFoundException
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.subnet import Subnet
from test_reconcile_compare import KEY, PLAN, as_built, brief, compare, only_problem, work

from netorder.cloud import poll, session
from netorder.cloud.change import keypair_marker, marker
from netorder.cloud.observe import Observed, is_neutrons_own, is_router_port, let_finish, observe
from netorder.cloud.resources import keypair
from netorder.cloud.teardown import deletions, teardown
from netorder.cloud.waits import Waits
from netorder.errors import CloudError

BARE = " ".join(KEY.split()[:2])
OTHER = BARE.replace("F1nH", "F1nX")
OURS = f"{BARE} netorder:lab@p1"
MARK = marker("lab")


class FakeCloud:
    """A cloud that lists what it is given, and notes what is deleted."""

    project = "p1"
    patience = 90.0
    waits = Waits()
    in_flight = 0.0
    clock_ahead = 0.0
    phase = ""

    def __init__(self, public_key: str | None = None, **lists: list[Any]) -> None:
        self.deleted: list[str] = []
        self.told: list[str] = []
        self.progress = self.told.append
        self.pair = Keypair.existing(name="lab-key", public_key=public_key) if public_key else None
        kinds = ("networks", "subnets", "subnet_pools", "routers", "ports", "security_groups", "ips")
        network = {kind: lambda kind=kind, **_: list(lists.get(kind, ())) for kind in kinds}
        compute = {
            "get_endpoint_data": lambda: SimpleNamespace(max_microversion=(2, 90)),
            "servers": lambda **_: list(lists.get("servers", ())),
            "get_keypair": self._get_keypair,
            "server_groups": lambda: [one for one in lists.get("server_groups", ()) if one.id not in self.deleted],
            "delete_server_group": lambda ident, **_: self.deleted.append(ident),
            "delete_keypair": self._delete_keypair,
        }
        network["delete_network"] = self.deleted.append
        image = SimpleNamespace(images=lambda **_: list(lists.get("images", ())), delete_image=self._delete_image)
        self.conn = SimpleNamespace(network=SimpleNamespace(**network), compute=SimpleNamespace(**compute), image=image)

    def _delete_image(self, ident: str, **_: object) -> None:
        self.deleted.append(ident)

    def _get_keypair(self, _name: str) -> Keypair:
        if not self.pair:
            raise NotFoundException
        return self.pair

    def _delete_keypair(self, name: str) -> None:
        self.deleted.append(name)
        self.pair = None

    def relay(self) -> None:
        """Nothing was noted."""

    def note_times(self, *_: object) -> None:
        """No times are kept."""


@pytest.mark.parametrize(
    "public_key",
    [
        BARE,
        KEY,
        f"{BARE} netorder",  # made by netorder before there was a marker, or by the user
        f"{BARE} netorder:lab",
        f"{BARE} netorder:lab@p2",  # key pairs are a user's, of all projects: another project's topology of this name
        f"{BARE} netorder:laboratory@p1",
        f"{BARE} netorder:lab@p1 and more",
        f"{OTHER} me@here",
        "ssh-rsa AAAAB3NzaC1yc2E=",
    ],
)
def test_a_key_pair_without_our_marker_stays(public_key: str):
    cloud: Any = FakeCloud(public_key)
    observed = observe(cloud, "lab")
    assert (observed.keypair, observed.foreign_keypair) == (None, cloud.pair)
    assert teardown(cloud, "lab", check=False) == []
    assert cloud.deleted == []
    assert cloud.told == ["key pair lab-key stays: it does not carry this topology's marker"]


def test_a_key_pair_with_our_marker_goes_whatever_key_it_holds():
    for public_key in (OURS, f"{OTHER} netorder:lab@p1"):
        cloud: Any = FakeCloud(public_key)
        assert [(c.action, c.kind, c.name) for c in teardown(cloud, "lab", check=False)] == [
            ("delete", "key pair", "lab-key")
        ]
        assert cloud.deleted == ["lab-key"]


def test_the_key_pair_is_made_with_the_marker_that_it_is_known_by():
    made: dict[str, str] = {}
    one = work(PLAN, replace(as_built(), keypair=None))
    compute = SimpleNamespace(create_keypair=lambda **fields: made.update(fields))
    one.cloud = SimpleNamespace(conn=SimpleNamespace(compute=compute), project="p1")  # type: ignore[assignment]
    for job in keypair.jobs(one):
        job.call()
    assert made == {"name": "calculator-key", "public_key": f"{BARE} {keypair_marker('calculator', 'p1')}"}
    cloud: Any = FakeCloud(made["public_key"])
    assert observe(cloud, "calculator").keypair


def test_the_users_own_key_pair_is_used_if_it_holds_our_key():
    foreign = replace(as_built(), keypair=None, foreign_keypair=Keypair.existing(name="x", public_key=BARE))
    assert brief(foreign) == []


@pytest.mark.parametrize(("key", "said"), [(KEY, "this controller's public key"), (None, "will make")])
def test_the_users_own_key_pair_with_another_key_is_named_with_ways_out(key, said):
    """Not the teardown: that deletes only what is ours."""
    foreign = replace(as_built(), keypair=None, foreign_keypair=Keypair.existing(name="x", public_key=OTHER))
    problem = only_problem(foreign, key=key)
    assert "not this topology's" in problem
    assert said in problem
    assert "openstack keypair delete calculator-key" in problem
    assert "tear down" not in problem


def test_server_groups_are_the_topologys_by_the_end_of_their_name():
    """Which names the topology in full; one that somebody called alike stays."""
    names = ("lab-web (netorder:lab)", "lab-web", "lab-web (netorder:lab2)", "x-lab-web (netorder:lab) ")
    groups = [ServerGroup.existing(id=f"g{n}", name=name, policy="affinity") for n, name in enumerate(names)]
    cloud: Any = FakeCloud(server_groups=groups)
    assert [one.id for one in observe(cloud, "lab").server_groups] == ["g0"]
    assert [(c.action, c.kind) for c in teardown(cloud, "lab", check=False)] == [("delete", "server group")]
    assert cloud.deleted == ["g0"]


@pytest.mark.parametrize("error", [ForbiddenException, NotFoundException])
def test_a_cloud_without_server_groups_has_none(error):
    def refuse() -> None:
        raise error

    cloud: Any = FakeCloud()
    cloud.conn.compute.server_groups = refuse
    assert observe(cloud, "lab").server_groups is None
    assert teardown(cloud, "lab", check=False) == []


def test_what_an_api_lists_unasked_is_others():
    """Nova before 2.26 passes over `tags`, a Neutron may over `description`: then all of a project is listed."""
    payroll = Server.existing(id="s1", name="payroll-db", tags=["other"], status="ACTIVE")
    mine = Server.existing(id="s2", name="lab-web", tags=[MARK, "more"], status="ACTIVE")
    nets = [Network.existing(id="n1", name="payroll", description=""), Network.existing(id="n2", description=MARK)]
    cloud: Any = FakeCloud(servers=[payroll, mine], networks=nets)
    found = observe(cloud, "lab")
    assert ([one.id for one in found.servers], [one.id for one in found.networks]) == (["s2"], ["n2"])


def test_a_pinned_microversion_is_not_used(monkeypatch):
    """By OS_COMPUTE_API_VERSION=2.1 Nova would pass over the question for our servers alone."""
    compute = SimpleNamespace(default_microversion="2.1")
    conn = SimpleNamespace(session=SimpleNamespace(timeout=9), network=None, compute=compute)
    monkeypatch.setattr(session.openstack, "connect", lambda **_: conn)
    monkeypatch.setattr(session, "_log_in", lambda _: None)
    monkeypatch.setattr(session, "Cloud", lambda conn, _: SimpleNamespace(conn=conn))
    assert session.connect(print).conn.compute.default_microversion is None


def test_a_cloud_without_routers_has_none():
    """A Neutron of provider networks alone answers 404 to the questions for routers and floating IPs."""

    def missing(**_):
        raise NotFoundException

    cloud: Any = FakeCloud(networks=[Network.existing(id="n2", description=MARK)])
    cloud.conn.network.routers = cloud.conn.network.ips = missing
    found = observe(cloud, "lab")
    assert (found.routers, found.floating_ips, len(found.networks)) == ((), (), 1)
    cloud.conn.network.networks = missing  # which each has
    with pytest.raises(CloudError):
        observe(cloud, "lab")


def with_foreign_subnet() -> Observed:
    """Return the cloud with somebody's second subnet on one of the networks."""
    built = as_built()
    subnets = {net.id: [s.id for s in built.subnets if s.network_id == net.id] for net in built.networks}
    for net in built.networks:
        net._update(subnets=subnets[net.id] + ["theirs"] * (net.name == "calculator-net1"))
    return built


def test_a_network_with_somebodys_subnet_on_it_is_not_deleted():
    """Neutron would delete the subnet with it."""
    observed = with_foreign_subnet()
    assert brief(observed) == []
    spare = Network.existing(id="n2", name="calculator-net9", subnets=["theirs"], admin_state_up=True)
    assert "theirs" in only_problem(replace(as_built(), networks=(*as_built().networks, spare)))
    _, problems = compare(PLAN, replace(as_built(), networks=(*as_built().networks, spare)), key=KEY)
    assert problems[0].startswith("Network calculator-net9 would take what is not the topology's with it")


@pytest.mark.parametrize("check", [True, False])
def test_nor_is_it_torn_down(check):
    mine = Subnet.existing(id="s1", name="lab-net", network_id="n1", description=MARK)
    for subnets, ends in ((["s1"], True), (["s1", "theirs"], False)):
        net = Network.existing(id="n1", name="lab-net", subnets=subnets, description=MARK)
        cloud: Any = FakeCloud(networks=[net], subnets=[mine])
        if ends and check:
            assert [c.kind for c in teardown(cloud, "lab", check=True)] == ["network"]
        elif not ends:
            with pytest.raises(CloudError, match=r"subnet\(s\) theirs: .* Delete it first"):
                teardown(cloud, "lab", check=check)
            assert cloud.deleted == []


def test_deletions_leave_the_foreign_key_pair_out():
    observed = Observed(foreign_keypair=Keypair.existing(name="lab-key", public_key=BARE))
    assert deletions(observed) == []
    assert observed.leftovers() == []


@pytest.mark.parametrize(
    ("owner", "own", "interface"),
    [
        ("network:dhcp", True, False),
        ("network:distributed", True, False),
        ("network:router_centralized_snat", True, False),
        ("network:floatingip_agent_gateway", True, False),
        ("network:router_ha_interface", True, False),
        ("network:routed", True, False),
        ("network:some_driver", True, False),
        ("network:router_interface", False, True),
        ("network:router_interface_distributed", False, True),
        ("network:ha_router_replicated_interface", False, True),
        ("network:router_gateway", False, False),
        ("network:vpn_router_gateway", False, False),
        ("network:floatingip", False, False),
        ("network:local_ip", False, False),
        ("neutron:LOADBALANCERV2", False, False),
        ("Octavia", False, False),
        ("manila:share", False, False),
        ("trunk:subport", False, False),
        ("compute:nova", False, False),
        ("baremetal:none", False, False),
        ("", False, False),
        (None, False, False),
    ],
)
def test_whose_a_port_is(owner, own, interface):
    port = Port.existing(id="p", device_owner=owner)
    assert (is_neutrons_own(port), is_router_port(port)) == (own, interface)


@pytest.mark.parametrize("owner", ["network:router_interface_distributed", "network:ha_router_replicated_interface"])
def test_interfaces_of_distributed_and_highly_available_routers_are_the_routers(owner):
    """Nothing to do where all is as planned; detached, not deleted as a port, where it goes."""
    built = as_built()
    for port in built.ports:
        if is_router_port(port):
            port._update(device_owner=owner)
    assert brief(built) == []
    kinds = [change.kind for change in deletions(built)]
    assert kinds.count("router interface") == 3
    one_less = replace(
        PLAN, routers=(PLAN.routers[0], replace(PLAN.routers[1], interfaces=PLAN.routers[1].interfaces[1:]))
    )
    changes, _ = compare(one_less, built, key=KEY)
    gone = next(change for change in changes if change.action == "delete")
    assert (gone.kind, gone.router_id) == ("router interface", "router:rt2")


def test_times_with_and_without_a_zone_are_of_one_clock():
    """Not every release of every service says that its times are UTC."""
    made = [
        Network.existing(id="n1", created_at="2026-01-01T00:00:05Z"),
        Network.existing(id="n2", created_at="2026-01-01T00:00:07"),
    ]
    assert Observed(networks=tuple(made)).youngest() == datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ahead", "made_ago", "waits"),
    [
        (0.0, 5, True),
        (0.0, 60, False),
        (40.0, 45, True),
        (40.0, 5, False),
        (-40.0, -35, True),
        (-40.0, -20, False),
        (0.0, -20, False),  # another clock inside the cloud
        (1.0, 0, True),  # the cloud tells whole seconds
    ],
)
def test_how_old_something_is_the_clouds_clock_says(monkeypatch, ahead: float, made_ago: int, waits: bool):
    """What a run that was killed asked for may be under way still, whatever the time is here."""
    paused: list[float] = []
    monkeypatch.setattr(poll.time, "sleep", paused.append)
    made = datetime.now(UTC) - timedelta(seconds=made_ago)
    observed = Observed(networks=(Network.existing(id="n", created_at=made.isoformat()),))
    cloud: Any = FakeCloud()
    cloud.in_flight, cloud.clock_ahead = 15.0, ahead
    cloud.say = cloud.progress
    assert (let_finish(cloud, "lab", observed) is not observed) is waits
    assert bool(paused) is waits
