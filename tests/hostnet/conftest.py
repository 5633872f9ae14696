"""Trees of Debian releases, cached by their content, and hosts on networks of their own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from machine import ROOT, Interface, Machine, Networks, run

from localcloud.build import mirrors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = (
    "systemd", "systemd-sysv", "udev", "dbus", "netplan.io", "network-manager", "dnsmasq-base", "python3", "iproute2",
    "iputils-ping", "procps",
)  # fmt: skip
OPTIONS = (
    '--aptopt=Apt::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io",
    *(f"--dpkgopt=path-exclude=/usr/share/{one}/*" for one in ("man", "doc", "locale")),
)  # fmt: skip
DHCP = "[Match]\nName=eth*\nType=ether\n\n[Network]\nDHCP=yes\n"
NETPLAN = """\
network:
  version: 2
  renderer: {renderer}
  ethernets:
    all-eth:
      match: {{name: "eth*"}}
      dhcp4: true
      dhcp6: true
"""
# what the image has, and which program reads it
IMAGES = {
    "networkd": ("networkd", {"/etc/systemd/network/20-wired.network": DHCP}),
    "netplan": ("networkd", {"/etc/netplan/90-default.yaml": NETPLAN.format(renderer="networkd")}),
    "NetworkManager": ("NetworkManager", {}),
}


def mirror() -> str:
    """Return the Debian mirror that the local cloud takes packages from too."""
    return mirrors()[0].split()[1]


@pytest.fixture(scope="session")
def tree() -> Callable[[str], Path]:
    """Give a Debian release's tree with everything that configures networks, made once by mmdebstrap."""

    def made(suite: str) -> Path:
        digest = hashlib.sha256(repr((suite, PACKAGES, OPTIONS)).encode()).hexdigest()[:16]
        cache = Path(os.environ.get("LOCALCLOUD_DIR", ROOT / ".localcloud")).absolute() / "cache"
        target = cache / f"hostnet-{suite}-{digest}"
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                new = target.with_suffix(".new")
                shutil.rmtree(new, ignore_errors=True)
                include = f"--include={','.join(PACKAGES)}"
                run("mmdebstrap", "--mode=root", "--variant=minbase", include, *OPTIONS, suite, new, mirror())
                new.rename(target)
        return target

    return made


@pytest.fixture
def host(tree: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Give hosts: of an image, with so many interfaces, and with further files; booted and with their addresses."""
    machines = []

    def made(
        image: str, *, homes: int = 1, suite: str = "trixie", files: dict[str, str] | None = None, bus: bool = True
    ) -> Machine:
        program, own = IMAGES[image]
        place = tmp_path / f"host{len(machines)}"
        place.mkdir()
        interfaces = [Interface(f"eth{index}", index + 1) for index in range(homes)]
        # of its own, as each program asks for addresses under another name
        networks = Networks(tree("trixie"), [one.number for one in interfaces])
        it = Machine(tree(suite), place, networks, interfaces, program, bus, files={**own, **(files or {})})
        machines.append(it)
        it.boot()
        it.has_addresses()
        return it

    yield made
    for it in machines:
        it.close()
        it.networks.close()
