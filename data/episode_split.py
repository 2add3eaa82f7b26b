"""From ratings to episodes of training, validation and test users, for TaNP."""

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
    warm: Episodes  # all interactions of training users, as queries, as in the table


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

    This is the rule, and the stream of random numbers, of TaNP's authors: on their
    Last.FM tables, with users in the order of their list, a seed gives their training
    and test users, in their order, with their supports and queries (248 and 66 episodes
    for seed 2020). Validation and test keep items that a training user has rated; the
    authors, who do not use validation, leave others in it.

    Args:
        tables: What to split; the order of the users enters the shuffle.
        support_size: Interactions in the support. (default: :obj:`20`)
        min_size: Fewest interactions of an episode's user, more than the support.
            (default: :obj:`support_size + 10`)
        max_size: Most interactions. (default: :obj:`200`)
        fractions: Of users in training and in validation; the others are for the test.
            (default: :obj:`(0.7, 0.1)`)
        seed: Names the split.

    Raises:
        ValueError: If an argument is unfit, or a part has no users.
    """
    check_argument('seed', seed, Seed)
    check_argument('support_size', support_size, PositiveInt)
    min_size = support_size + 10 if min_size is None else min_size
    # A query is left.
    check_argument('min_size', min_size, Annotated[int, Gt(support_size), Le(max_size)])
    check_argument('fractions', fractions, tuple[PositiveFloat, PositiveFloat])
    if sum(fractions) >= 1:
        raise ValueError(
            f"'fractions' must have a sum below 1, for users to test (got {fractions})"
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
        """Interactions of users with enough of them."""
        made = [h.copy() for h in histories if min_size <= len(h) <= max_size]
        for history in made:
            shuffle(history)
        return made

    # The authors leave unseen items in validation, and their stream runs on from
    # there into test: shuffle as they do, and drop the items only then.
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
                f"'ratings' must have a {part} user of {min_size} to {max_size} "
                f"interactions (got none); lower 'support_size' or 'min_size'"
            )
        rows = np.concatenate(chosen)
        first = user[[h[0] for h in chosen]]
        size = np.array([*map(len, chosen)])
        support = np.full_like(size, support_size * (part != 'warm'))
        parts[part] = from_numpy(first, size, item[rows], label[rows], support)
    return EpisodeSplit(**parts)
