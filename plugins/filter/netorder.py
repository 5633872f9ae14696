"""Filters: the package's functions, for playbooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netorder.expect import report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = """
name: netorder_report
short_description: what was found on each host, as a table
positional: _input, hosts
options:
  _input:
    description: The variables of all hosts; what was found on one is in its variable netorder_findings.
    type: dict
    required: true
  hosts:
    description: The hosts of the report, in its order.
    type: list
    elements: str
    required: true
"""


def netorder_report(hostvars: Mapping[str, Mapping[str, Any]], hosts: list[str]) -> str:
    """Return the report on ``hosts``; one on which the play did not get as far as findings counts as not observed."""
    return report({host: hostvars[host].get("netorder_findings") for host in hosts})


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return name to function."""
        return {"netorder_report": netorder_report}
