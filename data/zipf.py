"""Large seeded tables as arrays: tokens with Zipf frequencies, planted ratings.

Building frames of a million lists would take longer than the measurements on them.
"""

from __future__ import annotations

import numpy as np

# For each column: the number of values (a fraction of the rows if below 1), the mean
# number of values per row, and the Zipf exponent of value frequencies.
# Genres, directors, writers, stars and countries: 9.3 values per film.
FILMS = ((18, 2, 0.8), (0.15, 1, 0.9), (0.25, 1.5, 0.9), (0.4, 4, 0.9), (40, 1, 1.2))
# Age groups, genders and occupations: 294 profiles.
PEOPLE = ((7, 1, 0.3), (2, 1, 0.5), (21, 1, 0.5))


def zipf_bags(
    num_rows: int, columns: tuple[tuple[float, float, float], ...], seed: int = 0
) -> tuple[np.ndarray, int]:
    """Draws tokens of each row, :obj:`[num_rows, slots]`, padded with 0.

    Values that are drawn twice are kept once. The second result is the number of
    tokens, including the padding.
    """
    rng = np.random.default_rng(seed)
    bags = []
    offset = 1
    for vocabulary, mean, exponent in columns:
        size = max(2, round(vocabulary * (num_rows if vocabulary < 1 else 1)))
        count = 1 + rng.poisson(mean - 1, num_rows)
        shape = (num_rows, min(int(count.max()), 4 * int(np.ceil(mean))))
        token = offset + _zipf(shape, size, exponent, rng)
        token[np.arange(shape[1]) >= count[:, None]] = 0
        token.sort(axis=1)
        token[:, 1:][token[:, 1:] == token[:, :-1]] = 0
        bags.append(token)
        offset += size
    rows = np.sort(np.concatenate(bags, axis=1), axis=1)
    filled = int((rows > 0).sum(axis=1).max())
    return np.ascontiguousarray(rows[:, -filled:]), offset


def zipf_ratings(
    users: np.ndarray, items: np.ndarray, num_ratings: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Draws rated pairs, :obj:`[2, R]`, and their ratings from 1 to 5, :obj:`[R]`.

    Some items are rated far more often than others; users differ less. Ratings
    depend on the tokens, with :math:`v_t` drawn for each token:
    :math:`r_{ui} = \mathrm{clip}(3.5 + \sum_{t \in u \cup i} v_t + \varepsilon, 1, 5)`
    and :math:`\varepsilon \sim \mathcal{N}(0, 0.5^2)`. Pairs that are drawn twice
    are kept once, so :math:`R` is about :obj:`num_ratings`.
    """
    rng = np.random.default_rng(seed)
    user = rng.permutation(len(users))[_zipf(num_ratings, len(users), 0.3, rng)]
    item = rng.permutation(len(items))[_zipf(num_ratings, len(items), 0.6, rng)]
    pair = rng.permutation(np.unique(user * len(items) + item))
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
