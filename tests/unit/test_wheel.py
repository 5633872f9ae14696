"""The wheel, installed beside its own requirements and nothing else: the command works on PyYAML and jsonschema."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from netorder import __version__
from netorder.controller import timings

ROOT = Path(__file__).parents[2]
CALCULATOR = ROOT / "topologies/calculator.yml"


def pip(*arguments: str | Path) -> None:
    """Run pip without any index."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, since setuptools writes into the directory that it builds."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, source)
    return directory / f"netorder-{__version__}-py3-none-any.whl"


def needed(requirements: list[str]) -> set[str]:
    """Return the distributions that these requirements need, without extras, and those that they need in turn."""
    names: set[str] = set()
    left = [Requirement(requirement) for requirement in requirements]
    while left:
        requirement = left.pop()
        if requirement.name in names or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        names.add(requirement.name)
        left += [Requirement(one) for one in metadata.requires(requirement.name) or ()]
    return names


def requirements_of(wheel: Path) -> list[str]:
    """Return what the wheel requires without extras."""
    (described,) = metadata.distributions(name="netorder", path=[str(wheel)])
    requirements = map(Requirement, described.requires or ())
    return sorted(str(one) for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""}))


def test_the_wheel_requires_two_distributions(wheel: Path):
    """The rest is in extras."""
    assert [Requirement(one).name for one in requirements_of(wheel)] == ["PyYAML", "jsonschema"]


def test_the_wheel_states_its_licence(wheel: Path):
    """As an SPDX expression, with the file."""
    (described,) = metadata.distributions(name="netorder", path=[str(wheel)])
    assert (described.metadata["License-Expression"], described.metadata["License-File"]) == ("Apache-2.0", "LICENSE")


def test_the_wheel_has_nothing_of_an_application(wheel: Path):
    """It has one package, and the calculator is a distribution of its own."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"netorder", f"netorder-{__version__}.dist-info"}
    assert [name for name in names if "calculator" in name] == []


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment, beside copies of what it needs from this one."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, symlinks=True)
    packages = directory / f"lib/python3.{sys.version_info.minor}/site-packages"
    for name in needed(requirements_of(wheel)):
        for file in metadata.files(name) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    pip("--python", directory / "bin/python", "install", "--no-index", wheel)
    return directory / "bin/netorder"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", CALCULATOR], f"{CALCULATOR}: ok (2 networks, 2 routers, 5 hosts)\n"),
        (["plan", CALCULATOR], "calculator: 2 networks, 2 routers, 5 hosts"),
        (["plan", CALCULATOR, "--format", "json"], '{\n "topology": "calculator",\n'),
        (["reach", CALCULATOR, "--from", "calculator", "--to", "sum"], "calculator -> sum icmp: "),
        (["diff", CALCULATOR, CALCULATOR], "no difference\n"),
        (["report", CALCULATOR, "-o", os.devnull], f"{os.devnull}\n"),
        (["schema"], "{\n"),
        (["schema", "--format", "markdown"], "#"),
    ],
    ids=["check", "plan", "plan as JSON", "reach", "diff", "report", "schema", "reference"],
)
def test_the_command_works(command: Path, tmp_path: Path, arguments: list[str | Path], said: str):
    """In the isolated environment, from another directory."""
    done = subprocess.run([command, *arguments], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[: len(said)]) == (0, said), done.stderr


def test_times_of_a_run(command: Path, tmp_path: Path):
    """What a run recorded is shown, too."""
    one = {"kind": "port", "name": "a", "action": "create", "start": 0, "seconds": 2}
    result = {"timings": [one], "requests": {"total": 1}, "api_seconds": 2.0, "seconds": 2.5}
    (tmp_path / "calculator").mkdir()
    timings.record(result, tmp_path / "calculator")
    arguments = ["times", CALCULATOR, "--files", tmp_path]
    done = subprocess.run([command, *arguments], env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, timings.text(result))


def test_errors_of_a_topology_are_reported(command: Path, tmp_path: Path):
    """What jsonschema finds, in our words: with its place and the exit status 1."""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("topology: t\nnetworks: {n: {cird: 10.0.0.0/24}}\nhosts: {h: {network: n}}\n")
    done = subprocess.run([command, "check", wrong], env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{wrong}:2:16: error: unknown key `cird`"), done.stderr


def test_a_topology_is_written(command: Path, tmp_path: Path):
    """From a template that is in the wheel; and it is right."""
    done = subprocess.run([command, "init", "a.yml"], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [command, "check", "a.yml"], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "a.yml: ok (2 networks, 2 routers, 3 hosts)\n")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (
            ["status", CALCULATOR],
            1,
            "this asks the cloud, and needs openstack: `make setup` installs it, or `pip install",
        ),
        (["up", CALCULATOR], 2, "the playbooks are not in"),
    ],
    ids=["status", "up"],
)
def test_what_is_not_in_the_wheel_is_named(
    command: Path, tmp_path: Path, arguments: list[str | Path], status: int, said: str
):
    """The library of the cloud, and the playbooks."""
    done = subprocess.run([command, *arguments], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr


def test_there_is_no_cloud_and_no_ansible(command: Path):
    """The environment does lack what the extras bring, and the calculator."""
    names = ("openstack", "ansible", "h11", "calculator")
    code = f"from importlib.util import find_spec; print([n for n in {names} if find_spec(n)])"
    done = subprocess.run([command.with_name("python"), "-c", code], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
