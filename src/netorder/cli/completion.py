"""``netorder completion``: print the completion script of a shell."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from netorder.cli.command import add
from netorder.controller import playbooks

if TYPE_CHECKING:
    import argparse

    from netorder.cli.command import Commands

__all__ = ["SHELLS", "add_parser", "run", "text"]

SHELLS = ("bash", "zsh", "fish")


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "completion",
        help="print what completes this command in bash, zsh or fish",
        description="Print the script by which a shell completes commands, options, files, and the hosts of the last "
        "runs: of the topology that the command line names, else NETORDER_TOPOLOGY, as the command itself goes by.",
        examples={
            'eval "$(netorder completion bash)"': "in ~/.bashrc",
            "netorder completion zsh > ~/.zfunc/_netorder": "with fpath+=~/.zfunc before compinit in ~/.zshrc",
            "netorder completion fish > ~/.config/fish/completions/netorder.fish": "for fish",
        },
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script; return the exit status."""
    print(text(options.shell), end="")
    return 0


def text(shell: str) -> str:
    """Return the script of a shell, which knows where runs keep their files outside of a clone."""
    source = files("netorder.cli").joinpath("completions", f"netorder.{shell}").read_text(encoding="utf-8")
    clone = playbooks.clone()
    # the mark is within quotes of several kinds
    return source if clone is None or set("\"'`$\\") & set(str(clone)) else source.replace("@CLONE@", str(clone))
