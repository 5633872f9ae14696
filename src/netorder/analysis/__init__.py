"""Analysis of a plan.

``paths``: where packets go. ``filters``: what security groups and port security pass. ``reach``: what reaches what.
``explain``: one pair in words. ``overview``: all pairs, by sets of hosts that are alike. ``flows`` and ``diff``: the
differences between two plans. ``probes``: what to measure on the hosts, and the results
compared with what was expected. ``order``: who starts before whom.
"""
