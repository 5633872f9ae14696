"""Callback: keeps what a run did and found for `netorder report`; with Ansible's own output, a table of its stages."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.plugins.callback import CallbackBase

from netorder.ansible.course import Course, stages_table
from netorder.ansible.ending import outcome
from netorder.controller import records
from netorder.controller.playbooks import RESULT
from netorder.controller.proxy import why_refused
from netorder.language.load import load
from netorder.report.page import page

DOCUMENTATION = """
name: netorder_stages
type: aggregate
short_description: times and changes of each play, kept and shown; why a proxy for packages was refused
description:
  - Keeps the times of plays and tasks, and what verify and drift found, in the topology's directory, for
    C(netorder report); and while it runs, what it does, for C(netorder report --serve).
  - Writes the result of the run as JSON to the file that the environment variable C(NETORDER_RESULT) names; that is
    what C(netorder up --format json) shows.
  - Where the output is not that of C(netorder_progress), prints one line for each play at the end of the run.
requirements:
  - enabled in callbacks_enabled
"""

# playbooks of which something is kept
KEPT = ("configure", "drift", "provision", "redeploy", "site", "verify")


class CallbackModule(CallbackBase):
    """Tells a course what Ansible tells it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "netorder_stages"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._course = Course()
        self._playbook = ""
        self._directory = Path()
        self._file = Path()
        self._target: str | None = None

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ANN401, D102 - Ansible's names and types, here and below
        self._playbook = Path(playbook._file_name).stem  # noqa: SLF001 - Ansible's own callbacks do so

    def v2_playbook_on_play_start(self, play: Any) -> None:  # noqa: ANN401, D102
        self._course.stage(play.get_name().strip())
        hostvars = play.get_variable_manager().get_vars(play=play).get("hostvars")
        if hostvars is not None:
            variables = hostvars.raw_get("localhost")
            self._directory = Path(variables.get("netorder_dir", ""))
            self._file = Path(variables.get("netorder_topology_file", ""))
            self._target = variables.get("netorder_target")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ANN401, ARG002, D102
        self._course.task(task.get_name().strip())
        if self._is_kept:
            records.note(self._course.progress(self._playbook), self._directory)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:  # noqa: ANN401, D102
        self.v2_playbook_on_task_start(task, is_conditional=False)

    @property
    def _is_kept(self) -> bool:
        # the directory is the run's that made the topology: one that only looked leaves nothing behind
        return self._playbook in KEPT and not context.CLIARGS["check"] and self._directory.is_dir()

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401, D102
        self._course.result(result.host.get_name(), result.result, result.task.action, check=result.task.check_mode)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ANN401, D102
        self._course.failure(result.host.get_name(), outcome(result.result), counts=not ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:  # noqa: ANN401, D102
        self.v2_runner_on_failed(result, result.task.ignore_unreachable)
        if why := why_refused(str(result.result.get("msg", ""))):
            self._display.display(f"{result.host.get_name()}: {why}", color="red")

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ANN401, D102
        self._course.end()
        if file := os.environ.get(RESULT):
            failed = [host for host in stats.processed if stats.failures.get(host) or stats.dark.get(host)]
            result = self._course.result_of(self._playbook, failed, check=bool(context.CLIARGS["check"]))
            text = json.dumps(result, ensure_ascii=False, indent=2, default=str)  # of roles, whatever YAML holds
            Path(file).write_text(f"{text}\n", encoding="utf-8")
        if not self._course.ran:
            return
        if constants.DEFAULT_STDOUT_CALLBACK != "netorder_progress" or self._display.verbosity > 0:
            self._display.banner("STAGES")
            for line in stages_table(self._course):
                self._display.display(line)
        if self._is_kept:
            kept = records.keep(self._course.kept(self._playbook), self._directory)
            topology = load(self._file, self._target)
            (self._directory / records.PAGE).write_text(page(topology, kept, file=str(self._file)), encoding="utf-8")
            records.end(self._directory)
