"""The guest's own first-boot script, `netorder-guest-init`, in mount namespaces. Needs root, no cloud."""

from __future__ import annotations

import subprocess
from pathlib import Path

TREE = Path(__file__).parents[2] / "localcloud/build/guest_tree/rootfs"
# What both callers do at boot, the late stage and the path unit's service, a hundred times at the same time.
TWICE = """
mount -t tmpfs none /etc
mount -t tmpfs none /run
mkdir -p /run/systemd/netif
printf 'DNS=10.0.0.2 10.0.0.3\\nDOMAINS=lab.example\\n' >/run/systemd/netif/state
for round in $(seq 100); do
  "$0" resolv & first=$!
  "$0" resolv & second=$!
  wait $first || echo "round $round: $?"
  wait $second || echo "round $round: $?"
done
ls /etc
cat /etc/resolv.conf
"""


def test_name_servers_are_written_by_two_at_once():
    """A rename of one file by both made the service fail at boot."""
    script = TREE / "usr/local/sbin/netorder-guest-init"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", TWICE, script], check=True, text=True, capture_output=True, timeout=120
    )
    assert done.stdout == "resolv.conf\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch lab.example\n"
    assert done.stderr == ""
