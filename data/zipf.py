"""Tables of any size from a seed, as arrays: Zipf attributes, planted ratings.

Frames of a million lists would take longer to build than what is built from them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ['FILMS', 'PEOPLE', 'Field', 'zipf_bags', 'zipf_ratings']


class Field(NamedTuple):
    """A column of attributes.

    Attributes:
        vocabulary: Values; a share of the number of rows if below 1.
        mean: Values a row has in the mean; every row has one.
        exponent: The chance of the n-th value falls as its power.
    """

    vocabulary: float
    mean: float
    exponent: float


# Genres, directors, writers, stars and countries: 9.3 values a film.
FILMS = (
    *(Field(18, 2, 0.8), Field(0.15, 1, 0.9), Field(0.25, 1.5, 0.9)),
    *(Field(0.4, 4, 0.9), Field(40, 1, 1.2)),
)
# Age groups, genders and occupations: 294 profiles.
PEOPLE = (Field(7, 1, 0.3), Field(2, 1, 0.5), Field(21, 1, 0.5))


def zipf_bags(
    num_rows: int, fields: tuple[Field, ...], seed: int = 0
) -> tuple[np.ndarray, int]:
    """Tokens of each row, :obj:`[num_rows, slots]`, and how many tokens there are.

    Token 0 is padding. A value that is drawn twice is kept once.

    Raises:
        ValueError: If there is no row.
    """
    if num_rows < 1:
        raise ValueError(f"'num_rows' must be at least 1 (got {num_rows})")
    rng = np.random.default_rng(seed)
    columns, offset = [], 1
    for field in fields:
        size = field.vocabulary * (num_rows if field.vocabulary < 1 else 1)
        size = max(2, round(size))
        count = 1 + rng.poisson(field.mean - 1, num_rows)
        shape = (num_rows, min(int(count.max()), 4 * int(np.ceil(field.mean))))
        token = offset + _zipf(shape, size, field.exponent, rng)
        token[np.arange(shape[1]) >= count[:, None]] = 0
        token.sort(axis=1)
        token[:, 1:][token[:, 1:] == token[:, :-1]] = 0
        columns.append(token)
        offset += size
    bags = np.concatenate(columns, axis=1)
    bags.sort(axis=1)
    filled = int((bags > 0).sum(axis=1).max())
    return np.ascontiguousarray(bags[:, -filled:]), offset


def zipf_ratings(
    users: np.ndarray, items: np.ndarray, num_ratings: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Rated pairs, :obj:`[2, R]`, and their ratings from 1 to 5, :obj:`[R]`.

    Some items are rated far more often than others, and users differ less. What is
    rated follows from attributes: with :math:`v_t` drawn for each token t,

    .. math::
        r_{ui} = \mathrm{clip}(3.5 + \sum_{t \in u} v_t + \sum_{t \in i} v_t +
        \varepsilon, 1, 5), \quad \varepsilon \sim \mathcal{N}(0, 0.5^2)

    Args:
        users: Tokens of the users, see :func:`zipf_bags`.
        items: Tokens of the items.
        num_ratings: About how many; pairs that are drawn twice are kept once.
        seed: Of all that is random.

    Raises:
        ValueError: If more ratings are asked for than a tenth of all pairs.
    """
    if not 1 <= num_ratings <= len(users) * len(items) / 10:
        raise ValueError(
            f"'num_ratings' must be from 1 to a tenth of all pairs, "
            f'{len(users) * len(items) // 10} (got {num_ratings})'
        )
    rng = np.random.default_rng(seed)
    user = rng.permutation(len(users))[_zipf(num_ratings, len(users), 0.3, rng)]
    item = rng.permutation(len(items))[_zipf(num_ratings, len(items), 0.6, rng)]
    pair = np.unique(user * len(items) + item)
    pair = rng.permutation(pair)
    user, item = np.divmod(pair, len(items))
    rating = 3.5 + rng.normal(0, 0.5, len(pair))
    for bags, row in ((users, user), (items, item)):
        value = rng.normal(0, 0.3, int(bags.max()) + 1)
        value[0] = 0
        rating += value[bags].sum(axis=1)[row]
    return np.stack([user, item]), rating.clip(1, 5)


def _zipf(
    shape: int | tuple[int, ...], size: int, exponent: float, rng: np.random.Generator
) -> np.ndarray:
    chance = (1.0 / np.arange(1, size + 1) ** exponent).cumsum()
    return (chance / chance[-1]).searchsorted(rng.random(shape)).clip(max=size - 1)
