"""Candidate neighbours of new, cold nodes among the nodes of an existing graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.linalg import unit_rows
from agnn_pyg.base.randomness import check_seed, uniform
from agnn_pyg.graph.proximity import (
    candidates,
    check_finite,
    num_candidates,
    proximity_to,
)

if TYPE_CHECKING:
    import scipy.sparse

# Proximities are compared in blocks of at most so many entries.
BLOCK_ENTRIES = 2**21


def cold_candidates(
    new: TokenBags | scipy.sparse.csr_matrix,
    attributes: TokenBags | scipy.sparse.csr_matrix,
    *,
    candidate_fraction: float = 0.05,
    max_candidates: int = 500,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    r"""The edges from the nodes of an attribute graph to new, cold nodes.

    A new node gets the candidates that :func:`~agnn_pyg.attribute_graph` would give
    it if the graph were rebuilt with this one node more and without a rating of it.
    New nodes are compared with the nodes of the graph and not with each other: what is
    predicted for a new node does not depend on which others came with it.

    Args:
        new (TokenBags or scipy.sparse.csr_matrix): Encoded attributes of the
            new nodes, or their multi-hot matrix :obj:`[M, num_tokens]`.
        attributes (TokenBags or scipy.sparse.csr_matrix): Those that the graph
            was built from, by the same vocabulary, :obj:`[N, num_tokens]`.
        candidate_fraction (float, optional): Fraction of the nodes in a candidate set.
        max_candidates (int, optional): Size of the largest candidate set.
        seed (int, optional): Seed of the tie-breaking. (default: :obj:`0`)

    Returns:
        Edges node → new node, :obj:`[2, E]`, the new ones numbered from 0 and sorted by
        it, and their weights, :obj:`[E]`.

    Raises:
        ValueError: If the vocabularies differ, an attribute is not finite, the graph
            has no node, or an argument is out of range.
    """
    new, attributes = _matrix('new', new), _matrix('attributes', attributes)
    if new.shape[1] != attributes.shape[1]:
        raise ValueError(
            f"'new' must be encoded by the vocabulary of 'attributes', of "
            f'{attributes.shape[1]} tokens (got {new.shape[1]})'
        )
    num_nodes = attributes.shape[0]
    if not num_nodes:
        raise ValueError("'attributes' must have rows (got 0): they are the neighbours")
    size = num_candidates(num_nodes, candidate_fraction, max_candidates)
    # One number per node of the graph, whichever new node is compared with it.
    tie_break = uniform(torch.arange(num_nodes), check_seed('seed', seed)).numpy()
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    step = max(1, BLOCK_ENTRIES // num_nodes)
    for start in range(0, new.shape[0], step):
        weight = proximity_to(new[start : start + step], attributes)
        rows = np.arange(start, start + len(weight))
        parts.append(
            candidates(rows, weight, size, np.broadcast_to(tie_break, weight.shape))
        )
    source, target, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
    edge_index = torch.from_numpy(np.stack([source, target]))
    return edge_index, torch.from_numpy(weight.astype(np.float32))


def _matrix(
    name: str, attributes: TokenBags | scipy.sparse.csr_matrix
) -> scipy.sparse.csr_matrix:
    if isinstance(attributes, TokenBags):
        attributes = attributes.multi_hot()
    check_finite(name, attributes)
    return unit_rows(attributes)
