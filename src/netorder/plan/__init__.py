"""The plan: everything that follows from a topology, before any cloud is asked.

``model``: its frozen values. ``build``: from a topology to its plan. ``render``: the plan as text.
"""
