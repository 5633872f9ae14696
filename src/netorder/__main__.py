"""``python -m netorder``."""

import sys

from netorder.cli import main

if __name__ == "__main__":
    sys.exit(main())
