"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from netorder import __version__
from netorder.cli.main import main
from netorder.controller import state
from netorder.errors import NetorderError
from netorder.language.load import load
from netorder.plan.build import build_plan
from netorder.plan.serialize import to_json

ROOT = Path(__file__).parents[2]
CALCULATOR = "topologies/calculator.yml"
LAB = "topologies/insa-lab.yml"
WRONG = "tests/golden/bad/addresses.yml"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m netorder`."""
    return subprocess.run(
        [sys.executable, "-m", "netorder", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_check_says_ok(capsys: pytest.CaptureFixture[str]):
    assert main(["check", CALCULATOR]) == 0
    assert capsys.readouterr().out == f"{CALCULATOR}: ok (2 networks, 2 routers, 5 hosts)\n"


def test_warnings_go_to_standard_error_and_are_no_failure(capsys: pytest.CaptureFixture[str]):
    assert main(["check", LAB]) == 0
    out, err = capsys.readouterr()
    assert out == f"{LAB}: ok (2 networks, 2 routers, 5 hosts)\n"
    assert [line.split(": ")[1] for line in err.splitlines()] == ["warning"] * 3


def test_check_reads_all_files_whatever_is_wrong_with_one(capsys: pytest.CaptureFixture[str]):
    assert main(["check", WRONG, "no/such.yml", CALCULATOR]) == 1
    out, err = capsys.readouterr()
    assert out == f"{CALCULATOR}: ok (2 networks, 2 routers, 5 hosts)\n"
    assert err.count(f"{WRONG}:") == 10
    assert "no/such.yml: error: cannot be read" in err


def test_plan_as_text(capsys: pytest.CaptureFixture[str]):
    """The text names every host with its address, and the one static route."""
    assert main(["plan", CALCULATOR]) == 0
    out = capsys.readouterr().out
    for host in build_plan(load(CALCULATOR)).hosts:
        assert f"  {host.name} " in out
        assert all(address in out for address in host.addresses)
    assert "calculator  to 192.168.2.0/24 (net2)  via 192.168.1.9 (rt2)" in out


def test_plan_as_json(capsys: pytest.CaptureFixture[str]):
    """Standard output is the plan and nothing else, also when there are warnings."""
    assert main(["plan", LAB, "--format", "json"]) == 0
    assert capsys.readouterr().out == to_json(build_plan(load(LAB)))


@pytest.mark.parametrize("arguments", [["plan", WRONG], ["plan", WRONG, "--format", "json"]])
def test_there_is_no_plan_of_a_wrong_topology(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 10


def test_schema_is_the_schema(capsys: pytest.CaptureFixture[str]):
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == (ROOT / "src/netorder/language/topology.schema.json").read_text(encoding="utf-8")


def test_the_command_line_is_checked(capsys: pytest.CaptureFixture[str]):
    for arguments in ([], ["chek", CALCULATOR], ["diff"], ["plan", CALCULATOR, "--format", "xml"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "usage: netorder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("plann x.yml", "netorder: error: there is no command `plann`; did you mean `plan`?"),
        ("frobnicate", "netorder: error: there is no command `frobnicate`; --help lists them"),
        ("up x.yml --alow a", "--alow a; did you mean `--allow`?; what is for Ansible or the host goes after --"),
        ("times x.yml --formt json", "unrecognized arguments: --formt json; did you mean `--format`?"),
        ("plan x.yml y.yml", "netorder plan: error: unrecognized arguments: y.yml"),
    ],
)
def test_a_word_that_is_none_is_told_the_nearest(line: str, said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)


def test_help_shows_how(capsys: pytest.CaptureFixture[str]):
    """The help names every command and gives examples that work."""
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for word in ("check", "plan", "reach", "diff", "schema", "netorder plan topologies/calculator.yml", "exit status"):
        assert word in out


def test_version_as_a_module():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"netorder {__version__}\n")


def test_check_as_a_module():
    done = run("check", WRONG)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"{WRONG}:10:33: error: ")
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_error():
    """`netorder plan FILE | head -1` prints one line and nothing about pipes."""
    command = f"{sys.executable} -m netorder plan {CALCULATOR} --format json | head -1"
    done = subprocess.run(["/bin/bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "{\n")
    assert "ipe" not in done.stderr


def test_reach_explains_a_pair_hop_by_hop(capsys: pytest.CaptureFixture[str]):
    """There by the static route, back by the default gateway."""
    assert main(["reach", CALCULATOR, "--from", "calculator", "--to", "sum", "--port", "50001"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("calculator -> sum tcp 50001: open\n  rule of sum: tcp 50001 from 192.168.1.")
    assert "calculator  sends it out on net1 (route 192.168.2.0/24 via 192.168.1.9)" in out
    assert "rt2         passes it from net2 to net1 (connected)" in out


def test_reach_without_ends_shows_what_is_open(capsys: pytest.CaptureFixture[str]):
    """With the lines of the rules; `--closed` shows the rest, both options both."""
    assert main(["reach", CALCULATOR]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "outside -> calculator: icmp, tcp 22, tcp 50000 [22]" in shown
    assert shown[-1] == "nothing is open on 20 of 30 pairs: --closed shows them, and why"
    assert main(["reach", CALCULATOR, "--closed"]) == 0
    closed = capsys.readouterr().out.splitlines()
    assert "net2 (4) -> outside: no route: rt2 does not join the outside" in closed
    assert not set(shown) & set(closed)
    assert main(["reach", CALCULATOR, "--open", "--closed"]) == 0
    assert set(capsys.readouterr().out.splitlines()) == {*shown[:-2], *closed}


def test_reach_fits_the_terminal_only_on_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Off a terminal an entry is one line, for grep."""
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["reach", CALCULATOR]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) > 40
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["reach", CALCULATOR]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40


def test_reach_as_json(capsys: pytest.CaptureFixture[str]):
    """The whole and a pair; a rule is named by its place."""
    assert main(["reach", CALCULATOR, "--from", "outside", "--format", "json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["entries"]
    assert (entry["destinations"], entry["rules"]) == (["calculator"], [f"{CALCULATOR}:22"])
    pair = ["--from", "calculator", "--to", "sum", "--port", "50001"]
    assert main(["reach", CALCULATOR, *pair, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["state"], data["rules"]) == ("open", [f"{CALCULATOR}:23"])
    assert [hop["node"] for hop in data["there"]] == ["calculator", "rt2", "sum"]


@pytest.mark.parametrize(
    ("arguments", "lines", "first"),
    [
        (["--from", "outside"], 3, "outside -> calculator: icmp, tcp 22, tcp 50000 [22]"),
        (["--from", "203.0.113.7"], 3, "203.0.113.7 -> calculator: icmp, tcp 22, tcp 50000 [22]"),
        (["--to", "outside"], 3, "calculator -> outside: everything"),
        (["--to", "192.168.1.151"], 2, "net2 (4) -> 192.168.1.151: icmp, tcp 22, tcp 50000 [22]"),
        (["--from", "192.168.2.64"], 3, "192.168.2.64 -> calculator: icmp, tcp 22, tcp 50000 [22]"),
        (["--to", "8.8.8.8"], 3, "calculator -> 8.8.8.8: everything"),
        (["--from", "net2"], 3, "net2 (4) -> calculator: icmp, tcp 22, tcp 50000 [22]"),
        (["--from", "applications", "--to", "application_div"], 3, "calculator -> div: icmp, tcp 22, tcp 50004 [23]"),
    ],
)
def test_reach_with_one_end(arguments: list[str], lines: int, first: str, capsys: pytest.CaptureFixture[str]):
    """A name, an address of a host, or an address outside, each with every other end."""
    assert main(["reach", CALCULATOR, *arguments]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert (len(shown), shown[0]) == (lines, first)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--from", "calculater"],
            "--from: there is no host, group, network or address `calculater`; did you mean `calculator`?",
        ),
        (
            ["--to", "192.168.2.1"],
            "--to: there is no host, group, network or address `192.168.2.1`; `netorder plan` lists them",
        ),
        (["--port", "80", "--protocol", "icmp"], "icmp has no ports: omit --port"),
        (["--protocol", "udp"], "udp needs a port: add --port N"),
        (["--protocol", "132"], "sctp needs a port: add --port N"),
        (["--protocol", "gre", "--port", "80"], "gre has no ports: omit --port"),
        (
            ["--from", "203.0.113.7", "--to", "outside"],
            "203.0.113.7 and outside are both outside: name a host in --from or --to",
        ),
        (
            ["--from", "outside", "--to", "outside"],
            "outside and outside are both outside: name a host in --from or --to",
        ),
        (
            ["--from", "outside", "--to", "8.8.8.8"],
            "outside and 8.8.8.8 are both outside: name a host in --from or --to",
        ),
        (["--exit-code"], "--exit-code needs a pair, or a port for all of them: add --port N or --protocol icmp"),
    ],
)
def test_reach_refuses_what_it_cannot_answer(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main(["reach", CALCULATOR, *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == ("", f"netorder reach: error: {said}")


PARTLY = """
topology: t
networks: {n: {cidr: 10.0.0.0/24}}
routers: {r: {external: true, networks: [n]}}
hosts:
  h: {network: n, floating_ip: true, address: 10.0.0.9}
  web: {network: n, count: 2}
allow:
  - {from: [198.51.100.0/24, 192.0.2.7], to: h, tcp: 22}
  - {to: h, tcp: 80}
  - {from: web, to: h, tcp: 5432}
"""


@pytest.fixture
def partly(tmp_path: Path) -> str:
    """Return a topology file with a counted host, and SSH open from some places outside."""
    file = tmp_path / "partly.yml"
    file.write_text(PARTLY, encoding="utf-8")
    return str(file)


def test_reach_shows_what_is_open_to_some_of_the_outside(partly: str, capsys: pytest.CaptureFixture[str]):
    """In the list, and for the pair, with the path of one of them."""
    assert main(["reach", partly, "--from", "outside", "--to", "h"]) == 0
    capsys.readouterr()
    assert main(["reach", partly, "--from", "outside"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "outside -> h: tcp 22 from 192.0.2.7, 198.51.100.0/24, tcp 80 [9, 10]"
    assert main(["reach", partly, "--from", "outside", "--to", "h", "--port", "22"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "outside -> h tcp 22: open from 192.0.2.7, 198.51.100.0/24 only",
        f"  rule of h: tcp 22 from 192.0.2.7 ({partly}:9)",
    ]


def test_reach_shows_one_port_of_all_pairs(partly: str, capsys: pytest.CaptureFixture[str]):
    """A counted name stands for all of its hosts."""
    assert main(["reach", partly, "--from", "web", "--to", "h", "--port", "5432"]) == 0
    assert capsys.readouterr().out.splitlines() == ["web (2) -> h: tcp 5432 [11]"]
    assert main(["reach", partly, "--port", "22", "--from", "outside", "--open", "--closed"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "outside -> h: tcp 22 from 192.0.2.7, 198.51.100.0/24 [9]",
        "outside -> web (2): no route: each of web (2) has no floating address",
    ]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--from", "web-1", "--to", "h", "--port", "5432"], 0),
        (["--from", "web", "--to", "h", "--port", "5432"], 0),
        (["--from", "web-1", "--to", "h", "--port", "5433"], 2),
        (["--from", "outside", "--to", "web-1", "--port", "80"], 2),
        (["--from", "outside", "--to", "h", "--port", "80"], 0),
        (["--from", "outside", "--to", "h", "--port", "22"], 2),
        (["--from", "198.51.100.9", "--to", "h", "--port", "22"], 0),
        (["--from", "web", "--port", "5432"], 2),
    ],
)
def test_reach_answers_by_its_exit_status(
    partly: str, arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
):
    """Only with --exit-code; unlike a usage error, with something on standard output."""
    assert main(["reach", partly, *arguments]) == 0
    assert main(["reach", partly, *arguments, "--exit-code"]) == status
    assert capsys.readouterr().out != ""


def test_reach_shows_what_leaves_through_a_host(capsys: pytest.CaptureFixture[str]):
    """What the rules of the next hop allow, where a declared route leads there."""
    assert main(["reach", "tests/golden/good/vpn-gateway.yml", "--to", "203.0.113.9"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "door, vpn, fw, app -> 203.0.113.9: everything",
        "astray -> 203.0.113.9: icmp, tcp 23-65535, udp 1-65535 (through vpn)",
    ]


def test_a_closed_pair_ends_where_it_is_dropped(partly: str, capsys: pytest.CaptureFixture[str]):
    """Nothing is received, and nothing comes back."""
    assert main(["reach", partly, "--from", "web-1", "--to", "h", "--port", "9"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "web-1 -> h tcp 9: closed",
        "  no rule of h allows tcp 9 from 10.0.0.85",
        "",
        "there, from 10.0.0.85 to 10.0.0.9:",
        "  web-1  sends it out on n (connected)",
        "  h      drops it as it comes in on n",
    ]


def test_diff_of_a_file_with_itself(capsys: pytest.CaptureFixture[str]):
    assert main(["diff", CALCULATOR, CALCULATOR]) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_diff_answers_by_its_exit_status(partly: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Only with --exit-code, as terraform's -detailed-exitcode: 0 no difference, 2 one."""
    other = tmp_path / "other.yml"
    other.write_text(PARTLY.replace("5432", "3306"), encoding="utf-8")
    for arguments, status in (
        ([partly, partly], 0),
        ([partly, partly, "--exit-code"], 0),
        ([partly, str(other)], 0),
        ([partly, str(other), "--exit-code"], 2),
        ([partly, str(other), "--exit-code", "--format", "json"], 2),
        ([partly, "no/such.yml", "--exit-code"], 1),
    ):
        assert main(["diff", *arguments]) == status
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["diff", partly, "--exit-code"])
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.splitlines()[-1]) == (
        2,
        "",
        "netorder diff: error: the following arguments are required: NEW",
    )


def test_diff_as_json(partly: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Also without a difference; it says which permission a run needs."""
    other = tmp_path / "other.yml"
    other.write_text(PARTLY.replace("count: 2", "count: 1"), encoding="utf-8")
    assert main(["diff", partly, partly, "--format", "json"]) == 0
    same = {"different": False, "moved": [], "renamed": None, "needs_allow": [], "differences": [], "flows": []}
    assert json.loads(capsys.readouterr().out) == same
    assert main(["diff", partly, str(other), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["different"], found["needs_allow"]) == (True, ["delete"])
    assert {one["name"]: one["permission"] for one in found["differences"]} == {"h": None, "web-2": "delete"}


@pytest.mark.parametrize(("line", "said"), [("target: containers", "target: containers, before openstack"),
                                            ("cloud: north", "cloud: north, before the one of OS_CLOUD")])  # fmt: skip
def test_diff_of_what_is_made_elsewhere(line: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A run would make everything anew there, and leave what there is."""
    files = []
    for name, text in (("old", PARTLY), ("new", f"{line}\n{PARTLY}")):
        files.append(str(tmp_path / f"{name}.yml"))
        Path(files[-1]).write_text(text, encoding="utf-8")
    assert main(["diff", *files, "--exit-code"]) == 2
    out = capsys.readouterr().out
    assert said in out.splitlines()
    assert "leaves what there is as it is" in out
    Path(files[1]).write_text(f"{line}\n{PARTLY}".replace("topology: ", "topology: other-", 1), encoding="utf-8")
    assert main(["diff", *files, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["renamed"]["new"].startswith("other-")
    assert len(found["moved"]) == 1


def test_the_target_of_the_environment_and_of_the_command_line(tmp_path, monkeypatch, capsys):
    """As `up` has it: a file without `cidr` is right for target machine alone."""
    file = tmp_path / "nat.yml"
    file.write_text("topology: n\nnetworks: {nat: {}}\nhosts: {box: {network: nat}}\n", encoding="utf-8")
    for command in ("plan", "reach", "graph"):
        assert main([command, str(file)]) == 1
        assert main([command, str(file), "--target", "machine"]) == 0
        monkeypatch.setenv("NETORDER_TARGET", "machine")
        assert main([command, str(file)]) == 0
        monkeypatch.setenv("NETORDER_TOPOLOGY", str(file))
        assert main([command]) == 0
        monkeypatch.delenv("NETORDER_TARGET")
        monkeypatch.delenv("NETORDER_TOPOLOGY")
        capsys.readouterr()


@pytest.mark.parametrize("command", ["graph", "compose", "report"])
def test_a_topology_is_not_written_over(command: str, partly: str, capsys: pytest.CaptureFixture[str]):
    before = Path(partly).read_bytes()
    assert main([command, partly, "-o", partly]) == 2
    assert "is the topology itself, which would be lost" in capsys.readouterr().err
    assert Path(partly).read_bytes() == before


def test_an_output_that_takes_nothing():
    """A full disk, and one that is closed."""
    line = f"{sys.executable} -m netorder plan {CALCULATOR}"
    full = subprocess.run(["sh", "-c", f"{line} >/dev/full"], capture_output=True, text=True, check=False)
    assert full.returncode == 1
    assert full.stderr.endswith("\nnetorder plan: error: standard output: No space left on device\n")
    closed = subprocess.run(["sh", "-c", f"{line} >&-"], capture_output=True, text=True, check=False)
    assert closed.returncode == 0
    assert "Traceback" not in full.stderr + closed.stderr


def test_check_counts_one_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """One network, one router, one host."""
    file = tmp_path / "one.yml"
    file.write_text(
        "topology: t\nnetworks: {n: {cidr: 10.0.0.0/24}}\nrouters: {r: {networks: [n]}}\nhosts: {h: {network: n}}\n"
    )
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok (1 network, 1 router, 1 host)\n"


def test_diff_shows_the_errors_of_both_files(capsys: pytest.CaptureFixture[str]):
    assert main(["diff", WRONG, "no/such.yml"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count(f"{WRONG}:") == 10
    assert "no/such.yml: error: cannot be read" in err


def test_times_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Says where it looked; the exit status is 1."""
    where = state.directory(tmp_path, None, "calculator")
    assert main(["times", CALCULATOR, "--files", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    expected = f"netorder times: error: no run has changed calculator yet (none in {where})"
    assert (out, err.splitlines()[-1]) == ("", expected)


def test_a_terminal_that_knows_ascii_only(tmp_path: Path):
    """Signs of our own have a plain form; any other character is escaped; nothing fails."""
    text = Path(CALCULATOR).read_text(encoding="utf-8").replace("../applications", f"{ROOT}/applications")
    replaced = tmp_path / "größer.yml"
    replaced.write_text(re.sub(r"192\.168\.2\.0/24", "192.168.3.0/24", text), encoding="utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    for arguments, said in (
        (["diff", CALCULATOR, str(replaced)], "-/+ subnet net2 replaced: cidr: 192.168.2.0/24 -> 192.168.3.0/24"),
        (["check", str(replaced)], "/gr\\xf6\\xdfer.yml: ok ("),
        (["diff", "--help"], "replaced (-/+)"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "netorder", *arguments],
            env=environment,
            capture_output=True,
            encoding="ascii",
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_exit_statuses_are_those_of_the_errors_in_the_help_and_in_the_reference(capsys: pytest.CaptureFixture[str]):
    """Each kind of error has its exit status, and each status a line in `netorder --help` and in the reference."""
    statuses = {0} | {error.exit_status for error in (NetorderError, *kinds(NetorderError))}
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out.partition("\nexit status:\n")[2]
    reference = (ROOT / "docs/reference/exit-statuses.md").read_text(encoding="utf-8")
    assert {int(number) for number in re.findall(r"(?m)^  (\d+)  ", shown)} == statuses
    assert {int(number) for number in re.findall(r"(?m)^\| (\d+) \|", reference)} == statuses


def kinds(error: type[NetorderError]) -> list[type[NetorderError]]:
    """Return the kinds of an error, and their kinds."""
    return [one for kind in error.__subclasses__() for one in (kind, *kinds(kind))]


def test_the_command_needs_no_cloud_and_no_ansible():
    """PyYAML and jsonschema are enough: nothing else of the environment is imported."""
    code = (
        "import sys, netorder.cli.main; print({'openstack', 'keystoneauth1', 'requests', 'ansible'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_matrix_that_does_not_fit_is_refused(monkeypatch, capsys):
    """With its width, and what to do instead; in a file it may be as wide as it is."""
    wide = [*"reach topologies/class.yml --format matrix".split()]
    monkeypatch.chdir(ROOT)
    assert main(wide) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) > 400
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(wide) == 2
    assert "columns wide, the terminal 80: take fewer with --from and --to" in capsys.readouterr().err
    assert main([*wide, "--from", "outside"]) == 0
    assert main(["reach", "topologies/calculator.yml", "--format", "matrix", "--closed"]) == 2
    assert "--format matrix shows what is open between several" in capsys.readouterr().err
