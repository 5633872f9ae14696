"""What Ansible's plugins call.

``inventory``: hosts, groups, variables of a plan. ``drift``: the report. ``operations``: what actions on hosts share.
"""
