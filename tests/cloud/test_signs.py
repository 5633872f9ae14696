"""What the cloud says about a host that does not answer."""

from __future__ import annotations

from test_plan import BASE

from netorder.cloud.session import connect
from netorder.cloud.signs import signs


def test_signs_are_read_as_the_cloud_has_them(site, cloud):
    """Server, ports, floating IP, rules and console; then without the rule that lets SSH in, and stopped."""
    site.run(BASE)
    asked = connect(print)
    web = signs(asked, "lab", "web")
    address = next(like["floating_ip_address"] for kind, _, like in site.listing().values() if kind == "ip")
    assert (web.status, web.name, web.floating_ip) == ("ACTIVE", "lab-web", address)
    assert (web.let_in, web.members_let_in) == (("10.0.0.0/8",), False)
    assert web.ports_down == web.addresses, "nothing plugs in the ports of a fake guest"
    assert web.addresses[0].startswith("10.1.0.")
    assert web.console, "of a fake guest it is one line"
    assert (web.admits("10.9.9.9"), web.admits("192.0.2.1")) == (True, False)
    db = signs(asked, "lab", "db")
    assert (db.floating_ip, db.admits(web.addresses[0])) == (None, True)
    server = cloud.compute.find_server("lab-web")
    for port in cloud.network.ports(device_id=server.id):
        for group in port.security_group_ids:
            for rule in cloud.network.security_group_rules(security_group_id=group, port_range_min=22):
                cloud.network.delete_security_group_rule(rule)
    cloud.compute.stop_server(server)
    cloud.compute.wait_for_server(server, status="SHUTOFF", wait=60)
    web = signs(asked, "lab", "web")
    assert (web.startable, web.moving, web.let_in) == (True, False, ())
    assert signs(asked, "lab", "nobody").status is None
