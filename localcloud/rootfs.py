"""The cloud's root file system: Debian trixie with OpenStack, made by one mmdebstrap run, cached by its content."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# Without Recommends. Not nova-compute*: it pulls in every qemu there is, and its service is nova.cmd.compute.
PACKAGES = """
systemd-standalone-sysusers ca-certificates iproute2 iputils-ping ethtool procps kmod openssh-client nftables sudo
e2fsprogs mariadb-server rabbitmq-server memcached python3-pymysql python3-memcache
keystone glance-common placement-common nova-common neutron-common uwsgi-core uwsgi-plugin-python3
python3-openstackclient ovn-central ovn-host openvswitch-switch
libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-driver-lxc libvirt-daemon-driver-nodedev libvirt-clients
python3-libvirt qemu-system-x86 qemu-utils seabios ipxe-qemu genisoimage haproxy iptables
""".split()

# py3compile runs once a package, 700 times; one compileall at the end does the same work on all cores.
NO_COMPILE = """set -e
dpkg-divert --root="$1" --quiet --add --rename --divert /usr/bin/py3compile.real /usr/bin/py3compile
mkdir -p "$1/usr/bin"
printf '#!/bin/sh\\n' >"$1/usr/bin/py3compile"
chmod 755 "$1/usr/bin/py3compile"
"""

# oslo.messaging 16.1 polls each RPC reply every 0.5 s (LP 2035113 keeps it from blocking); an instance start makes
# a dozen such calls. No setting shortens it. The build fails if the line is not there any more.
FINISH = """set -e
rm -f "$1/usr/bin/py3compile"
dpkg-divert --root="$1" --quiet --remove --rename /usr/bin/py3compile
driver="$1/usr/lib/python3/dist-packages/oslo_messaging/_drivers/amqpdriver.py"
grep -q '^                time.sleep(0.5)$' "$driver"
sed -i 's/^                time.sleep(0.5)$/                time.sleep(0.005)/' "$driver"
chroot "$1" python3 -m compileall -q -j 0 /usr/lib/python3 /usr/lib/python3.13 >/dev/null || true
rm -rf "$1/var/lib/mysql" "$1/var/log"/* "$1/etc/libvirt/qemu/networks"/* "$1/etc/libvirt/qemu/networks/autostart"
chroot "$1" dpkg-query -W >"$1/etc/localcloud.packages"
"""


def mirrors() -> list[str]:
    """Return apt source lines for SUITE, from the Debian mirror that LOCALCLOUD_MIRROR or the host's apt names."""
    words = os.environ.get("LOCALCLOUD_MIRROR", "").split()
    if not words:
        files = [*Path("/etc/apt/sources.list.d").glob("*"), Path("/etc/apt/sources.list")]
        words = [word for file in files if file.is_file() for word in file.read_text(errors="replace").split()]
    urls = [word.rstrip("/") for word in words if word.startswith(("http://", "https://"))]
    main = next((url for url in urls if url.endswith("/debian")), None)
    if main is None:
        raise CloudError("no Debian mirror among apt's sources; mend: LOCALCLOUD_MIRROR=http://.../debian")
    security = next((url for url in urls if url.endswith("/debian-security")), f"{main}-security")
    return [
        f"deb {main} {SUITE} main",
        f"deb {main} {SUITE}-updates main",
        f"deb {security} {SUITE}-security main",
    ]


def digest() -> str:
    """Return the cache key: a hash of everything that decides what the root file system holds."""
    return hashlib.sha256("\0".join([SUITE, *PACKAGES, NO_COMPILE, FINISH]).encode()).hexdigest()[:16]


def build(cache: Path, log: Callable[[str], None]) -> Path:
    """Return the directory of the root file system, made now unless ``cache`` has it.

    It appears under its final name only when it is complete: an interrupted build leaves no half cache.
    """
    target = cache / f"rootfs-{digest()}"
    if target.is_dir():
        return target
    if shutil.which("mmdebstrap") is None:
        raise CloudError("mmdebstrap is not installed; mend: apt-get install mmdebstrap")
    cache.mkdir(parents=True, exist_ok=True)
    for stale in cache.glob("rootfs-*.making"):
        shutil.rmtree(stale)
    making = cache / f"{target.name}.making"
    log(f"making the root file system: Debian {SUITE}, {len(PACKAGES)} packages and what they need")
    with tempfile.TemporaryDirectory(prefix="localcloud-") as tmp:
        hooks = {}
        for name, text in (("no-compile", NO_COMPILE), ("finish", FINISH)):
            hooks[name] = Path(tmp, name)
            hooks[name].write_text("#!/bin/sh\n" + text)
            hooks[name].chmod(0o755)
        output = cache / "rootfs.log"
        with output.open("w") as sink:
            done = subprocess.run(
                [
                    "mmdebstrap", "--mode=root", "--variant=minbase", f"--keyring={KEYRING}",
                    f"--include={','.join(PACKAGES)}",
                    '--aptopt=Apt::Install-Recommends "false"',
                    '--aptopt=Acquire::Languages "none"',
                    "--dpkgopt=path-exclude=/usr/share/man/*",
                    "--dpkgopt=path-exclude=/usr/share/locale/*",
                    "--dpkgopt=path-exclude=/usr/share/doc/*",
                    "--dpkgopt=force-unsafe-io",
                    f"--essential-hook={hooks['no-compile']}",
                    f"--customize-hook={hooks['finish']}",
                    SUITE, str(making), *mirrors(),
                ],
                stdout=sink, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
    if done.returncode != 0:
        tail = "\n".join(output.read_text(errors="replace").splitlines()[-15:])
        raise CloudError(f"mmdebstrap failed (status {done.returncode}); the end of {output}:\n{tail}")
    making.rename(target)
    return target
