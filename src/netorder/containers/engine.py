"""podman, as root: containers and images of a topology."""

from __future__ import annotations

import json
import os
import pwd
import resource
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netorder.containers import health
from netorder.containers.kernel import SECONDS, SPACES, run
from netorder.containers.wanted import LABEL, image_name
from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netorder.containers.wanted import Guest

__all__ = [
    "HOST",
    "LABEL",
    "Container",
    "check_engine",
    "containers",
    "create",
    "healths",
    "image_problem",
    "names",
    "podman",
    "remove",
    "restart",
    "rootless_problems",
    "set_files",
    "set_health",
    "set_key",
    "shell",
    "start",
    "unpause",
    "viewed",
]  # fmt: skip

HOST, SETTINGS, INSTANCE = "netorder.host", "netorder.settings", "netorder.instance"  # labels
# What a host's network and sshd need beside podman's own: nothing that reaches out of the container.
_CAPABILITIES = "NET_ADMIN,NET_RAW,AUDIT_WRITE"
_MOST_PROCESSES = 32768
_PARALLEL = 8
_PAUSED = "paused"
_SLOW = {"build", "commit", "load"}  # a whole disk is written
_SLOW_SECONDS = 3600.0
_END = "netorder-end"  # of a file
# everybody may, as on Debian; podman's own is root alone
_PING = "net.ipv4.ping_group_range=0 2147483647"
_CGROUPS = Path("/sys/fs/cgroup")
_SYSTEMD = Path("/run/systemd/system")  # there where systemd runs this machine
_TUN = Path("/dev/net/tun")
_DOCKER = Path("/run/docker.sock")
_NO_DOCKER = (
    "target `containers` needs podman: a container of Docker joins no named network namespace, and each host's ports "
    "are in one. `netorder compose FILE` writes a file for docker compose"
)

# The first process of a host, before its init: on a container's first start, also of an image that was another host,
# it makes host key, user and files its own. Arguments: an id, the host's name, its user, that one's key, then files.
_FIRST = r"""
set -eu
id=$1 name=$2 user=$3 key=$4 words=$5
shift 5
if [ "$(cat /etc/netorder-instance 2>/dev/null)" != "$id" ]; then
  rm -f /etc/ssh/ssh_host_*
  rm -rf /var/lib/dbus/machine-id /etc/systemd/network/05-netorder-* /etc/systemd/network/08-container-*
  : >/etc/machine-id
  printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >/etc/hosts
  while [ "$words" -gt 0 ]; do
    rm -f "$1"
    mkdir -p "${1%/*}"
    printf %s "$2" >"$1"
    shift 2
    words=$((words - 2))
  done
  mkdir -p /etc/systemd/system-generators
  cat >/etc/systemd/system-generators/netorder-container <<'END'
#!/bin/sh
# In a container without CAP_SYS_ADMIN systemd cannot make the sandbox that DynamicUser= insists on: nobody runs them.
for unit in /etc/systemd/system/*.service; do
  grep -qs '^DynamicUser=\(yes\|true\|on\|1\)' "$unit" || continue
  mkdir -p "$1/${unit##*/}.d"
  printf '[Service]\nDynamicUser=no\nUser=nobody\n' >"$1/${unit##*/}.d/50-container.conf"
done
END
  chmod 755 /etc/systemd/system-generators/netorder-container
  getent passwd "$user" >/dev/null || useradd --create-home --shell /bin/bash "$user"
  home=$(getent passwd "$user" | cut -d: -f6)
  install -d -m 700 -o "$user" -g "$user" "$home/.ssh"
  printf '%s\n' "$key" >"$home/.ssh/authorized_keys"
  chown "$user:$user" "$home/.ssh/authorized_keys"
  chmod 600 "$home/.ssh/authorized_keys"
  printf '%s\n' "$key" >/etc/netorder-key
  printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$user" >"/etc/sudoers.d/netorder-$user"
  chmod 440 "/etc/sudoers.d/netorder-$user"
  ssh-keygen -q -t ed25519 -N '' -C "root@$name" -f /etc/ssh/ssh_host_ed25519_key
  printf '%s' "$id" >/etc/netorder-instance
else
  shift "$words"
fi
exec /sbin/init "$@"
"""
# For a user, one key in the place of the one that netorder wrote before (/etc/netorder-key); others stay.
_SET_KEY = r"""
set -e
user={user} key={key}
getent passwd "$user" >/dev/null || exit 0  # its first start is not through, and does this
home=$(getent passwd "$user" | cut -d: -f6)
file=$home/.ssh/authorized_keys
printf '%s\n' "$key" >>/etc/netorder-key
install -d -m 700 -o "$user" -g "$user" "$home/.ssh"
touch "$file"
{{ grep -vxFf /etc/netorder-key "$file" || true; printf '%s\n' "$key"; }} >"$file.new"
chown "$user:$user" "$file.new"
chmod 600 "$file.new"
mv "$file.new" "$file"
printf '%s\n' "$key" >/etc/netorder-key
"""
# systemd 256 and later start on control groups of version 1 only when told to
_VERSION_1 = ("systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a topology; ``pid`` 0: it has no processes."""

    id: str
    name: str
    host: str
    state: str
    pid: int
    settings: dict[str, object] = field(default_factory=dict)
    instance: str = ""

    @property
    def runs(self) -> bool:
        """Whether its processes run, which those of a paused one do not."""
        return self.pid != 0 and self.state != _PAUSED


def check_engine() -> None:
    """Raise CloudError unless this machine and this user can run containers."""
    docker = os.environ.get("DOCKER_HOST", "")
    if docker and "podman" not in docker:
        raise CloudError(f"DOCKER_HOST is {docker}, but {_NO_DOCKER}, or unset DOCKER_HOST: then podman is used, here")
    if os.geteuid() != 0:
        raise CloudError(
            "target `containers` makes network namespaces, filters and containers, which root alone may do: run it as "
            "root (sudo -E env PATH=$PATH …), or let your own podman do it by a compose file: `netorder compose FILE`",
            *(f"for podman without root {what}" for what in rootless_problems()),
        )
    for tool, package in (("podman", "podman crun netavark"), ("nft", "nftables"), ("ip", "iproute2")):
        if not _found(tool):
            fix = f"`make container-image`, or apt-get install {package}"
            if tool == "podman" and _DOCKER.exists():
                raise CloudError(f"Docker is on this machine and podman is not, but {_NO_DOCKER}, or install it: {fix}")
            raise CloudError(f"{tool} is not installed on this machine, and target `containers` needs it: {fix}")


def rootless_problems() -> list[str]:
    """Return what this user's podman lacks to run containers without root, each with its fix."""
    if not _found("podman"):
        return ["podman is missing: apt-get install podman"]
    problems = []
    if not _found("newuidmap"):
        problems.append("newuidmap is missing: apt-get install uidmap")
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as of an arbitrary user of a container
        user = str(os.geteuid())
    for file, option in (("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")):
        try:
            owners = {line.split(":")[0] for line in Path(file).read_text(encoding="utf-8").splitlines()}
        except OSError:
            owners = set()
        if not owners & {user, str(os.geteuid())}:
            problems.append(f"{user} has no further ids in {file}: usermod {option} 100000-165535 {user}")
    if not (_found("slirp4netns") or _found("pasta")):
        problems.append("nothing joins its networks to this machine's: apt-get install slirp4netns (or passt)")
    if not os.access(_TUN, os.R_OK | os.W_OK):
        problems.append(f"{user} may not use {_TUN}, by which they are joined: chmod 666 {_TUN}, as udev does")
    if _hybrid():
        problems.append("control groups of both versions are mixed, which crun refuses: mount either version alone")
    return problems


def _found(tool: str) -> bool:
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


@cache
def _hybrid() -> bool:
    """Return whether crun refuses the control groups: of both versions, with some controller in version 2."""
    controllers = _CGROUPS / "unified" / "cgroup.controllers"
    return controllers.exists() and bool(controllers.read_text(encoding="ascii").strip())


def _is_version_1() -> bool:
    return not (_CGROUPS / "cgroup.controllers").exists()


def podman(*arguments: str, text: str = "", check: bool = True) -> str:
    """Run podman and return what it prints."""
    seconds = _SLOW_SECONDS if arguments[0] in _SLOW else SECONDS
    return run(*viewed("podman", *arguments), text=text, check=check, seconds=seconds)


def viewed(*command: str) -> tuple[str, ...]:
    """Return a command that runs podman so that it sees no controllers of version 2 where crun would refuse them."""
    if not _hybrid():
        return command
    hide = f"mount --make-rprivate /sys && mount --bind /dev/null {_CGROUPS}/unified/cgroup.controllers"
    return ("unshare", "--mount", "--propagation", "unchanged", "sh", "-c", f'{hide} && exec "$@"', "sh", *command)


def containers(topology: str) -> list[Container]:
    """Return the containers of a topology, running or not."""
    return [_container(one) for one in _list("--filter", f"label={LABEL}={topology}")]


def names() -> set[str]:
    """Return the names of all containers on this machine, whoever's."""
    return {name for one in _list() for name in one["Names"]}


def _list(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(podman("ps", "--all", "--format", "json", *arguments) or "[]")
    return found


def _container(one: Mapping[str, Any]) -> Container:
    labels = one.get("Labels") or {}
    settings = json.loads(labels.get(SETTINGS, "{}"))
    pid = one["Pid"] if one["State"] in {"running", _PAUSED} else 0
    return Container(
        one["Id"], one["Names"][0], labels.get(HOST, ""), one["State"], pid, settings, labels.get(INSTANCE, "")
    )


def image_problem(image: str) -> str:
    """Return why there is no such image, and what to do; "" if there is one."""
    name = image_name(image)
    if podman("images", "--quiet", name, check=False).strip():
        return ""
    if name.startswith("localhost/netorder/"):
        fix = "`make container-image` builds netorder's own, debian-13"
    else:
        fix = f"`podman pull {name}` fetches it, if its registry has it"
    return f"image {name} is not on this machine; {fix}"


def create(topology: str, guest: Guest, key: str, *, image: str = "", instance: str = "") -> None:
    """Make a host's container and start it, in the place of one with its name.

    ``image`` (podman's name, an id) takes the place of its own; with the ``instance`` of a container that was made
    from the same disk it keeps host key and identity.
    """
    instance = instance or os.urandom(8).hex()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else soft
    settings = json.dumps(guest.settings, sort_keys=True)
    files = guest.files | {health.FILE: guest.health}
    words = [word for path, text in files.items() for word in (path, text)]
    arguments = [
        "run", "--detach", "--replace", "--name", guest.name, "--hostname", guest.name,
        "--label", f"{LABEL}={topology}", "--label", f"{HOST}={guest.host}", "--label", f"{SETTINGS}={settings}",
        "--label", f"{INSTANCE}={instance}",
        "--network", f"ns:{SPACES / guest.space}", "--dns", "none", "--no-hosts", "--pull", "never",
        "--systemd", "always", "--restart", "always", "--cap-add", _CAPABILITIES, "--stop-timeout", "10",
        "--sysctl", _PING,
        "--health-cmd", health.COMMAND, "--health-timeout", f"{health.TIMEOUT}s", "--health-retries", "1",
        # podman has it done by systemd's timers: without these it is done when `netorder status` asks
        "--health-interval", "30s" if _SYSTEMD.exists() else "disable",
        # both: where this process may not raise limits, podman asks for more of the one that is not given
        "--ulimit", f"nofile={most}:{most}", "--ulimit", f"nproc={_MOST_PROCESSES}:{_MOST_PROCESSES}",
        "--entrypoint", "[]", image or image_name(str(guest.settings["image"])),
        "sh", "-c", _FIRST, "sh", instance, guest.name, str(guest.settings["user"]), key, str(len(words)),
        *words, *(_VERSION_1 if _is_version_1() else ()),
    ]  # fmt: skip
    podman(*arguments)


def start(container: Container) -> None:
    """Start a container that is there and does not run."""
    podman("start", container.id)


def unpause(container: Container) -> None:
    """Let a paused container go on."""
    podman("unpause", container.id)


def restart(container: Container) -> None:
    """Stop a container and start it: it joins the namespace that has its name now."""
    # not podman's restart: it keeps the disk mounted, which is so in the mount namespace of an earlier command only
    podman("stop", "--time", "5", container.id)
    podman("start", container.id)


def remove(container: Container) -> None:
    """Delete a container with its disk; one that has just gone is none."""
    # podman, killed while it started one, may not know that it runs; where runc is its runtime there is no crun
    if not container.runs and _found("crun"):
        run("crun", "delete", "--force", container.id, check=False)
    podman("rm", "--force", "--ignore", "--time", "0", "--volumes", container.id)


def set_health(container: Container, text: str) -> None:
    """Give a running container the script that checks it."""
    shell(container, _write({health.FILE: text}))


def set_files(container: Container, files: Mapping[str, str]) -> None:
    """Give a running container files that say how its network is."""
    # one that is still starting reads them by itself
    load = "if systemctl is-active --quiet systemd-networkd; then networkctl reload; fi\n"
    shell(container, f"set -e\n{_write(files)}{load}")


def set_key(container: Container, user: str, key: str) -> None:
    """Let the owner of a public key log in to a running container, and no longer that of the key before."""
    shell(container, _SET_KEY.format(user=shlex.quote(user), key=shlex.quote(key)))


def _write(files: Mapping[str, str]) -> str:
    """Return the script that writes files whose lines all have an end."""
    return "".join(f"cat >{name}.new <<'{_END}'\n{text}{_END}\nmv {name}.new {name}\n" for name, text in files.items())


def healths(containers: Sequence[Container]) -> dict[str, str]:
    """Check the health of running containers; return by id why one is not well, "" where it is.

    One that was made without a check is left out.
    """
    with ThreadPoolExecutor(_PARALLEL) as pool:
        # its exit status says the same, but not why
        for _ in pool.map(lambda one: podman("healthcheck", "run", one.id, check=False), containers):
            pass
    found = {}
    for one in json.loads(podman("inspect", *(one.id for one in containers))) if containers else []:
        if log := (one["State"].get("Health") or one["State"].get("Healthcheck") or {}).get("Log"):
            said = " ".join(str(log[-1].get("Output", "")).split())
            found[one["Id"]] = (said or "its check says nothing") if log[-1]["ExitCode"] else ""
    return found


def shell(container: Container, script: str) -> str:
    """Return what a script prints that sh runs in a container."""
    return podman("exec", "--interactive", container.id, "sh", "-s", text=script)
