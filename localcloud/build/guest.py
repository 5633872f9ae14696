"""The guest image: Debian trixie without cloud-init, and a kernel with everything built in, cached by content.

Most machines that run the local cloud emulate their guests (no KVM), where Debian's own kernel, initrd and cloud-init
take minutes to boot five of them. ``guest_tree/kernel.config`` is the kernel, ``guest_tree/rootfs/`` is laid over
Debian's files.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import CloudError, build
from localcloud.build import SUITE

if TYPE_CHECKING:
    from localcloud.build import Log

TREE = Path(__file__).parent / "guest_tree"
MIN_RAM_MB = 192
MIN_DISK_GB = 1

# The kernel command line, for Glance's os_command_line. The clock is the host's TSC: the emulated HPET and PM timer
# cost an exit for each reading.
CMDLINE = "root=/dev/vda rw console=ttyS0 net.ifnames=0 dummy.numdummies=0 quiet tsc=reliable no_timer_check"

# --- The kernel: built in a Debian tree of its own, so that the host needs no compiler.
KERNEL_SOURCE = "linux-source-6.12"
KERNEL_TOOLS = ["bc", "bison", "flex", "gcc", "libc6-dev", "libelf-dev", "lz4", "make", "perl", "xz-utils"]
# Large parts of the source that no x86 guest compiles; Kconfig and Makefiles stay, since they are read.
KERNEL_UNUSED = [
    "*/Documentation/devicetree/*", "*/arch/[a-w]*/*.[chS]", "*.dts", "*.dtsi", "*/drivers/gpu/*.[ch]",
    "*/drivers/media/*.[ch]", "*/drivers/net/wireless/*.[ch]", "*/drivers/staging/*.[ch]", "*/sound/*/*.[ch]",
    "*/tools/testing/*",
]  # fmt: skip
KERNEL_BUILD = """set -e
cd /build
export KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=netorder KBUILD_BUILD_HOST=netorder
make -s KCONFIG_ALLCONFIG=kernel.config allnoconfig
make -s -j"$(nproc)" bzImage
"""

# --- The root file system
PACKAGES = [
    "dbus", "e2fsprogs", "iproute2", "iputils-ping", "kmod", "netbase", "openssh-server",
    "openssh-sftp-server", "procps", "python3", "python3-apt", "sudo", "systemd-sysv", "udev",
]  # fmt: skip
ENABLED = [
    "ssh.service", "systemd-networkd.service", "netorder-guest-init.service", "netorder-guest-late.service",
    "netorder-guest-resolv.path", "netorder-guest-power.service",
]  # fmt: skip
# Units that a guest of this image has no use for: without KVM each costs a boot between 50 ms and 2 s.
MASKED = """
apt-daily.service apt-daily.timer apt-daily-upgrade.service apt-daily-upgrade.timer dpkg-db-backup.timer
e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service getty-static.service ldconfig.service
serial-getty@.service systemd-ask-password-console.path systemd-ask-password-wall.path systemd-battery-check.service
systemd-binfmt.service systemd-boot-random-seed.service systemd-firstboot.service systemd-hibernate-clear.service
systemd-hwdb-update.service systemd-journal-catalog-update.service systemd-journal-flush.service
systemd-logind.service systemd-machine-id-commit.service systemd-modules-load.service
systemd-networkd-persistent-storage.service systemd-networkd-wait-online.service systemd-pcrextend.socket
systemd-pcrlock.socket systemd-pcrmachine.service systemd-pcrphase.service systemd-pcrphase-sysinit.service
systemd-pstore.service systemd-random-seed.service systemd-repart.service systemd-rfkill.service
systemd-rfkill.socket systemd-sysext.socket systemd-timesyncd.service systemd-tpm2-setup.service
systemd-tpm2-setup-early.service systemd-update-done.service systemd-update-utmp.service
systemd-user-sessions.service sshd-keygen.service ssh.socket
dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount
sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount
kmod-static-nodes.service modprobe@.service remote-fs.target remote-cryptsetup.target
run-lock.mount tmp.mount systemd-network-generator.service systemd-remount-fs.service systemd-sysusers.service
systemd-tmpfiles-clean.timer systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service
systemd-udev-load-credentials.service systemd-creds.socket systemd-hostnamed.socket systemd-initctl.socket
getty.target
"""
# Generators run one by one before anything starts; only the one for fstab has a use here.
MASKED_GENERATORS = """
systemd-bless-boot-generator systemd-cryptsetup-generator systemd-debug-generator systemd-getty-generator
systemd-gpt-auto-generator systemd-hibernate-resume-generator systemd-integritysetup-generator
systemd-rc-local-generator systemd-run-generator systemd-ssh-generator systemd-system-update-generator
systemd-sysv-generator systemd-tpm2-generator systemd-veritysetup-generator
"""
FINISH = """\
chmod -R u=rwX,go=rX "$OVERLAY"
# a file takes the place of a link (init), it is not written through it
cp -a --no-preserve=ownership --remove-destination "$OVERLAY/." "$1/"
chmod 440 "$1/etc/sudoers.d/netorder"
chroot "$1" useradd --create-home --shell /bin/bash --password '*' debian
chroot "$1" usermod --lock root
chroot "$1" install -d -m 700 -o debian -g debian /home/debian/.ssh
chroot "$1" install -m 600 -o debian -g debian /dev/null /home/debian/.ssh/authorized_keys
chroot "$1" systemctl --quiet mask $MASKED
chroot "$1" systemctl --quiet enable $ENABLED
chroot "$1" systemctl --quiet set-default multi-user.target
mkdir -p "$1/etc/systemd/system-generators"
for generator in $MASKED_GENERATORS; do
  ln -s /dev/null "$1/etc/systemd/system-generators/$generator"
done
rm -f "$1"/etc/ssh/ssh_host_*_key* "$1/etc/resolv.conf" "$1/etc/fstab"
: >"$1/etc/machine-id"
: >"$1/etc/resolv.conf"
rm -f "$1/var/lib/dbus/machine-id"
echo localhost >"$1/etc/hostname"
chroot "$1" depmod -b / "$KERNEL_RELEASE"
rm -rf "$1/var/log"/* "$1/var/cache/ldconfig"/* "$1/var/cache/apt"/* "$1/var/lib/apt/lists"/* "$1/tmp"/*
# Names of hardware that no guest has, 23 MB of them.
rm -rf "$1/usr/lib/udev/hwdb.bin" "$1/usr/lib/udev/hwdb.d"
"""


@dataclass(frozen=True)
class GuestImage:
    """What Glance is given, and how libvirt boots it."""

    kernel: Path
    disk: Path  # raw, sparse; one ext4 without partitions, which grows to its disk at boot
    cmdline: str
    digest: str


def _wanted(config: str) -> dict[str, str]:
    """Return a kernel configuration as {option: value}; an option that is not set has the value "n"."""
    found = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", config, re.MULTILINE))
    return dict.fromkeys(re.findall(r"^# (CONFIG_\w+) is not set$", config, re.MULTILINE), "n") | found


def make_kernel(cache: Path, log: Log) -> Path:
    """Return a directory with the kernel: ``vmlinuz``, ``config``, ``release`` and ``modules.builtin*``."""
    wanted = TREE / "kernel.config"

    def work(result: Path) -> None:
        log(f"building the guest kernel from Debian's {KERNEL_SOURCE} (some minutes, once)")
        asked = wanted.read_text()  # once, so that what is checked is what was built
        output, tree = result / "build.log", result.parent / "tree"
        source = tree / "build"
        build.debian(tree, [KERNEL_SOURCE, *KERNEL_TOOLS], output, {})
        source.mkdir()
        excludes = [f"--exclude={pattern}" for pattern in KERNEL_UNUSED]
        unpack = ["tar", "-C", "/build", "-xJf", f"/usr/src/{KERNEL_SOURCE}.tar.xz", "--strip-components=1", *excludes]
        build.run(["chroot", str(tree), *unpack], output, "tar")  # the host may have no xz
        (source / "kernel.config").write_text(asked)
        build.run(["chroot", str(tree), "sh", "-c", KERNEL_BUILD], output, "the kernel build")
        have = _wanted((source / ".config").read_text())
        for option, value in _wanted(asked).items():
            if have.get(option, "n") != value:
                raise CloudError(f"{wanted}: {option}={value} did not hold (it is {have.get(option, 'n')}); "
                                 "fix: add what it depends on, or take it out")  # fmt: skip
        shutil.copy(source / "arch/x86/boot/bzImage", result / "vmlinuz")
        shutil.copy(source / ".config", result / "config")
        shutil.copy(source / "include/config/kernel.release", result / "release")
        for name in ("modules.builtin", "modules.builtin.modinfo"):
            shutil.copy(source / name, result / name)

    key = build.digest(SUITE, KERNEL_SOURCE, *KERNEL_TOOLS, *KERNEL_UNUSED, KERNEL_BUILD, wanted)
    return build.once(cache / f"guest-kernel-{key}", work)


def _disk(rootfs: Path, disk: Path, scratch: Path, output: Path) -> None:
    """Make a raw ext4 image of the tar archive ``rootfs``, with a little room; it grows at the first boot."""
    tree = scratch / "tree"
    tree.mkdir()
    unpack = ["tar", "-C", str(tree), "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", str(rootfs)]
    build.run(unpack, output, "tar")
    used = int(subprocess.run(["du", "-sm", str(tree)], check=True, capture_output=True, text=True).stdout.split()[0])
    with disk.open("wb") as file:
        file.truncate((used * 5 // 4 + 48) << 20)
    build.run(
        [
            "mkfs.ext4", "-q", "-d", str(tree), "-L", "netorder-root", "-m", "0", "-b", "4096", "-J", "size=8",
            "-U", "6e65746f-7264-4572-8067-756573740000",
            "-E", "hash_seed=6e65746f-7264-4572-8067-756573740001,lazy_itable_init=0,lazy_journal_init=0", str(disk),
        ],
        output, "mkfs.ext4", {"E2FSPROGS_FAKE_TIME": "1"},
    )  # fmt: skip


def make(cache: Path, log: Log) -> GuestImage:
    """Return the guest image, made now unless ``cache`` has it; some minutes the first time, seconds of work later."""
    kernel = make_kernel(cache, log)
    digest = build.digest(
        kernel.name, SUITE, *PACKAGES, *ENABLED, MASKED, MASKED_GENERATORS, FINISH, CMDLINE, TREE / "rootfs"
    )

    def work(result: Path) -> None:
        log(f"making the guest's root file system: Debian {SUITE}, {len(PACKAGES)} packages and what they need")
        output, archive = result / "build.log", result / "rootfs.tar"
        release = (kernel / "release").read_text().strip()
        overlay = result.parent / "overlay"
        shutil.copytree(TREE / "rootfs", overlay)
        modules = overlay / "usr/lib/modules" / release
        modules.mkdir(parents=True)
        for file in kernel.glob("modules.builtin*"):
            shutil.copy(file, modules)
        (modules / "modules.order").touch()
        env = {
            "OVERLAY": str(overlay),
            "KERNEL_RELEASE": release,
            "ENABLED": " ".join(ENABLED),
            "MASKED": MASKED,
            "MASKED_GENERATORS": MASKED_GENERATORS,
            "SOURCE_DATE_EPOCH": "1",
        }
        build.debian(archive, PACKAGES, output, {"customize": FINISH}, env=env)
        _disk(archive, result / "disk.raw", result.parent, output)
        archive.unlink()
        os.link(kernel / "vmlinuz", result / "vmlinuz")

    target = build.once(cache / f"guest-{digest}", work, replaces=f"guest-{'?' * len(digest)}")
    return GuestImage(kernel=target / "vmlinuz", disk=target / "disk.raw", cmdline=CMDLINE, digest=digest)


def main() -> None:
    """Build the image alone and print its parts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="directory that keeps what was built")
    try:
        image = make(parser.parse_args().cache.resolve(), lambda line: print(line, flush=True))
    except CloudError as error:
        raise SystemExit(f"error: {error}") from error
    for name, value in vars(image).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
