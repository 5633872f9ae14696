"""A real one-node OpenStack in one directory: its own root file system, in namespaces of its own, nothing on the host.

``python3 -m localcloud up`` needs root, Debian's mmdebstrap and Python's standard library. What it gives is an entry
in a clouds.yaml. The way through the code:

- on the host: ``__main__`` (commands) -> ``life`` (up, status, down, clean) -> ``checks`` (what must hold first),
  ``build/`` (what is made once and cached), ``machine`` (namespaces, veth); ``cloud`` is one cloud's directory
- inside: ``inside/init`` (PID 1) -> ``supervisor`` (starts and respawns) -> ``services`` (what is started, in which
  order) -> ``tasks`` (what is done once a start) -> ``seed`` (accounts, catalog, flavors, networks, image)
"""


class CloudError(Exception):
    """What the user must know: the cause and the mend, in one message."""
