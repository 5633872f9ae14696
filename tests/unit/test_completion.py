"""Completion: what `make completions` wrote knows the whole parser, and bash completes with it."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import pytest

from netorder.cli.completion import SHELLS
from netorder.cli.main import main, parser

ROOT = Path(__file__).parents[2]
COMMANDS = next(one.choices for one in parser()._actions if isinstance(one, argparse._SubParsersAction))


def script(shell: str) -> str:
    """Return a shell's script."""
    return (ROOT / f"src/netorder/cli/completions/netorder.{shell}").read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(shell, capsys):
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == script(shell)


def known(shell: str, command: str) -> set[str]:
    """Return the long options that a script knows of a command."""
    text = script(shell)
    if shell == "bash":
        (words,) = re.findall(rf"(?m)^_shtab_netorder_{command}_option_strings=(.*)", text)
        return set(re.findall(r"--[a-z-]+", words))
    if shell == "zsh":
        (block,) = re.findall(rf"(?ms)^_shtab_netorder_{command}_options=(.*?)^\)", text)
        return set(re.findall(r"--[a-z-]+(?=[,}=\[])", block))
    lines = [line for line in text.splitlines() if re.search(rf"_using {command}'", line)]
    return {f"--{name}" for line in lines for name in re.findall(r" -l ([a-z-]+)", line)}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_script_knows_every_option(shell, command):
    """After a change of the parser: `make completions`."""
    options = {one for action in COMMANDS[command]._actions for one in action.option_strings if one.startswith("--")}
    assert known(shell, command) == options


def complete(directory: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    typed = " ".join(f"'{word}'" for word in words)
    lines = [
        f"source {ROOT}/src/netorder/cli/completions/netorder.bash",
        f"COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1} COMP_LINE='{' '.join(words)}'",
        f"_shtab_netorder netorder '{words[-1]}' '{words[-2]}'",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes(tmp_path):
    """Commands, options, words, files and hosts."""
    (tmp_path / ".netorder/c/t").mkdir(parents=True)
    (tmp_path / ".netorder/c/t/ssh_config").write_text("Host web-1 10.0.0.1\n  HostName 10.0.0.1\nHost *\n")
    (tmp_path / "mynet.yml").touch()
    assert complete(tmp_path, "netorder", "pr") == ["preview"]
    assert complete(tmp_path, "netorder", "up", "--pr") == ["--probes"]
    assert complete(tmp_path, "netorder", "up", "--probes", "a") == ["all"]
    assert complete(tmp_path, "netorder", "up", "--allow", "r") == ["replace"]
    assert complete(tmp_path, "netorder", "check", "my") == ["mynet.yml"]
    assert complete(tmp_path, "netorder", "ssh", "w") == ["web-1"]
    assert complete(tmp_path, "netorder", "init", "--template", "c") == ["class"]
