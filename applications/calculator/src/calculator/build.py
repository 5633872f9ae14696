"""Build the artefact: ``python -m calculator.build OUT.pyz``.

One zipapp with this package and h11, for any Python from 3.11 on. The same input gives the same bytes
everywhere: entries are sorted, dated 1980, and stored, since compressed bytes differ between versions of zlib.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import zipfile
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path

__all__ = ["H11_VERSION", "build", "main"]

H11_VERSION = "0.16.0"

_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = b"import sys\n\nfrom calculator.cli import main\n\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build() -> bytes:
    """Return the artefact's bytes; RuntimeError when the h11 at hand is not the pinned one."""
    vendored = distribution("h11")
    if vendored.version != H11_VERSION:
        raise RuntimeError(f"h11 is {vendored.version}, but {H11_VERSION} is pinned: pip install h11=={H11_VERSION}")
    entries = {"__main__.py": _MAIN}
    own = Path(__file__).parent
    for path in (*own.glob("*.py"), *own.glob("*.html")):
        if path.name not in {"__main__.py", "build.py"}:
            entries[f"calculator/{path.name}"] = path.read_bytes()
    for file in vendored.files or ():
        if (file.parent.name == "h11" and file.suffix == ".py") or file.name.startswith("LICENSE"):
            entries[f"h11/{file.name}"] = file.read_binary()
    out = BytesIO(_SHEBANG)
    out.seek(0, os.SEEK_END)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(entries.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return out.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Write the artefact unless it is there; print ``built`` or ``unchanged``, its path and its digest (12 digits)."""
    parser = argparse.ArgumentParser(prog="calculator.build", description="Build the calculator's zipapp.")
    parser.add_argument("out", type=Path, metavar="OUT.pyz", help="the file to write")
    out: Path = parser.parse_args(arguments).out
    try:
        content = build()
        digest = hashlib.sha256(content).hexdigest()[:12]
        if out.is_file() and out.read_bytes() == content:
            print(f"unchanged {out} {digest}")
            return 0
        out.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: whoever reads it meets the old or the new one, never a part.
        part = out.with_name(f"{out.name}.{os.getpid()}.part")
        part.write_bytes(content)
        part.chmod(0o755)
        part.replace(out)
    except (OSError, RuntimeError) as error:
        print(f"calculator.build: {error}", file=sys.stderr)
        return 1
    print(f"built {out} {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
