"""How alike two nodes are by what was rated: relations that come of the ratings.

They are of the ratings that messages are made of, and so belong to nodes that have
some. A node to be rated cold has none, nor may any be told to it: gates that count on
these relations would mislead it, and its side goes without them.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from agnn_pyg.old.relations import Relations, scaled, singular_vectors, unit_rows

NAMES = ('shared', 'agreed')
# Ratings that a level, or a row, is worth before it has any.
DAMPING = 10.0
LEVEL_ROUNDS = 5


def append_rated(
    users: Relations,
    items: Relations,
    rated: Tensor,
    rating: Tensor,
    rank: tuple[int, int],
) -> tuple[Relations, Relations]:
    """These relations, and those of having rated, or being rated, alike.

    Args:
        users (Relations): Of all users.
        items (Relations): Of all items.
        rated (Tensor): Pairs of user and item rows, :obj:`[2, R]`.
        rating (Tensor): Their ratings, :obj:`[R]`.
        rank (tuple): Features of each relation, of users and of items; 0 goes
            without.
    """
    if not any(rank):
        return users, items
    size = len(users.x), len(items.x), max(rank)
    made = shared_ratings(rated, *size), agreed_ratings(rated, rating, *size)
    sides = [users, items]
    for name, features in zip(NAMES, made, strict=True):
        for k, x in enumerate(features):
            if rank[k]:
                sides[k] = sides[k].append(name, x)
    return sides[0], sides[1]


def shared_ratings(
    rated: Tensor, num_users: int, num_items: int, rank: int = 64
) -> tuple[Tensor, Tensor]:
    """Features by which users who rated the same items are alike, and items too.

    What the ratings are does not matter. Nodes without any have rows of zeros.

    Args:
        rated (Tensor): Pairs of user and item rows, :obj:`[2, R]`.
        num_users (int): Number of users.
        num_items (int): Number of items.
        rank (int, optional): Number of features. (default: :obj:`64`)

    Returns:
        Features of users :obj:`[U, F]` and of items :obj:`[I, F]`.
    """
    value = torch.ones(rated.size(1))
    return _features(rated, value, (num_users, num_items), rank, 0.0)


def agreed_ratings(
    rated: Tensor, rating: Tensor, num_users: int, num_items: int, rank: int = 64
) -> tuple[Tensor, Tensor]:
    """Features by which users who rated items alike are alike, and items too.

    What counts is by how much a rating exceeds the levels of its user and its item.
    Arguments and result are those of :func:`shared_ratings`, and the ratings
    themselves, :obj:`[R]`.
    """
    size = num_users, num_items
    count = [
        torch.bincount(index, minlength=n) + DAMPING
        for index, n in zip(rated, size, strict=True)
    ]
    rest = rating - rating.mean()
    level = [rest.new_zeros(n) for n in size]
    for _ in range(LEVEL_ROUNDS):
        # Each side's levels are means of what the other's leave.
        for k in (1, 0):
            left = rest - level[1 - k][rated[1 - k]]
            level[k] = left.new_zeros(size[k]).index_add(0, rated[k], left) / count[k]
    rest = rest - level[0][rated[0]] - level[1][rated[1]]
    return _features(rated, rest, size, rank, DAMPING)


def _features(
    rated: Tensor, value: Tensor, size: tuple[int, int], rank: int, damping: float
) -> tuple[Tensor, Tensor]:
    """Directions of the rows and columns of a matrix among its leading vectors."""
    user, item = rated.cpu().numpy()
    matrix = sp.csr_matrix((value.cpu().double().numpy(), (user, item)), size)
    weight = [
        sp.diags(1 / np.sqrt(np.maximum(np.bincount(index, minlength=n) + damping, 1)))
        for index, n in zip((user, item), size, strict=True)
    ]
    left, value, right = singular_vectors(weight[0] @ matrix @ weight[1], rank)
    # Few nodes have fewer singular vectors: the rest is 0.
    gap = ((0, 0), (0, rank - len(value)))
    sides = (np.pad(x * value, gap) for x in (left, right))
    return tuple(scaled(unit_rows(sp.csr_matrix(x)).toarray()) for x in sides)
