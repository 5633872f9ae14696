"""What the last run of a topology did and found, kept for `netorder report`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FILE", "PAGE", "keep", "read"]

FILE = "last.json"
PAGE = "report.html"


def keep(found: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Keep what a run found, beside what earlier ones found that this one did not look for; return all of it.

    Of ``runs`` there is the last one of each playbook.
    """
    before = read(directory)
    runs = {**before.get("runs", {}), **found.get("runs", {})}
    kept = {key: value for key, value in {**before, **found, "runs": runs}.items() if value is not None}
    new = directory / f".{FILE}.new"
    new.write_text(json.dumps(kept, ensure_ascii=False) + "\n", encoding="utf-8")
    new.replace(directory / FILE)
    return kept


def read(directory: Path) -> dict[str, Any]:
    """Return what :func:`keep` kept; nothing when no run has, or what is there cannot be read."""
    try:
        kept = json.loads((directory / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
