"""What is done to hosts after their first day, each by one Ansible action.

Each reads the topology, holds its lock, and does one thing to hosts that are there; the cloud remains the state.
``site``: the topology in its cloud, for the time of one operation. ``power``, ``resize``, ``snapshots`` (with restore),
``golden``. ``on_containers``: the same on the target `containers`.
``lacking``: what a target does not have.
"""
