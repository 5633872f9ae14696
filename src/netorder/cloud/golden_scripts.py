"""What a copy of a host does to itself to become a golden image, and what that does when it is tried: shell scripts.

They are user data, run as root by whatever makes the image an instance (cloud-init, or the local cloud's stand-in), on
servers without a network: a copy of a host beside that host can do nothing there.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from netorder.language.servers import encoded_key

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["SAYS", "clean", "tried"]

# How a line on the console begins; "done" or "failed: WHY" follows.
SAYS = "netorder-golden:"

_HEAD = r"""#!/bin/sh
set -u
say() { printf '\nnetorder-golden: %s\n' "$*" >/dev/console; }
fail() { say "failed: $*"; exit 1; }
"""

# As a unit of its own, which outlives the one that runs user data: that is among those that are stopped.
_CLEAN = r"""
if [ "${1-}" != now ]; then
  cp "$0" /run/netorder-golden
  unit='--unit=netorder-golden --property=DefaultDependencies=no'
  systemd-run --quiet --no-block $unit sh /run/netorder-golden now || fail "systemd-run: status $?"
  exit 0
fi

rm -f /etc/netorder-golden
# Services that run may write what is removed here again, and have files open.
for unit in $(systemctl list-units --type=service --state=running,activating --plain --no-legend | awk '{print $1}'); do
  case $unit in
    netorder-golden.service | systemd-* | dbus*) ;;
    *) systemctl stop "$unit" ;;
  esac
done
journalctl --relinquish-var >/dev/null 2>&1

# What cloud-init knows of the instance, and the network that it wrote for its interfaces
if command -v cloud-init >/dev/null; then
  cloud-init clean --logs || fail "cloud-init clean: status $?"
  rm -rf /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init* \
    /etc/NetworkManager/system-connections/cloud-init-*
fi
rm -rf /var/lib/netorder-guest
# The host's routes are in force before its first run: by the interface's name, as its MAC is another one then.
for file in /etc/systemd/network/05-netorder-*.network.d/*.conf; do
  [ ! -e "$file" ] || sed -i '/^MACAddress=./d' "$file"
done

rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
: >/etc/machine-id
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
rm -rf /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -rf /var/lib/dhcp/* /var/lib/dhclient/* /var/lib/dhcpcd/* /var/lib/NetworkManager/*lease* /var/lib/systemd/network/*
rm -rf /root/.bash_history /home/*/.bash_history /root/.ansible/tmp /home/*/.ansible/tmp
rm -rf /var/log/journal/* /var/cache/apt/archives/*.deb
find /tmp /var/tmp -mindepth 1 -delete 2>/dev/null
find /var/log -type f \( -name '*.[gx]z' -o -name '*.[0-9]' -o -name '*-20[0-9][0-9][0-9][0-9][0-9][0-9]' \) -delete
find /var/log -type f -exec truncate --size 0 {} +

# Public keys that this topology put there; those of the applications' own users stay.
for file in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do
  [ -e "$file" ] || continue
  for key in $keys; do
    grep -vF -- "$key" "$file" >"$file.new"
    cat "$file.new" >"$file"
    rm "$file.new"
    ! grep -qF -- "$key" "$file" || fail "an SSH key of the topology is still in $file"
  done
done
for file in /etc/ssh/ssh_host_*_key; do
  [ ! -e "$file" ] || fail "$file is still there"
done
[ ! -s /etc/machine-id ] || fail "/etc/machine-id is not empty"

echo clean >/etc/netorder-golden
sync
say "done"
systemctl poweroff --force
"""

_TRY = r"""
# Services listen on the host's own addresses, which no interface has here.
for address in $addresses; do
  ip address add "$address" dev lo 2>/dev/null || fail "address $address cannot be had"
done
ip link set lo up
[ -s /etc/netorder-golden ] || fail "the copy ended before it was clean"
[ -s /etc/machine-id ] || fail "/etc/machine-id is empty after a boot"
set -- /etc/ssh/ssh_host_*_key.pub
[ -s "$1" ] || fail "no SSH host key was made"
for key in $keys; do
  ! cat "$@" | grep -qF -- "$key" || fail "the SSH host key is that of the host that it was made of"
done
for unit in $units; do
  systemctl is-enabled --quiet "$unit" || fail "$unit does not start at boot"
  # it may have given up before it had its address
  systemctl is-active --quiet "$unit" || { systemctl reset-failed "$unit"; systemctl restart "$unit"; }
  left=30
  until systemctl is-active --quiet "$unit"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "$unit does not run: $(systemctl show --property=Result,SubState "$unit" | tr '\n' ' ')"
    sleep 1
  done
done
for port in $ports; do
  hex=$(printf ':%04X ' "$port")
  left=30
  until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" {print $2 " "}' | grep -qF "$hex"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "nothing listens on TCP port $port"
    sleep 1
  done
done
say "done"
systemctl poweroff --force
"""


def _with(body: str, **words: Collection[str]) -> str:
    given = (f"{name}={shlex.quote(' '.join(its))}\n" for name, its in words.items())
    return _HEAD + "".join(given) + body


def clean(public_keys: Sequence[str]) -> str:
    """Return the script that makes a copy of a host an image; ``public_keys`` of the topology's do not stay in it."""
    # options before the type may hold spaces; of a type that the language does not know, there are none
    return _with(_CLEAN, keys=[encoded_key(key) or key.split()[1] for key in public_keys])


def tried(host_key: str, addresses: Sequence[str], units: Sequence[str], ports: Sequence[int]) -> str:
    """Return the script that tries an image: new keys, and the host's ``units`` and TCP ``ports`` at its addresses."""
    lengths = [f"{one}/128" if ":" in one else f"{one}/32" for one in addresses]
    return _with(
        _TRY,
        keys=host_key.split()[1:2],
        addresses=lengths,
        units=units,
        ports=[str(port) for port in ports],
    )
