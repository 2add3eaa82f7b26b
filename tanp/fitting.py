"""From tables to trained models, for :class:`~tanp.TaNPRecommender`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from agnn_pyg.base.checks import TableColumn
from agnn_pyg.base.columns import CONSTANT
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.frames import RatedPairs, RatingScale, read_tables
from agnn_pyg.base.vocabulary import Vocabulary
from tanp.attentive import AttentiveTaNP
from tanp.config import LossConfig, TaNPRecommenderConfig
from tanp.episodes import Episodes
from tanp.item_statistics import ItemStatistics
from tanp.loader import EpisodeLoader
from tanp.model import TaNP

if TYPE_CHECKING:
    from agnn_pyg.base.training import FitResult

# Item vectors of all folds, and pairs of items with a common user, must fit in memory.
MAX_ITEMS = 300_000
# Interactions of users that are trained on, unless most have fewer.
MIN_INTERACTIONS = 5

Validation = pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]


@dataclass
class ModelParts:
    """What the models of an ensemble are built from, except item statistics."""

    config: TaNPRecommenderConfig
    likelihood: str
    scale: RatingScale
    ids: dict[str, Vocabulary]  # by side
    attributes: dict[str, TokenBags | None]

    def build(self, statistics: ItemStatistics | None) -> TaNP:
        """An untrained model."""
        kind, first = AttentiveTaNP, statistics
        if self.config.model == 'TaNP':
            kind, first = TaNP, len(self.ids['item'])
        options = {f'{side}_attributes': bags for side, bags in self.attributes.items()}
        options |= {'likelihood': self.likelihood} | self.config.part(kind.Config)
        return kind(first, len(self.ids['user']), **options)

    def to_labels(self, column: TableColumn, rating: np.ndarray) -> np.ndarray:
        r"""Labels of ratings; ``ValueError`` if one is of another scale.

        A weight :math:`w` is :math:`\log_2(1 + w / \bar w)`, so that 1 is common.
        """
        scale = self.scale
        if self.likelihood == 'implicit':
            return np.log2(1 + scale.to_unit_scale(rating))
        exact = {'slack': 0.0, 'setting': "'likelihood' as 'gaussian'"}
        scale.check(column, rating, **exact if self.likelihood == 'bernoulli' else {})
        return scale.to_unit_scale(rating)


# Random numbers that are drawn after the fit do not depend on it.
@torch.random.fork_rng(devices=[])
def fit_models(
    config: TaNPRecommenderConfig,
    tables: tuple[pd.DataFrame | None, ...],
    validation: Validation | None,
) -> dict[str, Any]:
    """Fits what :meth:`TaNPRecommender.fit` says; returns the fitted attributes."""
    num_support, held_out = None, None
    if isinstance(validation, tuple | list):
        if len(validation) != 2 or not all(len(table) for table in validation):
            raise ValueError(
                f"'validation' must be a table, or a table of supports and one of "
                f'queries, with rows (got {len(validation)} tables)'
            )
        first, validation = validation[0], pd.concat(validation)
        if config.rating is None:  # repeated pairs are summed
            first = first.drop_duplicates([config.user, config.item])
        num_support = len(first)
    config.check_fit(validation is not None and len(validation) > 0)
    read = read_tables(config, *tables, validation, new_users=True)
    rating, encoders, bags = read.ratings.rating, {}, {}
    for rows, (side, nodes) in zip(read.ratings.index, read.nodes.items(), strict=True):
        encoders[side] = bags[side] = None
        if nodes.given and [c.column for c in nodes.columns] != [CONSTANT]:
            # A value of unrated nodes alone would be read untrained.
            encoded = nodes.encode(config.min_count, config.num_knots, rows)
            encoders[side], bags[side] = encoded
    ids = {side: nodes.ids for side, nodes in read.nodes.items()}
    parts = ModelParts(config, *_scale(config, rating), ids, bags)
    column = TableColumn(tables[0], config.rating, 'ratings')
    labels = parts.to_labels(column, rating)
    episodes = _halves(config, read.ratings, labels, 'ratings')
    train = _train_loader(config, episodes)
    if read.validation is not None:
        column = TableColumn(validation, config.rating, 'validation')
        labels = parts.to_labels(column, read.validation.rating)
        held_out = _held_out(config, read.validation, labels, num_support)
    relevant = parts.scale.to_unit_scale(rating.mean())
    relevant = {'bernoulli': 0.5, 'implicit': 0.0}.get(parts.likelihood, relevant)
    for loader in filter(None, (train, held_out) if config.rating is None else ()):
        loader.negatives, loader.num_items = config.negatives, len(ids['item'])
    models, results, statistics = [], [], None
    for member in range(config.ensemble_size):
        train.seed = config.seed * config.ensemble_size + member
        if statistics is not None:
            statistics = statistics.resample(train.seed)
        elif config.model == 'AttentiveTaNP':
            statistics = _statistics(parts, episodes, relevant, train.seed)
        torch.manual_seed(train.seed)
        model = parts.build(statistics)
        results.append(_train(parts, model, relevant, train, held_out))
        model.statistics = statistics  # whose counts members share on the CPU
        models.append(model.eval())
    return {
        'models_': models,
        'parts_': parts,
        'encoders_': encoders,
        'has_users_': read.nodes['user'].given,
        'history_': results[0].history,
        'best_epoch_': results[0].best_epoch,
    }


def _train(parts: ModelParts, model: TaNP, relevant: float, *loaders: Any) -> FitResult:
    from agnn_pyg.base.training import fit
    from tanp.module import TaskModule

    config, scale, seed = parts.config, parts.scale, loaders[0].seed
    options = {'relevant': relevant, 'center': scale.center, 'unit': scale.unit}
    options |= config.part(LossConfig) | {'weight_decay': config.weight_decay}
    module = TaskModule(model, config.lr, seed=seed, **options)
    options = ('epochs', 'patience', 'ema_decay', 'progress', 'accelerator')
    options = {name: getattr(config, name) for name in options}
    return fit(module, *loaders, monitor='val_loss', **options)


def _scale(config: TaNPRecommenderConfig, rating: np.ndarray) -> tuple[str, Any]:
    """The likelihood, and the scale of labels."""
    if config.rating is None:
        return 'implicit', RatingScale(0.0, 1.0, unit=float(rating.mean()))
    default = 'bernoulli' if {*rating} <= {0, 1} else 'gaussian'
    likelihood = config.likelihood or default
    if likelihood == 'bernoulli':
        return likelihood, RatingScale(0.0, 1.0, unit=1.0)
    # A Gaussian decoder need not learn the middle of the scale.
    scale = RatingScale.fit(rating, config.rating_range, float(rating.mean()))
    if not config.scale_ratings:
        scale = RatingScale(scale.low, scale.high, unit=1.0)
    return likelihood, scale


def _halves(
    config: TaNPRecommenderConfig, rated: RatedPairs, labels: np.ndarray, name: str
) -> Episodes:
    """The interactions of each user in random order, half of them a support."""
    most = config.support_sizes[1] or len(labels)
    episodes = Episodes.from_histories((*rated.index, labels), most, config.seed)
    if int(episodes.size.max()) < 2:
        raise ValueError(
            f"'{name}' has no user with two interactions, one to adapt to and one to "
            f'predict; give more of the same users'
        )
    return episodes


def _train_loader(config: TaNPRecommenderConfig, episodes: Episodes) -> EpisodeLoader:
    least = config.min_interactions
    if least is None:
        enough = (episodes.size >= MIN_INTERACTIONS).sum()
        many = 2 * enough >= (episodes.size >= 2).sum()
        least = MIN_INTERACTIONS if many else 2
    tasks = episodes.at_least(max(least, config.support_sizes[0] + 1))
    if not len(tasks):
        raise ValueError(
            f"'ratings' has no user with {least} interactions, and more than the "
            f"smallest support; lower 'min_interactions' or 'support_sizes'"
        )
    sizes = {name: getattr(config, name) for name in ('support_sizes', 'query_sizes')}
    return EpisodeLoader(tasks, config.batch_size, shuffle=True, **sizes)


def _held_out(
    config: TaNPRecommenderConfig, rated: RatedPairs, labels: np.ndarray, split: Any
) -> EpisodeLoader:
    """Users to select the epoch on, half of each a support without a place to split."""
    if split is None:
        episodes = _halves(config, rated, labels, 'validation').at_least(2)
    else:
        parts = (np.split(value, [split]) for value in (*rated.index, labels))
        users = np.unique(rated.index[0][split:])
        episodes = Episodes.from_parts(users, *zip(*parts, strict=True))
    return EpisodeLoader(episodes, config.batch_size)


def _statistics(
    parts: ModelParts, episodes: Episodes, threshold: float, seed: int
) -> ItemStatistics:
    """Of all users, with as many folds and as wide vectors as they allow."""
    config, num_items, count = parts.config, len(parts.ids['item']), len(episodes)
    folds = min(config.folds, count)
    rank = min(config.rank, num_items - 1, count - -(-count // folds) - 1)
    if rank < 1 or num_items > MAX_ITEMS:
        raise ValueError(
            f"'model' AttentiveTaNP must have three users, and from two to "
            f'{MAX_ITEMS:,} items (got {count:,} and {num_items:,}); give more '
            f"ratings, drop rare items, or use 'TaNP'"
        )
    options = {'damping': config.damping, 'threshold': threshold, 'seed': seed}
    options |= {'rank': rank, 'folds': folds}
    return ItemStatistics.fit(episodes, num_items, len(parts.ids['user']), **options)
