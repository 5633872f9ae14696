"""Checks that repeat while the cloud runs (taps, guests, privileged helpers), and the shutdown of the guests."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt

from localcloud.inside.system import LOGS, parameters, run
from localcloud.inside.tasks import seed

if TYPE_CHECKING:
    from localcloud.inside.supervisor import Supervisor

__all__ = ["enable_compute", "guests", "helpers", "stop_guests", "taps"]

IFF_UP, IFF_PROMISC = 0x1, 0x100  # netdevice(7)


def enable_compute() -> None:
    """Enable the compute service again: nova disables it when libvirtd goes away and does not take that back."""
    seed("enable-compute")()


def taps(supervisor: Supervisor) -> None:
    """Repair the tap of a running guest that passes no packets, and log it: nothing else would report it.

    - It is down: the switch may open a tap before libvirt has made it, and set it down afterwards. The libvirt hook
      repairs most of these; this check finds the rest.
    - The switch still has the socket of an earlier tap of that name (a soft reboot ends and makes it in a second; the
      userspace datapath does not notice): it does not read this one, so it is not promiscuous.
    """
    while not supervisor.stopping.wait(1):
        for flags in Path("/sys/class/net").glob("tap*/flags"):
            tap = flags.parent.name
            try:
                value = int(flags.read_text(), 16)
                if not value & IFF_UP:
                    run(["ip", "link", "set", tap, "up"])
                    _log(f"{tap} was down: brought up")
                elif not value & IFF_PROMISC and _switched(tap):
                    _plug_again(tap)
                    _log(f"{tap} was recreated: plugged into the switch again")
            except (OSError, RuntimeError):
                continue  # the guest ended in this moment


def _log(text: str) -> None:
    with (LOGS / "taps.log").open("a") as log:
        log.write(f"{time.strftime('%F %T')} {text}\n")


def _switched(tap: str) -> bool:
    """Return whether the switch has the tap open, by its own account."""
    return run(["ovs-vsctl", "--if-exists", "get", "interface", tap, "ofport"]).strip().isdecimal()


def _plug_again(tap: str) -> None:
    """Take the tap's port out of the switch and put it in again, as Nova named it; the switch then opens the tap."""
    listed = json.loads(run(["ovs-vsctl", "--format=json", "--columns=external_ids", "list", "interface", tap]))
    names = {key: value for key, value in listed["data"][0][0][1] if not key.startswith("ovn-")}
    run(["ovs-vsctl", "del-port", "br-int", tap])
    settings = [f'external_ids:{key}="{value}"' for key, value in names.items()]
    run(["ovs-vsctl", "add-port", "br-int", tap, "--", "set", "interface", tap, *settings])


def guests(supervisor: Supervisor) -> None:
    """Restart each guest whose process was killed, as its user would: through Nova."""
    killed = {libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_FAILED}
    tried: set[str] = set()
    while not supervisor.stopping.wait(2):
        try:
            connection = libvirt.open(parameters()["libvirt_uri"])
            ended = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE)
            dead = {domain.UUIDString() for domain in ended if domain.state()[1] in killed}
            connection.close()
            tried &= dead
            for uuid in dead - tried:
                print(f"guest {uuid} was killed: restarting it", flush=True)
                seed("start-guest", uuid)()
                tried.add(uuid)
        except (libvirt.libvirtError, RuntimeError) as error:
            if not supervisor.stopping.is_set():
                print(f"guests cannot be watched: {error}", flush=True)


def helpers(supervisor: Supervisor) -> None:
    """Restart a service whose privileged helper was killed: oslo.privsep then fails at every use of it."""
    owners = {"nova-compute": "/etc/nova"}
    known: set[tuple[int, str]] = set()  # the ids of a service and of its helper
    while not supervisor.stopping.wait(2):
        now: set[tuple[int, str]] = set()
        for name, configuration in owners.items():
            owner = supervisor.processes.get(name)
            if owner is None or owner.poll() is not None:
                continue
            # daemons, children of PID 1; until a helper has forked twice it has other parents
            found = run(
                ["pgrep", "-P", "1", "-f", f"privsep-helper --config-file {configuration}"], may_fail=True
            ).split()
            now |= {(owner.pid, pid) for pid in found}
            if any(pid not in found for mine, pid in known if mine == owner.pid):
                print(f"a privileged helper of {name} was killed: restarting {name}", flush=True)
                owner.kill()
        known = now


def stop_guests(supervisor: Supervisor, patience: float = 15) -> None:
    """Shut the guests down by their power button; those still running after ``patience`` (seconds) are cut off.

    nova-compute is killed first, so that it does not record the shutdown as the users' own: at the next start it finds
    the guests stopped, and starts them.
    """
    compute = supervisor.processes.get("nova-compute")
    if compute and compute.poll() is None:
        compute.kill()
        compute.wait()
    if "libvirtd" not in supervisor.steps:
        return
    try:
        connection = libvirt.open(parameters()["libvirt_uri"])
        running = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        for domain in running:
            if parameters()["guests"] == "container":
                # systemd(1): SIGRTMIN+14 powers off at once, as the VMs' power button does. libvirt counts from the
                # kernel's first real-time signal, 32; systemd from glibc's, 34.
                domain.sendProcessSignal(1, libvirt.VIR_DOMAIN_PROCESS_SIGNAL_RT16)
            else:
                domain.shutdown()
        limit = time.monotonic() + patience
        while any(domain.isActive() for domain in running) and time.monotonic() < limit:
            time.sleep(0.05)
    except libvirt.libvirtError as error:
        print(f"guests are not shut down: {error}", flush=True)  # the end of PID 1 ends them
