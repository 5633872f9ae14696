"""Completion: what `make completions` wrote knows the whole parser, and bash completes with it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from netorder.cli.completion import SHELLS, text
from netorder.cli.main import main, parser
from netorder.controller import playbooks

ROOT = Path(__file__).parents[2]
COMMANDS = next(one.choices for one in parser()._actions if isinstance(one, argparse._SubParsersAction))


def script(shell: str) -> str:
    """Return a shell's script."""
    return (ROOT / f"src/netorder/cli/completions/netorder.{shell}").read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(shell, capsys):
    """It knows of the clone, for whoever is elsewhere."""
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == script(shell).replace("@CLONE@", str(ROOT))


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


def complete(directory: Path, *words: str, **environment: str) -> list[str]:
    """Return what bash offers for the last word."""
    typed = " ".join(shlex.quote(word) for word in words)
    lines = [
        text("bash"),
        f"COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1} COMP_LINE={shlex.quote(' '.join(words))}",
        f"_shtab_netorder netorder '{words[-1]}' '{words[-2]}'",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


def ran(files: Path, cloud: str, topology: str, *hosts: str) -> None:
    """Let a run have written SSH settings for hosts."""
    directory = files / cloud / topology
    directory.mkdir(parents=True)
    text_ = "".join(f"Host {host} 10.0.0.1\n  HostName 10.0.0.1\n" for host in hosts)
    (directory / "ssh_config").write_text(f"{text_}Host *\n")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """Make a clone in which two topologies were made, one of them in two clouds; the command is of it."""
    directory = tmp_path / "a clone"
    for part in playbooks.PROJECT:
        (directory / part).parent.mkdir(parents=True, exist_ok=True)
        (directory / part).touch()
    ran(directory / ".netorder", "c", "lab", "web-1", "app")
    ran(directory / ".netorder", "d", "lab", "web-2")
    ran(directory / ".netorder", "c", "shop", "web-shop")
    monkeypatch.setattr(playbooks, "CLONE", directory)
    return directory


def test_bash_completes(clone):
    """Commands, options, words, files and hosts."""
    (clone / "mynet.yml").touch()
    assert complete(clone, "netorder", "pr") == ["preview"]
    assert complete(clone, "netorder", "up", "--pr") == ["--probes"]
    assert complete(clone, "netorder", "up", "--probes", "a") == ["all"]
    assert complete(clone, "netorder", "up", "--allow", "r") == ["replace"]
    assert complete(clone, "netorder", "check", "my") == ["mynet.yml"]
    assert complete(clone, "netorder", "ssh", "w") == ["web-1", "web-2", "web-shop"]
    assert complete(clone, "netorder", "init", "--template", "c") == ["class"]


@pytest.mark.parametrize("name", ["topology: lab", "topology: 'lab'  # ours", 'topology:   "lab"'])
def test_hosts_are_those_of_the_topology_that_is_meant(clone, tmp_path, name):
    """By the rules of the command: -t, else NETORDER_TOPOLOGY, else the default; in each directory; --files."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "l.yml").write_text(f"# one\n{name}\nnetworks: {{}}\n")
    both, all_ = ["web-1", "web-2"], ["web-1", "web-2", "web-shop"]
    for words in (
        ["ssh", "-t", "l.yml", "w"],
        ["ssh", "--topology", "l.yml", "w"],
        ["exec", "-t", f"{elsewhere}/l.yml", "w"],
        ["up", "l.yml", "--limit", "w"],
        ["logs", "-t", "~/l.yml", "w"],
    ):
        assert complete(elsewhere, "netorder", *words, HOME=str(elsewhere)) == both, words
    assert complete(elsewhere, "netorder", "ssh", "w") == all_
    assert complete(elsewhere, "netorder", "ssh", "w", NETORDER_TOPOLOGY="l.yml") == both
    assert complete(elsewhere, "netorder", "ssh", "-t", "none.yml", "w") == all_
    (clone / "topologies").mkdir()
    (clone / "topologies/calculator.yml").write_text("topology: shop\n")
    assert complete(clone, "netorder", "ssh", "w") == ["web-shop"]
    ran(tmp_path / "other", "c", "lab", "web-9")
    assert complete(elsewhere, "netorder", "ssh", "--files", str(tmp_path / "other"), "w") == ["web-9"]


def test_a_wheel_completes_the_hosts_of_a_netorder_here(tmp_path, monkeypatch):
    monkeypatch.setattr(playbooks, "CLONE", tmp_path / "none")
    ran(tmp_path / ".netorder", "c", "lab", "web-1")
    assert complete(tmp_path, "netorder", "ssh", "w") == ["web-1"]


def test_fish_reads_the_script_within_quotes_as_it_is():
    """It takes a backslash before an apostrophe or a backslash for its own, the other shells do not."""
    source = (ROOT / "scripts/completions.sh").read_text(encoding="utf-8")
    assert "'" not in source
    assert "\\\\" not in source
