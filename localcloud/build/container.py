"""The image of the hosts of netorder's target `containers`, for podman: the guest's Debian without its kernel.

Made on this machine from Debian's archive by the recipe in ``container_tree/``; no registry is asked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import CloudError, build
from localcloud.build import SUITE, guest

if TYPE_CHECKING:
    from localcloud.build import Log

RECIPE = Path(__file__).parent / "container_tree" / "Containerfile"
NAME = "localhost/netorder/debian-13"
LABEL = "netorder.image"
# without the kernel's modules
FINISH = "".join(line for line in guest.FINISH.splitlines(keepends=True) if "depmod" not in line)
# nft: in the containers of a compose file a host's filters are made from inside, before its applications begin
PACKAGES = [*(name for name in guest.PACKAGES if name not in {"e2fsprogs", "kmod"}), "nftables"]


def _podman(*arguments: str) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def make(cache: Path, log: Log) -> str:
    """Return the image's digest; podman has it by NAME then. Half a minute the first time, nothing later."""
    if shutil.which("podman") is None:
        raise CloudError("podman is not installed; fix: apt-get install podman crun netavark")
    digest = build.digest(
        SUITE, *PACKAGES, *guest.ENABLED, guest.MASKED, guest.MASKED_GENERATORS, FINISH, guest.TREE / "rootfs", RECIPE
    )
    if _podman("image", "inspect", NAME, "--format", f'{{{{index .Labels "{LABEL}"}}}}') == digest:
        return digest
    start = time.monotonic()

    def work(result: Path) -> None:
        log(f"making the containers' root file system: Debian {SUITE}, {len(PACKAGES)} packages and what they need")
        output, overlay = result / "build.log", result.parent / "overlay"
        shutil.copytree(guest.TREE / "rootfs", overlay)  # its modes are changed
        env = {
            "OVERLAY": str(overlay),
            "ENABLED": " ".join(guest.ENABLED),
            "MASKED": guest.MASKED,
            "MASKED_GENERATORS": guest.MASKED_GENERATORS,
            "SOURCE_DATE_EPOCH": "1",
        }
        build.debian(result / "rootfs.tar", PACKAGES, output, {"customize": FINISH}, env=env)

    files = build.once(cache / f"container-{digest}", work, replaces=f"container-{'?' * len(digest)}")
    words = ["podman", "build", "--quiet", "--tag", NAME, "--label", f"{LABEL}={digest}", "--file", str(RECIPE)]
    build.run([*words, str(files)], files / "build.log", "podman build")
    log(f"image {NAME}: made in {time.monotonic() - start:.0f} s")
    return digest


def main() -> None:
    """Make the image unless podman has it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="directory that keeps what was built")
    cache = parser.parse_args().cache.resolve()
    if os.geteuid() != 0:
        raise SystemExit("error: making an image needs root")
    try:
        make(cache, lambda line: print(line, flush=True))
    except CloudError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
