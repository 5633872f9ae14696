"""The report: one page that is well-formed, asks nobody, shows what was measured, and takes no text for markup."""

from __future__ import annotations

import base64
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from findings import measured, stage, wrong

from netorder.cli.main import main
from netorder.controller import playbooks, records
from netorder.language.load import load, parse
from netorder.picture.model import let_through, picture
from netorder.plan.build import build_plan
from netorder.report.measured import NOT_MEASURED, RIGHT, WRONG, Measured
from netorder.report.page import page

ROOT = Path(__file__).parents[2]
CALCULATOR = ROOT / "topologies/calculator.yml"
GOOD = sorted([*ROOT.glob("topologies/*.yml"), *ROOT.glob("tests/golden/good/*.yml")])
VOID = {"meta", "input", "link", "br", "img", "hr"}


class Page(HTMLParser):
    """A page, read strictly: every element that is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert len(given) == len(attributes), attributes
        self.elements.append((tag, given))
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[key] for key in ("href", "src", "action", "data", "srcset", "poster") if key in given]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "script"}:
            self.text += data

    def of(self, kind: str, word: str) -> list[dict[str, str | None]]:
        """Return the attributes of the elements of a kind that have a class."""
        return [given for tag, given in self.elements if tag == kind and word in (given.get("class") or "").split()]


@pytest.mark.parametrize("file", GOOD, ids=lambda path: path.stem)
def test_every_page_is_well_formed_and_asks_nobody(file):
    """Of each topology, with all that was measured; links lead to what is on the page, or hold it themselves."""
    topology = load(file)
    text = page(topology, {"verify": {"time": "now", "findings": measured(topology)}})
    found = Page(text)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert [link for link in found.links if not link.startswith(("#", "data:application/json", "data:image/svg"))] == []
    assert not re.search(r"@import|url\(|https?:(?!//www\.w3\.org/2000/svg)", text.replace(found.text, ""))
    assert "default-src 'none'" in text
    assert {f"host-{host.name}" for host in build_plan(topology).hosts} <= set(found.ids)


def test_the_picture_shows_what_was_measured():
    """Green as planned, red what differs, also where something is open that should not be; grey what nobody tried."""
    topology = load(CALCULATOR)
    findings = measured(topology)
    wrong(findings, "calculator", "mul", 50003, "refused")
    wrong(findings, "sum", "div", 50004, "open")
    wrong(findings, "mul", "mul", 50003, "refused")
    del findings["div"]
    shown = Measured({"time": "now", "findings": findings}).drawn(picture(topology, opened=let_through(topology)))
    arrows = {(one.source, one.destination): one for one in shown.arrows}
    assert arrows["host_calculator", "host_sum"].state == RIGHT
    assert arrows["host_calculator", "host_mul"].state == WRONG
    assert "tcp 50003 is refused" in arrows["host_calculator", "host_mul"].text
    assert arrows["host_sum", "host_div"].text == "tcp 50004: open, and should not be"
    assert arrows["host_div", "host_calculator"].state == NOT_MEASURED
    assert ("host_mul", "host_mul") not in arrows
    states = {node.title: node.state for node in shown.of("host")}
    assert states == {"calculator": RIGHT, "sum": RIGHT, "sub": RIGHT, "mul": WRONG, "div": NOT_MEASURED}
    found = Page(page(topology, {"verify": {"time": "now", "findings": findings}}))
    assert "3 of 47 checks differ" in found.text
    assert len(found.of("g", "wrong")) == 3  # two arrows and a host


def test_nothing_measured_is_said():
    """And of what has no run, the plan is shown."""
    found = Page(page(load(CALCULATOR), {}))
    assert "nothing was measured yet: netorder verify" in found.text
    assert "No run has been kept yet" in found.text
    assert not found.of("g", "right")
    assert not found.of("g", "wrong")


def test_a_port_counts_for_itself():
    """One that differs makes no other red."""
    topology = load(CALCULATOR)
    findings = measured(topology)
    wrong(findings, "calculator", "mul", 50003, "refused")
    its = Measured({"time": "now", "findings": findings})
    pair = [("calculator", "mul")]
    assert [its.of(pair, [one]) for one in ("tcp 22", "tcp 50003", "icmp", "tcp 1-65535", "everything")] == [
        RIGHT, WRONG, NOT_MEASURED, WRONG, WRONG
    ]  # fmt: skip
    assert its.of(pair) == WRONG


def test_foreign_text_is_text():
    """What a host answers may be anything."""
    topology = load(CALCULATOR)
    evil = "</td></table><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    findings = {"sum": [{"what": evil, "expected": evil, "found": evil, "ok": False}]}
    drift = {"time": evil, "drift": True, "refused": [evil], "not_checked": {"sum": evil}, "differences": [
        {"where": evil, "what": evil, "expected": evil, "actual": evil}]}  # fmt: skip
    run = {"time": evil, "seconds": 1, "stages": [stage(evil, 0, 1, tasks=[stage(evil, 0, 1)])],
           "timings": [{"kind": evil, "name": evil, "action": evil, "start": 0, "seconds": 1}]}  # fmt: skip
    kept = {"verify": {"time": evil, "findings": findings}, "drift": drift, "runs": {evil: run},
            "hosts": {"calculator": {"floating_ip": evil}}}  # fmt: skip
    found = Page(page(topology, kept))
    assert found.text.count("<script>alert(1)</script>") > 10
    assert [tag for tag, _ in found.elements if tag in {"script", "img"}] == ["script"]
    assert not any(key.startswith("on") for _, given in found.elements for key in given)


def test_the_files_are_what_the_commands_print(capsys):
    """The plan, what is reachable, the picture."""
    found = Page(page(load(CALCULATOR), {}))
    files = {given["download"]: given["href"] for tag, given in found.elements if "download" in given}
    texts = {name: base64.b64decode(link.partition(",")[2]).decode() for name, link in files.items()}
    for name, arguments in {
        "calculator-plan.json": ["plan", "--format", "json"],
        "calculator-reach.json": ["reach", "--format", "json"],
        "calculator.svg": ["graph", "--rules"],
    }.items():
        command, *more = arguments
        assert main([command, str(CALCULATOR), *more]) == 0
        assert texts.pop(name) == capsys.readouterr().out
    assert texts == {}


def test_the_last_run_of_each_kind(tmp_path):
    """The newest is open; a bar is as long as its share."""
    runs = {
        "site": {
            "time": "2026-01-01 10:00",
            "seconds": 100,
            "stages": [stage("Provision", 25, 50, failed=1, tasks=[])],
        },
        "drift": {"time": "2026-01-02 10:00", "seconds": 2, "stages": [stage("Drift", 0, 2, tasks=[])]},
    }
    records.keep({"runs": {"site": runs["site"]}}, tmp_path)
    text = page(load(CALCULATOR), records.keep({"runs": {"drift": runs["drift"]}}, tmp_path))
    assert re.findall(r"<details( open)?><summary>(\w+), ", text) == [(" open", "drift"), ("", "site")]
    assert 'class="bar failed" style="left:25.00%;width:50.00%"' in text


def test_what_was_kept_is_read_and_replaced(tmp_path):
    """A run that repaired everything leaves no drift; a file that cannot be read is none."""
    assert records.read(tmp_path) == {}
    records.keep({"drift": {"drift": True}, "verify": {"time": "a"}}, tmp_path)
    assert records.keep({"drift": None, "verify": {"time": "b"}}, tmp_path) == {"runs": {}, "verify": {"time": "b"}}
    assert records.read(tmp_path) == {"runs": {}, "verify": {"time": "b"}}
    (tmp_path / records.FILE).write_text("{")
    assert records.read(tmp_path) == {}


@pytest.mark.parametrize("hosts", [100, 1000])
def test_a_large_one_is_quick(hosts):
    """Without a table of all pairs."""
    lines = ["topology: large", "networks: {n: {cidr: 10.0.0.0/20}}", "routers: {r: {external: true, networks: [n]}}"]
    lines += [f"hosts: {{web: {{network: n, count: {hosts - 1}}}, door: {{network: n, floating_ip: true}}}}"]
    lines += ["allow: [{from: door, to: web, tcp: 22}, {to: door, tcp: 22}]"]
    topology = parse("\n".join(lines), "large.yml")
    start = time.process_time()
    text = page(topology, {})
    assert time.process_time() - start < 10
    assert len(Page(text).of("details", "host")) == hosts
    assert 'class="matrix"' not in text
    assert len(text) < 5000 * hosts


def test_of_many_arrows_those_are_drawn_that_differ():
    """And counted."""
    names = [f"h{chr(97 + index)}" for index in range(10)]
    hosts = ", ".join(f"{name}: {{network: n, groups: [g{name}]}}" for name in names)
    rules = ", ".join(f"{{from: {one}, to: [{', '.join({*names} - {one})}], tcp: 22}}" for one in names)
    lines = ["topology: mesh", "networks: {n: {cidr: 10.0.0.0/24}}", f"hosts: {{{hosts}}}", f"allow: [{rules}]"]
    topology = parse("\n".join(lines), "mesh.yml")
    findings = measured(topology)
    wrong(findings, "ha", "hb", 22, "refused")
    found = Page(page(topology, {"verify": {"time": "now", "findings": findings}}))
    assert "Of 90 arrows 1 are drawn: those that differ." in found.text
    assert len(found.of("g", "wrong")) == 1
    assert "Of 90 arrows 0 are drawn" in Page(page(topology, {})).text


def test_the_command(tmp_path, monkeypatch, capsys):
    """Beside what runs left, else here; with -o where one wants it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(playbooks, "CLONE", tmp_path)  # no clone: its files are here
    assert main(["report", str(CALCULATOR)]) == 0
    assert capsys.readouterr().out == "calculator-report.html\n"
    directory = tmp_path / ".netorder/default/calculator"
    directory.mkdir(parents=True)
    records.keep({"verify": {"time": "now", "findings": {"sum": []}}}, directory)
    assert main(["report", str(CALCULATOR)]) == 0
    assert capsys.readouterr().out == ".netorder/default/calculator/report.html\n"
    assert "0 checks" in (directory / "report.html").read_text()
    assert main(["report", str(CALCULATOR), "-o", "no/where.html"]) == 1
    assert "no/where.html cannot be written: No such file or directory" in capsys.readouterr().err
    assert json.loads((directory / records.FILE).read_text())["verify"]["time"] == "now"
