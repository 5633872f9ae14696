"""What is pinned in several places is the same in all of them."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import ansible_collections
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [*map(Requirement, [*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)])]
OTHERS = [requirement for requirement in REQUIREMENTS if requirement.name != PROJECT["name"]]


def test_collections_of_galaxy_and_of_the_ansible_package_are_the_same():
    """Whoever installs from Galaxy gets what the PyPI package carries."""
    for wanted in yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]:
        carried = Path(ansible_collections.__path__[0], *wanted["name"].split("."), "MANIFEST.json")
        assert json.loads(carried.read_text())["collection_info"]["version"] == wanted["version"]


@pytest.mark.parametrize("requirement", OTHERS, ids=str)
def test_the_lock_meets_each_requirement(requirement: Requirement):
    """What pyproject.toml requires is in requirements.lock, in a version that it allows."""
    locked = [line.split("==") for line in (ROOT / "requirements.lock").read_text().split()]
    versions = [version for name, version in locked if canonicalize_name(name) == canonicalize_name(requirement.name)]
    assert [requirement.specifier.contains(version) for version in versions] == [True]


def test_every_requirement_has_a_version():
    """Each is bounded, so that an install without the lock does not take whatever is newest."""
    assert [str(one) for one in OTHERS if not {"==", "<"} & {bound.operator for bound in one.specifier}] == []


def test_the_tests_need_every_extra():
    """The extra `test` names all the others."""
    (itself,) = (requirement for requirement in REQUIREMENTS if requirement.name == PROJECT["name"])
    assert itself.extras == EXTRAS.keys() - {"test"}


def test_every_line_of_the_lock_is_exact():
    """Nothing is installed in whatever version is newest today."""
    lines = (ROOT / "requirements.lock").read_text().split()
    assert [line for line in lines if not re.fullmatch(r"[\w.\-]+==[\w.]+", line)] == []


def test_what_is_installed_is_what_is_locked():
    """The tests run on the versions that users get."""
    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())
    assert {name: metadata.version(name) for name in locked} == locked
