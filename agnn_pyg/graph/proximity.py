"""Proximities of nodes, and the candidate sets that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from annotated_types import Gt, Le
from torch import Tensor

from agnn_pyg.base.config import PositiveInt, check_argument

if TYPE_CHECKING:
    import scipy.sparse

# Proximities that agree to nine places are ties, not an order: the same sum
# in another order differs in the last bits.
TIE_DECIMALS = 9
CandidateFraction = Annotated[float, Gt(0), Le(1)]

# Up to so many nodes, all pairs are compared; beyond, candidate sets are capped as
# well: at so many edges in all, or so many per node.
DENSE_NODES, MAX_EDGES, LEAST_CAP = 10_000, 5_000_000, 30


def num_candidates(
    num_others: int, candidate_fraction: float, max_candidates: int
) -> int:
    """Size of the candidate set of a node that has so many others to choose from.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_argument('candidate_fraction', candidate_fraction, CandidateFraction)
    check_argument('max_candidates', max_candidates, PositiveInt)
    size = min(max(1, round(candidate_fraction * num_others)), max_candidates)
    if num_others < DENSE_NODES:
        return size
    return min(size, max(LEAST_CAP, MAX_EDGES // num_others))


def proximity(
    rows: np.ndarray,
    attributes: scipy.sparse.csr_matrix,
    ratings: scipy.sparse.csr_matrix | None = None,
    count: np.ndarray | None = None,
) -> np.ndarray:
    """Draw weights :obj:`[rows, N]`: proximity less the lowest of the row.

    Args:
        rows: The nodes that others are compared with.
        attributes: Normalised attributes of all nodes.
        ratings: Normalised ratings of all nodes.
        count: How many equal nodes a row stands for; a node is compared with those
            equal to it, too.
    """
    other = rows[:, None] != np.arange(attributes.shape[0])
    if count is not None:
        other = count - ~other
    cosine = (attributes[rows] @ attributes.T).toarray()
    score = _zscore(cosine, other)
    related = cosine > 0
    if ratings is not None:
        rated = np.diff(ratings.indptr) > 0
        both = other * (rated[rows, None] & rated)
        cosine = (ratings[rows] @ ratings.T).toarray()
        score += _zscore(cosine, both)
        related |= (both > 0) & (cosine > 0)
    return _draw_weight(score, related, other)


def proximity_to(
    new: scipy.sparse.csr_matrix, attributes: scipy.sparse.csr_matrix
) -> np.ndarray:
    """The weights of :func:`proximity` for new, cold rows, each added alone."""
    cosine = (new @ attributes.T).toarray()
    every = np.ones(cosine.shape, dtype=bool)
    return _draw_weight(_zscore(cosine, every), cosine > 0, every)


def candidates(
    rows: np.ndarray, weight: np.ndarray, size: int, tie_break: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `size` largest entries of each row, zeros left out.

    Args:
        rows: The nodes whose weights are given.
        weight: Draw weights, :obj:`[rows, N]`.
        size: Candidates of a node.
        tie_break: Numbers in [0, 1), the largest of which win at the edge of a
            candidate set, :obj:`[rows, N]`.

    Returns:
        Sources, targets and weights of the edges.
    """
    edge = np.partition(weight, -size, axis=1)[:, -size, None]
    # Above the edge: all. On it: those that win the tie.
    key = np.where(weight > edge, 2.0, np.where(weight == edge, tie_break, -1.0))
    source = np.sort(np.argpartition(-key, size - 1, axis=1)[:, :size], axis=1)
    chosen = np.take_along_axis(weight, source, axis=1)
    keep = chosen > 0
    target = np.broadcast_to(rows[:, None], source.shape)
    return source[keep], target[keep], chosen[keep]


def as_tensors(
    source: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Edges, :obj:`[2, E]`, and their weights, :obj:`[E]`."""
    edge_index = np.stack([source, target]).astype(np.int64, copy=False)
    return torch.from_numpy(edge_index), torch.from_numpy(weight).float()


def check_finite(name: str, matrix: scipy.sparse.csr_matrix) -> None:
    """Raises ``ValueError`` if attributes or ratings hold NaN or infinite values."""
    if not np.isfinite(matrix.data).all():
        raise ValueError(f"'{name}' holds NaN or infinite values; drop them")


def _draw_weight(
    score: np.ndarray, related: np.ndarray, other: np.ndarray
) -> np.ndarray:
    other = other > 0
    score = score.round(TIE_DECIMALS)
    lowest = np.where(other, score, np.inf).min(axis=1, keepdims=True)
    weight = np.where(other, score - lowest, 0)
    # Where all others are equally close, they are equally good candidates,
    # unless they have nothing in common with the node.
    flat = weight.max(axis=1, keepdims=True) == 0
    return np.where(flat & related & other, 1.0, weight)


def _zscore(value: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Standardises each row over its entries, each counted so often; 0 where never."""
    mask = count > 0
    total = count.sum(axis=1, keepdims=True).clip(1)
    value = np.where(mask, value, 0)
    mean = (count * value).sum(1, keepdims=True) / total
    centred = np.where(mask, value - mean, 0)
    scale = np.sqrt((count * centred**2).sum(axis=1, keepdims=True) / total)
    scale[scale < 10.0**-TIE_DECIMALS] = 1
    return centred / scale
