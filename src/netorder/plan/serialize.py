"""The plan as plain data and as JSON text."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netorder.plan.model import Plan

__all__ = ["to_json"]


def to_json(plan: Plan) -> str:
    """Return the plan as JSON text, a value on each line, in the order of the model: stable, and diffs well.

    What most topologies do not say (fields that are None or true unless said otherwise) is there only where they do,
    and places in the file are not.
    """
    return json.dumps(_plain(plan), indent=1) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401 - a value of the model
    if is_dataclass(value):
        found = ((field, getattr(value, field.name)) for field in fields(value))
        return {
            field.name: _plain(one)
            for field, one in found
            if field.compare and not (one == field.default and (one is None or one is True or field.metadata))
        }
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value
