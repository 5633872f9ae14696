"""Reading and checking topology files: what the golden tests do not show."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from netorder import topology as spec
from netorder.errors import TopologyError
from netorder.language import reference, resolve, schema
from netorder.language import yaml_source as source
from netorder.language.load import load, parse
from netorder.language.subnet_layout import Layout, draw
from netorder.plan.build import build_plan
from netorder.plan.serialize import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.errors import Diagnostic

ROOT = Path(__file__).parents[2]
CALCULATOR = (
    (ROOT / "topologies/calculator.yml").read_text(encoding="utf-8").replace("../applications", f"{ROOT}/applications")
)
GOOD = sorted([*ROOT.glob("topologies/*.yml"), *ROOT.glob("tests/golden/good/*.yml")])
BAD = sorted(ROOT.glob("tests/golden/bad/*.yml"))


def messages(text: str) -> list[str]:
    """Return what is said of `text`: errors, or else warnings."""
    try:
        return [str(one) for one in parse(text, "f").warnings]
    except TopologyError as error:
        return [str(one) for one in error.diagnostics]


def outcome(text: str) -> tuple[dict | None, tuple[Diagnostic, ...]]:
    """Return the plan of `text` or None, and what is said of it."""
    try:
        topology = parse(text)
    except TopologyError as error:
        return None, error.diagnostics
    return json.loads(to_json(build_plan(topology))), topology.warnings


SLIPS = """topology: x
networks: {n: {cidr: 10.0.0.0/24}}
hosts: {a: {network: n, IMAGE}}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SLIPS.replace("topology: x", "topology:x"), "f:1:1: error: `topology:x` has no space after its `:`; write `t"),
        (
            SLIPS.replace("cidr: ", "cidr:"),
            "f:2:16: error: unknown key `cidr:10.0.0.0/24` in network `n`; put a space after the `:`: `cidr: 10.0",
        ),
        (SLIPS.replace("IMAGE", "image: {newst: d}"), "unknown key `newst` in `image`; did you mean `newest`?"),
        (SLIPS.replace("IMAGE", "image: {newest: 13}"), "`newest` is `13`, not the name of images; if that"),
        (SLIPS.replace("IMAGE", "image: {newest: }"), "`newest` is empty; it must be the name of images"),
        (SLIPS.replace("IMAGE", "Flavor: x"), "did you mean `flavor`?"),
        (SLIPS.replace("topology: x", "topology: x\ntarget: machine").replace("IMAGE",
            "forward: [{host: 1, guest: 2, address: '::1'}]"), "`address` is `::1`, not an IPv4 address of"),
    ],
)  # fmt: skip
def test_common_slips_are_named(text: str, said: str) -> None:
    """The one that it is, with what to write; no fix that is none."""
    found = [one for one in messages(text) if "error" in one]
    assert any(said in one for one in found), found
    assert not any("write `1`" in one for one in found)


def test_a_cloud_by_its_name_alone() -> None:
    """As a text or as a mapping: which region is the entry's to say."""
    plain, mapped, region = (
        parse(SLIPS.replace(", IMAGE", "") + f"cloud: {one}\n").cloud
        for one in ("north", "{name: north}", "{name: north, region: two}")
    )
    assert (plain, mapped, region) == ("north", "north", "north (two)")


def addresses(text: str) -> dict[str, str]:
    return {host.name: str(host.addresses[0]) for host in parse(text).hosts}


# The file


def test_a_file_that_is_not_there():
    with pytest.raises(TopologyError, match=r"^no/such\.yml: error: cannot be read: No such file or directory; "):
        load("no/such.yml")


def test_a_directory(tmp_path: Path):
    with pytest.raises(TopologyError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_file_that_is_too_large(tmp_path: Path):
    path = tmp_path / "large.yml"
    path.write_text("#" * 10_000_000)
    with pytest.raises(TopologyError, match="larger than 4 MB"):
        load(path)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path):
    path = tmp_path / "windows.yml"
    path.write_bytes(b"\xef\xbb\xbf" + CALCULATOR.replace("\n", "\r\n").encode())
    plain = tmp_path / "plain.yml"
    plain.write_text(CALCULATOR)
    assert build_plan(load(path)) == build_plan(load(plain))


def test_diagnostics_come_by_place():
    """Sorted by line and column, errors and warnings together, none twice."""
    for path in BAD:
        with pytest.raises(TopologyError) as caught:
            load(path)
        places = [(one.path, one.line, one.column) for one in caught.value.diagnostics]
        assert places == sorted(places)
        assert len(set(caught.value.diagnostics)) == len(caught.value.diagnostics)


def test_a_place_is_that_of_the_value():
    text = CALCULATOR.replace("192.168.2.0/24", "192.168.2.0/30")
    line = next(number for number, one in enumerate(text.splitlines(), 1) if "/30" in one)
    assert messages(text)[0].startswith(f"f:{line}:16: error: `192.168.2.0/30` has 2 usable addresses")


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_no_error_is_in_the_words_of_a_library(path: Path):
    with pytest.raises(TopologyError) as caught:
        load(path)
    raw = r"is not valid under|does not match|is not of type|was unexpected|required property|\bblock end\b|<.*>"
    for diagnostic in caught.value.diagnostics:
        assert not re.search(raw, diagnostic.message)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_edit_gives_a_plan_or_errors(data: st.DataObject):
    """However the file is mangled, there is a plan or there are errors with places; never another exception."""
    lines = CALCULATOR.splitlines()
    snippets = st.sampled_from(
        [
            "",
            "  ",
            "\t",
            ":",
            "- ",
            "{",
            "}",
            "[",
            "]",
            "'",
            '"',
            "&a ",
            "*a",
            "!t ",
            "? ",
            "| ",
            "---",
            "#",
            "null",
            "true",
            "0",
            "-1",
            "99999",
            "1.5",
            "192.168.1.1",
            "192.168.2.0/24",
            "net1",
            "net2",
            "sum",
            "external",
            "é",
            "\x00",
            "...",
        ]
    )
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, len(lines) - 1))
        first = data.draw(st.integers(0, len(lines[number])))
        last = data.draw(st.integers(first, len(lines[number])))
        lines[number] = lines[number][:first] + data.draw(snippets) + lines[number][last:]
    its_plan, diagnostics = outcome("\n".join(lines))
    assert all(one.line >= 1 and one.column >= 1 and one.message for one in diagnostics)
    assert (its_plan is None) == any(one.severity == "error" for one in diagnostics)


SECTIONS = ["topology", "networks", "routers", "hosts", "allow", "defaults", "pool", "include"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 70000)
    | st.sampled_from(
        [
            "net1",
            "sum",
            "sum-1",
            "10.0.0.0/24",
            "10.0.0.1",
            "10.0.0.0/16",
            "fd00::/64",
            "fd00::1",
            "fd00::/48",
            "anywhere",
            "external",
            "80-90",
            "calculator",
            "host",
            "subnet",
            "router",
            "",
            "é",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "net1",
                    "sum",
                    "cidr",
                    "gateway",
                    "networks",
                    "network",
                    "address",
                    "applications",
                    "role",
                    "ports",
                    "calls",
                    "name",
                    "port",
                    "groups",
                    "routes",
                    "to",
                    "via",
                    "from",
                    "tcp",
                    "udp",
                    "icmp",
                    "external",
                    "floating_ip",
                    "dns_nameservers",
                    "count",
                    "forward",
                    "prefix_length",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(SECTIONS), VALUES))
def test_any_data_gives_a_plan_or_errors(data: object):
    """Whatever the values are, there is a plan or there are errors; JSON is YAML, so this is any document."""
    its_plan, diagnostics = outcome(json.dumps(data))
    assert (its_plan is None) == any(one.severity == "error" for one in diagnostics)


RICH = """
topology: t
pool: [10.20.0.0/16, "fd00:20::/48"]
defaults: {routes: host}
networks:
  a: {cidr: 10.0.1.0/24}
  b: {cidr: [10.0.2.0/24, "fd00:2::/64"], routes: router}
  c: {}
  d: {cidr: "fd00:4::/64"}
routers:
  r1: {external: true, networks: [a, b]}
  r2: {networks: {b: 10.0.2.7, d: "fd00:4::7"}, routes: [{to: 10.9.0.0/16, via: 10.0.2.9}]}
hosts:
  web: {network: a, count: 3, floating_ip: true, groups: [front]}
  two: {networks: [a, b], routes: [{to: 10.8.0.0/16, via: 10.0.1.9}]}
  fw: {networks: {b: [10.0.2.30, "fd00:2::30"], c: {}}, forward: true}
  app: {network: c, applications: [{name: sum, ports: [7000]}, web]}
  six: {network: d, address: "fd00:4::9"}
allow:
  - {from: 203.0.113.0/24, to: web, tcp: [22, 80-90], udp: 53}
  - {from: [front, b, "fd00:4::/64"], to: [app, c], icmp: true}
  - {from: two, to: app, application: true}
  - {from: a, to: app, application: [web, sum]}
applications:
  web: {role: nginx, ports: [80, 53/udp], calls: [sum], check: {http: /, status: 200}, vars: {root: x}}
  sum: {role: other, ports: 50001, check: {tcp: 50001}, units: [sum.service]}
"""


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_exchange_of_words_gives_a_plan_or_errors(data: st.DataObject):
    """Whatever word of the file stands in place of whatever other, there is a plan or there are errors."""
    parts = re.split(r"([\w.:/-]+)", RICH)
    words = sorted(
        {part for part in parts[1::2] if not part.endswith(":")} | {"::/0", "0.0.0.0/0", "fd00:2::1", "r1", "-1"}
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(parts) // 2 - 1)) * 2 + 1
        parts[place] = data.draw(st.sampled_from(words)) + (":" if parts[place].endswith(":") else "")
    its_plan, diagnostics = outcome("".join(parts))
    assert (its_plan is None) == any(one.severity == "error" for one in diagnostics)


# YAML


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_yaml_gives_back_what_json_wrote(data: object):
    """The reader agrees with JSON on every document, and knows the place of each value in it."""
    document = source.read(json.dumps(data), "f")
    assert document.data == data
    assert not document.problems

    def paths(value: object, path: source.Path = ()) -> set[source.Path]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return {path}.union(*(paths(item, (*path, key)) for key, item in items))

    assert set(document.values) == paths(data)


def test_yaml_is_read_as_yaml_1_2():
    """Only `true` and `false` are booleans, only digits are numbers; a date, a time and `yes` are texts."""
    read = source.read(
        "{a: yes, b: on, c: True, d: 010, e: 1_000, f: 12:30, g: 2024-01-01, h: ~, i: '1', j: 1e3, k: 0x1}",
        "f",
    ).data
    expected = {"a": "yes", "b": "on", "c": True, "d": 10, "e": "1_000", "f": "12:30", "g": "2024-01-01", "h": None}
    assert read == expected | {"i": "1", "j": 1000.0, "k": "0x1"}


@pytest.mark.parametrize(
    ("text", "column"),
    [("[" * 100_000, 21), ("- " * 100_000, 41), ("{a: " * 21 + "1" + "}" * 21, 81), ("[" * 21 + "]" * 21, 21)],
    ids=["flow", "block", "mappings", "closed"],
)
def test_nesting_without_end_is_an_error(text: str, column: int):
    """However deep the text is nested, reading stops at the first value that is too deep."""
    message = "nested more than 20 deep; a topology never is"
    assert messages(text) == [f"f:1:{column}: error: {message}"]


def test_nesting_by_aliases_is_an_error_too():
    """A chain of aliases, each one deeper, ends as nested text does."""
    lines = ["a0: &a0 [x]", *(f"a{number}: &a{number} [*a{number - 1}]" for number in range(1, 3000))]
    assert messages("\n".join(lines)) == ["f:1:5: error: nested more than 20 deep; a topology never is"]


def test_yaml_agrees_with_pyyaml_on_the_shipped_files():
    for path in GOOD:
        if path.stem not in ("yaml", "included"):  # which are there for what they disagree on
            # what is included is read as a file of its own
            text = re.sub(r"^include: .*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert source.read(text, str(path)).data == yaml.safe_load(text)


# The schema


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(json.loads(schema.text()))


def test_the_schema_says_what_everything_is_for():
    """Every key that a user writes has a description, every value a title to name it in errors."""
    whole = json.loads(schema.text())

    def resolved(part: dict) -> dict:
        return whole["$defs"][part["$ref"].rpartition("/")[2]] | part if "$ref" in part else part

    def walk(part: object) -> None:
        if isinstance(part, dict):
            for name, its in part.get("properties", {}).items():
                if name != "number":  # of one of many: its title says it
                    assert resolved(its).get("description"), name
                assert resolved(its).get("title"), name
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    walk(whole)


def test_the_schema_knows_the_defaults():
    assert schema.default("image") == "debian-13"


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_editors_accept_what_the_loader_accepts(path: Path):
    """The JSON Schema alone, as an editor uses it, finds no fault with a good topology."""
    validator = Draft202012Validator(json.loads(schema.text()))
    assert not list(validator.iter_errors(source.read_file(str(path)).data))


@pytest.mark.parametrize("path", sorted(ROOT.glob("topologies/*.yml")), ids=lambda path: path.stem)
def test_shipped_files_name_their_schema(path: Path):
    """The first line tells editors where the schema is, and it is there."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named
    assert (path.parent / named[1]).is_file()


# Addresses


def test_a_new_host_moves_nobody():
    """Hosts that come later, on any network, change no address."""
    before = addresses(CALCULATOR)
    more = "".join(f"  extra{number}: {{network: net{1 + number % 2}}}\n" for number in range(100))
    after = addresses(CALCULATOR.replace("\nallow:", f"{more}\nallow:"))
    assert before.items() <= after.items()
    assert len(after) == len(before) + 100


def test_a_host_that_goes_moves_nobody():
    before = addresses(CALCULATOR)
    text = (
        re.sub(r"\n  sum: .*", "", CALCULATOR).replace("[sum, sub", "[sub").replace(", applications: [calculator]", "")
    )
    after = addresses(text)
    assert after == {name: address for name, address in before.items() if name != "sum"}


def test_a_host_first_in_the_file_moves_nobody_else():
    """Not even one declared before the others, unless both draw the same address."""
    before = addresses(CALCULATOR)
    after = addresses(CALCULATOR.replace("hosts:\n", "hosts:\n  extra: {network: net2}\n"))
    assert before.items() <= after.items()


def test_two_that_draw_the_same_get_different_ones():
    part = range(10, 14)
    first = draw("a", part, set())
    assert first is not None
    assert first.number == first.wish
    second = draw("a", part, {first.number})
    assert second is not None
    assert second.wish == first.number != second.number
    assert draw("a", part, set(part)) is None


def test_numbered_names_draw_neighbours():
    """So web-1 to web-50 fit in 50 addresses, and no two of them ever want the same."""
    part = range(100, 150)
    assert len({draw(f"web-{number}", part, set(), numbered=True) for number in range(50)}) == 50


def test_a_drawn_address_that_another_had_first_is_a_warning():
    """The warning for each host that could move when another goes says how to keep the address."""
    names = [f"{chr(97 + one)}{chr(97 + other)}" for one in range(5) for other in range(4)]
    hosts = "".join(f"  {name}: {{network: net1}}\n" for name in names)
    text = f"topology: t\nnetworks: {{net1: {{cidr: 10.0.0.0/26}}}}\nhosts:\n{hosts}"
    said = [one for one in messages(text) if "which its name would give" in one]
    assert said
    warned = dict(re.findall(r"host `(\w+)` has .* write `address: (\S+)`", "\n".join(said)))
    before = addresses(text)
    for name in names:
        without = text.replace(f"  {name}: {{network: net1}}\n", "")
        moved = {other for other, address in addresses(without).items() if before[other] != address}
        assert moved <= warned.keys()
    assert {name: before[name] for name in warned} == warned


def test_a_router_that_another_may_move_is_a_warning():
    """The few low addresses of routers meet soon; the declaration that the warning gives keeps the address."""
    names = [f"r{number}" for number in range(6)]
    lines = [f"  {name}: {{networks: [core, leaf{name}]}}\n" for name in names]
    leaves = "".join(f"  leaf{name}: {{}}\n" for name in names)
    text = "topology: t\npool: 10.9.0.0/16\nnetworks:\n  core: {cidr: 10.0.0.0/24}\n" + leaves
    text += "hosts: {h: {network: core}}\nrouters:\n  edge: {external: true, networks: [core]}\n" + "".join(lines)

    def on_core(text: str) -> dict[str, str]:
        return {router.name: str(router.interfaces[0].addresses[0]) for router in parse(text).routers}

    before = on_core(text)
    warned = dict(
        re.findall(r"router `(\w+)` has .* write `networks: \{core: (\S+), \.\.\.\}`", "\n".join(messages(text)))
    )
    assert warned
    assert {name: before[name] for name in warned} == warned
    kept = text
    for name, line in zip(names, lines, strict=True):
        moved = {other for other, address in on_core(text.replace(line, "")).items() if before[other] != address}
        assert moved <= warned.keys()
        if name in warned:
            kept = kept.replace(
                line, line.replace(f"[core, leaf{name}]", f"{{core: {warned[name]}, leaf{name}: {{}}}}")
            )
    assert on_core(kept) == before
    for line in lines:
        assert on_core(kept.replace(line, "")).items() <= before.items()


def test_a_change_of_the_count_moves_nobody():
    def all_of(count: int) -> dict[str, str]:
        return addresses(
            "topology: t\nnetworks: {net1: {cidr: 10.0.0.0/24}}\n"
            f"hosts: {{web: {{network: net1, count: {count}}}, other: {{network: net1}}}}"
        )

    assert list(all_of(3)) == ["web-1", "web-2", "web-3", "other"]
    assert all_of(3).items() <= all_of(40).items()


def test_a_new_network_moves_no_other_prefix():
    def prefixes(names: list[str]) -> dict[str, list[str]]:
        text = "topology: t\npool: [10.20.0.0/16, 'fd00:20::/48']\nhosts: {h: {network: a}}\nnetworks:\n"
        topology = parse(text + "".join(f"  {name}: {{}}\n" for name in names))
        return {one.name: [str(subnet.cidr) for subnet in one.subnets] for one in topology.networks}

    few = prefixes(["a", "front", "back"])
    assert few.items() <= prefixes(["n1", "n2", "back", "front", "a"]).items()
    assert all(IPv4Network(four).prefixlen == 24 and six.endswith("/64") for four, six in few.values())


def test_included_files_are_one_topology(tmp_path: Path):
    """Sections are joined, what the including file says holds, and a place is that in the file it stands in."""
    (tmp_path / "common.yml").write_text(
        "topology: common\ndefaults: {flavor: tiny, image: one}\nnetworks:\n  net1: {cidr: 10.0.1.0/24}\n"
        "hosts:\n  a: {network: net1, flavour: x}\nallow:\n  - {to: nobody, tcp: 1}\n"
    )
    main = tmp_path / "main.yml"
    main.write_text(
        "topology: whole\ninclude: common.yml\ndefaults: {image: two}\nnetworks:\n  net2: {cidr: 10.0.1.0/25}\n"
        "hosts:\n  b: {network: net1}\nallow:\n  - {to: b, tcp: 0}\n"
    )
    with pytest.raises(TopologyError) as caught:
        load(main)
    places = [(Path(one.path).name, one.line, one.column) for one in caught.value.diagnostics]
    assert places == [("common.yml", 6, 22), ("common.yml", 8, 10), ("main.yml", 5, 16), ("main.yml", 9, 18)]
    for path, old, new in (
        ("common.yml", ", flavour: x", ""),
        ("common.yml", "nobody", "a"),
        ("main.yml", "10.0.1.0/25", "10.0.2.0/24"),
        ("main.yml", "tcp: 0", "tcp: 2"),
    ):
        (tmp_path / path).write_text((tmp_path / path).read_text().replace(old, new))
    topology = load(main)
    assert topology.name == "whole"
    assert [(one.name, one.image, one.flavor) for one in topology.hosts] == [("a", "two", "tiny"), ("b", "two", "tiny")]
    assert [rule.targets for rule in topology.rules] == [("a",), ("b",)]


def test_all_included_files_that_cannot_be_read_are_named(tmp_path: Path):
    """At once; what else is wrong waits, since what they hold is missing."""
    main = tmp_path / "main.yml"
    main.write_text("include: [tab.yml, open.yml, none.yml, fine.yml]\ntopology: x\nhosts: {a: {network: gone}}\n")
    (tmp_path / "tab.yml").write_text("networks:\n\tgone: {}\n")
    (tmp_path / "open.yml").write_text("networks: {b: [}\n")
    (tmp_path / "fine.yml").write_text("networks: {c: {cidr: 10.0.0.0/24}}\n")
    with pytest.raises(TopologyError) as caught:
        load(main)
    assert [(Path(one.path).name, one.line) for one in caught.value.diagnostics] == [
        ("main.yml", 1), ("open.yml", 1), ("tab.yml", 2),
    ]  # fmt: skip


def test_files_that_include_each_other(tmp_path: Path):
    """A cycle is an error at the place that closes it; a file that two others include counts once."""
    (tmp_path / "a.yml").write_text("topology: t\ninclude: [b.yml, c.yml, none.yml]\nhosts: {h: {network: n}}\n")
    (tmp_path / "b.yml").write_text("include: d.yml\n")
    (tmp_path / "c.yml").write_text("include: [d.yml,\n a.yml]\n")
    (tmp_path / "d.yml").write_text("networks: {n: {cidr: 10.0.0.0/24}}\n")
    with pytest.raises(TopologyError) as caught:
        load(tmp_path / "a.yml")
    assert [str(one).removeprefix(f"{tmp_path}/") for one in caught.value.diagnostics if one.severity == "error"] == [
        "a.yml:2:25: error: `none.yml` cannot be read: No such file or directory; check the path",
        "c.yml:2:2: error: `a.yml` includes this file in its turn, or is it; remove one of the two",
    ]


@given(st.integers(8, 28), st.integers(0, 2**24), st.data())
def test_the_parts_of_a_subnet(length: int, offset: int, data: st.DataObject):
    """Whatever the prefix and the gateway: parts apart, inside the subnet, at least three addresses for Neutron."""
    cidr = IPv4Network(
        (int(IPv4Address("10.0.0.0")) + (offset >> 32 - length << 32 - length) % 2**24, length), strict=False
    )
    usable = range(int(cidr.network_address) + 1, int(cidr.broadcast_address))
    near_the_top = st.integers(max(usable.start, usable.stop - 12), usable.stop - 1)
    gateway = IPv4Address(data.draw(near_the_top | st.integers(usable.start, usable.stop - 1)))
    layout = Layout(cidr, gateway)
    first, last = map(int, layout.pool)
    assert usable.start == layout.routers.start < layout.routers.stop == layout.hosts.start
    assert layout.hosts == Layout(cidr, None).hosts
    assert layout.hosts.start < layout.hosts.stop == int(Layout(cidr, None).pool[0])
    assert layout.hosts.start <= first < last < usable.stop
    assert last - first + 1 >= 3
    assert not layout.in_pool(gateway)
    assert list(layout.pool_among_hosts) == [number for number in range(first, last + 1) if number in layout.hosts]


@given(st.integers(64, 125), st.integers(1, 2**16), st.data())
def test_the_parts_of_an_ipv6_subnet(length: int, number: int, data: st.DataObject):
    """As of IPv4; only the last address is one like others."""
    cidr = IPv6Network((int(IPv6Address("fd00::")) + (number << 128 - length), length))
    low, top = int(cidr.network_address) + 1, int(cidr.broadcast_address)
    assert (Layout(cidr, None).usable, int(Layout(cidr, None).last)) == (top - low + 1, top)
    gateway = IPv6Address(data.draw(st.integers(max(low, top - 11), top) | st.integers(low, min(top, low + 15))))
    layout = Layout(cidr, gateway)
    first, last = map(int, layout.pool)
    assert low == layout.routers.start < layout.routers.stop <= layout.hosts.start < layout.hosts.stop
    assert layout.hosts == Layout(cidr, None).hosts
    assert layout.routers.stop <= first < last <= top
    assert last - first + 1 >= 3
    assert not layout.in_pool(gateway)
    assert list(layout.pool_among_hosts) == [number for number in range(first, last + 1) if number in layout.hosts]


def test_an_ipv6_link_has_two_ends():
    text = "topology: t\nnetworks: {l: {cidr: 'fd00::4/126', dhcp: false}}\n"
    topology = parse(f"{text}routers: {{a: {{networks: [l]}}}}\nhosts: {{h: {{network: l}}}}")
    assert [str(topology.routers[0].interfaces[0].addresses[0]), *map(str, topology.hosts[0].addresses)] == [
        "fd00::5",
        "fd00::6",
    ]
    assert topology.networks[0].subnets[0].allocation_pool is None


@pytest.mark.parametrize("prefix", ["10.0.1.0/24", "10.0.1.0/25", "10.0.1.0/26", "10.0.0.0/20", "10.0.0.0/8"])
def test_a_gateway_moves_no_host(prefix: str):
    """Whatever address the gateway gets, hosts keep theirs, but for the one that had it."""
    hosts = "".join(f"  {name}: {{network: n}}\n" for name in ("web", "db", "mail", "app", "dns"))

    def all_of(gateway: str) -> dict[str, str]:
        return addresses(
            f"topology: t\nnetworks: {{n: {{cidr: {prefix}{gateway}}}}}\n"
            f"routers: {{r: {{external: true, networks: [n]}}}}\nhosts:\n{hosts}"
        )

    before, cidr = all_of(""), IPv4Network(prefix)
    for gateway in (cidr[-2], cidr[-3], cidr[-5], cidr[-9], cidr[2], cidr[9], cidr[20], IPv4Address(before["web"])):
        after = all_of(f", gateway: {gateway}")
        moved = {name for name in before if after[name] != before[name]}
        assert moved == {name for name in before if before[name] == str(gateway)}


@pytest.mark.parametrize("gateway", ["10.0.1.14", "10.0.1.13", "10.0.1.12"])
def test_a_gateway_at_the_top_of_a_small_subnet(gateway: str):
    """On a /28 Neutron's pool gives way downwards: only hosts with those addresses move."""

    def all_of(declared: str) -> dict[str, str]:
        return addresses(
            f"topology: t\nnetworks: {{n: {{cidr: 10.0.1.0/28{declared}}}}}\n"
            "routers: {r: {external: true, networks: [n]}}\n"
            "hosts: {web: {network: n}, db: {network: n}, mail: {network: n}, app: {network: n}}"
        )

    before, after = all_of(""), all_of(f", gateway: {gateway}")
    pool = [f"10.0.1.{number}" for number in range(int(gateway[-2:]) - 3, int(gateway[-2:]))]
    assert not set(after.values()) & {gateway, *pool}
    for name in before:
        if before[name] not in pool and after[name] != before[name]:
            assert before[name] in after.values()  # another that had to move came first


# Rules about what is not wrong, but odd


@pytest.mark.parametrize("path", [ROOT / "topologies/calculator.yml"], ids=["calculator"])
def test_the_default_topology_draws_one_warning(path: Path):
    """Its SSH is open to the world: where its user comes from is nothing that a shipped file knows."""
    assert [one.message[:46] for one in load(path).warnings] == ["SSH (tcp 22) is open to the whole world; name "]


def test_public_ranges_are_only_a_warning():
    warnings = load(ROOT / "topologies/insa-lab.yml").warnings
    assert [(one.line, one.severity) for one in warnings] == [(8, "warning"), (9, "warning"), (23, "warning")]
    assert "is a public range" in warnings[0].message


def test_a_floating_address_without_ssh_is_a_warning():
    """Without a rule for SSH nothing can be configured, and the warning says which rule is missing."""
    said = messages(CALCULATOR.replace("[22, 50000]", "50000"))
    assert len(said) == 2  # itself, and the four behind it
    assert "`- {from: anywhere, to: calculator, tcp: 22}`" in said[0]


DOORS = """topology: a
networks: {n: {cidr: 10.1.0.0/24}, m: {cidr: 10.2.0.0/24}}
routers: {r: {networks: [n], external: true}, s: {networks: [m], external: true}}
hosts: {gate: {networks: [n, m], floating_ip: {network: NETWORK}, routes: [ROUTES]}}
allow: [{from: 192.0.2.0/24, to: gate, tcp: 22}]
"""
OWN, OTHER, ASTRAY = (f"{{to: {to}, via: {via}}}" for to, via in [
    ("0.0.0.0/0", "10.1.0.1"), ("192.0.2.0/24", "10.2.0.1"), ("192.0.0.0/16", "10.1.0.9"),
])  # fmt: skip
ELSEWHERE = "its route to `{}` sends the replies elsewhere: remove it, or allow SSH from elsewhere"


@pytest.mark.parametrize(
    ("network", "routes", "fix"),
    [
        ("n", "", None),
        ("n", OWN, None),  # its own gateway
        ("n", OTHER, ELSEWHERE.format("192.0.2.0/24")),
        ("n", f"{OWN}, {ASTRAY}", ELSEWHERE.format("192.0.0.0/16")),
        ("n", f"{ASTRAY}, {{to: 192.0.2.128/25, via: 10.1.0.1}}", None),  # half of them get answers
        (
            "n",
            "{to: 192.0.2.0/25, via: 10.2.0.1}, {to: 192.0.2.128/25, via: 10.2.0.1}",
            ELSEWHERE.format("192.0.2.0/25"),
        ),
        ("m", "", "name `m`, where its floating address leads, first"),
        ("m", OTHER, "until it has been configured it answers by its default gateway, on `n`"),
    ],
)
def test_ssh_from_outside_needs_answers_by_the_same_gateway(network: str, routes: str, fix: str | None):
    """As `reach` has it, and before the host has any route: what a run cannot get in by is no SSH path."""
    topology = parse(DOORS.replace("NETWORK", network).replace("ROUTES", routes))
    said = [one.message for one in topology.warnings if "cannot be configured" in one.message]
    assert [fix in one for one in said] == ([] if fix is None else [True])
    assert topology.ssh_entries == ({"gate"} if fix is None else set())


def test_ssh_from_inside_only_is_no_ssh_path():
    """A rule for SSH whose sources are all inside the topology allows nobody outside."""
    said = messages(CALCULATOR.replace("from: anywhere", "from: [net1, sum, 192.168.2.0/25]"))
    assert "host `calculator` cannot be configured" in said[0]


def test_a_prefix_that_is_a_union_of_networks_is_inside():
    """Two halves that the topology has make the whole; what reaches beyond them is outside."""
    text = (
        "topology: t\nnetworks: {a: {cidr: 10.1.0.0/24}, b: {cidr: 10.1.1.0/24}}\n"
        "routers: {r: {external: true, networks: [a, b]}}\nhosts: {door: {network: a, floating_ip: true}}\n"
        "allow: [{from: PREFIX, to: door, tcp: 22}]\n"
    )
    for prefix, entries in (("10.1.0.0/23", set()), ("10.1.0.0/22", {"door"}), ("10.1.1.0/24", set())):
        assert parse(text.replace("PREFIX", prefix)).ssh_entries == entries


def test_an_application_that_no_rule_allows_its_caller_to_reach_is_a_warning():
    said = messages(CALCULATOR.replace("[sum, sub, mul, div]", "[sum, sub, mul]"))
    assert len(said) == 2
    assert "`calculator` calls `div` on `div`, and no rule lets it in" in said[0]


def test_calling_by_a_wider_rule_is_enough():
    """Rules by network, by group and by a range of ports count as well."""
    for rule in (
        "{from: net1, to: applications, tcp: 50000-50010}",
        "{from: 192.168.0.0/16, to: net2, application: true}",
    ):
        text = re.sub(r"  - \{from: calculator.*", f"  - {rule}", CALCULATOR)
        assert [one for one in messages(text) if "SSH (tcp 22)" not in one] == []


@pytest.mark.parametrize(("networks", "step", "warned"), [(31, 2, True), (29, 2, False), (100, 1, False)])
def test_more_routes_than_a_router_may_have_is_one_warning(networks: int, step: int, warned: bool):
    """Neutron's default limit is 30 a router; adjacent prefixes behind one next hop are one route."""
    names = [f"n{number}" for number in range(networks)]
    text = "topology: t\nnetworks:\n  hub: {cidr: 10.1.0.0/24, routes: router}\n"
    text += "".join(f"  {name}: {{cidr: 10.2.{step * index}.0/24}}\n" for index, name in enumerate(names))
    text += f"routers:\n  out: {{external: true, networks: [hub]}}\n  inner: {{networks: [hub, {', '.join(names)}]}}\n"
    text += "hosts:\n  door: {network: hub, floating_ip: true}\n"
    text += "".join(f"  h{name}: {{network: {name}}}\n" for name in names)
    text += "allow: [{from: 203.0.113.0/24, to: door, tcp: 22}]\n"
    found = [one for one in messages(text) if "max_routes" in one]
    assert [one.partition(" Neutron")[0] for one in found] == [
        f"f:{networks + 5}:3: warning: router `out` needs {networks} routes;"
    ] * warned


# The reference


def test_the_reference_is_made_from_the_schema():
    """After a change of the schema: replace what follows `# Reference` by `netorder schema --format markdown`."""
    text = (ROOT / "docs/topology.md").read_text(encoding="utf-8")
    assert text.partition("# Reference\n\n")[2] == reference.markdown()


def test_the_reference_has_each_mapping_with_keys_of_its_own():
    """But for variables of `for_each`, whose one key `names` explains."""

    def mappings(part: object, pointer: str) -> Iterator[str]:
        if isinstance(part, dict):
            yield from [pointer] if isinstance(part.get("properties"), dict) else []
            for key, value in part.items():
                yield from mappings(value, f"{pointer}/{key}")
        elif isinstance(part, list):
            for number, value in enumerate(part):
                yield from mappings(value, f"{pointer}/{number}")

    found = {*mappings(json.loads(schema.text()), "")} - {pointer for _, pointer in reference.SECTIONS}
    assert found == {"/$defs/each/properties/names/anyOf/1/additionalProperties/anyOf/2"}


def test_the_example_of_the_reference_is_right():
    text = (ROOT / "docs/topology.md").read_text(encoding="utf-8")
    assert messages(text.partition("```yaml\n")[2].partition("```")[0]) == []


# Names


def test_the_groups_of_the_playbooks_are_reserved():
    """Each group by which a playbook or group_vars chooses hosts is a name that no topology can use."""
    variables = {path.stem for path in ROOT.glob("inventory/group_vars/*.yml")}
    chosen: set[str] = set()
    for path in [ROOT / "site.yml", *ROOT.glob("playbooks/*.yml")]:
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            chosen |= set(re.findall(r"[a-z_]+", str(play.get("hosts", ""))))
    assert variables == spec.GROUPS.keys()
    assert variables <= resolve.RESERVED.keys()
    assert chosen <= resolve.RESERVED.keys()
