"""Callback: what a run does now, and at its end the answer, in place of a line for each host and task."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default

from netorder.ansible import ending
from netorder.ansible.course import Course, Stage, stage_line
from netorder.ansible.live import LIVE, Beside, Board, Live
from netorder.ansible.plans import matrix_of
from netorder.cloud.waits import SPOKEN, Waits
from netorder.controller.playbooks import DEFAULT_TOPOLOGY
from netorder.text import few

DOCUMENTATION = """
name: netorder_progress
type: stdout
short_description: what a run does now, and at its end the answer
description:
  - On a terminal, a line for the stage and one for each host at work; elsewhere a short line for each change.
  - At the end who is reachable where, what changed, errors once each, and what to type next.
  - With C(-v) it is Ansible's own callback C(default).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""

SLOW = 5.0  # s; off a terminal, tasks that take longer have a line
OWN = ("drift",)  # playbooks whose report says what to do next


class CallbackModule(Default):
    """Shows a course. Methods are Ansible's; with -v each is that of its own callback, too."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "netorder_progress"

    def __init__(self) -> None:
        super().__init__()
        self._is_ansibles = self._display.verbosity > 0
        self._course = Course()
        self._board = Board()
        self._live: Live | None = None
        self._streams = (sys.stdout, sys.stderr)
        self._failures: list[ending.Failure] = []
        self._playbook = ""
        self._variables: dict[str, Any] = {}
        self._hostvars: Any = None
        self._headed = False
        self._has_ended = False
        self._changed: dict[
            tuple[str, str], list[str]
        ] = {}  # by word and task, the hosts of which there is no line yet
        self._items: set[tuple[str, str]] = set()  # loops whose items failed: host and task

    # The run

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ANN401, D102 - Ansible's names and types, here and below
        if self._is_ansibles:
            super().v2_playbook_on_start(playbook)
            return
        self._playbook = Path(playbook._file_name).stem  # noqa: SLF001 - Ansible's own callbacks do so
        if context.CLIARGS["check"]:
            self._display.display("check run: nothing is changed", color=constants.COLOR_SKIP)
        if self._live is None and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            # of Ansible, which holds it where it prints and forks
            self._live = Live(sys.stdout, self._board, lambda: shutil.get_terminal_size().columns, self._board_lock())
            self._streams = (sys.stdout, sys.stderr)
            sys.stdout = self._live
            if sys.stderr.isatty():
                sys.stderr = Beside(sys.stderr, self._live)
            os.environ[LIVE] = "1"
            self._live.start()
        atexit.register(self._interrupted)

    def v2_playbook_on_play_start(self, play: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        name = play.get_name().strip()
        self._hostvars = play.get_variable_manager().get_vars(play=play).get("hostvars")
        self._variables = self._hostvars.raw_get("localhost") if self._hostvars is not None else {}
        self._flush()
        self._ended(self._course.stage(name))
        self._headed = False
        with self._board_lock():
            self._board.stage(name, self._waits.last(f"stage {name}"))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_playbook_on_task_start(task, is_conditional)
            return
        self._begin(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_playbook_on_handler_task_start(task)
            return
        self._begin(task)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_runner_on_start(host, task)
            return
        with self._board_lock():
            self._board.begin(host.get_name())

    # Results

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings_and_exception(result)
        self._result(result)
        if isinstance(result.task, TaskInclude):
            return
        if result.result.get("changed", False):
            word = "would change" if result.task.check_mode else "changed"
            self._changed.setdefault((word, result.task.get_name().strip()), []).append(self.host_label(result))
        if not (result.task.loop and "results" in result.result):
            self._show(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_runner_on_failed(result, ignore_errors=ignore_errors)
            return
        self._failed(result, "ignored" if ignore_errors else "failed", counts=not ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_runner_on_unreachable(result)
            return
        self._course.unanswered.add(result.host.get_name())
        self._failed(result, "does not answer", counts=not result.task.ignore_unreachable)

    def v2_runner_on_skipped(self, result: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_runner_on_skipped(result)
            return
        self._handle_warnings_and_exception(result)
        with self._board_lock():
            self._board.end(result.host.get_name())

    def v2_runner_item_on_ok(self, result: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_runner_item_on_ok(result)
            return
        self._handle_warnings_and_exception(result)
        if not isinstance(result.task, TaskInclude):
            self._show(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_runner_item_on_failed(result)
            return
        self._items.add((result.host.get_name(), result.task._uuid))  # noqa: SLF001
        self._note_failure(result, item=str(self._get_item_label(result.result)))

    def v2_runner_item_on_skipped(self, result: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_runner_item_on_skipped(result)
            return
        self._handle_warnings_and_exception(result)

    def v2_on_file_diff(self, result: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_on_file_diff(result)
            return
        results = result.result["results"] if result.task.loop and "results" in result.result else [result.result]
        for one in results:
            if one.get("diff") and one.get("changed", False) and (diff := self._get_diff(one["diff"])):
                self._say(f"{self.host_label(result)}: {result.task.get_name().strip()}:")
                self._display.display(diff)

    def v2_playbook_on_include(self, included_file: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_matched(self) -> None:  # noqa: D102
        if self._is_ansibles:
            super().v2_playbook_on_no_hosts_matched()

    def v2_playbook_on_no_hosts_remaining(self) -> None:  # noqa: D102
        if self._is_ansibles:
            super().v2_playbook_on_no_hosts_remaining()

    # The end

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ANN401, D102
        if self._is_ansibles:
            super().v2_playbook_on_stats(stats)
            return
        self._flush()
        self._ended(self._course.end())
        on_terminal = self._live is not None
        self._stop()
        self._has_ended = True
        failed = {host for host in stats.processed if stats.failures.get(host) or stats.dark.get(host)}
        if not stats.processed:
            self._display.display("nothing was done: no play had a host to work on", color=constants.COLOR_WARN)
        if on_terminal:
            self._display.display("")
            self._sum(stats)
        else:
            super().v2_playbook_on_stats(stats)
        self._answer(failed)
        self._problems(failed)
        self._next(failed)

    def _sum(self, stats: Any) -> None:  # noqa: ANN401
        """Print the figures of Ansible's recap in a line for all hosts."""
        total = dict.fromkeys(("ok", "changed", "unreachable", "failures", "rescued", "ignored"), 0)
        for host in stats.processed:
            for key, number in stats.summarize(host).items():
                total[key] = total.get(key, 0) + number
        figures = " ".join(f"{'failed' if key == 'failures' else key}={number}" for key, number in total.items())
        self._display.display(f"{figures} in {self._course.now:.0f} s")

    def _answer(self, failed: set[str]) -> None:
        check = bool(context.CLIARGS["check"])
        # where that failed, what it changed is not known here: its own lines have said it
        if self._playbook in ending.CHANGING and (self._course.provisioned or not failed):
            self._display.display(ending.changed(self._course, check=check))
        if self._course.provisioned.get("golden") and not failed and not check:
            for line in ending.rebuilt(self._course):
                self._display.display(line)
        if not failed and not check and self._playbook in ending.ADDRESSED and (file := self._topology_file):
            for line in ending.addresses(matrix_of(file), self._addresses(file), self._file()):
                self._display.display(line)

    def _problems(self, failed: set[str]) -> None:
        found, handled = ending.problems(self._failures, failed)
        self._failures = []
        for head, its, color in (
            ("failed, and the playbook went on:", handled, constants.COLOR_WARN),
            ("what failed:", found, constants.COLOR_ERROR),
        ):
            for one in ["", head, *its] if its else []:
                self._display.display(one, color=color)

    def _next(self, failed: set[str]) -> None:
        if self._playbook in OWN and not failed:
            return
        check = bool(context.CLIARGS["check"])
        hosts = [*self._addresses(file)] if (file := self._topology_file) else []
        steps = ending.next_steps(self._playbook, self._file(), self._course, hosts, check=check, failed=bool(failed))
        for line in ["", "next:", *steps] if steps else []:
            self._display.display(line)

    # Parts

    @property
    def _topology_file(self) -> str:
        return str(self._variables.get("netorder_topology_file", ""))

    def _file(self) -> ending.Named:
        default = Path(os.environ.get("NETORDER_TOPOLOGY") or DEFAULT_TOPOLOGY).absolute()
        path = self._topology_file
        return ending.Named(path.removeprefix(f"{Path.cwd()}/"), path == str(default))

    def _addresses(self, file: str) -> dict[str, str]:
        """Return where each host that the outside reaches is reached, as far as the inventory knows it now."""
        found = {}
        for host in matrix_of(file).plan.hosts:
            its = self._hostvars.raw_get(host.name) if host.entry else {}
            if isinstance(its, dict) and its.get("openstack") and its.get("ansible_host"):
                found[host.name] = str(its["ansible_host"])
        return found

    @property
    def _waits(self) -> Waits:
        if not (directory := self._variables.get("netorder_dir")):
            return Waits()
        return Waits.of(Path(directory))

    def _board_lock(self) -> Any:  # noqa: ANN401
        return self._display._lock  # noqa: SLF001 - the live lines' own

    def _begin(self, task: Any) -> None:  # noqa: ANN401
        self._flush()
        name = task.get_name().strip()
        self._course.task(name)
        if self._live is None and not self._headed:
            self._display.display(f"{self._course.stages[-1].name}:")
        self._headed = True
        with self._board_lock():
            self._board.task(name)
            if self._live is not None:
                self._live.asks = task.action.rpartition(".")[2] == "pause"
                if self._live.asks:
                    self._live.draw()  # away with the lines, before it asks

    def _flush(self) -> None:
        """Print a line for each task that changed something; off a terminal, one that took long, too."""
        for (word, name), hosts in self._changed.items():
            self._say(f"{word}: {few(hosts, 8)}: {name}", constants.COLOR_CHANGED)
        self._changed.clear()
        tasks = self._course.stages[-1].tasks if self._course.stages else []
        took = self._course.now - tasks[-1].start if tasks else 0.0
        if self._live is None and took >= SLOW:
            self._say(f"{tasks[-1].name}: {took:.0f} s")

    def _result(self, result: Any) -> None:  # noqa: ANN401
        host = result.host.get_name()
        self._course.result(host, result.result, result.task.action, check=result.task.check_mode)
        with self._board_lock():
            self._board.end(host)

    def _say(self, text: str, color: str | None = None) -> None:
        self._display.display(f"  {text}", color=color)

    def _show(self, result: Any) -> None:  # noqa: ANN401
        """Print what a task was there to say (debug)."""
        if result.result.get("_ansible_verbose_always") and not result.result.get("_ansible_verbose_override"):
            message = result.result.get("msg")
            if isinstance(message, list):
                message = "\n".join(map(str, message))
            self._display.display(message if isinstance(message, str) else self._dump_results(result.result))

    def _failed(self, result: Any, word: str, *, counts: bool) -> None:  # noqa: ANN401
        host = result.host.get_name()
        self._course.failure(host, counts=counts)
        with self._board_lock():
            self._board.end(host)
        self._say(f"{word}: {self.host_label(result)}: {result.task.get_name().strip()}", constants.COLOR_ERROR)
        if (host, result.task._uuid) in self._items:  # noqa: SLF001
            self._handle_warnings(result.result)
        else:
            self._note_failure(result)

    def _note_failure(self, result: Any, item: str = "") -> None:  # noqa: ANN401
        self._handle_warnings(result.result)
        place = str(result.task.get_path() or "").removeprefix(f"{Path.cwd()}/")
        name = result.task.get_name().strip()
        text = ending.outcome(result.result)
        self._failures.append(ending.Failure(result.host.get_name(), name, place, text, item))

    def _ended(self, stage: Stage | None) -> None:
        if stage is None or not (stage.results or stage.failed):
            return
        if not (stage.failed or context.CLIARGS["check"]) and stage.seconds >= SPOKEN:
            self._waits.note(f"stage {stage.name}", stage.seconds)
        differs = stage.changed or stage.pending
        color = constants.COLOR_ERROR if stage.failed else constants.COLOR_CHANGED if differs else None
        self._display.display(stage_line(stage), color=color or constants.COLOR_OK)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
            sys.stdout, sys.stderr = self._streams
            os.environ.pop(LIVE, None)

    def _interrupted(self) -> None:
        """Print what has changed and failed so far, if the run did not come to its end."""
        self._stop()
        if not self._has_ended:
            self._flush()
            self._problems({one.host for one in self._failures})
