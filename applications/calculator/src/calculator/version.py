"""Which version this is: the package's, and the digest of the artefact that it runs from."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path
from typing import Final

__all__ = ["ARTEFACT", "VERSION"]

VERSION: Final = "0.1.0"


def _artefact() -> str:
    """Return the first 12 digits of the SHA-256 of the zipapp, as its build prints them; "source" without one."""
    path = Path(sys.argv[0] or ".")
    if path.is_file() and zipfile.is_zipfile(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return "source"


ARTEFACT: Final = _artefact()
