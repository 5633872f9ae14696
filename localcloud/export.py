"""The guest image as files in a directory, for a program of this machine that boots it: netorder's target `machine`.

``python3 -m localcloud.export``: disk, kernel, initrd, and the kernel's command line, also for an emulated processor.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

from localcloud import CloudError, checks
from localcloud.build import guest

NAME = "debian-13"


def of(digest: str, output: Path) -> Path:
    """Return the directory for the image with this digest."""
    return output / f"{NAME}-{digest}"


def export(image: guest.GuestImage, output: Path) -> Path:
    """Return ``output``/NAME, a link to a directory of this image: disks that are linked to an older one keep that."""
    directory = of(image.digest, output)
    if not directory.is_dir():
        new = output / f".{directory.name}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for source, name in ((image.disk, "disk.raw"), (image.kernel, "kernel"), (image.initrd, "initrd")):
            _copy(source, new / name)
        (new / "cmdline").write_text(f"{image.cmdline}\n", encoding="utf-8")
        # see checks.tsc_khz
        emulated = f"{image.cmdline} tsc_early_khz={checks.tsc_khz()}"
        (new / "cmdline.emulated").write_text(f"{emulated}\n", encoding="utf-8")
        new.rename(directory)
    link = output / f".{NAME}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(directory.name)
    link.replace(output / NAME)
    return output / NAME


def _copy(source: Path, target: Path) -> None:
    """Give a file a second name, or make a copy where it cannot have one; neither is ever written to."""
    try:
        os.link(source, target)
    except OSError:
        subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)


def main() -> None:
    """Put the guest image into a directory, made now unless the cache has it; without a cache say if it is there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cache", type=Path, help="directory that keeps what was built")
    parser.add_argument("--output", type=Path, required=True, help="directory for the image, under its name")
    given = parser.parse_args()
    if given.cache is None:
        if (there := of(guest.digest(), given.output.resolve())) != (given.output / NAME).resolve():
            raise SystemExit(f"{NAME}: not made yet")
        print(f"{NAME}: {there}")
        return
    if os.geteuid() != 0:
        raise SystemExit("error: making an image needs root")
    try:
        image = guest.make(given.cache.resolve(), lambda line: print(line, flush=True))
        made = export(image, given.output.resolve())
    except (CloudError, OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{NAME}: {made.resolve()}")


if __name__ == "__main__":
    main()
