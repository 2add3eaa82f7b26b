"""What ratings of new nodes tell of them, with nothing fitted again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agnn_pyg.base.metrics import pad_lists
from agnn_pyg.rating_data import BLOCK_USERS


class IdentityPosterior(NamedTuple):
    r"""A bias and slopes of new nodes of one side, from E ratings of them.

    What a user gives beyond its attributes, the products of its identity with item
    kernels, does not depend on other users. So for a new user with ratings of items J,
    it is the posterior mean given the errors :math:`\mathbf{e}` of predictions without
    these ratings. With features :math:`\mathbf{y}` of items and weights
    :math:`\mathbf{w}` of the products, see
    :class:`~agnn_pyg.kernel.kernel.PairwiseKernel`, it adds

    .. math::
        \mathbf{y}_i^\top \boldsymbol{\beta}_u, \quad \boldsymbol{\beta}_u = \mathbf{w}
        \odot \mathbf{Y}_J^\top \boldsymbol{\alpha}, \quad \boldsymbol{\alpha} =
        (\mathbf{Y}_J \, \mathrm{diag}(\mathbf{w}) \, \mathbf{Y}_J^\top +
        \mathbf{I})^{-1} \mathbf{e}

    to the prediction for an item i. Likewise for new items.

    Where attributes of the user are unknown, their features :math:`\mathbf{x}_a` are
    means, and what this user has beyond them is like a part of its identity. Nodes of
    the fit have a squared length of 1 on average, so the weights of a are added to
    :math:`\mathbf{w}`, times the variance :math:`1 - \lVert \mathbf{x}_a \rVert^2`.

    Attributes:
        first: The first new node; those before are of the fit.
        slope: The slopes :math:`\boldsymbol{\beta}` of new nodes, :obj:`[N, F]`.
        node: The node of each rating, :obj:`[E]`.
        part: What each rating adds to the slopes of its node, :obj:`[E, F]`.
    """

    first: int
    slope: Tensor
    node: Tensor
    part: Tensor

    @classmethod
    def fit(
        cls,
        x: Tensor,
        weight: Tensor,
        first: int,
        node: Tensor,
        error: Tensor,
    ) -> IdentityPosterior:
        """Fits it to errors :obj:`[E]`; those that are not finite tell nothing.

        Args:
            x (Tensor): Features of the rated nodes of the other side, :obj:`[E, F]`.
            weight (Tensor): Weights of the features by new node, :obj:`[N, F]`.
            first (int): The first new node.
            node (Tensor): The node of each rating.
            error (Tensor): Errors of the predictions without ratings.
        """
        x = x.double()
        alpha = torch.zeros_like(error)
        rows = ((node >= first) & error.isfinite()).nonzero().squeeze(1)
        mask, row = pad_lists(node[rows], rows)
        blocks = zip(mask.split(BLOCK_USERS), row.split(BLOCK_USERS), strict=True)
        for mask, row in blocks:
            # size = [nodes, ratings, F], zeros where a node has fewer ratings
            own = x[row] * mask[..., None]
            prior = weight[node[row[:, :1]] - first].double()
            kernel = (own * prior) @ own.mT + torch.eye(row.size(1))
            rest = error[row].masked_fill(~mask, 0)[..., None]
            alpha[row[mask]] = torch.linalg.solve(kernel, rest)[..., 0][mask]
        part = alpha[:, None] * x
        part[rows] *= weight[node[rows] - first]
        slope = part.new_zeros(weight.size())
        slope.index_add_(0, node[rows] - first, part[rows])
        return cls(first, slope, node, part)

    def slopes(self, node: Tensor) -> Tensor:
        """Slopes of nodes, :obj:`[B, F]`; zeros of those of the fit."""
        slope = self.slope.new_zeros(len(node), self.slope.size(1))
        is_new = (node >= self.first) & (node < self.first + len(self.slope))
        slope[is_new] = self.slope[node[is_new] - self.first]
        return slope

    def contributions(self, node: int, x: Tensor) -> Tensor:
        """What ratings and features add to a pair, :obj:`[E, F]`.

        The node of the other side has the features x.
        """
        return self.part * x * (self.node == node)[:, None]
