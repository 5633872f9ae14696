"""What the cloud gives back in another form than it was given is known again: a second run has nothing to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from drawn import SHAPES, topologies
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOW = ("delete", "replace")
# every port, one, the first and the last, ranges that touch
PORTS = st.sampled_from(["1-65535", "1-65534", "2-65535", 1, 65535, [1, 65535], "22-22", ["80-90", "91-99"]])
# the language takes several spellings, and Neutron writes them in its own way
SOURCES = st.sampled_from(
    ["anywhere", "0.0.0.0/0", "203.0.113.7/32", "FD77:0:0::/48", "fd77::1/128", "::/0", ["10.0.0.0/8", "10.0.0.0/9"]]
)


@st.composite
def awkward(draw: Callable[..., Any], shape: str) -> str:
    """Draw a topology whose rules have ports and sources at their edges."""
    document = yaml.safe_load(draw(topologies(shape, networks=4, hosts=5)))
    for router in document.get("routers", {}).values():
        if router.get("external"):
            router["external"] = True  # this cloud has one external network
    hosts = st.sampled_from(list(document["hosts"]))
    for _ in range(draw(st.integers(1, 4))):
        rule: dict[str, Any] = {"from": draw(SOURCES), "to": draw(hosts)}
        for protocol in draw(st.lists(st.sampled_from(["tcp", "udp", "icmp"]), min_size=1, max_size=3, unique=True)):
            rule[protocol] = True if protocol == "icmp" else draw(PORTS)
        document["allow"].append(rule)
    text = yaml.safe_dump(document | {"topology": "lab"}, sort_keys=False, width=120)
    for name, network in document["networks"].items():
        if network.get("dhcp") is False:  # where the one before had it on, it cannot be switched off under hosts
            text = re.sub(rf"\b{name}\b", f"{name}-still", text)
    return text


@pytest.mark.parametrize(
    "shape", [one if one == "ring" else pytest.param(one, marks=pytest.mark.full) for one in SHAPES]
)
def test_a_second_run_of_a_drawn_topology_has_nothing_to_do(site, shape, request):
    """Each is made out of the one before it, so that what stays, changes and goes is known again too."""
    drawn = request.config.getoption("--drawn")

    @settings(
        max_examples=drawn, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )  # fmt: skip
    @given(awkward(shape))
    def holds(text: str) -> None:
        site.run(text, allow=ALLOW)
        for check in (True, False):
            again = site.run(text, allow=ALLOW, check=check)
            assert again["changes"] == [], text
        # an interface that got its IPv6 later has a second port for it, which counts as one with the first
        later = [one for one in site.marked() if one.startswith("port ") and one.endswith(".ipv6")]
        assert sum(again["unchanged"].values()) == len(site.marked()) - len(later), text
        made.append(again["unchanged"])

    made: list[dict[str, int]] = []
    holds()
    assert len(made) == drawn
