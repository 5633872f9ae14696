"""A cloud's life: up from nothing or from its state, status, down, clean."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import CloudError, capacity, checks, machine
from localcloud.build import guest, rootfs, state
from localcloud.cloud import write_private

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcloud.cloud import Cloud

    Log = Callable[[str], None]

GUEST_KINDS = ("vm", "container", "fake")
MOST_WORKERS = 32
DISK_LOW = 512 * 2**20  # bytes: below this, message broker and databases stop taking anything
STOPPED, DEGRADED = 3, 1  # exit statuses of `status`


def up(cloud: Cloud, guests: str, workers: str, heat: bool, log: Log) -> None:
    """Start the cloud, from nothing or from its state, and return when it is ready for use."""
    if guests not in GUEST_KINDS:
        raise CloudError(
            f"LOCALCLOUD_GUESTS={guests}: must be one of {', '.join(GUEST_KINDS)}; fix: set one, or none (vm)"
        )
    if not (workers.isdecimal() and 1 <= int(workers) <= MOST_WORKERS):
        raise CloudError(
            f"LOCALCLOUD_API_WORKERS={workers}: must be a number from 1 to {MOST_WORKERS}; fix: set one, or none (2)"
        )
    checks.preflight(cloud)
    with cloud.locked():
        checks.pick_net(cloud)  # fails early where no prefix is free
        if cloud.pid() is not None:
            _refuse_other_guests(cloud, guests)
            if heat and cloud.parameters().get("heat") != "true":
                raise CloudError(f"{cloud.entry} is up without Heat; fix: `down`, then `up` with LOCALCLOUD_HEAT=yes")
            if not cloud.status().get("ready"):
                machine.wait_ready(cloud, log)
            cloud.add_to_clouds_yaml(cloud.parameters())  # a start that was killed may not have come to that
            log(f"the cloud is up already: OS_CLOUD={cloud.entry}")
            return
        began = time.monotonic()
        fresh = not (cloud.shared / "parameters.json").exists()
        if not fresh:  # fails before the builds, which take minutes
            _refuse_other_guests(cloud, guests)
        lower = rootfs.make(cloud.cache, log)
        log("root file system ready")
        if fresh:
            ready = state.make(cloud.cache, lower, log)
            log("fresh state ready")
            shutil.rmtree(cloud.home / "upper", ignore_errors=True)  # of a start that was interrupted here
            machine.run("cp", "-a", str(ready / "upper"), str(cloud.home))
        if guests == "container":
            checks.room_for_containers(log)
        clock = checks.tsc_khz()
        (cloud.shared / "guest" / "guest.json").unlink(missing_ok=True)
        try:
            with checks.choosing_net():
                net = checks.pick_net(cloud)
                values = {
                    **_parameters(cloud, lower, net, guests), "workers": workers, "heat": "true" if heat else "false"
                }  # fmt: skip
                machine.start(cloud, lower, values)
            with ThreadPoolExecutor(1) as pool:
                building = pool.submit(_provide_guest, cloud, lower, guests, clock, log)
                machine.wait_ready(cloud, log, building)
        except BaseException:
            machine.halt(cloud)
            raise
        _prune(cloud)
        cloud.add_to_clouds_yaml(values)
        log(f"the cloud is up after {time.monotonic() - began:.1f} s: OS_CLOUD={cloud.entry}")


def _refuse_other_guests(cloud: Cloud, guests: str) -> None:
    known = cloud.parameters()["guests"]
    if known != guests:
        raise CloudError(
            f"LOCALCLOUD_GUESTS={guests}: the state in {cloud.home} is for guests of the kind {known};"
            f" fix: make cloud-clean, or LOCALCLOUD_GUESTS={known}, or another LOCALCLOUD_NAME"
        )


def _parameters(cloud: Cloud, lower: Path, net: dict[str, str], guests: str) -> dict[str, str]:
    """Return the cloud's parameters; the secrets are random and made once."""
    try:
        known = cloud.parameters()
    except FileNotFoundError:
        known = {name: secrets.token_hex(16) for name in ("secret", "admin_password", "user_password")}
    made_of = {"rootfs": lower.parent.name}
    overcommit = capacity.overcommit(guests, os.cpu_count() or 1, *capacity.free_memory())
    return {**known, **net, **state.constants(guests), **overcommit, **made_of, "image": "true"}


def _prune(cloud: Cloud) -> None:
    """Remove the root file systems that newer ones have replaced, unless another cloud of this base uses one."""
    used = {json.loads(path.read_text()).get("rootfs") for path in cloud.base.glob("*/shared/parameters.json")}
    for path in cloud.cache.glob("rootfs-*"):
        if path.name.removesuffix(".lock") not in used:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _provide_guest(cloud: Cloud, lower: Path, guests: str, clock: int, log: Log) -> None:
    """Put the guest image where the step ``guest`` waits for it, built now unless it is cached.

    The services start meanwhile. ``guest.json`` appears last and describes the rest; see ``inside.seed.image``.
    """
    target = cloud.shared / "guest"
    if guests == "fake":
        target.mkdir(exist_ok=True)
        (target / "disk.raw").write_bytes(bytes(1 << 20))
        described = {"digest": "fake", "disk": "disk.raw", "min_ram": 0, "min_disk": 0, "properties": {}}
        write_private(target / "guest.json", json.dumps(described))
        return
    made = guest.make(cloud.cache, log)
    digest = f"{made.digest}-{guests}"
    parts = ("disk",) if guests == "container" else ("kernel", "initrd", "disk")
    stamp = target / "made-from"
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for part in parts:
            source = getattr(made, part)
            machine.run("cp", "--sparse=always", "--reflink=auto", str(source), str(target / source.name))
        stamp.write_text(digest)
    kvm = guests == "vm" and checks.kvm_works(cloud.cache, made.kernel, lower)
    emulated = "no KVM runs here"
    if guests == "vm" and not kvm and (verdict := checks.kvm_verdict(cloud.cache, made.kernel)).exists():
        emulated += f"; to try again before this machine boots, remove {verdict}"
    log({"vm": "guests: virtual machines on KVM" if kvm else f"guests: virtual machines, emulated ({emulated})",
         "container": "guests: system containers"}[guests])  # fmt: skip
    described = {
        "digest": digest, "clock": clock, "cmdline": f"{made.cmdline} tsc_early_khz={clock}",
        "min_ram": guest.MIN_RAM_MB, "min_disk": guest.MIN_DISK_GB, "properties": {"hw_rng_model": "virtio"},
        "kvm": kvm, **{part: getattr(made, part).name for part in parts},
    }  # fmt: skip
    write_private(target / "guest.json", json.dumps(described))


def add_image(cloud: Cloud, name: str, file: Path, log: Log) -> None:
    """Upload a disk image to the running cloud; its format is detected by qemu-img."""
    pid = cloud.pid()
    if pid is None:
        raise CloudError(f"{cloud.entry} is down; fix: make cloud-up")
    if not file.is_file():
        raise CloudError(f"{file}: no such file; fix: give the path of a disk image")
    with tempfile.TemporaryDirectory(prefix="image-", dir=cloud.shared) as scratch:
        machine.run("cp", "--sparse=always", "--reflink=auto", str(file), f"{scratch}/disk")
        inside = f"/localcloud/shared/{Path(scratch).name}/disk"
        seed = ["env", "PYTHONPATH=/localcloud", "python3", "-B", "-m", "localcloud.inside.seed", "import"]
        log(machine.run(*machine.entering(pid), *seed, name, inside).strip())


def down(cloud: Cloud, log: Log) -> None:
    """Stop the cloud; its state stays."""
    if not cloud.home.exists():
        log("there is no local cloud here")
        return
    with cloud.locked():
        began = time.monotonic()
        machine.halt(cloud)
        log(f"the cloud is down ({time.monotonic() - began:.1f} s); its state stays in {cloud.home}")


def clean(cloud: Cloud, everything: bool, log: Log) -> None:
    """Stop the cloud and remove its state; with ``everything`` the cache too, unless there is another cloud."""
    down(cloud, log)
    if cloud.home.exists():
        shutil.rmtree(cloud.home)
    cloud.remove_from_clouds_yaml()
    log("cleaned: this cloud and its state are removed")
    others = [one.name for one in cloud.base.iterdir() if one.name != "cache"] if cloud.base.exists() else []
    if cloud.cache.exists() and not (everything and not others):
        why = f": {', '.join(others)} may need it" if everything else "; it goes with `clean --all`"
        log(f"the cache stays in {cloud.cache}{why}")
    elif cloud.base.exists():
        shutil.rmtree(cloud.base)


# --- status ----------------------------------------------------------------------------------------------------------


def status(cloud: Cloud) -> int:
    """Print what runs and what does not, with the reason and the end of its log, and the room for more guests.

    Return 0 if the cloud is up, else STOPPED or DEGRADED.
    """
    pid = cloud.pid()
    if pid is None:
        print(f"{cloud.entry}: down" + ("" if cloud.home.exists() else ", no state"))
        if (cloud.home / "pid").exists():  # `down` removes it
            print("  its first process was killed, or the machine was rebooted; fix: make cloud-up\n"
                  f"  the end of {cloud.log_file('init')}:\n{cloud.log_tail('init', 5)}")  # fmt: skip
        return STOPPED
    report = cloud.status()
    steps = report.get("steps", {})
    bad = {name: step for name, step in steps.items() if step["state"] not in ("done", "running")}
    for name, step in steps.items():
        if step["kind"] == "process" or name in bad:
            restarts = step.get("restarts")
            again = f", restarted {restarts} times, last exit status {step['last_status']}" if restarts else ""
            print(f"  {name:24} {step['state']}{again}")
    for name, step in bad.items():
        print(f"\n{name}: {step.get('why') or step['state']}; the end of {cloud.log_file(name)}:\n"
              f"{cloud.log_tail(name)}")  # fmt: skip
    free = shutil.disk_usage(cloud.home).free
    if free < DISK_LOW:
        print(f"\nthe disk is full: {free / 2**20:.0f} MiB are free in {cloud.home}, and services wait for room; "
              "fix: free some, they continue by themselves")  # fmt: skip
    if report.get("failed") or (report.get("ready") and (bad or free < DISK_LOW)):
        verdict = "degraded"
    else:
        verdict = "up" if report.get("ready") else "starting"
    if report.get("ready"):
        print(_room(cloud))
    print(f"{cloud.entry}: {verdict}, {machine.memory(pid) / 2**30:.2f} GiB resident")
    return 0 if verdict == "up" else DEGRADED


def _room(cloud: Cloud) -> str:
    """Return the line on how many more guests fit; services that do not answer are reported by their steps."""
    try:
        return str(capacity.read_room(cloud))
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return f"room for more guests is unknown: {error}"
