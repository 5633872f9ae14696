"""The processes that tests start run the source beside these tests, whichever is installed."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

# what is held is no matter of time, and the machine may be busy
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

_SOURCE = Path(__file__).parents[1] / "src"

os.environ["PYTHONPATH"] = os.pathsep.join([str(_SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
