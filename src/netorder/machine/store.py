"""What is kept of each host: its directory, with its disk, config drive, log, monitor and ``host.json``.

A directory appears whole, by a rename, and so does what is written of it later: a run that is killed leaves the host as
it was before or as it is after, and at most a directory ``.HOST.new``, which the next run removes.
What has another name there, and is no host, is not ours; nor is a copy of a host, whose ``host.json`` says of which.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DISK", "Kept", "foreign", "kept", "leftovers", "lost", "remove", "root", "scratch", "write"]

DISK = "disk.qcow2"  # of a host's directory
_FILE = "host.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """A host as it was made: ``uuid`` is the instance's.

    ``kernel`` is the image whose kernel boots it ("": its disk has a boot loader; None: it was made by a version that
    did not note it), ``base`` the file that a linked disk is linked to, ``key`` the fingerprint of the SSH
    key that its user lets in (None: as above), ``host`` and ``topology`` say of which it is (None: as above).
    """

    uuid: str
    disk: dict[str, str]
    hardware: dict[str, str]
    outside: str
    ssh_port: int
    kernel: str | None = None
    base: str = ""
    hostkey: str | None = None
    key: str | None = None
    host: str | None = None
    topology: str | None = None

    def is_of(self, directory: Path) -> bool:
        """Tell whether it is of the host that has this directory, and not of one that this is a copy of."""
        return self.host in {None, directory.name} and self.topology in {None, directory.parent.name}

    def of(self, directory: Path) -> Kept:
        """Return it as that of the host that has this directory."""
        return replace(self, host=directory.name, topology=directory.parent.name)


def root(files: Path, topology: str) -> Path:
    """Return the directory of a topology's hosts."""
    return files.expanduser().resolve() / "machine" / topology


def kept(where: Path) -> dict[str, Kept]:
    """Return the hosts that there are."""
    return {one.name: its for one, its in _read(where) if its.is_of(one)}


def _read(where: Path) -> Iterator[tuple[Path, Kept]]:
    """Yield the directories that have a ``host.json``, and what that says."""
    for file in sorted(where.glob(f"*/{_FILE}")):
        if not file.parent.name.startswith("."):
            try:
                yield file.parent, Kept(**json.loads(file.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise CloudError(
                    f"{file} cannot be read: {error}. Repair it, or remove its directory, with the host's disk."
                ) from None


def leftovers(where: Path) -> list[Path]:
    """Return what killed runs left: what `scratch` and `remove` make."""
    return [one for one in _entries(where) if _is_ours(one)]


def lost(where: Path) -> dict[str, Path]:
    """Return by name the directories that have a disk, and no ``host.json`` that says what it is."""
    return {
        one.name: one for one in _entries(where) if _is_no_host(one) and not one.is_symlink() and (one / DISK).is_file()
    }


def foreign(where: Path) -> list[Path]:
    """Return what somebody else put here, copies of hosts too: it is left alone."""
    disks = lost(where)
    copies = {one for one, its in _read(where) if not its.is_of(one)}
    return [one for one in _entries(where) if one in copies or (_is_no_host(one) and one.name not in disks)]


def _entries(where: Path) -> list[Path]:
    return sorted(where.iterdir()) if where.is_dir() else []


def _is_ours(one: Path) -> bool:
    return one.name.startswith(".") and one.name.endswith(".new")


def _is_no_host(one: Path) -> bool:
    return not _is_ours(one) and (one.name.startswith(".") or not (one / _FILE).is_file())


def scratch(where: Path, host: str) -> Path:
    """Return an empty directory that becomes the host's by a rename."""
    made = where / f".{host}.new"
    remove(made)
    made.mkdir(mode=0o700, parents=True)
    return made


def write(directory: Path, what: Kept) -> None:
    """Keep what is known of a host."""
    new = directory / f".{_FILE}.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump(asdict(what), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / _FILE)


def remove(directory: Path) -> None:
    """Remove a directory, or a file; from the first moment on it is what the next run removes unasked."""
    if directory.is_symlink() or not directory.is_dir():
        directory.unlink(missing_ok=True)
        return
    if not _is_ours(directory):
        directory = directory.rename(directory.with_name(f".{directory.name}.{uuid4().hex}.new"))
    shutil.rmtree(directory)
