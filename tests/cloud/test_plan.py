"""A preview shows what the run then does, resource by resource; and a running topology changes into another."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from netorder.errors import CloudError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

NEUTRON = {
    "router interface": "port",
    "security group": "security_group",
    "floating IP": "ip",
    "key pair": "keypair",
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g anna"
BASE: dict[str, Any] = {
    "networks": {"front": {"cidr": "10.1.0.0/24", "routes": "router"}, "back": {"cidr": "10.2.0.0/24"}},
    "routers": {"edge": {"external": True, "networks": ["front"]}, "inner": {"networks": ["front", "back"]}},
    "hosts": {
        "web": {"network": "front", "floating_ip": True},
        "app": {"network": "back"},
        "db": {"network": "back"},
    },
    "allow": [
        {"from": "anywhere", "to": "web", "tcp": [80]},
        {"from": "web", "to": ["app", "db"], "tcp": [22, 8000]},
        {"from": "10.0.0.0/8", "to": "web", "tcp": [22]},
    ],
}


def edited(*edits: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    topology = copy.deepcopy(BASE)
    for edit in edits:
        edit(topology)
    return topology


def add_network(t):
    t["networks"]["store"] = {"cidr": "10.3.0.0/24"}
    t["routers"]["inner"]["networks"].append("store")
    t["hosts"]["disk"] = {"network": "store"}


def add_further(t):
    t["networks"]["more"] = {"cidr": "10.2.1.0/24", "subnet_of": "back"}
    t["routers"]["inner"]["networks"].append("more")
    t["hosts"]["disk"] = {"network": "more"}


def no_db(t):
    del t["hosts"]["db"]
    t["allow"][1]["to"] = "app"


def no_app(t):
    del t["hosts"]["app"]
    t["allow"][1]["to"] = "db"


def no_back(t):
    del t["networks"]["back"], t["routers"]["inner"], t["hosts"]["app"], t["hosts"]["db"]
    t["allow"] = [t["allow"][0], t["allow"][2]]


def six_too(t):
    for number, name in enumerate(("front", "back"), 1):
        t["networks"][name]["cidr"] = [f"10.{number}.0.0/24", f"fd00:{number}::/64"]


CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    # name: the topology changed into, what its changes are (action kind) from the base
    "a host more": (
        edited(lambda t: t["hosts"].update(extra={"network": "back"})),
        {"create port", "create server", "create security group"},
    ),
    "a host less": (
        edited(no_db),
        {"delete port", "delete server"},
    ),
    "the first of those let in the same less": (
        edited(no_app),
        {"delete port", "delete server", "update security group"},
    ),
    "a rule for one of those let in the same": (
        edited(lambda t: t["allow"].append({"from": "web", "to": "db", "tcp": [9000]})),
        {"create security group", "update port"},
    ),
    "a rule for each of those let in the same": (
        edited(lambda t: t["allow"].extend({"from": "web", "to": to, "udp": [9000 + len(to)]} for to in ("db", "app"))),
        {"create security group", "update port", "delete security group"},
    ),
    "a network more": (
        edited(add_network),
        {"create network", "create subnet", "create router interface", "create port", "create server",
         "create security group", "update router"},
    ),
    "a further subnet": (
        edited(add_further),
        {"create subnet", "create router interface", "create port", "create server", "create security group",
         "update router"},
    ),
    "a network and a router less": (
        edited(no_back),
        {"delete network", "delete router interface", "delete router", "delete port", "delete server",
         "delete security group", "update router"},
    ),
    "a rule": (edited(lambda t: t["allow"][0].update(tcp=[443])), {"update security group"}),
    "a floating IP more": (edited(lambda t: t["hosts"]["web"].update(floating_ip=False)), {"delete floating IP"}),
    "name servers": (edited(lambda t: t["networks"]["back"].update(dns_nameservers=["10.1.0.53"])), {"update subnet"}),
    "a second interface": (
        edited(lambda t: t["hosts"].update(app={"networks": ["back", "front"]})),
        {"create port", "update server"},
    ),
    "another address": (
        edited(lambda t: t["hosts"]["app"].update(address="10.2.0.77")), {"replace port", "update server"}
    ),
    "another network": (
        edited(lambda t: t["hosts"]["app"].update(network="front")),
        {"replace port", "update server"},
    ),
    "another prefix": (
        edited(lambda t: t["networks"]["back"].update(cidr="10.9.0.0/24")),
        {"replace subnet", "replace port", "replace router interface", "update server", "update router"},
    ),
    "tags and metadata": (
        edited(lambda t: t["hosts"]["app"].update(tags=["web", "two words", "50%"], metadata={"tier": "back", "n": 1})),
        {"update server"},
    ),
    "a zone, which is the one there is": (
        edited(lambda t: t["hosts"]["app"].update(availability_zone="nova")), set()
    ),
    "a server group": (
        edited(lambda t: t["hosts"]["app"].update(server_group="soft-anti-affinity")),
        {"create server group", "replace server"},
    ),
    "user data and a user": (
        edited(lambda t: t["hosts"]["app"].update(user_data="#!/bin/true", users=[
            {"name": "anna", "ssh_authorized_keys": KEY}])),
        {"replace server"},
    ),
    "IPv6 too": (
        edited(six_too),
        {"create subnet", "create router interface", "update port", "update router", "update security group"},
    ),
    "another prefix in front": (
        edited(lambda t: t["networks"]["front"].update(cidr="10.8.0.0/24")),
        {"replace subnet", "replace port", "replace router interface", "update server", "update router",
         "update floating IP", "update security group"},
    ),
}  # fmt: skip


def effect(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Counter[tuple[str, str]]]:
    """Return what became of resources between two listings: created, deleted and changed, as (kind, name) counts."""
    return {
        "create": Counter(after[i][:2] for i in after.keys() - before.keys()),
        "delete": Counter(before[i][:2] for i in before.keys() - after.keys()),
        "update": Counter(after[i][:2] for i in after.keys() & before.keys() if after[i] != before[i]),
    }


def promised(changes: list[dict[str, Any]], before: dict[str, Any]) -> dict[str, Counter[tuple[str, str]]]:
    """Return the same from a preview. A floating IP's name is its address, which a new one has only later."""
    counts: dict[str, Counter[tuple[str, str]]] = {"create": Counter(), "delete": Counter(), "update": Counter()}
    told = {(change["kind"], change["name"]) for change in changes}
    for change in changes:
        kind = NEUTRON.get(change["kind"], change["kind"])
        one = (kind, "" if kind == "ip" else change["name"])
        for action in ("create", "delete") if change["action"] == "replace" else (change["action"],):
            counts[action][one] += 1
        if kind == "network" and change["action"] == "delete":  # its subnets go with it
            mine = [subnet for subnet in before.values() if subnet[0] == "subnet" and subnet[1] == change["name"]]
            counts["delete"].update((kind, name) for kind, name, _ in mine if (kind, name) not in told)
    return counts


def nameless(counts: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Return counts with floating IPs without their addresses."""
    return Counter({key: sum(counts[k] for k in counts if (k if k[0] != "ip" else ("ip", "")) == key)
                    for key in {k if k[0] != "ip" else ("ip", "") for k in counts}})  # fmt: skip


def does_as_previewed(site, topology) -> list[dict[str, Any]]:
    """Preview, then run; return the changes, which both must show, and which must be what became of the cloud."""
    before = site.listing()
    preview = site.run(topology, check=True)
    assert site.listing() == before, "a preview changes nothing"
    if preview["needs_allow"]:
        with pytest.raises(CloudError, match=r"Nothing was changed: .* -e allow="):
            site.run(topology)
        assert site.listing() == before, "a run that is not allowed changes nothing"
    done = site.run(topology, allow=("delete", "replace"))
    assert done["changes"] == preview["changes"]
    found, told = effect(before, site.listing()), promised(preview["changes"], before)
    for action in ("create", "delete"):
        assert nameless(found[action]) == told[action], action
    # one of ours that changed and was not told of would be a surprise; an interface's port follows its router
    surprises = nameless(found["update"]) - told["update"]
    assert not {one for one in surprises if one[0] not in {"port", "ip"} or one[1] in told["update"]}, surprises
    again = site.run(topology, allow=("delete", "replace"))
    assert again["changes"] == []
    later = [one for one in site.marked() if one.startswith("port ") and one.endswith(".ipv6")]
    assert sum(again["unchanged"].values()) == len(site.marked()) - len(later), "an interface may have two ports"
    return preview["changes"]


# what others prove too, in parts: for make test-full
SLOW = {
    "a host more", "a host less", "a rule", "a rule for each of those let in the same", "name servers",
    "tags and metadata", "a zone, which is the one there is", "another network", "another prefix in front",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full) if name in SLOW else name for name in CHANGES]
)
def test_a_change_is_previewed_done_and_taken_back(request, name):
    """From the base to the changed topology and back; both as previewed."""
    topology, expected = CHANGES[name]
    # which of the hosts' groups stands for all of them depends on what was before
    site = request.getfixturevalue("site" if "let in the same" in name else "lasting")
    site.run(BASE, allow=("delete", "replace"))  # of one that lasts it is there, unless the test before failed
    changes = does_as_previewed(site, topology)
    assert {f"{c['action']} {c['kind']}" for c in changes} == expected
    does_as_previewed(site, BASE)


def test_a_further_subnet_moves(site, cloud):
    """To another network of the cloud's, to its own and back: it and its ports are made anew, and nothing else is."""
    site.run(edited(add_further))
    ids = {one: cloud.network.find_network(f"lab-{one}").id for one in ("front", "back")}
    for to in ("front", None, "back"):
        moved = edited(add_further)
        moved["networks"]["more"]["subnet_of"] = to
        if to is None:
            del moved["networks"]["more"]["subnet_of"]
        changes = does_as_previewed(site, moved)
        kinds = {f"{one['action']} {one['kind']}" for one in changes} - {"create network", "delete network"}
        assert kinds - {"update router"} == {
            "replace subnet", "replace port", "replace router interface", "update server"
        }  # fmt: skip
        assert {one["name"] for one in changes if one["kind"] in {"subnet", "port"}} == {"lab-more", "lab-disk"}
        on = cloud.network.find_subnet("lab-more").network_id
        assert on == (ids[to] if to else cloud.network.find_network("lab-more").id)
        assert {one: cloud.network.find_network(f"lab-{one}").id for one in ids} == ids


def test_hosts_that_part_are_never_without_their_rules(site):
    """They move to another group when that has its rules, and the old one goes when they have moved."""
    site.run(BASE)
    parted, _ = CHANGES["a rule for each of those let in the same"]
    times = site.run(parted, allow=("delete", "replace"))["timings"]
    rules, moves, deletions = (
        [one for one in times if (one["kind"], one["action"]) == what]
        for what in (("rule set", "update"), ("port", "update"), ("security group", "delete"))
    )
    assert [len(rules), len(moves), len(deletions)] == [2, 2, 1]
    for first, then in ((rules, moves), (moves, deletions)):
        ended = max(one["start"] + one["seconds"] for one in first)
        assert ended <= min(one["start"] for one in then) + 0.002, "times are kept in thousandths"


def test_a_larger_flavor_but_not_back(site):
    """A server is resized in place; to a smaller disk it is not, and that is refused before anything is changed."""
    site.run(BASE)
    larger = edited(lambda t: t["hosts"]["app"].update(flavor="small2"))
    assert [f"{c['action']} {c['kind']}" for c in does_as_previewed(site, larger)] == ["update server"]
    before = site.listing()
    for check in (True, False):
        with pytest.raises(RefusedError, match="a disk does not shrink") as refused:
            site.run(edited(no_db), check=check, allow=("delete", "replace"))
        told = {(change.action, change.kind) for change in refused.value.preview.changes}
        assert {("delete", "server"), ("delete", "port")} <= told, "what would be done beside it"
    assert site.listing() == before


def test_from_nothing(site):
    """Everything is created, as previewed; the user's key is there from an earlier run."""
    site.run(BASE)
    site.gone()
    changes = does_as_previewed(site, BASE)
    assert {change["action"] for change in changes} == {"create"}


def test_what_is_not_ours_stays(site, cloud):
    """Another's router, port, rule, server and floating IP beside ours are as they were, whatever is done to ours."""
    site.run(BASE)
    network = cloud.network
    group = network.create_security_group(name="theirs")
    other = network.create_network(name="theirs")
    subnet = network.create_subnet(network_id=other.id, ip_version=4, cidr="10.1.0.0/24", name="theirs")
    router = network.create_router(name="lab-inner")  # our name, not our marker
    network.add_interface_to_router(router, subnet_id=subnet.id)
    front = network.find_network("lab-front")
    port = network.create_port(network_id=front.id, name="theirs", security_groups=[group.id])
    ours = {f"{kind} {name}" for kind, name, _ in site.listing().values()}
    theirs = {i: one for i, one in site.listing().items() if one[1] in {"theirs", "lab-inner"} or i == port.id}
    theirs = {i: one for i, one in theirs.items() if one[2].get("description") != "netorder:lab"}
    assert len(theirs) == 5
    assert "port theirs" in ours
    try:
        for topology in (CHANGES["a network and a router less"][0], CHANGES["another prefix"][0]):
            site.run(topology, allow=("delete", "replace"))
            now = site.listing()
            assert {i: now[i] for i in theirs} == theirs
        before = site.listing()
        with pytest.raises(CloudError, match=r"Port theirs .* on network lab-front is not this topology's"):
            site.run(CHANGES["another prefix in front"][0], allow=("delete", "replace"))
        assert site.listing() == before, "refused before the first change"
    finally:
        network.delete_port(port)
        network.remove_interface_from_router(router, subnet_id=subnet.id)
        network.delete_router(router)
        network.delete_network(other)
        network.delete_security_group(group)


def test_a_key_pair_of_the_users_own_stays(site, cloud):
    """Of the name that netorder would give: neither a teardown of what never was nor one of a topology deletes it."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g me@here"
    cloud.compute.create_keypair(name="lab-key", public_key=key)
    try:
        assert site.gone()["changes"] == []
        with pytest.raises(RefusedError, match="lab-key in the cloud is not this topology's"):
            site.run(BASE)
        (site.directory / "id_ed25519").write_text("its private half is not asked for here")
        (site.directory / "id_ed25519.pub").write_text(key)
        assert "key pair" not in {change["kind"] for change in site.run(BASE)["changes"]}
        site.gone()
        assert cloud.compute.get_keypair("lab-key").public_key == key
    finally:
        cloud.compute.delete_keypair("lab-key")


def test_a_subnet_of_somebody_elses_keeps_its_network(site, cloud):
    """Neutron would delete it with the network: refused before anything is deleted, in preview, run and teardown."""
    site.run(BASE)
    back = cloud.network.find_network("lab-back")
    theirs = cloud.network.create_subnet(network_id=back.id, ip_version=4, cidr="10.77.0.0/24", name="theirs")
    before = site.listing()
    for attempt in (
        lambda: site.run(edited(no_back), check=True),
        lambda: site.run(edited(no_back), allow=("delete", "replace")),
        site.gone,
    ):
        with pytest.raises(CloudError, match=f"Network lab-back would take .* {theirs.id}"):
            attempt()
        assert site.listing() == before
    cloud.network.delete_subnet(theirs)
    does_as_previewed(site, edited(no_back))


def test_of_two_images_of_a_name_one_is_named_by_its_id(site, cloud):
    """The name is refused with both ids; with an id there is nothing to guess; the name again replaces nothing."""
    whole = next(cloud.image.images(name="debian-13"))
    made = [cloud.image.create_image(name="twice", data=b"x", disk_format="raw", container_format="bare", wait=True,
                                     allow_duplicates=True) for _ in range(2)]  # fmt: skip
    try:
        with pytest.raises(RefusedError, match="2 images have this name") as refused:
            site.run(edited(lambda t: t.update(defaults={"image": "twice"})))
        assert all(image.id in str(refused.value) for image in made)
        by_id = edited(lambda t: t.update(defaults={"image": made[0].id.upper()}))
        site.run(by_id)
        assert {server.image.id for server in cloud.compute.servers()} == {made[0].id}
        by_name = edited(lambda t: t.update(defaults={"image": "twice"}))
        assert site.run(by_name)["changes"] == [], "what runs has that image: nothing is asked"
        other = site.run(edited(lambda t: t.update(defaults={"image": whole.id})), check=True)
        assert other["needs_allow"] == ["replace"]
        assert {(c["action"], c["kind"]) for c in other["changes"]} == {("replace", "server")}
    finally:
        for image in made:
            cloud.image.delete_image(image)


def test_a_config_drive_is_asked_for_where_there_is_no_router(site, cloud):
    """On the network of its own, and not elsewhere; a host that runs keeps what it has."""
    alone = edited(
        lambda t: t["networks"].update(alone={"cidr": "10.4.0.0/24"}),
        lambda t: t["hosts"].update(inside={"network": "alone"}, edge2={"networks": ["back", "alone"]}),
    )
    told = {c["name"] for c in site.run(alone)["changes"] if "config_drive" in (c["after"] or {})}
    assert told == {"lab-inside", "lab-edge2"}
    assert told <= {s.name for s in cloud.compute.servers() if s.has_config_drive}, "an operator may force it on all"
    joined = edited(
        lambda t: t["networks"].update(alone={"cidr": "10.4.0.0/24"}),
        lambda t: t["hosts"].update(inside={"network": "alone"}, edge2={"networks": ["back", "alone"]}),
        lambda t: t["routers"]["inner"]["networks"].append("alone"),
    )
    assert "server" not in {change["kind"] for change in does_as_previewed(site, joined)}


def test_tags_and_metadata_of_others_stay(site, cloud):
    """What the file gives and gives no more goes; another policy of a group replaces it with its servers."""
    first = edited(lambda t: t["hosts"]["app"].update(tags=["a", "b c"], metadata={"tier": "back", "old": "x"}))
    site.run(first)
    app = cloud.compute.find_server("lab-app")
    cloud.compute.add_tag_to_server(app.id, "theirs")
    cloud.compute.set_server_metadata(app.id, theirs="x")
    assert site.run(first)["changes"] == []
    does_as_previewed(site, edited(lambda t: t["hosts"]["app"].update(tags=["b c", "d"], metadata={"tier": "front"})))
    app = cloud.compute.get_server(app.id)
    assert sorted(app.tags) == ["b c", "d", "netorder:lab", "theirs"]
    assert {key: its for key, its in app.metadata.items() if not key.startswith("netorder_")} == {
        "tier": "front", "theirs": "x"
    }  # fmt: skip
    does_as_previewed(site, BASE)
    app = cloud.compute.get_server(app.id)
    assert sorted(app.tags) == ["netorder:lab", "theirs"]
    assert sorted(app.metadata) == ["netorder_host", "netorder_image", "netorder_topology", "theirs"]


def test_another_policy_replaces_a_server_group_and_its_servers(site, cloud):
    """A group of somebody's with the plain name stays, also over the teardown."""
    theirs = cloud.compute.create_server_group(name="lab-app", policy="affinity")
    try:
        site.run(edited(lambda t: t["hosts"]["app"].update(server_group="soft-affinity")))
        other = edited(lambda t: t["hosts"]["app"].update(server_group="soft-anti-affinity"))
        assert {(c["action"], c["kind"]) for c in does_as_previewed_beside(site, other)} == {
            ("replace", "server group"), ("replace", "server")
        }  # fmt: skip
        site.gone()
        assert [group.id for group in cloud.compute.server_groups()] == [theirs.id]
    finally:
        cloud.compute.delete_server_group(theirs)


def does_as_previewed_beside(site, topology) -> list[dict[str, Any]]:
    """Preview, then run; return the changes, which both must show. For what is beside something of another's."""
    preview = site.run(topology, check=True)
    assert site.run(topology, allow=("replace",))["changes"] == preview["changes"]
    assert site.run(topology)["changes"] == []
    return preview["changes"]


@pytest.mark.full
def test_ipv6_goes_from_interfaces_that_were_made_with_it(site):
    """Made with both versions a router has one port; it loses the address and stays, and so do servers and ports."""
    site.run(edited(six_too))
    before = site.listing()
    assert "port lab-edge.front.ipv6" not in site.marked()
    changes = does_as_previewed(site, BASE)
    told = {f"{c['action']} {c['kind']}" for c in changes}
    assert told == {
        "delete subnet", "update router interface", "update port", "update router", "update security group"
    }  # fmt: skip
    stays = {i for i, (kind, _, _) in before.items() if kind in {"port", "server", "ip", "router"}}
    assert stays <= site.listing().keys()
    changes = does_as_previewed(site, edited(six_too))
    assert "server" not in {change["kind"] for change in changes}
    assert stays <= site.listing().keys()
