"""The releases of Debian that the local cloud runs on: its commands in a bare root file system of each. Needs root."""

from __future__ import annotations

import subprocess

import pytest
from running import BASE, ROOT, Running

from localcloud import build

NEEDED = ["debian-archive-keyring", "iproute2", "mmdebstrap", "mount", "python3"]  # what scripts/setup installs
# $1: the tree, $2: the checkout, $3: where clouds are; then the command. Kernel, devices and network are the host's.
# PATH without the checkout's own .venv, whose python3 may be a link to the host's.
ENTER = """set -e
tree=$1 root=$2 base=$3
shift 3
mkdir -p "$tree$root" "$tree$base"
mount --bind "$tree" "$tree"
for place in /dev /proc /sys; do mount --rbind "$place" "$tree$place"; done
mount --bind "$root" "$tree$root"
mount --bind "$base" "$tree$base"
exec chroot "$tree" env --chdir="$root" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""


@pytest.mark.parametrize("suite", [pytest.param("bookworm", marks=pytest.mark.full), "trixie"])
def test_it_runs_on(suite, tmp_path, monkeypatch):
    """Up, no step degraded, and removed again, with that release's Python, iproute2 and mount."""
    monkeypatch.setattr(build, "SUITE", suite)
    tree = tmp_path / suite
    build.debian(tree, NEEDED, tmp_path / "log", {}, variant="minbase")
    running = Running("host", "container")

    def there(*words):
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", ENTER, "sh", tree, ROOT, BASE,
             "LOCALCLOUD_NAME=host", "LOCALCLOUD_GUESTS=container", f"LOCALCLOUD_DIR={BASE}", *words],
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip

    probed = there("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME; python3 -c 'import sys; print(sys.prefix)'")
    assert probed.stdout.split() == [suite, "/usr"], probed.stderr
    try:
        up = there("python3", "-B", "-m", "localcloud", "up")
        assert up.returncode == 0, up.stdout[-2000:] + up.stderr
        assert there("python3", "-B", "-m", "localcloud", "status").returncode == 0
        assert running.connection().authorize()
    finally:
        cleaned = there("python3", "-B", "-m", "localcloud", "clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert not running.cloud.home.exists()
