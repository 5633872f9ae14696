"""SSH access: the user's key, and the ssh_config and known_hosts that make ``ssh -F … <host>`` work on the controller.

Host keys come from the cloud's console log, out of band: a host with any other is refused, on first contact too.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.controller import records, timings
from netorder.errors import AccessError
from netorder.topology import SSH

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from netorder.cloud.result import HostFacts
    from netorder.plan.model import Host, Plan

__all__ = [
    "KEY",
    "known_hosts",
    "own_address",
    "private_key",
    "public_key",
    "remove",
    "ssh_blocked_reason",
    "ssh_config",
    "write",
]

# ssh binds a socket of this path plus 17 characters; the kernel's limit is 108 (Linux) or 104 (elsewhere) with the NUL.
# A directory of the user's own that is short whatever this repository's path, and that nobody else can write to.
CONTROL_PATH = "~/.ssh/netorder-{}"


KEY = "id_ed25519"  # one for all topologies, beside their directories


def private_key(files: Path, named: Path | str | None) -> Path:
    """Return the private key for the hosts: the one that is named, or the one for all topologies."""
    return Path(named).expanduser().absolute() if named else files / KEY


def public_key(private: Path, *, make: bool) -> str | None:
    """Return the public key of ``private``; with ``make``, a missing pair is generated first, else it is None."""
    public = private.with_name(private.name + ".pub")
    if not private.exists():
        if not make:
            return None
        private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", "netorder", "-f", str(private))
    if public.exists():
        return public.read_text(encoding="utf-8").strip()
    return _ssh_keygen("-y", "-f", str(private)).strip()


def _ssh_keygen(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["ssh-keygen", *arguments], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise AccessError("ssh-keygen is not installed on this controller: install openssh-client.") from None
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())
        raise AccessError(
            f"SSH key {arguments[-1]}: ssh-keygen says: {reason}. A pass phrase? Put its .pub beside it."
        ) from None
    return done.stdout


def ssh_blocked_reason(sources: Collection[str], address: str) -> str:
    """Return why SSH from this machine to ``address`` may be blocked; nothing where no reason is known.

    ``sources`` are the prefixes that may connect; without any, nothing is checked. Where address translation on the
    path gives this machine another source address, the reason need not hold.
    """
    if not sources:
        return ""
    try:
        own = ip_address(own_address(address))
    except OSError as error:
        return f"this machine has no route to {address}: {error.strerror}"
    if any(own in ip_network(source) for source in sources):
        return ""
    return (
        f"SSH is allowed from {', '.join(sources)}, and this machine connects from {own}: unless that is translated on"
        " the path, add it to the topology's `allow`, or run from where it is allowed"
    )


def own_address(address: str) -> str:
    """Return the IPv4 address that this machine connects from to ``address``; raises OSError without a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting sends nothing, it looks up the route
        probe.connect((address, SSH))
        return str(probe.getsockname()[0])


def known_hosts(plan: Plan, hosts: Mapping[str, HostFacts]) -> str:
    """Return a line for each host whose key is known, under the alias ``<host>.<topology>``."""
    return "".join(
        f"{_alias(plan, host)} {hosts[host.name].hostkey}\n" for host in plan.hosts if hosts[host.name].hostkey
    )


def ssh_config(plan: Plan, hosts: Mapping[str, HostFacts], *, directory: Path, key: Path) -> str:
    """Return a Host block for each host that has an SSH path, found by its name or its address.

    A host behind others is reached through the last of them, its jump host, whose own block leads on outwards.
    """
    blocks = [f"# Written by netorder from topology {plan.topology} and the cloud's answers; changes are lost.\n"]
    for host in plan.hosts:
        facts = hosts[host.name]
        outside = facts.floating_ip or host.outside_address
        if host.ssh_path is None or not facts.hostkey or not (host.ssh_path or outside):
            continue
        names = [host.name, *host.addresses, *([facts.floating_ip] if facts.floating_ip else []), *facts.others]
        jump = [f"  ProxyCommand {_through(host.ssh_path[-1], directory)}"] if host.ssh_path else []
        lines = [
            f"Host {' '.join(names)}",
            f"  HostName {host.ssh_address if host.ssh_path else outside}",
            *([f"  Port {facts.port}"] if facts.port else []),
            f"  User {host.user}",
            *jump,
            f"  HostKeyAlias {_alias(plan, host)}",
            f"  ControlPath {_control_path(directory, host, facts)}",
        ]
        blocks.append("\n".join(lines) + "\n")
    blocks.append(
        "Host *\n"
        f"  IdentityFile {_quoted(key)}\n"
        "  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {_quoted(directory / 'known_hosts')}\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
        "  PasswordAuthentication no\n"
        "  ControlMaster auto\n"
        "  ControlPersist 60s\n"
        "  ConnectTimeout 30\n"
        "  ServerAliveInterval 15\n"
        "  ServerAliveCountMax 4\n"
    )
    return "\n".join(blocks)


def _alias(plan: Plan, host: Host) -> str:
    return f"{host.name}.{plan.topology}"


def _control_path(directory: Path, host: Host, facts: HostFacts) -> str:
    """One socket for each incarnation of a host: private addresses repeat in other topologies, and %C with them."""
    identity = "\0".join([str(directory), host.name, str(facts.id), str(facts.floating_ip), str(facts.hostkey)])
    return CONTROL_PATH.format(hashlib.sha256(identity.encode()).hexdigest()[:12])


def _through(jump: str, directory: Path) -> str:
    """Return the command that leads through a jump host, as ProxyJump's but for the quotes.

    ProxyJump gives the path of the file to a shell as it is, which splits it at spaces.
    """
    file = shlex.quote(str(directory / "ssh_config")).replace("%", "%%")
    return f"ssh -F {file} -W '[%h]:%p' {jump}"


def _quoted(path: Path) -> str:
    """Quote for ssh_config, where a percent sign is a token."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def write(plan: Plan, hosts: Mapping[str, HostFacts], *, directory: Path, key: Path) -> list[Path]:
    """Write both files into ``directory`` where their text differs; return those that were written."""
    Path("~/.ssh").expanduser().mkdir(mode=0o700, exist_ok=True)  # for the control sockets
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    texts = {
        directory / "known_hosts": known_hosts(plan, hosts),
        directory / "ssh_config": ssh_config(plan, hosts, directory=directory, key=key),
    }
    return [path for path, text in texts.items() if _write(path, text)]


def _write(path: Path, text: str) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    # Whole or not at all, and never readable by others, whenever the run is killed.
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
    return True


def remove(directory: Path) -> list[Path]:
    """Remove what provisioning wrote, and the directory if nothing else is in it; return the files removed."""
    names = ("known_hosts", "ssh_config", timings.FILE, records.FILE, records.PAGE, records.NOW)
    written = (directory / name for name in names)
    removed = [path for path in written if path.exists()]
    for path in removed:
        path.unlink()
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
    return removed
