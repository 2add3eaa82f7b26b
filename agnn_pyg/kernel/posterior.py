"""The posterior of new nodes given their ratings, without a new fit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from agnn_pyg.base.metrics import pad_lists
from agnn_pyg.rating_data import BLOCK_USERS

# Directions of slopes, rounds of their EM algorithm, the nodes that it reads, and
# nodes for which the covariance that it starts from counts.
RANK, ROUNDS, MAX_NODES, PRIOR_NODES = 32, 5, 2**12, 20
# Products of two features that are summed at a time.
BLOCK_PRODUCTS = 2**6


class NewNodePosterior(NamedTuple):
    r"""The posterior bias and slopes of new nodes of one side, from E ratings.

    The deviation of a user from its attributes is independent of other users. A user
    has slopes :math:`\boldsymbol{\beta}_u \sim \mathcal{N}(0, \mathbf{L}
    \mathbf{L}^\top)` by the features :math:`\mathbf{y}` of items, with the prior of
    :func:`slope_prior`. From ratings of items J, given the errors :math:`\mathbf{e}` of
    predictions without these ratings, their posterior mean adds

    .. math::
        \mathbf{y}_i^\top \boldsymbol{\beta}_u, \quad \boldsymbol{\beta}_u = \mathbf{L}
        \mathbf{L}^\top \mathbf{Y}_J^\top \boldsymbol{\alpha}, \quad
        \boldsymbol{\alpha} = (\mathbf{Y}_J \mathbf{L} \mathbf{L}^\top
        \mathbf{Y}_J^\top + \mathbf{I})^{-1} \mathbf{e}

    to the prediction for an item i. New items are treated in the same way.

    If attributes of the user are unknown, their features :math:`\mathbf{x}_u` have the
    mean and the covariance :math:`\mathbf{\Sigma}` of the nodes of the fit. The
    covariance of known features is 0. The prediction by attributes is
    :math:`\mathbf{x}_u^\top \mathbf{m}_i`, so ratings also update the unknown
    features:

    .. math::
        \boldsymbol{\alpha} = (\mathbf{Y}_J \mathbf{L} \mathbf{L}^\top
        \mathbf{Y}_J^\top + \mathbf{M}_J \mathbf{\Sigma} \mathbf{M}_J^\top +
        \mathbf{I})^{-1} \mathbf{e}, \quad \mathbf{x}_u \leftarrow \mathbf{x}_u +
        \mathbf{\Sigma} \mathbf{M}_J^\top \boldsymbol{\alpha}
    """

    first: int  # the first new node, after the nodes of the fit
    slope: Tensor  # the slopes of new nodes, [N, F]
    node: Tensor  # the node of each rating, [E]
    part: Tensor  # term of each rating in slopes, before multiplication by L, [E, R]
    prior: Tensor  # the factor L, [F, R]
    shift: Tensor  # change of the features of new nodes, [N, A]

    @classmethod
    def fit(
        cls,
        x: Tensor,
        prior: Tensor,
        first: int,
        node: Tensor,
        error: Tensor,
        attributes: Tensor,
        unknown: Tensor,
        covariance: Tensor,
    ) -> NewNodePosterior:
        r"""Fits the posterior to errors :obj:`[E]`; non-finite errors are ignored.

        The features x of the rated nodes of the other side are :math:`\mathbf{y}`,
        :obj:`[E, F]`, and :obj:`attributes` are :math:`\mathbf{m}`, :obj:`[E, A]`, with
        a mask of those that are unknown, :obj:`[N, A]`, and their :obj:`covariance`.
        """
        prior = prior.double()
        x = x.double() @ prior
        alpha = torch.zeros_like(error)
        rows = ((node >= first) & error.isfinite()).nonzero().squeeze(1)
        mask, row = pad_lists(node[rows], rows)
        blocks = zip(mask.split(BLOCK_USERS), row.split(BLOCK_USERS), strict=True)
        for mask, row in blocks:
            # size = [nodes, ratings, R], zeros where a node has fewer ratings
            own = x[row] * mask[..., None]
            kernel = own @ own.mT + torch.eye(row.size(1), dtype=own.dtype)
            own = attributes[row] * unknown[node[row[:, :1]] - first] * mask[..., None]
            kernel += own @ covariance @ own.mT
            rest = error[row].masked_fill(~mask, 0)[..., None]
            alpha[row[mask]] = torch.linalg.solve(kernel, rest)[..., 0][mask]
        part = alpha[:, None] * x
        slope = part.new_zeros(len(unknown), prior.size(1))
        slope = slope.index_add_(0, node[rows] - first, part[rows]) @ prior.t()
        shift = attributes.new_zeros(unknown.size())
        shift.index_add_(0, node[rows] - first, alpha[rows, None] * attributes[rows])
        shift = (shift * unknown) @ covariance * unknown
        return cls(first, slope, node, part, prior, shift)

    def slopes(self, node: Tensor) -> Tensor:
        """Slopes of nodes, :obj:`[B, F]`; zeros for nodes of the fit."""
        slope = self.slope.new_zeros(len(node), self.slope.size(1))
        is_new = (node >= self.first) & (node < self.first + len(self.slope))
        slope[is_new] = self.slope[node[is_new] - self.first]
        return slope

    def contributions(self, node: int, x: Tensor) -> Tensor:
        """Contributions of ratings and features to a pair, :obj:`[E, F]`.

        :obj:`x` holds the features of the node of the other side.
        """
        return self.part @ self.prior.t() * x * (self.node == node)[:, None]


def slope_prior(
    x: Tensor, weight: Tensor, node: Tensor, neighbor: Tensor, error: Tensor
) -> Tensor:
    r"""A factor of the prior covariance of slopes, learned from held-out nodes.

    The errors of predictions for a held-out user are :math:`\mathbf{e}_u =
    \mathbf{Y}_u \boldsymbol{\beta}_u + \boldsymbol{\varepsilon}` with random slopes
    :math:`\boldsymbol{\beta}_u` (Laird and Ware, "Random-Effects Models for
    Longitudinal Data", 1982). The EM algorithm starts from the covariance of the kernel
    weights, :math:`\mathrm{diag}(\mathbf{w})`, in the leading directions of the
    features. Each round replaces it by the mean of :math:`\mathbf{C}_u + \mathbf{m}_u
    \mathbf{m}_u^\top / \sigma^2` over these users, and over :data:`PRIOR_NODES` more
    that keep the first covariance. The posterior of slopes has the mean
    :math:`\mathbf{m}_u` and the covariance :math:`\sigma^2 \mathbf{C}_u`, where
    :math:`\sigma^2` is the noise variance:

    .. math::
        \mathbf{C}_u = ((\mathbf{L} \mathbf{L}^\top)^{-1} + \mathbf{Y}_u^\top
        \mathbf{Y}_u)^{-1}, \quad \mathbf{m}_u = \mathbf{C}_u \mathbf{Y}_u^\top
        \mathbf{e}_u, \quad \sigma^2 = \frac{1}{R} \sum_u \mathbf{e}_u^\top
        (\mathbf{e}_u - \mathbf{Y}_u \mathbf{m}_u)

    Items are treated in the same way. :obj:`x` holds the features of all nodes of the
    other side, :obj:`[N, F]`, with kernel weights :obj:`[F]`. Each of R errors, rating
    minus prediction, belongs to a held-out node and its neighbor.
    """
    scale = weight.double().sqrt()
    sample = x[:: 1 + len(x) // MAX_NODES].double() * scale
    vectors = torch.linalg.eigh(sample.t() @ sample).eigenvectors
    basis = scale[:, None] * vectors[:, -RANK:]
    rank = basis.size(1)
    node = node.unique(return_inverse=True)[1]
    step = 1 + int(node.max()) // MAX_NODES
    kept = node % step == 0
    node, neighbor, error = node[kept] // step, neighbor[kept], error[kept].double()
    # Products of two features are symmetric, so only half of them are summed.
    row, column = torch.triu_indices(rank, rank)
    size = int(node.max()) + 1
    half = basis.new_empty(size, len(row))
    y = (x @ basis.to(x)).double()
    index, shape = (node.numpy(), neighbor.numpy()), (size, len(x))
    ones = sp.csr_matrix((np.ones(len(error)), index), shape)
    linear = torch.from_numpy(sp.csr_matrix((error.numpy(), index), shape) @ y.numpy())
    for some in torch.arange(len(row)).split(BLOCK_PRODUCTS):
        products = y[:, row[some]] * y[:, column[some]]
        half[:, some] = torch.from_numpy(ones @ products.numpy())
    gram = basis.new_empty(size, rank, rank)
    gram[:, row, column] = gram[:, column, row] = half
    eye = torch.eye(rank).double()
    factor = eye
    for _ in range(ROUNDS):
        # In coordinates in which the prior is the identity.
        inverse = torch.linalg.inv(factor.t() @ gram @ factor + eye)
        target = linear @ factor
        mean = torch.einsum('nij,nj->ni', inverse, target)
        noise = (error.square().sum() - (target * mean).sum()) / len(error)
        spread = mean.t() @ mean / noise.clamp(min=1e-12)
        total = factor @ (inverse.sum(dim=0) + spread) @ factor.t() + PRIOR_NODES * eye
        factor = torch.linalg.cholesky(total / (len(mean) + PRIOR_NODES))
    return (basis @ factor).to(weight)


def same_kernel(prior: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """Converts the factor to other features of the same nodes, for the same kernel.

    Collaborative features change with each fit. This is a least-squares solution with a
    small penalty for features that no node has.
    """
    step = 1 + len(x) // MAX_NODES
    x, other = x[::step].double(), other[::step].double()
    gram = other.t() @ other
    gram.diagonal().add_(1e-6 * gram.diagonal().mean())
    return torch.linalg.solve(gram, other.t() @ (x @ prior.double())).to(prior)
