"""A plan as a picture.

``model``: boxes, links and arrows, alike ones as one. ``svg`` (which lays it out), ``drawio`` (as the SVG has it),
``dot``, ``mermaid``: its texts.
"""
