"""Pictures of plans: well-formed, no box over another, everybody in them, the same each time."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from netorder.cli.main import main
from netorder.language.load import load
from netorder.picture import svg as drawing
from netorder.picture.dot import dot
from netorder.picture.drawio import drawio
from netorder.picture.mermaid import mermaid
from netorder.picture.model import let_through, picture
from netorder.picture.svg import layout, svg

ROOT = Path(__file__).parents[2]
GOOD = sorted([*ROOT.glob("topologies/*.yml"), *ROOT.glob("tests/golden/good/*.yml")])
CALCULATOR = str(ROOT / "topologies/calculator.yml")
CLASS = ROOT / "topologies/class.yml"
SVG = "{http://www.w3.org/2000/svg}"


def name(path: Path) -> str:
    return path.stem


def hundred(tmp_path: Path) -> Path:
    """Return a topology of 100 hosts with names of their own, on 10 networks around one."""
    lines = ["topology: hundred", "networks:", "  core: {cidr: 10.0.0.0/24}"]
    lines += [f"  n{chr(97 + i)}: {{cidr: 10.0.{i + 1}.0/24}}" for i in range(10)]
    lines += ["routers:", "  edge: {external: true, networks: [core]}"]
    lines += [f"  r{chr(97 + i)}: {{networks: [core, n{chr(97 + i)}]}}" for i in range(10)]
    lines.append("hosts:")
    lines += [f"  h{chr(97 + i)}{chr(97 + k)}: {{network: n{chr(97 + i)}}}" for i in range(10) for k in range(10)]
    file = tmp_path / "hundred.yml"
    file.write_text("\n".join(lines) + "\n")
    return file


def chain(tmp_path: Path, length: int) -> Path:
    """Return a topology of many networks, each behind the one before."""
    lines = ["topology: chain", "networks:"]
    lines += [f"  n{i}: {{cidr: 10.0.{i}.0/24}}" for i in range(length)]
    lines += ["routers:", "  edge: {external: true, networks: [n0]}"]
    lines += [f"  r{i}: {{networks: [n{i}, n{i + 1}]}}" for i in range(length - 1)]
    file = tmp_path / "chain.yml"
    file.write_text("\n".join([*lines, "hosts: {h: {network: n0}}"]) + "\n")
    return file


def check_boxes(shown) -> None:
    """Fail if a box lies over another one, or a text does not fit its box."""
    boxes = layout(shown)
    assert boxes.keys() == {node.id for node in shown.nodes}
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.bottom <= b.y or b.bottom <= a.y
        assert apart, f"{one} and {other} overlap"
    for node in shown.nodes:
        box = boxes[node.id]
        texts = [node.title, *node.lines]
        if node.kind in ("network", "outside"):
            texts = ["  ".join(texts)]
        else:
            assert box.height >= len(texts) * drawing.LINE
        assert box.width >= max(map(len, texts)) * 0.6 * drawing.SIZE, node


@pytest.mark.parametrize("each", [False, True], ids=["", "each"])
@pytest.mark.parametrize("source", GOOD, ids=name)
def test_no_box_lies_over_another(source, each):
    check_boxes(picture(load(source), each=each))


def test_no_box_lies_over_another_in_large_ones(tmp_path):
    """100 hosts; 200 networks, each behind the one before, which no recursion survives."""
    for file in (hundred(tmp_path), chain(tmp_path, 200)):
        check_boxes(picture(load(file), each=True))


def drawn(topology, *, rules, each=False):
    return picture(topology, each=each, opened=let_through(topology) if rules else ())


@pytest.mark.parametrize("rules", [False, True], ids=["", "rules"])
@pytest.mark.parametrize("source", GOOD, ids=name)
def test_the_svg_is_well_formed_and_within_its_frame(source, rules):
    """It needs nothing from anywhere, and each box of the picture is in it once."""
    shown = drawn(load(source), rules=rules)
    text = svg(shown)
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert root.tag == f"{SVG}svg"
    width, height = map(float, root.get("viewBox").split()[2:])
    rectangles = root.findall(f".//{SVG}rect")
    assert len(rectangles) == len(shown.nodes)
    for one in rectangles:
        x, y, w, h = (float(one.get(key)) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    assert {group.get("id") for group in root.iter(f"{SVG}g")} - {None} == {node.id for node in shown.nodes}
    assert len(root.findall(f".//{SVG}circle")) == len(shown.arrows)
    assert re.findall(r"(?:href|src|url\(|@import|<script)[^ ]*", text) == []


@pytest.mark.parametrize("source", GOOD, ids=name)
def test_everybody_is_in_every_picture(source):
    """With --each by name and address; else the hosts of all boxes are as many as there are."""
    topology = load(source)
    shown = picture(topology, each=True)
    for draw in (svg, dot, mermaid, drawio):
        text = draw(shown)
        for host in topology.hosts:
            assert host.name in text
            assert all(str(address) in text for address in host.addresses)
    counts = [re.search(r" \((\d+)\)$", node.title) for node in picture(topology).of("host")]
    assert sum(int(found[1]) if found else 1 for found in counts) == len(topology.hosts)


@pytest.mark.parametrize("source", GOOD, ids=name)
def test_ids_are_unique_and_links_are_between_them(source):
    for each in (False, True):
        shown = drawn(load(source), each=each, rules=True)
        ids = [node.id for node in shown.nodes]
        assert len(set(ids)) == len(ids)
        used = {one for link in shown.links for one in link} | {a.source for a in shown.arrows}
        assert used | {a.destination for a in shown.arrows} <= set(ids)
        assert all(re.fullmatch("[A-Za-z0-9_]+", one) for one in ids)


@pytest.mark.parametrize("source", GOOD, ids=name)
@pytest.mark.parametrize("rules", [False, True])
def test_drawio_has_the_boxes_where_the_svg_has_them(source, rules):
    """And each link and arrow between two of them, so that they move with what is moved."""
    shown = drawn(load(source), rules=rules)
    cells = {one.get("id"): one for one in ET.fromstring(drawio(shown)).iter("mxCell")}  # noqa: S314 - our own
    places = layout(shown)
    vertices = {id_: one.find("mxGeometry") for id_, one in cells.items() if one.get("vertex")}
    assert {id_: (float(one.get("x")), float(one.get("width"))) for id_, one in vertices.items()} == {
        id_: (pytest.approx(box.x, abs=0.06), pytest.approx(box.width, abs=0.06)) for id_, box in places.items()
    }
    edges = [one for one in cells.values() if one.get("edge")]
    joined = {(one.get("source"), one.get("target")) for one in edges}
    assert joined == {*shown.downwards(), *((one.source, one.destination) for one in shown.arrows)}
    assert len(edges) == len(shown.links) + len(shown.arrows)
    assert {one.get("parent") for one in (*edges, *(cells[id_] for id_ in vertices))} == {"1"}


def test_a_class_is_drawn_once():
    """20 networks, 20 routers and 40 hosts that are alike; an arrow says on how many pairs, where not on all."""
    shown = drawn(load(CLASS), rules=True)
    titles = [node.title for node in shown.nodes]
    assert titles == ["outside", "edge", "rt (20)", "campus", "lan (20)", "teacher", "pc (40)"]
    texts = {(one.source, one.destination): one.text for one in shown.arrows}
    assert texts["host_pc_1_1", "host_pc_1_1"].endswith("(on 40 of 1560 pairs)")
    assert texts["host_teacher", "host_pc_1_1"] == "icmp, tcp 22"
    assert len(picture(load(CLASS), each=True).nodes) == 1 + 21 + 21 + 41


def test_a_further_subnet_names_its_network():
    shown = picture(load(ROOT / "tests/golden/good/further-subnets.yml"), each=True)
    lines = {one.title: one.lines for one in shown.of("network")}
    assert lines["lan-b"] == ("10.0.1.0/24", "a subnet of lan")
    assert lines["lan"] == ("10.0.0.0/24, fd00:1::/64",)


def test_alike_by_name_is_not_alike(tmp_path):
    """A fifth network that is joined to another router is drawn by itself."""
    file = tmp_path / "t.yml"
    file.write_text(
        "topology: t\npool: 10.0.0.0/16\nnetworks: {lan: {count: 6}}\n"
        "routers: {a: {networks: [lan-1, lan-2, lan-3, lan-4, lan-5]}, b: {networks: [lan-6]}}\n"
        "hosts: {h: {network: lan-1}}\n"
    )
    titles = [node.title for node in picture(load(file)).of("network")]
    assert titles == ["lan-1", "lan-2", "lan-3", "lan-4", "lan-5", "lan-6"]  # lan-1 has a host, so four are alike
    file.write_text(file.read_text().replace("network: lan-1", "network: lan-6"))
    assert [node.title for node in picture(load(file)).of("network")] == ["lan (5)", "lan-6"]


def test_foreign_text_is_escaped(tmp_path):
    """The name of an external network is the cloud's."""
    file = tmp_path / "t.yml"
    file.write_text(
        "topology: t\nexternal_network: 'a \"<b>\" & c#'\nnetworks: {n: {cidr: 10.0.0.0/24}}\n"
        "routers: {r: {external: true, networks: [n]}}\nhosts: {h: {network: n}}\n"
    )
    shown = picture(load(file))
    texts = [one.text for one in ET.fromstring(svg(shown)).iter(f"{SVG}text")]  # noqa: S314 - our own
    assert 'a "<b>" & c#' in texts
    assert 'label="outside\\na \\"<b>\\" & c#"' in dot(shown)
    assert "a #34;#60;b#62;#34; #38; c#35;" in mermaid(shown)
    values = [one.get("value") for one in ET.fromstring(drawio(shown)).iter("mxCell")]  # noqa: S314 - our own
    assert 'outside  a "<b>" & c#' in values


def test_it_is_the_same_each_time():
    """Whatever order Python's hashes give."""
    command = [sys.executable, "-m", "netorder", "graph", CALCULATOR, "--rules"]
    texts = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        ([], "<svg "),
        (["--format", "mermaid"], "---\ntitle: calculator\n"),
        (["--format", "dot"], 'digraph "calculator" {\n'),
        (["--format", "drawio"], '<mxfile host="netorder">\n'),
    ],
)
def test_the_command(arguments, begins, capsys):
    assert main(["graph", CALCULATOR, *arguments]) == 0
    assert capsys.readouterr().out.startswith(begins)


@pytest.mark.parametrize(
    ("suffix", "begins"),
    [("svg", "<svg "), ("mmd", "---"), ("dot", "digraph"), ("drawio", "<mxfile"), ("txt", "<svg ")],
)
def test_the_suffix_says_how(suffix, begins, tmp_path, capsys):
    """Of the file to write; --format is stronger."""
    file = tmp_path / f"x.{suffix}"
    assert main(["graph", CALCULATOR, "-o", str(file)]) == 0
    assert file.read_text().startswith(begins)
    assert main(["graph", CALCULATOR, "--format", "dot", "-o", str(file)]) == 0
    assert file.read_text().startswith("digraph")
    assert capsys.readouterr().out == ""


def test_a_file_that_cannot_be_written(tmp_path, capsys):
    assert main(["graph", CALCULATOR, "-o", str(tmp_path / "no/x.svg")]) == 1
    assert "netorder graph: error: " in capsys.readouterr().err
