"""The interface of scorers of user-item pairs, and blends of two scorers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Protocol

import torch
from torch import Tensor

from agnn_pyg.base.config import Config
from agnn_pyg.folds import SCENARIOS, fit_weight, joint_fold
from agnn_pyg.kernel.held_out import HeldOut
from agnn_pyg.rating_data import SIDES, NodeFeatures, RatingData

# The prior weight of the kernel model.
PRIOR_WEIGHT = 0.75
# Candidate weights for positives.
RANK_WEIGHTS = torch.linspace(0, 1, 21, dtype=torch.float64)
# Pairs of scenarios whose items are in the same recommendation list.
LISTED = ('warm', 'item_cold'), ('user_cold', 'both_cold')
# Minimum slope: the rate per standard deviation of scores, as a fraction of the mean.
MIN_SLOPE = 1e-3


class Scorer(Protocol):
    """Predicts the ratings of pairs of users and items, given by their rows.

    Scores have the scale of the ratings of the fit and dtype ``float64``. Only
    :meth:`fit` changes the scorer, so threads may share a fitted one.

    A fitted scorer may have :obj:`held_out_`: by scenario, rows of held-out training
    ratings, :obj:`[H]`, and predictions of fits without these ratings, :obj:`[H]`.

    For a :class:`Blend`, both scorers also have :obj:`explain(user, item)` and
    :obj:`cold`, masks of the nodes without ratings by side. The kernel model has
    :obj:`embeddings(side)`. The network has :obj:`history_` and :obj:`best_epoch_`;
    for a :class:`RankBlend`, it also has the argument :obj:`positives`.
    """

    config: Config

    def __init__(self, config: Any = None) -> None: ...

    def fit(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None = None,
        fitted: Scorer | None = None,
        **run: Any,
    ) -> Scorer:
        """Fits on training ratings.

        Args:
            data (RatingData): Ratings and nodes; nodes without ratings are cold.
            validation (tuple, optional): Pairs :obj:`[2, V]` and ratings :obj:`[V]`
                that select the epoch.
            fitted (Scorer, optional): A scorer of the first of these nodes and pairs to
                update; choices that it made on held-out ratings are kept.
            **run (optional): Options such as :obj:`progress` and :obj:`accelerator`
                that do not change results on a CPU.
        """

    def score(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores of pairs of user and item rows, each :obj:`[B]`; NaN if not served."""

    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Scores of all pairs, in blocks of ``BLOCK_USERS``, :obj:`[users, items]`."""

    def with_new_nodes(
        self,
        nodes: Mapping[str, NodeFeatures],
        ratings: tuple[Tensor, Tensor] | None = None,
    ) -> Scorer:
        """A scorer with additional nodes by side, after the existing ones.

        New nodes are cold unless they have :obj:`ratings` with nodes of the fit: pairs
        :obj:`[2, E]` and values :obj:`[E]`.
        """

    def state_dict(self) -> dict[str, Any]:
        """The fitted state as plain data and tensors.

        The class method :obj:`from_state(config, state)` is the inverse.
        """


class Blend:
    r"""A weighted mean of the scores of the graph network and the kernel model.

    .. math::
        s_{ui} = w \, k_{ui} + (1 - w) \, n_{ui}

    if the kernel model serves a pair, and the score :math:`n_{ui}` of the network
    otherwise. The weight of each scenario is fitted on ratings that both models held
    out, with the prior :data:`PRIOR_WEIGHT` (:func:`~agnn_pyg.folds.fit_weight`). It is
    then moved towards the prior by one standard error, so a few ratings or cold nodes
    change it little. It may be 0 or 1.

    Args:
        network (AGNNScorer, optional): The graph network. (default: :obj:`None`)
        kernel (KernelScorer, optional): The kernel model. (default: :obj:`None`)
        kernel_weight (float, optional): A fixed weight :math:`w` of the kernel model
            instead of the fitted ones. (default: :obj:`None`)
        weights (dict, optional): Previously fitted weights by scenario.
            (default: :data:`PRIOR_WEIGHT` each)

    Attributes:
        weights_: The fitted weights :math:`w` by scenario.

    Raises:
        ValueError: If both scorers are None.
    """

    def __init__(
        self,
        network: Scorer | None = None,
        kernel: Scorer | None = None,
        kernel_weight: float | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        if network is None and kernel is None:
            raise ValueError("'network' or 'kernel' must be a scorer (got None, None)")
        self.network = network
        self.kernel = kernel
        self.kernel_weight = kernel_weight
        self.weights_ = dict(weights or dict.fromkeys(SCENARIOS, PRIOR_WEIGHT))

    def __repr__(self) -> str:
        weights = {name: round(weight, 3) for name, weight in self.weights_.items()}
        return f'{type(self).__name__}({[*self.scorers]}, weights={weights})'

    @property
    def scorers(self) -> dict[str, Scorer]:
        """The scorers that are not None, by name."""
        both = {'network': self.network, 'kernel': self.kernel}
        return {name: scorer for name, scorer in both.items() if scorer is not None}

    def fit(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None = None,
        **run: Any,
    ) -> Blend:
        """Fits both scorers, see :meth:`Scorer.fit`, and their weights."""
        if len(self.scorers) == 2 and self.kernel_weight is None:
            run['hold_out'] = True  # the weights are fitted on held-out ratings
        self._fit_scorers(data, validation, **run)
        held_out = [getattr(s, 'held_out_', {}) for s in self.scorers.values()]
        for name in SCENARIOS:
            both = [found[name] for found in held_out if name in found]
            if len(both) == 2:
                self.weights_[name] = _held_out_weight(data, *both)
        return self

    def _fit_scorers(self, data: RatingData, validation: Any, **run: Any) -> None:
        # The kernel model first: it needs the most memory, and Lightning is not loaded.
        for scorer in reversed(self.scorers.values()):
            scorer.fit(data, validation, **run)

    def update(self, data: RatingData, **run: Any) -> Blend:
        """A blend updated with nodes and ratings that follow those of the fit."""
        new = {
            name: type(scorer)(scorer.config).fit(data, fitted=scorer, **run)
            for name, scorer in self.scorers.items()
        }
        return self._with(**new)

    def score(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores of pairs."""
        scores = [scorer.score(user, item) for scorer in self.scorers.values()]
        return self._mean(scores, user, item)

    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Scores of all pairs, in blocks of users."""
        start = 0
        parts = (s.score_all(users, items) for s in self.scorers.values())
        for scores in zip(*parts, strict=True):
            block = users[start : start + len(scores[0])]
            yield self._mean(scores, block[:, None], items)
            start += len(block)

    def with_new_nodes(
        self,
        nodes: Mapping[str, NodeFeatures],
        ratings: tuple[Tensor, Tensor] | None = None,
    ) -> Blend:
        """A blend with additional nodes, see :meth:`Scorer.with_new_nodes`."""
        new = {
            name: scorer.with_new_nodes(nodes, ratings)
            for name, scorer in self.scorers.items()
        }
        return self._with(**new)

    def with_weight(self, kernel_weight: float | None) -> Blend:
        """The same scorers with another weight; :obj:`None` for the fitted weights.

        ``ValueError`` if the weight needs a scorer that was not fitted.
        """
        (name, *others), weight = self.scorers, kernel_weight
        only = float(name == 'kernel')
        if not others and weight not in (None, only):
            raise ValueError(
                f"'kernel_weight' must be {only} because the fit has only the {name} "
                f'model (got {weight}); set it back, or fit again'
            )
        return self._with(kernel_weight=kernel_weight)

    def _with(self, **changed: Any) -> Blend:
        made = copy(self)
        vars(made).update(changed)
        return made

    @property
    def cold(self) -> dict[str, Tensor]:
        """Masks of the users and of the items without ratings."""
        return (self.network if self.kernel is None else self.kernel).cold

    def scales(self, user: Tensor, item: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """The factor and the shift of the scores of each scorer."""
        return dict.fromkeys(self.scorers, (torch.ones(()), torch.zeros(())))

    def weights(self, user: int, item: int) -> dict[str, float]:
        """The weight of each scorer in the score of a pair."""
        if len(self.scorers) < 2:
            return dict.fromkeys(self.scorers, 1.0)
        pair = torch.tensor([user]), torch.tensor([item])
        serves = not self.kernel.score(*pair).isnan().any()
        weight = float(self._weight(*pair)) if serves else 0.0
        return {'network': 1 - weight, 'kernel': weight}

    def state_dict(self) -> dict[str, Any]:
        """The states of the scorers by name, and the weights."""
        state = {name: scorer.state_dict() for name, scorer in self.scorers.items()}
        return state | {'weights': self.weights_}

    def _weight(self, user: Tensor, item: Tensor) -> Tensor:
        """The weight of the kernel model for each pair, by its scenario."""
        weights = self.weights_
        if self.kernel_weight is not None:
            weights = dict.fromkeys(SCENARIOS, self.kernel_weight)
        return self._by_scenario(weights, user, item)

    def _by_scenario(
        self, values: Mapping[str, Any], user: Tensor, item: Tensor
    ) -> Tensor:
        """The value of each pair's scenario."""
        cold = self.cold
        # The index of the scenario in SCENARIOS.
        number = cold['user'][user].long() + 2 * cold['item'][item].long()
        values = [values[name] for name in SCENARIOS]
        return torch.tensor(values, dtype=torch.float64)[number]

    def _mean(self, scores: Sequence[Tensor], user: Tensor, item: Tensor) -> Tensor:
        if len(scores) == 1:
            return scores[0]
        network, kernel = scores
        kernel = torch.where(kernel.isnan(), network, kernel)
        return torch.lerp(network, kernel, self._weight(user, item))


class RankBlend(Blend):
    r"""A weighted mean of scores that rank positives without ratings.

    .. math::
        s_{ui} = w \, (a_k \, k_{ui} + c_k) + (1 - w) (a_n \, n_{ui} + c_n)

    Weights and scales of a scenario are fitted on a held-out fold, see
    :func:`~agnn_pyg.folds.joint_fold`. The scores of the network are scaled to the mean
    standard deviation within users, and the mean, of the kernel model. Weights whose
    nDCG@20 is within one standard error of the paired difference to the best are
    candidates; the one closest to :data:`PRIOR_WEIGHT` is chosen. Both scales are then
    adjusted by least squares over all pairs, so that scores estimate the rate of
    positives (:func:`fit_rate`) and lists can mix items with and without positives. A
    weight that is set later does not change the scales.

    Args:
        *args (optional): See :class:`Blend`.
        scales (dict, optional): Previously fitted :math:`a` and :math:`c` by scenario
            and scorer. (default: 1 and 0)
        **options (optional): See :class:`Blend`.

    Attributes:
        weights_: The weight :math:`w` by scenario.
        scales_: The scales :math:`a` and :math:`c` by scenario and scorer.
    """

    def __init__(self, *args: Any, scales: Mapping | None = None, **options: Any):
        super().__init__(*args, **options)
        raw = dict.fromkeys(('network', 'kernel'), (1.0, 0.0))
        self.scales_ = dict(scales or {name: dict(raw) for name in SCENARIOS})

    def fit(self, data: RatingData, validation: Any = None, **run: Any) -> RankBlend:
        """Fits the scorers, their scales and their weights."""
        self._fit_scorers(data, validation, **run)
        run |= {'folder': None, 'resume': False}  # only for the first fit
        seed = next(iter(self.scorers.values())).config.seed
        held, kept = joint_fold(data.edge_index, seed=seed)
        # Use only the kernel model if a scenario has no held-out pairs.
        self.weights_ = dict.fromkeys(SCENARIOS, 1.0)
        if not kept.any():
            return self
        pairs = data.edge_index, data.rating.double()
        index, label = data.edge_index[:, kept], data.rating[kept]
        part = RatingData(data.nodes, data.columns, index, label)
        models = self._fitted_on(part, run)
        for name in SCENARIOS:
            if len(models) == 2 and held[name].any():
                both = kept | held[name]
                parts = *pairs, held[name], kept
                fold = HeldOut.of(*(part[..., both] for part in parts), seed, name)
                nodes = fold.users, fold.items
                scores = [torch.cat([*m.score_all(*nodes)]) for m in models.values()]
                scale, self.weights_[name] = fit_ranking(fold, *scores)
                self.scales_[name]['network'] = scale
        fitted = self._with(**models)
        for names in LISTED:
            if all(held[name].any() for name in names):
                for name in names:
                    parts = *pairs, held[name], kept
                    self.scales_[name] = fitted._rate_scales(*parts, name, seed)
        return self

    def _fitted_on(self, data: RatingData, run: dict[str, Any]) -> dict[str, Scorer]:
        """The same scorers by name, fitted on other data."""
        models = {}
        if self.network is not None:
            network = type(self.network)(self.network.config, self.network.positives)
            models['network'] = network.fit(data, **run)
        if self.kernel is not None:
            kernel = type(self.kernel)(self.kernel.config)
            models['kernel'] = kernel.fit(data, fitted=self.kernel)
        return models

    def _rate_scales(
        self,
        index: Tensor,
        label: Tensor,
        held: Tensor,
        kept: Tensor,
        name: str,
        seed: int,
    ) -> dict[str, tuple[float, float]]:
        """Scales of both scorers with which scores are rates of positives."""
        nodes = [
            node[self.cold[side][node] == is_cold]
            for side, node, is_cold in zip(
                SIDES, map(torch.unique, index), SCENARIOS[name], strict=True
            )
        ]
        fold = HeldOut.of(index, label, held, kept, seed, nodes=nodes)
        score = torch.cat([*self.score_all(fold.users, fold.items)])
        # A fold holds out all positives of cold nodes, but only some of warm pairs.
        fraction = float(held.sum() / (held | kept).sum()) if name == 'warm' else 1.0
        slope, shift = fit_rate(fold, score, fraction)
        old = self.scales_[name].items()
        return {scorer: (slope * a, slope * c + shift) for scorer, (a, c) in old}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {'scales': self.scales_}

    def scales(self, user: Tensor, item: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        return {
            scorer: self._by_scenario(
                {name: scales[scorer] for name, scales in self.scales_.items()},
                user,
                item,
            ).unbind(-1)
            for scorer in self.scorers
        }

    def _mean(self, scores: Sequence[Tensor], user: Tensor, item: Tensor) -> Tensor:
        scales = self.scales(user, item).values()
        scaled = [a * s + c for s, (a, c) in zip(scores, scales, strict=True)]
        return super()._mean(scaled, user, item)


def fit_ranking(
    fold: HeldOut, network: Tensor, kernel: Tensor
) -> tuple[tuple[float, float], float]:
    """Fits scale and shift of the network's scores, and the kernel weight.

    Scores are of the users and items of the fold, :obj:`[users, items]`.
    """
    spread = [float(part.std(dim=1, correction=0).mean()) for part in (network, kernel)]
    # If a model scores some items equally, such as cold ones without attributes, a
    # separate scale would rank them all above or below the others.
    scale = spread[1] / spread[0] if spread[0] > 0 else 0.0
    shift = float((kernel - scale * network).mean())
    network = scale * network + shift
    ndcg = [fold.ndcg(torch.lerp(network, kernel, w)) for w in RANK_WEIGHTS]
    ndcg = torch.stack(ndcg)
    gap = ndcg[ndcg.mean(dim=1).argmax()] - ndcg
    error = gap.std(dim=1, correction=0) / gap.size(1) ** 0.5
    distance = (RANK_WEIGHTS - PRIOR_WEIGHT).abs()
    distance = distance.masked_fill(gap.mean(dim=1) > error, torch.inf)
    return (scale, shift), float(RANK_WEIGHTS[distance.argmin()])


def fit_rate(fold: HeldOut, score: Tensor, fraction: float) -> tuple[float, float]:
    """Fits slope and shift from scores to rates of positives, by least squares.

    Scores are of the users and items of the fold, :obj:`[users, items]`.
    :obj:`fraction` is the fraction of their positives that the fold holds out.
    """
    score = score[~fold.is_train]
    rate = (fold.truth[~fold.is_train] > 0).double() / fraction
    spread = float(score.std(correction=0))
    slope = 0.0
    if spread > 0:
        slope = float(((score - score.mean()) * rate).mean()) / spread**2
        # Uninformative scores keep their order.
        slope = max(slope, MIN_SLOPE * float(rate.mean()) / spread)
    return slope, float(rate.mean() - slope * score.mean())


def _held_out_weight(
    data: RatingData, network: Sequence[Tensor], kernel: Sequence[Tensor]
) -> float:
    """The kernel weight from rows of held-out ratings and predictions of each model."""
    found = torch.full((2, len(data.rating)), torch.nan, dtype=torch.float64)
    for made, (row, prediction, *_) in zip(found, (network, kernel), strict=True):
        made[row] = prediction.double()
    both = ~found.isnan().any(dim=0)
    held = data.edge_index[:, both], data.rating[both]
    weight, error = fit_weight(*held, *found[:, both], PRIOR_WEIGHT)
    if abs(weight - PRIOR_WEIGHT) <= error:
        return PRIOR_WEIGHT
    weight += error if weight < PRIOR_WEIGHT else -error
    return min(max(weight, 0.0), 1.0)
