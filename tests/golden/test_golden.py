"""Topology in, plan out; bad topology in, errors out. After a wanted change: `python -m tests.golden.regenerate`."""

import json
from pathlib import Path

import cases
import pytest

from netorder.plan.build import from_dict, to_dict


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("source", cases.GOOD, ids=name)
def test_plan(source: Path):
    """The plan of a topology is the one that was read and found right, as JSON and as text."""
    data, text = cases.plan_of(source)
    assert data == cases.expected_path(source, ".json").read_text(encoding="utf-8")
    assert text == cases.expected_path(source, ".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("source", cases.GOOD, ids=name)
def test_plan_survives_json(source: Path):
    """What `to_dict` gives, through JSON, is what `from_dict` makes the same plan of."""
    data = json.loads(cases.expected_path(source, ".json").read_text(encoding="utf-8"))
    assert to_dict(from_dict(data)) == data


@pytest.mark.parametrize("source", cases.BAD, ids=name)
def test_errors(source: Path):
    """A bad topology gives all its errors, each in our words, at its place."""
    said = cases.diagnostics_of(source)
    assert said == cases.expected_path(source, ".errors").read_text(encoding="utf-8")
    assert ": error: " in said


def test_no_expectation_is_left_over():
    """Each expectation belongs to a topology."""
    expected = {cases.expected_path(source, suffix) for source in cases.GOOD for suffix in (".json", ".txt")}
    expected |= {cases.expected_path(source, ".errors") for source in cases.BAD}
    found = {path for pattern in ("good/*.json", "good/*.txt", "bad/*.errors") for path in cases.HERE.glob(pattern)}
    assert found == expected
