"""How nova's and neutron's APIs start under uwsgi: what they import, once for all workers; then each its application.

uwsgi's first process imports ``NAME_modules`` (1.8 s of CPU, 90 MB) and forks the workers, which share it; each then
loads ``NAME``, which makes connections and threads that no other process may share.
"""
