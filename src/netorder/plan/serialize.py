"""The plan as plain data and as JSON text."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netorder.plan.model import Plan

__all__ = ["to_json"]

_SELDOM = {"mtu": None, "port_security": True}


def to_json(plan: Plan) -> str:
    """Return the plan as JSON text, a value on each line, in the order of the model: stable, and diffs well.

    What most topologies do not say is there only where they do.
    """
    return json.dumps(asdict(plan, dict_factory=_said), indent=1) + "\n"


def _said(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if name not in _SELDOM or value is not _SELDOM[name]}
