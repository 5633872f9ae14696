"""The path's MTU as netorder_observe finds it: a smaller network behind a router, in namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import namespaces
import pytest

MODULE = Path(__file__).parents[2] / "plugins/modules/netorder_observe.py"


@pytest.fixture
def path():
    """Make a host, a router, and behind that a server on a network of MTU 1400; be on the host."""
    host, router, server = (namespaces.Namespace(name) for name in ("host", "router", "server"))
    with router.entered():
        router.ip(
            [
                f"link add near type veth peer name eth0 netns {host.path}",
                f"link add far type veth peer name eth0 netns {server.path}",
                "address add 10.203.1.1/24 dev near",
                "address add 10.203.2.1/24 dev far",
                "link set near up",
                "link set far mtu 1400 up",
            ]
        )
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    for space, network, mtu in ((server, 2, 1400), (host, 1, 1500)):
        with space.entered():
            space.ip(
                [
                    "link set lo up",
                    f"address add 10.203.{network}.2/24 dev eth0",
                    f"link set eth0 mtu {mtu} up",
                    f"route add default via 10.203.{network}.1",
                ]
            )
    with server.entered():
        listening = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import socket; s = socket.create_server(('', 9000)); print(flush=True); s.accept()",
            ],
            stdout=subprocess.PIPE,
        )
        assert listening.stdout.readline()
    with host.entered():
        yield
    listening.kill()
    listening.wait()
    for one in (host, router, server):
        one.close()


@pytest.mark.usefixtures("path")
def test_a_smaller_network_behind_a_router_is_found():
    """By what the router says of a packet that does not fit; the connection is as planned, with a warning."""
    probes = [
        {"name": "server", "address": "10.203.2.2", "port": 9000, "open": True},
        {"name": "router", "address": "10.203.1.1", "port": 9000, "open": True},
    ]
    text = MODULE.read_text(encoding="utf-8").replace(
        "<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>", json.dumps({"connections": probes})
    )
    done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, check=True)
    server, router = json.loads(done.stdout)["checks"]
    assert (server["ok"], server["mtu"]) == (True, 1400)
    assert server["warning"] == "packets of 1500 bytes do not pass as a whole, of 1400 do"
    assert server["ms"] > 0
    assert router["found"] == "refused"
    assert "warning" not in router
