"""Attribute graphs: candidate neighbors of all nodes and of new, cold nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.data import Data

from agnn_pyg.base.config import Seed, check_argument
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.linalg import unit_rows
from agnn_pyg.base.randomness import uniform
from agnn_pyg.graph.proximity import (
    DENSE_NODES,
    Edges,
    candidates,
    num_candidates,
    proximity,
    proximity_to,
)
from agnn_pyg.graph.sparse_knn import sparse_candidates

Method = Literal['auto', 'dense', 'exact', 'approximate']
# Number of rows that are compared with all others at a time.
BLOCK_ROWS = 1024
# Maximum number of proximities per block of new nodes.
BLOCK_ENTRIES = 2**21


def attribute_graph(
    attributes: TokenBags | sp.csr_matrix,
    ratings: sp.csr_matrix | None = None,
    *,
    candidate_fraction: float = 0.05,
    max_candidates: int = 500,
    method: str = 'auto',
    seed: int = 0,
) -> Data:
    r"""Builds the attribute graph of the nodes of one type, such as users or items.

    The proximity of two nodes is the cosine of their multi-hot attribute
    vectors plus the cosine of their training-rating vectors, each z-scored
    over the other nodes (AGNN, Section 3.1):

    .. math::
        s_{ij} = z_i(\cos(\mathbf{a}_i, \mathbf{a}_j)) +
        z_i(\cos(\mathbf{r}_i, \mathbf{r}_j))

    The second term is 0 if either node has no rating, so only attributes
    determine the proximity of strictly cold nodes. The *candidate set* of a node is
    the closest :obj:`candidate_fraction` of the other nodes. It is stored as edges
    neighbor :math:`\rightarrow` node with weight :math:`s_{ij} - \min_j s_{ij}`, and
    neighbors are later drawn in proportion to this weight. Ties for the last places
    are broken at random. Candidates of weight 0, which are as far as the farthest node,
    are dropped. If all others are equally close and share something with the node,
    each has weight 1.

    With up to 10,000 nodes, all pairs are compared. In larger graphs, candidate sets
    have a further cap of five million edges in total or 30 per node, nodes with equal
    rows are compared only once, and :obj:`method` selects the search. Proximities are
    the same with two exceptions: deviations are estimates with a standard error of
    about 6 %, and the farthest node is assumed to have nothing in common.

    Args:
        attributes (TokenBags or scipy.sparse.csr_matrix): Encoded attributes,
            or their multi-hot matrix :obj:`[N, num_tokens]`.
        ratings (scipy.sparse.csr_matrix, optional): *Training* ratings
            :obj:`[N, M]`, one row per node. If omitted, only attributes count.
            (default: :obj:`None`)
        candidate_fraction (float, optional): The fraction of the other nodes in a
            candidate set. (default: :obj:`0.05`)
        max_candidates (int, optional): Maximum size of a candidate set, which keeps
            candidates close in large graphs. (default: :obj:`500`)
        method (str, optional): :obj:`"dense"` compares all pairs, in time quadratic
            in the number of nodes. :obj:`"exact"` compares pairs with something in
            common, using :obj:`sparse-dot-topn`. :obj:`"approximate"` compares pairs
            found by nearest-neighbor descent, using :obj:`pynndescent`.
            :obj:`"auto"` selects the fastest method from the number of nodes, of
            distinct nodes, and of products that an exact search would take.
            (default: :obj:`"auto"`)
        seed (int, optional): Seed of tie-breaking, estimates and the approximate
            search, which is reproducible with the same number of threads.
            (default: :obj:`0`)

    Returns:
        A graph with :obj:`edge_index` (sorted by target), :obj:`edge_weight`
        and :obj:`num_nodes`.

    Raises:
        ValueError: If there are fewer than two nodes, the shapes disagree,
            :obj:`candidate_fraction`, :obj:`max_candidates` or :obj:`seed` is out of
            range, an attribute or a rating is not finite, or the library that a
            :obj:`method` needs is not installed.
    """
    if isinstance(attributes, TokenBags):
        attributes = attributes.multi_hot()
    num_nodes = attributes.shape[0]
    if num_nodes < 2:
        raise ValueError(
            f"'attributes' must have at least two rows (got {num_nodes}); a single "
            f'node has no neighbors'
        )
    check_argument('method', method, Method)
    if ratings is not None and ratings.shape[0] != num_nodes:
        raise ValueError(
            f"'ratings' must have one row per node: {num_nodes} (got "
            f'{ratings.shape[0]})'
        )
    for name, matrix in (('attributes', attributes), ('ratings', ratings)):
        if matrix is not None and not np.isfinite(matrix.data).all():
            raise ValueError(f"'{name}' holds NaN or infinite values; drop them")
    size = num_candidates(num_nodes - 1, candidate_fraction, max_candidates)
    seed = check_argument('seed', seed, Seed)
    if method == 'dense' or (method == 'auto' and num_nodes <= DENSE_NODES):
        edges = _dense_candidates(attributes, ratings, size, seed)
    else:
        edges = [sparse_candidates(attributes, ratings, size, method, seed)]
    edge_index, edge_weight = _join(edges)
    return Data(edge_index=edge_index, edge_weight=edge_weight, num_nodes=num_nodes)


def cold_candidates(
    new: sp.csr_matrix,
    attributes: sp.csr_matrix,
    *,
    candidate_fraction: float = 0.05,
    max_candidates: int = 500,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    r"""The edges from the nodes of an attribute graph to new, cold nodes.

    A new node gets the candidates that :func:`~agnn_pyg.attribute_graph` would give it
    if the graph were rebuilt with this one additional node, which has no ratings. New
    nodes are compared with the nodes of the graph but not with each other. Predictions
    for a new node therefore do not depend on other new nodes.

    New nodes and graph nodes are multi-hot attributes, :obj:`[M, num_tokens]` and
    :obj:`[N, num_tokens]`. Returns edges node → new node, :obj:`[2, E]`, sorted by new
    node, and their weights, :obj:`[E]`. New nodes are numbered from 0.
    """
    new, attributes = unit_rows(new), unit_rows(attributes)
    num_nodes = attributes.shape[0]
    size = num_candidates(num_nodes, candidate_fraction, max_candidates)
    # One random number per node of the graph, the same for all new nodes.
    tie_break = uniform(
        torch.arange(num_nodes), check_argument('seed', seed, Seed)
    ).numpy()
    parts = []
    step = max(1, BLOCK_ENTRIES // num_nodes)
    for start in range(0, max(1, new.shape[0]), step):
        weight = proximity_to(new[start : start + step], attributes)
        rows = np.arange(start, start + len(weight))
        ties = np.broadcast_to(tie_break, weight.shape)
        parts.append(candidates(rows, weight, size, ties))
    return _join(parts)


def _dense_candidates(
    attributes: sp.csr_matrix, ratings: sp.csr_matrix | None, size: int, seed: int
) -> Iterator[Edges]:
    """Computes the edges by a comparison of all pairs of nodes."""
    num_nodes = attributes.shape[0]
    attributes = unit_rows(attributes)
    ratings = None if ratings is None else unit_rows(ratings)
    rng = np.random.default_rng(seed)
    for start in range(0, num_nodes, BLOCK_ROWS):
        rows = np.arange(start, min(start + BLOCK_ROWS, num_nodes))
        weight = proximity(rows, attributes, ratings)
        yield candidates(rows, weight, size, rng.random(weight.shape))


def _join(parts: Iterable[Edges]) -> tuple[Tensor, Tensor]:
    """Joins blocks to edges, :obj:`[2, E]`, and weights, :obj:`[E]`."""
    source, target, weight = map(np.concatenate, zip(*parts, strict=True))
    edge_index = np.stack([source, target]).astype(np.int64, copy=False)
    return torch.from_numpy(edge_index), torch.from_numpy(weight).float()
