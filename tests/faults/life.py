"""A topology's life through the proxy: each run is a process of its own, which a fault may kill."""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openstack

from netorder.cloud import golden as goldens
from netorder.cloud import snapshots as images
from netorder.cloud.reconcile import reconcile
from netorder.cloud.session import connect
from netorder.cloud.teardown import teardown
from netorder.controller.operations import golden, power, resize, snapshots
from netorder.controller.operations.site import Site
from netorder.controller.provision import provision
from netorder.controller.provision import teardown as teardown_topology
from netorder.errors import NetorderError
from netorder.language.load import load
from netorder.plan.build import build_plan

TOPOLOGY = Path(__file__).with_name("topology.yml")
NAME = "faults"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g faults"
# A client's time-out (s). Only those run into it whom the proxy does not answer at all, however slow the cloud is.
TIMEOUT = 3
# Importing the SDK costs more than most runs: a process that has done so is forked for each.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["life", "keystoneauth1.loading", "openstack.compute.v2._proxy", "openstack.network.v2._proxy"]
)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``ok``, ``error`` (in the user's words), ``killed`` or ``crashed`` (a traceback)."""

    how: str
    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def _work(action, environment, topology, in_flight, pipe):
    """Do one run on a signal; the other end gets its outcome. ``in_flight`` None: as in the user's commands."""
    os.environ.update(environment)
    pipe.recv()
    told = []
    files = Path(environment["OS_CLIENT_CONFIG_FILE"]).parent
    check, action = action.startswith("check "), action.removeprefix("check ")
    try:
        if action not in {"provision", "teardown"}:
            answer = _operate(
                action.split(), {"topology": topology, "files": files, "progress": told.append, "check": check}
            )
            changes = tuple("{action} {kind} {name}".format(**change) for change in answer["changes"])
            pipe.send(Outcome("ok", changes, (), tuple(told)))
            return
        if in_flight is None:
            if action == "provision":
                answer = provision(topology, files=files, progress=told.append, hostkey_timeout=20)
            else:
                answer = teardown_topology(NAME, files=files, progress=told.append)
            changes = tuple("{action} {kind} {name}".format(**change) for change in answer["changes"])
            pipe.send(Outcome("ok", changes, (), tuple(told)))
            return
        cloud = connect(told.append)
        cloud.in_flight = in_flight
        if action == "provision":
            changes = reconcile(cloud, build_plan(load(topology)), key=KEY, check=check, hostkey_timeout=20).changes
        else:
            changes = teardown(cloud, NAME, check=False)
        pipe.send(Outcome("ok", tuple(f"{c.action} {c.kind} {c.name}" for c in changes), (), tuple(told)))
    except NetorderError as error:
        pipe.send(Outcome("error", (), error.problems, tuple(told)))
    except BaseException:  # noqa: BLE001 (whatever else it is, is what the test is looking for)
        pipe.send(Outcome("crashed", (), (traceback.format_exc(),), tuple(told)))


def _operate(words, where):
    """Do what is done to hosts after their first day: a command's words, as ``resize front small2``.

    After ``check`` it is only shown, as is ``provision``.
    """
    images.SNAPSHOT_POLL = goldens.POLL = 0.2  # nothing is copied here
    what, *rest = words
    if what == "clear":  # with what a teardown keeps
        cloud = connect(where["progress"])
        cloud.in_flight = 0.0
        return {"changes": [c.as_dict() for c in teardown(cloud, NAME, check=False, snapshots=True, floating_ips=True)]}
    if rest[-1] == "silent":  # it answers when it is asked whether it does at all, and never afterwards
        Site.unanswered = lambda *_, once=False: "" if once else "It does not answer."
    calls = {
        "resize": lambda host, flavor, *_: resize.resize(host=host, flavor=flavor, ssh_timeout=20, **where),
        "snapshot": lambda host: snapshots.snapshot(host=host, **where),
        "restore": lambda host: snapshots.restore(host=host, allow=["replace"], hostkey_timeout=20, **where),
        "golden": lambda *hosts: golden.golden(hosts=hosts, **where),
        "power": lambda state, *hosts: power.power(state=state, hosts=hosts, **where),
        "snapshots": lambda keep: snapshots.snapshots(keep=int(keep), **where),
        "golden-images": lambda keep: golden.golden_images(keep=int(keep), **where),
    }
    return calls[what](*rest)


class Life:
    """Runs against one cloud, through the proxy; listings go directly to the cloud."""

    def __init__(self, proxy, directory, entry, auth):
        self.proxy = proxy
        self.topology = TOPOLOGY
        self.direct = openstack.connection.Connection(auth=auth, region_name="RegionOne", identity_api_version="3")
        file = directory / "clouds.yaml"
        through = {**auth, "auth_url": proxy.url(auth["auth_url"])}
        settings = {"auth": through, "region_name": "RegionOne", "identity_api_version": 3, "api_timeout": TIMEOUT}
        file.write_text(json.dumps({"clouds": {entry: settings}}))
        # the user's commands find a key pair where they would make one
        for name, text in (("id_ed25519", "(not asked for here)"), ("id_ed25519.pub", KEY)):
            (directory / name).write_text(text)
        # No guest is there to answer SSH: who asks has its answer.
        ssh = directory / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text("#!/bin/sh\necho /\n")
        ssh.chmod(0o755)
        path = f"{ssh.parent}:{os.environ['PATH']}"
        self.environment = {"OS_CLIENT_CONFIG_FILE": str(file), "OS_CLOUD": entry, "PATH": path}

    @contextmanager
    def started(self, action, faults=(), in_flight=0.0, *, arm=True):
        """Start a run with faults before it; give what waits for its outcome.

        ``in_flight`` (s) is zero where the caller knows by the proxy that nothing is under way any more; None leaves
        all to the user's own command. A second run beside another leaves the proxy as it is (not ``arm``).
        """
        here, there = FORKS.Pipe()
        process = FORKS.Process(target=_work, args=(action, self.environment, self.topology, in_flight, there))
        process.start()
        there.close()
        if arm:
            self.proxy.arm(faults, process.pid)
        here.send("go")

        def outcome(patience=300):
            try:
                found = here.recv() if here.poll(patience) else None
            except EOFError:
                found = Outcome("killed")
            assert found, f"{action} does not end"
            process.join(30)
            return found

        outcome.pid, outcome.kill = process.pid, process.kill
        try:
            yield outcome
        finally:
            if process.is_alive():
                process.kill()
            process.join()
            here.close()

    def run(self, action, faults=(), in_flight=0.0):
        """Run to the end; return the outcome when the cloud has done with its requests too."""
        with self.started(action, faults, in_flight) as outcome:
            found = outcome()
        self.proxy.idle()
        return found

    def everything(self):
        """List all of the project, ours or not: (kind, name or address, id)."""
        net, compute, ours = self.direct.network, self.direct.compute, {"project_id": self.direct.current_project_id}
        kinds = {
            "network": net.networks(**ours),
            "subnet": net.subnets(**ours),
            "router": net.routers(**ours),
            "port": net.ports(**ours),
            "security group": net.security_groups(**ours),
            "rule": net.security_group_rules(**ours),
            "server": compute.servers(),
            "key pair": compute.keypairs(),
            "image": self.direct.image.images(owner=self.direct.current_project_id),
        }
        found = {(kind, str(one.name or ""), one.id) for kind, them in kinds.items() for one in them}
        return found | {("floating IP", "", one.id) for one in net.ips(**ours)}


def counted(resources):
    """Return how many there are of each kind and name."""
    return Counter((kind, name) for kind, name, _ in resources)
