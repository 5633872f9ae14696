"""The target openstack, by the same functions as the targets on this machine: ``reconcile``, ``teardown``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from netorder.cloud import reconcile as reconciling
from netorder.cloud.session import connect
from netorder.cloud.teardown import teardown as teardown_cloud
from netorder.cloud.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from netorder.cloud.change import Progress
    from netorder.cloud.result import Result
    from netorder.plan.model import Plan

__all__ = ["reconcile", "teardown"]


def reconcile(
    plan: Plan,
    *,
    directory: Path,
    key: str | None,
    check: bool,
    allow: Collection[str],
    hostkey_timeout: float,
    golden_only: bool,
    progress: Progress,
) -> Result:
    """Make the cloud what the plan says. Raises RefusedError before the first change, CloudError after it."""
    session = connect(progress, plan.cloud)
    session.waits = Waits.of(directory)
    return reconciling.reconcile(
        session,
        plan,
        key=key,
        check=check,
        allow=allow,
        hostkey_timeout=hostkey_timeout,
        golden_only=golden_only,
    )


def teardown(
    topology: str,
    cloud: str | None,
    *,
    directory: Path,
    check: bool,
    snapshots: bool,
    floating_ips: bool,
    progress: Progress,
) -> Result:
    """Delete all that carries the marker of the topology. Raises CloudError that names what is left."""
    start = time.monotonic()
    session = connect(progress, cloud)
    session.waits = Waits.of(directory)
    changes = teardown_cloud(session, topology, check=check, snapshots=snapshots, floating_ips=floating_ips)
    return reconciling.result_of(session, changes, {}, start)
