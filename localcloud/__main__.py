"""``python3 -m localcloud up|down|status|clean``: a real one-node OpenStack in one directory."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

from localcloud import CloudError, host


def show_status(cloud: host.Cloud) -> int:
    """Print what runs and what does not, with the end of the log of what does not; 0 if all is well."""
    if cloud.pid() is None:
        print(f"{cloud.entry}: down" + ("" if cloud.home.exists() else ", no state"))
        return 3
    report = host.status(cloud)
    bad = [name for name, step in report["steps"].items() if step["state"] not in ("done", "running")]
    for name, step in report["steps"].items():
        again = f", started again {step['restarts']} times" if step.get("restarts") else ""
        if step["kind"] == "process" or name in bad:
            print(f"  {name:24} {step['state']}{again}")
    for name in bad:
        print(f"\n{name}: {report['steps'][name].get('why', '')}\n{host.log_tail(cloud, name)}")
    print(f"{cloud.entry}: {'up' if not bad else 'not well'}")
    return 1 if bad else 0


def main() -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="localcloud",
        description=__doc__,
        epilog="Environment: LOCALCLOUD_DIR (default .localcloud), LOCALCLOUD_NAME (default default),"
        " LOCALCLOUD_GUESTS (vm or container, default vm).",
    )
    commands = {
        "up": "start it, from nothing or from its state",
        "down": "stop it, keep its state",
        "status": "say what runs, what does not and why",
        "clean": "stop it and remove everything",
    }
    chosen = parser.add_subparsers(dest="command", required=True)
    for name, text in commands.items():
        chosen.add_parser(name, help=text, description=text)
    command = parser.parse_args().command
    name = os.environ.get("LOCALCLOUD_NAME") or "default"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name) or name == "cache":
        print(
            f"localcloud: LOCALCLOUD_NAME={name}: must be of lower-case letters, digits and -, not cache",
            file=sys.stderr,
        )
        return 1
    base = Path(os.environ.get("LOCALCLOUD_DIR") or ".localcloud").resolve()
    cloud = host.Cloud(base, name)
    began = time.monotonic()

    def log(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    try:
        if command == "up":
            host.up(cloud, os.environ.get("LOCALCLOUD_GUESTS") or "vm", log)
        elif command == "down":
            host.down(cloud, log)
        elif command == "clean":
            host.clean(cloud, log)
        else:
            return show_status(cloud)
    except CloudError as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
