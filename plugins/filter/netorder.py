"""Filters: the package's functions, for playbooks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

from netorder.ansible.applications import answers, connections, forwarded, forwarded_answers
from netorder.ansible.drift import as_json, as_table, drift, findings, off_reason, out_of_reach
from netorder.ansible.plans import names, node_of, probes, report, sampled
from netorder.controller.ssh import ssh_blocked_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

DOCUMENTATION = """
name: netorder_report
short_description: the findings on each host, as a table
positional: _input, hosts
options:
  _input:
    description: The variables of all hosts; a host's findings are its variable netorder_findings.
    type: dict
    required: true
  hosts:
    description: The hosts of the report, in its order.
    type: list
    elements: str
    required: true
"""


def netorder_report(hostvars: Mapping[str, Mapping[str, Any]], hosts: list[str]) -> str:
    """Return the report on ``hosts``; one without findings counts as not observed."""
    file = hostvars["localhost"]["netorder_topology_file"]
    return report(file, {host: hostvars[host].get("netorder_findings") for host in hosts})


def netorder_probes(
    host: str, kind: str, file: str, wanted: str = "sample", off: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return what ``host`` of the topology ``file`` probes: see :func:`netorder.ansible.plans.probes`.

    Not the hosts that are ``off`` on purpose.
    """
    return [one for one in probes(file, host, kind, wanted) if one["name"] not in off]


def netorder_findings(
    results: Mapping[str, Mapping[str, Any]],
    file: str,
    services: Iterable[Mapping[str, Any]] = (),
    clock: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Return what was found on a host of the topology ``file``: see :func:`netorder.ansible.drift.findings`."""
    return findings(results, services, clock, lambda address: node_of(file, address))


def netorder_names(host: str, file: str) -> list[dict[str, str]]:
    """Return what ``host`` of the topology ``file`` calls the others: see :func:`netorder.ansible.plans.names`."""
    return names(file, host)


def netorder_drift(hostvars: Mapping[str, Mapping[str, Any]], hosts: list[str]) -> dict[str, Any]:
    """Return what differs in the cloud, by ``netorder_provisioned`` of localhost, and inside ``hosts``."""
    local = hostvars["localhost"]
    return drift(local["netorder_topology"], local["netorder_provisioned"], hostvars, hosts)


def netorder_drift_text(found: Mapping[str, Any], form: str) -> str:
    """Return the result of :func:`netorder_drift` as a table or as JSON."""
    return {"table": as_table, "json": as_json}[form](found)


def netorder_digest(path: str) -> str:
    """Return the SHA-256 of a file on the controller, in hexadecimal."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise AnsibleFilterError(f"{path}: {error.strerror}") from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name to function."""
        return {
            "netorder_answers": answers,
            "netorder_connections": connections,
            "netorder_digest": netorder_digest,
            "netorder_forwarded": forwarded,
            "netorder_forwarded_answers": forwarded_answers,
            "netorder_report": netorder_report,
            "netorder_probes": netorder_probes,
            "netorder_sampled": sampled,
            "netorder_names": netorder_names,
            "netorder_drift": netorder_drift,
            "netorder_drift_text": netorder_drift_text,
            "netorder_findings": netorder_findings,
            "netorder_off_reason": off_reason,
            "netorder_out_of_reach": out_of_reach,
            "netorder_ssh_blocked_reason": ssh_blocked_reason,
        }
