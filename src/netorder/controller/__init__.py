"""What is done on the controller: a run from start to end, its lock, SSH files and timings.

``provision``: provision and teardown with their files. ``operations``: what is done to hosts later. ``status``: what of
a plan is in the cloud. ``importing``: what is there as a topology. ``ssh``: key, ssh_config, known_hosts. ``ssh_wait``:
until a host answers. ``login``, ``playbooks``, ``process``: command lines of ssh and of playbooks, and running them.
``lock``: one run at a time. ``timings``: where the time of a run went. ``proxy``: packages for hosts without a way out,
over SSH.
"""
