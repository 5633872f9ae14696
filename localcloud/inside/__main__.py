"""``python3 -m localcloud.inside``: the child of PID 1 that starts the cloud and stops it in order."""

from __future__ import annotations

import signal
import threading

from localcloud.inside import services, watch
from localcloud.inside.supervisor import Supervisor

__all__ = ["main"]


def main() -> None:
    """Start the cloud, stay until SIGTERM or SIGINT, stop in order."""
    supervisor = Supervisor(services.steps())
    requested = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: requested.set())
    supervisor.start()
    for check in (watch.taps, watch.guests, watch.helpers) if "libvirtd" in supervisor.steps else ():
        threading.Thread(target=check, args=(supervisor,), daemon=True).start()
    requested.wait()
    supervisor.stopping.set()
    watch.stop_guests(supervisor)
    supervisor.stop()


if __name__ == "__main__":
    main()
