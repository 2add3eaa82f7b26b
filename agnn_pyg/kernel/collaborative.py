"""Feature maps of collaborative kernels, which compare the ratings of nodes.

They are computed from the same ratings as the kernel matrix, so only nodes with
ratings have them. They are not used for a side that is cold in the scenario, because
weights learned with these kernels would be wrong for nodes without them.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from agnn_pyg.base.linalg import singular_vectors, unit_rows
from agnn_pyg.damped_biases import damped_biases
from agnn_pyg.kernel.features import FeatureMaps

FACTORS = 'factors'
NAMES = ('co-rating', 'residual', FACTORS)
# Damping: number of ratings equal to the mean that are added to those of a node.
DAMPING = 10.0
BIAS_ROUNDS = 5
# Rounds of the factorization; penalty as a fraction of the largest singular value.
SWEEPS, PENALTY = 5, 0.25


def append_collaborative(
    users: FeatureMaps,
    items: FeatureMaps,
    edge_index: Tensor,
    rating: Tensor,
    num_factors: int,
    num_latent: int,
    cold: tuple[bool, bool] = (False, False),
) -> tuple[FeatureMaps, FeatureMaps]:
    """Appends the collaborative kernels, :data:`NAMES`, to the attribute kernels.

    They are computed from rated pairs, :obj:`[2, R]`, and their ratings, :obj:`[R]`.
    The first two have :obj:`num_factors` features, the third has :obj:`num_latent`.
    None is appended if there are no factors, or to :obj:`cold` sides.
    """
    sides = [users, items]
    if not num_factors or all(cold):
        return users, items
    size = len(users.x), len(items.x)
    rating = rating - rating.mean()
    _, rest = damped_biases(edge_index, rating, size, DAMPING, BIAS_ROUNDS)
    made = (
        co_rating_features(edge_index, *size, num_factors),
        _factorize(edge_index, rest, size, num_factors, DAMPING),
        latent_factors(edge_index, rest, size, num_latent),
    )
    for name, features in zip(NAMES, made, strict=True):
        for k, x in enumerate(features):
            if not cold[k]:
                sides[k] = sides[k].append(name, x)
    return sides[0], sides[1]


def co_rating_features(
    edge_index: Tensor, num_users: int, num_items: int, num_factors: int = 64
) -> tuple[Tensor, Tensor]:
    """Co-rating features of users :obj:`[U, F]` (items in common), and of items.

    They depend on the rated pairs, :obj:`[2, R]`, and not on the ratings. Nodes without
    rated pairs have rows of zeros.
    """
    value = torch.ones(edge_index.size(1), dtype=torch.float)
    return _factorize(edge_index, value, (num_users, num_items), num_factors, 0.0)


def latent_factors(
    edge_index: Tensor, residual: Tensor, size: tuple[int, int], num_latent: int = 12
) -> tuple[Tensor, Tensor]:
    r"""Factors of users and items whose products fit the residuals of ratings.

    The model is :math:`\epsilon_{ui} \approx \mathbf{p}_u^\top \mathbf{q}_i`, fitted by
    alternating ridge regressions that include the covariance of the other side, as in
    variational Bayes for matrix factorization (Lim and Teh, 2007: Variational Bayesian
    Approach to Movie Rating Prediction):

    .. math::
        \mathbf{\Sigma}_u = \sigma^2 \Big( \sum_{i \in \mathcal{N}(u)} (\mathbf{q}_i
        \mathbf{q}_i^\top + \mathbf{\Sigma}_i) + \lambda \mathbf{I} \Big)^{-1}, \quad
        \mathbf{p}_u = \sigma^{-2} \mathbf{\Sigma}_u \sum_{i \in \mathcal{N}(u)}
        \epsilon_{ui} \mathbf{q}_i

    and symmetrically for items. :math:`\sigma^2` is the variance of the residuals, and
    :math:`\lambda` is a quarter of their largest singular value. Nodes without ratings
    have rows of zeros.

    Factors of users :obj:`[U, F]` and of items :obj:`[I, F]` are scaled so that the
    mean squared length of all rows of a side is 1. Residuals are ratings minus damped
    biases.
    """
    if not num_latent or not residual.any():
        return tuple(torch.zeros(n, num_latent, dtype=torch.float) for n in size)
    value = residual.cpu().float().numpy()
    value = sp.csr_matrix((value, tuple(edge_index.cpu().numpy())), size)
    ones = value.copy()
    ones.data[:] = 1
    matrices = (value, ones), (value.T.tocsr(), ones.T.tocsr())
    # Items start from the leading singular vectors; the first solve is for users.
    _, values, right = singular_vectors(value, num_latent)
    noise = np.square(value.data).mean()
    penalty = PENALTY * values[0]
    penalty = penalty * np.eye(num_latent, dtype=value.dtype)
    mean = [np.zeros((n, num_latent), value.dtype) for n in size]
    mean[1][:, : len(values)] = right * np.sqrt(values)
    covariance = [np.zeros((n, num_latent, num_latent), value.dtype) for n in size]
    # Products of two factors are symmetric, so only half of them are summed.
    row, column = np.triu_indices(num_latent)
    for _ in range(SWEEPS):
        for k, (residuals_of, edges_of) in enumerate(matrices):
            other = mean[1 - k]
            gram = np.empty_like(covariance[k])
            square = other[:, row] * other[:, column]
            square += covariance[1 - k][:, row, column]
            gram[:, row, column] = gram[:, column, row] = edges_of @ square
            inverse = np.linalg.inv(gram + penalty)
            mean[k] = (inverse @ (residuals_of @ other)[:, :, None])[:, :, 0]
            covariance[k] = noise * inverse
    return tuple(_scaled(torch.from_numpy(x)) for x in mean)


def _factorize(
    edge_index: Tensor, value: Tensor, size: tuple[int, int], rank: int, damping: float
) -> tuple[Tensor, Tensor]:
    """Unit rows of users and items in the leading singular space of a matrix."""
    user, item = edge_index.cpu().numpy()
    matrix = sp.csr_matrix((value.cpu().double().numpy(), (user, item)), size)
    weight = [
        sp.diags(1 / np.sqrt(np.maximum(np.bincount(index, minlength=n) + damping, 1)))
        for index, n in zip((user, item), size, strict=True)
    ]
    left, value, right = singular_vectors(weight[0] @ matrix @ weight[1], rank)
    # With fewer nodes than factors, the remaining singular vectors are 0.
    padding = ((0, 0), (0, rank - len(value)))
    sides = (sp.csr_matrix(np.pad(x * value, padding)) for x in (left, right))
    return tuple(_scaled(torch.from_numpy(unit_rows(x).toarray())) for x in sides)


def _scaled(x: Tensor) -> Tensor:
    """Scales rows so that their mean squared length is 1."""
    x = x.float()
    return x / x.square().sum(dim=1).mean().sqrt().clamp(min=1e-6)
