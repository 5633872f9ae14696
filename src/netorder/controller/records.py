"""What the last run of a topology did and found, and what one does now, kept for `netorder report`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FILE", "NOW", "PAGE", "begun", "end", "keep", "note", "read"]

FILE = "last.json"
NOW = "now.json"
PAGE = "report.html"


def keep(found: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Keep what a run found, beside what earlier ones found that this one did not look for; return all of it.

    Of ``runs`` there is the last one of each playbook.
    """
    before = read(directory)
    runs = {**before.get("runs", {}), **found.get("runs", {})}
    kept = {key: value for key, value in {**before, **found, "runs": runs}.items() if value is not None}
    _write(directory / FILE, kept)
    return kept


def read(directory: Path) -> dict[str, Any]:
    """Return what :func:`keep` kept; nothing when no run has, or what is there cannot be read."""
    return _read(directory / FILE)


def note(run: Mapping[str, Any], directory: Path) -> None:
    """Keep how far a run is, the process that does it among it, until :func:`end`."""
    _write(directory / NOW, {**run, "process": os.getpid()})


def end(directory: Path) -> None:
    """Forget the run that has ended."""
    (directory / NOW).unlink(missing_ok=True)


def begun(directory: Path) -> dict[str, Any]:
    """Return what :func:`note` kept of a run that has not ended, ``alive`` if its process is there; else nothing."""
    run = _read(directory / NOW)
    if not isinstance(run.get("process"), int):
        return {}
    try:
        os.kill(run["process"], 0)
    except ProcessLookupError:
        return {**run, "alive": False}
    except PermissionError:  # another user's
        pass
    return {**run, "alive": True}


def _write(file: Path, what: Mapping[str, Any]) -> None:
    """Write a file in one step: who reads it finds all of the old or all of the new."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(json.dumps(what, ensure_ascii=False) + "\n", encoding="utf-8")
    new.replace(file)


def _read(file: Path) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
