"""The guest image: Debian trixie without cloud-init, and Debian's kernel with an initrd of a few modules.

Most machines that run the local cloud emulate their guests (no KVM), where Debian's own initrd, the unpacking of its
kernel and cloud-init take minutes to boot five of them. So the kernel is unpacked here, and ``guest_tree/init`` is all
that the initrd does. ``guest_tree/rootfs/`` is laid over Debian's files.
"""

from __future__ import annotations

import argparse
import lzma
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from localcloud import CloudError, build
from localcloud.build import SUITE

if TYPE_CHECKING:
    from localcloud.build import Log

TREE = Path(__file__).parent / "guest_tree"
MIN_RAM_MB = 192
MIN_DISK_GB = 1

# The kernel command line, for Glance's os_command_line. The clock is the host's TSC: the emulated HPET and PM timer
# cost an exit for each reading. The last line leaves out what a guest on its user's own machine does without: measures
# against other programs on its processor, audit, security modules, self-tests.
CMDLINE = (
    "root=/dev/vda rw console=ttyS0 net.ifnames=0 dummy.numdummies=0 quiet tsc=reliable no_timer_check nowatchdog"
    " mitigations=off randomize_kstack_offset=off init_on_alloc=0 preempt=none audit=0 lsm=capability cryptomgr.notests"
)

# --- The kernel and its initrd
KERNEL = "linux-image-cloud-amd64"  # virtio_pci, ext4, IPv6, hot plug and serial line are built in
BUSYBOX = "busybox-static"
# What each boot needs: disk, interfaces, randomness, the config drive (a cdrom on IDE), the power button; autofs4,
# which systemd would load. The modules that these need are found.
INITRD = ["virtio_blk", "virtio_net", "virtio_rng", "ata_piix", "sr_mod", "isofs", "button", "evdev", "autofs4"]
# Modules for hardware and hypervisors that no guest of this cloud sees, a third of all.
NO_HARDWARE = """
arch/x86/events arch/x86/kvm
drivers/bus drivers/comedi drivers/cpufreq drivers/firmware drivers/hid drivers/hv drivers/hwtracing
drivers/infiniband drivers/leds drivers/media drivers/misc drivers/net/ethernet drivers/net/hyperv
drivers/net/vmxnet3 drivers/net/wwan drivers/net/xen-netback drivers/net/xen-netfront.ko.xz drivers/nvdimm
drivers/nvme drivers/platform drivers/soundwire drivers/thermal drivers/uio drivers/vfio drivers/watchdog drivers/xen
"""
# Unpacked, not installed: the package depends on the makers of Debian's initrd, and no guest boots from its own disk.
# The kernel is an ELF file, packed behind the code that unpacks it, from where the header says
# (Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length; the last four bytes are its size).
KERNEL_FINISH = """\
umask 022
export LC_ALL=C
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"  # the guest's packages, not the host's
image=$(apt-cache depends "$KERNEL" | sed -n 's/^ *Depends: //p')
cd "$PARTS"
apt-get -q -o APT::Sandbox::User=root download "$image" "$BUSYBOX"
unset APT_CONFIG
for package in *.deb; do dpkg-deb --extract "$package" unpacked; done
mv unpacked/usr/bin/busybox .
release=${image#linux-image-}
mkdir -p "$1/usr/lib/modules"
cp -a --no-preserve=ownership "unpacked/usr/lib/modules/$release" "$1/usr/lib/modules/"
for path in $NO_HARDWARE; do rm -r "$1/usr/lib/modules/$release/kernel/$path"; done
chroot "$1" depmod "$release"
for module in $INITRD; do
  chroot "$1" modprobe --set-version "$release" --show-depends "$module"
done >dependencies
number() { od -An -t "$1" -j "$2" -N "$3" "unpacked/boot/vmlinuz-$release" | tr -d ' '; }
tail -c "+$((($(number u1 497 1) + 1) * 512 + $(number u4 584 4) + 1))" "unpacked/boot/vmlinuz-$release" |
  head -c "$(($(number u4 588 4) - 4))" >"$1/tmp/vmlinux.zst"
# the host may have no program for this format, the guest's apt has
chroot "$1" /usr/lib/apt/apt-helper cat-file /tmp/vmlinux.zst >vmlinux
rm -r unpacked ./*.deb
cd "$OLDPWD"
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
systemd-logind.service systemd-machine-id-commit.service
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
# Modules are loaded at boot where a role asks for some; Debian's list, which is empty, would have that looked at.
rm -f "$1/etc/modules-load.d/modules.conf"
rm -rf "$1/var/log"/* "$1/var/cache/ldconfig"/* "$1/var/cache/apt"/* "$1/var/lib/apt/lists"/* "$1/tmp"/*
# Names of hardware that no guest has, 23 MB of them.
rm -rf "$1/usr/lib/udev/hwdb.bin" "$1/usr/lib/udev/hwdb.d"
"""


@dataclass(frozen=True)
class GuestImage:
    """What Glance is given, and how libvirt boots it."""

    kernel: Path  # an ELF file, which qemu starts at its PVH entry
    initrd: Path
    disk: Path  # raw, sparse; one ext4 without partitions, which grows to its disk at boot
    cmdline: str
    digest: str


def _cpio(files: dict[str, bytes]) -> bytes:
    """Return an archive in the format that the kernel unpacks (newc, cpio(5)): executable files, and their directories.

    Not compressed: an emulated guest copies faster than it unpacks.
    """
    parents = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    directories = dict.fromkeys(sorted({*parents, "dev", "root"}))
    archive = b""
    for number, (name, data) in enumerate([*directories.items(), *files.items(), ("TRAILER!!!", b"")]):
        mode = 0o40755 if data is None else 0o100755
        fields = (number, mode, 0, 0, 1, 0, len(data or b""), 0, 0, 0, 0, len(name) + 1, 0)
        for part in (b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0", data or b""):
            archive += part + b"\0" * (-len(part) % 4)
    return archive


def _initrd(parts: Path, tree: Path) -> bytes:
    """Return the initrd: ``guest_tree/init``, busybox, and the modules in the order of their dependencies, unpacked."""
    lines = [line.split() for line in (parts / "dependencies").read_text().splitlines()]
    paths = dict.fromkeys(words[1] for words in lines if words[0] == "insmod")
    modules = {Path(path).stem: lzma.decompress((tree / path.lstrip("/")).read_bytes()) for path in paths}
    return _cpio(
        {
            "init": (TREE / "init").read_bytes(),
            "bin/busybox": (parts / "busybox").read_bytes(),
            "modules/order": "".join(f"{name}\n" for name in modules).encode(),
            **{f"modules/{name}": data for name, data in modules.items()},
        }
    )


def _disk(tree: Path, disk: Path, output: Path) -> None:
    """Make a raw ext4 image of the directory ``tree``, with a little room; it grows at the first boot."""
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


def digest() -> str:
    """Return the digest of all that the guest image is made from."""
    return build.digest(
        SUITE, *PACKAGES, *ENABLED, MASKED, MASKED_GENERATORS, KERNEL, BUSYBOX, *INITRD, NO_HARDWARE, KERNEL_FINISH,
        FINISH, CMDLINE, TREE,
    )  # fmt: skip


def make(cache: Path, log: Log) -> GuestImage:
    """Return the guest image, made now unless ``cache`` has it; a minute the first time, seconds of work later."""
    its = digest()

    def work(result: Path) -> None:
        log(f"making the guest image: Debian {SUITE}, {KERNEL}, {len(PACKAGES)} packages and what they need")
        output, archive, scratch = result / "build.log", result / "rootfs.tar", result.parent
        parts, overlay, tree = scratch / "parts", scratch / "overlay", scratch / "tree"
        parts.mkdir()
        shutil.copytree(TREE / "rootfs", overlay)  # FINISH sets its modes
        tree.mkdir()
        env = {
            "OVERLAY": str(overlay),
            "PARTS": str(parts),
            "KERNEL": KERNEL,
            "BUSYBOX": BUSYBOX,
            "INITRD": " ".join(INITRD),
            "NO_HARDWARE": NO_HARDWARE,
            "ENABLED": " ".join(ENABLED),
            "MASKED": MASKED,
            "MASKED_GENERATORS": MASKED_GENERATORS,
            "SOURCE_DATE_EPOCH": "1",
        }
        build.debian(archive, PACKAGES, output, {"customize": KERNEL_FINISH + FINISH}, env=env)
        unpack = ["tar", "-C", str(tree), "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", str(archive)]
        build.run(unpack, output, "tar")
        archive.unlink()
        _disk(tree, result / "disk.raw", output)
        (result / "initrd").write_bytes(_initrd(parts, tree))
        build.run(["cp", "--sparse=always", str(parts / "vmlinux"), str(result / "vmlinux")], output, "cp")

    target = build.once(cache / f"guest-{its}", work, replaces=f"guest-{'?' * len(its)}")
    return GuestImage(target / "vmlinux", target / "initrd", target / "disk.raw", CMDLINE, its)


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
