"""`for_each`, `count` of networks and routers, merge keys: what the golden tests do not show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netorder.cli.main import main
from netorder.errors import TopologyError
from netorder.language.load import load, parse
from netorder.plan.build import build_plan
from netorder.plan.serialize import to_json

ROOT = Path(__file__).parents[2]
CLASS = (ROOT / "topologies/class.yml").read_text(encoding="utf-8")
NAMES = "anna ben cleo dan eve fred gus hal ida jo kim leo max ned ora pat quin ray sue tom".split()
BLOCK = """
topology: t
pool: [10.20.0.0/16, "fd00:20::/48"]
networks: {campus: {cidr: [10.0.0.0/24, "fd00:1::/64"]}}
routers: {edge: {external: true, networks: [campus]}}
hosts: {door: {network: campus, floating_ip: true}}
for_each:
  student:
    names: NAMES
    networks: {lan: {}}
    routers: {rt: {networks: [campus, lan]}}
    hosts: {pc: {network: lan, count: 2}, desk: {network: campus}}
allow:
  - {from: 203.0.113.0/24, to: door, tcp: 22}
"""


def block(names: object) -> str:
    return BLOCK.replace("NAMES", json.dumps(names))


def said(text: str) -> list[str]:
    """Return what is said of `text`, without the file's name."""
    try:
        return [str(one).removeprefix("f:") for one in parse(text, "f").warnings]
    except TopologyError as error:
        return [str(one).removeprefix("f:") for one in error.diagnostics]


def places(text: str) -> dict[str, Any]:
    """Return what must not move: prefixes of networks, addresses of routers and hosts, by name."""
    topology = parse(text)
    found: dict[str, Any] = {one.name: [(its.cidr, its.gateway) for its in one.subnets] for one in topology.networks}
    return found | {one.name: one.interfaces for one in (*topology.routers, *topology.hosts)}


def plan(text: str) -> str:
    return to_json(build_plan(parse(text)))


# Stable


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 60), min_size=3).filter(
        lambda names: len(set(names.values())) == len(names)
    ),
    st.data(),
)
def test_with_numbers_nobody_moves(names: dict[str, int], data: st.DataObject):
    """Whoever leaves, comes, or changes places in the list: all others keep everything."""
    gone = data.draw(st.sampled_from(sorted(names)))
    new = {"zoe": 61} | {name: names[name] for name in data.draw(st.permutations(sorted(names))) if name != gone}
    before, after = places(block(names)), places(block(new))
    if not any("it may move" in one for text in (block(names), block(new)) for one in said(text)):
        stay = {
            name for name in before if not name.startswith((f"lan-{gone}", f"rt-{gone}", f"pc-{gone}", f"desk-{gone}"))
        }
        assert stay <= after.keys()
        assert {name: after[name] for name in stay} == {name: before[name] for name in stay}


def test_a_class_by_numbers_never_wants_the_same():
    """So the property above is about something: no warning for whole classes."""
    found = said(block({name: number for number, name in enumerate(NAMES, 1)}))
    assert [one for one in found if "it may move" in one] == []
    assert said(CLASS) == []


def test_student_7_leaves_and_student_21_comes():
    before = places(CLASS)
    after = places(CLASS.replace("count: 20", "names: [1-6, 8-21]"))
    assert before.keys() - after.keys() == {"lan-7", "rt-7", "pc-7-1", "pc-7-2"}
    assert after.keys() - before.keys() == {"lan-21", "rt-21", "pc-21-1", "pc-21-2"}
    assert all(after[name] == its for name, its in before.items() if name in after)


def test_only_a_warning_lets_one_of_a_list_move():
    """Names without numbers may want the same; that is said, and all others stay."""
    before, warned = places(block(NAMES)), "\n".join(said(block(NAMES)))
    assert "give each a number" in warned
    for gone in NAMES:
        rest = [name for name in NAMES if name != gone]
        after = places(block(rest))
        moved = {name for name, its in after.items() if before[name] != its}
        kinds = set(re.findall(r"(?:network|router|host) `([a-z]+)-", warned))
        assert {name.partition("-")[0] for name in moved} <= kinds | {"pc"}  # a host moves with its network


def test_a_higher_count_moves_nobody():
    before = places(CLASS)
    after = places(CLASS.replace("count: 2}", "count: 3}"))
    assert before.items() <= after.items()
    assert len(after) == len(before) + 20


def test_the_diff_replaces_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    new = tmp_path / "class.yml"
    new.write_text(CLASS.replace("count: 20", "names: [1-6, 8-21]"), encoding="utf-8")
    assert main(["diff", str(ROOT / "topologies/class.yml"), str(new)]) == 0
    shown = capsys.readouterr().out
    assert "- host pc-7-1 removed" in shown
    assert "replaced" not in shown
    assert "-e allow=delete\n" in shown


# The same as written out


def test_it_is_the_same_as_written_out():
    """A block gives the plan of what it stands for."""
    head = "topology: t\nrouters:\n  edge: {external: true, networks: [campus]}\n"
    rules = "allow:\n  - {from: 203.0.113.0/24, to: door, tcp: 22}\n"
    hosts, networks = (
        "hosts:\n  door: {network: campus, floating_ip: true}\n",
        "networks:\n  campus: {cidr: 10.0.0.0/24}\n",
    )
    short = f"""{head}{networks}{hosts}{rules}  - {{from: campus, to: pc, tcp: 80}}
for_each:
  student:
    count: 3
    networks: {{lan: {{cidr: 10.0.$number.0/24}}}}
    routers: {{rt: {{networks: {{campus: "10.0.0.10$number", lan: {{}}}}}}}}
    hosts: {{pc: {{network: lan, address: 10.0.$number.20, groups: ["team_$student"]}}}}
    allow: [{{from: lan, to: pc, icmp: true}}]
"""
    own = ""
    for number in (1, 2, 3):
        networks += f"  lan-{number}: {{cidr: 10.0.{number}.0/24}}\n"
        head += f"  rt-{number}: {{networks: {{campus: 10.0.0.10{number}, lan-{number}: {{}}}}}}\n"
        hosts += f"  pc-{number}: {{network: lan-{number}, address: 10.0.{number}.20, groups: [team_{number}]}}\n"
        own += f"  - {{from: lan-{number}, to: pc-{number}, icmp: true}}\n"
    long = f"{head}{networks}{hosts}{rules}  - {{from: campus, to: [pc-1, pc-2, pc-3], tcp: 80}}\n{own}"
    assert plan(short) == plan(long)


def test_a_count_of_networks_is_the_same_as_written_out():
    text = """
topology: t
networks: {NETWORKS}
routers: {edge: {external: true, networks: [SITES]}}
hosts: {a: {networks: [SITES]}}
allow: [{from: [SITES], to: a, tcp: 80}]
"""
    short = text.replace("NETWORKS", "site: {count: 2, cidr: 10.0.0.0/23, gateway: 10.0.1.9}").replace("SITES", "site")
    long = text.replace("SITES", "site-1, site-2").replace(
        "NETWORKS", "site-1: {cidr: 10.0.0.0/23, gateway: 10.0.1.9}, site-2: {cidr: 10.0.2.0/23, gateway: 10.0.3.9}"
    )
    assert plan(short) == plan(long)


def test_merge_keys_are_the_same_as_written_out():
    text = "topology: t\nnetworks: {a: {cidr: 10.0.0.0/24}}\nhosts: {h: {network: a, flavor: big, image: i}, g: G}"
    written = text.replace("G", "{network: a, flavor: tiny, image: i}")
    assert plan(text.replace("h: {", "h: &h {").replace("G", "{flavor: tiny, <<: *h}")) == plan(written)
    assert plan(text.replace("h: {", "h: &h {").replace("G", "{<<: [{flavor: tiny}, *h]}")) == plan(written)
    assert plan(text.replace("h: {", "h: &h {").replace("G", "{<<: {<<: *h, flavor: tiny}}")) == plan(written)


def test_a_block_may_come_from_another_file(tmp_path: Path):
    head, middle, tail = CLASS.partition("for_each:")
    its, empty, rules = tail.partition("\n\nallow:")
    (tmp_path / "part.yml").write_text(middle + its, encoding="utf-8")
    (tmp_path / "whole.yml").write_text(f"include: part.yml\n{head}{empty}{rules}", encoding="utf-8")
    assert to_json(build_plan(load(tmp_path / "whole.yml"))) == plan(CLASS)
    (tmp_path / "part.yml").write_text((middle + its).replace("network: lan", "network: lam"), encoding="utf-8")
    with pytest.raises(TopologyError) as caught:
        load(tmp_path / "whole.yml")
    (error,) = caught.value.diagnostics
    assert (Path(error.path).name, error.line) == ("part.yml", 6)


# None


def test_none_is_none():
    """What there is none of is left out, with the rules about it alone; what else they name stays."""
    text = """
topology: t
networks: {a: {cidr: 10.0.0.0/24}, spare: {count: 0, cidr: 10.1.0.0/24}}
routers: {edge: {external: true, networks: [a, spare]}, more: {count: 0, networks: [a]}}
hosts: {door: {network: a, floating_ip: true}, web: {count: 0, network: a}}
for_each: {student: {count: 0, hosts: {pc: {network: a}}}, tutor: {names: [], hosts: {desk: {network: a}}}}
allow:
  - {from: 203.0.113.0/24, to: [door, web], tcp: 22}
  - {to: web, tcp: 80}
  - {from: [pc, spare], to: door, tcp: 81}
  - {from: desk, to: door, tcp: 82}
"""
    without = """
topology: t
networks: {a: {cidr: 10.0.0.0/24}}
routers: {edge: {external: true, networks: [a]}}
hosts: {door: {network: a, floating_ip: true}}
allow: [{from: 203.0.113.0/24, to: door, tcp: 22}]
"""
    assert plan(text) == plan(without)
    assert said(text.replace("count: 0, hosts: {pc: {network: a}}", "count: 0, hosts: {pc: {netwrk: a}}")) == [
        "6:45: error: unknown key `netwrk` in host `pc-1`; did you mean `network`? (`student` 1)"
    ]


def test_a_topology_may_have_no_host_for_now():
    assert (
        build_plan(parse("topology: t\nnetworks: {a: {cidr: 10.0.0.0/24}}\nhosts: {h: {count: 0, network: a}}")).hosts
        == ()
    )


# Errors


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        (
            "network: lan,",
            "network: lam,",
            "there is no network `lam`; did you mean `lan`? (`student` 1 and 19 more)",
        ),
        ("networks: {lan: {}}", "networks: {lan: {cidr: 10.0.$number.1/24}}", "(`student` 1 and 19 more)"),
        ("networks: {lan: {}}", "networks: {lan: {cidr: 10.0.0.0/24}}", "(`student` 2 and 18 more)"),
        ("count: 2}", "count: x}", "`count` is `x`, not a number of hosts (0 to 1000) (`student` 1 and 19 more)"),
        ("count: 2}", "address: 10.1.1.1}", "(`student` 1 and 19 more)"),
        ("tcp: 1-65535,", "tcp: 0-5,", "`0-5` is not a range of ports"),
        ("to: pc, tcp: 1-", "to: pcs, tcp: 1-", "`pcs`"),
        ("10.20.0.0/16", "10.20.0.0/24", "no /24 left for network `lan-2` and 18 more"),
    ],
)
def test_one_mistake_is_one_error(right: str, wrong: str, error: str):
    errors = [one for one in said(CLASS.replace(right, wrong)) if ": error: " in one]
    assert len(errors) == 1
    assert error in errors[0]


def test_errors_are_at_the_line_of_the_block():
    line = next(number for number, one in enumerate(CLASS.splitlines(), 1) if "hosts: {pc" in one)
    (error,) = said(CLASS.replace("network: lan, count: 2", "netwrk: lan"))
    assert error.startswith(f"{line}:18: error: unknown key `netwrk` in host `pc-1`")


def test_one_of_many_is_named():
    """Where only some are wrong, the first of them is named."""
    text = CLASS.replace("networks: {lan: {}}", "networks: {lan: {cidr: 10.0.$number.0/24}}").replace(
        "count: 20", "names: [254-257]"
    )
    (error,) = [one for one in said(text) if ": error: " in one]
    assert "`10.0.256.0/24` is not an IPv4 prefix" in error
    assert error.endswith("(`student` 256 and 1 more)")


def test_different_mistakes_in_one_place_stay_apart():
    """An alias gives each mistake once, and none of another kind is lost."""
    text = (
        "topology: t\nnetworks: {a: {cidr: 10.0.0.0/24}}\nhosts:\n  h: &h {network: b, applications: [all]}\n  g: *h\n"
    )
    text += "applications:\n  all: {role: r, calls: [w, x, y, z]}\n"
    text += "".join(f"  {name}: {{role: r}}\n" for name in "wxyz")
    found = [one for one in said(text) if ": error: " in one]
    assert len([one for one in found if "no network `b`" in one]) == 1
    assert len([one for one in found if "calls" in one]) == 4


def test_more_than_anybody_has_is_refused():
    text = block(["1-1000"]).replace("count: 2", "count: 1000")
    text = text.replace("networks: {lan: {}}", "networks: {lan: {count: 1000}}")
    (error,) = said(text)
    assert "more than 200000 values once all is written out; make it fewer" in error


def test_a_for_each_in_a_host_is_told_where_it_belongs():
    text = CLASS.replace("{network: campus, floating_ip", "{for_each: [a], network: campus, floating_ip")
    assert any("it is a section: `for_each: {one: {count: 20, hosts: {teacher: ...}}}`" in one for one in said(text))


@pytest.mark.parametrize(
    "section", ["routers: {rt: {networks: [campus, lan]}}", "hosts: {desk: {network: campus, count: 2}}"]
)
def test_what_is_not_of_many_never_gives_way(section: str):
    """One more router or host of a block takes no address that the others have."""
    lone = "hosts: {" + ", ".join(f"h{index}: {{network: campus}}" for index in range(60)) + ", door:"
    text = (
        block(["1-NUMBER"]).replace("routers: {rt: {networks: [campus, lan]}}", section).replace("hosts: {door:", lone)
    )
    text = (
        text.replace("hosts: {pc: {network: lan, count: 2}, desk: {network: campus}}", "")
        if "desk" in section
        else text
    )
    before = places(text.replace("NUMBER", "1"))
    for number in ("20", "60"):
        assert before.items() <= places(text.replace("NUMBER", number)).items()
