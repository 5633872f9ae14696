"""A rival: derives every route from networkx's shortest paths between all networks and routers."""

from __future__ import annotations

from pathlib import Path

import measure
import networkx as nx
import yaml


def work(path: str) -> int:
    document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    graph = nx.Graph()
    graph.add_nodes_from(document["networks"])
    for router, its in document["routers"].items():
        graph.add_edges_from((router, network) for network in its["networks"])
    paths = dict(nx.all_pairs_shortest_path(graph))
    starts = [(host["network"], [host["network"]]) for host in document["hosts"].values()]
    starts += [(router, its["networks"]) for router, its in document["routers"].items()]
    networks = document["networks"].keys()
    return sum(len(networks & paths[start].keys() - set(joined)) for start, joined in starts)


if __name__ == "__main__":
    measure.main(work)
