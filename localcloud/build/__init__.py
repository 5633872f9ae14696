"""Artifacts that are built once and cached by their inputs: root file system, guest kernel and image, fresh state.

Each appears in the cache under its final name only when it is complete, also after an interrupted build.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Log = Callable[[str], None]

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def digest(*parts: str | Path) -> str:
    """Return a cache key: a hash over strings and the contents, names and modes of files and directory trees."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(part.encode() + b"\0")
            continue
        for file in sorted(path for path in [part, *part.rglob("*")] if path.is_file()):
            if "__pycache__" not in file.parts:
                mode = file.stat().st_mode & 0o111
                total.update(f"{file.relative_to(part.parent)} {mode:o}\0".encode() + file.read_bytes())
    return total.hexdigest()[:16]


def once(target: Path, make: Callable[[Path], None], replaces: str = "") -> Path:
    """Return the directory ``target``, made now by ``make(directory)`` unless it exists.

    Older directories beside it that match the pattern ``replaces`` are then removed, and so is the incomplete result of
    a build that was killed. Of concurrent builds of one target the first makes it and the others wait.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            for stale in target.parent.glob(f"{target.name}.making-*"):
                shutil.rmtree(stale)
            with tempfile.TemporaryDirectory(prefix=f"{target.name}.making-", dir=target.parent) as scratch:
                result = Path(scratch, "result")
                result.mkdir()
                make(result)
                result.rename(target)
            for old in set(target.parent.glob(replaces)) - {target} if replaces else ():
                shutil.rmtree(old)
    return target


def run(command: list[str], output: Path, what: str, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in a file; a failure (CloudError) quotes the end of that file."""
    with output.open("a") as sink:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=os.environ | (env or {}),
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(output.read_text(errors="replace").splitlines()[-15:])
        raise CloudError(f"{what} failed (status {done.returncode}); the end of its output:\n{tail}")


def mirrors() -> list[str]:
    """Return apt source lines for SUITE, from the Debian mirror that LOCALCLOUD_MIRROR or the host's apt names."""
    words = os.environ.get("LOCALCLOUD_MIRROR", "").split()
    source = f"LOCALCLOUD_MIRROR={' '.join(words)}" if words else "/etc/apt/sources.list, sources.list.d"
    if not words:
        files = [*Path("/etc/apt/sources.list.d").glob("*"), Path("/etc/apt/sources.list")]
        words = [word for file in files if file.is_file() for word in file.read_text(errors="replace").split()]
    urls = [word.rstrip("/") for word in words if word.startswith(("http://", "https://"))]
    main = next((url for url in urls if url.endswith("/debian")), None)
    if main is None:
        raise CloudError(f"{source}: no URL of a Debian mirror; fix: LOCALCLOUD_MIRROR=http://.../debian")
    security = next((url for url in urls if url.endswith("/debian-security")), f"{main}-security")
    return [
        f"deb {main} {SUITE} main",
        f"deb {main} {SUITE}-updates main",
        f"deb {security} {SUITE}-security main",
    ]


def debian(
    target: Path,
    packages: Sequence[str],
    output: Path,
    hooks: dict[str, str],
    *,
    variant: str = "apt",
    env: dict[str, str] | None = None,
) -> None:
    """Make a Debian tree (or a tar archive, by the name's end) with these packages and no Recommends.

    ``hooks`` maps mmdebstrap's stages ("essential", "customize") to shell scripts that get the tree's path as $1.
    """
    if shutil.which("mmdebstrap") is None:
        raise CloudError("mmdebstrap is not installed; fix: apt-get install mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="localcloud-") as scripts:
        options = []
        for stage, text in hooks.items():
            script = Path(scripts, stage)
            script.write_text("#!/bin/sh\nset -e\n" + text)
            script.chmod(0o755)
            options.append(f"--{stage}-hook={script}")
        run(
            [
                "mmdebstrap", "--mode=root", f"--variant={variant}", f"--keyring={KEYRING}",
                f"--include={','.join(packages)}",
                '--aptopt=Apt::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"',
                "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=force-unsafe-io",
                *options, SUITE, str(target), *mirrors(),
            ],
            output, f"mmdebstrap of {target.name}", env,
        )  # fmt: skip
