"""Pairwise kernel ridge regression of ratings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_pyg.base.config import check_argument
from agnn_pyg.folds import SCENARIOS, check_folds, scenario_folds
from agnn_pyg.kernel.collaborative import NAMES, append_collaborative
from agnn_pyg.kernel.factorization import factor_rows
from agnn_pyg.kernel.features import FeatureMaps
from agnn_pyg.kernel.kernel import PairwiseKernel, Solution
from agnn_pyg.kernel.pairs import RatedPairs
from agnn_pyg.kernel.preconditioner import UserBlocks
from agnn_pyg.rating_data import SIDES

IDENTITY = 'identity'
# Maximum ratings per fold when weights are learned, all from a subset of the users.
# More ratings take longer and hardly change the weights.
MAX_RATINGS = 32_000
# Relative residuals of the first and of the last solve.
TOLERANCE = 0.08, 0.02
# Initial learning rate of log-weights.
LEARNING_RATE = 0.45
# Iterations after which a preconditioner of earlier weights is rebuilt.
MAX_ROUNDS = 12
# Groups of weights, by whether the user or the item kernel is the identity. Biases
# (identity times constant) belong to every group.
Components = tuple[Literal['user', 'item', 'attribute'], ...]
COMPONENTS: Components = ('user', 'item', 'attribute')


class PairwiseKernelRegressor:
    r"""Pairwise kernel ridge regression: a Gaussian process with product kernels.

    The kernel between two pairs of a user and an item is a weighted sum of products
    of a user kernel and an item kernel, see
    :class:`~agnn_pyg.kernel.kernel.PairwiseKernel`:

    .. math::
        K_{(u,i),(v,j)} = \sum_{a,b} w_{ab} \, k_a(u, v) \, k_b(i, j), \quad
        w_{ab} \geq 0

    User and item kernels are the constant, attribute kernels, collaborative kernels and
    the identity. For example, identity times constant is the bias of a user, identity
    times genre is the taste of this user in genres, and gender times identity is the
    appeal of this item to users by gender.

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
        items (FeatureMaps): Attribute features of the items.
        components (sequence, optional): Groups of weights that may be positive:
            :obj:`"user"` (identity of users times other item kernels), :obj:`"item"`
            (the reverse) and :obj:`"attribute"` (no identity). (default: all)
        num_factors (int, optional): Number of features of the co-rating and residual
            kernels; 0 disables collaborative kernels. (default: :obj:`64`)
        num_latent (int, optional): Number of features of the latent-factor kernel.
            (default: :obj:`12`)
        scenario (str, optional): One of :data:`~agnn_pyg.folds.SCENARIOS`. A side that
            is cold in the scenario has no collaborative kernels, and folds hold out its
            nodes with all of their ratings. (default: :obj:`"warm"`)

    Attributes:
        weight: The kernel weights :math:`w_{ab}`, :obj:`[A + 1, B + 1]`.
        names: Names of the user kernels and of the item kernels.
        mean: The mean rating :math:`\mu`.
        alpha: The dual coefficients in the order of the ratings, :obj:`[R]`.
        held_out: Rows of held-out ratings and their predictions, each :obj:`[H]`;
            :obj:`None` if no weights were learned.
    """

    def __init__(
        self,
        users: FeatureMaps,
        items: FeatureMaps,
        components: Sequence[str] = COMPONENTS,
        num_factors: int = 64,
        num_latent: int = 12,
        scenario: str = 'warm',
    ) -> None:
        components = check_argument('components', components, Components)
        self.users = users
        self.items = items
        self.num_factors = num_factors
        self.num_latent = num_latent
        self.scenario = scenario
        self.cold = SCENARIOS[scenario]
        more = NAMES if num_factors else ()
        self.names = tuple(
            (*side.names, *(() if is_cold else more), IDENTITY)
            for side, is_cold in zip((users, items), self.cold, strict=True)
        )
        self.held_out: tuple[Tensor, Tensor] | None = None
        self.held_out_factors: Tensor | None = None
        size = tuple(map(len, self.names))
        self.weight = _initial_weight(size, components).to(users.x)

    def fit(
        self,
        edge_index: Tensor,
        rating: Tensor,
        tol: float = 1e-3,
        start: Tensor | None = None,
        maps: Sequence[FeatureMaps] | None = None,
        precondition: UserBlocks | None = None,
    ) -> PairwiseKernelRegressor:
        """Solves for the dual coefficients of ratings :obj:`[R]` of pairs.

        Optional arguments save time: coefficients of the first pairs to :obj:`start`
        from, :obj:`maps` (features of both sides with the collaborative ones), and a
        preconditioner of the same pairs and items.
        """
        self.mean = rating.mean()
        pairs = RatedPairs(edge_index, len(self.users.x), len(self.items.x))
        maps = maps or self._features(edge_index, rating)
        self.kernel = PairwiseKernel(*maps, pairs, self.weight)
        order = pairs.order
        target = (rating - self.mean)[order]
        if start is not None:
            start = F.pad(start, (0, len(target) - len(start)))[order]
            start = Solution(start, self.kernel.node_sums(start))
        self.precondition = precondition or UserBlocks(self.kernel)
        alpha, self.sums, _ = self.kernel.solve_cg(
            target, start, tol, self.precondition
        )
        self.alpha = torch.empty_like(alpha)
        self.alpha[order] = alpha
        return self

    def predict(self, user: Tensor, item: Tensor) -> Tensor:
        """Returns posterior means for user and item rows, each :obj:`[B]`."""
        p, q = self.kernel.factors(self.sums)
        return self.mean + (p[user] * q[item]).sum(dim=-1)

    def fit_hyperparameters(
        self,
        edge_index: Tensor,
        rating: Tensor,
        steps: int = 20,
        cv_folds: int = 5,
        seed: int = 0,
        progress: Callable[[str], Any] = lambda text: None,
    ) -> list[float]:
        """Learns the kernel weights on held-out folds, by Adam on their logarithms.

        Steps cycle through the folds. The learning rate decays to a tenth. The final
        weights are geometric means over the last third of the steps.

        Args:
            edge_index (Tensor): Rated pairs, :obj:`[2, R]`.
            rating (Tensor): Ratings of the pairs, :obj:`[R]`.
            steps (int, optional): Number of steps. (default: :obj:`20`)
            cv_folds (int, optional): Number of folds. (default: :obj:`5`)
            seed (int, optional): Seed of the folds. (default: :obj:`0`)
            progress (callable, optional): Called with a text before each step.

        Returns:
            RMSE of each step on the held-out ratings of its fold, before the update. If
            there are too few nodes to hold any out, it is empty and weights are kept.
        """
        folds = self._folds(edge_index, rating - rating.mean(), cv_folds, seed)
        free = self.weight > 0
        log_weight = self.weight.where(free, torch.ones_like(self.weight)).log()
        optimizer = torch.optim.Adam([log_weight], betas=(0.7, 0.9))
        history, last = [], []
        for step in range(steps if folds else 0):
            done, number = step / steps, step % len(folds)
            progress(f'fold {number + 1} of {len(folds)}')
            weight = log_weight.exp() * free
            tol = TOLERANCE[0] ** (1 - done) * TOLERANCE[1] ** done
            loss, gradient = folds[number].step(weight, tol)
            history.append((loss / len(folds[number].truth)) ** 0.5)
            optimizer.param_groups[0]['lr'] = LEARNING_RATE * (1 - 0.9 * done)
            log_weight.grad = gradient * weight
            optimizer.step()
            last.append(log_weight.clone())
        if last:
            last = torch.stack(last[2 * steps // 3 :])
            self.weight = last.mean(dim=0).exp() * free
            seen = folds[: len(history)]
            self.held_out = (
                torch.cat([fold.rows for fold in seen]),
                torch.cat([rating.mean() + fold.prediction for fold in seen]),
            )
            if self.num_factors and self.num_latent and not any(self.cold):
                factors = [fold.factor_prediction(self.num_latent) for fold in seen]
                self.held_out_factors = rating.mean() + torch.cat(factors)
        return history

    def _folds(
        self, edge_index: Tensor, rest: Tensor, cv_folds: int, seed: int
    ) -> list[_Fold]:
        folds = []
        generator = torch.Generator().manual_seed(seed)
        for held, kept in scenario_folds(edge_index, self.scenario, cv_folds, seed):
            check_folds(edge_index, self.scenario, held, kept)
            # With few nodes, a fold may be empty or hold out all ratings.
            if held.any() and kept.any():
                order = torch.rand(len(self.users.x), generator=generator)
                folds.append(_Fold(self, edge_index, rest, held, kept, order))
        return folds

    def prediction_rows(self, cold_items: Tensor) -> dict[str, Tensor]:
        r"""User and item rows whose inner products are predictions minus the mean.

        A cold node has no ratings, so its sums and its collaborative features are zero.
        With the core :math:`\mathbf{C}`, see
        :class:`~agnn_pyg.kernel.kernel.PairwiseKernel`, the prediction of a cold user
        is :math:`\mathbf{x}_u^\top (\mathbf{C} \mathbf{y}_i + \mathbf{w}_\mathrm{users}
        \odot \mathbf{t}_i)`. For a cold item, it is symmetric. If both are cold, it is
        :math:`\mathbf{x}_u^\top \mathbf{C} \mathbf{y}_i`.

        There is a row for each node that is warm or cold as the scenario requires. Cold
        users are omitted, and cold items too unless users are cold, because their rows
        are their attribute features. If both are cold, :obj:`"item_map"` maps features
        of items to rows, and :obj:`cold_items` holds those features.
        """
        kernel, sums = self.kernel, self.sums
        if not any(self.cold):
            return dict(zip(SIDES, kernel.factors(sums), strict=True))
        core, (_, by_user, by_item) = kernel.core(sums), kernel.feature_weights
        if all(self.cold):
            return {'item': cold_items @ core.t(), 'item_map': core.t().contiguous()}
        if self.cold[0]:
            return {'item': kernel.items.x @ core.t() + sums.item * by_user}
        return {'user': kernel.users.x @ core + sums.user * by_item}

    def _features(
        self, edge_index: Tensor, rating: Tensor
    ) -> tuple[FeatureMaps, FeatureMaps]:
        """Features of both sides, with collaborative ones from these ratings only."""
        sides, widths = (self.users, self.items), (self.num_factors, self.num_latent)
        return append_collaborative(*sides, edge_index, rating, *widths, self.cold)


class _Fold:
    """Held-out ratings, and the kernel of the training ratings of a fold.

    The whole kernel, collaborative features included, comes from training ratings only.
    Above :obj:`MAX_RATINGS` ratings, the fold keeps the first users in an order
    :obj:`[U]`.
    """

    def __init__(
        self,
        model: PairwiseKernelRegressor,
        edge_index: Tensor,
        rest: Tensor,
        held: Tensor,
        kept: Tensor,
        order: Tensor,
    ) -> None:
        sides = model._features(edge_index[:, kept], rest[kept])
        order = order.to(edge_index.device)[edge_index[0]]
        last = _last(kept, order)
        kept = kept & (order <= last)
        if not model.cold[0]:  # warm users need training ratings of their own
            held = held & (order <= last)
        held = held & (order <= _last(held, order))
        rows = (held | kept).nonzero().squeeze(1)
        found = [index[rows].unique(return_inverse=True) for index in edge_index]
        maps = [m._replace(x=m.x[f[0]]) for m, f in zip(sides, found, strict=True)]
        index = torch.stack([f[1] for f in found])
        size = [len(f[0]) for f in found]
        pairs = RatedPairs(index[:, kept[rows]], *size)
        self.kernel = PairwiseKernel(*maps, pairs, model.weight)
        self.target = rest[kept][pairs.order]
        self.held = RatedPairs(index[:, held[rows]], *size)
        self.rows = held.nonzero().squeeze(1)[self.held.order]
        self.truth = rest[self.rows]
        # Solutions of the last step are the starting point of the next.
        self.solution = self.adjoint = self.precondition = None

    def factor_prediction(self, num_latent: int) -> Tensor:
        """Predictions by :func:`factor_rows` of the ratings of the kernel."""
        pairs, mean = self.kernel.pairs, self.target.mean()
        index = torch.stack([pairs.user, pairs.item])
        size = len(self.kernel.users.x), len(self.kernel.items.x)
        p, q = factor_rows(index, self.target - mean, size, num_latent)
        return mean + self.held.inner((p, q))

    def step(self, weight: Tensor, tol: float) -> tuple[float, Tensor]:
        """Returns the sum of squared errors and the gradient of their mean."""
        kernel = self.kernel = replace(self.kernel, weight=weight)
        if self.solution is None or self.solution.iterations > MAX_ROUNDS:
            self.precondition = UserBlocks(kernel)
        self.solution = kernel.solve_cg(
            self.target, self.solution, tol, self.precondition
        )
        self.prediction = kernel.product(self.solution.sums, at=self.held)
        error = self.prediction - self.truth
        slope = 2 * error / len(error)
        sums = kernel.node_sums(slope, self.held)
        self.adjoint = kernel.solve_cg(
            kernel.product(sums), self.adjoint, 10 * tol, self.precondition
        )
        # A weight affects both the held-out kernel and the coefficients.
        other = sums.plus(self.adjoint.sums, -1)
        gradient = kernel.weight_gradient(self.solution.sums, other)
        return float(error.square().sum()), gradient


def _last(mask: Tensor, order: Tensor) -> float:
    """The last position in the order at which the mask has few enough pairs."""
    if mask.sum() <= MAX_RATINGS:
        return float('inf')
    return float(order[mask].kthvalue(MAX_RATINGS).values)


def _initial_weight(size: tuple[int, int], components: Sequence[str]) -> Tensor:
    """Initial weights: largest for biases, then identities, then the constant.

    Weights of groups that are not in :obj:`components` are 0 and stay 0.
    """
    weight = torch.full(size, 3e-4, dtype=torch.float)
    weight[0], weight[:, 0] = 2e-3, 2e-3
    weight[-1], weight[:, -1] = 0.03, 0.01
    groups = weight[-1, :-1], weight[:-1, -1], weight[:-1, :-1]
    for name, group in zip(COMPONENTS, groups, strict=True):
        if name not in components:
            group.zero_()
    weight[-1, 0], weight[0, -1] = 0.1, 0.02
    # The product of constants is the mean; that of identities is the noise.
    weight[0, 0] = weight[-1, -1] = 0
    return weight
