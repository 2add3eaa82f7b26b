"""Candidate neighbours of new, cold nodes among the nodes of an existing graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agnn_pyg.base.linalg import unit_rows
from agnn_pyg.base.randomness import check_seed, uniform
from agnn_pyg.graph.proximity import (
    as_tensors,
    candidates,
    num_candidates,
    proximity_to,
)

if TYPE_CHECKING:
    import scipy.sparse

# Proximities are compared in blocks of at most so many entries.
BLOCK_ENTRIES = 2**21


def cold_candidates(
    new: scipy.sparse.csr_matrix,
    attributes: scipy.sparse.csr_matrix,
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
        new (scipy.sparse.csr_matrix): Multi-hot attributes of the new nodes,
            :obj:`[M, num_tokens]`.
        attributes (scipy.sparse.csr_matrix): Those that the graph was built from,
            :obj:`[N, num_tokens]`.
        candidate_fraction (float, optional): Fraction of the nodes in a candidate set.
        max_candidates (int, optional): Size of the largest candidate set.
        seed (int, optional): Seed of the tie-breaking. (default: :obj:`0`)

    Returns:
        Edges node → new node, :obj:`[2, E]`, the new ones numbered from 0 and sorted by
        it, and their weights, :obj:`[E]`.

    Raises:
        ValueError: If an argument is out of range.
    """
    new, attributes = unit_rows(new), unit_rows(attributes)
    num_nodes = attributes.shape[0]
    size = num_candidates(num_nodes, candidate_fraction, max_candidates)
    # One number per node of the graph, whichever new node is compared with it.
    tie_break = uniform(torch.arange(num_nodes), check_seed('seed', seed)).numpy()
    parts = []
    step = max(1, BLOCK_ENTRIES // num_nodes)
    for start in range(0, max(1, new.shape[0]), step):
        weight = proximity_to(new[start : start + step], attributes)
        rows = np.arange(start, start + len(weight))
        parts.append(
            candidates(rows, weight, size, np.broadcast_to(tie_break, weight.shape))
        )
    return as_tensors(*(np.concatenate(part) for part in zip(*parts, strict=True)))
