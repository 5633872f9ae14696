"""Topology in, plan out; bad topology in, errors out. After a wanted change: `python -m tests.golden.regenerate`."""

import dataclasses
import json
from pathlib import Path

import cases
import pytest

from netorder.language.load import load
from netorder.plan.build import build_plan


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("source", cases.GOOD, ids=name)
def test_plan(source: Path):
    """The plan of a topology is the one that was read and found right, as JSON and as text."""
    data, text = cases.plan_of(source)
    assert data == cases.expected_path(source, ".json").read_text(encoding="utf-8")
    assert text == cases.expected_path(source, ".txt").read_text(encoding="utf-8")


def says_nothing(field: dataclasses.Field[object], value: object) -> bool:
    return (field.default in (None, True) or bool(field.metadata)) and value == field.default


def plain(value: object) -> object:
    """Return a value of the model as JSON holds it: an object has each of its fields but those that say nothing."""
    if dataclasses.is_dataclass(value):
        said = (
            field
            for field in dataclasses.fields(value)
            if field.compare and not says_nothing(field, getattr(value, field.name))  # not where the file says it
        )
        return {field.name: plain(getattr(value, field.name)) for field in said}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("source", cases.GOOD, ids=name)
def test_json_has_the_whole_plan(source: Path):
    """The JSON has every field of the model, and no others."""
    data = json.loads(cases.expected_path(source, ".json").read_text(encoding="utf-8"))
    assert data == plain(build_plan(load(source)))


@pytest.mark.parametrize("source", cases.DRAWN, ids=name)
def test_pictures(source: Path):
    """The pictures of a topology are those that were looked at."""
    for suffix, text in cases.pictures_of(source).items():
        assert text == (cases.HERE / "graph" / (source.stem + suffix)).read_text(encoding="utf-8"), suffix


@pytest.mark.parametrize("source", cases.COMPOSED, ids=name)
def test_compose(source: Path):
    """The compose file of a topology is the one that was read; tests/containers runs one."""
    assert cases.composed(source) == (cases.HERE / "compose" / f"{source.stem}.compose").read_text(encoding="utf-8")


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
    expected |= {cases.HERE / "graph" / (source.stem + suffix) for source in cases.DRAWN for suffix in cases.PICTURES}
    expected |= {cases.HERE / "compose" / f"{source.stem}.compose" for source in cases.COMPOSED}
    patterns = ("good/*.json", "good/*.txt", "bad/*.errors", "graph/*.*", "compose/*.compose")
    found = {path for pattern in patterns for path in cases.HERE.glob(pattern)}
    assert found == expected
