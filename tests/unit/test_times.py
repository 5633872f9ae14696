"""Where the time went: the table and the critical path."""

from __future__ import annotations

from netorder.controller import timings


def time(name: str, start: float, seconds: float) -> dict[str, object]:
    return {"kind": "port", "name": name, "action": "create", "start": start, "seconds": seconds}


# a (0-2) and b (0-3) at once; c (3-4) waited for b; d (2-2.5) is on no path; e (4.02-9) came after c
TIMES = [time("a", 0, 2), time("b", 0, 3), time("c", 3.01, 0.99), time("d", 2, 0.5), time("e", 4.02, 4.98)]
RESULT = {"timings": TIMES, "requests": {"total": 5}, "api_seconds": 11.5, "seconds": 9.4}


def test_critical_path_is_the_chain_that_ends_last():
    assert [one["name"] for one in timings.critical_path(TIMES)] == ["b", "c", "e"]


def test_critical_path_of_nothing_and_of_requests_without_length():
    assert timings.critical_path([]) == []
    assert len(timings.critical_path([time("a", 0, 0), time("b", 0, 0)])) == 1


def test_the_slowest_are_shown_in_the_order_in_which_they_began():
    lines = timings.text(RESULT, shown=3).splitlines()
    assert [line.split()[-2] for line in lines[1:4]] == ["a", "b", "e"]
    assert [("*" in line) for line in lines[1:4]] == [False, True, True]
    assert lines[4] == "and 2 quicker ones: `netorder times` shows all"
    assert lines[5] == "critical path (*): port b 3.0 > port c 1.0 > port e 5.0"
    assert "9.4 s, 5 requests, which took the cloud 11.5 s" in lines[6]


def test_one_quicker_request_is_in_the_singular():
    """One resource is left out of the table."""
    assert "and 1 quicker one: `netorder times` shows all" in timings.text(RESULT, shown=4).splitlines()


def test_what_was_recorded_is_read(tmp_path):
    assert timings.read(tmp_path) is None
    timings.record(RESULT | {"hosts": {"secret": 1}}, tmp_path)
    kept = timings.read(tmp_path)
    assert kept == RESULT | {"critical_path": timings.critical_path(TIMES)}
