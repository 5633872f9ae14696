"""What is done on the controller: a run from start to end, its lock, SSH files and timings.

``provision``: provision and teardown with their files. ``operate``: what is done to hosts later. ``ssh``: key,
ssh_config, known_hosts. ``lock``: one run at a time. ``timings``: where the time of a run went. ``proxy``: packages
for hosts without a way out, over SSH.
"""
