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

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]


def test_collections_of_galaxy_and_of_the_ansible_package_are_the_same():
    """Whoever installs from Galaxy gets what the PyPI package carries."""
    for wanted in yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]:
        carried = Path(ansible_collections.__path__[0], *wanted["name"].split("."), "MANIFEST.json")
        assert json.loads(carried.read_text())["collection_info"]["version"] == wanted["version"]


@pytest.mark.parametrize("pin", PINS)
def test_the_lock_holds_each_pin(pin):
    """What pyproject.toml pins is in requirements.lock, the same version."""
    assert pin.lower() in (ROOT / "requirements.lock").read_text().lower().splitlines()


def test_every_line_of_the_lock_is_exact():
    """Nothing is installed in whatever version is newest today."""
    lines = (ROOT / "requirements.lock").read_text().split()
    assert [line for line in lines if not re.fullmatch(r"[\w.\-]+==[\w.]+", line)] == []


def test_what_is_installed_is_what_is_locked():
    """The tests run on the versions that users get."""
    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())
    assert {name: metadata.version(name) for name in locked} == locked
