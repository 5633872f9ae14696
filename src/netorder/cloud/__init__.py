"""The cloud: ``observe``, ``compare`` with the plan, ``preflight``, ``apply``, ``wait``; ``reconcile`` does all of it.

Everything that belongs to a topology carries its marker (``change.marker``); nothing without it is ever touched, and
what carries it is wholly the topology's, rules and routes inside included. See docs/decisions/0030-reconcile.md.
"""
