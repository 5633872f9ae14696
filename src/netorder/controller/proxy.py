"""A host's way to packages over SSH: the controller as a SOCKS proxy on a port of the host's loopback, for one run.

``ssh -R`` with a port and no destination (remote dynamic forwarding, OpenSSH 7.6 or later on the controller) makes the
host's loopback port a SOCKS proxy that leaves through the controller, through jump hosts too. The port is drawn once a
process; the connections that carry it have control sockets of their own, so that they can be closed without others.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import subprocess
from functools import cache
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["close", "drawn_port", "environment", "ssh_arguments", "why_refused"]

# below Linux' ephemeral ports, which clients on the host take for their own connections
FIRST_PORT, PORTS = 20000, 12000
SOCKETS = "~/.ssh"
_PREFIX = "netorder-proxy-"


@cache
def drawn_port() -> int:
    """Return the port of this process and of those that it forks: drawn, so that other users of a host must look."""
    return FIRST_PORT + secrets.randbelow(PORTS)


def ssh_arguments(host: str, directory: Path, port: int) -> str:
    """Return the arguments of an ssh to ``host`` that carries the proxy; ``directory`` is its topology's."""
    identity = hashlib.sha256(f"{directory}\0{host}".encode()).hexdigest()[:12]
    return shlex.join(
        [
            *("-R", f"127.0.0.1:{port}"),
            *("-o", "ExitOnForwardFailure=yes"),  # else the packages fail, and nothing says why
            *("-o", f"ControlPath={SOCKETS}/{_PREFIX}{port}-{identity}"),
        ]
    )


def environment(port: int, addresses: Iterable[str]) -> dict[str, str]:
    """Return the variables that tell apt, dnf, curl and their like; not for the host's own ``addresses`` (or CIDRs).

    The names are resolved on the controller (socks5h): the host needs no name server.
    """
    url = f"socks5h://127.0.0.1:{port}"
    own = ["localhost", "127.0.0.1", "::1", *(str(ip_interface(one).ip) for one in addresses)]
    return {"http_proxy": url, "https_proxy": url, "no_proxy": ",".join(own)}


def close(port: int) -> list[str]:
    """End this controller's connections that carry the proxy on ``port``; return the names of their sockets."""
    sockets = sorted(Path(SOCKETS).expanduser().glob(f"{_PREFIX}{port}-*"))
    for path in sockets:
        # fails where the connection has ended meanwhile, which is what is wanted
        subprocess.run(
            ["ssh", "-F", os.devnull, "-o", f"ControlPath={path}", "-O", "exit", "host"],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    return [path.name for path in sockets]


def why_refused(message: str) -> str:
    """Return what to do about a connection that failed with ``message`` of ssh's, nothing if it is not the proxy's."""
    if "remote port forwarding failed" in message:
        return (
            "The host refused the proxy for packages (`proxy: controller`): its sshd does not allow it (in sshd_config"
            " AllowTcpForwarding must be yes, all or remote, DisableForwarding no, and PermitListen must not forbid"
            " 127.0.0.1), or another process has the port, and the next run draws another. Without the key, the host"
            " needs an external router on its own network."
        )
    if "Bad remote forwarding specification" in message:
        return "`proxy: controller` needs OpenSSH 7.6 or later on this controller: see `ssh -V`."
    return ""
