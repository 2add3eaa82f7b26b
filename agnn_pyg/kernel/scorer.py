"""The kernel model as a scorer of rating data, with one model per scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from agnn_pyg.folds import SCENARIOS, fit_weight
from agnn_pyg.kernel.collaborative import FACTORS, append_collaborative
from agnn_pyg.kernel.factorization import factor_rows
from agnn_pyg.kernel.features import FeatureMaps
from agnn_pyg.kernel.posterior import NewNodePosterior, same_kernel, slope_prior
from agnn_pyg.kernel.regressor import IDENTITY, PairwiseKernelRegressor
from agnn_pyg.kernel.scenarios import (
    KernelExplanation,
    Product,
    ScenarioScorer,
    take_rows,
)
from agnn_pyg.rating_data import SIDES, NodeFeatures

# Latent factors need this many ratings per node on average; with fewer they are noise.
RATINGS_FOR_FACTORS = 5
# Only this part of the steps is made for pairs of cold nodes: few are held out, and
# further steps fit their noise.
BOTH_COLD = 3
# The other side of each side.
OTHER = dict(zip(SIDES, SIDES[::-1], strict=True))


class KernelScorer(ScenarioScorer):
    r"""Scores pairs by pairwise kernel ridge regression, one model per scenario.

    Warm and cold pairs need different weights. For example, the bias of an item matters
    most in a warm pair and is missing in a cold one. Each scenario therefore has a
    :class:`~agnn_pyg.kernel.regressor.PairwiseKernelRegressor` with weights learned on
    folds of the scenario. A pair is scored by the model of its own scenario.

    Without attributes, a matrix factorization is more accurate for warm pairs. Its
    prediction, :func:`~agnn_pyg.kernel.factorization.factor_rows`, is mixed in with a
    weight that is fitted on the folds and is often 0 if there are attributes.

    From ratings of new nodes, :class:`~agnn_pyg.kernel.posterior.NewNodePosterior`
    infers their bias and slopes, with a prior learned on held-out nodes, and the
    features of their unknown attributes.

    Args:
        config (KernelConfig, optional): Its settings. (default: the defaults)

    Attributes:
        held_out_: Rows of training ratings :obj:`[H]` and their held-out predictions
            :obj:`[H]`, by scenario, see :func:`~agnn_pyg.folds.scenario_folds`.
    """

    STATE = (*ScenarioScorer.STATE, 'slope_priors')
    block_items = 8192
    # Posteriors of new nodes with ratings, by side.
    posterior: Mapping[str, NewNodePosterior] = {}

    def _fit(self, rating: Tensor, progress: bool, fitted: KernelScorer | None) -> None:
        config = self.config
        self.mean = rating.mean()
        sides = self.sides.values()
        warm = [s.fitted._replace(x=s.fitted.x[~s.cold]) for s in sides]
        rows = zip(sides, self.edge_index, strict=True)
        index = torch.stack([side.position[row] for side, row in rows])
        widths = config.num_factors, self._num_latent(len(rating), warm, fitted)
        both = append_collaborative(*warm, index, rating, *widths)
        parts = zip(SIDES, sides, both, strict=True)
        self.sides = {name: side.with_warm(maps) for name, side, maps in parts}
        self.scenarios, self.held_out_ = {}, {}
        items = self.sides['item']
        cold_items = items.attributes.x[items.cold]
        steps = dict.fromkeys(config.scenarios, 0 if fitted else config.kernel_steps)
        if 'both_cold' in steps:
            steps['both_cold'] = -(-steps['both_cold'] // BOTH_COLD)
        # In an update, scenarios with the same item features share a preconditioner.
        start, shared = None, {}
        total = sum(steps.values()) + len(steps)
        with tqdm(total=total, desc='kernel model', disable=not progress) as bar:
            for name in config.scenarios:
                model = PairwiseKernelRegressor(*warm, config.components, *widths, name)
                show = partial(_show, bar, name)
                maps = [
                    own if is_cold else full
                    for own, full, is_cold in zip(warm, both, model.cold, strict=True)
                ]
                if fitted is None:
                    model.fit_hyperparameters(
                        index, rating, steps[name], config.cv_folds, config.seed, show
                    )
                else:
                    model.weight = fitted.scenarios[name]['weight']
                    start = fitted.scenarios[name]['alpha']
                show('all ratings')
                known = shared.get(model.cold[1])
                model.fit(index, rating, start=start, maps=maps, precondition=known)
                if fitted is not None:
                    shared[model.cold[1]] = model.precondition
                rows = model.prediction_rows(cold_items)
                rows |= {'weight': model.weight, 'alpha': model.alpha}
                if name == 'warm':
                    rows |= self._with_factors(model, rows, index, rating, fitted)
                self.scenarios[name] = rows
                if model.held_out is not None:
                    self.held_out_[name] = model.held_out
        self.slope_priors = {s: self._slope_prior(s, rating, fitted) for s in SIDES}

    def _with_factors(
        self,
        model: PairwiseKernelRegressor,
        rows: dict[str, Tensor],
        index: Tensor,
        rating: Tensor,
        fitted: KernelScorer | None,
    ) -> dict[str, Tensor]:
        """Rows of warm nodes with those of a matrix factorization, and its weight.

        The weight is fitted on held-out ratings; below its standard error, it is 0.
        """
        weight = torch.zeros(())
        if fitted is not None:
            weight = fitted.scenarios['warm']['factor_weight']
        elif model.held_out_factors is not None:
            held, kernel = model.held_out
            both = kernel, model.held_out_factors
            best, error = fit_weight(index[:, held], rating[held], *both, prior=0.0)
            weight += min(best, 1.0) if best > error else 0.0
            model.held_out = held, torch.lerp(*both, weight)
        if not weight:
            return {'factor_weight': weight}
        size = tuple(len(rows[side]) for side in SIDES)
        p, q = factor_rows(index, rating - self.mean, size, model.num_latent)
        user = torch.cat([(1 - weight) * rows['user'], weight * p], dim=1)
        item = torch.cat([rows['item'], q], dim=1)
        return {'factor_weight': weight, 'user': user, 'item': item}

    def _slope_prior(
        self, side: str, rating: Tensor, fitted: KernelScorer | None
    ) -> Tensor:
        """Prior of the slopes of new nodes of a side, :obj:`[F, R]`."""
        maps = self.sides[OTHER[side]].fitted
        x = maps.x
        if fitted is not None:
            known = fitted.sides[OTHER[side]].fitted.x
            return same_kernel(fitted.slope_priors[side], known, x[: len(known)])
        names = [n for n in ('warm', f'{side}_cold') if n in self.scenarios]
        if not names:
            return x.new_zeros(x.size(1), 0)
        # Weights for nodes with ratings, if they were learned.
        weight = self.scenarios[names[0]]['weight']
        weight = (weight[-1] if side == 'user' else weight[:, -1])[maps.component]
        if f'{side}_cold' not in self.held_out_:
            return weight.sqrt().diag()
        rows, prediction = self.held_out_[f'{side}_cold']
        index = self.edge_index[:, rows]
        index = index if side == 'user' else index.flip(0)
        return slope_prior(x, weight, *index, rating[rows] - prediction)

    def _score(self, name: str, user: Tensor, item: Tensor, product: Product) -> Tensor:
        score = super()._score(name, user, item, product)
        if 'user' in self.posterior:
            x = self.sides['item'].take(item).double()
            score += product(self.posterior['user'].slopes(user), x)
        if 'item' in self.posterior:
            x = self.sides['user'].take(user).double()
            score += product(x, self.posterior['item'].slopes(item))
        return score

    def with_new_nodes(
        self,
        nodes: Mapping[str, NodeFeatures],
        ratings: tuple[Tensor, Tensor] | None = None,
    ) -> KernelScorer:
        made = super().with_new_nodes(nodes)._with_item_rows()
        if ratings is None:
            return made
        if any(side.new is not None for side in self.sides.values()):
            raise ValueError(
                'New nodes with ratings must be added in one call, all of them; add '
                'them to the scorer of the fit'
            )
        index, rating = ratings
        error = rating.double() - made.score(*index)
        made.posterior = {
            side: self._posterior(side, nodes[side], index, error)
            for side in SIDES
            if side in nodes
        }
        for name, posterior in made.posterior.items():
            side, shift = made.sides[name], posterior.shift
            x = side.new.clone()
            x[:, : shift.size(1)] += shift
            made.sides[name] = replace(side, new=x)
        return made._with_item_rows()

    def _with_item_rows(self) -> KernelScorer:
        """Adds rows of new items for cold users, if there are any."""
        side = self.sides['item']
        if side.new is not None and 'both_cold' in self.scenarios:
            rows = self.scenarios['both_cold']
            rows = rows | {'new': side.new[:, : side.width] @ rows['item_map']}
            self.scenarios = self.scenarios | {'both_cold': rows}
        return self

    def _posterior(
        self, side: str, nodes: NodeFeatures, index: Tensor, error: Tensor
    ) -> NewNodePosterior:
        """Fits the posterior of the new nodes of a side to E ratings."""
        own, other = self.sides[side], self.sides[OTHER[side]]
        maps, name = other.fitted, f'{side}_cold'
        node, neighbor = index if side == 'user' else index.flip(0)
        is_new = neighbor >= len(maps.x)
        neighbor = neighbor.masked_fill(is_new, 0)
        error = error.masked_fill(is_new, torch.nan)
        features = self.features[side]
        unknown = features.unknown(nodes.compared)[1][:, features.component]
        unknown = F.pad(unknown, (0, own.width - unknown.size(1)))  # user-given edges
        # Without unknown attributes, only slopes are fitted to ratings.
        has_unknown = name in self.scenarios and bool(unknown.any())
        attributes = torch.zeros(len(node), has_unknown * own.width).double()
        covariance = own.covariance if has_unknown else attributes.new_zeros(0, 0)
        if has_unknown:
            is_warm = ~other.cold[neighbor]
            attributes[is_warm] = self._rows(name, OTHER[side], neighbor[is_warm])
        ratings = maps.x[neighbor], self.slope_priors[side], len(own.cold), node, error
        unknown = unknown[:, : attributes.size(1)]
        return NewNodePosterior.fit(*ratings, attributes, unknown, covariance)

    def explain(self, user: int, item: int) -> KernelExplanation:
        """Contributions of training ratings and kernel components to a score."""
        name = self.scenario_of(user, item)
        rows = self.scenarios.get(name)
        if rows is None:
            parts = torch.zeros(self.edge_index.size(1)).double(), torch.empty(0, 0)
            return KernelExplanation(float(self.mean), *parts, (), ())
        kernels, names, features = [], [], {}
        ends = SIDES, (user, item), SCENARIOS[name], self.edge_index
        for end, node, is_cold, index in zip(*ends, strict=True):
            side = self.sides[end]
            features[end] = x = side.take(torch.tensor([node]))[0]
            maps = side.fitted.first(side.width) if is_cold else side.fitted
            kernel = maps.kernel(x[: maps.x.size(1)])[index].double()
            identity = (index == node).double()[:, None]
            kernels.append(torch.cat([kernel, identity], 1))
            names.append((*maps.names, IDENTITY))
        factor_weight = float(rows.get('factor_weight', 0.0))
        factors = 0.0
        if factor_weight:
            ends = zip(SIDES, (user, item), strict=True)
            p, q = (self._rows(name, s, torch.tensor([n]))[0] for s, n in ends)
            size = self._fitted_latent + 2
            factors = float(p[-size:] @ q[-size:])
        alpha, weight = rows['alpha'].double(), rows['weight'].double()
        alpha = (1 - factor_weight) * alpha
        contributions = alpha * ((kernels[0] @ weight) * kernels[1]).sum(dim=-1)
        components = weight * ((alpha[:, None] * kernels[0]).t() @ kernels[1])
        further = []
        for side, posterior in self.posterior.items():
            node = user if side == 'user' else item
            parts = posterior.contributions(node, features[OTHER[side]])
            further.append(parts.sum(dim=1))
            own = components[-1] if side == 'user' else components[:, -1]
            component = self.sides[OTHER[side]].fitted.component
            kept = component < len(own) - 1  # no collaborative ones if cold
            own.index_add_(0, component[kept], parts.sum(dim=0)[kept])
        if further:
            contributions = torch.cat([contributions, sum(further)])
        parts = contributions, components, *names, factors
        return KernelExplanation(float(self.mean), *parts)

    @property
    def _fitted_latent(self) -> int:
        """The number of latent factors of the fit."""
        maps = self.sides['user'].fitted
        is_factor = torch.tensor([name == FACTORS for name in maps.names])
        return int(is_factor[maps.component].sum())

    def _num_latent(
        self, num_ratings: int, warm: Sequence[FeatureMaps], fitted: KernelScorer | None
    ) -> int:
        if fitted is not None:  # an update keeps its kernel weights
            return fitted._fitted_latent
        enough = RATINGS_FOR_FACTORS * sum(len(maps.x) for maps in warm)
        return self.config.num_latent if num_ratings >= enough else 0

    def _rows(self, name: str, side: str, nodes: Tensor) -> Tensor:
        rows = self.scenarios[name]
        own = self.sides[side]
        if side in rows:
            return take_rows(rows[side], rows.get('new'), own.position[nodes]).double()
        return own.take(nodes)[:, : own.width].double()  # of cold nodes


def _show(bar: tqdm, scenario: str, text: str) -> None:
    bar.set_postfix_str(f'{scenario}, {text}', refresh=False)
    bar.update()
