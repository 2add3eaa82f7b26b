"""Implicit feedback from a mixture of tastes, whose right answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.tables import RatingTables

__all__ = ['planted_tastes']

# Ids differ from row numbers and between the sides, so that code which takes
# one for the other fails at once.
FIRST_USER = 101
FIRST_ITEM = 2001


def planted_tastes(
    num_users: int = 120,
    num_items: int = 60,
    num_tastes: int = 3,
    size: int = 24,
    noise: float = 0.1,
    seed: int = 0,
) -> RatingTables:
    r"""Users of a few tastes, who like the items of theirs and no others.

    Every item belongs to one taste and every user has one. Half of a user's
    labels are 1: items of the user's taste, popular ones more often. The other
    half are 0: items of other tastes. Then a share of labels, :obj:`noise`, is
    flipped. Popularity alone ranks poorly here, and a few labels of a user tell
    all there is to know.

    Args:
        num_users: Number of users. They have their ``taste``, for tests to
            compare with; a model must not be shown it.
        num_items: Number of items, likewise; each taste needs ``size / 2``.
        num_tastes: Number of tastes, at least 2.
        size: Labels of each user, an even number.
        noise: Share of flipped labels, from 0 to below one half.
        seed: Of all that is random.

    Raises:
        ValueError: If an argument is out of its range.
    """
    _check(num_users, num_items, num_tastes, size, noise, seed)
    rng = np.random.default_rng(seed)
    item_taste = rng.permutation(np.arange(num_items) % num_tastes)
    user_taste = rng.integers(num_tastes, size=num_users)
    popularity = rng.gumbel(size=num_items)
    # The largest of perturbed scores are draws without replacement.
    score = popularity + rng.gumbel(size=(num_users, num_items))
    own = user_taste[:, None] == item_taste
    half = size // 2
    liked, other = (
        np.where(mask, score, -np.inf).argsort(axis=1)[:, -half:]
        for mask in (own, ~own)
    )
    item = np.concatenate([liked, other], axis=1)
    label = np.repeat([1.0, 0.0], half)[None] != (rng.random(item.shape) < noise)
    order = rng.random(item.shape).argsort(axis=1)
    ratings = pd.DataFrame(
        {
            'user': np.repeat(np.arange(num_users) + FIRST_USER, size),
            'item': np.take_along_axis(item, order, 1).ravel() + FIRST_ITEM,
            'rating': np.take_along_axis(label, order, 1).ravel().astype(float),
        }
    )
    return RatingTables(
        users=pd.DataFrame(
            {'user': np.arange(num_users) + FIRST_USER, 'taste': user_taste}
        ),
        items=pd.DataFrame(
            {'item': np.arange(num_items) + FIRST_ITEM, 'taste': item_taste}
        ),
        ratings=ratings,
    )


def _check(
    num_users: int, num_items: int, num_tastes: int, size: int, noise: float, seed: int
) -> None:
    if num_users < 1:
        raise ValueError(f"'num_users' must be at least 1 (got {num_users})")
    if num_tastes < 2:
        raise ValueError(f"'num_tastes' must be at least 2 (got {num_tastes})")
    if size < 2 or size % 2:
        raise ValueError(f"'size' must be even and at least 2 (got {size})")
    if num_items // num_tastes < size // 2:
        raise ValueError(
            f"'num_items' must be at least {size // 2 * num_tastes}, half of 'size' "
            f'for each taste (got {num_items})'
        )
    if not 0 <= noise < 0.5:
        raise ValueError(f"'noise' must be from 0 to below 0.5 (got {noise})")
    if seed < 0:
        raise ValueError(f"'seed' must not be negative (got {seed}): try 0")
