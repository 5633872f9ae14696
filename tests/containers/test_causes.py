"""What verify says where somebody has taken away a rule, or a router drops: the line, the hop, the size."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netorder.containers import engine, kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NAME = f"why{os.getpid()}"


@dataclass(frozen=True)
class Made:
    """The topology of a role of one's own, as it was made."""

    file: Path

    def netorder(self, command: str, *more: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "NETORDER_"))}
        return subprocess.run(
            ["netorder", command, str(self.file), *more],
            cwd=self.file.parent,
            env={**environment, "NETORDER_TARGET": "containers", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def nft(self, space: str, *lines: str) -> str:
        return kernel.run(*kernel.enter(f"netorder.{NAME}.{space}"), "nft", "-f", "-", text="\n".join(lines) + "\n")

    @contextmanager
    def dropping(self, router: str, match: str) -> Iterator[None]:
        """Let a router drop what it should pass on, without a word."""
        chain = ("chain forward {", "type filter hook forward priority 0", f"{match} drop", "}")
        self.nft(f"router.{router}", "table inet broken {", *chain, "}")
        try:
            yield
        finally:
            self.nft(f"router.{router}", "delete table inet broken")

    def line(self, begin: str) -> int:
        """Return the number of the line of the file that begins so."""
        lines = self.file.read_text(encoding="utf-8").splitlines()
        return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(begin))


@pytest.fixture(scope="module")
def made(machine, tmp_path_factory) -> Iterator[Made]:
    """Make it: index in front, site-1 and site-2 behind the router inner, a page on each."""
    assert machine
    directory = tmp_path_factory.mktemp("why")
    shutil.copytree(ROOT / "topologies/own-role", directory / "own-role")
    text = (
        (ROOT / "topologies/own-role.yml")
        .read_text(encoding="utf-8")
        .replace("topology: own-role", f"topology: {NAME}")
    )
    file = directory / "t.yml"
    file.write_text(
        text.replace("to: site, application: page}", "to: site, application: page, icmp: true}"), encoding="utf-8"
    )
    found = Made(file)
    try:
        done = found.netorder("up")
        assert done.returncode == 0, done.stdout + done.stderr
        yield found
    finally:
        done = found.netorder("down", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert engine.containers(NAME) == []


def test_a_rule_that_is_gone_is_named_by_its_line(made):
    """Somebody has removed it in the switch: packets still come through to other ports."""
    space = f"netorder.{NAME}.switch"
    listed = kernel.run(*kernel.enter(space), "nft", "-a", "list", "ruleset")
    table = re.search(r"table (\w+ netorder) \{(?:(?!\ntable).)*chain in-", listed, re.DOTALL)[1]
    chain, handle = re.search(
        r"chain (in-\S+) \{(?:(?!\}\n).)*tcp dport 8080 .*?# handle (\d+)", listed, re.DOTALL
    ).groups()
    made.nft("switch", f"delete rule {table} {chain} handle {handle}")
    done = made.netorder("verify")
    line = made.line("- {from: index, to: site")
    said = (
        f"likely: the path works (tcp 22 answers), so the rule of t.yml:{line} is not in force there (netorder drift)"
    )
    assert done.returncode == 2, done.stdout
    for name in ("site-1", "site-2"):
        assert re.search(
            rf"index: tcp 8080 of {name} \(.*\): expected open, found no answer\n +{re.escape(said)}", done.stdout
        ), done.stdout
    assert made.netorder("up").returncode == 0


@pytest.mark.full
def test_a_router_that_passes_nothing_is_named(made):
    """Both hosts behind it are silent, and nobody is logged in there; hosts before it are well."""
    with made.dropping("inner", ""):
        done = made.netorder("verify")
    assert done.returncode == 4, done.stdout
    said = "likely: nothing that was tried through inner answers (the path is index > inner > site-{})"
    for number in (1, 2):
        its = said.format(number)
        assert re.search(rf"index: tcp 8080 of site-{number} .*found no answer\n +{re.escape(its)}", done.stdout), (
            done.stdout
        )
        assert re.search(rf"site-{number}: not observed .*\n +{re.escape(its)}", done.stdout), done.stdout


@pytest.mark.full
def test_a_router_that_drops_by_size_is_named(made):
    """With the size that passes. Ports answer, as SYNs are small; SSH, which sends more at once, gets nowhere."""
    with made.dropping("inner", "meta length > 1300"):
        done = made.netorder("verify")
    assert done.returncode == 4, done.stdout
    said = r"packets of 1500 bytes are lost between inner \([\d.]+\) and site-1 \([\d.]+\), or their"
    assert re.search(rf"index: to site-1: {said}.* of 1300 they pass: connections hang", done.stdout), done.stdout
    assert re.search(rf"site-1: not observed .*\n +likely: {said}", done.stdout), done.stdout
    report = made.netorder("report").stdout.strip()
    assert "packets of 1500 bytes are lost between inner" in Path(report).read_text(encoding="utf-8")


def test_repaired_it_is_as_planned(made):
    done = made.netorder("verify")
    assert done.returncode == 0, done.stdout
    assert "0 differ from the plan" in done.stdout
    assert "lost" not in done.stdout
