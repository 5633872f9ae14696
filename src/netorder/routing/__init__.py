"""Which path packets take, worked out over names alone: no addresses, no files, no cloud.

``graph``: networks joined by routers, and the shortest paths. ``decide``: which static routes are needed.
``tables``: the decided routes as prefixes and next hops. ``ssh_paths``: through which hosts each host is reached.
"""
