"""The plan: everything that follows from a topology, without querying any cloud.

``model``: its frozen values. ``build``: from a topology to its plan. ``security_groups``: its rules. ``lifecycle``:
what a change of each field costs. ``render``: the plan as text. ``serialize``: the plan as JSON.
"""
