"""The target `containers`: hosts as system containers of podman, networks and routers in network namespaces.

``wanted``: what a plan needs, pure. ``kernel``: namespaces, links, filters. ``engine``: podman. ``observe``: what is
there. ``compare``: the differences as changes. ``apply``: makes them. ``target``: all of it, and the teardown.
``compose``: a compose file in its place, pure.
Everything has the topology's name in its own, or as a label; nothing else is touched (decision 0250).
"""
