"""The target `machine`: hosts as virtual machines of QEMU on this machine, each behind a NAT of its own (SLIRP).

``wanted``: what a plan needs, pure. ``store``: what is kept of each host. ``seed``: config drives. ``images``: what
disks are made from. ``qemu``: processes, monitors, forwarded ports. ``observe``: what is there. ``compare``: the
differences as changes, pure. ``target``: all of it, and the teardown. A host is its directory,
``machine/<topology>/<host>`` under the files of runs; a process is known by its pidfile there, on its command line
(decision 0290).
"""
