"""Why a connection that was tried is not as planned: the likely route, hop, rule or host.

Pure. The plan says by which path and which line of the file the connection is open; what else was measured says what of
that works: routes as the hosts have them, other connections of the same pair, to the same host, and through the same
routers. What is said is the first that explains it; it is likely, not proven.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cached_property
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import TYPE_CHECKING, Any

from netorder.analysis.explain import answer
from netorder.analysis.verdict import NO_ROUTE, OUTSIDE
from netorder.text import few
from netorder.topology import SSH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netorder.analysis.reach import Matrix
    from netorder.analysis.verdict import Verdict
    from netorder.plan.security_groups import Declarations

    Check = Mapping[str, Any]

__all__ = ["Causes", "is_of_pair"]

MOST = 2000  # connections whose paths are compared, to tell the hop


def is_of_pair(host: str, check: Check) -> bool:
    """Return whether a check on a host is about a connection, other than one to itself."""
    return "port" in check and str(check.get("from", host)) != check["name"]


class Causes:
    """Says of checks that differ why, by all ``findings`` (by host; None: it was not observed)."""

    def __init__(
        self, matrix: Matrix, declarations: Declarations, findings: Mapping[str, Sequence[Check] | None]
    ) -> None:
        self._matrix = matrix
        self._declarations = declarations
        self._findings = findings
        self._verdicts: dict[tuple[str, str, int], Verdict] = {}

    def of(self, host: str, check: Check | None) -> str:
        """Return why a check on ``host`` differs; nothing where it does not, or is not about a pair of this plan.

        None: it was not observed.
        """
        if check is None:
            return self._unobserved(host)
        source, destination = str(check.get("from", host)), str(check.get("name", ""))
        known = destination in self._matrix.hosts and (source == OUTSIDE or source in self._matrix.hosts)
        if check["ok"] or not known or not is_of_pair(host, check):
            return ""
        verdict = self._verdict(source, check)
        opened_by = self._declarations.places(frozenset({destination}), verdict.rule) if verdict.rule else ()
        places = few([place.rpartition("/")[2] for place in opened_by])  # the file's name is enough
        if check["expected"] != "open":
            return self._too_open(verdict)
        port = check["port"]
        if check["found"] == "refused":
            return f"packets arrive, and nothing listens on tcp {port}: netorder logs {destination}"
        return (
            self._by_route(verdict)
            or self._by_hop(verdict, several=True)
            or self._by_host(destination)
            or self._by_rule(source, destination, places)
            or self._by_hop(verdict)
            or f"{_path(verdict)}{f', opened by {places}' if places else ''}"
        )

    def _unobserved(self, host: str) -> str:
        """Return why the host before it on its SSH path does not reach it: a route, packets' size, a hop."""
        its = self._matrix.hosts.get(host)
        before = its.ssh_path[-1] if its and its.ssh_path else None
        if before is None:
            return ""
        verdict = answer(self._matrix, before, host, "tcp", SSH)[0]
        lost = (one for one in self._findings.get(before) or () if one.get("name") == host and "lost" in one)
        by_size = next((str(one["warning"]) for one in lost if one.get("from", before) == before), "")
        return self._by_route(verdict) or by_size or self._by_hop(verdict, several=True)

    def _verdict(self, source: str, check: Check) -> Verdict:
        address = str(check.get("address", ""))
        to = address if self._matrix.host_of(address) == check["name"] else str(check["name"])
        key = source, to, int(check["port"])
        if key not in self._verdicts:
            self._verdicts[key] = answer(self._matrix, source, to, "tcp", key[2])[0]
        return self._verdicts[key]

    def _too_open(self, verdict: Verdict) -> str:
        if verdict.state == NO_ROUTE:
            return f"the plan has no way for it ({verdict.reason}): there is a route more than planned"
        return f"the plan says {verdict.reason}: there is a rule more than planned (netorder drift)"

    def _by_route(self, verdict: Verdict) -> str:
        """Return the route that a host on the path, there or back, does not have as planned."""
        for hops, end in ((verdict.there, verdict.address), (verdict.back, verdict.source_address)):
            for hop in hops[:-1]:
                for one in self._findings.get(hop.node) or ():
                    if not one["ok"] and _is_of_route(str(one["what"]), end, forwards=hop.entry is not None):
                        return f"the packet ends at {hop.node}: {one['what']} is {one['found']}, not {one['expected']}"
        return ""

    def _by_host(self, destination: str) -> str:
        """Say that a host answers nobody, where several connections to it were tried and none ended well."""
        if destination in self._findings and self._findings[destination] is None:
            return f"{destination} was not observed either: is it up? (netorder status)"
        tried = self._tried_to[destination]
        sources = {source for source, _ in tried}
        if len(sources) > 1 and not any(_arrives(one) for _, one in tried):
            return f"{destination} answers nobody of {few(sorted(sources))}: its port, its interface or it itself"
        return ""

    def _by_rule(self, source: str, destination: str, places: str) -> str:
        """Name the rule, where the path works for other ports."""
        works = [one for who, one in self._tried_to[destination] if who == source and _arrives(one)]
        if not works:
            return ""
        by = f"the rule of {places}" if places else "what its SSH path or forwarding opens"
        return f"the path works (tcp {works[0]['port']} answers), so {by} is not in force there (netorder drift)"

    def _by_hop(self, verdict: Verdict, *, several: bool = False) -> str:
        """Name the hop through which nothing goes, while something goes elsewhere; ``several``: to several hosts."""
        if self._working is None:
            return ""
        hops = [hop.node for hop in (*verdict.there[1:-1], *verdict.back[1:-1])]
        dead = [node for node in dict.fromkeys(hops) if node not in self._working]
        if several:
            dead = [node for node in dead if len(self._behind[node]) > 1]
        return f"nothing that was tried through {' or '.join(dead)} answers ({_path(verdict)})" if dead else ""

    @cached_property
    def _tried_to(self) -> dict[str, list[tuple[str, Check]]]:
        """By host who tried it, of what should be open."""
        found: dict[str, list[tuple[str, Check]]] = defaultdict(list)
        for source, one in self._expected():
            found[str(one["name"])].append((source, one))
        return found

    @cached_property
    def _working(self) -> set[str] | None:
        """The hops of connections that arrive; None if none does or there are too many to look at."""
        arrived = [(source, one) for source, one in self._expected() if _arrives(one)]
        if not arrived or len(arrived) > MOST:
            return None
        verdicts = [self._verdict(source, one) for source, one in arrived]
        return {hop.node for verdict in verdicts for hop in (*verdict.there, *verdict.back)}

    @cached_property
    def _behind(self) -> dict[str, set[str]]:
        """The hosts that were tried, by the hops before them."""
        found: dict[str, set[str]] = defaultdict(set)
        for source, one in islice(self._expected(), MOST):
            for hop in self._verdict(source, one).there[1:-1]:
                found[hop.node].add(str(one["name"]))
        return found

    def _expected(self) -> Iterator[tuple[str, Check]]:
        for host, found in self._findings.items():
            for one in found or ():
                source = str(one.get("from", host))
                known = one.get("name") in self._matrix.hosts and (source == OUTSIDE or source in self._matrix.hosts)
                if known and is_of_pair(host, one) and one["expected"] == "open":
                    yield source, one


def _arrives(check: Check) -> bool:
    return check["found"] in {"open", "refused"}


def _path(verdict: Verdict) -> str:
    return f"the path is {' > '.join(hop.node for hop in verdict.there)}" if verdict.there else verdict.reason


def _is_of_route(what: str, address: str | None, *, forwards: bool) -> bool:
    """Tell whether a finding is about the route to an address, or whether a host that passes packets on does so."""
    found = re.match(r"route (?:to )?(\S+/\d+)\b", what)
    if found is None:
        return forwards and "forward" in what
    if address is None:
        return False
    there, prefix = ip_address(address), ip_network(found[1])
    return there.version == prefix.version and there in prefix
