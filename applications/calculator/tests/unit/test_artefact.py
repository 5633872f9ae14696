"""The artefact: built twice it is the same, and it runs by itself."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from calculator import build
from calculator.build import H11_VERSION, main

ROOT = Path(__file__).parents[2]


def run(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, **options)


def test_same_bytes(tmp_path):
    """Another directory, clock, umask and hash seed: the same bytes."""
    first, second = tmp_path / "first.pyz", tmp_path / "sub" / "second.pyz"
    run("-m", "calculator.build", first)
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    run("-m", "calculator.build", second, env=environment, umask=0o077)
    assert first.read_bytes() == second.read_bytes()
    assert oct(first.stat().st_mode) == oct(second.stat().st_mode)


def test_source_dates_do_not_matter():
    """Entries are sorted, dated 1980 and stored."""
    with zipfile.ZipFile(io.BytesIO(build.build())) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {(entry.date_time, entry.compress_type) for entry in entries} == {
        ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED)
    }
    assert {"h11/LICENSE.txt", "h11/_connection.py", "calculator/server.py"} <= {entry.filename for entry in entries}


def test_unchanged_is_left_alone(tmp_path, capsys):
    """A second build writes nothing; a changed file is replaced."""
    out = tmp_path / "calculator.pyz"
    assert main([str(out)]) == 0
    os.utime(out, (0, 0))
    assert main([str(out)]) == 0
    assert out.stat().st_mtime == 0
    out.write_bytes(b"old")
    assert main([str(out)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["built", "unchanged", "built"]
    assert [path.name for path in tmp_path.iterdir()] == ["calculator.pyz"]


def test_another_h11_is_refused(tmp_path, capsys, monkeypatch):
    """The artefact carries the pinned h11 or is not built."""
    monkeypatch.setattr(build, "H11_VERSION", "0.0.1")
    assert main([str(tmp_path / "out.pyz")]) == 1
    assert capsys.readouterr().err == (
        f"calculator.build: h11 is {H11_VERSION}, but 0.0.1 is pinned: pip install h11==0.0.1\n"
    )


def test_one_pin():
    """pyproject.toml pins the h11 that the artefact carries."""
    assert re.findall(r'"h11==(.*)"', (ROOT / "pyproject.toml").read_text()) == [H11_VERSION]


def test_runs_by_itself(tmp_path):
    """Isolated from every installed package, it serves; it needs nothing of this repository."""
    out = tmp_path / "calculator.pyz"
    main([str(out)])
    with subprocess.Popen(
        [sys.executable, "-I", "-S", out, "sum", "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        port = process.stdout.readline().split()[-1]
        script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}', b'2 3').read())"
        assert run("-c", script).stdout == "b'5\\r\\n'\n"
        process.terminate()
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("module", sorted((ROOT / "src/calculator").glob("*.py")), ids=lambda path: path.stem)
def test_standalone(module):
    """The services import nothing of netorder."""
    assert not re.search(r"^\s*(from|import)\s+netorder", module.read_text(), re.MULTILINE)
