"""A plan as a picture.

``model``: boxes, links and arrows, alike ones as one. ``svg`` (which lays it out), ``dot``, ``mermaid``: its texts.
"""
