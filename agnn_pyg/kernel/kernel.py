"""The pairwise kernel: matrix-vector products and linear solves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from agnn_pyg.kernel.features import FeatureMaps
from agnn_pyg.kernel.pairs import RatedPairs

# Maximum number of iterations of a solve.
MAX_ITER = 100


class NodeSums(NamedTuple):
    """Feature sums over the rated pairs of each node, weighted by dual coefficients."""

    user: Tensor  # of the features of a user's items, [U, F_items]
    item: Tensor  # of the features of an item's users, [I, F_users]

    def plus(self, other: NodeSums, scale: Tensor | float = 1) -> NodeSums:
        """Sums of these coefficients plus others times a scale: sums are linear."""
        parts = zip(self, other, strict=True)
        return NodeSums(*(own + scale * more for own, more in parts))


class Solution(NamedTuple):
    """Dual coefficients, their sums and the number of iterations of the solver."""

    alpha: Tensor
    sums: NodeSums
    iterations: int = 0


@dataclass(frozen=True, eq=False)
class PairwiseKernel:
    r"""A weighted sum of products of user and item kernels, between rated pairs.

    .. math::
        K_{(u,i),(v,j)} = \sum_{a=1}^{A+1} \sum_{b=1}^{B+1} w_{ab} \,
        k_a(u, v) \, k_b(i, j)

    The first A user kernels are inner products of features, :math:`k_a(u, v) =
    \mathbf{x}_{ua}^\top \mathbf{x}_{va}`. The last one is the identity, 1 for
    :math:`u = v` and else 0. Item kernels have the same form with features
    :math:`\mathbf{y}_{ib}`. The weight of the product of both identities is ignored: it
    is the noise variance of a rating, which is 1.

    The R x R matrix is never formed. With the sums :math:`\mathbf{s}_v = \sum_j
    \alpha_{vj} \mathbf{y}_j` and :math:`\mathbf{t}_j = \sum_v \alpha_{vj}
    \mathbf{x}_v` over the rated pairs of a node, and one weight per feature,

    .. math::
        (\mathbf{K} \boldsymbol{\alpha})_{ui} = \mathbf{x}_u^\top \Big(\mathbf{W}
        \odot \sum_v \mathbf{x}_v \mathbf{s}_v^\top\Big) \mathbf{y}_i +
        (\mathbf{w}_\mathrm{items} \odot \mathbf{s}_u)^\top \mathbf{y}_i +
        (\mathbf{w}_\mathrm{users} \odot \mathbf{x}_u)^\top \mathbf{t}_i

    which takes :math:`O((U + I) F_U F_I + R (F_U + F_I))` operations, and memory for
    the features and R numbers.

    Vectors follow the order of the rated pairs. The weights :math:`w_{ab}` have the
    shape :obj:`[A + 1, B + 1]`.
    """

    users: FeatureMaps
    items: FeatureMaps
    pairs: RatedPairs
    weight: Tensor

    def node_sums(self, alpha: Tensor, pairs: RatedPairs | None = None) -> NodeSums:
        """Computes the sums of both sides, by default over the kernel's own pairs."""
        pairs = pairs or self.pairs
        return NodeSums(
            pairs.by_user(alpha) @ self.items.x, pairs.by_item(alpha) @ self.users.x
        )

    def core(self, sums: NodeSums) -> Tensor:
        r"""The bilinear form :math:`\mathbf{W} \odot \sum_v \mathbf{x}_v
        \mathbf{s}_v^\top`, :obj:`[F_users, F_items]`.
        """
        return self._cross(sums) * self.feature_weights[0]

    def factors(self, sums: NodeSums) -> tuple[Tensor, Tensor]:
        """User and item rows whose inner products are the sums over pairs."""
        user, item = zip(*self._terms(sums), strict=True)
        return torch.cat(user, dim=1), torch.cat(item, dim=1)

    def _terms(self, sums: NodeSums) -> tuple[tuple[Tensor, Tensor], ...]:
        _, by_user, by_item = self.feature_weights
        x, y = self.users.x, self.items.x
        core = self.core(sums)
        if len(x) <= len(y):  # multiplies the smaller matrix
            return (x @ core + sums.user * by_item, y), (x * by_user, sums.item)
        return (x, y @ core.t() + sums.item * by_user), (sums.user, y * by_item)

    def product(self, sums: NodeSums, at: RatedPairs | None = None) -> Tensor:
        """The kernel times the coefficients of these sums, by default at own pairs."""
        return (at or self.pairs).inner(*self._terms(sums))

    def solve_cg(
        self,
        target: Tensor,
        start: Solution | None = None,
        tol: float = 1e-3,
        precondition: Callable[[Tensor], Tensor] | None = None,
    ) -> Solution:
        r"""Solves :math:`(\mathbf{K} + \mathbf{I}) \boldsymbol{\alpha} =
        \mathbf{r}` by preconditioned conjugate gradients.

        Iterations stop when the norm of the residual is :obj:`tol` times the norm of
        the target. The solver may :obj:`start` from a solution for other weights. The
        preconditioner inverts an approximation of the matrix, see
        :class:`~agnn_pyg.kernel.preconditioner.UserBlocks`.
        """
        if start is None:
            alpha, rest = torch.zeros_like(target), target
            sums = self.node_sums(alpha)
        else:
            alpha, sums, _ = start
            rest = target - (alpha + self.product(sums))
        step, size = 0, 1
        enough = tol * target.norm()
        for iteration in range(MAX_ITER):
            if rest.norm() <= enough:
                return Solution(alpha, sums, iteration)
            scaled = precondition(rest) if precondition else rest
            size, before = rest @ scaled, size
            step = scaled + (size / before) * step
            more = self.node_sums(step)
            image = step + self.product(more)
            length = size / (step @ image)
            alpha, rest = alpha + length * step, rest - length * image
            sums = sums.plus(more, length)
        return Solution(alpha, sums, MAX_ITER)

    def weight_gradient(self, one: NodeSums, other: NodeSums) -> Tensor:
        r"""The derivative of :math:`\boldsymbol{\beta}^\top \mathbf{K}
        \boldsymbol{\alpha}` by the weights, :obj:`[A + 1, B + 1]`. Arguments are
        the sums of :math:`\boldsymbol{\alpha}` and of :math:`\boldsymbol{\beta}`, whose
        pairs may differ.
        """
        user, item = self.users.component, self.items.component
        size = len(self.users.names), len(self.items.names)
        both = self._cross(one) * self._cross(other)
        both = both.new_zeros(size[0], both.size(1)).index_add_(0, user, both)
        gradient = both.new_zeros(size[0] + 1, size[1] + 1)
        gradient[:-1, :-1].index_add_(1, item, both)
        gradient[-1, :-1].index_add_(0, item, (one.user * other.user).sum(0))
        gradient[:-1, -1].index_add_(0, user, (one.item * other.item).sum(0))
        return gradient

    @cached_property
    def feature_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of feature pairs, of user features and of item features."""
        by_user = self.weight[:-1].index_select(0, self.users.component)
        by_item = self.weight[-1, :-1].index_select(0, self.items.component)
        both = by_user[:, :-1].index_select(1, self.items.component)
        return both, by_user[:, -1], by_item

    def _cross(self, sums: NodeSums) -> Tensor:
        """Sums feature products over pairs, from the side with fewer nodes."""
        if len(sums.user) <= len(sums.item):
            return self.users.x.t() @ sums.user
        return sums.item.t() @ self.items.x
