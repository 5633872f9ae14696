"""A cloud with fake guests, a proxy before it, and the cases to try. Needs root, as the local cloud does."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from life import Life
from proxy import Proxy
from running import Running


def pytest_addoption(parser):
    parser.addoption("--every", action="store_true", help="each fault at each call, not each call with some fault")
    parser.addoption("--only", default="", help="only the cases with this text, as printed: 'POST compute'")
    parser.addoption("--start", type=int, default=1, help="with which life to begin, when an earlier run was stopped")
    parser.addoption("--part", type=int, default=1, help="of the sample only one case in so many: which, the seed says")
    parser.addoption("--seed", type=int, default=1, help="which fault each call gets in the sample")


@pytest.fixture(scope="session")
def cloud():
    """Have the cloud run."""
    with Running("faults", "fake").lent() as running:
        yield running


@pytest.fixture(scope="session")
def life(cloud, tmp_path_factory):
    """Return what runs netorder through the proxy; at the end the project is as it was."""
    auth = cloud.login()["auth"]
    proxy = Proxy(urlsplit(auth["auth_url"]).hostname)
    one = Life(proxy, tmp_path_factory.mktemp("faults"), cloud.cloud.entry, auth)
    yield one
    proxy.close()
