"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from netorder import __version__
from netorder.cli.main import main
from netorder.language.load import load
from netorder.plan.build import build_plan, from_dict

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
    assert from_dict(json.loads(capsys.readouterr().out)) == build_plan(load(LAB))


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
    for arguments in ([], ["chek", CALCULATOR], ["plan"], ["plan", CALCULATOR, "--format", "xml"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "usage: netorder" in capsys.readouterr().err


def test_help_shows_how(capsys: pytest.CaptureFixture[str]):
    """The help names every command and gives examples that work."""
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for word in ("check", "plan", "reach", "diff", "schema", "netorder plan topologies/calculator.yml", "Exit status"):
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
    assert out.startswith("calculator -> sum tcp 50001: open\n  rule: tcp 50001 from 192.168.1.")
    assert "calculator  sends it out on net1 (route 192.168.2.0/24 via 192.168.1.9)" in out
    assert "rt2         passes it from net2 to net1 (connected)" in out


def test_reach_without_ends_shows_all_pairs(capsys: pytest.CaptureFixture[str]):
    assert main(["reach", CALCULATOR]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 * 5
    assert "outside -> calculator  icmp, tcp 22, tcp 50000" in lines
    assert "sum -> outside         no route: rt2 does not join the outside" in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "calculater"], "--from: there is no host or address `calculater`; did you mean `calculator`?"),
        (["--to", "192.168.2.1"], "--to: there is no host or address `192.168.2.1`; `netorder plan` lists them"),
        (["--port", "80", "--protocol", "icmp"], "icmp has none: leave --port out"),
        (["--protocol", "udp"], "udp needs one: add --port N"),
    ],
)
def test_reach_refuses_what_it_cannot_answer(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main(["reach", CALCULATOR, *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == ("", f"netorder reach: error: {said}")


def test_diff_of_a_file_with_itself(capsys: pytest.CaptureFixture[str]):
    assert main(["diff", CALCULATOR, CALCULATOR]) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_help_does_not_wait_for_yaml():
    """Starting up loads neither YAML nor JSON Schema."""
    code = (
        "import sys; from netorder.cli.main import _parser; _parser(); print({'yaml', 'jsonschema'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
