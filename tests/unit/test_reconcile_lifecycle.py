"""The table of what a change costs: complete, and the one that the documentation shows."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from netorder.plan import model
from netorder.plan.lifecycle import (
    FIELDS,
    NAMES,
    NO_COST,
    PARTS,
    Effect,
    effect,
    markdown,
    reason,
)

ROOT = Path(__file__).parents[2]
OF_THE_PLAN = sorted(
    f"{cls.__name__}.{field.name}"
    for cls in (getattr(model, name) for name in model.__all__)
    if is_dataclass(cls)
    for field in fields(cls)
)
LISTS = {"the table": {name for field in FIELDS for name in field.planned}, "names": NAMES, "parts": PARTS,
         "no cost in the cloud": NO_COST}  # fmt: skip


@pytest.mark.parametrize("name", OF_THE_PLAN)
def test_what_a_change_of_each_field_of_the_plan_costs_is_listed_once(name: str):
    """A new field must be put into the table, or into the list of those that cost nothing in the cloud."""
    places = [place for place, names in LISTS.items() if name in names]
    assert len(places) == 1, places


def test_no_list_names_what_the_plan_has_not():
    assert set().union(*LISTS.values()) - set(OF_THE_PLAN) == set()


def test_each_field_has_one_row():
    assert len({(field.kind, field.name) for field in FIELDS}) == len(FIELDS)


def test_the_largest_effect_counts():
    assert effect("server", ["flavor"]) is Effect.IN_PLACE
    assert effect("server", ["flavor", "image"]) is Effect.REPLACE
    assert reason("server", ["flavor", "image"]) == "its image differs; its disk is lost"
    assert reason("server", ["flavor"]) == ""
    with pytest.raises(KeyError):
        effect("server", ["colour"])


def test_every_replacement_and_refusal_has_a_reason():
    assert [field for field in FIELDS if field.effect is Effect.REPLACE and not field.reason] == []
    assert [field for field in FIELDS if field.effect is Effect.REFUSE and not field.note] == []


def test_the_documentation_shows_the_table():
    """`python -m netorder.plan.lifecycle` prints it."""
    assert markdown() in (ROOT / "docs/changes.md").read_text(encoding="utf-8")
