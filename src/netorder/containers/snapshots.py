"""Snapshots of hosts: images that podman commits of their containers, marked as a topology's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from netorder.containers.engine import HOST, LABEL, podman
from netorder.containers.wanted import snapshots_name
from netorder.errors import CloudError

if TYPE_CHECKING:
    from netorder.containers.engine import Container

__all__ = ["Snapshot", "find", "make", "remove", "snapshot_name", "snapshots"]

OF = "netorder.snapshot-of"  # label: the topology


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot: ``name`` as topologies say it, ``id`` of the image, ``size`` in bytes with what it is made from."""

    name: str
    id: str
    host: str
    time: str
    size: int


def snapshot_name(host: str, now: datetime) -> str:
    """Return the name of a snapshot: the host's, and when."""
    return f"{host}-{now:%Y%m%dT%H%M%S}"


def snapshots(topology: str) -> list[Snapshot]:
    """Return the topology's snapshots, the oldest first."""
    said = podman("images", "--filter", f"label={OF}={topology}", "--format", "json")
    images: list[dict[str, Any]] = json.loads(said or "[]")
    head = f"{snapshots_name(topology)}:"
    found = [
        Snapshot(
            name.removeprefix(head),
            one["Id"],
            (one.get("Labels") or {}).get(HOST, ""),
            datetime.fromtimestamp(one["Created"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            one["Size"],
        )
        for one in images
        for name in one.get("Names") or ()
        if name.startswith(head)
    ]
    return sorted(found, key=lambda one: (one.time, one.name))


def make(topology: str, container: Container, name: str) -> Snapshot:
    """Save a container as an image: it stands still meanwhile, if it runs."""
    target = f"{snapshots_name(topology)}:{name}"
    # an image has its container's labels: one that somebody else starts from it must not look like the topology's
    labels = ("--change", f"LABEL {LABEL}=", "--change", f"LABEL {OF}={topology}")
    podman("commit", "--quiet", f"--pause={str(container.runs).lower()}", *labels, container.id, target)
    return find(topology, name)


def find(topology: str, name: str) -> Snapshot:
    """Return the snapshot of this name, or the newest of the host of this name; raises CloudError."""
    known = snapshots(topology)
    found = [one for one in known if one.name == name] or [one for one in known if one.host == name]
    if not found:
        names = ", ".join(one.name for one in known) or "none"
        raise CloudError(f"there is no snapshot {name} and none of a host of that name; {topology} has {names}")
    return found[-1]


def remove(topology: str, name: str) -> None:
    """Delete a snapshot; raises CloudError where a container is made from it."""
    podman("rmi", f"{snapshots_name(topology)}:{name}")
