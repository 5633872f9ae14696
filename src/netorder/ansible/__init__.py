"""What Ansible's plugins call: ``inventory`` (hosts, groups, variables of a plan) and ``drift`` (the report)."""
