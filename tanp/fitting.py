"""From tables to trained models, for :class:`~tanp.TaNPRecommender`."""

from __future__ import annotations

import os
from pathlib import Path
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
from tanp.config import AttentiveConfig, LossConfig, TaNPConfig, TaNPRecommenderConfig
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


# Random numbers that are drawn after the fit do not depend on it.
@torch.random.fork_rng(devices=[])
def fit_models(
    config: TaNPRecommenderConfig,
    tables: tuple[pd.DataFrame | None, ...],
    validation: Validation | None,
    folder: str | os.PathLike | None,
    resume: bool,
) -> dict[str, Any]:
    """Fits what :meth:`TaNPRecommender.fit` says; returns the fitted attributes."""
    num_support = None
    if isinstance(validation, (tuple, list)):
        num_support, validation = len(validation[0]), pd.concat(validation)
    config.check_fit(validation is not None and len(validation) > 0)
    read = read_tables(config, *tables, validation, new_users=True)
    rating, held_out = read.ratings.rating, None
    likelihood = config.likelihood
    if likelihood is None:
        likelihood = 'bernoulli' if {*rating} <= {0, 1} else 'gaussian'
    scale = _scale(config, likelihood, rating)
    check_range(tables[0], 'ratings', config, rating, scale)
    episodes = _halves(config, read.ratings, scale, 'ratings')
    train = _train_loader(config, episodes)
    if read.validation is not None:
        check_range(validation, 'validation', config, read.validation.rating, scale)
        held_out = _validation_loader(config, read.validation, scale, num_support)
    ids, encoders, bags = {}, {}, {}
    for rows, (side, nodes) in zip(read.ratings.index, read.nodes.items(), strict=True):
        ids[side], encoded = nodes.ids, (None, None)
        if nodes.given and [c.column for c in nodes.columns] != [CONSTANT]:
            # A value of unrated nodes alone would be read untrained.
            encoded = nodes.encode(config.min_count, config.num_knots, rows)
        encoders[side], bags[side] = encoded
    relevant = 0.5 if likelihood == 'bernoulli' else scale.to_unit_scale(rating.mean())
    models, results, statistics = [], [], None
    for member in range(config.ensemble_size):
        train.seed = seed = config.seed * config.ensemble_size + member
        if statistics is not None:
            statistics = statistics.resample(seed)
        elif config.model == 'AttentiveTaNP':
            statistics = _statistics(config, episodes, ids, relevant, seed)
        torch.manual_seed(seed)
        model = build_model(config, likelihood, ids, bags, statistics)
        options = {'relevant': relevant, 'center': scale.center, 'unit': scale.unit}
        options['folder'] = folder and Path(folder) / f'member-{member}'
        results.append(_train(config, model, train, held_out, resume, **options))
        model.statistics = statistics  # whose counts members share on the CPU
        models.append(model.eval())
    return {
        'config_': config,
        'models_': models,
        'vocabularies_': ids,
        'user_encoder_': encoders['user'],
        'has_users_': read.nodes['user'].given,
        'rating_scale_': scale,
        'history_': results[0].history,
        'best_epoch_': results[0].best_epoch,
    }


def build_model(
    config: TaNPRecommenderConfig,
    likelihood: str,
    ids: dict[str, Vocabulary],
    attributes: dict[str, TokenBags | None],
    statistics: ItemStatistics | None,
) -> TaNP:
    """An untrained model."""
    options = {f'{side}_attributes': bags for side, bags in attributes.items()}
    options |= {'num_users': len(ids['user']), 'likelihood': likelihood}
    if config.model == 'TaNP':
        return TaNP(len(ids['item']), **options, **config.part(TaNPConfig))
    return AttentiveTaNP(statistics, **options, **config.part(AttentiveConfig))


def check_range(
    frame: pd.DataFrame,
    name: str,
    config: TaNPRecommenderConfig,
    rating: np.ndarray,
    scale: RatingScale,
) -> None:
    """Raises ``ValueError`` if a rating of a table is of another scale."""
    # Other users may rate a little lower or higher than those of the fit.
    is_known = config.rating_range or (scale.unit, scale.center) == (1.0, 0.0)
    slack = 0.0 if is_known else (scale.high - scale.low) / 2
    low, high = scale.low - slack, scale.high + slack
    TableColumn(frame, config.rating, name).refuse(
        (rating < low) | (rating > high),
        f'has a rating outside of [{low:g}, {high:g}] in',
        "bring it to that range, drop it, or fit with 'rating_range'",
    )


def _train(
    config: TaNPRecommenderConfig,
    model: TaNP,
    train: EpisodeLoader,
    held_out: EpisodeLoader | None,
    resume: bool,
    folder: Path | None,
    **options: Any,
) -> FitResult:
    from agnn_pyg.base.training import fit
    from tanp.module import TaskModule

    for name in ('optimizer', 'lr', 'weight_decay'):
        options[name] = getattr(config, name)
    options |= config.part(LossConfig)
    module = TaskModule(model, seed=train.seed, **options)
    names = ('epochs', 'patience', 'ema_decay', 'progress', 'accelerator')
    options = {name: getattr(config, name) for name in names}
    options |= {'monitor': 'val_loss', 'folder': folder, 'resume': resume}
    return fit(module, train, held_out, **options)


def _scale(
    config: TaNPRecommenderConfig, likelihood: str, rating: np.ndarray
) -> RatingScale:
    if likelihood == 'bernoulli':
        return RatingScale(0.0, 1.0, unit=1.0)
    # A Gaussian decoder need not learn the middle of the scale.
    scale = RatingScale.fit(rating, center=float(rating.mean()))
    low, high = config.rating_range or (scale.low, scale.high)
    unscaled = 1.0, 0.0
    parts = (scale.unit, scale.center) if config.scale_ratings else unscaled
    return RatingScale(low, high, *parts)


def _halves(
    config: TaNPRecommenderConfig, rated: RatedPairs, scale: RatingScale, name: str
) -> Episodes:
    """The interactions of each user in random order, half of them a support."""
    histories = *rated.index, scale.to_unit_scale(rated.rating)
    most = config.support_sizes[1] or len(rated.rating)
    episodes = Episodes.from_histories(histories, most, config.seed)
    if int(episodes.size.max()) < 2:
        raise ValueError(
            f"'{name}' has no user with two interactions, one to adapt to and one to "
            f'predict; give more of the same users'
        )
    return episodes


def _train_loader(config: TaNPRecommenderConfig, episodes: Episodes) -> EpisodeLoader:
    least, enough = config.min_interactions, episodes.size >= MIN_INTERACTIONS
    if least is None:
        many = 2 * enough.sum() >= (episodes.size >= 2).sum()
        least = MIN_INTERACTIONS if many else 2
    least = max(least, config.support_sizes[0] + 1)
    tasks = episodes.at_least(least)
    if not len(tasks):
        raise ValueError(
            f"'ratings' has no user with {least} interactions; lower "
            f"'min_interactions' or the smallest of 'support_sizes'"
        )
    sizes = {name: getattr(config, name) for name in ('support_sizes', 'query_sizes')}
    return EpisodeLoader(tasks, config.batch_size, shuffle=True, **sizes)


def _validation_loader(
    config: TaNPRecommenderConfig,
    rated: RatedPairs,
    scale: RatingScale,
    num_support: int | None,
) -> EpisodeLoader:
    """Users to select the epoch on, with the given supports or half of each user."""
    if num_support is None:
        episodes = _halves(config, rated, scale, 'validation').at_least(2)
    else:
        values = *rated.index, scale.to_unit_scale(rated.rating)
        parts = zip(*(np.split(value, [num_support]) for value in values), strict=True)
        users = np.unique(rated.index[0][num_support:])
        episodes = Episodes.from_parts(users, *parts)
    return EpisodeLoader(episodes, config.batch_size)


def _statistics(
    config: TaNPRecommenderConfig,
    episodes: Episodes,
    ids: dict[str, Vocabulary],
    threshold: float,
    seed: int,
) -> ItemStatistics:
    """Of all users, with as many folds and as wide vectors as they allow."""
    num_items, num_users, count = len(ids['item']), len(ids['user']), len(episodes)
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
    return ItemStatistics.fit(episodes, num_items, num_users, **options)
