"""What the documentation shows of the command: each command line parses; what needs no cloud prints what is shown."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from pages import BLOCK, assert_shown, replace_line, steps

from netorder.cli.main import main, parser, split
from netorder.cli.reference import markdown

ROOT = Path(__file__).parents[2]
LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
# the words between a command and what it is joined to in a shell
ENDS = {"|", ">", "&&", ";", "||", "2>"}
WITHOUT_CLOUD = {"init", "check", "plan", "graph", "reach", "diff"}
PLACEHOLDER = re.compile(r"…|\.\.\.")


def commands_of(page: str) -> list[list[str]]:
    """Return the command lines of `netorder` in the shell blocks of a page, without the name."""
    found = []
    for language, block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if language not in ("sh", "console", "bash"):
            continue
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["netorder"]:
                end = next((index for index, word in enumerate(words) if word in ENDS), len(words))
                found.append(words[1:end])
    return found


ALL = [(page, words) for page in LISTED.split() for words in commands_of(page)]


def test_there_are_some():
    """The pages that teach the command do show it."""
    pages = {page for page, _ in ALL}
    assert {"README.md", "docs/first-hour.md"} <= pages
    shown = {words[0] for page, words in ALL if page == "docs/first-hour.md"}
    assert {"init", "check", "plan", "graph", "reach", "preview", "up", "status", "ssh", "exec", "logs"} <= shown
    assert {"diff", "drift", "verify", "times", "down"} <= shown


@pytest.mark.parametrize(("page", "words"), ALL, ids=lambda one: one if isinstance(one, str) else " ".join(one))
def test_each_command_line_is_one(page, words):
    """The parser takes it."""
    own, _ = split(words)
    parser().parse_args(own)
    assert not any(PLACEHOLDER.search(word) for word in words), page


def test_the_reference_is_that_of_the_parsers():
    """After a change: `python -m netorder.cli.reference > docs/commands.md`."""
    assert (ROOT / "docs/commands.md").read_text(encoding="utf-8") == markdown()


def test_examples_in_the_help_are_command_lines():
    """Those of every command, as in the reference."""
    lines = re.findall(r"(?m)^  (netorder .*?)(?:  .*)?$", markdown())
    assert len(lines) > 40
    for line in lines:
        words = shlex.split(line)[1:]
        end = next((index for index, word in enumerate(words) if word in ENDS), len(words))
        own, _ = split(words[:end])
        parser().parse_args(own)


@pytest.mark.parametrize(("page", "at_least"), [("docs/first-hour.md", 7), ("docs/ten-tasks.md", 6)])
def test_a_tutorial_prints_what_it_shows(page, at_least, tmp_path, monkeypatch, capsys):
    """The steps without a cloud, in order; a line `…` stands for any others. YAML replaces lines of the file."""
    monkeypatch.chdir(tmp_path)
    shown = 0
    for command, expected in steps((ROOT / page).read_text(encoding="utf-8")):
        if not command:
            for line in expected:
                replace_line(tmp_path / "lab.yml", line)
            continue
        words = shlex.split(command)
        if words[0] == "cp":
            shutil.copy(*words[1:])
            continue
        if words[1] not in WITHOUT_CLOUD:
            continue
        assert main(words[1:]) == 0
        captured = capsys.readouterr()
        warned = [line for line in captured.err.splitlines() if ": warning: " in line]
        assert captured.err.splitlines() == warned
        # each step has them, the text shows them once
        with_warnings = any(": warning: " in line for line in expected)
        assert_shown(captured.err * with_warnings + captured.out, expected)
        shown += 1
    assert shown >= at_least
    assert (tmp_path / "lab.svg").read_text().startswith("<svg ")


def test_the_readme_shows_what_there_is(monkeypatch, capsys, tmp_path):
    """Its topology is an example's, its picture that of a golden test, and its commands print what it shows."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = [block for language, block in BLOCK.findall(text) if language == "yaml"]
    example = (ROOT / "topologies/two-tiers.yml").read_text(encoding="utf-8")
    assert shown == re.sub(r"(?m)^#.*\n", "", example)
    (picture,) = re.findall(r"!\[[^]]*\]\((\S+)\)", text)
    assert picture == "tests/golden/graph/two-tiers.svg"
    monkeypatch.chdir(ROOT)
    (block,) = [block for language, block in BLOCK.findall(text) if language == "console"]
    for line, expected in steps(f"```console\n{block}```\n"):
        words = shlex.split(line.replace("-o ", f"-o {tmp_path}/"))
        assert main(words[1:]) == 0
        assert_shown(capsys.readouterr().out, expected)
    assert (tmp_path / "two-tiers.svg").read_bytes() == (ROOT / picture).read_bytes()
