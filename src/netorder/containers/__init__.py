"""The target `containers`: hosts as system containers of podman, networks and routers in network namespaces.

``wanted``: what a plan needs, pure. ``health``: hosts' health checks, pure. ``kernel``: namespaces, links, filters.
``engine``: podman. ``observe``: what is there. ``compare``: the differences as changes, each with what makes it.
``target``: all of it, and the teardown. ``snapshots``: images of hosts. ``compose``: a compose file in its place, pure.
Everything has the topology's name in its own, or as a label; nothing else is touched (decision 0250).
"""
