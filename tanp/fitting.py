"""From frames to trained models, as :class:`~tanp.recommender.TaNPRecommender` does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from agnn_pyg.base.checks import where
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.frames import NodeTable, RatedPairs, RatingScale, read_tables
from agnn_pyg.base.vocabulary import Vocabulary
from tanp.config import TaNPRecommenderConfig
from tanp.episodes import Episodes
from tanp.frames import episodes_to_train
from tanp.loader import EpisodeLoader
from tanp.loss import LIKELIHOODS
from tanp.model import TaNP
from tanp.statistics import InteractionStatistics

if TYPE_CHECKING:
    from agnn_pyg.base.training import FitResult

# What the model is made of beside statistics, by default: the benchmark's on ratings,
# with the dropout of the one on likes.
ATTENTIVE = {
    'item_ids': False,
    'latent_channels': None,
    'task_channels': (64, 64),
    'num_clusters': 0,
    'decoder_channels': (64, 64),
    'attention_heads': 4,
    'processes': 4,
    'signed_pools': True,
    'dropout': 0.2,
}
RANK, FOLDS = 16, 10
# Interactions a user needs to be trained on, unless most have fewer.
MIN_SIZE = 5
# Items whose statistics fit a memory: 8 bytes for each two.
MOST_ITEMS = 30_000


@dataclass
class Side:
    """Users or items of a fit.

    Attributes:
        ids: Their ids, by row.
        encoder: What encodes their attributes, if there are any.
        attributes: These, one row an id.
    """

    ids: Vocabulary
    encoder: AttributeEncoder | None = None
    attributes: TokenBags | None = None


@dataclass
class Lessons:
    """What the members of a fit learn from.

    Attributes:
        episodes: All interactions of each user, of training and of validation.
        users: Users, who have a row in the model's table.
        items: Items, likewise.
        likelihood: Of labels.
        scale: The scale of labels.
        relevant: Labels above it are likes.
    """

    episodes: dict[str, Episodes]
    users: Side
    items: Side
    likelihood: str
    scale: RatingScale
    relevant: float


@dataclass
class Fitted:
    """What a fit comes to; see the attributes of the recommender."""

    models: list[TaNP]
    users: Side
    items: Side
    scale: RatingScale
    history: list[dict[str, float]]
    best_epoch: int


# Whoever draws random numbers of PyTorch goes on where they were before the fit.
@torch.random.fork_rng(devices=[])
def fit_frames(
    config: TaNPRecommenderConfig,
    ratings: pd.DataFrame,
    users: pd.DataFrame | None,
    items: pd.DataFrame | None,
    validation: pd.DataFrame | None,
) -> Fitted:
    """See :meth:`TaNPRecommender.fit`."""
    has_validation = validation is not None and len(validation) > 0
    config.check_fit(has_validation)
    read = read_tables(config, ratings, users, items, validation, new_users=True)
    label = read.ratings.rating
    likelihood = config.likelihood
    if likelihood is None:
        likelihood = 'bernoulli' if set(label) <= {0, 1} else 'gaussian'
    tables = {'ratings': (ratings, read.ratings)}
    if has_validation:
        tables['validation'] = validation, read.validation
    for name, (frame, pairs) in tables.items():
        check_range(
            frame,
            name,
            config.rating,
            pairs.rating,
            LIKELIHOODS[likelihood][2],
            f"under likelihood '{likelihood}'",
        )
    # A Gaussian decoder need not learn where the middle of the scale is.
    scale = RatingScale(0.0, 1.0, unit=1.0)
    if likelihood == 'gaussian':
        scale = RatingScale.fit(label, center=float(label.mean()))
    sides = [
        _side(config, table, rows)
        for table, rows in zip(read.nodes.values(), read.ratings.index, strict=True)
    ]
    # Labels above it are likes, also when they are centred.
    relevant = 0.5 if likelihood == 'bernoulli' else 0.0
    episodes = {
        name: _episodes(config, name, pairs, scale)
        for name, (_, pairs) in tables.items()
    }
    lessons = Lessons(episodes, *sides, likelihood, scale, relevant)
    models, results = zip(*_trained(config, lessons), strict=True)
    return Fitted(
        list(models),
        *sides,
        scale,
        results[0].history,
        results[0].best_epoch,
    )


def check_range(
    frame: pd.DataFrame,
    name: str,
    column: str,
    label: np.ndarray,
    rating_range: tuple[float, float],
    of: str,
) -> None:
    """Raises ``ValueError`` unless all ratings of a frame lie in a range.

    Args:
        frame (pandas.DataFrame): The table.
        name (str): What messages call it.
        column (str): Its column of ratings.
        label (numpy.ndarray): The ratings.
        rating_range (tuple): Lowest and highest that may be.
        of (str): Whose range it is, to follow "those".
    """
    low, high = rating_range
    outside = (label < low) | (label > high)
    if outside.any():
        raise ValueError(
            f"'{name}' has a rating in {where(frame, outside, column)} beyond those "
            f'{of}: they must lie in [{low:g}, {high:g}]; bring them to that scale, or '
            f'drop them'
        )


def _trained(
    config: TaNPRecommenderConfig, lessons: Lessons
) -> Iterator[tuple[TaNP, FitResult]]:
    """The models of all members, which share what is counted of interactions."""
    statistics = None
    for member in range(config.members):
        seed = config.seed * config.members + member
        if statistics is not None:
            statistics = statistics.dealt(seed)
        elif config.statistics:
            statistics = _statistics(lessons, seed)
        yield _train(config, lessons, statistics, seed)


def _train(
    config: TaNPRecommenderConfig,
    lessons: Lessons,
    statistics: InteractionStatistics | None,
    seed: int,
) -> tuple[TaNP, FitResult]:
    from agnn_pyg.base.training import fit
    from tanp.task_module import TaskModule

    options, chosen = {} if statistics is None else ATTENTIVE, {}
    if config.model_options is not None:
        chosen = config.model_options.model_dump(exclude_unset=True)
    torch.manual_seed(seed)
    model = TaNP(
        len(lessons.items.ids),
        len(lessons.users.ids),
        item_attributes=lessons.items.attributes,
        user_attributes=lessons.users.attributes,
        likelihood=lessons.likelihood,
        statistics=statistics,
        **options | chosen,
    )
    result = fit(
        TaskModule(
            model,
            lr=config.lr,
            weight_decay=config.weight_decay,
            average='point',
            relevant=lessons.relevant,
            centre=lessons.scale.center,
            unit=lessons.scale.unit,
            seed=seed,
        ),
        *_loaders(config, lessons.episodes, seed),
        epochs=config.epochs,
        patience=config.patience,
        monitor='val_loss',
        ema_decay=config.ema_decay,
        progress=config.progress,
        accelerator=config.accelerator,
    )
    return model.eval(), result


def _loaders(
    config: TaNPRecommenderConfig, episodes: dict[str, Episodes], seed: int
) -> Iterator[EpisodeLoader]:
    """Batches to train on and, if there are any, to select the epoch on."""
    train = episodes['ratings']
    most = config.max_size - config.support_size
    yield EpisodeLoader(
        train.at_least(_least(train)),
        config.batch_size,
        context_sizes=(1, config.support_size),
        # As many as there are, if not more than that.
        query_sizes=(most, most),
        shuffle=True,
        seed=seed,
    )
    if 'validation' in episodes:
        yield EpisodeLoader(episodes['validation'].at_least(2), config.batch_size)


def _least(train: Episodes) -> int:
    """Interactions that a user needs to be trained on."""
    enough = (train.size >= MIN_SIZE).sum()
    return MIN_SIZE if 2 * enough >= (train.size >= 2).sum() else 2


def _statistics(lessons: Lessons, seed: int) -> InteractionStatistics:
    """On all users, with as many folds and as wide vectors as they allow."""
    episodes, num_items = lessons.episodes['ratings'], len(lessons.items.ids)
    if num_items > MOST_ITEMS:
        raise ValueError(
            f"'statistics' hold a number for each two of {num_items:,} items, which is "
            f'meant for {MOST_ITEMS:,} at most; set it to False, or drop rare items'
        )
    count = len(episodes)
    folds = min(FOLDS, count)
    rest = count - -(-count // folds)
    rank = min(RANK, num_items - 1, rest - 1)
    if rank < 1:
        raise ValueError(
            f"'ratings' has {count} user(s) and {num_items} item(s); statistics of "
            f'items need three users and two items at least: give more, or set '
            f"'statistics' to False"
        )
    return InteractionStatistics.fit(
        episodes,
        num_items,
        len(lessons.users.ids),
        rank=rank,
        folds=folds,
        relevant=lessons.relevant,
        seed=seed,
    )


def _side(config: TaNPRecommenderConfig, table: NodeTable, rows: np.ndarray) -> Side:
    """The ids of one side and their attributes, if there are any."""
    if not table.given:
        return Side(table.ids)
    # A value of unrated nodes alone would be read untrained.
    encoder, attributes = table.encode(config.min_count, config.num_knots, rows)
    return Side(table.ids, encoder, attributes)


def _episodes(
    config: TaNPRecommenderConfig, name: str, pairs: RatedPairs, scale: RatingScale
) -> Episodes:
    episodes = episodes_to_train(
        *pairs.index,
        scale.to_unit_scale(pairs.rating),
        support_size=config.support_size,
        seed=config.seed,
    )
    if int(episodes.size.max()) < 2:
        raise ValueError(
            f"'{name}' has no user with two interactions, one to adapt to and one to "
            f'predict; give more of the same users'
        )
    return episodes
