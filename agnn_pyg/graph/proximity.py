"""Proximities between nodes, and candidate sets of the closest nodes."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.sparse as sp
from annotated_types import Gt, Le

from agnn_pyg.base.config import PositiveInt, check_argument

# Decimal places of proximities. Rounding makes ties of sums that differ only in their
# last bits, which depend on the order of summation.
TIE_DECIMALS = 9
# Sources, targets and weights of edges.
Edges = tuple[np.ndarray, np.ndarray, np.ndarray]
CandidateFraction = Annotated[float, Gt(0), Le(1)]

# The most nodes for which all pairs are compared, and the caps on candidate sets of
# larger graphs: edges in total, or edges per node.
DENSE_NODES, MAX_EDGES, LEAST_CAP = 10_000, 5_000_000, 30


def num_candidates(
    num_others: int, candidate_fraction: float, max_candidates: int
) -> int:
    """Size of the candidate set of a node, given the number of other nodes.

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
    attributes: sp.csr_matrix,
    ratings: sp.csr_matrix | None = None,
    count: np.ndarray | None = None,
) -> np.ndarray:
    """Draw weights :obj:`[rows, N]`: proximity minus the lowest one of the row.

    Attributes and ratings must be normalized. With :obj:`count`, a row represents a
    number of equal nodes, which are also compared with each other.
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


def proximity_to(new: sp.csr_matrix, attributes: sp.csr_matrix) -> np.ndarray:
    """Weights of :func:`proximity` for new cold rows, each compared on its own."""
    cosine = (new @ attributes.T).toarray()
    every = np.ones(cosine.shape, dtype=bool)
    return _draw_weight(_zscore(cosine, every), cosine > 0, every)


def candidates(
    rows: np.ndarray, weight: np.ndarray, size: int, tie_break: np.ndarray
) -> Edges:
    """The `size` largest nonzero entries of each row of draw weights.

    Ties for the last places go to the largest numbers in [0, 1) of :obj:`tie_break`.
    Both matrices are :obj:`[rows, N]`.
    """
    edge = np.partition(weight, -size, axis=1)[:, -size, None]
    # All entries above the last weight, and the winners of ties at it.
    key = np.where(weight > edge, 2.0, np.where(weight == edge, tie_break, -1.0))
    source = np.sort(np.argpartition(-key, size - 1, axis=1)[:, :size], axis=1)
    chosen = np.take_along_axis(weight, source, axis=1)
    keep = chosen > 0
    target = np.broadcast_to(rows[:, None], source.shape)
    return source[keep], target[keep], chosen[keep]


def _draw_weight(
    score: np.ndarray, related: np.ndarray, other: np.ndarray
) -> np.ndarray:
    other = other > 0
    score = score.round(TIE_DECIMALS)
    lowest = np.where(other, score, np.inf).min(axis=1, keepdims=True)
    weight = np.where(other, score - lowest, 0)
    # If all other nodes are equally close, they are equally good candidates,
    # unless they have nothing in common with the node.
    flat = weight.max(axis=1, keepdims=True) == 0
    return np.where(flat & related & other, 1.0, weight)


def _zscore(value: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Standardizes each row over its entries, weighted by count; 0 for count 0."""
    mask = count > 0
    total = count.sum(axis=1, keepdims=True).clip(1)
    value = np.where(mask, value, 0)
    mean = (count * value).sum(1, keepdims=True) / total
    centred = np.where(mask, value - mean, 0)
    scale = np.sqrt((count * centred**2).sum(axis=1, keepdims=True) / total)
    scale[scale < 10.0**-TIE_DECIMALS] = 1
    return centred / scale
