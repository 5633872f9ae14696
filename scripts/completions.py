"""Writes the completion scripts of src/netorder/cli/completions anew from the parser, by shtab: `make completions`."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import shtab

from netorder.cli import completion, init
from netorder.cli.main import parser
from netorder.cloud.change import PERMISSIONS

PATHS = {"FILE": shtab.FILE, "OLD": shtab.FILE, "NEW": shtab.FILE, "KEY": shtab.FILE, "DIR": shtab.DIRECTORY}
# the hosts of the topology that the command line means: see scripts/completions.sh
HOSTS = {"bash": "_netorder_hosts", "zsh": "_netorder_hosts", "fish": "(_netorder_hosts)"}
SCRIPT = re.sub(r"(?m)^#.*\n", "", Path(__file__).with_suffix(".sh").read_text(encoding="utf-8"))
LISTED = f"sh -c {shlex.quote(SCRIPT)} netorder"
PREAMBLE = {
    "bash": f'_netorder_hosts() {{ compgen -W "$({LISTED} "${{COMP_WORDS[@]}}")" -- "$1"; }}\n',
    "zsh": f'_netorder_hosts() {{ compadd -- ${{(f)"$({LISTED} "${{(Q)words[@]}}")"}} }}\n',
    "fish": f"function _netorder_hosts; {LISTED} (commandline -opc); end\n",
}
WORDS = {"--allow": PERMISSIONS, "--template": init.TEMPLATES}


def prepare(one: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Tell shtab what each word may be; argparse has no public way to its own list of them."""
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            said = {one.dest: one.help for one in action._choices_actions}
            for name, command in action.choices.items():
                prepare(command).description = said[name]  # one line, as in `netorder --help`
        elif action.metavar in PATHS:
            action.complete = PATHS[action.metavar]
        elif action.metavar in ("HOST", "GROUP", "HOSTS") or (action.metavar == "NAME" and not action.option_strings):
            action.complete = HOSTS
        for option in action.option_strings:
            if option in WORDS:
                action.choices = tuple(WORDS[option])
    return one


def main() -> None:
    """Write a script for each shell."""
    for shell in completion.SHELLS:
        text = shtab.complete(prepare(parser()), shell, preamble=PREAMBLE)
        file = Path(completion.__file__).with_name("completions") / f"netorder.{shell}"
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
