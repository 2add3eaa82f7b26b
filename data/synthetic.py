"""Small seeded tables whose ratings follow from the attributes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.tables import RatingTables

__all__ = ['planted_tables']

GENDERS = ('F', 'M')
OCCUPATIONS = ('artist', 'engineer', 'nurse', 'student', 'teacher')
GENRES = ('Action', 'Comedy', 'Drama', 'Horror', 'Romance')
COUNTRIES = ('France', 'India', 'Japan', 'USA')
MEAN = 3.2  # above the middle of 1..5, as ratings of films are

# Ids differ from row numbers and between the sides, so that code which takes
# one for the other fails at once.
FIRST_USER = 101
FIRST_ITEM = 2001


def planted_tables(
    num_users: int = 60,
    num_items: int = 80,
    density: float = 0.3,
    noise: float = 0.1,
    seed: int = 0,
) -> RatingTables:
    r"""Tables in which attributes explain the ratings, up to noise.

    .. math::
        r_{ui} = \mathrm{clip}(\mu + a_u + b_i + t_{ui} + \varepsilon, 1, 5)

    where :math:`a_u` depends on the user's age, gender and occupation,
    :math:`b_i` on the item's genres, year and country, and :math:`t_{ui}` on
    the user's occupation and gender and the item's genres. So a model that
    reads attributes can rate a strictly cold item to within the noise. A
    missing attribute has no effect.

    Args:
        num_users: Number of users, at least 2. They have ``age`` (years),
            ``gender`` and ``occupation``.
        num_items: Number of items, at least 2. They have ``genre`` (a list of
            one or two, empty for one item in twenty), ``year`` and ``country``
            (both missing for one item in ten).
        density: Expected fraction of pairs that are rated, in (0, 1]. Every
            user and every item has two ratings or more all the same.
        noise: Standard deviation of :math:`\varepsilon`, in stars.
        seed: Of all that is random, the effects included.

    Raises:
        ValueError: If an argument is out of its range.
    """
    _check_arguments(num_users, num_items, density, noise, seed)
    rng = np.random.default_rng(seed)
    users = _draw_users(num_users, rng)
    items = _draw_items(num_items, rng)
    rating = _user_effect(users, rng)[:, None] + _item_effect(items, rng)
    rating += MEAN + _taste(users, items, rng)
    rating += noise * rng.standard_normal(rating.shape)
    user, item = _observed(num_users, num_items, density, rng).nonzero()
    ratings = pd.DataFrame(
        {
            'user': users['user'].to_numpy()[user],
            'item': items['item'].to_numpy()[item],
            'rating': rating[user, item].clip(1, 5),
        }
    )
    # Shuffled: real ratings do not come sorted by user.
    order = rng.permutation(len(ratings))
    return RatingTables(users, items, ratings.iloc[order].reset_index(drop=True))


def _check_arguments(
    num_users: int, num_items: int, density: float, noise: float, seed: int
) -> None:
    for name, count in (('num_users', num_users), ('num_items', num_items)):
        if count < 2:
            raise ValueError(
                f"'{name}' must be at least 2, for two ratings each (got {count})"
            )
    if not 0 < density <= 1:
        raise ValueError(f"'density' must be above 0 and at most 1 (got {density})")
    if not 0 <= noise < np.inf:
        raise ValueError(f"'noise' must be finite and not negative (got {noise})")
    if seed < 0:
        raise ValueError(f"'seed' must not be negative (got {seed}): try 0")


def _draw_users(count: int, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            'user': np.arange(FIRST_USER, FIRST_USER + count),
            'age': rng.integers(16, 71, count),
            'gender': rng.choice(GENDERS, count),
            'occupation': rng.choice(OCCUPATIONS, count),
        }
    )


def _draw_items(count: int, rng: np.random.Generator) -> pd.DataFrame:
    names = np.array(GENRES, dtype=object)
    order = rng.random((count, len(GENRES))).argsort(axis=1)
    how_many = rng.choice([0, 1, 2], count, p=[0.05, 0.45, 0.5])
    year = rng.integers(1950, 2021, count).astype(float)
    country = rng.choice(np.array(COUNTRIES, dtype=object), count)
    year[rng.random(count) < 0.1] = np.nan
    country[rng.random(count) < 0.1] = None
    return pd.DataFrame(
        {
            'item': np.arange(FIRST_ITEM, FIRST_ITEM + count),
            'genre': [
                names[o[:k]].tolist() for o, k in zip(order, how_many, strict=True)
            ],
            'year': year,
            'country': country,
        }
    )


def _user_effect(users: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    age = (users['age'].to_numpy() - 43) / 27  # 16..70 to -1..1
    effect = 0.2 * age
    effect += _one_hot(users['gender'], GENDERS) @ _spread(0.15, 2, rng)
    effect += _one_hot(users['occupation'], OCCUPATIONS) @ _spread(0.3, 5, rng)
    return effect


def _item_effect(items: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    year = (items['year'].fillna(1985).to_numpy() - 1985) / 35  # -1..1
    effect = 0.2 * year
    effect += _genre_shares(items) @ _spread(0.5, len(GENRES), rng)
    effect += _one_hot(items['country'], COUNTRIES) @ _spread(0.3, 4, rng)
    return effect


def _taste(
    users: pd.DataFrame, items: pd.DataFrame, rng: np.random.Generator
) -> np.ndarray:
    """What each user's kind thinks of each item's genres, [users, items]."""
    by_occupation = np.stack([_spread(0.6, len(GENRES), rng) for _ in OCCUPATIONS])
    women = _spread(0.3, len(GENRES), rng)
    liking = _one_hot(users['occupation'], OCCUPATIONS) @ by_occupation
    liking += _one_hot(users['gender'], GENDERS) @ np.stack([women, -women])
    return liking @ _genre_shares(items).T


def _spread(size: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Effects from -size to size in random order: no seed makes them vanish."""
    return rng.permutation(np.linspace(-size, size, count))


def _one_hot(column: pd.Series, values: tuple[str, ...]) -> np.ndarray:
    return (column.to_numpy(dtype=object)[:, None] == np.array(values)).astype(float)


def _genre_shares(items: pd.DataFrame) -> np.ndarray:
    """Each item's genres in equal shares, zeros without any: [items, genres]."""
    hot = np.array([[genre in has for genre in GENRES] for has in items['genre']])
    return hot / hot.sum(axis=1, keepdims=True).clip(1)


def _observed(
    num_users: int, num_items: int, density: float, rng: np.random.Generator
) -> np.ndarray:
    """A mask of the rated pairs, with two or more in each row and column."""
    keys = rng.random((num_users, num_items))
    second_of_user = np.partition(keys, 1, axis=1)[:, 1:2]
    second_of_item = np.partition(keys, 1, axis=0)[1:2]
    return (keys < density) | (keys <= second_of_user) | (keys <= second_of_item)
