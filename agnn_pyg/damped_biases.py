"""Damped biases of users and items, and residuals of ratings."""

from __future__ import annotations

import torch
from torch import Tensor


def damped_biases(
    edge_index: Tensor,
    rating: Tensor,
    size: tuple[int, int],
    damping: float,
    rounds: int,
) -> tuple[list[Tensor], Tensor]:
    r"""Biases of users and items, and the residuals of ratings.

    The biases of one side are damped means of the residuals from the other side:

    .. math::
        b_i = \frac{\sum_{u \in \mathcal{N}(i)} (r_{ui} - b_u)}
        {|\mathcal{N}(i)| + \delta}, \quad
        b_u = \frac{\sum_{i \in \mathcal{N}(u)} (r_{ui} - b_i)}
        {|\mathcal{N}(u)| + \delta}, \quad
        \epsilon_{ui} = r_{ui} - b_u - b_i

    Args:
        edge_index (Tensor): Pairs of user and item, :obj:`[2, R]`.
        rating (Tensor): Ratings minus the global mean, :obj:`[R]`.
        size (tuple): Number of users and of items.
        damping (float): :math:`\delta`.
        rounds (int): Number of alternations; each solves for items, then for users.
    """
    bias = [rating.new_zeros(number) for number in size]
    for _ in range(rounds):
        for end in (1, 0):
            rest = rating - bias[1 - end][edge_index[1 - end]]
            bias[end] = damped_mean(rest, edge_index[end], size[end], damping)
    return bias, rating - bias[0][edge_index[0]] - bias[1][edge_index[1]]


def damped_mean(value: Tensor, index: Tensor, size: int, damping: float) -> Tensor:
    """Sum of values by index, divided by count plus damping, :obj:`[size]`."""
    total, count = (
        value.new_zeros(size).index_add(0, index, part)
        for part in (value, torch.ones_like(value))
    )
    return total / (count + damping)
