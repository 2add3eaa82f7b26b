"""Closed-form ridge regressions on all user-item pairs, cold and warm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.utils import index_to_mask


class TwoWayRidge:
    r"""Kronecker kernel ridge regression (Pahikkala et al., "Efficient regularized
    least-squares algorithms for conditional ranking on relational data", 2013; Stock et
    al., "A comparative study of pairwise learning methods based on kernel ridge
    regression", 2018).

    With a matrix :math:`Y` of all pairs, 0 where nothing was observed, it minimizes

    .. math::
        \lVert Y - K_a A K_b \rVert^2 + \lambda \, \mathrm{tr}(A^\top K_a A K_b)

    for :math:`K_a = \epsilon I + X_a X_a^\top` and :math:`K_b = X_b X_b^\top`. The
    solution is :math:`P \, (\varphi \circ P^\top Y R) \, R^\top`, with the eigenvectors
    :math:`P`, :math:`R` of the kernels and :math:`\varphi_{jk} = \kappa_j \tau_k /
    (\kappa_j \tau_k + \lambda)` of their eigenvalues. Of D features, N nodes cost
    :math:`O(N D^2)`, once for all :math:`\lambda`.

    The target is :math:`Y`, :obj:`[N, M]`; nodes without an entry are not fitted.
    The features a and b are :math:`X_a`, :obj:`[N, D]`, and :math:`X_b`, :obj:`[M, E]`,
    and the weight of the identity is :math:`\epsilon`.
    """

    def __init__(
        self, target: sp.csr_matrix, a: Tensor, b: Tensor, identity: float = 0.0
    ) -> None:
        self.identity = identity
        self.warm = torch.from_numpy(np.diff(target.indptr) > 0)
        warm = index_to_mask(torch.from_numpy(target.indices).long(), len(b))
        self.a_map, self.a_value = _eigen(a[self.warm])
        self.b_map, self.b_value = _eigen(b[warm])
        self.a, self.b = a @ self.a_map, b @ self.b_map
        self.sums = torch.from_numpy(target @ self.b.numpy())
        self.core = self.a.t() @ self.sums

    def rows(self, ridge: float, nodes: Tensor | slice) -> Tensor:
        """Rows of a, whose inner products with :obj:`b_value * b` are scores."""
        level, full = self._levels(ridge)
        a, warm = self.a[nodes], self.warm[nodes]
        through = self.core * self.a_value[:, None] / full
        made = a @ through
        if self.identity:
            through = through + self.identity * self.core * (1 / full - 1 / level)
            made[warm] = a[warm] @ through
            made[warm] += self.identity * self.sums[nodes][warm] / level
        return made

    def weight(self, ridge: float) -> Tensor:
        """Map from the features of a to :meth:`rows`, :obj:`[D, rank]`."""
        full = self._levels(ridge)[1]
        return self.a_map @ (self.core * self.a_value[:, None] / full)

    def new_weight(self, ridge: float) -> Tensor:
        """What features of b contribute to :meth:`rows`, times entries of a new node.

        That is the part of the identity, :obj:`[E, rank]`: other nodes say nothing.
        """
        return self.b_map * (self.identity / self._levels(ridge)[0])

    def effects(self, ridge: float, node: int, other: int) -> tuple[Tensor, Tensor]:
        """The derivative of the score of a pair by Y: inner products of two rows."""
        level, full = self._levels(ridge)
        z = self.b_value * self.b[other]
        own = self.identity * self.warm[node]
        known = self.a @ (self.a_value * self.a[node])
        known[node] += own
        gap = 1 / full - 1 / level
        through = ((self.a_value + own) * self.a[node])[:, None] * gap
        return self.a @ (through * z) + known[:, None] * (z / level), self.b

    def _levels(self, ridge: float) -> tuple[Tensor, Tensor]:
        full = (self.a_value[:, None] + self.identity) * self.b_value + ridge
        return self.identity * self.b_value + ridge, full


@dataclass(eq=False)
class ItemRidge:
    r"""EASE (Steck, "Embarrassingly shallow autoencoders for sparse data", 2019) on the
    items with the most positives, and a ridge regression of the others on these.

    With the columns :math:`Y_H` of the H items, :math:`P = (Y_H^\top Y_H + \lambda
    I)^{-1}` and the positives :math:`\mathbf{y}` of a user, the scores are

    .. math::
        s_j = \begin{cases} y_j - x_j / P_{jj} & j \in H \\ \mathbf{x}^\top Y_H^\top
        Y_{\cdot j} & \text{else} \end{cases} \qquad \mathbf{x} = P \, \mathbf{y}_H

    so that no item contributes to its own score. Each column of :obj:`features` counts
    as one more user. The inverse takes :math:`O(H^3)` operations.
    """

    target: sp.csr_matrix  # the matrix Y, [users, items]
    head: Tensor  # the H items, [H]
    inverse: Tensor  # the matrix P, [H, H]
    features: Tensor  # [items, D]

    def __post_init__(self) -> None:
        self.columns = self.target[:, self.head.numpy()]
        self.place = torch.full((self.target.shape[1],), -1)
        self.place[self.head] = torch.arange(len(self.head))

    @classmethod
    def fit(
        cls,
        target: sp.csr_matrix,
        ridge: float,
        features: Tensor,
        num_items: int | None = None,
    ) -> ItemRidge:
        """Fits the weights of all, or at most of :obj:`num_items`, items."""
        count = torch.from_numpy(target.getnnz(axis=0))
        head = count.argsort(descending=True, stable=True)[:num_items].sort().values
        columns = target[:, head.numpy()]
        gram = torch.from_numpy((columns.T @ columns).toarray())
        gram += features[head] @ features[head].t()
        gram.diagonal().add_(ridge)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        return cls(target, head, inverse, features)

    def score_all(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of all pairs, :obj:`[users, items]`."""
        place = self.place[items]
        known = self.columns[users.numpy()]
        x = torch.from_numpy(known @ self.inverse.numpy())
        made = x.new_empty(len(users), len(items))
        is_head = place >= 0
        of, rest = place[is_head], items[~is_head]
        own = torch.from_numpy(known[:, of.numpy()].toarray())
        made[:, is_head] = own - x[:, of] / self.inverse.diagonal()[of]
        if len(rest):
            linked = self.target[:, rest.numpy()].T @ (self.columns @ x.numpy().T)
            part = x @ self.features[self.head] @ self.features[rest].t()
            made[:, ~is_head] = torch.from_numpy(linked).t() + part
        return made

    def weight(self, item: int) -> Tensor:
        """Contributions of positives, by item, to an item's score, :obj:`[items]`."""
        made = self.inverse.new_zeros(len(self.place))
        place = int(self.place[item])
        if place >= 0:
            made[self.head] = -self.inverse[place] / self.inverse[place, place]
            made[item] = 0
            return made
        linked = self.columns.T @ self.target[:, [item]].toarray()
        linked = torch.from_numpy(linked[:, 0]).to(made)
        linked += self.features[self.head] @ self.features[item]
        made[self.head] = self.inverse @ linked
        return made


def _eigen(x: Tensor) -> tuple[Tensor, Tensor]:
    """The map from features to eigenvectors of their kernel, and its eigenvalues."""
    value, vector = torch.linalg.eigh(x.t() @ x)
    kept = value > 1e-6 * value[-1:].clamp(min=1e-6)
    return vector[:, kept] / value[kept].sqrt(), value[kept]
