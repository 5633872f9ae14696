"""The tables of contents: packages name their modules, and docs/architecture.md names the packages."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NETORDER = ROOT / "src/netorder"
EACH_FILE = ("cli", "cloud/resources")  # they say what each of their files is, without their names
PACKAGES = [
    *(path.parent for path in sorted(NETORDER.rglob("__init__.py")) if path.parent != NETORDER),
    ROOT / "localcloud",
]
PACKAGES = [path for path in PACKAGES if path not in {NETORDER / name for name in EACH_FILE}]


def modules(package: Path) -> list[str]:
    """Return the names of what a package has: modules, and directories with modules of their own."""
    inside = [path.stem for path in package.glob("*.py") if path.stem != "__init__"]
    return sorted(inside + [path.parent.name for path in package.glob("*/__init__.py")])


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_names_its_modules(package):
    """Its docstring is its table of contents: nothing is left out, and nothing is named that is gone."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    named = {word.rstrip("/") for word in re.findall(r"``([^`]+)``", text)}
    assert [name for name in modules(package) if name not in named] == []
    words = [word for word in named if re.fullmatch(r"[a-z_]+", word)]
    there = {path.stem if path.suffix == ".py" else path.name for path in package.rglob("*")}
    assert [word for word in sorted(words) if word not in there] == []


def test_the_architecture_names_the_packages():
    """Those of netorder, and the modules beside them."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = re.search(r"## The packages\n.*?```\n(.*?)```", text, re.DOTALL)[1]
    wanted = [name for name in modules(NETORDER) if name != "__main__"]
    assert [name for name in wanted if not re.search(rf"\b{name}\b", drawn)] == []


def imported(file: Path, known: set[str]) -> set[str]:
    """Return which of the known modules a file imports, types alone too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {name if (name := f"{node.module}.{one.name}") in known else node.module for one in node.names}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return found & known


@pytest.mark.parametrize("package", [NETORDER, ROOT / "localcloud"], ids=lambda path: path.name)
def test_imports_go_in_one_direction(package):
    """Within the packages too, where import-linter has no layers, and of what is imported for types alone."""
    files = {".".join(path.relative_to(package.parent).with_suffix("").parts): path for path in package.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    each = {name: imported(path, {*files}) - {name} for name, path in files.items()}
    TopologicalSorter(each).prepare()  # CycleError names a circle
