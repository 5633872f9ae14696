"""The overview of `netorder reach` says of each pair what judging that pair alone says, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netorder.analysis.explain import answer, opened
from netorder.analysis.overview import Overview, as_matrix, overview, render, to_json
from netorder.analysis.reach import OUTSIDE, Matrix
from netorder.language.load import Topology, load, parse
from netorder.plan.build import build_plan

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("tests/golden/good/*.yml"), *ROOT.glob("topologies/*.yml")])
MOST_IN_A_ROW = 12


def read(text: str) -> tuple[Matrix, Topology]:
    topology = parse(text, "t.yml")
    return Matrix(build_plan(topology)), topology


def lines(text: str, *, closed: bool = False, width: int | None = None) -> list[str]:
    matrix, topology = read(text)
    ends = [*matrix.hosts, OUTSIDE]
    found = overview(matrix, topology, ends, ends, closed=closed)
    return render(found, matrix, "t.yml", width, closed=closed).splitlines()


def by_pair(found: Overview, matrix: Matrix) -> dict[tuple[str, str], tuple[set[str], set[str]]]:
    """Return what is open between each two ends, and the states."""
    pairs: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
    for one in found.entries:
        for source in one.sources:
            for destination in one.destinations:
                if source != destination and not (matrix.is_outside(source) and matrix.is_outside(destination)):
                    what, states = pairs.setdefault((source, destination), (set(), set()))
                    assert not what & set(one.open), "once"
                    what |= set(one.open)
                    states.add(one.state)
    return pairs


# who sends alike does not receive alike, and the other way round
CROSSED = """
topology: crossed
networks: {n0: {cidr: 10.0.0.0/24}, n1: {cidr: 10.0.1.0/24}}
routers: {r: {external: true, networks: [n0, n1]}}
hosts:
  a: {network: n0, count: 2, groups: [to_x, from_u]}
  b: {network: n0, groups: [to_x, from_v]}
  c: {network: n1, groups: [to_y, from_u]}
  d: {network: n1, count: 2, groups: [to_y, from_v]}
  e: {network: n0, groups: [to_z, from_u]}
  door: {network: n0, floating_ip: true}
allow:
  - {to: door, tcp: 22}
  - {from: from_u, to: to_x, tcp: 80}
  - {from: from_u, to: to_z, tcp: 82}
  - {from: from_v, to: [to_x, to_y], udp: 53}
"""


def test_who_sends_alike_need_not_receive_alike() -> None:
    """And a host that alone receives something is no source of it."""
    matrix, topology = read(CROSSED)
    assert_said_as_alone(matrix, topology)
    found = overview(matrix, topology, [*matrix.hosts], [*matrix.hosts])
    assert [(one.sources, one.destinations) for one in found.entries if one.open == ("tcp 82",)] == [
        (("a-1", "a-2", "c"), ("e",))
    ]


def test_what_is_open_from_a_loopback_address() -> None:
    """As that pair alone has it."""
    text = """
topology: t
networks: {a: {cidr: 10.0.0.0/24}}
hosts: {one: {network: a, loopback_addresses: 10.255.0.1}, db: {network: a}}
allow: [{from: 10.255.0.1, to: db, tcp: 5432}]
"""
    matrix, topology = read(text)
    assert opened(matrix, "10.255.0.1", "db").what == ("tcp 5432",)
    (entry,) = overview(matrix, topology, ["10.255.0.1"], ["db"]).entries
    assert entry.open == ("tcp 5432",)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_pair_is_said_what_it_is_alone(path: Path) -> None:
    topology = load(path)
    assert_said_as_alone(Matrix(build_plan(topology)), topology)


def assert_said_as_alone(matrix: Matrix, topology: Topology) -> None:
    """Fail unless each pair has what is open and its state; no pair is left out, and counts agree."""
    ends = [*matrix.hosts, OUTSIDE]
    found = overview(matrix, topology, ends, ends, closed=True)
    alone = {
        (source, destination): opened(matrix, source, destination)
        for source in ends
        for destination in ends
        if source != destination
    }
    assert by_pair(found, matrix) == {pair: (set(one.what), {one.state}) for pair, one in alone.items()}
    assert (found.pairs, found.some) == (len(alone), sum(bool(one.what) for one in alone.values()))
    only_open = overview(matrix, topology, ends, ends)
    assert only_open == found._replace(entries=tuple(one for one in found.entries if one.open))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_pair_on_one_port(path: Path) -> None:
    """Also the status that `--exit-code` goes by."""
    topology = load(path)
    matrix = Matrix(build_plan(topology))
    ends = [*matrix.hosts, OUTSIDE]
    found = overview(matrix, topology, ends, ends, ("tcp", 22), closed=True)
    states = {}
    for source in ends:
        for destination in ends:
            if source != destination:
                verdict, partly = answer(matrix, source, destination, "tcp", 22)
                states[source, destination] = {"open in part" if partly else verdict.state}
    assert {pair: its for pair, (_, its) in by_pair(found, matrix).items()} == states
    assert found.open == sum(its == {"open"} for its in states.values())


TIERS = """
topology: tiers
networks: {front: {cidr: 10.0.1.0/24}, back: {cidr: 10.0.2.0/24}}
routers: {r: {networks: [front, back]}, edge: {external: true, networks: [front]}}
hosts:
  door: {network: front, floating_ip: true}
  web: {network: front, count: 3, groups: [webs]}
  app: {network: back, count: 2}
  db: {network: back, groups: [data]}
allow:
  - {from: 192.0.2.0/24, to: door, tcp: 22}
  - {from: webs, to: app, tcp: 8080}
  - {from: [app, web-1], to: db, tcp: 5432}
  - {from: app, to: app, icmp: true}
"""


def test_what_is_alike_is_one_line_with_the_lines_of_its_rules() -> None:
    """Hosts by the name of all of them, a mesh as one; SSH of SSH paths is in no line of the file."""
    assert lines(TIERS) == [
        "door -> web (3), back (3): tcp 22",
        "front (4) -> outside: everything",
        "web (3) -> app (2): tcp 8080 [12]",
        "web-1, app (2) -> db: tcp 5432 [13]",
        "app (2) -> app (2): icmp [14]",
        "outside -> door: tcp 22 from 192.0.2.0/24 [11]",
        "",
        "nothing is open on 34 of 56 pairs: --closed shows them, and why",
    ]


def test_a_line_fits_the_terminal() -> None:
    """It goes on below, indented."""
    wrapped = lines(TIERS.replace("tcp: 8080", "tcp: [8080, 8081, 8443, 9000, 9100, 9200]"), width=50)
    assert max(map(len, wrapped)) <= 50
    assert "web (3) -> app (2): tcp 8080, tcp 8081, tcp 8443," in wrapped
    assert "    tcp 9000, tcp 9100, tcp 9200 [12]" in wrapped


def test_the_same_rule_twice_has_both_lines() -> None:
    """Each names one host; the hosts are alike, the lines are not."""
    text = """
topology: t
networks: {n: {cidr: 10.0.0.0/24}}
hosts: {a: {network: n}, b: {network: n}, c: {network: n}}
allow:
  - {from: n, to: a, tcp: 80}
  - {from: n, to: [b, c], tcp: 80}
"""
    assert lines(text)[0] == "all hosts (3) -> all hosts (3): tcp 80 [6, 7]"


def test_why_a_pair_is_closed() -> None:
    """No rule, or no route, for all that this holds for."""
    shown = lines(TIERS, closed=True)
    behind = "web (3), back (3)"
    assert f"outside -> {behind}: no route: each of {behind} has no floating address" in shown
    assert "back (3) -> outside: no route: r does not join the outside" in shown
    assert "web-2, web-3 -> db: closed: no rule allows it" in shown


def test_all_but_one_where_names_do_not_do() -> None:
    """A few names are better, and a host alone is called by its own."""
    hosts = ", ".join(f"{name}: {{network: n}}" for name in "abcdef")
    text = f"topology: t\nnetworks: {{n: {{cidr: 10.0.0.0/24}}}}\nhosts: {{{hosts}}}\nallow:\n"
    assert lines(text + "  - {from: [a, b, c, d, e], to: f, tcp: 80}")[0] == "all hosts but f (5) -> f: tcp 80 [5]"
    assert lines(text + "  - {from: [a, b, c, d], to: f, tcp: 80}")[0] == "a, b, c, d -> f: tcp 80 [5]"
    alone = "topology: t\nnetworks: {n: {cidr: 10.0.0.0/24}}\nhosts: {a: {network: n}}\n"
    assert lines(alone, closed=True)[0] == "a -> outside: no route: a has no default gateway"


def test_the_place_of_a_rule_is_not_part_of_it() -> None:
    """The plan of another spelling is the same, and so are its rules."""
    one, other = read(TIERS), read(TIERS.replace("allow:\n", "allow:\n\n"))
    assert one[1].rules == other[1].rules
    assert one[0].plan == other[0].plan
    assert [rule.place for rule in one[1].rules] == ["t.yml:11", "t.yml:12", "t.yml:13", "t.yml:14"]


def test_as_json_with_all_names() -> None:
    """For programs nothing is cut short."""
    matrix, topology = read(TIERS)
    data = json.loads(to_json(overview(matrix, topology, ["web-1", "web-2", "web-3"], ["app-1", "app-2"]), "tiers"))
    assert data == {
        "topology": "tiers",
        "pairs": 6,
        "entries": [
            {
                "sources": ["web-1", "web-2", "web-3"],
                "destinations": ["app-1", "app-2"],
                "state": "open",
                "open": ["tcp 8080"],
                "rules": ["t.yml:12"],
                "reason": "",
                "pairs": 6,
            }
        ],
    }


def test_as_a_matrix():
    """Those that fare alike are one row and one column; a host has no cell with itself."""
    matrix, topology = read(
        "topology: t\nnetworks: {n: {cidr: 10.0.0.0/24}, m: {cidr: 10.0.1.0/24}}\n"
        "routers: {r: {external: true, networks: [n]}, s: {networks: [n, m]}}\n"
        "hosts: {web: {network: n, floating_ip: true}, app: {network: m, count: 3}, db: {network: m}}\n"
        "allow:\n- {to: web, tcp: [22, 443]}\n- {from: web, to: app, tcp: 8080}\n"
        "- {from: app, to: db, tcp: 5432, udp: 53}\n- {from: app, to: app, icmp: true}\n"
    )
    ends = [*matrix.hosts, OUTSIDE]
    assert as_matrix(overview(matrix, topology, ends, ends), matrix, (ends, ends))[:-2] == [
        "from, to  web     app (3)  db           outside",
        "web               22 8080  22           all",
        "app (3)   22 443  icmp     5432 udp 53  -",
        "db        22 443  -                     -",
        "outside   22 443  -        -",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_each_cell_of_a_matrix_is_what_its_pairs_are(file):
    """Of every topology: as many hosts in the rows and columns as there are, and nothing lost in the cells."""
    topology = load(file)
    matrix = Matrix(build_plan(topology))
    ends = [*matrix.hosts, OUTSIDE]
    found = overview(matrix, topology, ends, ends)
    its = by_pair(found, matrix)
    for end in ends[:MOST_IN_A_ROW]:  # a row of one source
        head, row, *_ = as_matrix(found, matrix, ([end], ends))
        assert row.startswith(end)
        said = set(" ".join(row.split()[1:]).split())
        open_ = {word for (source, to), (what, _) in its.items() if source == end and to != end for one in what
                 for word in one.removeprefix("tcp ").replace("everything", "all").split()}  # fmt: skip
        assert open_ <= said, (end, row)
        assert said <= open_ | {"-"}, (end, row)
        assert len(head) > 0


def test_what_is_open_within_many_groups_is_one_line():
    """A class has a line for all of its students' own networks, not one for each."""
    topology = load(ROOT / "topologies/class.yml")
    matrix = Matrix(build_plan(topology))
    ends = [*matrix.hosts, OUTSIDE]
    text = render(overview(matrix, topology, ends, ends), matrix, "x", None, closed=False)
    assert len(text.splitlines()) == 6
    assert "within each of pc-1 (2), pc-2 (2), pc-3 (2), pc-4 (2) and 16 more: icmp, tcp 1-65535" in text


def test_a_range_that_touches_anothers_is_not_taken_for_open():
    """What rules let in from others is not asked of this one, so the port that both have opens only its own range."""
    text = """
topology: t
networks: {n: {cidr: 10.0.0.0/24}}
hosts: {a: {network: n}, b: {network: n}, c: {network: n}}
allow:
  - {from: a, to: c, tcp: 2000-2010}
  - {from: b, to: c, tcp: 2010-2020}
"""
    topology = parse(text, "t.yml")
    matrix = Matrix(build_plan(topology))
    found = overview(matrix, topology, ["a", "b"], ["c"])
    assert {(one.sources, one.open) for one in found.entries} == {
        (("a",), ("tcp 2000-2010",)), (("b",), ("tcp 2010-2020",)),
    }  # fmt: skip
