"""Hosts whose network real programs configure: a Debian tree with a network namespace of its own, on small networks.

A host is a Debian tree under an overlay of its own, so what is written stays over boots. Its boot is a fresh network,
mount and process namespace in which D-Bus and the network's program start with nothing but the files on disk. Its
networks are bridges in another namespace, where dnsmasq gives addresses and announces itself as the router.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "plugins/modules/netorder_host_network.py"
PLACEHOLDER = "<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"
# PID 1 of a host: it enters the tree and takes in the processes that others leave behind.
INIT = r"""
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --rbind /dev dev
pivot_root . mnt
umount -l /mnt
exec >/dev/null 2>&1 </dev/null
mkdir -p /run/systemd/system /run/dbus /run/systemd/netif
chown systemd-network:systemd-network /run/systemd/netif
touch /run/booted
sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
while :; do sleep 1 & wait; done
"""
# The few commands of systemd that the module uses; a namespace has no systemd as PID 1.
SYSTEMCTL = r"""#!/bin/sh
case "$1 $2" in
"is-active NetworkManager") pgrep -x NetworkManager >/dev/null && echo active || { echo inactive; exit 3; };;
"is-active systemd-networkd") pgrep -x systemd-network >/dev/null && echo active || { echo inactive; exit 3; };;
"restart systemd-networkd") pkill -x systemd-network; sleep 0.2; exec /usr/local/sbin/start-networkd;;
"restart NetworkManager") pkill -x NetworkManager; sleep 0.5; exec NetworkManager;;
"daemon-reload "*|"start "*|"stop "*|"show "*|"list-units "*|"is-enabled "*) exit 0;;
*) echo "systemctl $*: not in this namespace" >&2; exit 1;;
esac
"""
NETWORKD = """#!/bin/sh
SYSTEMD_LOG_TARGET=console setsid /usr/lib/systemd/systemd-networkd >>/run/networkd.log 2>&1 </dev/null &
"""


def run(*command: str | Path, text: str | None = None, check: bool = True) -> str:
    """Return a command's output; raise with what it said when it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def until(condition: Callable[[], Any], seconds: float = 60, what: object = "") -> None:
    """Wait for a condition; fail with ``what``, called when it can be."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.1)


@dataclass
class Interface:
    """An interface of a host. ``number`` is that of its network: 192.168.<number>.0/24 and fd00:<number>::/64."""

    name: str
    number: int

    @property
    def mac(self) -> str:
        return f"fa:16:3e:00:00:{self.number:02x}"

    @property
    def address(self) -> str:
        return f"192.168.{self.number}.5"


class Networks:
    """Bridges net1, net2, ... in a namespace of their own, each with dnsmasq as router .1."""

    def __init__(self, tree: Path, numbers: Sequence[int]) -> None:
        self.process = subprocess.Popen(["unshare", "--net", "--kill-child", "--fork", "sleep", "infinity"])
        child = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        until(lambda: child.read_text().strip())
        self.pid = int(child.read_text())
        self.servers: list[subprocess.Popen[bytes]] = []
        for number in numbers:
            bridge = f"net{number}"
            self("ip", "link", "add", bridge, "type", "bridge")
            self("ip", "link", "set", bridge, "up")
            self("ip", "address", "add", f"192.168.{number}.1/24", "dev", bridge)
            options = [f"--dhcp-range=192.168.{number}.5,192.168.{number}.5,1h"]
            self("ip", "address", "add", f"fd00:{number}::1/64", "dev", bridge, "nodad")
            options += [f"--dhcp-range=fd00:{number}::5,fd00:{number}::5,64,1h", "--enable-ra", "--ra-param=*,4,1800"]
            self.servers.append(
                subprocess.Popen(
                    [
                        "nsenter",
                        f"--net=/proc/{self.pid}/ns/net",
                        "chroot",
                        tree,
                        "dnsmasq",
                        "--keep-in-foreground",
                        "--conf-file=/dev/null",
                        "--port=0",
                        f"--interface={bridge}",
                        "--bind-interfaces",
                        "--user=root",
                        "--leasefile-ro",
                        "--no-ping",
                        "--dhcp-authoritative",
                        "--pid-file",
                        "--log-facility=/dev/null",
                        *options,
                    ],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )

    def __call__(self, *command: str, check: bool = True) -> str:
        return run("nsenter", f"--net=/proc/{self.pid}/ns/net", *command, check=check)

    def close(self) -> None:
        """End all of it."""
        for process in (*self.servers, self.process):
            process.kill()
            process.wait()


@dataclass
class Machine:
    """A host. ``place`` is a directory for its overlay; ``program`` is networkd or NetworkManager."""

    tree: Path
    place: Path
    networks: Networks
    interfaces: list[Interface]
    program: str = "networkd"
    bus: bool = True
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        run("mount", "-t", "tmpfs", "tmpfs", self.place)
        for name in ("upper", "work", "root"):
            (self.place / name).mkdir()
        self.write("/usr/local/bin/systemctl", SYSTEMCTL, mode=0o755)
        self.write("/usr/local/sbin/start-networkd", NETWORKD, mode=0o755)
        self.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        self.write("/etc/hostname", "h\n")
        for path, text in self.files.items():
            self.write(path, text)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, whether the host runs or not."""
        if self.process:
            self("sh", "-c", f"mkdir -p $(dirname {path}); cat >{path}; chmod {mode:o} {path}", text=text)
            return
        file = self.place / "upper" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o600 if "/netplan/" in path or "system-connections" in path else mode)

    def boot(self) -> None:
        """Start it with nothing but the files on disk, and wait for its addresses."""
        self.stop()
        command = [
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            INIT,
            "init",
        ]
        self.process = subprocess.Popen([*command, self.tree, self.place])
        child = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        until(lambda: child.read_text().strip())
        self.pid = int(child.read_text())
        until(lambda: self("test", "-e", "/run/booted", check=None), what="PID 1 enters its tree")
        self("ip", "link", "set", "lo", "up")
        for one in self.interfaces:
            self.plug(one)
        # what systemd-sysctl does at boot
        self("sh", "-c", "for f in /etc/sysctl.d/*.conf; do [ ! -e $f ] || sysctl -q -p $f; done")
        if self.bus:
            self("dbus-daemon", "--system", "--fork", "--nopidfile")
        self.generate()
        self.start()

    def plug(self, one: Interface) -> None:
        """Connect an interface to its network."""
        link = f"v{one.number}"
        self.networks("ip", "link", "del", link, check=False)
        self.networks(
            "ip",
            "link",
            "add",
            link,
            "type",
            "veth",
            "peer",
            "name",
            one.name,
            "address",
            one.mac,
            "netns",
            str(self.pid),
        )
        self.networks("ip", "link", "set", link, "master", f"net{one.number}", "up")

    def generate(self) -> None:
        """Do what systemd's generator of netplan does at boot."""
        self("sh", "-c", "ls /etc/netplan/*.yaml >/dev/null 2>&1 && netplan generate || true")

    def start(self) -> None:
        """Start the program that configures the network."""
        self("/usr/local/sbin/start-networkd" if self.program == "networkd" else "NetworkManager")

    def restart(self) -> None:
        """Restart the program that configures the network."""
        self("systemctl", "restart", "systemd-networkd" if self.program == "networkd" else "NetworkManager")

    def watch(self) -> Callable[[], list[str]]:
        """Watch the kernel's addresses and routes; what is returned ends that and returns what happened."""
        self("sh", "-c", "setsid ip monitor address route >/run/monitor 2>/dev/null </dev/null &")

        def end() -> list[str]:
            self("pkill", "-x", "ip")
            return self("cat", "/run/monitor").splitlines()

        return end

    def stop(self) -> None:
        """Cut it off: all its processes end at once."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """End it and forget its files."""
        self.stop()
        run("umount", "-l", self.place)

    def __call__(self, *command: str, text: str | None = None, check: bool | None = True) -> str:
        """Return what a command on the host prints; with ``check=None`` whether it succeeds."""
        line = [
            "nsenter",
            f"--target={self.pid}",
            "--all",
            "env",
            "-i",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8",
            *command,
        ]
        if check is None:
            return "yes" if subprocess.run(line, capture_output=True, check=False).returncode == 0 else ""
        return run(*line, text=text, check=check)

    def module(self, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        """Run the module as Ansible does with pipelining: its text, with its arguments, into Python.

        ``_replaced`` is a part of the module's text with what stands for it here.
        """
        arguments |= {"_ansible_check_mode": check, "_ansible_diff": True}
        replaced = arguments.pop("_replaced", None)
        source = MODULE.read_text().replace(PLACEHOLDER, json.dumps(arguments))
        if replaced:
            assert replaced[0] in source
            source = source.replace(*replaced)
        said = self("python3", "-", text=source, check=False)
        assert said.strip(), "the module said nothing"
        result: dict[str, Any] = json.loads(said)
        return result

    def differs(self, **arguments: Any) -> list[Any]:
        """Return what the module finds to change, or why it cannot say: after a boot, an address still to come."""
        result = self.module(check=True, **arguments)
        return [result["msg"]] if result.get("failed") else list(result["differences"])

    def addresses(self, interface: str) -> set[str]:
        """Return an interface's addresses with prefix lengths, link-local apart."""
        listed = json.loads(self("ip", "-json", "address", "show", "dev", interface, check=False) or "[]")
        return {
            f"{a['local']}/{a['prefixlen']}" for one in listed for a in one.get("addr_info", []) if a["scope"] != "link"
        }

    def routes(self, version: int = 4) -> list[str]:
        """Return the routes that have a gateway, as "destination via gateway dev interface"."""
        listed = json.loads(self("ip", "-json", f"-{version}", "route", "show") or "[]")
        hops = [{**one, **hop} for one in listed for hop in one.get("nexthops", [{}])]
        return sorted(f"{one['dst']} via {one['gateway']} dev {one['dev']}" for one in hops if "gateway" in one)

    def has_addresses(self) -> None:
        """Wait for what DHCP gives each interface, in both IP versions, and for a default gateway of each."""

        def there() -> bool:
            of = {one.name: self.addresses(one.name) for one in self.interfaces}
            leased = all({one.address + "/24", f"fd00:{one.number}::5/128"} <= of[one.name] for one in self.interfaces)
            return leased and all(any(route.startswith("default ") for route in self.routes(v)) for v in (4, 6))

        self.wait(there)

    def wait(self, condition: Callable[[], Any], seconds: float = 60) -> None:
        """Wait for a state of the network; fail with what it is."""
        until(condition, seconds, self.log)

    def log(self) -> str:
        """Return the state of the network and the end of networkd's log."""
        return self(
            "sh", "-c", "ip address; ip route; ip -6 route; tail -n 60 /run/networkd.log 2>/dev/null", check=False
        )
