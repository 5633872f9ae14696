"""``python3 -m localcloud``: a real one-node OpenStack in one directory."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from pathlib import Path

from localcloud import CloudError, life, machine
from localcloud.cloud import Cloud

EPILOG = """environment:
  LOCALCLOUD_DIR          where everything is (default .localcloud)
  LOCALCLOUD_NAME         which cloud of several beside each other (default: default)
  LOCALCLOUD_GUESTS       vm, container, or fake: hundreds of hosts that exist only in Nova's database (default vm)
  LOCALCLOUD_API_WORKERS  processes of nova's and of neutron's API (default 2)
  LOCALCLOUD_HEAT         yes starts Heat (orchestration) too
  LOCALCLOUD_MIRROR       the Debian mirror to take packages from (default: that of apt's sources)
"""


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="localcloud", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    add("up", "start it, from nothing or from its state")
    add("down", "stop it, keep its state")
    add("status", "what runs, what does not and why, and how many guests fit; exit status 0: up, 1: degraded, 3: down")
    clean = add("clean", "stop it and remove its state")
    clean.add_argument("--all", action="store_true", help="the cache too, if there is no other cloud")
    image = add("image", "upload an image for all users of the cloud")
    image.add_argument("name", metavar="NAME")
    image.add_argument("file", metavar="FILE", type=Path, help="a disk image: qcow2, raw, vmdk, vdi, ...")
    shell = add("shell", "a shell inside the cloud, or one command there, as the cloud's administrator")
    shell.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="e.g. openstack hypervisor list")
    logs = add("logs", "the end of a step's log; without STEP, the names of all")
    logs.add_argument("step", nargs="?", metavar="STEP")
    logs.add_argument("-n", "--lines", type=int, default=50, help="how many lines (default 50)")
    logs.add_argument("-f", "--follow", action="store_true", help="follow the log")
    return parser.parse_args()


def named_cloud() -> Cloud:
    """Return the cloud that the environment names."""
    name = os.environ.get("LOCALCLOUD_NAME") or "default"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name) or name == "cache":
        raise CloudError(
            f"LOCALCLOUD_NAME={name}: must be 1 to 31 lower-case letters, digits and -, no - first, and not `cache`;"
            " fix: choose such a name, e.g. LOCALCLOUD_NAME=lab-2"
        )
    return Cloud(Path(os.environ.get("LOCALCLOUD_DIR") or ".localcloud").resolve(), name)


def shell(cloud: Cloud, words: list[str]) -> int:
    """Run a command, or bash, inside the cloud in place of this process."""
    pid = cloud.pid()
    if pid is None:
        raise CloudError(f"{cloud.entry} is down; fix: make cloud-up")
    values = cloud.parameters()
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"), "PS1": f"{cloud.entry}# ",
        "OS_AUTH_URL": f"http://{values['ip']}:5000/v3", "OS_USERNAME": "admin", "OS_PROJECT_NAME": "admin",
        "OS_PASSWORD": values["admin_password"], "OS_USER_DOMAIN_ID": "default", "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": "RegionOne", "OS_IDENTITY_API_VERSION": "3",
    }  # fmt: skip
    command = words or ["bash", "--norc"]
    sys.stdout.flush()
    os.execvpe(machine.entering(pid)[0], [*machine.entering(pid), *command], environment)  # noqa: S606


def logs(cloud: Cloud, step: str | None, lines: int, follow: bool) -> int:
    """Show the end of one log, or the names of all."""
    present = sorted(path.stem for path in (cloud.shared / "log").glob("*.log"))
    if step is None:
        print("\n".join(present))
        return 0
    if step not in present:
        raise CloudError(
            f"{cloud.shared / 'log'}: no log of {shlex.quote(step)}; fix: one of {', '.join(present) or 'none'}"
        )
    if follow:
        os.execvp("tail", ["tail", "-n", str(lines), "-F", str(cloud.log_file(step))])  # noqa: S606
    print(cloud.log_tail(step, lines))
    return 0


def main() -> int:
    """Run one command; return the exit status."""
    arguments = parse()
    began = time.monotonic()

    def log(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    try:
        cloud = named_cloud()
        match arguments.command:
            case "up":
                guests = os.environ.get("LOCALCLOUD_GUESTS") or "vm"
                workers = os.environ.get("LOCALCLOUD_API_WORKERS") or "2"
                heat = os.environ.get("LOCALCLOUD_HEAT") == "yes"
                life.up(cloud, guests, workers, heat, log)
            case "down":
                life.down(cloud, log)
            case "clean":
                life.clean(cloud, arguments.all, log)
            case "status":
                return life.status(cloud)
            case "image":
                life.add_image(cloud, arguments.name, arguments.file, log)
            case "shell":
                return shell(cloud, arguments.words)
            case "logs":
                return logs(cloud, arguments.step, arguments.lines, arguments.follow)
    except CloudError as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
