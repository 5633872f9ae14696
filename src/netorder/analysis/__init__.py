"""Analysis of a plan.

``paths``: where packets go. ``filters``: what security groups and port security pass. ``outside``: what passes between
a host and the outside. ``verdict``: what becomes of one connection. ``reach``: what reaches what. ``explain``: one pair
in words. ``overview``: all pairs, by sets of hosts that are alike. ``members``: what is open to members of security
groups, whom the plan does not know. ``flows`` and ``diff``: the differences between two plans. ``probes``: what to
measure on the hosts, and the results compared with what was expected. ``causes``: why a connection that was tried is
not as planned. ``order``: who starts before whom.
"""
