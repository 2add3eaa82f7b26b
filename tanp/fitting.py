"""Fits models to tables, for :class:`~tanp.TaNPRecommender`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agnn_pyg.base.cells import CONSTANT
from agnn_pyg.base.checks import check_columns
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.frames import FitTables, Ratings, read_tables
from agnn_pyg.base.nodes import read_new_nodes
from agnn_pyg.base.randomness import own_random_numbers
from agnn_pyg.base.rating_scale import RatingScale
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary
from tanp.attentive import AttentiveTaNP, Catalogue
from tanp.config import LossConfig, StatisticsConfig, TaNPRecommenderConfig
from tanp.episodes import Episodes
from tanp.item_statistics import ItemStatistics
from tanp.loader import EpisodeBatch, EpisodeLoader
from tanp.loss import LIKELIHOODS
from tanp.model import NeuralProcess, TaNP
from tanp.prediction import predict

# Fewest interactions of a training user, unless most users have fewer.
MIN_INTERACTIONS = 5
# Pairs of users and items per block; a block has at least one user.
BLOCK_PAIRS = 2**17

Validation = pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame] | None


@dataclass(frozen=True, eq=False, repr=False)
class Fitted:
    """Ids, encoders and models of a fit.

    Methods return *labels*: predictions of the models, :obj:`[1, ...]`, or predictions
    and their standard deviations, :obj:`[2, ...]`.
    """

    config: TaNPRecommenderConfig
    likelihood: str
    scale: RatingScale
    ids: dict[str, Vocabulary]  # by side
    encoders: dict[str, tuple[AttributeEncoder]]  # of sides with attributes
    bags: dict[str, TokenBags]
    has_users: bool  # whether there was a table of users
    models: list[NeuralProcess] = field(default_factory=list)
    catalogues: dict[int, Catalogue | None] = field(default_factory=dict)  # by model

    def __getstate__(self) -> dict[str, Any]:
        # Do not pickle results that can be recomputed from the models.
        return vars(self) | {'catalogues': {}}

    def add_model(self, statistics: ItemStatistics | None) -> NeuralProcess:
        """Adds an untrained model."""
        kind = TaNP if statistics is None else AttentiveTaNP
        known = statistics or len(self.ids['item']), len(self.ids['user'])
        options = self.config.subset(*kind.Config.model_fields)
        options |= {f'{side}_attributes': bags for side, bags in self.bags.items()}
        model = kind(*known, likelihood=self.likelihood, **options).float()
        self.models.append(model)
        return model

    def to_labels(self, rated: Ratings) -> np.ndarray:
        """Labels of ratings; ``ValueError`` if a rating is out of range."""
        exact = {'slack': 0.0, 'setting': "'likelihood' as 'gaussian'"}
        self.scale.check(rated, **exact if self.likelihood == 'bernoulli' else {})
        return self.scale.to_unit_scale(rated.rating)

    def to_columns(self, labels: np.ndarray) -> dict[str, Any]:
        """Ratings and scores of labels, with standard deviations on their scale."""
        rating = self.config.rating
        columns = self.scale.to_columns(labels[0], rating)
        if len(labels) > 1:
            columns['std'] = labels[1] * (1.0 if rating is None else self.scale.unit)
        return columns

    def item_rows(self, ids: IdColumn, is_support: bool = False) -> np.ndarray:
        """Rows of items; ``ValueError`` names an unknown item."""
        remedy = 'drop the row: new items can be predicted, but not adapted to'
        if not is_support:
            how = 'give' if 'item' in self.encoders else 'fit with'
            remedy = f"drop the row, or {how} a table 'items' with its attributes"
        problem = 'names an item that the fit does not know in'
        return ids.known_rows(self.ids['item'], problem, remedy)

    def with_nodes(self, side: str, table: pd.DataFrame | Sequence | None) -> Fitted:
        """Returns this fit with the new items or users of a table added.

        Users may also be a list of ids; items need a table of attributes.
        """
        if side == 'item' and table is not None:
            check_columns(table, 'items', [self.config.item])
        if side not in self.encoders:
            return self
        known = self.ids[side], self.encoders[side], self.bags[side]
        found = read_new_nodes(table, side, self.config, *known)
        if found is None:
            return self
        values, (bags,) = found
        ids = self.ids | {side: self.ids[side].append(values)}
        models = [model.with_nodes(side, bags) for model in self.models]
        catalogues = {} if side == 'item' else self.catalogues
        return replace(self, ids=ids, models=models, catalogues=catalogues)

    def predict(
        self, episodes: Episodes, task: np.ndarray, item: np.ndarray, samples: int = 0
    ) -> np.ndarray:
        """Labels of R items, each given the support of its task."""
        tasks = np.unique(task)
        if not len(task):
            return np.empty((1 + (samples > 0 or len(self.models) > 1), 0))
        support = episodes.select(torch.from_numpy(tasks))
        known = np.repeat(tasks, support.size), support.item, support.label
        query = task, item, np.zeros(len(task))
        asked = replace(Episodes.from_parts(tasks, known, query), user=support.user)
        most = BLOCK_PAIRS // int(asked.num_query.max())
        loader = EpisodeLoader(asked, max(1, min(self.config.batch_size, most)))
        made = (predict(m, loader, samples, self.config.seed) for m in self.models)
        labels = _average([v for v in one if v is not None] for one in made)
        # Restore the order of the arguments.
        return labels[:, np.argsort(np.argsort(task, kind='stable'))]

    @torch.inference_mode()
    def score_all(self, batch: EpisodeBatch) -> np.ndarray:
        """Labels of all items for each task of a batch."""
        found = []
        for number, model in enumerate(self.models):
            if number not in self.catalogues:
                self.catalogues[number] = model.catalogue()
            score = model.score_all(batch, self.catalogues[number])
            found.append([LIKELIHOODS[self.likelihood].predict(score.double())])
        return _average(found)

    def to_store(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Plain data, except ids and scale, and the tensors of all models."""
        plain = {'likelihood': self.likelihood, 'has_users': self.has_users}
        bags = {side: vars(part) for side, part in self.bags.items()}
        models = [
            (model.state_dict(), model.statistics and model.statistics.state_dict())
            for model in self.models
        ]
        return plain, {'bags': bags, 'models': models}

    @classmethod
    def from_store(
        cls, config: TaNPRecommenderConfig, plain: Mapping, tensors: Mapping
    ) -> Fitted:
        """The inverse of :meth:`to_store`."""
        bags = {side: TokenBags(**part) for side, part in tensors['bags'].items()}
        made = cls(config, bags=bags, **plain)
        for state, counts in tensors['models']:
            statistics = counts and ItemStatistics(config.damping, **counts)
            made.add_model(statistics).eval().load_state_dict(state)
        return made


def _average(models: Iterable[list[Tensor]]) -> np.ndarray:
    """Mean over models, and any standard deviation between and within models."""
    made = np.stack([np.stack(parts) for parts in models])
    if len(made) == 1:
        return made[0]
    mean, spread = made[:, 0], made[:, 1:]  # spread: within models, may be empty
    variance = mean.var(axis=0, ddof=1) + np.square(spread).mean(axis=0).sum(axis=0)
    return np.stack([mean.mean(axis=0), np.sqrt(variance)])


@own_random_numbers()
def fit_models(
    config: TaNPRecommenderConfig, validation: Validation, *tables: pd.DataFrame | None
) -> tuple[Fitted, int, list[dict[str, float]]]:
    """Returns a fit, and the best epoch and the history of its first model."""
    from agnn_pyg.base.training import fit
    from tanp.module import TaskModule

    validation, num_support = _joined(config, validation)
    config.check_fit(validation is not None)
    read = read_tables(config, *tables, validation, new_users=True)
    fitted = _untrained(config, read)
    sizes = len(fitted.ids['item']), len(fitted.ids['user'])
    scale = fitted.scale
    relevant = scale.to_unit_scale(read.ratings.rating.mean())
    relevant = {'bernoulli': 0.5, 'implicit': 0.0}.get(fitted.likelihood, relevant)
    training = {'relevant': relevant, 'center': scale.center, 'unit': scale.unit}
    training |= config.subset('lr', 'weight_decay', *LossConfig.model_fields)
    counted = config.subset(*StatisticsConfig.model_fields)
    run = config.subset('epochs', 'patience', 'ema_decay', 'progress', 'accelerator')
    episodes = _tasks(fitted, read.ratings)
    train, held_out = _loaders(fitted, episodes, read.validation, num_support)
    results, statistics = [], None
    for member in range(config.ensemble_size):
        seed = train.seed = config.seed * config.ensemble_size + member
        if statistics is not None:
            statistics = statistics.resample(seed)
        elif config.model == 'AttentiveTaNP':
            options = {'threshold': relevant, 'seed': seed, **counted}
            statistics = ItemStatistics.fit(episodes, *sizes, **options)
        torch.default_generator.manual_seed(seed)
        model = fitted.add_model(statistics)
        module = TaskModule(model, seed=seed, **training)
        results.append(fit(module, train, held_out, monitor='val_loss', **run))
        model.eval()
        if statistics is not None:
            model.statistics = statistics  # models share its counts on the CPU
            if 'item' in fitted.bags:
                attributes = fitted.bags['item'].multi_hot()
                model.statistics = statistics.with_unseen(attributes)
    return fitted, *results[0]


def _joined(
    config: TaNPRecommenderConfig, validation: Validation
) -> tuple[pd.DataFrame | None, int | None]:
    """Joins validation tables; also returns the number of leading support rows."""
    if not isinstance(validation, tuple | list):
        return validation, None
    for table in validation:
        check_columns(table, 'validation', [config.user, config.item])
    if len(validation) != 2 or not all(len(table) for table in validation):
        raise ValueError(
            f"'validation' must be one table, or a pair of tables of supports and "
            f'queries, none of them empty (got {len(validation)} tables)'
        )
    first = validation[0]
    if config.rating is None:  # repeated pairs are summed
        first = first.drop_duplicates([config.user, config.item])
    return pd.concat(validation), len(first)


def _untrained(config: TaNPRecommenderConfig, read: FitTables) -> Fitted:
    """A fit without models: ids, encoded attributes, likelihood and scale."""
    encoders, bags = {}, {}
    for rows, (side, nodes) in zip(read.ratings.index, read.nodes.items(), strict=True):
        if nodes.given and [c.column for c in nodes.columns] != [CONSTANT]:
            # Fit on rated nodes: other values would have untrained weights.
            encoder, bags[side] = nodes.encode(config.min_count, config.num_knots, rows)
            encoders[side] = (encoder,)
    ids = {side: nodes.ids for side, nodes in read.nodes.items()}
    rating = read.ratings.rating
    default = 'bernoulli' if {*rating} <= {0, 1} else 'gaussian'
    likelihood = 'implicit' if config.rating is None else config.likelihood or default
    scale = RatingScale(0.0, 1.0, unit=1.0)
    if likelihood == 'implicit':
        scale = RatingScale.of_weights(rating)
    if likelihood == 'gaussian':
        # Center the ratings, so that the decoder need not learn their mean.
        scale = RatingScale.fit(rating, config.rating_range, float(rating.mean()))
        if not config.scale_ratings:
            scale = RatingScale(scale.low, scale.high, unit=1.0)
    has_users = read.nodes['user'].given
    return Fitted(config, likelihood, scale, ids, encoders, bags, has_users)


def _tasks(fitted: Fitted, rated: Ratings, split: int | None = None) -> Episodes:
    """One task per user; supports are the first `split` rows, or a random half."""
    config = fitted.config
    histories = *rated.index, fitted.to_labels(rated)
    if split is not None:
        parts = (np.split(value, [split]) for value in histories)
        users = np.unique(rated.index[0][split:])
        return Episodes.from_parts(users, *zip(*parts, strict=True))
    most = config.support_sizes[1] or len(rated.rating)
    episodes = Episodes.from_histories(histories, most, config.seed)
    if int(episodes.size.max()) < 2:
        raise ValueError(
            f"'{rated.column.name}' has no user with two interactions, one to adapt to "
            f'and one to predict; give more interactions of the same users'
        )
    return episodes


def _loaders(
    fitted: Fitted, episodes: Episodes, validation: Ratings | None, split: int | None
) -> tuple[EpisodeLoader, EpisodeLoader | None]:
    """Loaders of the training tasks and of the validation tasks."""
    config = fitted.config
    enough = (episodes.size >= MIN_INTERACTIONS).sum()
    many = 2 * enough >= (episodes.size >= 2).sum()
    least = config.min_interactions or (MIN_INTERACTIONS if many else 2)
    tasks = episodes.at_least(max(least, config.support_sizes[0] + 1))
    if not len(tasks):
        raise ValueError(
            f"'ratings' has no user with {least} interactions that also exceed the "
            f"smallest support; lower 'min_interactions' or 'support_sizes'"
        )
    options = {'batch_size': config.batch_size, 'num_items': len(fitted.ids['item'])}
    options['negatives'] = config.negatives if config.rating is None else 0
    held_out = None
    if validation is not None:
        others = _tasks(fitted, validation, split)
        held_out = EpisodeLoader(others.at_least(2 if split is None else 1), **options)
    options |= config.subset('support_sizes', 'query_sizes')
    return EpisodeLoader(tasks, shuffle=True, **options), held_out
