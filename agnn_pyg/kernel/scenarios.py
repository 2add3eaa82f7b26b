"""Base class, settings and explanations of scorers with a model per scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor

from agnn_pyg.base.config import NonNegativeInt, Seed
from agnn_pyg.folds import SCENARIOS, ScenariosConfig
from agnn_pyg.kernel.features import MAX_NODES, FeatureMaps, KernelFeatures
from agnn_pyg.kernel.regressor import COMPONENTS, Components
from agnn_pyg.rating_data import BLOCK_USERS, SIDES, NodeFeatures, RatingData

S = TypeVar('S', bound='ScenarioScorer')

BLOCK_PAIRS = 1024
Product = Callable[[Tensor, Tensor], Tensor]


class KernelConfig(ScenariosConfig):
    """Kernel model."""

    components: Components = COMPONENTS
    """Groups of kernel components: ratings by this user of similar items, ratings by
    similar users of this item, and ratings by similar users of similar items. Biases
    are always included."""
    num_factors: NonNegativeInt = 64
    """Number of features of co-rating and residual kernels; 0 for no such kernels."""
    num_latent: NonNegativeInt = 12
    """Number of factors of a matrix factorization, which is used for warm pairs if
    nodes have five ratings or more on average. A kernel compares the factors, and the
    prediction of the factorization is mixed in with a weight fitted on folds."""
    kernel_steps: NonNegativeInt = 30
    """Number of steps to learn the kernel weights; a third of them for ratings if user
    and item are cold."""
    cv_folds: Annotated[int, Ge(2), Le(100)] = 5
    """Number of folds to learn the kernel weights on."""
    seed: Seed = 0
    """Seed of all random numbers."""


class KernelExplanation(NamedTuple):
    """The terms of the score of one pair.

    Attributes:
        mean: The mean rating. The rest of the score is :obj:`factors` plus the sum of
            :obj:`contributions`, and of :obj:`components` as well.
        contributions: Term of each training rating, in the training order, :obj:`[R]`.
        components: Term of each product of a user kernel and an item kernel,
            :obj:`[A + 1, B + 1]`; empty if no scenario serves the pair.
        user_kernels: Names of the rows of :obj:`components`.
        item_kernels: Names of the columns of :obj:`components`.
        factors: Term of the matrix factorization.
    """

    mean: float
    contributions: Tensor
    components: Tensor
    user_kernels: tuple[str, ...]
    item_kernels: tuple[str, ...]
    factors: float = 0.0


@dataclass(frozen=True)
class Side:
    """The nodes of one side: nodes of the fit, followed by M new nodes."""

    fitted: FeatureMaps  # collaborative features of cold nodes are zeros
    width: int  # number of attribute features, which come first
    cold: Tensor  # a mask of the nodes without ratings, new ones included
    new: Tensor | None = None  # features of new nodes, [M, F]

    def with_warm(self, warm: FeatureMaps) -> Side:
        """Returns the same nodes with all features of the warm ones."""
        x = F.pad(self.fitted.x, (0, warm.x.size(1) - self.width))
        x[~self.cold] = warm.x
        return Side(warm._replace(x=x), self.width, self.cold)

    def append(self, x: Tensor) -> Side:
        """Appends cold nodes, given by their attribute features."""
        new = F.pad(x, (0, self.fitted.x.size(1) - self.width))
        if self.new is not None:
            new = torch.cat([self.new, new])
        cold = F.pad(self.cold, (0, len(x)), value=True)
        return replace(self, cold=cold, new=new)

    def take(self, nodes: Tensor) -> Tensor:
        """Returns features of some nodes, :obj:`[B, F]`."""
        return take_rows(self.fitted.x, self.new, nodes)

    @cached_property
    def maps(self) -> FeatureMaps:
        """Features of all nodes; a copy if there are new nodes."""
        if self.new is None:
            return self.fitted
        return self.fitted._replace(x=torch.cat([self.fitted.x, self.new]))

    @cached_property
    def position(self) -> Tensor:
        """Position of each node among the warm or among the cold nodes."""
        cold = self.cold
        return torch.where(cold, cold.cumsum(0), (~cold).cumsum(0)) - 1

    @cached_property
    def covariance(self) -> Tensor:
        """The covariance of attribute features of the warm nodes, :obj:`[F, F]`."""
        warm = (~self.cold).nonzero().squeeze(1)
        warm = warm[:: 1 + len(warm) // MAX_NODES]
        x = self.fitted.x[warm, : self.width].double()
        return torch.cov(x.t(), correction=0).view(2 * [self.width])

    @property
    def attributes(self) -> FeatureMaps:
        """The features of all nodes without the collaborative ones."""
        return self.maps.first(self.width)


def take_rows(first: Tensor, last: Tensor | None, index: Tensor) -> Tensor:
    """Takes rows of two stacked matrices without a copy of the stack."""
    if last is None:
        return first[index]
    made = first.new_empty(len(index), first.size(1))
    is_last = index >= len(first)
    made[~is_last] = first[index[~is_last]]
    made[is_last] = last[index[is_last] - len(first)]
    return made


def paired(p: Tensor, q: Tensor) -> Tensor:
    """Row-wise inner products, :obj:`[B]`; :func:`torch.inner` takes all pairs."""
    return (p * q).sum(dim=-1)


class ScenarioScorer:
    """Scores pairs by the kernel model of their scenario.

    A score is the :obj:`mean` plus the inner product of a user row and an item row from
    :obj:`_rows`. Rows of cold nodes are linear in their attribute features, so new
    nodes need no fit. Subclasses fit the models of the scenarios and the collaborative
    features in :obj:`_fit`.

    Args:
        config (KernelConfig, optional): Its settings. (default: the defaults)
    """

    # The class of attribute features, and how many items are scored at once.
    Features: ClassVar[type[KernelFeatures]] = KernelFeatures
    block_items: ClassVar[int]
    # Names of fitted attributes, besides features and sides.
    STATE: ClassVar[tuple[str, ...]] = ('mean', 'edge_index', 'scenarios')

    mean: float | Tensor
    features: dict[str, KernelFeatures]
    sides: dict[str, Side]
    scenarios: dict[str, dict[str, Tensor]]

    def __init__(self, config: KernelConfig | None = None) -> None:
        self.config = config or KernelConfig()

    def fit(
        self: S,
        data: RatingData,
        validation: Any = None,
        progress: bool = False,
        fitted: S | None = None,
        **run: Any,
    ) -> S:
        """Fits a model for each scenario, see :meth:`~agnn_pyg.scorers.Scorer.fit`.

        The validation data is not used: settings are chosen on folds.
        """
        self.edge_index = data.edge_index
        self.features = fitted.features if fitted else {}
        self.sides = {}
        for side in SIDES:
            nodes, cold = data.nodes[side], data.cold(side)
            if fitted is None:
                warm = nodes.compared.take(~cold)
                self.features[side] = self.Features().fit(warm, data.columns[side])
            maps = self.features[side].transform(nodes.compared, nodes.positions)
            self.sides[side] = Side(maps, maps.x.size(1), cold)
        self._fit(data.rating, progress, fitted)
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
        """Scores pairs; NaN if no scenario covers a pair."""
        made = torch.full((len(user),), torch.nan, dtype=torch.float64)
        cold = self.cold['user'][user], self.cold['item'][item]
        for name in self.scenarios:
            user_cold, item_cold = SCENARIOS[name]
            mine = (cold[0] == user_cold) & (cold[1] == item_cold)
            for some in mine.nonzero().squeeze(1).split(BLOCK_PAIRS):
                made[some] = self._score(name, user[some], item[some], paired)
        return made

    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Yields scores of all pairs, in blocks of users."""
        for block in users.split(BLOCK_USERS):
            parts = items.split(self.block_items)
            yield torch.cat([self._block(block, part) for part in parts], dim=1)

    def _block(self, users: Tensor, items: Tensor) -> Tensor:
        made = torch.full((len(users), len(items)), torch.nan, dtype=torch.float64)
        cold = self.cold['user'][users], self.cold['item'][items]
        for name in self.scenarios:
            row, column = (
                (is_cold == wanted).nonzero().squeeze(1)
                for is_cold, wanted in zip(cold, SCENARIOS[name], strict=True)
            )
            if len(row) and len(column):
                score = self._score(name, users[row], items[column], torch.inner)
                made[row[:, None], column] = score
        return made

    def _score(self, name: str, user: Tensor, item: Tensor, product: Product) -> Tensor:
        """Scores given pairs (with :func:`paired`) or all pairs of a scenario."""
        rows = self._rows(name, 'user', user), self._rows(name, 'item', item)
        return self.mean + product(*rows)

    def scenario_of(self, user: int, item: int) -> str:
        """The scenario of a pair."""
        cold = bool(self.cold['user'][user]), bool(self.cold['item'][item])
        return next(name for name, pattern in SCENARIOS.items() if pattern == cold)

    def with_new_nodes(
        self: S, nodes: Mapping[str, NodeFeatures], ratings: Any = None
    ) -> S:
        """Returns a scorer with additional cold nodes after the present ones.

        See :meth:`~agnn_pyg.scorers.Scorer.with_new_nodes`. Subclasses use ratings.
        """
        made = type(self)(self.config)
        vars(made).update(vars(self), sides=dict(self.sides))
        for name, new in nodes.items():
            x = self.features[name].transform(new.compared, new.positions).x
            made.sides[name] = self.sides[name].append(x)
        return made

    def state_dict(self) -> dict[str, Any]:
        """The fitted state as plain data and tensors."""
        features = {name: f.state_dict() for name, f in self.features.items()}
        sides = {
            name: (tuple(side.fitted), side.width, side.cold)
            for name, side in self.sides.items()
        }
        rest = {name: getattr(self, name) for name in self.STATE}
        return rest | {'features': features, 'sides': sides}

    @classmethod
    def from_state(cls: type[S], config: KernelConfig, state: Mapping[str, Any]) -> S:
        """The inverse of :meth:`state_dict`."""
        made = cls(config)
        from_state = cls.Features.from_state
        vars(made).update({name: state[name] for name in cls.STATE})
        made.features = {name: from_state(f) for name, f in state['features'].items()}
        made.sides = {
            name: Side(FeatureMaps(*maps), width, cold)
            for name, (maps, width, cold) in state['sides'].items()
        }
        return made

    def embeddings(self, side: str) -> Tensor:
        """Attribute and collaborative features of nodes of the fit, :obj:`[N, D]`."""
        return self.sides[side].fitted.x[:, 1:]  # the first is constant
