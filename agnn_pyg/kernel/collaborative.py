"""Feature maps of collaborative kernels: which nodes are rated alike.

They are computed from the same ratings as the kernel matrix, so only nodes with
ratings have them. A side that is to be predicted cold goes without: weights learned
with these kernels would mislead where they are missing.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from agnn_pyg.kernel.features import FeatureMaps, singular_vectors, unit_rows

NAMES = ('co-rating', 'residual')
# Ratings of the mean that are added to those of a node.
DAMPING = 10.0
BIAS_ROUNDS = 5


def append_collaborative(
    users: FeatureMaps,
    items: FeatureMaps,
    edge_index: Tensor,
    rating: Tensor,
    num_factors: int,
    cold: tuple[bool, bool] = (False, False),
) -> tuple[FeatureMaps, FeatureMaps]:
    """Appends the co-rating and the residual kernel to attribute kernels.

    Args:
        users (FeatureMaps): Of all users.
        items (FeatureMaps): Of all items.
        edge_index (Tensor): Pairs of user and item rows, :obj:`[2, R]`.
        rating (Tensor): Their ratings, :obj:`[R]`.
        num_factors (int): Features of each kernel; 0 appends nothing.
        cold (tuple, optional): Whether users, and whether items, go without.
    """
    sides = [users, items]
    if not num_factors or all(cold):
        return users, items
    size = len(users.x), len(items.x), num_factors
    made = (
        co_rating_features(edge_index, *size),
        residual_features(edge_index, rating, *size),
    )
    for name, features in zip(NAMES, made, strict=True):
        for k, x in enumerate(features):
            if not cold[k]:
                sides[k] = sides[k].append(name, x)
    return sides[0], sides[1]


def co_rating_features(
    edge_index: Tensor, num_users: int, num_items: int, num_factors: int = 64
) -> tuple[Tensor, Tensor]:
    """Features of users who rated the same items, and of items of the same users.

    The ratings themselves do not matter. Nodes without any have rows of zeros.

    Args:
        edge_index (Tensor): Pairs of user and item rows, :obj:`[2, R]`.
        num_users (int): Number of users.
        num_items (int): Number of items.
        num_factors (int, optional): Number of features. (default: :obj:`64`)

    Returns:
        Features of users :obj:`[U, F]` and of items :obj:`[I, F]`.
    """
    value = torch.ones(edge_index.size(1))
    return _factorize(edge_index, value, (num_users, num_items), num_factors, 0.0)


def residual_features(
    edge_index: Tensor,
    rating: Tensor,
    num_users: int,
    num_items: int,
    num_factors: int = 64,
) -> tuple[Tensor, Tensor]:
    """Features of users who rated items alike, and of items rated alike.

    A rating counts by its residual: what it exceeds the damped biases of its user and
    its item by. Arguments and result are those of :func:`co_rating_features`, and the
    ratings, :obj:`[R]`.
    """
    size = num_users, num_items
    count = [
        torch.bincount(index, minlength=n) + DAMPING
        for index, n in zip(edge_index, size, strict=True)
    ]
    rest = rating - rating.mean()
    bias = [rest.new_zeros(n) for n in size]
    for _ in range(BIAS_ROUNDS):
        # The biases of each side are damped means of what those of the other leave.
        for k in (1, 0):
            left = rest - bias[1 - k][edge_index[1 - k]]
            total = left.new_zeros(size[k]).index_add(0, edge_index[k], left)
            bias[k] = total / count[k]
    rest = rest - bias[0][edge_index[0]] - bias[1][edge_index[1]]
    return _factorize(edge_index, rest, size, num_factors, DAMPING)


def _factorize(
    edge_index: Tensor,
    value: Tensor,
    size: tuple[int, int],
    num_factors: int,
    damping: float,
) -> tuple[Tensor, Tensor]:
    """Directions of the rows and columns of a matrix in its leading factors."""
    user, item = edge_index.cpu().numpy()
    matrix = sp.csr_matrix((value.cpu().double().numpy(), (user, item)), size)
    weight = [
        sp.diags(1 / np.sqrt(np.maximum(np.bincount(index, minlength=n) + damping, 1)))
        for index, n in zip((user, item), size, strict=True)
    ]
    factors = singular_vectors(weight[0] @ matrix @ weight[1], num_factors)
    left, value, right = factors
    # Fewer nodes than factors have fewer singular vectors; the rest is 0.
    padding = ((0, 0), (0, num_factors - len(value)))
    sides = (np.pad(x * value, padding) for x in (left, right))
    return tuple(_normalized(x) for x in sides)


def _normalized(x: np.ndarray) -> Tensor:
    """Unit rows, scaled such that the mean square length of all rows is 1."""
    x = torch.from_numpy(unit_rows(sp.csr_matrix(x)).toarray()).float()
    return x / x.square().sum(dim=1).mean().sqrt().clamp(min=1e-6)
