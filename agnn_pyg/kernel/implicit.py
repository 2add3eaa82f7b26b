"""The kernel model for positives without ratings, with a model per scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby, product
from typing import TYPE_CHECKING, Any, NamedTuple

import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from agnn_pyg.base.store import under
from agnn_pyg.folds import SCENARIOS, scenario_folds
from agnn_pyg.kernel.collaborative import NAMES, co_rating_features
from agnn_pyg.kernel.features import LINKED, KernelFeatures
from agnn_pyg.kernel.held_out import HeldOut
from agnn_pyg.kernel.regressor import IDENTITY
from agnn_pyg.kernel.scorer import SCENARIO_OF, KernelConfig, KernelExplanation
from agnn_pyg.kernel.two_way import TwoWayRidge, item_ridge
from agnn_pyg.rating_data import SIDES, NodeFeatures, RatingData

if TYPE_CHECKING:
    import scipy.sparse

    from agnn_pyg.base.columns import ColumnEncoder
    from agnn_pyg.base.encoder import TokenBags

# Catalogues of more items have no dense matrix of items by items.
MAX_ITEMS = 10_000
BLOCK_PAIRS, BLOCK_USERS = 1024, 64
# What is tried: the exponent of the number of positives of a cold node, by which they
# are divided; the weight of the identity; that of the collaborative kernel in the rest;
# and the penalty.
POWERS = (0.0, 0.25)
KERNELS = ((1.0, 0.0), (0.9, 1.0), (0.7, 1.0), (0.5, 0.8))
RIDGES = tuple(10 ** (k / 2) for k in range(1, 8))
# Of the warm model: the penalty, and the weight of attributes relative to it.
ITEM_RIDGES = (50.0, 100.0, 200.0, 400.0, 1000.0)
ITEM_ATTRIBUTES = (0.0, 0.03, 0.3)
# Folds for these: a matrix of items by items takes long to invert.
ITEM_FOLDS = 2
# Tensors of each side.
PARTS = ('attributes', 'collaborative', 'cold')


class Setting(NamedTuple):
    """One choice of what is tried."""

    power: float
    identity: float
    collaborative: float
    attribute: float  # of the items-by-items matrix, relative to its ridge
    ridge: float


class ImplicitKernelScorer:
    r"""Scores pairs by how likely they are positive, from positives without ratings.

    Pairs with a cold user, a cold item or both are scored by a
    :class:`~agnn_pyg.kernel.two_way.TwoWayRidge` of their scenario. Kernels compare the
    attributes of cold sides; those of a warm side add a collaborative kernel and the
    identity. Warm pairs are scored by :func:`~agnn_pyg.kernel.two_way.item_ridge`, in
    which attributes count as further users, or likewise in catalogues of more than
    10,000 items.

    Settings are those of the best nDCG@20 on folds in the manner of the scenario, see
    :func:`~agnn_pyg.folds.scenario_folds`: held-out cold items are ranked among
    themselves, others among all items that a user lacks. Scores of cold pairs are
    scaled by least squares on the folds, so that those of all scenarios can be
    compared: 1 is a positive of common weight, 0 none.

    Scores are linear in the positives, so that contributions add up exactly.

    Args:
        config (KernelConfig, optional): Its settings, of which :obj:`num_factors`,
            :obj:`cv_folds` and :obj:`seed` count; all scenarios are served.
            (default: the defaults)

    Attributes:
        chosen_: By scenario the settings that were chosen.
    """

    def __init__(self, config: KernelConfig | None = None) -> None:
        self.config = config or KernelConfig()

    def fit(
        self,
        data: RatingData,
        validation: Any = None,
        progress: bool = False,
        fitted: ImplicitKernelScorer | None = None,
        **run,
    ) -> ImplicitKernelScorer:
        """Fits a model for each scenario.

        Args:
            data (RatingData): Positives, whose :obj:`rating` is a weight; nodes without
                any are cold.
            validation (tuple, optional): Not used: settings are chosen on folds.
            progress (bool, optional): Show a progress bar. (default: :obj:`False`)
            fitted (ImplicitKernelScorer, optional): A scorer of the first of these
                nodes and pairs, whose features and settings are kept.
            **run (optional): Options of other scorers, such as where to train.
        """
        self.edge_index, self.label = data.edge_index, data.rating.double()
        self.features = fitted.features if fitted else {}
        self.attributes, self.cold = {}, {}
        for side in SIDES:
            nodes, self.cold[side] = data.nodes[side], data.cold(side)
            if fitted is None:
                warm = nodes.compared.take(~self.cold[side])
                self.features[side] = _column_features(warm, data.columns[side])
            self.attributes[side] = self._read(side, nodes)
        self.collaborative = self._collaborate(self.edge_index)
        is_small = data.num_nodes['item'] <= MAX_ITEMS
        self.has_item_ridge = fitted.has_item_ridge if fitted else is_small
        self.chosen_, self.scenarios = {}, {}
        for name in tqdm(SCENARIOS, desc='kernel model', disable=not progress):
            if fitted is None:
                setting, scale = self._choose(name)
            else:
                scale = float(fitted.scenarios[name].get('scale', 1.0))
                setting = fitted.chosen_[name]
            self.chosen_[name] = setting
            if self._by_items(name):
                target = self._target(self.edge_index, self.label)
                weight = self._item_weight(target, setting)
                self.scenarios[name] = {'items': weight.float()}
                continue
            model, a, b = self._model(name, setting, self.edge_index, self.label)
            to_b = scale * (model.b_map * model.b_value).t() * b
            made = {'weight': a[:, None] * model.weight(setting.ridge) @ to_b}
            if name != 'both_cold':
                made['rows'] = model.rows(setting.ridge, slice(None)) @ to_b
            self.scenarios[name] = {key: x.float() for key, x in made.items()}
            self.scenarios[name]['scale'] = torch.tensor(scale)
        return self

    @property
    def num_nodes(self) -> dict[str, int]:
        """Number of users and of items."""
        return {side: len(cold) for side, cold in self.cold.items()}

    def score(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores of pairs of user and item rows, each :obj:`[B]`, as ``float64``."""
        made = torch.zeros(len(user), dtype=torch.float64)
        cold = self.cold['user'][user], self.cold['item'][item]
        for name, (user_cold, item_cold) in SCENARIOS.items():
            mine = (cold[0] == user_cold) & (cold[1] == item_cold)
            for some in mine.nonzero().squeeze(1).split(BLOCK_PAIRS):
                if self._by_items(name):
                    column = item[some, None]
                    made[some] = self._neighbors(user[some]).gather(1, column)[:, 0]
                else:
                    p, q = self._rows(name, user[some], item[some])
                    made[some] = (p * q).sum(dim=1)
        return made

    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Scores of all pairs, in blocks of users, :obj:`[<= 64, items]`."""
        for block in users.split(BLOCK_USERS):
            made = torch.zeros(len(block), len(items), dtype=torch.float64)
            cold = self.cold['user'][block], self.cold['item'][items]
            for name, pattern in SCENARIOS.items():
                row, column = (
                    (is_cold == wanted).nonzero().squeeze(1)
                    for is_cold, wanted in zip(cold, pattern, strict=True)
                )
                if not len(row) or not len(column):
                    continue
                if self._by_items(name):
                    score = self._neighbors(block[row])[:, items[column]]
                else:
                    p, q = self._rows(name, block[row], items[column])
                    score = p @ q.t()
                made[row[:, None], column] = score
            yield made

    def with_new_nodes(self, nodes: Mapping[str, NodeFeatures]) -> ImplicitKernelScorer:
        """A scorer with more nodes, all cold, after those that there are."""
        made = ImplicitKernelScorer(self.config)
        vars(made).update(vars(self) | {p: dict(getattr(self, p)) for p in PARTS})
        for side, new in nodes.items():
            x, gap = self._read(side, new), (0, 0, 0, new.num_nodes)
            made.attributes[side] = torch.cat([self.attributes[side], x])
            made.collaborative[side] = F.pad(self.collaborative[side], gap)
            made.cold[side] = F.pad(self.cold[side], gap[2:], value=True)
        return made

    def embeddings(self, side: str) -> Tensor:
        """Attribute and collaborative features of all nodes, :obj:`[N, D]`."""
        return self._x(side)[:, 1:]  # the first is constant

    def explain(self, user: int, item: int) -> KernelExplanation:
        """What training positives and kernels add to the score of a pair."""
        nodes = dict(zip(SIDES, (user, item), strict=True))
        name = SCENARIO_OF[tuple(bool(self.cold[s][node]) for s, node in nodes.items())]
        setting, rows = self.chosen_[name], self.scenarios[name]
        if self._by_items(name):
            weight = rows['items'][self.edge_index[1], item].double()
            parts = weight * self.label * (self.edge_index[0] == user)
            names = ('constant',), NAMES[:1]
            return KernelExplanation(0.0, parts, parts.sum().view(1, 1), *names)
        model, *_ = self._model(name, setting, self.edge_index, self.label)
        sides = _order(name)
        p, q = model.effects(setting.ridge, *(nodes[side] for side in sides))
        index = dict(zip(SIDES, self.edge_index, strict=True))
        parts = (p[index[sides[0]]] * q[index[sides[1]]]).sum(dim=1) * rows['scale']
        parts = parts * self._scaled(name, setting.power, self.edge_index, self.label)
        # What the features of a give, and what is left of the row to the identity.
        x, z = (self._x(side)[nodes[side]].double() for side in sides)
        weight = x[:, None] * rows['weight'].double()
        own = torch.zeros_like(z)
        if 'rows' in rows:
            own = rows['rows'][nodes[sides[0]]].double() - weight.sum(dim=0)
        components, names = torch.cat([weight, own[None]]) * z, []
        for axis, side in enumerate(sides):
            number, labels = self._components(side)
            if not axis:
                number = F.pad(number, (0, 1), value=len(labels))
            labels = (*labels, IDENTITY)
            shape = [
                len(labels) if k == axis else n for k, n in enumerate(components.shape)
            ]
            made = components.new_zeros(shape)
            components = made.index_add_(axis, number, components)
            names.append(labels)
        if sides[0] == 'item':
            components, names = components.t(), names[::-1]
        return KernelExplanation(0.0, parts, components, *names)

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`state_dict` leaves out, as plain data ready for JSON."""
        features = {side: f.to_dict() for side, f in self.features.items()}
        chosen = {name: list(setting) for name, setting in self.chosen_.items()}
        return {'features': features, 'chosen': chosen}

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of the fit by name."""
        state = {'edge_index': self.edge_index, 'label': self.label}
        for side in SIDES:
            for part in PARTS:
                state[f'{part}.{side}'] = getattr(self, part)[side]
            for key, tensor in self.features[side].tensors().items():
                state[f'features.{side}.{key}'] = tensor
        for name, rows in self.scenarios.items():
            state |= {f'scenarios.{name}.{key}': tensor for key, tensor in rows.items()}
        return state

    @classmethod
    def from_state(
        cls,
        config: KernelConfig,
        plain: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> ImplicitKernelScorer:
        """The inverse of :meth:`to_dict` and :meth:`state_dict`."""
        made = cls(config)
        made.edge_index, made.label = tensors['edge_index'], tensors['label']
        for part in PARTS:
            setattr(made, part, under(tensors, f'{part}.'))
        made.features = {
            side: KernelFeatures.from_dict(state, under(tensors, f'features.{side}.'))
            for side, state in plain['features'].items()
        }
        made.chosen_ = {name: Setting(*s) for name, s in plain['chosen'].items()}
        made.scenarios = {
            name: under(tensors, f'scenarios.{name}.') for name in SCENARIOS
        }
        made.has_item_ridge = 'items' in made.scenarios['warm']
        return made

    def _by_items(self, name: str) -> bool:
        return name == 'warm' and self.has_item_ridge

    def _read(self, side: str, nodes: NodeFeatures) -> Tensor:
        """Attribute features whose kernel of a node with itself is 1 on average."""
        features = self.features[side]
        maps = features.transform(nodes.compared, nodes.positions)
        lengths = _lengths(features, nodes.compared)
        if nodes.positions is not None:  # of length 1
            lengths = F.pad(lengths, (0, 1), value=1.0)
        x = maps.x * lengths[:, maps.component]
        return x / len(maps.names) ** 0.5

    def _collaborate(self, edge_index: Tensor) -> dict[str, Tensor]:
        size = [len(self.cold[side]) for side in SIDES]
        made = co_rating_features(edge_index, *size, self.config.num_factors)
        # Unit rows: the scale of others depends on the number of cold nodes.
        return {s: F.normalize(x) for s, x in zip(SIDES, made, strict=True)}

    def _x(self, side: str) -> Tensor:
        return torch.cat([self.attributes[side], self.collaborative[side]], dim=1)

    def _components(self, side: str) -> tuple[Tensor, tuple[str, ...]]:
        """The kernel of each feature, and the names of kernels."""
        widths = [1, *(part.width for part in self.features[side].components_)]
        names = ['constant', *self.features[side].names]
        rest = self.attributes[side].size(1) - sum(widths)
        if rest:
            widths.append(rest)
            names.append(LINKED)
        widths.append(self.collaborative[side].size(1))
        number = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
        return number, (*names, NAMES[0])

    def _rows(self, name: str, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of users and of items whose inner products are scores."""
        sides, rows = _order(name), self.scenarios[name]
        node = {'user': user, 'item': item}
        a, b = (node[side] for side in sides)
        made = {sides[1]: self._take(sides[1], b)}
        made[sides[0]] = (
            rows['rows'][a].double()
            if 'rows' in rows
            else self._take(sides[0], a) @ rows['weight'].double()
        )
        return made['user'], made['item']

    def _take(self, side: str, nodes: Tensor) -> Tensor:
        parts = self.attributes[side], self.collaborative[side]
        return torch.cat([part[nodes] for part in parts], dim=1).double()

    @cached_property
    def _positives(self) -> scipy.sparse.csr_matrix:
        """Positives of users and items of the fit, for products with item weights."""
        size = len(self.cold['user']), len(self.scenarios['warm']['items'])
        user, item = self.edge_index.numpy()
        return sp.csr_matrix((self.label.float().numpy(), (user, item)), size)

    def _neighbors(self, users: Tensor) -> Tensor:
        """Scores of all items of the fit by those of users, :obj:`[users, items]`."""
        weight = self.scenarios['warm']['items']
        return torch.from_numpy(
            self._positives[users.numpy()] @ weight.numpy()
        ).double()

    def _target(self, edge_index: Tensor, value: Tensor) -> scipy.sparse.csr_matrix:
        size = tuple(len(self.cold[side]) for side in SIDES)
        user, item = edge_index.numpy()
        return sp.csr_matrix((value.numpy(), (user, item)), size)

    def _scaled(
        self, name: str, power: float, edge_index: Tensor, label: Tensor
    ) -> Tensor:
        """Labels over a power of the number of positives of their cold nodes."""
        for index, is_cold in zip(edge_index, SCENARIOS[name], strict=True):
            if is_cold:
                label = label / index.bincount().double()[index] ** power
        return label

    def _model(
        self,
        name: str,
        setting: Setting,
        edge_index: Tensor,
        label: Tensor,
        collaborative: Mapping[str, Tensor] | None = None,
    ) -> tuple[TwoWayRidge, Tensor, Tensor]:
        """A fitted model, and what the features of its sides are multiplied by."""
        target = self._target(
            edge_index, self._scaled(name, setting.power, edge_index, label)
        )
        sides, features, factors = _order(name), [], []
        if sides[0] == 'item':
            target = target.T.tocsr()
        share, identity = setting.collaborative, setting.identity
        for k, side in enumerate(sides):
            is_cold = SCENARIOS[name][SIDES.index(side)]
            part = (collaborative or self.collaborative)[side]
            weight = (1.0, 0.0) if is_cold else (1 - share, share)
            total = 1.0 if k else 1 - identity  # of the kernel without the identity
            widths = self.attributes[side].size(1), part.size(1)
            factor = [
                torch.full((n,), total * w).sqrt()
                for n, w in zip(widths, weight, strict=True)
            ]
            factors.append(torch.cat(factor).double())
            features.append(torch.cat([self.attributes[side], part], 1) * factors[-1])
        return TwoWayRidge(target, *features, identity), *factors

    def _choose(self, name: str) -> tuple[Setting, float]:
        """The best setting on folds, and what its scores are multiplied by."""
        if self._by_items(name):
            grid = [Setting(0.0, 0.0, 0.0, 0.1, ridge) for ridge in ITEM_RIDGES]
        else:
            powers = (0.0,) if name == 'warm' else POWERS
            kernels = [(0.0, 0.0)] if name == 'both_cold' else KERNELS
            grid = [
                Setting(power, *kernel, 0.0, ridge)
                for kernel, power, ridge in product(kernels, powers, RIDGES)
            ]
        totals = self._try(name, grid)
        if not totals:
            return grid[len(grid) // 2], 1.0

        # Rounded, so that of equals the first is chosen on all machines.
        def ndcg(setting: Setting) -> float:
            return round(float(totals[setting][0]), 6)

        best = max(totals, key=ndcg)
        if self._by_items(name):
            grid = [best._replace(attribute=weight) for weight in ITEM_ATTRIBUTES]
            totals |= self._try(name, grid)
            best = max(totals, key=ndcg)
        _, truth, square = totals[best].tolist()
        return best, truth / square if truth > 0 else 1.0

    def _try(self, name: str, grid: Sequence[Setting]) -> dict[Setting, Tensor]:
        """Sums of metrics on folds by setting; none without folds."""
        totals: dict[Setting, Tensor] = {}
        config, parts = self.config, (self.edge_index, self.label)
        folds = scenario_folds(self.edge_index, name, config.cv_folds, config.seed)
        for held, kept in folds[: ITEM_FOLDS if self._by_items(name) else None]:
            if not held.any() or not kept.any():
                continue
            index, label = self.edge_index[:, kept], self.label[kept]
            fold = HeldOut.of(*parts, held, kept, name, config.seed)
            sides = {'user': fold.users, 'item': fold.items}
            a, b = (sides[side] for side in _order(name))
            if self._by_items(name):
                target = self._target(index, label)
                for setting in grid:
                    weight = self._item_weight(target, setting)[:, fold.items]
                    score = torch.from_numpy(target[a.numpy()] @ weight.numpy())
                    totals[setting] = totals.get(setting, 0) + fold.metrics(score)
                continue
            collaborative = self._collaborate(index)
            for _, group in groupby(grid, lambda s: s._replace(ridge=0.0)):
                group = list(group)
                model, *_ = self._model(name, group[0], index, label, collaborative)
                columns = (model.b[b] * model.b_value).t()
                for setting in group:
                    score = model.rows(setting.ridge, a) @ columns
                    score = score if _order(name)[0] == 'user' else score.t()
                    totals[setting] = totals.get(setting, 0) + fold.metrics(score)
        return totals

    def _item_weight(self, target: scipy.sparse.csr_matrix, setting: Setting) -> Tensor:
        """The items-by-items matrix; attributes count as further users."""
        x = self.attributes['item'].double()
        x = x * torch.from_numpy(target.getnnz(axis=0) > 0)[:, None]
        x = x * (setting.attribute * setting.ridge) ** 0.5
        return item_ridge(target, setting.ridge, x)


def _column_features(
    nodes: TokenBags, columns: Sequence[ColumnEncoder]
) -> KernelFeatures:
    """Fitted features of single columns: pairs of these rank worse."""
    features = KernelFeatures().fit(nodes, columns)
    features.components_ = [c for c in features.components_ if len(c.columns) == 1]
    lengths = _lengths(features, nodes)[:, 1:].square().mean(dim=0).sqrt().tolist()
    features.components_ = [
        c._replace(scale=c.scale / max(length, 1e-6))
        for c, length in zip(features.components_, lengths, strict=True)
    ]
    return features


def _lengths(features: KernelFeatures, nodes: TokenBags) -> Tensor:
    """The root of the length of lists, by component, and 1, :obj:`[N, components]`.

    A film of three genres has more in common with others than a film of one.
    """
    hot, made = nodes.multi_hot(), torch.ones(nodes.num_nodes, 1)
    for component in features.components_:
        column = features.columns_[component.columns[0]]
        length = torch.ones(nodes.num_nodes, 1)
        if column.stype == 'multi':
            part = hot[:, column.offset : column.offset + column.num_values]
            length = torch.from_numpy(part.power(2).sum(axis=1)).float().sqrt()
        made = torch.cat([made, length.view(-1, 1)], dim=1)
    return made


def _order(name: str) -> tuple[str, str]:
    """The side of a model that may have the identity, and the other."""
    return ('item', 'user') if name == 'user_cold' else ('user', 'item')
