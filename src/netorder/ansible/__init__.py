"""What Ansible's plugins call.

``inventory``: hosts, groups, variables of a plan. ``plans``: its reachability matrix, kept for plugins that ask it
later. ``applications``: what each host's roles are given, and in which steps they run. ``roles``: whether these are
found. ``drift``: the report. ``operations``: what actions on hosts share. ``course``: the stages and tasks of a run.
``live``: what it does now, on a terminal. ``ending``: what it ends with. ``kept``: where the outside calls an
application, as the last run kept it.
"""
