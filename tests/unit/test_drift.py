"""Drift is what provisioning and the roles would change; causes are distinguished from consequences."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netorder.ansible.drift import as_json, as_table, drift, findings, out_of_reach

OK = {"what": "unit x", "expected": "active", "found": "active", "ok": True}
STOPPED = {"what": "unit x", "expected": "active, enabled", "found": "inactive, enabled", "ok": False}


def hosts(**more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a front host, one behind it and one that nothing outside reaches, all running and matching the plan."""
    plain: dict[str, dict[str, Any]] = {
        "back": {"netorder_ssh_path": ["front"]},
        "front": {"netorder_ssh_path": []},
        "sealed": {"netorder_ssh_path": None},
    }
    running = {"openstack": {"status": "ACTIVE"}, "netorder_topology": "t", "netorder_findings": [OK]}
    return {name: running | its | more.get(name, {}) for name, its in plain.items()}


def change(kind: str, name: str, action: str, before: object = None, after: object = None) -> dict[str, Any]:
    return {"kind": kind, "name": name, "action": action, "reason": "why", "before": before, "after": after}


def found(preview: dict[str, Any] | None = None, **more: dict[str, Any]) -> dict[str, Any]:
    preview = {"changes": [], "unchanged": {"port": 3}} if preview is None else preview
    return drift("t", preview, hosts(**more), ["back", "front", "sealed"])


def rows(answer: dict[str, Any]) -> list[tuple[str, ...]]:
    return [tuple(one[key] for key in ("where", "what", "expected", "actual")) for one in answer["differences"]]


def test_without_differences_there_is_no_drift() -> None:
    """A host without an SSH path in the plan is named, and is none."""
    answer = found()
    assert (answer["drift"], answer["checked"]) == (False, ["back", "front"])
    assert as_table(answer).splitlines() == [
        "sealed: not checked: the plan has no SSH path to it",
        "matches the plan in the cloud: 3 ports",
        "t: no drift, in the cloud and inside 2 hosts",
    ]


def test_what_roles_would_change_is_drift_and_roles_that_cannot_say_are_named() -> None:
    """Those with the entry point `compare` are not among them; nor is a host with nothing of its own to compare."""
    page = {"name": "page", "entry_points": [], "calls": {}, "check": None}
    own = {"netorder_applications": [page]}
    answer = found(front=own, back={"netorder_applications": [page | {"entry_points": ["compare"]}]})
    assert (answer["drift"], answer["roles_checked"]) == (False, [])
    assert "not compared: what roles installed on front; --check runs them in check mode" in as_table(answer)
    ran = own | {"netorder_roles_ran": True}
    answer = found(
        front=ran | {"netorder_role_changes": []}, back=own | {"netorder_role_failed": "Do it: no\n such file"}
    )
    assert (answer["drift"], answer["roles_checked"], rows(answer)) == (False, ["front"], [])
    assert "back: its roles: in check mode it fails, and what comes after that is not known: Do it: no such file" in (
        as_table(answer)
    )
    changes = [{"task": "page: Write the page", "what": "/srv/index.html"}, {"task": "page: Do it", "what": ""}]
    answer = found(front=ran | {"netorder_role_changes": changes})
    assert rows(answer) == [
        ("front", "role page: Write the page", "no change", "would change /srv/index.html"),
        ("front", "role page: Do it", "no change", "would change something"),
    ]
    assert answer["drift"]
    assert "says `changed` always" in as_table(answer)
    assert "not enabled" in found(front=ran)["roles_not_checked"]["front"]


def test_each_kind_of_change_is_reported_as_expected_and_actual_values() -> None:
    """A row for each value; of lists, what only one side has."""
    rules = {"rules": ["a", "b"]}, {"rules": ["b", "c"]}
    answer = found(
        {
            "changes": [
                change("server", "t-back", "create", after={"image": "i"}),
                change("port", "t-old", "delete", before={"id": "1"}),
                change("security group", "t-g", "update", *rules),
                change("floating IP", "front", "replace", {"a": 1, "b": 2}, {"a": 1, "b": None}),
            ],
            "needs_allow": ["delete", "replace"],
        }
    )
    assert rows(answer) == [
        ("cloud", "server t-back", "there", "missing"),
        ("cloud", "port t-old", "none", "why"),
        ("cloud", "security group t-g: rules", "c", "-"),
        ("cloud", "security group t-g: rules", "-", "a"),
        ("cloud", "floating IP front", "matches the plan", "why"),
        ("cloud", "floating IP front: b", "none", "2"),
    ]
    assert answer["differences"][0]["action"] == "create"
    assert as_table(answer).splitlines()[-2:] == [
        "t: 6 differences, 6 in the cloud, 0 inside 0 hosts",
        "To fix this: ansible-playbook site.yml -e allow=delete,replace",
    ]


def test_what_provisioning_would_refuse_is_drift() -> None:
    """Its problems are reported beside the changes that it knows of, if it knows any."""
    answer = found({"problems": ["one", "two"], "changes": [change("server", "t-back", "create")]})
    assert rows(answer) == [("cloud", "server t-back", "there", "missing")]
    assert as_table(answer).splitlines()[3:] == [
        "refused: one",
        "refused: two",
        "sealed: not checked: the plan has no SSH path to it",
        "t: 1 difference, 1 in the cloud, 0 inside 0 hosts",
        "First fix what is refused; then: ansible-playbook site.yml",
    ]
    assert (answer["drift"], found({"problems": ["one"]})["drift"]) == (True, True)


def test_a_host_whose_ssh_path_differs_from_the_plan_is_not_reported_as_drift() -> None:
    """It does not answer because the one before it differs from the plan: that one is the difference."""
    answer = found(
        front={"netorder_findings": [OK, STOPPED]},
        back={"netorder_findings": None, "netorder_unanswered": "timed\nout"},
    )
    assert rows(answer) == [("front", "unit x", "active, enabled", "inactive, enabled")]
    assert answer["not_checked"]["back"] == "no answer; it is reached through front, which differs from the plan"


def test_a_host_that_does_not_answer_for_no_known_reason_is_drift() -> None:
    answer = found(back={"netorder_findings": None, "netorder_unanswered": "timed\nout"})
    assert rows(answer) == [("back", "SSH", "answers", "timed out")]
    assert (answer["drift"], answer["not_checked"]["back"]) == (True, "no answer")


def test_a_host_that_was_not_checked_is_never_reported_as_clean() -> None:
    """Neither when checking failed, nor when the cloud is busy with its server and nothing would be changed."""
    assert found(back={"netorder_findings": None})["drift"]
    answer = found(back={"openstack": {"status": "REBOOT"}})
    assert (answer["drift"], rows(answer), answer["checked"]) == (True, [], ["front"])


@pytest.mark.parametrize(
    ("more", "reasons"),
    [
        ({}, ("", "")),
        (
            {"front": {"openstack": {"status": "SHUTOFF"}}},
            ("its server is SHUTOFF", "it is reached through front: its server is SHUTOFF"),
        ),
        ({"front": {"openstack": None}}, ("not in the cloud", "it is reached through front: not in the cloud")),
        ({"back": {"openstack": {"status": "ERROR"}}}, ("", "its server is ERROR")),
    ],
)
def test_why_a_host_is_out_of_reach(more: dict[str, Any], reasons: tuple[str, str]) -> None:
    """It, or one before it, is not in the cloud or does not run."""
    them = hosts(**more)
    assert (out_of_reach(them, "front"), out_of_reach(them, "back")) == reasons


def test_without_its_floating_ip_a_host_and_all_behind_it_are_out_of_reach() -> None:
    changes = [change("floating IP", "front", "update")]
    assert out_of_reach(hosts(), "front", changes) == "its floating IP differs from the plan"
    assert (
        out_of_reach(hosts(), "back", changes) == "it is reached through front: its floating IP differs from the plan"
    )


def test_routes_on_the_ssh_path_are_a_reason_for_one_that_does_not_answer() -> None:
    unrouted = {"__host_network": {"changed": True}}
    assert not out_of_reach(hosts(front=unrouted), "back")
    assert not out_of_reach(hosts(back={"netorder_unanswered": "timed out"}), "back")
    answer = out_of_reach(hosts(front=unrouted, back={"netorder_unanswered": "timed out"}), "back")
    assert answer == "no answer: it is reached through front, whose routes differ from the plan"


def test_rules_of_several_hosts_say_whose_they_are() -> None:
    """Of many hosts the first, and how many more."""
    them = ", ".join(f"h{number}" for number in range(9))
    rules = {"hosts": them, "rules": ["a"]}, {"hosts": them, "rules": ["b"]}
    answer = found({"changes": [change("security group", "t-h0", "update", *rules)], "unchanged": {}})
    assert {what for _, what, *_ in rows(answer)} == {"security group t-h0 (h0, h1, h2, h3 and 5 more): rules"}


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("security group", "t-front", True),
        ("security group", "t-back", True),
        ("security group", "t-bac", False),
        ("security group", "t-other", False),
        ("port", "t-back.net2", True),
        ("port", "t-other", False),
        ("router interface", "t-rt2.net2", True),
        ("subnet", "t-net2", True),
        ("server", "t-other", False),
    ],
)
def test_what_differs_in_the_cloud_on_the_ssh_path_is_a_reason_for_one_that_does_not_answer(
    kind: str, name: str, reason: bool
) -> None:
    """Its own rules and ports, those of the hosts before it, and what every path may use."""
    silent = {"netorder_unanswered": "timed out"}
    expected = f"no answer, and {kind} {name} differs from the plan" if reason else ""
    hosts_of = {"hosts": f"sealed, {name[2:]}"} if kind == "security group" else None
    one = change(kind, name, "update", hosts_of, hosts_of)
    assert out_of_reach(hosts(back=silent), "back", [one]) == expected
    assert not out_of_reach(hosts(), "back", [one])


UNIT = {"unit": "u.service", "file": "/f", "text": "a\nB\nc\nx\n"}
SERVED = {"file_differs": False, "unit_differs": True, "unit_before": UNIT["text"]}
PATH = "file /etc/systemd/system/u.service"


def inside(*differences: dict[str, Any], service: dict[str, Any] | None = None) -> list[tuple[str, str, str, bool]]:
    """Return the findings of modules that found one check in order, these differences, and this of the service."""
    answers = {"netorder_observe": {"checks": [OK]}, "netorder_host_network": {"differences": list(differences)}}
    if service is not None:
        answers["netorder_service u.service"] = SERVED | service
    listed = findings(answers, [] if service is None else [UNIT])
    assert listed[0] == OK
    return [(one["what"], one["expected"], one["found"], one["ok"]) for one in listed[1:]]


def test_what_each_module_found_is_a_finding() -> None:
    """A network without a difference is one check that is in order."""
    in_line = ("routes, addresses and forwarding", "no difference", "no difference", True)
    assert inside() == [in_line]
    assert inside({"what": "route r", "expected": "x", "found": "y"}) == [("route r", "x", "y", False)]
    assert inside(service={"unit_differs": False}) == [in_line]
    assert inside(service={"unit_differs": False, "file_differs": True})[1:] == [
        ("file /f", "as built from the source", "missing or altered", False)
    ]
    assert inside(service={})[1:] == [(PATH, "root's, mode 0644", "another", False)]


@pytest.mark.parametrize("what", ["name in /etc/hosts", "names in /etc/hosts"])
def test_names_that_lead_elsewhere_follow_from_the_file(what: str) -> None:
    """One cause, one row; where the file is right, something else leads them elsewhere."""
    wrong = {"what": "names of hosts", "expected": "2 lead to their hosts", "found": "db: 10.9.9.9", "ok": False}
    file = {"what": what, "expected": "10.2.0.30 db", "found": "10.9.9.9 db"}
    for differences, rows in (([file], [what]), ([], ["names of hosts"])):
        answers = {"netorder_observe": {"checks": [OK, wrong]}, "netorder_host_network": {"differences": differences}}
        assert [one["what"] for one in findings(answers) if not one["ok"]] == rows


def test_a_unit_is_compared_line_by_line() -> None:
    """Changed, added and removed lines, by the number that they have on the host."""
    assert inside(service={"unit_before": "a\nb\nc\nd\n"})[1:] == [
        (f"{PATH}, line 2", "B", "b", False),
        (f"{PATH}, line 4", "x", "d", False),
    ]
    assert inside(service={"unit_before": "a\nc\nx\n"})[1:] == [(f"{PATH}, line 2", "B", "-", False)]
    assert inside(service={"unit_before": ""})[1:] == [(PATH, "there", "missing", False)]


def test_that_a_caller_does_not_serve_is_drift_where_nothing_else_is() -> None:
    """Else it is a consequence of what differs: in the cloud, or in the host of what it calls."""
    serving = {
        "name": "web",
        "calls": {"app": [{"host": "back"}]},
        "check": {"what": "web on front"},
        "entry_points": [],
    }
    wrong = {"what": "web on front", "expected": "status 200", "found": "status 502", "ok": False}
    front = {"netorder_applications": [serving], "netorder_findings": [wrong]}
    assert [row[:2] for row in rows(found(front=front))] == [("front", "web on front")]
    stopped = {"what": "unit app.service", "expected": "active, enabled", "found": "failed, enabled", "ok": False}
    answer = found(front=front, back={"netorder_findings": [stopped]})
    assert [row[:2] for row in rows(answer)] == [("back", "unit app.service")]
    assert answer["drift"]
    elsewhere = {
        "netorder_applications": [serving | {"calls": {"app": [{"host": "sealed"}]}}],
        "netorder_findings": [wrong],
    }
    answer = found(front=elsewhere, back={"netorder_findings": [stopped]})
    assert len(rows(answer)) == 2, "what is on a host that it does not call explains nothing"


def test_json_holds_all_of_it() -> None:
    answer = found(front={"netorder_findings": [STOPPED]})
    assert json.loads(as_json(answer)) == answer


@pytest.mark.parametrize(
    ("ahead", "give", "warned"),
    [(0.1, 0.5, ""), (-2.4, 0.5, ""), (-75.2, 0.5, "75 s behind"), (2.6, 0.5, "3 s ahead"), (5.0, 4.0, "")],
)
def test_a_clock_that_is_surely_off_is_a_warning_and_no_difference(ahead, give, warned):
    """Where it may be the exchange that took long, nothing is said."""
    results = {"netorder_observe": {"checks": []}, "netorder_host_network": {"differences": []}}
    found = findings(results, clock={"ahead": ahead, "give": give})[-1]
    assert (found["what"], found["ok"]) == ("clock", True)
    assert warned in found.get("warning", "")
    assert ("warning" in found) == bool(warned)
