"""Questions asked of a plan.

``reach``: who reaches whom. ``explain``: the same in words. ``diff``: what lies between two plans. ``probes``: what to
measure on the hosts, and the measurements compared with what was expected.
"""
