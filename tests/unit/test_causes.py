"""Why what was measured differs: the first that explains it of route, host, rule and hop."""

from __future__ import annotations

import pytest
from findings import measured, wrong

from netorder.analysis.causes import Causes
from netorder.analysis.probes import report
from netorder.analysis.reach import Matrix
from netorder.language.load import parse
from netorder.plan.build import build_plan
from netorder.plan.security_groups import Declarations

TEXT = """
topology: lab
networks: {front: {cidr: 10.1.0.0/24}, back: {cidr: 10.2.0.0/24}}
routers:
  edge: {external: true, networks: [front]}
  inner: {networks: [front, back]}
hosts:
  web: {network: front, count: 2, floating_ip: true}
  db: {network: back, count: 2}
allow:
  - {from: anywhere, to: web, tcp: 22}
  - {from: web, to: db, tcp: 22}
  - {from: db, to: db, tcp: 22}
  - {from: web, to: web, tcp: 22}
"""


@pytest.fixture
def lab():
    return parse(TEXT, "lab.yml")


@pytest.fixture
def findings(lab):
    return measured(lab)


def why(lab, findings, source: str, name: str) -> str:
    causes = Causes(Matrix(build_plan(lab)), Declarations(lab), findings)
    (said,) = [
        causes.of(host, one) for host, its in findings.items() for one in its or ()
        if one.get("from", host) == source and one.get("name") == name and one["port"] == 22
    ]  # fmt: skip
    return said


def other(name: str, port: int, found: str) -> dict[str, object]:
    """Return a connection to another port, which should be open."""
    return {"what": "x", "expected": "open", "found": found, "ok": found == "open", "name": name, "port": port}


def test_what_is_as_planned_has_no_cause(lab, findings):
    assert why(lab, findings, "web-1", "db-1") == ""


def test_a_refused_connection_arrives(lab, findings):
    wrong(findings, "web-1", "db-1", 22, "refused")
    assert why(lab, findings, "web-1", "db-1") == "packets arrive, and nothing listens on tcp 22: netorder logs db-1"


def test_a_route_that_is_not_there_ends_the_packet(lab, findings):
    """Where the host that has it wrong is on the path, and it is the route to that network."""
    wrong(findings, "web-1", "db-1", 22, "no answer")
    findings["web-1"].append({"what": "route to 10.9.0.0/24", "expected": "a", "found": "b", "ok": False})
    assert "route" not in why(lab, findings, "web-1", "db-1")
    route = {"what": "route to 10.2.0.0/24", "expected": "via 10.1.0.2", "found": "no router", "ok": False}
    findings["web-1"].append(route)
    said = why(lab, findings, "web-1", "db-1")
    assert said == "the packet ends at web-1: route to 10.2.0.0/24 is no router, not via 10.1.0.2"


def test_a_route_back_counts_too(lab, findings):
    wrong(findings, "web-1", "db-1", 22, "no answer")
    findings["db-1"].append({"what": "route 10.1.0.0/24 via x", "expected": "in force", "found": "none", "ok": False})
    assert "the packet ends at db-1" in why(lab, findings, "web-1", "db-1")


def test_a_rule_where_another_port_answers(lab, findings):
    """By its line."""
    wrong(findings, "web-1", "db-1", 22, "no answer")
    findings["web-1"].append(other("db-1", 5432, "open"))
    said = why(lab, findings, "web-1", "db-1")
    assert said == "the path works (tcp 5432 answers), so the rule of lab.yml:12 is not in force there (netorder drift)"


def test_a_host_that_answers_nobody(lab, findings):
    wrong(findings, "web-1", "db-1", 22, "no answer")
    wrong(findings, "web-2", "db-1", 22, "no answer")
    wrong(findings, "db-2", "db-1", 22, "no answer")
    assert why(lab, findings, "web-1", "db-1").startswith("db-1 answers nobody of db-2, web-1, web-2")
    findings["db-1"] = None
    assert why(lab, findings, "web-1", "db-1").startswith("db-1 was not observed either")


def test_a_router_through_which_nothing_goes(lab, findings):
    """While hosts on one network reach each other."""
    for web in ("web-1", "web-2"):
        for db in ("db-1", "db-2"):
            wrong(findings, web, db, 22, "no answer")
            wrong(findings, db, web, 22, "no answer")
    said = why(lab, findings, "web-1", "db-1")
    assert said == "nothing that was tried through inner answers (the path is web-1 > inner > db-1)"


def test_one_pair_alone_has_its_path_and_rule(lab, findings):
    wrong(findings, "web-1", "db-1", 22, "no answer")
    assert why(lab, findings, "web-1", "db-1") == "the path is web-1 > inner > db-1, opened by lab.yml:12"


def test_what_is_open_and_should_not_be():
    """By a rule that the plan does not have."""
    lab = parse(TEXT.replace("{from: anywhere,", "{from: 203.0.113.0/24,"), "lab.yml")
    findings = measured(lab)
    wrong(findings, "db-1", "web-1", 22, "open")
    said = why(lab, findings, "db-1", "web-1")
    assert said.startswith("the plan says no rule of web-1 allows tcp 22 from 10.2.0.")
    assert said.endswith(": there is a rule more than planned (netorder drift)")


def test_the_report_says_it_below_the_difference(lab, findings):
    """And warnings, each once, which are no differences."""
    wrong(findings, "web-1", "db-1", 22, "no answer")
    findings["web-2"][1]["warning"] = findings["web-2"][2]["warning"] = "the clock is off"
    for one in findings["web-2"][1:3]:
        del one["name"], one["port"]
    text = report(findings, Causes(Matrix(build_plan(lab)), Declarations(lab), findings).of)
    assert "1 differs from the plan:" in text
    assert "web-1: tcp 22 of db-1: expected open, found no answer\n  likely: the path is web-1 > inner" in text
    assert text.endswith("1 warning:\nweb-2: the clock is off")


def test_a_host_that_the_file_no_longer_has_is_no_error(lab, findings):
    """The report is of the findings of before."""
    gone = {**other("gone", 22, "no answer"), "from": "web-1"}
    findings["web-1"].append(gone)
    causes = Causes(Matrix(build_plan(lab)), Declarations(lab), findings)
    assert causes.of("web-1", gone) == ""


def test_a_host_behind_one_without_a_route_is_explained_by_it(lab, findings):
    """It was not observed, as SSH goes through that one."""
    findings["db-1"] = None
    route = {"what": "route to 10.2.0.0/24", "expected": "via 10.1.0.2", "found": "no router", "ok": False}
    causes = Causes(Matrix(build_plan(lab)), Declarations(lab), findings)
    assert causes.of("db-1", None) == ""
    findings["web-1"].append(route)
    assert causes.of("db-1", None).startswith("the packet ends at web-1")
    assert "\n  likely: the packet ends at web-1" in report(findings, causes.of)
