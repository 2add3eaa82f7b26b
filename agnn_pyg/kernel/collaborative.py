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
from agnn_pyg.kernel.factorization import BIAS_ROUNDS, DAMPING, latent_factors
from agnn_pyg.kernel.features import FeatureMaps

FACTORS = 'factors'
NAMES = ('co-rating', 'residual', FACTORS)


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
    factors = latent_factors(edge_index, rest, size, num_latent)
    made = (
        co_rating_features(edge_index, *size, num_factors),
        _factorize(edge_index, rest, size, num_factors, DAMPING),
        [*map(_scaled, factors)],
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
