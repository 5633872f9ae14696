"""The topology language: from a file to a checked ``Topology``, or to all of its errors; ``load`` is the pipeline.

``yaml_source`` (YAML with places), ``schema`` (shape), ``document`` (values by path), ``resolve`` (names, routers,
hosts), ``subnet_layout`` and ``assign`` (addresses), ``rules``, ``validate`` (routes, and what only the whole shows);
``reference`` is the documentation made from the schema.
"""
