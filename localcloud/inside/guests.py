"""What is done about the guests while the cloud runs, and when it stops."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.inside.supervisor import SHARED
from localcloud.inside.tasks import parameters, run, seed

if TYPE_CHECKING:
    import threading

    from localcloud.inside.supervisor import Supervisor


def enable_compute() -> None:
    """Enable the compute service again: nova disables it when libvirtd goes away and does not take that back."""
    seed("enable-compute")()


def watch_taps(stopping: threading.Event) -> None:
    """Bring up each guest's tap that is down, and say so.

    The switch may open a tap before libvirt has made it and set it down afterwards: the guest then has no network and
    nothing reports it. The libvirt hook mends most; this sees what the hook's moment missed.
    """
    with (SHARED / "log" / "taps.log").open("a") as log:
        while not stopping.wait(1):
            for flags in Path("/sys/class/net").glob("tap*/flags"):
                try:
                    if int(flags.read_text(), 16) & 1:
                        continue
                    run(["ip", "link", "set", flags.parent.name, "up"])
                    log.write(f"{time.strftime('%F %T')} {flags.parent.name} was down: brought up\n")
                    log.flush()
                except (OSError, RuntimeError):
                    continue  # the guest ended in this moment


def stop(supervisor: Supervisor, patience: float = 15) -> None:
    """Shut the guests down as their power button would; who does not obey in time (seconds) is cut off.

    nova-compute goes first and at once, so that it does not take the end of the guests for their users' wish: it finds
    them stopped at the next start, and starts them again.
    """
    compute = supervisor.processes.get("nova-compute")
    if compute and compute.poll() is None:
        compute.kill()
        compute.wait()
    if "libvirtd" not in supervisor.steps:
        return
    import libvirt  # noqa: PLC0415 - only the root file system has it

    try:
        connection = libvirt.open(parameters()["libvirt_uri"])
        running = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        for domain in running:
            if parameters()["guests"] == "container":
                domain.sendProcessSignal(1, libvirt.VIR_DOMAIN_PROCESS_SIGNAL_RT4)  # systemd(1): poweroff.target
            else:
                domain.shutdown()
        limit = time.monotonic() + patience
        while any(domain.isActive() for domain in running) and time.monotonic() < limit:
            time.sleep(0.05)
    except libvirt.libvirtError as error:
        print(f"guests are not shut down: {error}", flush=True)  # the end of PID 1 ends them
