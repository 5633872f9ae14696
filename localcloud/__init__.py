"""A real one-node OpenStack in one directory: its own root file system, in namespaces of its own, nothing on the host.

``python3 -m localcloud up`` needs root, Debian's mmdebstrap and Python's standard library. What it gives is an entry
in a clouds.yaml. The way through the code:

``__main__`` (commands) -> ``host`` (checks, directory, namespaces, veth) -> ``rootfs`` and ``guest`` (cached images)
-> ``init`` (PID 1 inside) -> ``supervisor`` (starts and respawns) -> ``services`` (what is started, in which order)
-> ``seed`` (accounts, catalog, flavors, networks, image).
"""


class CloudError(Exception):
    """What the user must know: the cause and the mend, in one message."""
