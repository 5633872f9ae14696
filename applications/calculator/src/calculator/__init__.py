"""The calculator: five small HTTP services (sum, sub, mul, div, and the calculator that calls them).

Standalone: the standard library and h11, nothing of netorder, so that one zipapp runs wherever Python is.
"""
