"""The cloud's root file system: Debian trixie with OpenStack, made by one mmdebstrap run, cached by its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcloud import build

if TYPE_CHECKING:
    from pathlib import Path

# Without Recommends. Not nova-compute*: it pulls in every qemu there is, and its service is nova.cmd.compute.
# Heat starts only on request; its packages are 54 MB of 1.65 GB, byte code included.
PACKAGES = """
systemd-standalone-sysusers ca-certificates iproute2 iputils-ping ethtool procps kmod openssh-client nftables sudo
e2fsprogs mariadb-server rabbitmq-server memcached python3-mysqldb python3-pymysql python3-sqlalchemy-ext
python3-memcache keystone glance-common placement-common nova-common neutron-common heat-common
uwsgi-core uwsgi-plugin-python3
python3-openstackclient ovn-central ovn-host openvswitch-switch
libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-driver-lxc libvirt-daemon-driver-nodedev libvirt-clients
python3-libvirt qemu-system-x86 qemu-utils seabios ipxe-qemu genisoimage haproxy iptables
""".split()

# py3compile runs once a package, 700 times; one compileall at the end does the same work on all cores.
NO_COMPILE = """\
dpkg-divert --root="$1" --quiet --add --rename --divert /usr/bin/py3compile.real /usr/bin/py3compile
mkdir -p "$1/usr/bin"
printf '#!/bin/sh\\n' >"$1/usr/bin/py3compile"
chmod 755 "$1/usr/bin/py3compile"
"""

# Upstream faults that no setting avoids; the build fails if one of the lines has changed.
# oslo.messaging 16.1 polls each RPC reply every 0.5 s (LP 2035113 keeps it from blocking); an instance start makes
# a dozen such calls.
# neutron 26 waits 4 to 6 s for the host of a router's interface, which under OVN has none, and meanwhile reports no
# guest's port to nova.
# For each port that it reads, neutron 26 composes three queries again, against a rule of its own (N350: selectin, not
# subquery); and for the number of a resource it loads all that hangs on it, where provisioning_blocks reads the number.
FINISH = """\
rm -f "$1/usr/bin/py3compile"
dpkg-divert --root="$1" --quiet --remove --rename /usr/bin/py3compile
driver="$1/usr/lib/python3/dist-packages/oslo_messaging/_drivers/amqpdriver.py"
grep -q '^                time.sleep(0.5)$' "$driver"
sed -i 's/^                time.sleep(0.5)$/                time.sleep(0.005)/' "$driver"
client="$1/usr/lib/python3/dist-packages/neutron/plugins/ml2/drivers/ovn/mech_driver/ovsdb/ovn_client.py"
hostless='trunk_const.TRUNK_SUBPORT_OWNER'
grep -q "^        if db_port.device_owner == $hostless:\\$" "$client"
sed -i "s/== $hostless:\\$/in (const.DEVICE_OWNER_ROUTER_INTF, $hostless):/" "$client"
database="$1/usr/lib/python3/dist-packages/neutron/db"
for model in port_hardware_offload_type port_hints port_trusted; do
  grep -q "lazy='subquery'" "$database/models/$model.py"
  sed -i "s/lazy='subquery'/lazy='selectin'/" "$database/models/$model.py"
done
whole='query(STD_ATTR_MAP\\[resource_type\\])'
grep -q "session.$whole" "$database/ovn_revision_numbers_db.py"
sed -i "s/$whole/query(STD_ATTR_MAP[resource_type].standard_attr_id)/" "$database/ovn_revision_numbers_db.py"
chroot "$1" python3 -m compileall -q -j 0 /usr/lib/python3 /usr/lib/python3.13
rm -rf "$1/var/lib/mysql" "$1/var/log"/* "$1/etc/libvirt/qemu/networks"/* "$1/etc/libvirt/qemu/networks/autostart"
chroot "$1" dpkg-query -W >"$1/etc/localcloud.packages"
"""


def digest() -> str:
    """Return the cache key: a hash of all inputs."""
    return build.digest(build.SUITE, *PACKAGES, NO_COMPILE, FINISH)


def make(cache: Path, log: build.Log) -> Path:
    """Return the directory of the root file system, made now unless ``cache`` has it."""

    def work(result: Path) -> None:
        log(f"making the root file system: Debian {build.SUITE}, {len(PACKAGES)} packages and what they need")
        hooks = {"essential": NO_COMPILE, "customize": FINISH}
        build.debian(result / "tree", PACKAGES, result / "build.log", hooks, variant="minbase")

    return build.once(cache / f"rootfs-{digest()}", work) / "tree"
