"""What ratings of new nodes tell of them, with nothing fitted again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agnn_pyg.base.metrics import pad_lists
from agnn_pyg.rating_data import BLOCK_USERS


class NewNodePosterior(NamedTuple):
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

    Where attributes of the user are unknown, their features :math:`\mathbf{x}_u` are
    means of the fit, and vary about them as the fit's do, with the covariance
    :math:`\mathbf{\Sigma}` of these features, and 0 of those that are known. The
    prediction is :math:`\mathbf{x}_u^\top \mathbf{m}_i` by attributes, so that
    ratings tell of them, too:

    .. math::
        \boldsymbol{\alpha} = (\mathbf{Y}_J \, \mathrm{diag}(\mathbf{w}) \,
        \mathbf{Y}_J^\top + \mathbf{M}_J \mathbf{\Sigma} \mathbf{M}_J^\top +
        \mathbf{I})^{-1} \mathbf{e}, \quad \mathbf{x}_u \leftarrow \mathbf{x}_u +
        \mathbf{\Sigma} \mathbf{M}_J^\top \boldsymbol{\alpha}

    Attributes:
        first: The first new node; those before are of the fit.
        slope: The slopes :math:`\boldsymbol{\beta}` of new nodes, :obj:`[N, F]`.
        node: The node of each rating, :obj:`[E]`.
        part: What each rating adds to the slopes of its node, :obj:`[E, F]`.
        shift: What ratings add to the features of new nodes, :obj:`[N, A]`.
    """

    first: int
    slope: Tensor
    node: Tensor
    part: Tensor
    shift: Tensor

    @classmethod
    def fit(
        cls,
        x: Tensor,
        weight: Tensor,
        first: int,
        node: Tensor,
        error: Tensor,
        attributes: Tensor,
        unknown: Tensor,
        covariance: Tensor,
    ) -> NewNodePosterior:
        r"""Fits it to errors :obj:`[E]`; those that are not finite tell nothing.

        Args:
            x (Tensor): Features of the rated nodes of the other side, :obj:`[E, F]`.
            weight (Tensor): Weights of the features, :obj:`[F]`.
            first (int): The first new node.
            node (Tensor): The node of each rating.
            error (Tensor): Errors of the predictions without ratings.
            attributes (Tensor): What features of the node are multiplied by in the
                prediction, :math:`\mathbf{m}`, :obj:`[E, A]`.
            unknown (Tensor): A mask of those of new nodes, :obj:`[N, A]`.
            covariance (Tensor): Theirs in the fit, :obj:`[A, A]`.
        """
        weight = weight.double()
        x = x.double()
        alpha = torch.zeros_like(error)
        rows = ((node >= first) & error.isfinite()).nonzero().squeeze(1)
        mask, row = pad_lists(node[rows], rows)
        blocks = zip(mask.split(BLOCK_USERS), row.split(BLOCK_USERS), strict=True)
        for mask, row in blocks:
            # size = [nodes, ratings, F], zeros where a node has fewer ratings
            own = x[row] * mask[..., None]
            kernel = (own * weight) @ own.mT + torch.eye(row.size(1))
            own = attributes[row] * unknown[node[row[:, :1]] - first] * mask[..., None]
            kernel += own @ covariance @ own.mT
            rest = error[row].masked_fill(~mask, 0)[..., None]
            alpha[row[mask]] = torch.linalg.solve(kernel, rest)[..., 0][mask]
        part = alpha[:, None] * weight * x
        slope = part.new_zeros(len(unknown), len(weight))
        slope.index_add_(0, node[rows] - first, part[rows])
        shift = attributes.new_zeros(unknown.size())
        shift.index_add_(0, node[rows] - first, alpha[rows, None] * attributes[rows])
        shift = (shift * unknown) @ covariance * unknown
        return cls(first, slope, node, part, shift)

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
