"""The kernel model for positives without ratings, with a model per scenario."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from agnn_pyg.folds import SCENARIOS, scenario_folds
from agnn_pyg.kernel.collaborative import NAMES, co_rating_features
from agnn_pyg.kernel.features import ColumnFeatures
from agnn_pyg.kernel.held_out import HeldOut
from agnn_pyg.kernel.regressor import IDENTITY
from agnn_pyg.kernel.scenarios import (
    KernelConfig,
    KernelExplanation,
    Product,
    ScenarioScorer,
    Side,
    paired,
)
from agnn_pyg.kernel.two_way import ItemRidge, TwoWayRidge
from agnn_pyg.rating_data import SIDES, NodeFeatures

# The items with the most positives, whose weights on each other are a dense matrix.
MAX_ITEMS = 4096
# Search grid: the exponent of the number of positives of a cold node that divides its
# labels, the weight of the identity, the weight of the collaborative kernel in the
# rest, and the penalty.
POWERS = (0.0, 0.25)
KERNELS = ((1.0, 0.0), (0.9, 1.0), (0.7, 1.0), (0.5, 0.8))
RIDGES = tuple(10 ** (k / 2) for k in range(1, 8))
# Search grid of the warm model: the penalty, and attribute weight relative to it.
ITEM_RIDGES = (50.0, 100.0, 200.0, 400.0, 1000.0)
ITEM_ATTRIBUTES = (0.0, 0.03, 0.3)
# Candidate weights: of the cold-user score in the score of a warm pair, and of the warm
# score in that of new nodes with first positives. On folds, these are NUM_FIRST each.
PRIORS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
FIRST_WEIGHTS, NUM_FIRST = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0), 3
# Folds of warm pairs: a matrix of items by items takes long to invert.
ITEM_FOLDS = 2

# Pairs of user and item rows, [2, R], and their labels, [R].
Pairs = tuple[Tensor, Tensor]


class Setting(NamedTuple):
    """One point of the search grid."""

    power: float
    identity: float
    collaborative: float
    attribute: float  # of the items-by-items matrix, relative to its ridge
    ridge: float
    added: float = 1.0  # the prior of warm pairs, or the weight of first positives


class ImplicitKernelScorer(ScenarioScorer):
    r"""Scores pairs by how likely they are positive, from positives without ratings.

    Pairs with a cold user, a cold item or both are scored by a
    :class:`~agnn_pyg.kernel.two_way.TwoWayRidge` of their scenario. Kernels compare the
    attributes of cold sides; those of a warm side add a collaborative kernel and the
    identity. The score of a warm pair is a sum of two models: an
    :class:`~agnn_pyg.kernel.two_way.ItemRidge` with attributes as further users, and
    the model of cold users, which matters most after a few positives. Scores of new
    users or items with first positives add weighted warm scores. Scores of new users
    with new items add the score of the model of cold items by attributes.

    Settings maximize nDCG@20 on folds of the scenario, see
    :func:`~agnn_pyg.folds.scenario_folds`: held-out cold items are ranked among
    themselves, others among all items that a user lacks. Scores of cold pairs are
    scaled by least squares on the folds: 1 is a positive of common weight, 0 none.

    Scores are linear in the positives, so that contributions add up exactly.

    Args:
        config (KernelConfig, optional): Its settings, of which :obj:`num_factors`,
            :obj:`cv_folds` and :obj:`seed` count; all scenarios are served.
            (default: the defaults)

    Attributes:
        chosen_: The selected settings by scenario.
    """

    # A product with the items-by-items matrix is for all items.
    Features = ColumnFeatures
    block_items = sys.maxsize
    mean = 0.0
    STATE = (*ScenarioScorer.STATE, 'label', 'chosen_')
    # Positives of new users or items, and their labels.
    later: Pairs | None = None

    def _fit(
        self, rating: Tensor, progress: bool, fitted: ImplicitKernelScorer | None
    ) -> None:
        vars(self).pop('_items', None)  # of an earlier fit
        self.label = rating.double()
        self.sides = self._with_collaborative(self.edge_index)
        self.chosen_, self.scenarios = {}, {}
        for name in tqdm(SCENARIOS, desc='kernel model', disable=not progress):
            if fitted is None:
                self.chosen_[name], scale = self._choose(name)
            else:
                self.chosen_[name] = fitted.chosen_[name]
                scale = float(fitted.scenarios[name].get('scale', 1.0))
            self.scenarios[name] = self._fit_scenario(name, scale)
        if fitted is None:
            for name, setting in self.chosen_.items():
                self.chosen_[name] = setting._replace(added=self._choose_added(name))

    def _fit_scenario(self, name: str, scale: float) -> dict[str, Tensor]:
        setting, known = self.chosen_[name], self._pairs()
        if name == 'warm':
            warm = self._item_ridge(known, setting)
            return {'head': warm.head, 'inverse': warm.inverse.float()}
        model, a, b = self._model(name, setting, known, self.sides)
        to_b = scale * (model.b_map * model.b_value).t() * b
        made = {'weight': a[:, None] * model.weight(setting.ridge) @ to_b}
        if name != 'both_cold':
            made['rows'] = model.rows(setting.ridge, slice(None)) @ to_b
        if name == 'item_cold':
            made['new'] = b[:, None] * model.new_weight(setting.ridge) @ to_b
        made = {key: x.float() for key, x in made.items()}
        return made | {'scale': torch.tensor(scale, dtype=torch.float)}

    def with_new_nodes(
        self, nodes: Mapping[str, NodeFeatures], ratings: Pairs | None = None
    ) -> ImplicitKernelScorer:
        made = super().with_new_nodes(nodes)
        vars(made).pop('_items', None)
        made.later = _join(self.later, ratings)
        return made

    def explain(self, user: int, item: int) -> KernelExplanation:
        """Contributions of training positives and kernels to the score of a pair."""
        name = self.scenario_of(user, item)
        weight, is_warm = self.chosen_[name].added, name == 'warm'
        # A warm pair is scored as of a cold user, and by positives.
        parts, components, names = self._explain_kernels(
            'user_cold' if is_warm else name, user, item
        )
        if is_warm:
            parts, components, weight = weight * parts, weight * components, 1.0
        if name != 'both_cold' and (is_warm or self.later is not None):
            index, label = _join(self._pairs(), self.later)
            added = self._items.weight(item)[index[1]].double()
            added = added * label.double() * (index[0] == user) * weight
            parts = parts + added
            row = -1 if name == 'user_cold' else 0
            components[row, names[1].index(NAMES[0])] += added.sum()
        return KernelExplanation(0.0, parts, components, *names)

    def _explain_kernels(
        self, name: str, user: int, item: int
    ) -> tuple[Tensor, Tensor, list[tuple[str, ...]]]:
        """Contributions of positives and of components by the model of cold pairs."""
        setting, rows = self.chosen_[name], self.scenarios[name]
        nodes, sides = {'user': user, 'item': item}, _order(name)
        known = self._pairs()
        model, *_ = self._model(name, setting, known, self.sides)
        p, q = model.effects(setting.ridge, *(nodes[side] for side in sides))
        index = dict(zip(SIDES, self.edge_index, strict=True))
        parts = (p[index[sides[0]]] * q[index[sides[1]]]).sum(dim=1) * rows['scale']
        parts = parts * self._scaled(name, setting.power, known)
        # What the features of a give, and what is left of the row to the identity.
        maps = [self.sides[side].maps for side in sides]
        x, z = (m.x[nodes[s]].double() for m, s in zip(maps, sides, strict=True))
        weight = x[:, None] * rows['weight'].double()
        own = torch.zeros_like(z)
        if 'rows' in rows:
            own = rows['rows'][nodes[sides[0]]].double() - weight.sum(dim=0)
        if self.later is not None:
            index, label = self.later
            added = torch.zeros_like(label, dtype=torch.float64)
            if name == 'both_cold':  # by positives of the user
                own = self._new_rows(torch.tensor([user]))[0] * setting.added
                added = self.sides['item'].take(index[1]).double()
                added = added @ self.scenarios['item_cold']['new'].double() @ z
                added = added * label.double() * (index[0] == user) * setting.added
            parts = torch.cat([parts, added])
        components = torch.cat([weight, own[None]]) * z
        identity = F.pad(maps[0].component, (0, 1), value=len(maps[0].names))
        for axis, component in enumerate((identity, maps[1].component)):
            shape = list(components.shape)
            shape[axis] = len(maps[axis].names) + 1
            made = components.new_zeros(shape)
            components = made.index_add_(axis, component, components)
        names = [(*m.names, IDENTITY) for m in maps]
        if sides[0] == 'item':
            return parts, components.t(), names[::-1]
        return parts, components, names

    def state_dict(self) -> dict[str, Any]:
        chosen = {name: tuple(setting) for name, setting in self.chosen_.items()}
        return super().state_dict() | {'chosen_': chosen}

    @classmethod
    def from_state(
        cls, config: KernelConfig, state: Mapping[str, Any]
    ) -> ImplicitKernelScorer:
        made = super().from_state(config, state)
        made.chosen_ = {name: Setting(*s) for name, s in made.chosen_.items()}
        return made

    def _with_collaborative(self, edge_index: Tensor) -> dict[str, Side]:
        """Both sides with features of attributes and of co-ratings in some pairs."""
        sizes = self.num_nodes.values()
        made = co_rating_features(edge_index, *sizes, self.config.num_factors)
        return {
            # Unit rows: the scale of others depends on the number of cold nodes.
            name: replace(side, fitted=side.attributes.append(NAMES[0], F.normalize(x)))
            for (name, side), x in zip(self.sides.items(), made, strict=True)
        }

    def _score(self, name: str, user: Tensor, item: Tensor, product: Product) -> Tensor:
        weight = self.chosen_[name].added
        if name == 'warm':
            score = weight * super()._score('user_cold', user, item, product)
            weight = 1.0
        else:
            score = super()._score(name, user, item, product)
            if self.later is None:
                return score
            if name == 'both_cold':
                x = self.sides['item'].take(item).double()
                return score + weight * product(self._new_rows(user), x)
        # Both have positives.
        users, row = user.unique(return_inverse=True)
        items, column = item.unique(return_inverse=True)
        row = row if product is paired else row[:, None]
        added = self._items.score_all(users, items)[row, column].double()
        return score + weight * added

    def _rows(self, name: str, side: str, nodes: Tensor) -> Tensor:
        rows = self.scenarios[name]
        if side == _order(name)[0] and 'rows' in rows:
            return rows['rows'][nodes].double()
        x = self.sides[side].take(nodes).double()
        return x if side == _order(name)[1] else x @ rows['weight'].double()

    def _new_rows(self, user: Tensor) -> Tensor:
        """Rows of new users for cold items, from their first positives."""
        items = self.later[0][1].unique()
        target = self._target(*self.later)[user.numpy()][:, items.numpy()]
        known = torch.from_numpy(target @ self.sides['item'].take(items).numpy())
        return known.double() @ self.scenarios['item_cold']['new'].double()

    @cached_property
    def _items(self) -> ItemRidge:
        """The model of warm pairs."""
        warm = self.scenarios['warm']
        pairs = _join(self._pairs(), self.later)
        return self._with_weights(pairs, warm['head'], warm['inverse'])

    def _with_weights(self, pairs: Pairs, head: Tensor, inverse: Tensor) -> ItemRidge:
        """Fitted weights of items that score users by some pairs."""
        target = self._target(pairs[0], pairs[1].to(inverse))
        features = self._item_features(target, self.chosen_['warm']).to(inverse)
        return ItemRidge(target, head, inverse, features)

    def _target(self, edge_index: Tensor, value: Tensor) -> sp.csr_matrix:
        size = tuple(self.num_nodes.values())
        return sp.csr_matrix((value.numpy(), tuple(edge_index.numpy())), size)

    def _scaled(self, name: str, power: float, pairs: Pairs) -> Tensor:
        """Labels over a power of the number of positives of their cold nodes."""
        edge_index, label = pairs
        for index, is_cold in zip(edge_index, SCENARIOS[name], strict=True):
            if is_cold:
                label = label / index.bincount().double()[index] ** power
        return label

    def _model(
        self, name: str, setting: Setting, pairs: Pairs, nodes: Mapping[str, Side]
    ) -> tuple[TwoWayRidge, Tensor, Tensor]:
        """Returns a fitted model and the scales of the features of its sides."""
        target = self._target(pairs[0], self._scaled(name, setting.power, pairs))
        sides = _order(name)
        if sides[0] == 'item':
            target = target.T.tocsr()
        features, factors = [], []
        for k, side in enumerate(sides):
            x = nodes[side].maps.x
            is_cold = SCENARIOS[name][SIDES.index(side)]
            part = 0.0 if is_cold else setting.collaborative
            total = 1.0 if k else 1 - setting.identity  # of the rest of the kernel
            is_attribute = torch.arange(x.size(1)) < nodes[side].width
            factor = torch.where(is_attribute, total * (1 - part), total * part)
            factors.append(factor.sqrt().double())
            features.append(x * factors[-1])
        return TwoWayRidge(target, *features, setting.identity), *factors

    def _choose(self, name: str) -> tuple[Setting, float]:
        """Returns the best setting on folds and the scale of its scores."""
        if name == 'warm':
            grid = [Setting(0.0, 0.0, 0.0, 0.1, ridge) for ridge in ITEM_RIDGES]
        else:
            kernels = [(0.0, 0.0)] if name == 'both_cold' else KERNELS
            grid = [
                Setting(power, *kernel, 0.0, ridge)
                for kernel, power, ridge in product(kernels, POWERS, RIDGES)
            ]
        totals = self._try(name, grid)
        if not totals:
            return grid[len(grid) // 2], 1.0

        # Rounded, so that ties go to the first setting on all machines.
        def ndcg(setting: Setting) -> float:
            return round(float(totals[setting][0]), 6)

        best = max(totals, key=ndcg)
        if name == 'warm':
            grid = [best._replace(attribute=weight) for weight in ITEM_ATTRIBUTES]
            totals |= self._try(name, grid)
            best = max(totals, key=ndcg)
        _, truth, square = totals[best].tolist()
        return best, truth / square if truth > 0 else 1.0

    def _try(self, name: str, grid: Sequence[Setting]) -> dict[Setting, Tensor]:
        """Sums of metrics on folds by setting; none without folds."""
        totals: dict[Setting, Tensor] = {}
        for fold, pairs in self._folds(name):
            for setting, score in self._scores(name, grid, pairs, fold):
                totals[setting] = totals.get(setting, 0) + fold.metrics(score)
        return totals

    def _folds(self, name: str) -> Iterator[tuple[HeldOut, Pairs]]:
        """Yields held-out parts of a scenario and the pairs to fit on."""
        seed = self.config.seed
        folds = scenario_folds(self.edge_index, name, self.config.cv_folds, seed)
        for held, kept in folds[: ITEM_FOLDS if name == 'warm' else None]:
            if held.any() and kept.any():
                fold = HeldOut.of(*self._pairs(), held, kept, seed, name)
                yield fold, self._pairs(kept)

    def _pairs(self, mask: Tensor | slice = slice(None)) -> Pairs:
        return self.edge_index[:, mask], self.label[mask]

    def _choose_added(self, name: str) -> float:
        """The best of :data:`PRIORS` or of :data:`FIRST_WEIGHTS` on folds."""
        is_warm = name == 'warm'
        weights = PRIORS if is_warm else FIRST_WEIGHTS
        total = torch.zeros(len(weights), dtype=torch.float64)
        parts = self._warm_parts() if is_warm else self._first_parts(name)
        for fold, score, added in parts:
            total += torch.stack([fold.ndcg(score + w * added).sum() for w in weights])
        if not total.any():
            return 0.0 if is_warm else 1.0
        return weights[int(total.round(decimals=6).argmax())]

    def _warm_parts(self) -> Iterator[tuple[HeldOut, Tensor, Tensor]]:
        """Yields folds of warm pairs with scores, and scores by the cold-user model."""
        for fold, pairs in self._folds('warm'):
            names = 'warm', 'user_cold'
            yield fold, *(self._chosen_score(name, pairs, fold) for name in names)

    def _first_parts(self, name: str) -> Iterator[tuple[HeldOut, Tensor, Tensor]]:
        """Yields folds of nodes with a few positives, scores without and from these."""
        seed, is_both = self.config.seed, name == 'both_cold'
        # At most half of the positives of a node are its first ones, chosen at random.
        node = pd.Series(self.edge_index[SCENARIOS[name].index(True)].numpy())
        generator = torch.Generator().manual_seed(seed)
        shuffled = node.iloc[torch.randperm(len(node), generator=generator).numpy()]
        place = shuffled.groupby(shuffled).cumcount().sort_index()
        count = node.groupby(node).transform('size')
        is_first = (place < NUM_FIRST) & (2 * place + 2 <= count)
        is_first = torch.tensor(is_first.to_numpy())
        folds = (
            scenario_folds(self.edge_index, n, self.config.cv_folds, seed)
            for n in (name, 'user_cold' if is_both else name)
        )
        for (held, kept), (mine, _) in [*zip(*folds, strict=True)][:ITEM_FOLDS]:
            first = mine & is_first
            known, rest = kept | first, held & ~is_first
            if not rest.any() or not kept.any():
                continue
            pairs = self._pairs(kept)
            fold = HeldOut.of(*self._pairs(), rest, known, seed, name)
            if is_both:
                added = self._first_scores(fold, pairs, self._pairs(first))
            else:
                warm = self._item_ridge(pairs, self.chosen_['warm'])
                warm = self._with_weights(self._pairs(known), warm.head, warm.inverse)
                added = warm.score_all(fold.users, fold.items)
            yield fold, self._chosen_score(name, pairs, fold), added

    def _first_scores(self, fold: HeldOut, pairs: Pairs, first: Pairs) -> Tensor:
        """Scores of cold items from first positives, by a model of some pairs."""
        name = 'item_cold'
        setting, scale = self.chosen_[name], float(self.scenarios[name]['scale'])
        nodes = self._with_collaborative(pairs[0])
        model, _, b = self._model(name, setting, pairs, nodes)
        x = nodes['item'].maps.x * b
        target = self._target(*first)
        known = torch.from_numpy(target[fold.users.numpy()] @ x.numpy())
        rows = known @ model.new_weight(setting.ridge) * model.b_value
        return scale * rows @ (x[fold.items] @ model.b_map).t()

    def _chosen_score(self, name: str, pairs: Pairs, fold: HeldOut) -> Tensor:
        """Scores of a fold by the chosen setting, fitted on some pairs."""
        ((_, score),) = self._scores(name, [self.chosen_[name]], pairs, fold)
        return self.scenarios[name].get('scale', 1.0) * score

    def _scores(
        self, name: str, grid: Sequence[Setting], pairs: Pairs, fold: HeldOut
    ) -> Iterator[tuple[Setting, Tensor]]:
        """Yields settings and scores of a fold by models fitted on some pairs."""
        users, items = fold.users, fold.items
        if name == 'warm':
            for setting in grid:
                model = self._item_ridge(pairs, setting)
                yield setting, model.score_all(users, items)
            return
        nodes = self._with_collaborative(pairs[0])
        is_by_user = _order(name)[0] == 'user'
        a, b = (users, items) if is_by_user else (items, users)
        for _, group in groupby(grid, lambda s: s._replace(ridge=0.0)):
            group = list(group)
            model, *_ = self._model(name, group[0], pairs, nodes)
            columns = (model.b[b] * model.b_value).t()
            for setting in group:
                score = model.rows(setting.ridge, a) @ columns
                yield setting, score if is_by_user else score.t()

    def _item_ridge(self, pairs: Pairs, setting: Setting) -> ItemRidge:
        target = self._target(*pairs)
        features = self._item_features(target, setting)
        count = min(MAX_ITEMS, len(np.unique(target.indices)))
        return ItemRidge.fit(target, setting.ridge, features, count)

    def _item_features(self, target: sp.csr_matrix, setting: Setting) -> Tensor:
        """Attributes that count as further users, of items with positives."""
        x = self.sides['item'].attributes.x.double()
        x = x * torch.from_numpy(target.getnnz(axis=0) > 0)[:, None]
        return x * (setting.attribute * setting.ridge) ** 0.5


def _order(name: str) -> tuple[str, str]:
    """The side of a model that may have the identity, and the other."""
    return ('item', 'user') if name == 'user_cold' else ('user', 'item')


def _join(*pairs: Pairs | None) -> Pairs | None:
    """Concatenates pairs."""
    parts = zip(*filter(None, pairs), strict=True)
    return tuple(torch.cat(part, dim=-1) for part in parts) or None
