"""The plan as plain data and as JSON text."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netorder.plan.model import Plan

__all__ = ["to_json"]


def to_json(plan: Plan) -> str:
    """Return the plan as JSON text, a value on each line, in the order of the model: stable, and diffs well."""
    return json.dumps(asdict(plan), indent=1) + "\n"
