"""The cloud: ``observe``, ``compare`` with the plan, ``preflight``, ``apply``, ``wait``; ``reconcile`` does all of it.

``change``: changes, and the marks of a topology's own resources. ``draft``: a change set in the making. ``facts``: what
the changes need to know of the cloud. ``groups``: security groups in one comparable form. ``existing``: what is used
and not owned. ``preview``: changes as text.
``result``: what a run of any target did. ``resources/``: a file for each kind of resource; ``work``: what they share;
``jobs``: calls in threads, in the order of what they need. ``delete``, ``teardown``: what goes, dependants first.
``poll``, ``waits``, ``idle``: waiting, what is said of it, and for one server. ``session``, ``transport``, ``errors``:
one login, each request below the SDK, and what goes wrong in the user's words. ``signs``: what the cloud says about a
host that does not answer. ``locked``: servers that somebody locked. Later operations: ``power``, ``resize``,
``snapshots``, ``golden`` with ``golden_scripts``. ``importing/``: a project as a topology.

Everything that belongs to a topology carries its marker (``change.marker``); nothing without it is ever touched, and
what carries it is wholly the topology's, rules and routes inside included. See docs/decisions/0030-reconcile.md.
"""
