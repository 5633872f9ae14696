"""Starts the cloud's steps as soon as those that they need are done, keeps its processes running, reports its state.

A step is a task (runs once a start) or a process (runs in the foreground, is restarted when it ends). The state goes
to ``shared/status.json``, which the host reads, and the output of each step to ``shared/log/<step>.log``.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import threading
import time
import traceback
from typing import TYPE_CHECKING

from localcloud.inside.system import LOGS, SHARED

if TYPE_CHECKING:
    from localcloud.inside.step import Step

__all__ = ["Supervisor"]

RESPAWN_PAUSE = 1.0  # seconds


class Supervisor:
    """Runs each step in a thread of its own; the first failed task fails the start."""

    def __init__(self, steps: list[Step], patience: float = 300) -> None:
        self.steps = {step.name: step for step in steps}
        self.done = {step.name: threading.Event() for step in steps}
        self.patience = patience
        self.stopping = threading.Event()
        self.failed = ""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.lock = threading.Lock()
        self.began = time.monotonic()
        self.status: dict[str, dict[str, object]] = {
            step.name: {"kind": "process" if step.argv else "task", "state": "waiting"} for step in steps
        }

    def report(self, name: str, **what: object) -> None:
        """Record the state of a step; the file with the states of all is replaced atomically."""
        with self.lock:
            self.status[name].update(what)
            ready = all(event.is_set() for event in self.done.values())
            body = {
                "ready": ready and not self.failed,
                "failed": self.failed,
                "seconds": round(time.monotonic() - self.began, 2),
                "steps": self.status,
            }
            new = SHARED / "status.json.new"
            try:
                new.write_text(json.dumps(body))
                new.replace(SHARED / "status.json")
            except OSError as error:  # a full disk must not end the thread that keeps a process running
                print(f"the status cannot be written: {error}", flush=True)

    def fail(self, name: str, why: str) -> None:
        """Record the first failure."""
        if not self.failed and not self.stopping.is_set():
            self.failed = f"{name}: {why}"
        self.report(name, state="failed", why=why)

    def spawn(self, step: Step) -> subprocess.Popen[bytes]:
        """Start the process of ``step``, its output to its log."""
        with (LOGS / f"{step.name}.log").open("ab") as log:
            process = subprocess.Popen(
                step.argv,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **step.env}, start_new_session=True,
                user=step.user, group=pwd.getpwnam(step.user).pw_gid if step.user else None,
                extra_groups=[] if step.user else None,
                cwd=pwd.getpwnam(step.user).pw_dir if step.user == "rabbitmq" else "/",
            )  # fmt: skip
        self.processes[step.name] = process
        return process

    def drive(self, step: Step) -> None:
        """Run one step, in its own thread; every error must reach the user."""
        try:
            if self.await_needs(step):
                self.run(step)
        except Exception as error:  # noqa: BLE001 - the thread's last resort
            with (LOGS / f"{step.name}.log").open("a") as log:
                traceback.print_exc(file=log)
            self.fail(step.name, str(error))

    def await_needs(self, step: Step) -> bool:
        """Wait for the steps that ``step`` needs; False if the start ends before they are done."""
        for need in step.after:
            while not self.done[need].wait(0.5):
                if self.stopping.is_set() or self.failed:
                    return False
        return True

    def run(self, step: Step) -> None:
        """Run a task to its end; start a process, wait until it is ready, and keep it running."""
        started = time.monotonic()
        self.report(step.name, state="starting", began=round(started - self.began, 2))
        if step.prepare:
            step.prepare()
        if step.run:
            if step.run() is True and step.restarts:
                self.processes[step.restarts].terminate()  # `keep` restarts it
            self.done[step.name].set()
            self.report(step.name, state="done", took=round(time.monotonic() - started, 2))
            return
        process = self.spawn(step)
        if not self.await_ready(step, process):
            if self.stopping.is_set():
                return
            raise RuntimeError(f"ended with status {process.returncode} before it was ready")
        self.done[step.name].set()
        self.report(step.name, state="running", pid=process.pid, took=round(time.monotonic() - started, 2))
        self.keep(step, process)

    def await_ready(self, step: Step, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the process of ``step`` is ready; False when it ended before, or the cloud stops."""
        started = time.monotonic()
        while step.ready and not step.ready():
            if process.poll() is not None or self.stopping.wait(0.05):
                return False
            if time.monotonic() - started > self.patience:
                raise RuntimeError(f"not ready after {self.patience:.0f} s")
        return True

    def keep(self, step: Step, process: subprocess.Popen[bytes]) -> None:
        """Restart the process each time it ends, until the cloud stops."""
        restarts = 0
        while True:
            status = process.wait()
            if self.stopping.is_set():
                return
            self.kill(process)
            restarts += 1
            self.report(step.name, state="restarting", restarts=restarts, last_status=status)
            if self.stopping.wait(RESPAWN_PAUSE):
                return
            process = self.respawn(step)

    def respawn(self, step: Step) -> subprocess.Popen[bytes]:
        """Restart a process that ended; errors are reported, and the restart is repeated, until the cloud stops."""
        while True:
            try:
                if step.prepare:
                    step.prepare()
                process = self.spawn(step)
                self.report(step.name, pid=process.pid)
                if self.await_ready(step, process):
                    self.after_respawn(step, process)
            except (OSError, RuntimeError) as error:
                self.report(step.name, state="restarting", why=str(error))
                self.kill(self.processes[step.name])
                if not self.stopping.wait(RESPAWN_PAUSE):
                    continue
            return self.processes[step.name]

    def after_respawn(self, step: Step, process: subprocess.Popen[bytes]) -> None:
        """Run the step's ``on_respawn``, repeated until it succeeds: processes that it needs may be restarting too."""
        while step.on_respawn and process.poll() is None:
            try:
                step.on_respawn()
                break
            except (OSError, RuntimeError) as error:
                self.report(step.name, why=str(error))
                if self.stopping.wait(RESPAWN_PAUSE):
                    return
        self.report(step.name, state="running", why="")

    @staticmethod
    def kill(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
        """Signal the whole process group: workers and Erlang's node outlive the process itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def stop(self, grace: float = 2) -> None:
        """End all processes at once; those that are still there after ``grace`` (seconds) get SIGKILL."""
        self.stopping.set()
        live = [process for process in self.processes.values() if process.poll() is None]
        for process in live:
            self.kill(process, signal.SIGTERM)
        limit = time.monotonic() + grace
        for process in live:
            try:
                process.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kill(process)

    def start(self) -> None:
        """Start every step's thread."""
        LOGS.mkdir(exist_ok=True)
        for step in self.steps.values():
            threading.Thread(target=self.drive, args=(step,), daemon=True, name=step.name).start()
