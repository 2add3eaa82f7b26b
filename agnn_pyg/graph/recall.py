"""Recall of candidate sets, against a comparison with all nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch_geometric.data import Data

from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.randomness import check_seed
from agnn_pyg.graph.proximity import TIE_DECIMALS, normalize, proximity

if TYPE_CHECKING:
    import scipy.sparse

# Nodes are compared with all others in blocks of so many entries.
BLOCK_ENTRIES = 2**22


def candidate_recall(
    graph: Data,
    attributes: TokenBags | scipy.sparse.csr_matrix,
    ratings: scipy.sparse.csr_matrix | None = None,
    *,
    k: int = 10,
    num_nodes: int = 200,
    seed: int = 0,
) -> float:
    r"""The fraction of the k nearest nodes that candidate sets hold (recall@k).

    Nodes drawn at random are compared with all others. A candidate is among the
    nearest if it is at least as close as the k-th of all. If fewer than k nodes have
    anything in common with a node, all of those are the nearest.

    Args:
        graph (Data): See :func:`~agnn_pyg.attribute_graph`.
        attributes (TokenBags or scipy.sparse.csr_matrix): What it was built of.
        ratings (scipy.sparse.csr_matrix, optional): Likewise.
        k (int, optional): Number of nearest nodes. (default: :obj:`10`)
        num_nodes (int, optional): Number of nodes drawn. (default: :obj:`200`)
        seed (int, optional): Seed of the draw. (default: :obj:`0`)

    Raises:
        ValueError: If :obj:`k` or :obj:`num_nodes` is not positive, the seed is
            negative, or the graph is of another number of nodes.
    """
    if isinstance(attributes, TokenBags):
        attributes = attributes.multi_hot()
    total = attributes.shape[0]
    for name, value in (('k', k), ('num_nodes', num_nodes)):
        if value < 1:
            raise ValueError(f"'{name}' must be at least 1 (got {value})")
    if graph.num_nodes != total:
        raise ValueError(
            f"'graph' must have the {total} nodes of 'attributes' (got "
            f'{graph.num_nodes})'
        )
    parts = [normalize(attributes)]
    parts += [] if ratings is None else [normalize(ratings)]
    rng = np.random.default_rng(check_seed('seed', seed))
    chosen = rng.permutation(total)[:num_nodes]
    source, target = graph.edge_index.numpy()
    order = target.argsort(kind='stable')
    source, target = source[order], target[order]
    found = wanted = 0
    step = max(1, BLOCK_ENTRIES // total)
    for start in range(0, len(chosen), step):
        nodes = chosen[start : start + step]
        weight = proximity(nodes, *parts)
        last = min(k, total - 1)
        edge = np.partition(weight, -last, axis=1)[:, -last]
        nearest = np.minimum(last, (weight > 0).sum(axis=1))
        wanted += nearest.sum()
        for row, node in enumerate(nodes):
            candidate = source[slice(*target.searchsorted([node, node + 1]))]
            close = weight[row, candidate] >= edge[row] - 10.0**-TIE_DECIMALS
            related = weight[row, candidate] > 0
            found += min(int((close & related).sum()), nearest[row])
    return float(found / wanted) if wanted else 1.0
