"""What every unit test has: no cloud, topology or target that the shell, or make, names."""

import os

import pytest


@pytest.fixture(autouse=True)
def _named_nowhere(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OS_", "NETORDER_")):
            monkeypatch.delenv(name)
