"""How Nova starts servers: zone, group, user data, config drive, metadata, tags, users; and what a change costs."""

from __future__ import annotations

import base64
import email
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from openstack.compute.v2.availability_zone import AvailabilityZone
from openstack.compute.v2.server_group import ServerGroup
from openstack.exceptions import ForbiddenException, NotFoundException
from test_reconcile_compare import KEY, as_built, brief, compare, work
from test_reconcile_preflight import FakeCloud, judged

from netorder import cloud_init
from netorder.analysis.diff import differences
from netorder.ansible.drift import drift
from netorder.cloud.preview import diff_text
from netorder.cloud.resources import server, server_group
from netorder.cloud.wait import wait_for_servers
from netorder.errors import CloudError
from netorder.language.load import load, parse
from netorder.plan.build import build_plan
from netorder.topology import Server

if TYPE_CHECKING:
    from pathlib import Path

    from netorder.cloud.observe import Observed
    from netorder.cloud.work import Work
    from netorder.plan.model import Plan

LAB = """\
topology: lab
networks: {{net: {{cidr: 10.1.0.0/24}}, more: {{cidr: 10.2.0.0/24}}}}
routers: {{rt: {{networks: [net, more]}}}}
hosts:
  web: {{network: net, count: 2{web}}}
  db: {{network: net{db}}}
"""
USER = f", users: [{{name: a, ssh_authorized_keys: {KEY}}}]"
EVERYTHING = (
    ", server_group: anti-affinity, availability_zone: az1, config_drive: true, metadata: {tier: front, owner: anna},"
    f" tags: [web, 'two words'], user_data: '#!/bin/true', users: [{{name: anna, ssh_authorized_keys: {KEY}}}]"
)


def plan(web: str = "", db: str = "") -> Plan:
    return build_plan(parse(LAB.format(web=web, db=db)))


def built(wanted: Plan) -> Observed:
    """Return the cloud after a run of ``wanted``: servers as their create requests say, groups with their members."""
    found = as_built(wanted)
    freed = replace(
        found, servers=(), ports=tuple(type(p).existing(**{**p.to_dict(), "device_id": ""}) for p in found.ports)
    )
    one = made(wanted, freed)
    bodies = {change.host.cloud_name: server.create_body(one, change) for change in one.changes.of(server.ServerChange)}
    for cloud_server in found.servers:
        body = bodies[cloud_server.name]
        cloud_server._update(
            metadata={**cloud_server.metadata, **body["metadata"]},
            tags=list(body["tags"]),
            availability_zone=body.get("availability_zone", "nova"),
            has_config_drive="True" if body.get("config_drive") else "",
        )
    members = {
        group.name: [f"server:{h.name}" for h in wanted.hosts if h.server and h.server.server_group == group.name]
        for group in wanted.server_groups
    }
    groups = tuple(
        ServerGroup.existing(
            id=f"sg:{group.name}",
            name=f"{group.cloud_name} (netorder:{wanted.topology})",
            policy=group.policy,
            member_ids=members[group.name],
        )
        for group in wanted.server_groups
    )
    return replace(found, server_groups=groups)


def made(wanted: Plan, observed: Observed) -> Work:
    """Return what requests are made of, with ids for the server groups."""
    one = work(wanted, observed)
    one.ids.server_groups.update({group.cloud_name: f"sg:{group.name}" for group in wanted.server_groups})
    return one


def bodies_of(wanted: Plan) -> dict[str, dict[str, Any]]:
    found = as_built(wanted)
    freed = tuple(type(p).existing(**{**p.to_dict(), "device_id": ""}) for p in found.ports)
    one = made(wanted, replace(found, servers=(), ports=freed))
    return {change.host.name: server.create_body(one, change) for change in one.changes.of(server.ServerChange)}


def test_without_these_keys_nothing_is_planned_or_requested_of_them():
    """So no host of an existing deployment is replaced, or even updated."""
    wanted = plan()
    assert (wanted.server_groups, {host.server for host in wanted.hosts}) == ((), {None})
    for name, body in bodies_of(wanted).items():
        assert body.keys() == {"name", "image_id", "flavor_id", "key_name", "networks", "metadata", "tags"}
        assert body["metadata"] == {"netorder_topology": "lab", "netorder_host": name, "netorder_image": "debian-13"}
        assert body["tags"] == ["netorder:lab"]
    observed = built(wanted)
    for one in observed.servers:  # whatever somebody else, or the cloud, did to it
        one._update(tags=["netorder:lab", "theirs"], metadata={**one.metadata, "theirs": "x"}, availability_zone="az9",
                    has_config_drive="True")  # fmt: skip
    assert brief(observed, wanted) == []


def test_all_of_it_is_requested():
    body = bodies_of(plan(EVERYTHING))["web-1"]
    assert body["availability_zone"] == "az1"
    assert body["scheduler_hints"] == {"group": "sg:web"}
    assert body["config_drive"] is True
    assert body["tags"] == ["netorder:lab", "web", "two words"]
    noted = {key: body["metadata"][key] for key in ("tier", "owner", "netorder_metadata", "netorder_tags")}
    assert noted == {
        "tier": "front", "owner": "anna", "netorder_metadata": "owner,tier", "netorder_tags": "web,two words"
    }  # fmt: skip
    assert body["metadata"]["netorder_users"].endswith(": anna")
    assert set(bodies_of(plan(EVERYTHING))["db"]["metadata"]) == {
        "netorder_topology",
        "netorder_host",
        "netorder_image",
    }


def test_what_was_made_so_does_not_differ():
    wanted = plan(EVERYTHING)
    observed = built(wanted)
    assert brief(observed, wanted) == []
    for one in observed.servers:  # Nova lists them in its own order; what others added stays
        one._update(tags=["theirs", *reversed(one.tags)], metadata={"theirs": "x", **one.metadata})
    assert brief(observed, wanted) == []


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("", ", availability_zone: az1", "its zone differs"),
        (", availability_zone: az1", ", availability_zone: az2", "its zone differs"),
        ("", ", user_data: '#!/bin/true'", "its user data differs"),
        (", user_data: '#!/bin/true'", "", "its user data differs"),
        (", user_data: '#!/bin/true'", ", user_data: '#!/bin/false'", "its user data differs"),
        ("", ", config_drive: true", "it has no config drive"),
        ("", USER, "its users differ"),
        (USER, USER.replace("name: a", "name: a, sudo: true"), "its users differ"),
        ("", ", server_group: affinity", "its server group differs"),
        (", server_group: affinity", ", server_group: anti-affinity", "its server group differs"),
    ],
)  # fmt: skip
def test_what_replaces_a_server_says_why_and_asks_for_permission(before: str, after: str, reason: str):
    """`netorder diff` says the same as the run."""
    old, new = plan(before), plan(after)
    changes, problems = compare(new, built(old), key=KEY)
    replaced = [change for change in changes if change.kind == "server"]
    assert problems == []
    assert {(c.name, c.action, c.permission, c.reason) for c in replaced} == {
        (name, "replace", "replace", f"{reason}; its disk is lost") for name in ("lab-web-1", "lab-web-2")
    }
    assert {c.permission for c in changes if c.kind == "server group"} <= {None}
    assert_diff_agrees(old, new, changes)


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (", availability_zone: az1", "", set()),
        (", config_drive: true", "", set()),
        (", server_group: affinity", "", {("delete", "server group")}),
        (", tags: [a, b]", ", tags: [b, c]", {("update", "server")}),
        (", tags: [a, b]", "", {("update", "server")}),
        (", metadata: {a: x, b: y}", ", metadata: {b: z, c: w}", {("update", "server")}),
        (", metadata: {a: x}", "", {("update", "server")}),
        (", tags: [a, b]", ", tags: [b, a]", set()),
    ],
)
def test_what_replaces_none_asks_for_none(before: str, after: str, kinds: set[tuple[str, str]]):
    """A zone or a config drive that is not asked for any more stays; a group that goes sets its servers free."""
    old, new = plan(before), plan(after)
    changes, problems = compare(new, built(old), key=KEY)
    assert problems == []
    assert {(change.action, change.kind) for change in changes} == kinds
    assert {change.permission for change in changes} <= {None}
    assert_diff_agrees(old, new, changes)


def assert_diff_agrees(old: Plan, new: Plan, changes: list[Any]) -> None:
    called = {"create": "added", "update": "changed", "replace": "replaced", "delete": "removed"}
    names = {"server": "host"}
    ran = {(called[c.action], names.get(c.kind, c.kind), c.name.removeprefix("lab-")) for c in changes}
    assert {(one.action, one.kind, one.name) for one in differences(old, new)} == ran


def test_a_host_that_leaves_a_group_that_stays_is_replaced():
    named = ", server_group: {name: g, policy: soft-affinity}"
    old, new = plan(named, named), plan(named)
    changes, _ = compare(new, built(old), key=KEY)
    assert [(c.action, c.kind, c.name) for c in changes] == [("replace", "server", "lab-db")]
    assert_diff_agrees(old, new, changes)


def test_one_group_for_all_that_name_it_and_one_for_each_entry_that_does_not():
    named = ", server_group: {name: g, policy: soft-affinity}"
    assert [group.name for group in plan(named, named).server_groups] == ["g"]
    groups = plan(", server_group: affinity", ", server_group: soft-affinity").server_groups
    assert [(group.name, group.policy) for group in groups] == [("web", "affinity"), ("db", "soft-affinity")]


def test_a_policy_before_microversion_2_64_is_the_only_one_of_a_list():
    wanted = plan(", server_group: affinity")
    observed = built(wanted)
    observed.server_groups[0]._update(policy=None, policies=["affinity"])
    assert brief(observed, wanted) == []


def test_a_second_group_of_a_killed_run_goes():
    """The one with members stays."""
    wanted = plan(", server_group: affinity")
    observed = built(wanted)
    late = ServerGroup.existing(id="a", name=observed.server_groups[0].name, policy="affinity", member_ids=[])
    assert brief(replace(observed, server_groups=(late, *observed.server_groups)), wanted) == [
        ("delete", "server group", "lab-web")
    ]


def test_a_group_that_somebody_deleted_is_made_again_with_its_servers():
    wanted = plan(", server_group: affinity")
    changes, _ = compare(wanted, replace(built(wanted), server_groups=()), key=KEY)
    assert [(c.action, c.kind) for c in changes] == [
        ("create", "server group"), ("replace", "server"), ("replace", "server")
    ]  # fmt: skip
    one = work(wanted, replace(built(wanted), server_groups=()))
    fields: list[dict[str, str]] = []

    def create(**its: str) -> SimpleNamespace:
        fields.append(its)
        return SimpleNamespace(id="new")

    one.cloud = SimpleNamespace(conn=SimpleNamespace(compute=SimpleNamespace(create_server_group=create)))  # type: ignore[assignment]
    for job in server_group.creations(one):
        job.call()
    assert fields == [{"name": "lab-web (netorder:lab)", "policy": "affinity"}]
    assert one.ids.server_groups == {"lab-web": "new"}


def test_a_cloud_that_hides_server_groups_is_refused_those_and_nothing_else():
    """Not taken for one without any: its servers would be replaced."""
    wanted = plan(", server_group: affinity")
    _, problems = compare(wanted, replace(built(wanted), server_groups=None), key=KEY)
    assert len(problems) == 1
    assert problems[0].startswith("This cloud has no server groups, or does not let this login see them")
    assert brief(replace(built(plan()), server_groups=None), plan()) == []


def test_the_drift_report_has_a_row_for_each_item_and_tag():
    wanted = plan(db=", metadata: {tier: back}, tags: [a]")
    observed = built(wanted)
    (db,) = [one for one in observed.servers if one.name == "lab-db"]
    db._update(metadata={**db.metadata, "tier": "theirs"}, tags=["netorder:lab"])
    changes, _ = compare(wanted, observed, key=KEY)
    found = drift("lab", {"changes": [change.as_dict() for change in changes]}, {}, [])
    assert [(row["what"], row["expected"], row["actual"]) for row in found["differences"]] == [
        ("server lab-db: metadata", "tier=back", "-"),
        ("server lab-db: metadata", "-", "tier=theirs"),
        ("server lab-db: tags", "a", "-"),
    ]


def test_a_server_that_no_compute_host_takes_is_named_with_where_it_was_to_be():
    wanted = plan(", server_group: anti-affinity, availability_zone: az1")
    listed = list(built(wanted).servers)
    listed[1]._update(status="ERROR", fault={"message": "No valid host was found."}, metadata={})
    cloud: Any = FakeCloud()
    cloud.conn.compute.servers = lambda **wanted: [one for one in listed if wanted.get("status") in (None, one.status)]
    cloud.progress = cloud.say = cloud.note_times = lambda *_: None
    with pytest.raises(CloudError) as raised:
        wait_for_servers(cloud, wanted, new=False, timeout=0)
    (problem,) = raised.value.problems
    assert problem.startswith(
        "Server lab-web-2 (zone az1, server group web: anti-affinity) went to ERROR: No valid host was found. Fix"
    )
    listed[1]._update(launched_at="2026-01-02T03:04:05.000000")
    with pytest.raises(CloudError, match="reboot --hard lab-web-2` may bring it back with its disk"):
        wait_for_servers(cloud, wanted, new=False, timeout=0)


# Files


def test_files_are_relative_to_the_file_that_names_them(tmp_path: Path):
    """An included one has its own beside it; a byte order mark and Windows' line ends are no matter."""
    parts_of = tmp_path / "parts"
    parts_of.mkdir()
    (parts_of / "web.sh").write_bytes(b"\xef\xbb\xbf#!/bin/sh\r\ntrue\r\n")
    (parts_of / "anna.pub").write_bytes(f"{KEY}\r\n\r\n{KEY} twice\r\n{KEY}\r\n".encode())
    (parts_of / "web.yml").write_text(
        "hosts:\n  web: {network: net, user_data: web.sh, users: [{name: anna, ssh_authorized_keys: anna.pub}]}\n"
    )
    (tmp_path / "lab.yml").write_text("topology: lab\ninclude: parts/web.yml\nnetworks: {net: {cidr: 10.1.0.0/24}}\n")
    its = build_plan(load(tmp_path / "lab.yml")).hosts[0].server
    assert its is not None
    assert its.user_data == "#!/bin/sh\r\ntrue\r\n"
    assert its.users[0].ssh_authorized_keys == (KEY, f"{KEY} twice")


# Metadata and tags


class Compute:
    """Notes what is called, and does it to one server."""

    def __init__(self, one: Any) -> None:
        self.one, self.calls = one, list[str]()

    def set_server_metadata(self, _: str, **items: str) -> None:
        self.calls.append(f"set {' '.join(sorted(items))}")
        self.one._update(metadata={**self.one.metadata, **items})

    def delete_server_metadata(self, _: str, keys: list[str]) -> None:
        self.calls.append(f"delete {' '.join(keys)}")
        if keys[0] not in self.one.metadata:
            raise NotFoundException
        self.one._update(metadata={key: its for key, its in self.one.metadata.items() if key not in keys})

    def add_tag_to_server(self, _: str, tag: str) -> None:
        self.calls.append(f"add {tag}")
        self.one._update(tags=[*self.one.tags, tag.replace("%20", " ")])

    def remove_tag_from_server(self, _: str, tag: str) -> None:
        self.calls.append(f"remove {tag}")
        self.one._update(tags=[one for one in self.one.tags if one != tag.replace("%20", " ")])


def updated(before: str, after: str, *, theirs: bool = True, until: int | None = None) -> tuple[Any, list[str], str]:
    """Return the server ``db`` after a run that changes it, what was called, and what the preview said."""
    old, new = plan(db=before), plan(db=after)
    observed = built(old)
    (db,) = [one for one in observed.servers if one.name == "lab-db"]
    if theirs:
        db._update(metadata={**db.metadata, "theirs": "x"}, tags=[*db.tags, "theirs"])
    compute = Compute(db)
    one = work(new, observed)
    one.cloud = SimpleNamespace(conn=SimpleNamespace(compute=compute))  # type: ignore[assignment]
    changes, _ = compare(new, observed, key=KEY)
    for job in server.updates(one):
        job.call()
    assert until is not None or brief(observed, new) == []
    return db, compute.calls, diff_text(changes)


def test_metadata_and_tags_change_in_place_and_those_of_others_stay():
    before = ", metadata: {tier: back, old: x}, tags: [a, 'b c']"
    db, calls, said = updated(before, ", metadata: {tier: front, new: y}, tags: [a, d/e]".replace("d/e", "'d e'"))
    assert calls == [
        "remove b%20c", "delete old", "set netorder_metadata netorder_tags new tier", "add d%20e"
    ]  # fmt: skip
    assert {"tier": "front", "new": "y", "theirs": "x"}.items() <= db.metadata.items()
    assert (db.metadata["netorder_metadata"], "old" in db.metadata) == ("new,tier", False)
    assert sorted(db.tags) == ["a", "d e", "netorder:lab", "theirs"]
    assert said == (
        "~ update server lab-db: metadata, tags differ\n"
        "-     metadata: old=x\n-     metadata: tier=back\n+     metadata: new=y\n+     metadata: tier=front\n"
        "-     tags: b c\n+     tags: d e\n"
    )


def test_without_the_keys_what_the_file_had_given_goes_and_the_notes_of_it():
    db, _, _ = updated(", metadata: {tier: back}, tags: [a]", "")
    assert sorted(db.tags) == ["netorder:lab", "theirs"]
    assert sorted(key for key in db.metadata if key not in ("netorder_hostkey", "theirs")) == [
        "netorder_host", "netorder_image", "netorder_topology"
    ]  # fmt: skip


def test_what_somebody_changed_of_the_files_own_is_put_right():
    wanted = plan(db=", metadata: {tier: back}, tags: [a]")
    observed = built(wanted)
    (db,) = [one for one in observed.servers if one.name == "lab-db"]
    db._update(metadata={**db.metadata, "tier": "theirs"}, tags=["netorder:lab"])
    assert brief(observed, wanted) == [("update", "server", "lab-db")]
    one = work(wanted, observed)
    one.cloud = SimpleNamespace(conn=SimpleNamespace(compute=Compute(db)))  # type: ignore[assignment]
    for job in server.updates(one):
        job.call()
    assert brief(observed, wanted) == []
    assert (db.metadata["tier"], db.tags) == ("back", ["netorder:lab", "a"])


def test_of_a_server_that_nova_is_at_work_on_neither_is_compared():
    wanted = plan(db=", metadata: {tier: back}, tags: [a]")
    observed = built(plan())
    for one in observed.servers:
        one._update(status="BUILD", availability_zone="")
    assert brief(observed, wanted) == []


# User data


def parts(text: str) -> list[tuple[str, str | None, str]]:
    """Return type, file name and text of what cloud-init finds in a MIME message."""
    found = [part for part in email.message_from_string(text).walk() if not part.is_multipart()]
    return [(p.get_content_type(), p.get_filename(), p.get_payload(decode=True).decode()) for p in found]  # type: ignore[union-attr]


def test_user_data_alone_is_sent_as_it_is():
    body = bodies_of(plan(db=', user_data: "#cloud-config\\npackages: [nginx]\\n"'))["db"]
    assert base64.b64decode(body["user_data"]).decode() == "#cloud-config\npackages: [nginx]\n"


def test_users_alone_are_a_cloud_config():
    """Which keeps the image's own user."""
    users = f", users: [{{name: anna, ssh_authorized_keys: {KEY}}}, "
    users += f"{{name: ben, sudo: true, ssh_authorized_keys: [{KEY}]}}]"
    text = base64.b64decode(bodies_of(plan(db=users))["db"]["user_data"]).decode()
    assert cloud_init.kind(text) == "text/cloud-config"
    default, anna, ben = yaml.safe_load(text)["users"]
    assert (default, anna["name"], "sudo" in anna) == ("default", "anna", False)
    assert (ben["sudo"], ben["ssh_authorized_keys"]) == ("ALL=(ALL) NOPASSWD:ALL", [KEY])
    assert anna["lock_passwd"] is True


def test_several_are_one_message_in_which_each_is_whole():
    """The user's own is first, so that ours is merged into it; our script has the name that runs first."""
    own = "#cloud-config\nusers: [default, {name: zoë}]\n"
    its = Server(user_data=own, users=plan(EVERYTHING).hosts[0].server.users)  # type: ignore[union-attr]
    two = build_plan(parse(LAB.format(web="", db="").replace("{network: net}", "{networks: [net, more]}")))
    host = replace(two.hosts[-1], server=its)
    text = str(server.user_data(two, host))
    assert text == server.user_data(two, host)
    first, users, script = parts(text)
    assert first == ("text/cloud-config", None, own)
    assert users[0] == "text/cloud-config"
    assert yaml.safe_load(users[2])["merge_how"][0] == {"name": "list", "settings": ["append"]}
    assert script[:2] == ("text/x-shellscript", "00-netorder")
    assert script[2] == server.first_boot(two, host)
    assert server.user_data(two, two.hosts[-1]) == server.first_boot(two, host)


def test_a_message_of_the_users_own_is_a_part_of_ours():
    own = cloud_init.merged([("", "#!/bin/true\n"), ("", "#cloud-config\n{}\n")])
    text = str(cloud_init.merged([("", str(own)), ("", "#cloud-boothook\n")]))
    assert [its for its, _, _ in parts(text)] == ["text/x-shellscript", "text/cloud-config", "text/cloud-boothook"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("#!/usr/bin/python3\n", "text/x-shellscript"),
        ("## template: jinja\n#cloud-config\n", "text/jinja2"),
        ("#cloud-config-archive\n", "text/cloud-config-archive"),
        ("#include-once\nhttp://x\n", "text/x-include-once-url"),
        ("Content-Type: multipart/mixed; boundary=x\nMIME-Version: 1.0\n", "multipart/mixed"),
        ('{"ignition": {"version": "3.4.0"}}', None),
        ("<powershell>\n", None),
        ("packages: [nginx]\n", None),
    ],
)
def test_what_a_text_is_follows_from_its_beginning(text: str, kind: str | None):
    assert cloud_init.kind(text) == kind


# Preflight


def asked(wanted: Plan, **answers: Any) -> list[str]:
    """Return what a preflight finds before ``wanted`` is made on a cloud with nothing."""
    cloud: Any = FakeCloud()
    compute = cloud.conn.compute
    limits = compute.get_limits().absolute
    limits.__dict__.update(server_groups=-1, server_groups_used=0, server_group_members=-1, server_meta=128)
    limits.__dict__.update({key: its for key, its in answers.items() if key != "zones"})
    zones = answers.get("zones", ())
    compute.availability_zones = zones if callable(zones) else lambda: zones
    found = as_built(wanted)
    freed = tuple(type(p).existing(**{**p.to_dict(), "device_id": ""}) for p in found.ports)
    _, problems = judged(cloud, replace(found, servers=(), ports=freed), wanted)
    return problems


def zone(name: str, *, available: bool = True) -> AvailabilityZone:
    return AvailabilityZone.existing(name=name, state={"available": available})


def refuse() -> None:
    raise ForbiddenException


def test_a_zone_that_is_not_there_is_named_with_those_that_are():
    wanted = plan(", availability_zone: az1")
    assert asked(wanted, zones=(zone("az1"),)) == []
    assert asked(wanted, zones=(zone("nova"), zone("az2"))) == [
        "Availability zone az1 (hosts: web-1, web-2) does not exist in this cloud. The choices: az2, nova."
    ]
    assert asked(wanted, zones=(zone("nova"), zone("az1", available=False))) == [
        "Availability zone az1 (hosts: web-1, web-2) is not available now. The choices: nova."
    ]
    assert asked(wanted, zones=refuse) == []


def test_limits_of_groups_and_metadata_are_asked_before_anything_is_made():
    wanted = plan(", server_group: soft-affinity, metadata: {a: x, b: y}")
    assert asked(wanted) == []
    assert asked(wanted, server_groups=10, server_groups_used=10) == [
        "Quota: 1 server groups needed, 0 free (10 of 10 used). Free some, or ask the cloud's operator for more."
    ]
    assert asked(wanted, server_group_members=1) == [
        "Server group web is for 2 servers, and this cloud allows 1 in one: take fewer, or several groups."
    ]
    assert asked(wanted, server_meta=7) == []
    assert len(asked(wanted, server_meta=6)) == 2
    assert asked(wanted, server_groups=None, server_group_members=None, server_meta=None) == []
