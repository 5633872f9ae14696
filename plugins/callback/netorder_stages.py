"""Callback: at the end of a run, a table of its plays with the time each took and what it changed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ansible.plugins.callback import CallbackBase

from netorder.controller.proxy import why_refused

DOCUMENTATION = """
name: netorder_stages
type: aggregate
short_description: wall time and changes of each play, and why a proxy for packages was refused
description: Prints one line for each play at the end of the run, and one for the whole run.
requirements:
  - enabled in callbacks_enabled
"""


@dataclass
class _Stage:
    name: str
    start: float
    tasks: int = 0
    changed: int = 0
    failed: int = 0
    hosts: set[str] = field(default_factory=set)
    end: float = 0.0


class CallbackModule(CallbackBase):
    """Counts per play, timed with the monotonic clock."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "netorder_stages"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._stages: list[_Stage] = []

    def v2_playbook_on_play_start(self, play: Any) -> None:  # noqa: ANN401, D102 - Ansible's names and types, here and below
        now = time.monotonic()
        if self._stages:
            self._stages[-1].end = now
        self._stages.append(_Stage(play.get_name().strip(), now))

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401, D102
        stage = self._stages[-1]
        stage.tasks += 1
        stage.changed += bool(result.result.get("changed", False))
        stage.hosts.add(result.host.get_name())

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ANN401, D102
        stage = self._stages[-1]
        stage.hosts.add(result.host.get_name())
        stage.failed += not ignore_errors

    def v2_runner_on_unreachable(self, result: Any) -> None:  # noqa: ANN401, D102
        self.v2_runner_on_failed(result)
        if why := why_refused(str(result.result.get("msg", ""))):
            self._display.display(f"{result.host.get_name()}: {why}", color="red")

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ANN401, ARG002, D102
        ran = [stage for stage in self._stages if stage.tasks or stage.failed]
        if not ran:
            return
        self._stages[-1].end = time.monotonic()
        width = max(len("stage"), *(len(stage.name) for stage in ran))
        self._display.banner("STAGES")
        self._display.display(f"{'stage':{width}}  {'time':>8}  hosts  changed  failed")
        for stage in ran:
            self._display.display(
                f"{stage.name:{width}}  {stage.end - stage.start:>6.1f} s  {len(stage.hosts):>5}"
                f"  {stage.changed:>7}  {stage.failed:>6}",
                color="red" if stage.failed else "yellow" if stage.changed else "green",
            )
        total = self._stages[-1].end - self._stages[0].start
        changed = sum(stage.changed for stage in ran)
        failed = sum(stage.failed for stage in ran)
        self._display.display(f"{'total':{width}}  {total:>6.1f} s  {'':>5}  {changed:>7}  {failed:>6}")
