"""What a copy of a host removes of itself to become a golden image, in a Debian tree under an overlay."""

from __future__ import annotations

import subprocess

import pytest

from netorder.cloud.golden_scripts import clean

KEY = "ssh-ed25519 AAAAC3NzTheTopologys netorder"
OWN = "ssh-ed25519 AAAAC3NzOfARole backup"
# what there is before, and what is left of it: None where it goes
FILES = {
    "etc/ssh/ssh_host_ed25519_key": ("private", None),
    "etc/ssh/ssh_host_ed25519_key.pub": ("public", None),
    "etc/machine-id": ("0123456789abcdef0123456789abcdef\n", ""),
    "root/.ssh/authorized_keys": (f'command="exit" {KEY}\n', ""),
    "home/debian/.ssh/authorized_keys": (f"{KEY}\n{OWN}\n", f"{OWN}\n"),
    "home/debian/.bash_history": ("secret", None),
    "home/debian/notes": ("kept", "kept"),
    "var/log/journal/0123/system.journal": ("log", None),
    "var/log/nginx/access.log": ("log", ""),
    "var/log/syslog.1": ("log", None),
    "var/log/postgresql-15-main.log": ("log", ""),
    "var/lib/dhcp/dhclient.eth0.leases": ("lease", None),
    "var/lib/systemd/random-seed": ("seed", None),
    "var/lib/netorder-guest/instance-id": ("uuid", None),
    "var/lib/postgresql/data": ("kept", "kept"),
    "tmp/upload": ("part", None),
    "etc/systemd/network/05-netorder-eth0.network.d/zz-netorder.conf": (
        "[Match]\nName=\nName=eth0\nMACAddress=\nMACAddress=fa:16:3e:00:00:01\n",
        "[Match]\nName=\nName=eth0\nMACAddress=\n",
    ),
    "etc/systemd/system/web.service": ("kept", "kept"),
    "etc/netorder-golden": ("of another time", "clean\n"),
}
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/called
[ $1 != list-units ] || printf '%s loaded active running\\n' web.service systemd-networkd.service
"""
MOUNT = """\
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root" && chroot "$2/root" /run-it now
"""


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_what_is_left(tree, tmp_path, suite):
    """Keys, machine id, leases, logs and histories go; what applications and others have stays."""
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    upper = tmp_path / "upper"
    programs = {"usr/bin/systemctl": SYSTEMCTL, "usr/bin/journalctl": "#!/bin/sh\n", "run-it": clean([KEY])}
    for name, text in {**{name: text for name, (text, _) in FILES.items()}, **programs, "dev/console": ""}.items():
        path = upper / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name in programs else 0o600)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", MOUNT, "sh", tree(suite), tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (upper / "dev/console").read_text() == "\nnetorder-golden: done\n"
    assert (upper / "called").read_text().splitlines()[1:] == ["stop web.service", "poweroff --force"]

    def left(name: str) -> str | None:
        return (upper / name).read_text() if (upper / name).is_file() else None

    assert {name: left(name) for name in FILES} == {name: after for name, (_, after) in FILES.items()}
