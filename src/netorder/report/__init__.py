"""What a run did and found, as one page.

``measured``: what probes said of each pair and host, beside the plan. ``page``: the HTML.
"""
