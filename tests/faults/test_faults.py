"""Each call of a provision and of a teardown fails in each way: the run recovers or reports it, the next run converges.

A sample by default, in which each call fails once; ``--part 4`` (make test) goes through a quarter of it, and
``--every`` (make faults-every) through each fault at each call.
"""

from __future__ import annotations

import re
import traceback
from collections import Counter
from contextlib import contextmanager
from itertools import zip_longest

import pytest
from life import counted
from proxy import FAULTS

KILLS = tuple(fault for fault in FAULTS if fault.startswith("killed"))
FAILURES = tuple(fault for fault in FAULTS if fault not in KILLS)
# What a read survives by being repeated. A 409 is an answer like any other, and the run's own end is its end.
RECOVERED = tuple(fault for fault in FAULTS if fault not in {"409", *KILLS})
BEFORE_LOGIN = ("GET identity", "POST identity /v3/auth/tokens")
# How often a list is asked again while servers build depends on the cloud's mood.
POLL = re.compile(r"GET compute /v2.1/servers(/detail)?\?")
# In the sample, one in so many writes is also where the run is killed.
KILLED = 4
ADVICE = re.compile(r"run again|tear down again|correct the entry", re.IGNORECASE)
NAMES = re.compile(r"faults|http://\S+|compute API|credentials")


class Matrix:
    """The calls of a clean life, and the lives that let them fail."""

    def __init__(self, life):
        self.life, self.clean = life, False
        assert life.run("teardown").how == "ok"  # what a broken test run may have left
        self.before = life.everything()
        provision, quiet, teardown = self._learn(), self._learn("provision"), self._learn("teardown")
        self.begin()
        again = self._learn()
        self.complete = counted(life.everything() - self.before)
        listing = set(quiet)
        self.listing = list(quiet)
        self.provision = [c for c in provision if c in again and c not in listing and self._steady(c)]
        self.teardown = [c for c in teardown if c not in listing and self._steady(c)]

    @staticmethod
    def _steady(call):
        """Return whether a call comes in every run: of lists while waiting, only the first certainly does."""
        return not POLL.search(call.what) or call.nth == (2 if "/detail" in call.what else 1)

    def _learn(self, action="provision"):
        found = self.life.run(action)
        assert found.how == "ok", found
        return list(self.life.proxy.calls)

    def begin(self):
        """Start with nothing of ours."""
        found = self.life.run("teardown")
        assert found.how == "ok", found
        self.nothing_left()

    def nothing_left(self):
        """Assert that the project holds what it held before the tests, nothing more and nothing less."""
        assert counted(self.life.everything() ^ self.before) == Counter()

    def converges(self):
        """Assert that a run ends well, the next one has nothing to do, and each resource is there once."""
        found = self.life.run("provision")
        assert found.how == "ok", found
        again = self.life.run("provision")
        assert (again.how, again.changes) == ("ok", ()), again
        assert counted(self.life.everything() - self.before) == self.complete

    def faulty(self, action, faults):
        """Run with faults; return whether it ended well in spite of them. Its messages must help the user."""
        found = self.life.run(action, faults)
        missed = set(faults.items()) - set(self.life.proxy.fired)
        if found.how == "ok":
            assert not missed, f"never called: {missed}"
        assert self.life.proxy.fired or not faults, f"never called: {missed}"
        if any(fault in KILLS for fault in faults.values()):
            assert found.how == "killed", found
            return False
        assert found.how in {"ok", "error"}, found
        if all(recovers(call, fault) for call, fault in self.life.proxy.fired):  # and what "down" cut besides
            assert found.how == "ok", found
        for problem in found.problems:
            assert "\n" not in problem, problem
            assert "Traceback" not in problem, problem
            assert NAMES.search(problem), problem
            assert ADVICE.search(problem), problem
        return found.how == "ok"

    def live(self, provision, teardown):
        """Go through one life with faults in its provision and in its teardown."""
        if not self.clean:  # the life before has failed
            self.begin()
        self.clean = False
        self.faulty("provision", provision)
        self.converges()
        if not self.faulty("teardown", teardown):
            found = self.life.run("teardown")
            assert found.how == "ok", found
        self.nothing_left()
        self.clean = True


def recovers(call, fault):
    """Return whether the run itself must get over this: repeating the request is certainly harmless."""
    if fault == "429":
        return True
    if fault == "expired":  # a new login is no help where there is no token yet
        return not call.what.startswith(BEFORE_LOGIN)
    if call.writes and (call.what.startswith("POST") or "add_router_interface" in call.what):
        return False
    return fault in RECOVERED


@contextmanager
def told():
    """Print a failure at once: the whole matrix takes hours."""
    try:
        yield
    except Exception:
        traceback.print_exc()
        raise


@pytest.fixture(scope="module")
def matrix(life):
    one = Matrix(life)
    yield one
    one.begin()


def sample(phases, seed):
    """Return lives in which each call of both phases fails once; seeds 0 to 9 together are all faults at all writes."""
    writes = [[call for call in calls if call.writes] for calls in phases]
    # Each read is asked again on its own account, so their faults do not disturb each other; but what is down is so for
    # all.
    kinds = [fault for fault in RECOVERED if fault != "down"]
    together = tuple(
        {call: kinds[(seed + n) % len(kinds)] for n, call in enumerate(call for call in calls if not call.writes)}
        for calls in phases
    )
    order = [FAILURES[(seed + n) % len(FAILURES)] for n in range(sum(map(len, writes)))]
    singly = [
        [{call: fault} for call, fault in zip(calls, order[at:], strict=False)]
        for calls, at in zip(writes, (0, len(writes[0])), strict=True)
    ]
    killed = [
        [{call: KILLS[(n + seed) // KILLED % 2]} for n, call in enumerate(calls) if n % KILLED == seed % KILLED]
        for calls in writes
    ]
    return [(p or {}, t or {}) for p, t in [together, *zip_longest(*singly), *zip_longest(*killed)]]


@pytest.fixture(scope="module")
def lives(matrix, request):
    """Return the lives to go through: the faults of each one's provision and teardown."""
    phases = (matrix.provision, matrix.teardown)
    if not request.config.getoption("every"):
        return sample(phases, request.config.getoption("seed"))
    alone = [[{c: f} for c in calls if not c.writes for f in ("down", "409")] for calls in phases]
    return [
        *(life for seed in range(len(FAILURES)) for life in sample(phases, seed)),
        *((p or {}, t or {}) for p, t in zip_longest(*alone)),
    ]


def test_the_cases_reach_everything(matrix, lives, request):
    """Each call of either phase has a case, and each fault three, with any seed: holes would prove little."""
    for number, calls in enumerate((matrix.provision, matrix.teardown)):
        assert {call for life in lives for call in life[number]} == set(calls)
    times = Counter(fault for life in lives for phase in life for fault in phase.values())
    assert {fault: times[fault] for fault in FAULTS if times[fault] < 3} == {}
    writes = [call for call in (*matrix.provision, *matrix.teardown) if call.writes]
    assert len(writes) > 30
    if request.config.getoption("every"):
        for number, calls in enumerate((matrix.provision, matrix.teardown)):
            cases = {case for life in lives for case in life[number].items()}
            assert {(c, f) for c in calls for f in FAULTS if c.writes or f not in KILLS} - cases == set()


def test_a_life_with_faults(matrix, lives, subtests, request):
    """Provision with a fault, converge, tear down with a fault, nothing left."""
    start, only, part, seed = (request.config.getoption(name) for name in ("start", "only", "part", "seed"))
    for number, (provision, teardown) in enumerate(lives[start - 1 :], start):
        if number > 1 and number % part != seed % part:  # the first has a fault at every read
            continue
        said = ", ".join(f"{call}: {fault}" for call, fault in (*provision.items(), *teardown.items()))
        if only not in said:
            continue
        print(f"{number}/{len(lives)} {said}", flush=True)
        with subtests.test(said), told():
            matrix.live(provision, teardown)


def test_a_run_with_nothing_to_do_with_faults(matrix, subtests, request):
    """A run with nothing to do sends a request again whose answer is missing, and still has nothing to do."""
    matrix.begin()
    matrix.converges()
    every, part, seed, only = (request.config.getoption(name) for name in ("every", "part", "seed", "only"))
    for number, call in enumerate(matrix.listing):
        steps = (0, 4, 7)[::part]
        for fault in FAILURES if every else [FAILURES[(seed + number + step) % len(FAILURES)] for step in steps]:
            said = f"{call}: {fault}"
            if only not in said:
                continue
            print(said, flush=True)
            with subtests.test(said), told():
                matrix.faulty("provision", {call: fault})
                found = matrix.life.run("provision")
                assert (found.how, found.changes) == ("ok", ())
