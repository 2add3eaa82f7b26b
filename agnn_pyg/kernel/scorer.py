"""The kernel model as a scorer: fitted on rating data, with a model per scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor
from tqdm import tqdm

from agnn_pyg.base.config import NonNegativeInt, Seed
from agnn_pyg.base.store import under
from agnn_pyg.folds import SCENARIOS, ScenariosConfig
from agnn_pyg.kernel.collaborative import FACTORS, append_collaborative
from agnn_pyg.kernel.features import FeatureMaps, KernelFeatures
from agnn_pyg.kernel.regressor import COMPONENTS, IDENTITY, PairwiseKernelRegressor
from agnn_pyg.rating_data import SIDES, NodeFeatures, RatingData

SCENARIO_OF = {cold: name for name, cold in SCENARIOS.items()}
BLOCK_PAIRS = 4096
# Ratings of a node, on average, that factors ask for: those of fewer are noise.
RATINGS_FOR_FACTORS = 5
BLOCK_USERS, BLOCK_ITEMS = 64, 8192


class KernelConfig(ScenariosConfig):
    """Kernel model."""

    components: tuple[Literal['user', 'item', 'attribute'], ...] = tuple(COMPONENTS)
    """Groups of kernel components: what this user gives to similar items, what similar
    users give to this item, and what similar users give to similar items. Biases are
    always there."""
    num_factors: NonNegativeInt = 64
    """Features of the co-rating and the residual kernel; 0 for no collaborative one."""
    num_latent: NonNegativeInt = 12
    """Features of the kernel of latent factors, where nodes have five ratings or more
    on average."""
    kernel_steps: NonNegativeInt = 20
    """Steps that learn the kernel weights."""
    cv_folds: Annotated[int, Ge(2)] = 5
    """Folds on which the kernel weights are learned."""
    seed: Seed = 0
    """Seed of all random numbers."""


class KernelExplanation(NamedTuple):
    """What the score of one pair is made of.

    Attributes:
        mean: The mean rating. The rest of the score is the sum of
            :obj:`contributions`, and of :obj:`components` as well.
        contributions: What each training rating adds, in their order, :obj:`[R]`.
        components: What each product of a user kernel and an item kernel adds,
            :obj:`[A + 1, B + 1]`; empty if no scenario serves the pair.
        user_kernels: Names of the rows of :obj:`components`.
        item_kernels: Names of its columns.
    """

    mean: float
    contributions: Tensor
    components: Tensor
    user_kernels: tuple[str, ...]
    item_kernels: tuple[str, ...]


@dataclass(frozen=True)
class _Side:
    """The nodes of one side.

    Attributes:
        maps: Their features; collaborative ones of cold nodes are zeros.
        width: Number of attribute features, which come first.
        cold: A mask of the nodes without ratings.
    """

    maps: FeatureMaps
    width: int
    cold: Tensor

    @classmethod
    def join(cls, maps: FeatureMaps, warm: FeatureMaps, cold: Tensor) -> _Side:
        """From attribute features of all nodes, and all features of the warm ones."""
        width = maps.x.size(1)
        x = F.pad(maps.x, (0, warm.x.size(1) - width))
        x[~cold] = warm.x
        return cls(warm._replace(x=x), width, cold)

    @cached_property
    def position(self) -> Tensor:
        """The position of each node among the warm or among the cold ones."""
        cold = self.cold
        return torch.where(cold, cold.cumsum(0), (~cold).cumsum(0)) - 1

    @property
    def attributes(self) -> FeatureMaps:
        """The features without the collaborative ones."""
        component = self.maps.component[: self.width]
        names = self.maps.names[: int(component[-1]) + 1]
        return FeatureMaps(self.maps.x[:, : self.width], component, names)


class KernelScorer:
    r"""Scores pairs by pairwise kernel ridge regression, one model per scenario.

    Weights that suit warm pairs do not suit cold ones: the bias of an item, which
    matters most in a warm pair, is missing in a cold one. So each scenario has a
    :class:`~agnn_pyg.kernel.regressor.PairwiseKernelRegressor` whose weights are
    learned on folds like it, and a pair is scored by the model of its own scenario.

    A score is an inner product of a row of the user and a row of the item. Rows of
    cold nodes are linear in their attribute features, so new nodes need no fit.

    Args:
        config (KernelConfig, optional): Its settings. (default: the defaults)

    Attributes:
        held_out_: By scenario rows of training ratings :obj:`[H]` and their predictions
            :obj:`[H]` by fits without them, see :func:`~agnn_pyg.folds.scenario_folds`.
    """

    def __init__(self, config: KernelConfig | None = None) -> None:
        self.config = config or KernelConfig()

    def fit(
        self,
        data: RatingData,
        validation: Any = None,
        progress: bool = False,
        fitted: KernelScorer | None = None,
        **run,
    ) -> KernelScorer:
        """Fits a model for each scenario.

        Args:
            data (RatingData): Ratings and nodes; those without ratings are cold.
            validation (tuple, optional): Not used: weights are learned on folds.
            progress (bool, optional): Show a progress bar. (default: :obj:`False`)
            fitted (KernelScorer, optional): A scorer of the first of these nodes and
                pairs: its features and kernel weights are kept, and the solver starts
                from its solution.
            **run (optional): Options of other scorers, such as where to train.
        """
        config, rating = self.config, data.rating
        self.edge_index, self.mean = data.edge_index, rating.mean()
        self.features, maps, cold = fitted.features if fitted else {}, [], []
        for side in SIDES:
            nodes, is_cold = data.nodes[side], data.cold(side)
            if fitted is None:
                features = KernelFeatures()
                warm = nodes.compared.take(~is_cold)
                self.features[side] = features.fit(warm, data.columns[side])
            maps.append(self.features[side].transform(nodes.compared, nodes.positions))
            cold.append(is_cold)
        warm = [m._replace(x=m.x[~c]) for m, c in zip(maps, cold, strict=True)]
        rows = zip(cold, self.edge_index, strict=True)
        index = torch.stack([((~c).cumsum(0) - 1)[row] for c, row in rows])
        widths = config.num_factors, self._num_latent(index.size(1), warm, fitted)
        both = append_collaborative(*warm, index, rating, *widths)
        self.sides = {
            side: _Side.join(*parts)
            for side, *parts in zip(SIDES, maps, both, cold, strict=True)
        }
        self.scenarios: dict[str, dict[str, Tensor]] = {}
        self.held_out_: dict[str, tuple[Tensor, Tensor]] = {}
        steps, known = 0 if fitted else config.kernel_steps, {}
        shared = {}  # preconditioners of an update, which scenarios of like items share
        total = len(config.scenarios) * (steps + 1)
        with tqdm(total=total, desc='kernel model', disable=not progress) as bar:
            for name in config.scenarios:
                model = PairwiseKernelRegressor(*warm, config.components, *widths, name)
                show = partial(_show, bar, name)
                known['maps'] = [
                    own if is_cold else full
                    for own, full, is_cold in zip(warm, both, model.cold, strict=True)
                ]
                if fitted is None:
                    learning = steps, config.cv_folds, config.seed, show
                    model.fit_hyperparameters(index, rating, *learning)
                else:
                    model.weight = fitted.scenarios[name]['weight']
                    known['start'] = fitted.scenarios[name]['alpha']
                    known['precondition'] = shared.get(model.cold[1])
                show('all ratings')
                model.fit(index, rating, **known)
                if fitted is not None:
                    shared[model.cold[1]] = model.precondition
                rows = model.prediction_rows(maps[1].x[cold[1]])
                rows |= {'weight': model.weight, 'alpha': model.alpha}
                self.scenarios[name] = rows
                if model.held_out is not None:
                    self.held_out_[name] = model.held_out
        return self

    @property
    def num_nodes(self) -> dict[str, int]:
        """Number of users and of items."""
        return {name: len(side.cold) for name, side in self.sides.items()}

    @property
    def cold(self) -> dict[str, Tensor]:
        """Masks of the users and of the items without ratings."""
        return {name: side.cold for name, side in self.sides.items()}

    def score(self, user: Tensor, item: Tensor) -> Tensor:
        """Predicted ratings of pairs of user and item rows, each :obj:`[B]`.

        Returns:
            Of dtype ``float64``; NaN where no scenario serves the pair.
        """
        made = _unknown(len(user))
        cold = self.sides['user'].cold[user], self.sides['item'].cold[item]
        for name in self.scenarios:
            user_cold, item_cold = SCENARIOS[name]
            mine = (cold[0] == user_cold) & (cold[1] == item_cold)
            for some in mine.nonzero().squeeze(1).split(BLOCK_PAIRS):
                p = self._rows(name, 'user', user[some])
                q = self._rows(name, 'item', item[some])
                made[some] = self.mean + (p * q).sum(dim=-1)
        return made

    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Predicted ratings of all pairs, in blocks of users :obj:`[<= 64, items]`."""
        for block in users.split(BLOCK_USERS):
            parts = [self._grid(block, some) for some in items.split(BLOCK_ITEMS)]
            yield torch.cat(parts, dim=1)

    def with_new_nodes(self, nodes: Mapping[str, NodeFeatures]) -> KernelScorer:
        """A scorer with more nodes, all cold, after those that there are."""
        made = KernelScorer(self.config)
        vars(made).update(vars(self), sides=dict(self.sides))
        for name, new in nodes.items():
            side = self.sides[name]
            x = self.features[name].transform(new.compared, new.positions).x
            gap = side.maps.x.size(1) - side.width
            maps = side.maps._replace(x=torch.cat([side.maps.x, F.pad(x, (0, gap))]))
            cold = F.pad(side.cold, (0, len(x)), value=True)
            made.sides[name] = _Side(maps, side.width, cold)
            if name == 'item' and 'both_cold' in self.scenarios:
                rows = dict(self.scenarios['both_cold'])
                rows['item'] = torch.cat([rows['item'], x @ rows['item_map']])
                made.scenarios = self.scenarios | {'both_cold': rows}
        return made

    def embeddings(self, side: str) -> Tensor:
        """Attribute and collaborative features of all nodes, :obj:`[N, D]`."""
        return self.sides[side].maps.x[:, 1:]  # the first is constant

    def explain(self, user: int, item: int) -> KernelExplanation:
        """What training ratings and kernel components add to the score of a pair."""
        nodes = dict(zip(SIDES, (user, item), strict=True))
        cold = tuple(bool(self.sides[s].cold[node]) for s, node in nodes.items())
        rows = self.scenarios.get(SCENARIO_OF[cold])
        if rows is None:
            contributions = torch.zeros(len(self.edge_index[0]), dtype=torch.float64)
            return KernelExplanation(
                float(self.mean), contributions, torch.empty(0, 0), (), ()
            )
        kernels, names = [], []
        for (name, node), is_cold, index in zip(
            nodes.items(), cold, self.edge_index, strict=True
        ):
            side = self.sides[name]
            maps = side.attributes if is_cold else side.maps
            identity = (index == node).double()[:, None]
            kernels.append(torch.cat([maps.kernel(node)[index].double(), identity], 1))
            names.append((*maps.names, IDENTITY))
        alpha, weight = rows['alpha'].double(), rows['weight'].double()
        contributions = alpha * ((kernels[0] @ weight) * kernels[1]).sum(dim=-1)
        components = weight * ((alpha[:, None] * kernels[0]).t() @ kernels[1])
        return KernelExplanation(float(self.mean), contributions, components, *names)

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`state_dict` leaves out, as plain data ready for JSON."""
        return {
            side: {
                'features': self.features[side].to_dict(),
                'names': list(self.sides[side].maps.names),
                'width': self.sides[side].width,
            }
            for side in SIDES
        }

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of the fit by name."""
        state = {'mean': self.mean, 'edge_index': self.edge_index}
        for name, side in self.sides.items():
            state[f'{name}.x'] = side.maps.x
            state[f'{name}.component'] = side.maps.component
            state[f'{name}.cold'] = side.cold
            for key, tensor in self.features[name].tensors().items():
                state[f'{name}.features.{key}'] = tensor
        for name, rows in self.scenarios.items():
            state |= {f'{name}.{key}': tensor for key, tensor in rows.items()}
        return state

    @classmethod
    def from_state(
        cls,
        config: KernelConfig,
        plain: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> KernelScorer:
        """The inverse of :meth:`to_dict` and :meth:`state_dict`."""
        made = cls(config)
        made.mean, made.edge_index = tensors['mean'], tensors['edge_index']
        made.features, made.sides = {}, {}
        for name in SIDES:
            state, own = plain[name], under(tensors, f'{name}.')
            made.features[name] = KernelFeatures.from_dict(
                state['features'], under(tensors, f'{name}.features.')
            )
            maps = FeatureMaps(own['x'], own['component'], tuple(state['names']))
            made.sides[name] = _Side(maps, state['width'], own['cold'])
        made.scenarios = {name: under(tensors, f'{name}.') for name in config.scenarios}
        return made

    def _num_latent(
        self, num_ratings: int, warm: Sequence[FeatureMaps], fitted: KernelScorer | None
    ) -> int:
        if fitted is not None:  # whose kernel weights are kept
            maps = fitted.sides['user'].maps
            is_factor = torch.tensor([name == FACTORS for name in maps.names])
            return int(is_factor[maps.component].sum())
        enough = RATINGS_FOR_FACTORS * sum(len(maps.x) for maps in warm)
        return self.config.num_latent if num_ratings >= enough else 0

    def _rows(self, scenario: str, side: str, nodes: Tensor) -> Tensor:
        rows = self.scenarios[scenario].get(side)
        if rows is None:  # of cold nodes: their attribute features
            rows = self.sides[side].maps.x[nodes, : self.sides[side].width]
        else:
            rows = rows[self.sides[side].position[nodes]]
        return rows.double()

    def _grid(self, users: Tensor, items: Tensor) -> Tensor:
        made = _unknown(len(users), len(items))
        cold = self.sides['user'].cold[users], self.sides['item'].cold[items]
        for name in self.scenarios:
            row, column = (
                (is_cold == wanted).nonzero().squeeze(1)
                for is_cold, wanted in zip(cold, SCENARIOS[name], strict=True)
            )
            p = self._rows(name, 'user', users[row])
            q = self._rows(name, 'item', items[column])
            made[row[:, None], column] = self.mean + p @ q.t()
        return made


def _unknown(*size: int) -> Tensor:
    return torch.full(size, torch.nan, dtype=torch.float64)


def _show(bar: tqdm, scenario: str, text: str) -> None:
    bar.set_postfix_str(f'{scenario}, {text}', refresh=False)
    bar.update()
