"""From frames to trained models, as :class:`~tanp.recommender.TaNPRecommender` does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from agnn_pyg.base.attributes import attribute_columns, naming, with_constant
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.frames import (
    check_columns,
    check_known,
    check_spread,
    unit_of,
    where,
)
from agnn_pyg.base.vocabulary import Vocabulary, read_ids
from tanp.episodes import Episodes
from tanp.frames import episodes_to_train
from tanp.loader import EpisodeLoader
from tanp.loss import LIKELIHOODS
from tanp.model import TaNP
from tanp.setting_rules import check_settings
from tanp.statistics import InteractionStatistics

if TYPE_CHECKING:
    from tanp.recommender import TaNPRecommender
    from tanp.train import FitResult

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
        centre: What was taken from all labels.
        unit: What they were divided by then.
        relevant: Labels above it are likes.
    """

    episodes: dict[str, Episodes]
    users: Side
    items: Side
    likelihood: str
    centre: float
    unit: float
    relevant: float


@dataclass
class Fitted:
    """What a fit comes to; see the attributes of the recommender."""

    models: list[TaNP]
    users: Side
    items: Side
    centre: float
    unit: float
    rating_range: tuple[float, float]
    history: list[dict[str, float]]
    best_epoch: int


# Whoever draws random numbers of PyTorch goes on where they were before the fit.
@torch.random.fork_rng(devices=[])
def fit_frames(
    settings: TaNPRecommender,
    ratings: pd.DataFrame,
    users: pd.DataFrame | None,
    items: pd.DataFrame | None,
    validation: pd.DataFrame | None,
) -> Fitted:
    """See :meth:`TaNPRecommender.fit`."""
    has_validation = validation is not None and len(validation) > 0
    check_settings(settings, has_validation)
    label = settings._labels(ratings, 'ratings')
    if not len(label):
        raise ValueError("'ratings' has no rows; there is nothing to train on")
    check_spread(label, 'ratings')
    tables = {'ratings': (ratings, label)}
    if has_validation:
        tables['validation'] = validation, settings._labels(validation, 'validation')
    rated = [frame for frame, _ in tables.values()]
    people = _side(settings, 'user', rated, users)
    things = _side(settings, 'item', rated[:1], items)
    likelihood = settings.likelihood
    if likelihood is None:
        likelihood = 'bernoulli' if set(label) <= {0, 1} else 'gaussian'
    for name, (frame, values) in tables.items():
        check_range(
            frame,
            name,
            settings.rating,
            values,
            LIKELIHOODS[likelihood][2],
            f"under likelihood '{likelihood}'",
        )
    # A Gaussian decoder need not learn where the middle of the scale is.
    centre = 0.0 if likelihood == 'bernoulli' else float(label.mean())
    rating_range = float(label.min()), float(label.max())
    unit = unit_of(rating_range)
    if likelihood == 'bernoulli':
        rating_range, unit = (0.0, 1.0), 1.0
    # Labels above it are likes, also when they are centred.
    relevant = 0.5 if likelihood == 'bernoulli' else 0.0
    episodes = {
        name: _episodes(
            settings, frame, name, (values - centre) / unit, people.ids, things.ids
        )
        for name, (frame, values) in tables.items()
    }
    lessons = Lessons(episodes, people, things, likelihood, centre, unit, relevant)
    models, results = zip(*_trained(settings, lessons), strict=True)
    return Fitted(
        list(models),
        people,
        things,
        centre,
        unit,
        rating_range,
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
    settings: TaNPRecommender, lessons: Lessons
) -> Iterator[tuple[TaNP, FitResult]]:
    """The models of all members, which share what is counted of interactions."""
    statistics = None
    for member in range(settings.members):
        seed = settings.seed * settings.members + member
        if statistics is not None:
            statistics = statistics.dealt(seed)
        elif settings.statistics:
            statistics = _statistics(lessons, seed)
        yield _train(settings, lessons, statistics, seed)


def _train(
    settings: TaNPRecommender,
    lessons: Lessons,
    statistics: InteractionStatistics | None,
    seed: int,
) -> tuple[TaNP, FitResult]:
    from tanp.train import TaskModule, fit

    options = {} if statistics is None else ATTENTIVE
    torch.manual_seed(seed)
    model = TaNP(
        len(lessons.items.ids),
        len(lessons.users.ids),
        item_attributes=lessons.items.attributes,
        user_attributes=lessons.users.attributes,
        likelihood=lessons.likelihood,
        statistics=statistics,
        **options | (settings.model_options or {}),
    )
    result = fit(
        TaskModule(
            model,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            average='point',
            relevant=lessons.relevant,
            centre=lessons.centre,
            unit=lessons.unit,
            seed=seed,
        ),
        *_loaders(settings, lessons.episodes, seed),
        epochs=settings.epochs,
        patience=settings.patience,
        ema_decay=settings.ema_decay,
        progress=settings.progress,
        accelerator=settings.accelerator,
    )
    return model.eval(), result


def _loaders(
    settings: TaNPRecommender, episodes: dict[str, Episodes], seed: int
) -> Iterator[EpisodeLoader]:
    """Batches to train on and, if there are any, to select the epoch on."""
    train = episodes['ratings']
    most = settings.max_size - settings.support_size
    yield EpisodeLoader(
        train.at_least(_least(train)),
        settings.batch_size,
        context_sizes=(1, settings.support_size),
        # As many as there are, if not more than that.
        query_sizes=(most, most),
        shuffle=True,
        seed=seed,
    )
    if 'validation' in episodes:
        yield EpisodeLoader(episodes['validation'].at_least(2), settings.batch_size)


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


def _side(
    settings: TaNPRecommender,
    kind: str,
    rated: list[pd.DataFrame],
    table: pd.DataFrame | None,
) -> Side:
    """The ids of one side and their attributes, if there are any."""
    name, column = f'{kind}s', getattr(settings, kind)
    attributes = getattr(settings, f'{kind}_attributes')
    if table is None:
        if attributes:
            raise ValueError(
                f"'{kind}_attributes' names columns, but there is no table '{name}'; "
                f'pass one'
            )
        ids = Vocabulary.distinct(*read_ids(rated[0], column, 'ratings'))
        for frame in rated[1:]:
            unknown = ids.rows(frame, column, 'validation') < 0
            values = read_ids(frame, column, 'validation')[1]
            ids = ids.append(pd.unique(values[unknown]))
        return Side(ids)
    check_columns(table, name, [column])
    ids = Vocabulary(*read_ids(table, column, name, distinct=True))
    rows = ids.rows(rated[0], column, 'ratings')
    check_known(rated[0], rows, column, 'ratings', name)
    columns = attribute_columns(table, name, column, attributes)
    encoder, table = AttributeEncoder(columns, settings.min_count), with_constant(table)
    with naming(name):
        # What only the unrated have would be read untrained.
        encoder.fit(table.iloc[np.unique(rows)])
        return Side(ids, encoder, encoder.transform(table))


def _episodes(
    settings: TaNPRecommender,
    frame: pd.DataFrame,
    name: str,
    label: np.ndarray,
    users: Vocabulary,
    items: Vocabulary,
) -> Episodes:
    rows = []
    for ids, column, table in (
        (users, settings.user, 'users'),
        (items, settings.item, 'items'),
    ):
        rows.append(ids.rows(frame, column, name))
        check_known(frame, rows[-1], column, name, table)
    episodes = episodes_to_train(
        *rows, label, support_size=settings.support_size, seed=settings.seed
    )
    if int(episodes.size.max()) < 2:
        raise ValueError(
            f"'{name}' has no user with two interactions, one to adapt to and one to "
            f'predict; give more of the same users'
        )
    return episodes
