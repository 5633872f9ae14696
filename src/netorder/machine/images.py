"""What disks are made from: images by their name under ``machine-images``, or by their path; qemu-img makes disks."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from netorder.errors import CloudError

__all__ = ["Image", "clone_disk", "find", "make_disk", "of_path", "problem"]

DIRECTORY = "machine-images"  # under the files of runs
# bytes, if the image has no more: it takes what is written. An emulated guest takes a second a GiB to grow into it, so
# that one whose kernel is given, for such guests, gets less
DISK_SIZE, SMALL_DISK = 8 << 30, 2 << 30
_SUFFIXES = (".qcow2", ".img", ".raw")


@dataclass(frozen=True, slots=True)
class Image:
    """A disk; one without a boot loader is a directory, with ``kernel``, ``initrd`` and the kernel's command line."""

    disk: Path
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    emulated: str = ""  # the command line where it is emulated


def find(files: Path, name: str) -> Image | None:
    """Return the image of a name, or of a path (with a `/`); None if there is none."""
    if "/" in name:
        path = Path(name).expanduser().resolve()
        return of_path(path)
    images = files.expanduser().resolve() / DIRECTORY
    candidates = [images / name, *(images / f"{name}{suffix}" for suffix in _SUFFIXES)]
    return next((found for one in candidates if (found := of_path(one.resolve()))), None)


def of_path(path: Path) -> Image | None:
    """Return the image at a path: a disk, or a directory with a disk, kernel, initrd and command line."""
    if not path.is_dir():
        return Image(path) if path.is_file() else None
    disk = next((one for one in (path / "disk.qcow2", path / "disk.raw") if one.is_file()), None)
    kernel, initrd = path / "kernel", path / "initrd"
    if disk is None:
        return None
    if not kernel.is_file():
        return Image(disk)
    plain, emulated = (
        (path / word).read_text(encoding="utf-8").strip() if (path / word).is_file() else ""
        for word in ("cmdline", "cmdline.emulated")
    )
    return Image(disk, kernel, initrd if initrd.is_file() else None, plain, emulated or plain)


def problem(files: Path, name: str) -> str:
    """Return why no disk can be made from the image of this name; nothing if one can."""
    if find(files, name) is not None:
        return ""
    if "/" in name:
        return f"image {name} is not a file: write the path of a disk image on this machine (qcow2 or raw)"
    where = files.expanduser().resolve() / DIRECTORY
    fix = "`make machine-image` makes debian-13; others" if name == "debian-13" else "images"
    return f"image {name} is not in {where}: {fix} are put there as {name}.qcow2, or named by their path"


def make_disk(image: Image, disk: Path, *, linked: bool) -> None:
    """Make a host's disk, linked to the image's or a copy of it. Raises CloudError."""
    said = _img("info", "--output=json", str(image.disk))
    info = json.loads(said)
    size = max(SMALL_DISK if image.kernel else DISK_SIZE, int(info["virtual-size"]))
    if linked:
        _img("create", "-q", "-f", "qcow2", "-b", str(image.disk), "-F", info["format"], str(disk), str(size))
        return
    _img("convert", "-q", "-f", info["format"], "-O", "qcow2", str(image.disk), str(disk))
    _img("resize", "-q", "-f", "qcow2", str(disk), str(size))


def clone_disk(source: Path, disk: Path, base: str) -> None:
    """Make a host's disk from that of another, which nothing writes to: one linked to the same ``base``, or a full one.

    Raises CloudError, also where something does write to the other: qemu-img asks for its lock.
    """
    link = ["-B", base, "-F", _format(Path(base))] if base else []
    _img("convert", "-q", "-f", "qcow2", "-O", "qcow2", *link, str(source), str(disk))


def _format(disk: Path) -> str:
    return str(json.loads(_img("info", "--output=json", str(disk)))["format"])


def _img(*arguments: str) -> str:
    try:
        done = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CloudError("qemu-img is not installed: `make machine-image` installs it (Debian: qemu-utils)") from None
    if done.returncode != 0:
        raise CloudError(f"qemu-img {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout
