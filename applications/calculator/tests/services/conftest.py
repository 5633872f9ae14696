"""Services that the tests of this directory share."""

from __future__ import annotations

import socket

import pytest
from harness import OPERATIONS, Fake, Service, calculator


@pytest.fixture(scope="session")
def services():
    """Yield the five services, started once."""
    started = {name: Service(name, "--port", "0", "--client-timeout", "1") for name in OPERATIONS}
    with calculator({name: service.url for name, service in started.items()}) as front:
        yield started | {"calculator": front}
    for service in started.values():
        service.stop()


@pytest.fixture
def fake():
    service = Fake()
    yield service
    service.close()


@pytest.fixture
def front(fake):
    """Yield a calculator whose sum is ``fake``; nothing listens where it looks for sub."""
    unused = socket.socket()
    unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused, and nobody else takes the port
    refusing = f"http://127.0.0.1:{unused.getsockname()[1]}"
    urls = dict.fromkeys(OPERATIONS, refusing) | {"sum": fake.url}
    with calculator(urls, "--timeout", "0.5") as service:
        service.refusing = refusing
        yield service
    unused.close()
