"""An ordinary cloud image, as distributions publish them: qcow2, boot loader, partition, initrd, cloud-init."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

from localcloud import build

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = """
cloud-init cloud-guest-utils dbus e2fsprogs extlinux initramfs-tools iproute2 linux-image-cloud-amd64 openssh-server
python3 sudo syslinux-common systemd-resolved systemd-sysv udev
""".split()
FIRST_SECTOR, SECTOR = 2048, 512  # where the one partition begins, in sectors of so many bytes
FINISH = """\
echo "LABEL=ordinary / ext4 defaults 0 1" >"$1/etc/fstab"
mkdir -p "$1/boot/extlinux"
cat >"$1/boot/extlinux/extlinux.conf" <<END
DEFAULT linux
LABEL linux
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND root=LABEL=ordinary ro console=ttyS0 net.ifnames=0
END
echo "datasource_list: [ConfigDrive, OpenStack]" >"$1/etc/cloud/cloud.cfg.d/90_openstack.cfg"
chroot "$1" systemctl --quiet enable systemd-networkd
rm -f "$1"/etc/ssh/ssh_host_*_key* "$1/etc/hostname"
: >"$1/etc/machine-id"
rm -rf "$1/var/cache/apt"/*.bin "$1/var/lib/apt/lists"/*
"""
# $1: the disk, $2: where its partition begins in bytes, $3: the tree; in a mount namespace of its own
WRITE = """set -e
device=$(losetup --find --show --offset "$2" "$1")
trap 'losetup --detach "$device"' EXIT
mkfs.ext4 -q -O ^64bit,^metadata_csum -L ordinary -d "$3" "$device"
mount "$device" "$3.mounted"
mount --bind /dev "$3.mounted/dev"
mount -t proc proc "$3.mounted/proc"
chroot "$3.mounted" extlinux --install /boot/extlinux
umount -R "$3.mounted"
dd if="$3/usr/lib/EXTLINUX/mbr.bin" of="$1" bs=440 count=1 conv=notrunc status=none ||
  dd if="$3/usr/lib/syslinux/mbr/mbr.bin" of="$1" bs=440 count=1 conv=notrunc status=none
"""


def make(cache: Path, log: build.Log) -> Path:
    """Return the image (raw; only the cloud has a program for qcow2), made now unless ``cache`` has it."""

    def work(result: Path) -> None:
        log("making an ordinary cloud image")
        output, tree, disk = result / "build.log", result.parent / "tree", result / "disk.raw"
        build.debian(tree, PACKAGES, output, {"customize": FINISH})
        used = int(subprocess.run(["du", "-sm", tree], check=True, capture_output=True, text=True).stdout.split()[0])
        size = (used * 5 // 4 + 200) << 20
        with disk.open("wb") as file:
            file.truncate(size)
            file.seek(446)  # the partition table: one, active (0x80), Linux (0x83), addressed by sectors only
            nowhere = b"\xfe\xff\xff"
            file.write(
                struct.pack("<B3sB3sII", 0x80, nowhere, 0x83, nowhere, FIRST_SECTOR, size // SECTOR - FIRST_SECTOR)
            )
            file.seek(510)
            file.write(b"\x55\xaa")
        tree.with_name("tree.mounted").mkdir()
        command = ["unshare", "--mount", "sh", "-c", WRITE, "sh", str(disk), str(FIRST_SECTOR * SECTOR), str(tree)]
        build.run(command, output, "writing the disk")

    key = build.digest(build.SUITE, *PACKAGES, FINISH, WRITE)
    return build.once(cache / f"ordinary-{key}", work) / "disk.raw"
