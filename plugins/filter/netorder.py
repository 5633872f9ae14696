"""Filters: the package's functions, for playbooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.expect import report

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = """
name: netorder_report
short_description: what was found on each host, as a table
positional: _input
options:
  _input:
    description: Host name to list of findings (what, expected, found, ok; for connections name and port), or none.
    type: dict
    required: true
"""


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return name to function."""
        return {"netorder_report": report}
