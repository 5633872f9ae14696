"""The distribution: what its wheel has, and that it works without anything else but h11."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from calculator.version import VERSION

ROOT = Path(__file__).parents[2]


def test_the_wheel_has_the_package_with_its_page_and_its_command(tmp_path):
    """It is built from a copy, since setuptools writes into the directory that it builds."""
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "tests"))
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", tmp_path, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    wheel = tmp_path / f"netorder_calculator-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    own = {f"calculator/{path.name}" for path in (ROOT / "src/calculator").iterdir() if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == own
    assert "calculator/page.html" in own
    (described,) = metadata.distributions(name="netorder-calculator", path=[str(wheel)])
    assert [name.split("==")[0] for name in described.requires or ()] == ["h11"]
    assert [(one.name, one.value) for one in described.entry_points] == [("calculator", "calculator.cli:main")]
