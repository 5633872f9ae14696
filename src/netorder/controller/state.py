"""Where runs keep what they need of a topology on this machine: a directory for each cloud, and each topology in it.

So one topology in two clouds does not overwrite itself. The SSH key is beside them, one for all.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from netorder.cloud.waits import WAITS
from netorder.topology import cloud_and_region

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["DEFAULT", "cloud_name", "directory"]

DEFAULT = "default"  # of the only entry of clouds.yaml, which nobody named
_STAYS = frozenset({".lock", ".pyz"})  # of a directory of a cloud's, which may be called as a topology


def cloud_name(declared: str | None, environment: Mapping[str, str] | None = None) -> str:
    """Return what the cloud is called as a directory: its entry of clouds.yaml, or host and project of an RC file.

    A region that the topology names is at its end.
    """
    given = os.environ if environment is None else environment
    name = "-".join(filter(None, cloud_and_region(declared))) or given.get("OS_CLOUD")
    if not name and (url := given.get("OS_AUTH_URL")):
        project = given.get("OS_PROJECT_NAME") or given.get("OS_PROJECT_ID") or given.get("OS_TENANT_NAME") or ""
        name = "-".join(filter(None, (urlsplit(url).hostname or url, project)))
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name or DEFAULT).lstrip(".") or DEFAULT


def directory(files: Path, declared: str | None, topology: str) -> Path:
    """Return the directory of a topology in its cloud; what was kept without the cloud's name before moves there.

    Only files move, each in one step, and none that is there is replaced: a move that is interrupted goes on next time.
    """
    cloud = files / cloud_name(declared)
    found = cloud / topology
    _move(files / topology, found)
    _move(files / WAITS / topology, cloud / WAITS / topology)
    return found


def _move(old: Path, new: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        moving = [one for one in sorted(old.iterdir()) if one.is_file() and one.suffix not in _STAYS]
        if moving:
            new.mkdir(mode=0o700, parents=True, exist_ok=True)
        for one in moving:
            if not (new / one.name).exists():
                with suppress(FileNotFoundError):  # another process moves them too
                    one.rename(new / one.name)
        with suppress(OSError):  # not empty: something else is there
            old.rmdir()
