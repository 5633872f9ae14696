"""A real one-node OpenStack in one directory: its own root file system, in namespaces of its own, nothing on the host.

``python3 -m localcloud up`` needs root, Debian's mmdebstrap and Python's standard library. Its result is an
entry in a clouds.yaml. The layers of the code (pyproject.toml holds them):

- on the host: ``__main__`` (commands) -> ``life`` (up, status, down, clean) -> ``checks`` (preconditions) ->
  ``build/`` (cached artifacts) -> ``machine`` (namespaces, veth), ``capacity`` (overcommit) -> ``cloud`` (one cloud's
  directory); ``export`` (the guest image as files), a program of its own
- inside (``inside/``), started by ``inside/init`` (PID 1): ``inside/__main__`` -> ``services`` (the table of steps) ->
  ``watch`` (repeated checks) -> ``supervisor`` (starts and restarts), ``tasks`` (the work of steps) -> ``step``,
  ``system``; and ``seed`` (accounts, catalog, flavors, networks, image), a program of its own
"""


class CloudError(Exception):
    """An error for the user: one message with place, cause and fix."""
