"""What is done on the controller: a run from start to end, its lock, SSH files and timings.

``provision``: provision and teardown with their files. ``clouds``, ``local``: the targets, by the same functions.
``operations/``: what is done to hosts later. ``status``: what of a plan is in the cloud. ``importing``: what is there
as a topology. ``archive``: all that another controller needs; ``found``: what the cloud has, for it. ``ssh``: key,
ssh_config, known_hosts. ``ssh_wait``: until a host answers; ``answering``: the same in a run, which asks the target why
one does not. ``login``, ``playbooks``, ``process``: command lines of ssh and of playbooks, and running them. ``lock``:
one run at a time. ``state``: where runs keep their files. ``records``: what the last run did and found; ``timings``:
where its time went; ``serve``: the report over HTTP. ``proxy``: packages for hosts without a way out, over SSH.
"""
