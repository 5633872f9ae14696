"""``python -m calculator``, and the entry of the zipapp."""

from __future__ import annotations

import sys

from calculator.cli import main

if __name__ == "__main__":
    sys.exit(main())
