"""From frames to trained models, as :class:`~tanp.recommender.TaNPRecommender` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from agnn_pyg.features import AttributeEncoder, Attributes
from agnn_pyg.tables import (
    Ids,
    attribute_columns,
    check_columns,
    check_known,
    naming,
    read_ids,
    with_constant,
)
from tanp.checks import check_settings
from tanp.episodes import Episodes
from tanp.frames import episodes_to_train
from tanp.loader import EpisodeLoader
from tanp.model import TaNP
from tanp.statistics import InteractionStatistics

if TYPE_CHECKING:
    from tanp.recommender import TaNPRecommender

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
# Interactions a user needs to be trained on, unless nobody has so many.
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

    ids: Ids
    encoder: AttributeEncoder | None = None
    attributes: Attributes | None = None


@dataclass
class Fitted:
    """What a fit comes to; see the attributes of the recommender."""

    models: list[TaNP]
    users: Side
    items: Side
    centre: float
    rating_range: tuple[float, float]
    history: list[dict[str, float]]
    best_epoch: int


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
    tables = {'ratings': (ratings, label)}
    if has_validation:
        tables['validation'] = validation, settings._labels(validation, 'validation')
    rated = [frame for frame, _ in tables.values()]
    people = _side(settings, 'user', rated, users)
    things = _side(settings, 'item', rated[:1], items)
    likelihood = settings.likelihood
    if likelihood is None:
        likelihood = 'bernoulli' if set(label) <= {0, 1} else 'gaussian'
    # A Gaussian decoder need not learn where the middle of the scale is.
    centre = 0.0 if likelihood == 'bernoulli' else float(label.mean())
    rating_range = float(label.min()), float(label.max())
    if likelihood == 'bernoulli':
        rating_range = 0.0, 1.0
    # Labels above it are likes, also when they are centred.
    relevant = 0.5 if likelihood == 'bernoulli' else 0.0
    episodes = {
        name: _episodes(settings, frame, name, values - centre, people.ids, things.ids)
        for name, (frame, values) in tables.items()
    }
    trained = [
        _train(settings, episodes, people, things, likelihood, relevant, member)
        for member in range(settings.members)
    ]
    models = [model for model, _ in trained]
    return Fitted(
        models,
        people,
        things,
        centre,
        rating_range,
        trained[0][1].history,
        trained[0][1].best_epoch,
    )


def _train(
    settings: TaNPRecommender,
    episodes: dict[str, Episodes],
    users: Side,
    items: Side,
    likelihood: str,
    relevant: float,
    member: int,
) -> tuple[TaNP, Any]:
    from tanp.train import TaskModule, fit

    seed = settings.seed * settings.members + member
    sizes = {'num_items': len(items.ids), 'num_users': len(users.ids)}
    statistics, options = None, {}
    if settings.statistics:
        options = ATTENTIVE
        statistics = _statistics(episodes['ratings'], relevant, seed, **sizes)
    torch.manual_seed(seed)
    model = TaNP(
        **sizes,
        item_attributes=items.attributes,
        user_attributes=users.attributes,
        likelihood=likelihood,
        statistics=statistics,
        **options | (settings.model_options or {}),
    )
    least = min(MIN_SIZE, int(episodes['ratings'].size.max()))
    loaders = [
        EpisodeLoader(
            episodes['ratings'].at_least(least),
            settings.batch_size,
            context_sizes=(1, settings.support_size),
            shuffle=True,
            seed=seed,
        )
    ]
    if 'validation' in episodes:
        loaders.append(EpisodeLoader(episodes['validation'], settings.batch_size))
    result = fit(
        TaskModule(
            model,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            average='point',
            relevant=relevant,
            seed=seed,
        ),
        *loaders,
        epochs=settings.epochs,
        patience=settings.patience,
        ema_decay=settings.ema_decay,
        progress=settings.progress,
        accelerator=settings.accelerator,
    )
    return model.eval(), result


def _statistics(
    episodes: Episodes, relevant: float, seed: int, num_items: int, num_users: int
) -> InteractionStatistics:
    """On all training users, with as many folds and as wide vectors as they allow."""
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
            f"'ratings' has {count} user(s) with two interactions and {num_items} "
            f'item(s); statistics of items need three users and two items at least: '
            f"give more, or set 'statistics' to False"
        )
    return InteractionStatistics.fit(
        episodes,
        num_items,
        num_users,
        rank=rank,
        folds=folds,
        relevant=relevant,
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
        ids = Ids.distinct(*read_ids(rated[0], column, 'ratings'))
        for frame in rated[1:]:
            unknown = ids.rows(frame, column, 'validation') < 0
            values = read_ids(frame, column, 'validation')[1]
            ids = ids.append(pd.unique(values[unknown]))
        return Side(ids)
    check_columns(table, name, [column])
    ids = Ids(*read_ids(table, column, name, distinct=True))
    columns = attribute_columns(table, name, column, attributes)
    with naming(name):
        encoder = AttributeEncoder(columns, settings.min_count)
        return Side(ids, encoder, encoder.fit_transform(with_constant(table)))


def _episodes(
    settings: TaNPRecommender,
    frame: pd.DataFrame,
    name: str,
    label: np.ndarray,
    users: Ids,
    items: Ids,
) -> Episodes:
    rows = []
    for ids, column, table in (
        (users, settings.user, 'users'),
        (items, settings.item, 'items'),
    ):
        rows.append(ids.rows(frame, column, name))
        check_known(frame, rows[-1], column, name, table)
    options = {'support_size': settings.support_size, 'max_size': settings.max_size}
    episodes = episodes_to_train(*rows, label, seed=settings.seed, **options)
    if not len(episodes):
        raise ValueError(
            f"'{name}' has no user with two interactions, one to adapt to and one "
            f'to predict'
        )
    return episodes
