"""Splits ratings into episodes of training, validation and test users, for TaNP."""

from __future__ import annotations

import random
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Gt, Le

from agnn_pyg.base.config import PositiveFloat, PositiveInt, Seed, check_argument
from data.tables import RatingTables
from tanp.episodes import Episodes, from_numpy


class EpisodeSplit(NamedTuple):
    """Episodes of three disjoint sets of users."""

    train: Episodes
    validation: Episodes
    test: Episodes
    warm: Episodes  # all interactions of training users as queries, in table order


def split_episodes(
    tables: RatingTables,
    *,
    support_size: int = 20,
    min_size: int | None = None,
    max_size: int = 200,
    fractions: tuple[float, float] = (0.7, 0.1),
    seed: int = 0,
) -> EpisodeSplit:
    r"""Splits users, and each user's interactions into support and query.

    The rule and the stream of random numbers are those of TaNP's authors. On their
    Last.FM tables, with users in the order of their list, a seed gives the same
    training and test users, supports and queries in the same order (248 and 66 episodes
    for seed 2020). Validation and test contain only items that a training user has
    rated. The authors do not filter validation, which they do not use.

    Args:
        tables: Tables to split; the order of the users affects the shuffle.
        support_size: Interactions in the support. (default: :obj:`20`)
        min_size: Fewest interactions per user, more than the support.
            (default: :obj:`support_size + 10`)
        max_size: Most interactions per user. (default: :obj:`200`)
        fractions: Fractions of users for training and for validation; the rest is for
            the test. (default: :obj:`(0.7, 0.1)`)
        seed: Seed of the split.

    Raises:
        ValueError: If an argument is invalid, or a part has no users.
    """
    check_argument('seed', seed, Seed)
    check_argument('support_size', support_size, PositiveInt)
    min_size = support_size + 10 if min_size is None else min_size
    # Leave at least one interaction for the query.
    check_argument('min_size', min_size, Annotated[int, Gt(support_size), Le(max_size)])
    check_argument('fractions', fractions, tuple[PositiveFloat, PositiveFloat])
    if sum(fractions) >= 1:
        raise ValueError(
            f"'fractions' must have a sum below 1, for test users (got {fractions})"
        )
    user, item = tables.positions()
    label = tables.ratings['rating'].to_numpy(float)
    size = np.bincount(user, minlength=len(tables.users))
    # Each user's history: positions of ratings, in the order of the frame.
    histories = np.split(np.argsort(user, kind='stable'), size.cumsum()[:-1])
    order = np.arange(len(size))
    shuffle = random.Random(seed).shuffle
    shuffle(order)
    bounds = np.cumsum([int(len(size) * fraction) for fraction in fractions])
    drawn = np.split(order, bounds)
    warm, validation, test = ([histories[u] for u in part] for part in drawn)
    is_seen = np.isin(item, item[np.concatenate(warm)])

    def shuffled(histories: list[np.ndarray]) -> list[np.ndarray]:
        """Shuffled histories with min_size to max_size interactions."""
        made = [h.copy() for h in histories if min_size <= len(h) <= max_size]
        for history in made:
            shuffle(history)
        return made

    # The authors keep unseen items in validation, and the same stream continues into
    # test. To reproduce it, shuffle first and then drop the items.
    train = shuffled(warm)
    validation = [h[is_seen[h]] for h in shuffled(validation)]
    parts = {
        'train': train,
        'validation': [h for h in validation if len(h) >= min_size],
        'test': shuffled([h[is_seen[h]] for h in test]),
        'warm': [h for h in warm if len(h)],
    }
    for part, chosen in parts.items():
        if not chosen:
            raise ValueError(
                f"'ratings' must have a {part} user with {min_size} to {max_size} "
                f"interactions (got none); lower 'support_size' or 'min_size'"
            )
        rows = np.concatenate(chosen)
        first = user[[h[0] for h in chosen]]
        size = np.array([*map(len, chosen)])
        support = np.full_like(size, support_size * (part != 'warm'))
        parts[part] = from_numpy(first, size, item[rows], label[rows], support)
    return EpisodeSplit(**parts)
