"""Hooks of mkdocs: pages of the repository that are outside docs/, and links to them and to other files of it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = "project"  # where they are in the site, by their path in the repository
PAGES = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "README.md", "bench/README.md"),
    "applications/calculator/README.md",
    *(
        f"roles/{role}/README.md"
        for role in ("calculator", "host_network", "nginx_site", "postgresql_database", "wsgi_app")
    ),
)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/."""
    for page in PAGES:
        files.append(File.generated(config, f"{OUTSIDE}/{page}", content=(ROOT / page).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to where their target is in the site; what is not a page becomes a file of it."""
    place = page.file.src_uri
    own = place.removeprefix(f"{OUTSIDE}/") if place.startswith(f"{OUTSIDE}/") else f"docs/{place}"

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(own), link[0]))
        source = ROOT / target
        if source.is_dir():
            target = f"{target}/README.md" if (source / "README.md").is_file() else target
        goal = target.removeprefix("docs/") if target.startswith("docs/") else f"{OUTSIDE}/{target}"
        if files.get_file_from_path(goal) is None and (ROOT / target).is_file():
            files.append(File.generated(config, goal, content=(ROOT / target).read_bytes()))
        return posixpath.relpath(goal, posixpath.dirname(place) or ".")

    return LINK.sub(moved, markdown)
