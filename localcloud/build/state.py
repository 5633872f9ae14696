"""The initial state of a new cloud: that of a cloud which was started once and stopped.

Its databases are migrated, its catalog, flavors, project and external network created. Its secrets and address are
replaced in each new cloud by the step ``identity`` (``inside.tasks``). It is the same for every kind of guests:
nova-compute updates its node at each start.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import build, capacity, machine
from localcloud.build import rootfs
from localcloud.cloud import Cloud

if TYPE_CHECKING:
    from localcloud.build import Log

INSIDE = Path(__file__).resolve().parents[1] / "inside"


def constants(guests: str) -> dict[str, str]:
    """Return the parameters that follow from the kind of guests, and those that are the same in every cloud."""
    container = guests == "container"
    return {
        "hostname": "localcloud", "user": "netorder", "project": "netorder", "guests": guests,
        "libvirt_uri": "lxc:///system" if container else "qemu:///system",
        "images_type": "raw" if container else "qcow2",
        "cow_images": "false" if container else "true",
    }  # fmt: skip


def make(cache: Path, lower: Path, log: Log) -> Path:
    """Return the directory with ``upper``, that cloud's layer over the root file system ``lower``."""

    def work(result: Path) -> None:
        log("making the fresh state: migrating databases, first start of every service")
        cloud = Cloud(result.parent, "first")
        cloud.make()
        values = {
            **constants("vm"), **capacity.overcommit("fake", 1, 0, 0),
            "gateway": "172.24.4.1", "host_ip": "", "ip": "127.0.0.1", "workers": "1",
            "image": "false", "heat": "false",
            **{name: secrets.token_hex(16) for name in ("secret", "admin_password", "user_password")},
        }  # fmt: skip
        try:
            machine.start(cloud, lower, values)
            machine.wait_ready(cloud, log)
        finally:
            machine.halt(cloud)
        shutil.copytree(cloud.shared / "log", result / "log")
        (cloud.home / "upper").rename(result / "upper")

    key = build.digest(rootfs.digest(), INSIDE)
    return build.once(cache / f"state-{key}", work, replaces=f"state-{'?' * len(key)}")
