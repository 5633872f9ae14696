"""The command ``netorder``: what follows from a topology file, and the playbooks and logins in one word each."""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING

from netorder import __version__
from netorder.cli import (
    capture,
    check,
    completion,
    compose,
    diff,
    down,
    drift,
    exec,  # noqa: A004 - the command's name
    golden,
    graph,
    import_,
    init,
    load,
    logs,
    plan,
    power,
    preview,
    reach,
    report,
    resize,
    restore,
    save,
    schema,
    snapshot,
    snapshots,
    ssh,
    status,
    times,
    up,
    verify,
)
from netorder.cli.streams import write_any_text
from netorder.errors import AccessError, NetorderError, TopologyError
from netorder.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["main", "parser", "split"]

COMMANDS = (
    *(init, check, plan, reach, graph, compose, diff, schema),  # of files alone
    *(preview, up, status, verify, drift, report, times, down, import_),  # with the cloud
    *(ssh, exec, logs, capture),  # on the hosts
    *(snapshot, snapshots, restore, resize, power, golden),  # what is done to hosts later
    *(save, load),  # for another controller
    completion,
)
# what these have after `--` is not theirs
BOOKS = ("up", "preview", "verify", "drift", "down", "snapshot", "snapshots", "restore", "resize", "power", "golden")
PASS_ON = (*BOOKS, "ssh", "exec", "capture")

EPILOG = """\
examples:
  netorder init mynet.yml                    a commented topology to begin with
  netorder check mynet.yml                   is everything right?
  netorder plan mynet.yml                    addresses, routes, rules: all that follows
  netorder reach mynet.yml                   what reaches what, and why (not)
  netorder graph mynet.yml -o mynet.svg      a picture of it
  netorder preview mynet.yml                 what a run would change
  netorder up mynet.yml                      make it real
  netorder status mynet.yml                  what of it is in the cloud
  netorder report mynet.yml                  picture, hosts, matrix and times as a page
  netorder ssh -t mynet.yml web              log in
  netorder down mynet.yml                    delete it
  netorder plan topologies/calculator.yml    of the topology that comes with netorder

`netorder COMMAND --help` has more of each. FILE is the topology, else NETORDER_TOPOLOGY names it. up, preview, verify,
drift, down, snapshot, snapshots, restore, resize, power and golden run the project's playbooks; -v prints what they
run. init, check, plan, reach, graph, compose, diff, report, times, schema, completion and load need no cloud. No
command prints colours of its own; Ansible's follow NO_COLOR.

Errors and warnings go to standard error, one a line: FILE:LINE:COLUMN: error: what is wrong; how to fix it.

exit status:
  0  success, with or without warnings
  1  a topology has errors, or an error that is none of those below
  2  the command line has errors, or names a host or an address that is not there (standard output is empty);
     with --exit-code also: reach found a pair that is not open, diff a difference, status something missing (shown on
     standard output); from a playbook: a task failed, verify and drift found a difference
  3  the cloud refused, failed, or is not what the plan needs
  4  nothing was changed: a loss that is not allowed, or what was found before the first change; from a playbook: a
     host does not answer
  5  another run is at work on the same topology
  6  the SSH key, settings or files of this machine cannot be used

Those that run playbooks end as ansible-playbook does, ssh, exec, logs and capture as the command on the host does.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    write_any_text()
    own, rest = split(sys.argv[1:] if arguments is None else arguments)
    options = _parsed(own)
    options.rest = rest
    try:
        status: int = options.run(options)
        if sys.stdout:  # none where it is closed (`>&-`)
            sys.stdout.flush()
    except NetorderError as error:
        # diagnostics of a topology name their file and place, other errors the command
        prefix = "" if isinstance(error, TopologyError) else f"netorder {options.command}: error: "
        print(*(f"{prefix}{problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        return error.exit_status
    except PermissionError as error:
        print(f"netorder {options.command}: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return AccessError.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # as a shell says of a program that Ctrl-C ended
    except BrokenPipeError:
        # the reader (`| head`) has enough; do not fail again when Python flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is not None or error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"netorder {options.command}: error: standard output: {error.strerror}", file=sys.stderr)
        return NetorderError.exit_status
    return status


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide at the first `--`, for the commands that pass on what is after it."""
    own = list(arguments)
    if own[:1] and own[0] in PASS_ON and "--" in own:
        place = own.index("--")
        return own[:place], own[place + 1 :]
    return own, []


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. What it has errors in ends the process with status 2, and the nearest that there is."""
    whole, commands = _parsers()
    word = next(iter(arguments), "")
    if word and not word.startswith("-") and word not in commands:
        whole.error(f"there is no command `{word}`{did_you_mean(word, commands) or '; --help lists them'}")
    options, unknown = whole.parse_known_args(arguments)
    if unknown:
        its = commands[options.command]
        known = [one for action in its._actions for one in action.option_strings]  # noqa: SLF001 - no public name
        fix = did_you_mean(unknown[0].partition("=")[0], known) if unknown[0].startswith("-") else ""
        after = "; what is for Ansible or the host goes after --" if options.command in PASS_ON else ""
        its.error(f"unrecognized arguments: {shlex.join(unknown)}{fix}{after}")
    return options


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with all commands."""
    return _parsers()[0]


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    whole = argparse.ArgumentParser(
        prog="netorder",
        description="Order a network by a topology file: check it, see what follows, make it real, look after it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"netorder {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return whole, commands.choices
