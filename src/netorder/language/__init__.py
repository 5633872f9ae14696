"""The topology language: from a file to a checked ``Topology``, or to all of its errors; ``load`` is the pipeline.

``yaml_source`` (YAML with places), ``expand`` (many alike, written out), ``schema`` (shape), ``document`` (values by
path), ``resolve`` (names), ``prefixes``, ``subnet_layout`` and ``assign`` (addresses), ``rules``, ``specs`` (networks,
routers, hosts), ``routes`` (declared and derived), ``validate`` (what only the whole shows); ``reference`` is the
documentation of the schema.
"""
