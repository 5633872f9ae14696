"""``python -m netorder.ansible.kept APPLICATION``: where the outside calls it, as the last run here kept it.

For scripts/demo, which would else ask the cloud again. The topology and the target are those of NETORDER_TOPOLOGY and
NETORDER_TARGET.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from netorder.analysis.reach import Matrix
from netorder.ansible.ending import served
from netorder.controller import playbooks, records, state
from netorder.errors import NetorderError
from netorder.language.load import load
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["url"]


def url(application: str, file: str, target: str | None, files: Path) -> str:
    """Return the URL of an application, by what is in ``files``. Raises NetorderError where there is none."""
    plan = build_plan(load(file, target))
    matrix = Matrix(plan)
    hosts = records.read(state.directory(files, plan.cloud, plan.topology)).get("hosts", {})
    for host in (one for one in plan.hosts if one.name in hosts):
        address = hosts[host.name].get("floating_ip") or host.entry
        for line in served(matrix, host, address) if address else ():
            name, its = line.split()[:2]
            if name == f"{application}:":
                return its
    raise NetorderError(f"{file}: as far as the last run kept it, the outside calls no application {application}")


def main(arguments: list[str]) -> int:
    """Print it; return the exit status."""
    (application,) = arguments
    file = os.environ.get("NETORDER_TOPOLOGY") or playbooks.DEFAULT_TOPOLOGY
    try:
        print(url(application, str(file), os.environ.get("NETORDER_TARGET") or None, playbooks.files().absolute()))
    except NetorderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
