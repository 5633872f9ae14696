"""Nothing here touches the machine's own network; what was measured is summed up at the end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import namespaces
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how many topologies are drawn."""
    parser.addoption("--drawn", type=int, default=40, help="how many topologies of each shape")


@pytest.fixture(scope="session", autouse=True)
def _isolated() -> None:
    namespaces.isolate()


@pytest.fixture
def tally(record_property: Any) -> Iterator[Counter[str]]:
    """Give a test the counter of what it measures, for the summary; ``largest …`` are not added up."""
    counted: Counter[str] = Counter()
    yield counted
    record_property("tally", dict(counted))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            # a fixture's own properties come with the report of its teardown
            for name, value in (
                getattr(report, "user_properties", ()) if getattr(report, "when", "") == "teardown" else ()
            ):
                if name == "tally":
                    largest = {key: max(total[key], count) for key, count in value.items() if key.startswith("largest")}
                    total.update({key: count for key, count in value.items() if key not in largest})
                    total |= largest
    if total:
        terminalreporter.section("measured with real packets")
        for key, count in sorted(total.items()):
            terminalreporter.line(f"{count:>9} {key}")
