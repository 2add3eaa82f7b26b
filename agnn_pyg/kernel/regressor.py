"""Pairwise kernel ridge regression of ratings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agnn_pyg.folds import SCENARIOS, check_folds, scenario_folds
from agnn_pyg.kernel.collaborative import NAMES, append_collaborative
from agnn_pyg.kernel.features import FeatureMaps
from agnn_pyg.kernel.kernel import PairwiseKernel
from agnn_pyg.kernel.pairs import RatedPairs

IDENTITY = 'identity'
# Weights of a group of components, by whether the user kernel and whether the item
# kernel is the identity. Biases, identity times constant, belong to every group.
COMPONENTS = {'user': (True, False), 'item': (False, True), 'attribute': (False, False)}


class PairwiseKernelRegressor:
    r"""Pairwise kernel ridge regression: a Gaussian process with product kernels.

    The kernel between two pairs of a user and an item is a weighted sum of products
    of a user kernel and an item kernel, see
    :class:`~agnn_pyg.kernel.kernel.PairwiseKernel`:

    .. math::
        K_{(u,i),(v,j)} = \sum_{a,b} w_{ab} \, k_a(u, v) \, k_b(i, j), \quad
        w_{ab} \geq 0

    User and item kernels are the constant, those of attributes, the collaborative
    ones and the identity. Identity times constant is the bias of a user; identity
    times genre is what this user gives to items of like genre; gender times identity
    is what users of like gender give to this item.

    :meth:`fit` solves for the dual coefficients of R ratings with noise variance 1,
    and :meth:`predict` is the posterior mean:

    .. math::
        (\mathbf{K} + \mathbf{I}) \, \boldsymbol{\alpha} = \mathbf{r} - \mu, \qquad
        \hat{r}_{ui} = \mu + \sum_{(v,j)} K_{(u,i),(v,j)} \, \alpha_{vj}

    :meth:`fit_hyperparameters` learns the weights by the squared error on held-out
    folds h, :math:`\mathcal{L} = \frac{1}{H} \lVert \mathbf{e} \rVert^2` with
    :math:`\mathbf{e} = \mathbf{K}_h \boldsymbol{\alpha} - (\mathbf{r}_h - \mu)`. By
    implicit differentiation, with one more solve :math:`(\mathbf{K} + \mathbf{I})
    \boldsymbol{\beta} = \mathbf{K}_h^\top \mathbf{g}` for :math:`\mathbf{g} =
    \frac{2}{H} \mathbf{e}`,

    .. math::
        \frac{\partial \mathcal{L}}{\partial w_{ab}} = \mathbf{g}^\top
        \frac{\partial \mathbf{K}_h}{\partial w_{ab}} \boldsymbol{\alpha} -
        \boldsymbol{\beta}^\top \frac{\partial \mathbf{K}}{\partial w_{ab}}
        \boldsymbol{\alpha}

    Args:
        users (FeatureMaps): Attribute features of the users, see
            :class:`~agnn_pyg.kernel.features.KernelFeatures`.
        items (FeatureMaps): Those of the items.
        components (sequence, optional): Groups of weights that may be positive:
            :obj:`"user"` (identity of users times other item kernels), :obj:`"item"`
            (the reverse) and :obj:`"attribute"` (no identity). (default: all)
        num_factors (int, optional): Features of each collaborative kernel; 0 goes
            without. (default: :obj:`64`)
        scenario (str, optional): One of :data:`~agnn_pyg.folds.SCENARIOS`. A side that
            is to be predicted cold has no collaborative kernels, and its nodes are held
            out with all of their ratings. (default: :obj:`"warm"`)

    Attributes:
        weight: The kernel weights :math:`w_{ab}`, :obj:`[A + 1, B + 1]`.
        names: Names of the user and of the item kernels that they belong to.
        mean: The mean rating :math:`\mu`.
        alpha: The dual coefficients in the order of the ratings, :obj:`[R]`.
    """

    def __init__(
        self,
        users: FeatureMaps,
        items: FeatureMaps,
        components: Sequence[str] = tuple(COMPONENTS),
        num_factors: int = 64,
        scenario: str = 'warm',
    ) -> None:
        unknown = [name for name in components if name not in COMPONENTS]
        if unknown:
            raise ValueError(
                f"'components' must be of {tuple(COMPONENTS)} (got {unknown[0]!r})"
            )
        self.users, self.items, self.num_factors = users, items, num_factors
        self.scenario, self.cold = scenario, SCENARIOS[scenario]
        more = NAMES if num_factors else ()
        self.names = tuple(
            (*side.names, *(() if is_cold else more), IDENTITY)
            for side, is_cold in zip((users, items), self.cold, strict=True)
        )
        weight = initial_weight(*map(len, self.names))
        self.weight = (weight * is_free(weight, components)).to(users.x)

    def fit(
        self, edge_index: Tensor, rating: Tensor, tol: float = 1e-3
    ) -> PairwiseKernelRegressor:
        """Solves for the dual coefficients of ratings :obj:`[R]` of pairs."""
        self.mean = rating.mean()
        self.kernel = self._kernel(edge_index, rating)
        order = self.kernel.pairs.order
        target = (rating - self.mean)[order]
        alpha, _ = self.kernel.solve_cg(target, tol=tol, max_iter=150)
        self.alpha = torch.empty_like(alpha)
        self.alpha[order] = alpha
        self.sums = self.kernel.node_sums(alpha)
        return self

    def predict(self, user: Tensor, item: Tensor) -> Tensor:
        """The posterior mean of pairs of user and item rows, each :obj:`[B]`."""
        p, q = self.kernel.factors(self.sums)
        return self.mean + (p[user] * q[item]).sum(dim=-1)

    def fit_hyperparameters(
        self,
        edge_index: Tensor,
        rating: Tensor,
        steps: int = 12,
        lr: float = 0.3,
        cv_folds: int = 5,
        seed: int = 0,
    ) -> list[float]:
        """Learns the kernel weights on held-out folds, by Adam on their logarithms.

        Args:
            edge_index (Tensor): Rated pairs, :obj:`[2, R]`.
            rating (Tensor): Their ratings, :obj:`[R]`.
            steps (int, optional): (default: :obj:`12`)
            lr (float, optional): Learning rate. (default: :obj:`0.3`)
            cv_folds (int, optional): (default: :obj:`5`)
            seed (int, optional): Seed of the folds. (default: :obj:`0`)

        Returns:
            RMSE on held-out ratings before each step. Empty, and weights stay as they
            are, where there are too few nodes to hold any out.
        """
        rest = rating - rating.mean()
        folds = []
        for held, kept in scenario_folds(edge_index, self.scenario, cv_folds, seed):
            check_folds(edge_index, self.scenario, held, kept)
            # With few nodes a fold may be empty, or hold all.
            if held.any() and kept.any():
                folds.append(_Fold(self, edge_index, rest, held, kept))
        if not folds:
            return []
        free = self.weight > 0
        log_weight = self.weight.where(free, torch.ones_like(self.weight)).log()
        log_weight.requires_grad_()
        optimizer = torch.optim.Adam([log_weight], lr, betas=(0.8, 0.95))
        history, best = [], self.weight
        for _ in range(steps):
            self.weight = log_weight.detach().exp() * free
            losses, gradients = zip(*(f.step(self.weight) for f in folds), strict=True)
            history.append((sum(losses) / sum(len(f.held) for f in folds)) ** 0.5)
            if history[-1] <= min(history):
                best = self.weight
            log_weight.grad = sum(gradients) * self.weight
            optimizer.step()
        self.weight = best
        return history

    def _kernel(self, edge_index: Tensor, rating: Tensor) -> PairwiseKernel:
        """The kernel of some ratings.

        All that it is made of comes from these ratings, the collaborative features
        included, so nothing that is held out is in it.
        """
        users, items = append_collaborative(
            self.users, self.items, edge_index, rating, self.num_factors, self.cold
        )
        pairs = RatedPairs(edge_index, len(users.x), len(items.x))
        return PairwiseKernel(users, items, pairs, self.weight)


class _Fold:
    """Held-out ratings, and the kernel of the others."""

    def __init__(
        self,
        model: PairwiseKernelRegressor,
        edge_index: Tensor,
        rest: Tensor,
        held: Tensor,
        kept: Tensor,
    ) -> None:
        self.kernel = model._kernel(edge_index[:, kept], rest[kept])
        self.target = rest[kept][self.kernel.pairs.order]
        self.held = RatedPairs(edge_index[:, held], *self.kernel.pairs.size)
        self.truth = rest[held][self.held.order]
        # Solutions of the last step, from which the next ones start.
        self.alpha = self.beta = None

    def step(self, weight: Tensor, tol: float = 2e-3) -> tuple[float, Tensor]:
        """The sum of squared errors, and the gradient of their mean."""
        kernel, held = self.kernel, self.held
        kernel.weight = weight
        self.alpha, _ = kernel.solve_cg(self.target, self.alpha, tol)
        error = kernel.matvec(self.alpha, at=held) - self.truth
        slope = 2 * error / len(error)
        target = kernel.matvec(slope, pairs=held)
        self.beta, _ = kernel.solve_cg(target, self.beta, 15 * tol)
        # A weight changes the kernel at held-out pairs, and the coefficients.
        direct, indirect = kernel.node_sums(slope, held), kernel.node_sums(self.beta)
        other = (one - two for one, two in zip(direct, indirect, strict=True))
        gradient = kernel.weight_gradient(
            kernel.node_sums(self.alpha), type(direct)(*other)
        )
        return float(error.square().sum()), gradient


def initial_weight(num_users: int, num_items: int) -> Tensor:
    """Weights to start from: most for biases, then identities, then the constant."""
    weight = torch.full((num_users, num_items), 3e-4)
    weight[0], weight[:, 0] = 2e-3, 2e-3
    weight[-1], weight[:, -1] = 0.03, 0.01
    weight[-1, 0], weight[0, -1] = 0.1, 0.02
    # Both constants are the mean, and both identities the noise of a rating.
    weight[0, 0] = weight[-1, -1] = 0
    return weight


def is_free(weight: Tensor, components: Sequence[str]) -> Tensor:
    """A mask of the weights of some groups of components, and of both biases."""
    free = torch.zeros_like(weight, dtype=torch.bool)
    by_user, by_item = free.clone(), free.clone()
    by_user[-1], by_item[:, -1] = True, True
    for name in components:
        user, item = COMPONENTS[name]
        free |= (by_user == user) & (by_item == item)
    free[-1, 0] = free[0, -1] = True
    return free
