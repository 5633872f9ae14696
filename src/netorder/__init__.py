"""netorder: from a topology file to a plan, from the plan to a running network on OpenStack or on one machine."""

__version__ = "0.1.0"
