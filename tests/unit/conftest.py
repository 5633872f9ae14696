"""What every unit test has: no cloud, topology or target that the shell, or make, names."""

import os

import pytest
from hypothesis import settings

# what is held is no matter of time, and the machine may be busy
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(autouse=True)
def _named_nowhere(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OS_", "NETORDER_")):
            monkeypatch.delenv(name)
