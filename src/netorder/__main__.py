"""``python -m netorder``."""

import sys

from netorder.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
