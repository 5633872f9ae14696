"""The topology language: from a file to a checked ``Topology``, or to all of its errors; ``load`` is the pipeline.

``yaml_source`` (YAML with places), ``foreign`` (files of other tools), ``expand`` (many alike, written out), ``schema``
(shape), ``document`` (values by path), ``resolve`` (names), ``further`` (subnets on another's network),
``applications`` and ``clones`` (which run on a host, whose disk it has), ``servers`` and ``ports`` (how they start,
single ports), ``prefixes``, ``subnet_layout``, ``loopbacks``, ``floating`` and ``assign`` (addresses), ``rules``,
``group_members`` (of security groups, in rules), ``specs`` (networks, routers, hosts), ``routes`` and
``outside_routes`` (declared and derived; to the outside), ``validate`` (what only the whole shows), ``targets`` (what a
target cannot do); ``reference`` is the documentation of the schema.
"""
