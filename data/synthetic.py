"""Small seeded tables of ratings and of likes with known structure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.tables import RatingTables

GENDERS = ('F', 'M')
OCCUPATIONS = ('artist', 'engineer', 'nurse', 'student', 'teacher')
GENRES = ('Action', 'Comedy', 'Drama', 'Horror', 'Romance')
COUNTRIES = ('France', 'India', 'Japan', 'USA')
MEAN = 3.2  # above the middle of 1 to 5, as in ratings of films

# Ids differ from row numbers and between users and items, so that code which confuses
# them fails at once.
FIRST_USER, FIRST_ITEM = 101, 2001


def planted_tables(
    num_users: int = 60,
    num_items: int = 80,
    density: float = 0.3,
    noise: float = 0.1,
    seed: int = 0,
) -> RatingTables:
    r"""Makes tables in which attributes explain the ratings, up to noise.

    .. math::
        r_{ui} = \mathrm{clip}(\mu + a_u + b_i + t_{ui} + \varepsilon, 1, 5)

    where :math:`a_u` depends on the user's age, gender and occupation, :math:`b_i` on
    the item's genres, year and country, and :math:`t_{ui}` on the user's occupation
    and gender and the item's genres. A model that reads attributes can thus predict a
    strictly cold item to within the noise. Missing attributes have no effect.

    Args:
        num_users: Number of users, at least 2. They have ``age`` (years),
            ``gender`` and ``occupation``.
        num_items: Number of items, at least 2. They have ``genre`` (a list of
            one or two, empty for one item in twenty), ``year`` and ``country``
            (both missing for one item in ten).
        density: Expected fraction of pairs that are rated, in (0, 1]. Every
            user and every item always has at least two ratings.
        noise: Standard deviation of :math:`\varepsilon`, in stars.
        seed: Seed of all random numbers, including the effects.
    """
    _require('num_users', num_users, 'at least 2', num_users >= 2)
    _require('num_items', num_items, 'at least 2', num_items >= 2)
    _require('density', density, 'above 0 and at most 1', 0 < density <= 1)
    _require('noise', noise, 'finite and at least 0', 0 <= noise < np.inf)
    _require('seed', seed, 'at least 0', seed >= 0)
    rng = np.random.default_rng(seed)
    users = _draw_users(num_users, rng)
    items = _draw_items(num_items, rng)
    rating = _user_effect(users, rng)[:, None] + _item_effect(items, rng)
    rating += MEAN + _taste(users, items, rng)
    rating += noise * rng.standard_normal(rating.shape)
    user, item = _observed(num_users, num_items, density, rng).nonzero()
    # Shuffle, because real ratings are not sorted by user.
    order = rng.permutation(len(user))
    user, item = user[order], item[order]
    ratings = {'user': FIRST_USER + user, 'item': FIRST_ITEM + item}
    ratings['rating'] = rating[user, item].clip(1, 5)
    return RatingTables(users, items, pd.DataFrame(ratings))


def planted_tastes(
    num_users: int = 120,
    num_items: int = 60,
    num_tastes: int = 3,
    size: int = 24,
    noise: float = 0.1,
    seed: int = 0,
) -> RatingTables:
    r"""Makes tables of likes and dislikes; users like only items of their taste.

    Every item belongs to one taste and every user has one. Half of a user's labels
    are 1, for items of the user's taste, popular ones more often. The other half are
    0, for items of other tastes. Then a fraction of labels, :obj:`noise`, is flipped.
    Popularity alone ranks poorly on these tables, and a few labels of a user suffice
    to predict the others.

    Args:
        num_users: Number of users. A column ``taste`` has their taste, for tests
            only; a model must not read it.
        num_items: Number of items, with the same column; a taste needs ``size / 2``.
        num_tastes: Number of tastes, at least 2.
        size: Labels of each user, an even number.
        noise: Fraction of flipped labels, from 0 to below one half.
        seed: Seed of all random numbers.
    """
    least = size // 2 * num_tastes
    _require('num_users', num_users, 'at least 1', num_users >= 1)
    _require('num_tastes', num_tastes, 'at least 2', num_tastes >= 2)
    _require('size', size, 'even and at least 2', size >= 2 and size % 2 == 0)
    must_be = f"at least {least}, half of 'size' for each taste"
    _require('num_items', num_items, must_be, num_items // num_tastes >= size // 2)
    _require('noise', noise, 'from 0 to below 0.5', 0 <= noise < 0.5)
    _require('seed', seed, 'at least 0', seed >= 0)
    rng = np.random.default_rng(seed)
    item_taste = rng.permutation(np.arange(num_items) % num_tastes)
    user_taste = rng.integers(num_tastes, size=num_users)
    popularity = rng.gumbel(size=num_items)
    # The largest perturbed scores are samples without replacement (Gumbel top-k).
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
    item, label = (np.take_along_axis(x, order, 1).ravel() for x in (item, label))
    users = {'user': np.arange(num_users) + FIRST_USER, 'taste': user_taste}
    items = {'item': np.arange(num_items) + FIRST_ITEM, 'taste': item_taste}
    ratings = {'user': users['user'].repeat(size), 'item': item + FIRST_ITEM}
    ratings['rating'] = label.astype(float)
    return RatingTables(*map(pd.DataFrame, (users, items, ratings)))


def _require(name: str, value: float, must_be: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"'{name}' must be {must_be} (got {value})")


def _draw_users(count: int, rng: np.random.Generator) -> pd.DataFrame:
    columns = {
        'user': np.arange(FIRST_USER, FIRST_USER + count),
        'age': rng.integers(16, 71, count),
        'gender': rng.choice(GENDERS, count),
        'occupation': rng.choice(OCCUPATIONS, count),
    }
    return pd.DataFrame(columns)


def _draw_items(count: int, rng: np.random.Generator) -> pd.DataFrame:
    names = np.array(GENRES, dtype=object)
    order = rng.random((count, len(GENRES))).argsort(axis=1)
    how_many = rng.choice([0, 1, 2], count, p=[0.05, 0.45, 0.5])
    year = rng.integers(1950, 2021, count).astype(float)
    country = rng.choice(np.array(COUNTRIES, dtype=object), count)
    year[rng.random(count) < 0.1] = np.nan
    country[rng.random(count) < 0.1] = None
    item = np.arange(FIRST_ITEM, FIRST_ITEM + count)
    genre = [names[o[:k]].tolist() for o, k in zip(order, how_many, strict=True)]
    columns = {'item': item, 'genre': genre, 'year': year, 'country': country}
    return pd.DataFrame(columns)


def _user_effect(users: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    effect = 0.2 * ((users['age'].to_numpy() - 43) / 27)  # 16..70 to -1..1
    effect += _one_hot(users['gender'], GENDERS) @ _spread(0.15, 2, rng)
    effect += _one_hot(users['occupation'], OCCUPATIONS) @ _spread(0.3, 5, rng)
    return effect


def _item_effect(items: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    effect = 0.2 * ((items['year'].fillna(1985).to_numpy() - 1985) / 35)  # -1..1
    effect += _genre_shares(items) @ _spread(0.5, len(GENRES), rng)
    effect += _one_hot(items['country'], COUNTRIES) @ _spread(0.3, 4, rng)
    return effect


def _taste(
    users: pd.DataFrame, items: pd.DataFrame, rng: np.random.Generator
) -> np.ndarray:
    """Effects of occupation and gender with genres, :obj:`[users, items]`."""
    by_occupation = np.stack([_spread(0.6, len(GENRES), rng) for _ in OCCUPATIONS])
    women = _spread(0.3, len(GENRES), rng)
    liking = _one_hot(users['occupation'], OCCUPATIONS) @ by_occupation
    liking += _one_hot(users['gender'], GENDERS) @ np.stack([women, -women])
    return liking @ _genre_shares(items).T


def _spread(size: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Evenly spaced effects from -size to size in random order, never all near 0."""
    return rng.permutation(np.linspace(-size, size, count))


def _one_hot(column: pd.Series, values: tuple[str, ...]) -> np.ndarray:
    return (column.to_numpy(dtype=object)[:, None] == np.array(values)).astype(float)


def _genre_shares(items: pd.DataFrame) -> np.ndarray:
    """Equal weights of each item's genres, zeros without genres: [items, genres]."""
    hot = np.array([[genre in has for genre in GENRES] for has in items['genre']])
    return hot / hot.sum(axis=1, keepdims=True).clip(1)


def _observed(
    num_users: int, num_items: int, density: float, rng: np.random.Generator
) -> np.ndarray:
    """A mask of the rated pairs, with at least two in each row and column."""
    keys = rng.random((num_users, num_items))
    second_of_user = np.partition(keys, 1, axis=1)[:, 1:2]
    second_of_item = np.partition(keys, 1, axis=0)[1:2]
    return (keys < density) | (keys <= second_of_user) | (keys <= second_of_item)
