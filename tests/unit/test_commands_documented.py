"""What the documentation shows of the command: each command line parses; what needs no cloud prints what is shown."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from netorder.cli.main import main, parser, split
from netorder.cli.reference import markdown

ROOT = Path(__file__).parents[2]
LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# the words between a command and what it is joined to in a shell
ENDS = {"|", ">", "&&", ";", "||", "2>"}
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


def test_the_first_hour_prints_what_it_shows(tmp_path, monkeypatch, capsys):
    """The steps without a cloud, in order; a line `…` stands for any others. YAML replaces lines of the file."""
    monkeypatch.chdir(tmp_path)
    shown = 0
    for language, block in BLOCK.findall((ROOT / "docs/first-hour.md").read_text(encoding="utf-8")):
        if language == "yaml":
            for line in block.splitlines():
                replace_line(tmp_path / "lab.yml", line)
        if language != "console":
            continue
        for step in re.split(r"(?m)^\$ ", block)[1:]:
            line, *expected = step.splitlines()
            words = shlex.split(line)
            if words[0] == "cp":
                shutil.copy(*words[1:])
                continue
            assert main(words[1:]) == 0
            captured = capsys.readouterr()
            warned = [line for line in captured.err.splitlines() if ": warning: " in line]
            assert captured.err.splitlines() == warned
            with_warnings = any(
                ": warning: " in line for line in expected
            )  # each step has them, the text shows them once
            assert_shown(captured.err * with_warnings + captured.out, expected)
            shown += 1
    assert shown >= 7
    assert (tmp_path / "lab.svg").read_text().startswith("<svg ")


def test_the_readme_shows_what_there_is(monkeypatch, capsys, tmp_path):
    """Its topology is an example's, its picture the one that a golden test holds, its commands print what it shows."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = [block for language, block in BLOCK.findall(text) if language == "yaml"]
    example = (ROOT / "topologies/two-tiers.yml").read_text(encoding="utf-8")
    assert shown == re.sub(r"(?m)^#.*\n", "", example)
    (picture,) = re.findall(r"!\[[^]]*\]\((\S+)\)", text)
    assert picture == "tests/golden/graph/two-tiers.svg"
    monkeypatch.chdir(ROOT)
    (block,) = [block for language, block in BLOCK.findall(text) if language == "console"]
    for step in re.split(r"(?m)^\$ ", block)[1:]:
        line, *expected = step.splitlines()
        words = shlex.split(line.replace("build/", f"{tmp_path}/"))
        assert main(words[1:]) == 0
        assert_shown(capsys.readouterr().out, expected)
    assert (tmp_path / "two-tiers.svg").read_bytes() == (ROOT / picture).read_bytes()


def replace_line(file: Path, new: str) -> None:
    """Replace the line of a file that begins like ``new``."""
    lines = file.read_text(encoding="utf-8").splitlines()
    begin = re.match(r" *(- \{from: \w+, to: \w+, |\w+: )", new)[0]
    (place,) = (index for index, line in enumerate(lines) if line.startswith(begin))
    assert lines[place] != new
    lines[place] = new
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def assert_shown(said: str, expected: list[str]) -> None:
    """Fail unless a text has the expected lines, in order; without `…` no others."""
    parts = "\n".join(expected).split("…")
    pattern = ".*".join(re.escape(part.strip("\n")) for part in parts)
    assert re.fullmatch(pattern, said.strip("\n"), re.DOTALL), said
