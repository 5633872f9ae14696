"""The documentation: lines within the limit, links that lead somewhere, no word that the glossary replaces."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from netorder.language.load import load

ROOT = Path(__file__).parents[2]
LIMIT = 120
LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
PAGES = LISTED.split()
# Not history, which keeps its words, nor where the word itself is explained.
OWN_WORDS = [page for page in PAGES if not page.startswith(("docs/decisions/", "CHANGELOG.md", "docs/glossary.md"))]
REPLACED = {
    r"floating IPs?": "floating address",
    r"public IPs?": "floating address",
    r"VMs?": "virtual machine, or host",
    r"tenants?": "project",
    r"dry[- ]runs?": "preview",
    r"jump ?boxe?s?": "bastion, or jump host",
}
CODE = re.compile(r"^```.*?^```$|`[^`]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_within_the_limit(page):
    """Tables excepted, whose rows cannot be wrapped."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    long = [number for number, line in enumerate(lines, 1) if len(line) > LIMIT and not line.startswith("|")]
    assert long == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    """Each relative link names a file of the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [ROOT.joinpath(page).parent.joinpath(one).resolve() for one in LINK.findall(text) if "://" not in one]
    assert [str(one) for one in targets if not one.exists()] == []


@pytest.mark.parametrize("page", OWN_WORDS)
def test_one_word_for_one_thing(page):
    """The glossary's, but where a command or an API is quoted: code, and the table of kinds that a command prints."""
    text = CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    if page == "docs/changes.md":
        text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    found = [(word, better) for word, better in REPLACED.items() if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
    assert found == []


@pytest.mark.parametrize("role", sorted((ROOT / "roles").iterdir()), ids=lambda path: path.name)
def test_a_role_documents_its_variables(role):
    """Its README lists what its argument spec has: names and types, in the same order."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]+ \| .+ \|$", (role / "README.md").read_text(), re.MULTILINE)
    spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert rows == [(name, one["type"]) for name, one in spec.items()]


def test_the_index_of_the_decisions_is_complete():
    """It links each decision once, with the title and date that the file has."""
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \| (.+?) \| (\S+) \|", index, flags=re.MULTILINE)
    decisions = []
    for path in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        text = path.read_text(encoding="utf-8")
        number, title = re.match(r"# (\d{4})\. (.+)", text).groups()
        decisions.append((number, path.name, title, re.search(r"^- Date: (\S+)$", text, flags=re.MULTILINE)[1]))
    assert rows == decisions


def explained(path: Path) -> str:
    """Return the first sentence of a topology's first comment, after the line for editors."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    comment = " ".join(line[2:] for line in itertools.takewhile(lambda line: line.startswith("# "), lines))
    return comment.split(". ")[0].rstrip(".")


def test_the_table_of_examples_is_complete():
    """It has each shipped topology with its number of hosts, explained as the file itself does."""
    wanted = [
        f"| [{path.stem}](../topologies/{path.name}) | {len(load(path).hosts)} | {explained(path)} |"
        for path in sorted((ROOT / "topologies").glob("*.yml"))
    ]
    table = [line for line in (ROOT / "docs/examples.md").read_text().splitlines() if line.startswith("| [")]
    assert table == wanted
