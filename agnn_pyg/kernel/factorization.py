"""Matrix factorization of ratings by variational Bayes."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from agnn_pyg.base.linalg import singular_vectors
from agnn_pyg.damped_biases import damped_biases

# Damping: number of ratings equal to the mean that are added to those of a node.
DAMPING = 10.0
BIAS_ROUNDS = 5
# Rounds with fixed variances; penalty as a fraction of the largest singular value.
SWEEPS, PENALTY = 5, 0.25
# Rounds of :func:`factor_rows`, the first of them with fixed variances; the precision
# of constants, and the least variance, of factors as a fraction of that of the noise,
# and of the noise as a fraction of that of the ratings.
LEARNED_SWEEPS, FIXED_SWEEPS, PRECISION, MIN_VARIANCE = 15, 2, 1e8, 1e-6


def latent_factors(
    edge_index: Tensor, residual: Tensor, size: tuple[int, int], num_latent: int = 12
) -> tuple[Tensor, Tensor]:
    r"""Factors of users and items whose products fit the residuals of ratings.

    The model is :math:`\epsilon_{ui} \approx \mathbf{p}_u^\top \mathbf{q}_i`, fitted by
    variational Bayes (Lim and Teh, 2007: Variational Bayesian Approach to Movie Rating
    Prediction), that is, by alternating ridge regressions that include the covariance
    of the other side:

    .. math::
        \mathbf{\Sigma}_u = \sigma^2 \Big( \sum_{i \in \mathcal{N}(u)} (\mathbf{q}_i
        \mathbf{q}_i^\top + \mathbf{\Sigma}_i) + \mathbf{\Lambda} \Big)^{-1}, \quad
        \mathbf{p}_u = \sigma^{-2} \mathbf{\Sigma}_u \sum_{i \in \mathcal{N}(u)}
        \epsilon_{ui} \mathbf{q}_i

    and symmetrically for items. :math:`\sigma^2` is the variance of the residuals and
    :math:`\mathbf{\Lambda}` a quarter of their largest singular value times the
    identity. Nodes without ratings have rows of zeros.

    Returns factors of users :obj:`[U, F]` and of items :obj:`[I, F]`. Residuals are
    ratings minus damped biases.
    """
    if not num_latent or not residual.any():
        return tuple(torch.zeros(n, num_latent, dtype=torch.float) for n in size)
    value = _matrix(edge_index, residual.float(), size)
    mean = [np.zeros((n, num_latent), value.dtype) for n in size]
    mean[1][:], largest = _start(value, num_latent)
    penalty = np.full((2, num_latent), PENALTY * largest, value.dtype)
    _alternate(value, mean, penalty, np.square(value.data).mean(), SWEEPS)
    return tuple(map(torch.from_numpy, mean))


def factor_rows(
    edge_index: Tensor, rating: Tensor, size: tuple[int, int], num_latent: int
) -> tuple[Tensor, Tensor]:
    r"""Rows of users and items whose products are biases plus products of factors.

    The model of centered ratings is :math:`b_u + c_i + \mathbf{p}_u^\top \mathbf{q}_i`,
    fitted as in :func:`latent_factors` with rows :math:`(b_u, 1, \mathbf{p}_u)` and
    :math:`(1, c_i, \mathbf{q}_i)`. Variances are learned, too (empirical Bayes; Lim and
    Teh, 2007, section 3): :math:`\sigma^2` is the expected squared error, and the
    diagonal of :math:`\mathbf{\Lambda}` is :math:`\sigma^2` divided by the mean square
    of each column of a side.

    Returns rows of users :obj:`[U, F + 2]` and of items :obj:`[I, F + 2]`.
    """
    bias, rest = damped_biases(edge_index, rating, size, DAMPING, BIAS_ROUNDS)
    mean = [np.zeros((n, num_latent + 2)) for n in size]
    penalty = np.zeros((2, num_latent + 2))
    for k, b in enumerate(bias):
        mean[k][:, k], mean[k][:, 1 - k] = b, 1
        penalty[k, k], penalty[k, 1 - k] = DAMPING, PRECISION
    if rest.any():  # all ratings may be equal
        residual = _matrix(edge_index, rest.double(), size)
        mean[1][:, 2:], largest = _start(residual, num_latent)
        penalty[:, 2:] = PENALTY * largest
        value = _matrix(edge_index, rating.double(), size)
        noise = np.square(residual.data).mean()
        _alternate(value, mean, penalty, noise, LEARNED_SWEEPS, FIXED_SWEEPS)
    return tuple(torch.from_numpy(x).float() for x in mean)


def _matrix(edge_index: Tensor, value: Tensor, size: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((value.cpu().numpy(), tuple(edge_index.cpu().numpy())), size)


def _start(residual: sp.csr_matrix, num_latent: int) -> tuple[np.ndarray, float]:
    """Factors of items from leading singular vectors, and the largest value."""
    _, values, right = singular_vectors(residual, num_latent)
    made = np.zeros((residual.shape[1], num_latent), residual.dtype)
    made[:, : len(values)] = right * np.sqrt(values)
    return made, values[0]


def _alternate(
    value: sp.csr_matrix,
    mean: list[np.ndarray],
    penalty: np.ndarray,
    noise: float,
    sweeps: int,
    fixed: int | None = None,
) -> None:
    """Updates the means of users and of items in place, users first.

    :obj:`penalty` is the diagonal of the penalty of each side; where it is
    :data:`PRECISION`, the prior mean is 1 instead of 0. After the :obj:`fixed` first
    rounds, if given, variances are learned.
    """
    dtype, total = value.dtype, np.vdot(value.data, value.data)
    ones = value.copy()
    ones.data[:] = 1
    matrices = (value, ones), (value.T.tocsr(), ones.T.tocsr())
    constant = penalty == PRECISION
    # Products of two factors are symmetric, so only half of them are summed.
    row, column = np.triu_indices(penalty.shape[1])
    twice = np.where(row == column, 1, 2).astype(dtype)
    square = [x[:, row] * x[:, column] for x in mean]
    summed = ones @ square[1]  # over the pairs of each node of the side to update
    for sweep in range(sweeps):
        for k, (ratings_of, _) in enumerate(matrices):
            gram = np.empty((len(mean[k]), *2 * penalty.shape[1:]), dtype)
            gram[:, row, column] = gram[:, column, row] = summed
            inverse = np.linalg.inv(gram + np.diag(penalty[k]))
            target = ratings_of @ mean[1 - k] + penalty[k] * constant[k]
            mean[k][:] = (inverse @ target[:, :, None])[:, :, 0]
            square[k] = mean[k][:, row] * mean[k][:, column]
            square[k] += noise * inverse[:, row, column]
            summed = matrices[1 - k][1] @ square[k]
            if fixed is not None and sweep >= fixed:
                variance = square[k][:, row == column].mean(axis=0)
                learned = noise / variance.clip(min=MIN_VARIANCE * noise)
                penalty[k] = np.where(constant[k], PRECISION, learned)
        if fixed is not None:
            # The sum over pairs of r^2 - 2 r p q + (p q)^2, by users.
            product = np.vdot(mean[0], value @ mean[1])
            second = np.vdot(square[0] * twice, summed)
            error = max(total - 2 * product + second, MIN_VARIANCE * total)
            noise = error / value.nnz
