"""Worked examples: films that nobody had rated, and who then did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from agnn_pyg.explain import Explanation
from agnn_pyg.recommender import AGNNRecommender
from benchmarks.held_out import HeldOut
from benchmarks.pages.charts import SIZE
from benchmarks.pages.parts import Section, Table, Text, chart
from benchmarks.plots import LINE_COLOR, MODEL_COLOR, new_figure

ENOUGH = 30  # ratings that a mean is trusted from
FAMOUS = 3  # films that were rated most
SHOWN = 5  # neighbours of each side


def films_section(held: HeldOut, recommender: AGNNRecommender) -> Section:
    """Predicted and real means of new films, and three ratings explained."""
    rated = held.of_new_films()
    rated = rated.assign(
        predicted=recommender.predict(rated, items=held.new_films).to_numpy()
    )
    films = film_means(rated)
    chosen = choose(films)
    base = held.known['rating'].mean()
    parts: list[Any] = [
        Text(
            f'{len(held.new_films)} films were left out of the fit, with all their '
            f'ratings. The next day they arrive as rows of attributes (genre, year, '
            f'country), are attached to the graph and rated for users who are known.'
        ),
        chart(
            _means(films),
            'films',
            f'Films with {films.attrs["least"]} or more ratings: what the users of '
            f'each gave it, against what was predicted for them. Larger dots: more '
            f'ratings.',
            SIZE,
        ),
        Table(
            ('film', 'ratings', 'given', 'predicted', 'RMSE', 'RMSE of the mean'),
            [
                (
                    film_name(held, item),
                    f'{row.count_:,}',
                    f'{row.given:.2f}',
                    f'{row.predicted:.2f}',
                    f'{row.rmse:.2f}',
                    f'{_rmse(rated[rated["item"] == item]["rating"], base):.2f}',
                )
                for item, row in chosen.iterrows()
            ],
            f'The {len(chosen) - 1} new films that were rated most, and, last, the one '
            f'whose mean is missed most. Means over the users who rated the film; the '
            f'last column answers the mean of all known ratings, {base:.2f}, to '
            f'everybody.',
        ),
    ]
    for item in chosen.index:
        row = typical(rated[rated['item'] == item])
        why = recommender.explain(row['user'], item, items=held.new_films)
        parts += explained(held, why, row['rating'])
    return Section('films', 'Films that nobody had rated', parts)


def film_means(rated: pd.DataFrame) -> pd.DataFrame:
    """A row a film of enough ratings: their number and mean, the predicted, RMSE."""
    rated = rated.assign(square=(rated['predicted'] - rated['rating']) ** 2)
    films = rated.groupby('item').agg(
        count_=('rating', 'size'),
        given=('rating', 'mean'),
        predicted=('predicted', 'mean'),
        square=('square', 'mean'),
    )
    films['rmse'] = films.pop('square') ** 0.5
    # On small data sets, what half of the films have is enough.
    least = min(ENOUGH, int(films['count_'].median()))
    films = films[films['count_'] >= least]
    films.attrs['least'] = least
    return films


def choose(films: pd.DataFrame) -> pd.DataFrame:
    """By a rule and not by taste: the most rated, and the one missed most."""
    famous = films.nlargest(FAMOUS, 'count_', keep='first')
    others = films.drop(famous.index)
    missed = (others['given'] - others['predicted']).abs().idxmax()
    return pd.concat([famous, films.loc[[missed]]])


def typical(rated: pd.DataFrame) -> pd.Series:
    """The rating whose error is the middle one."""
    error = (rated['predicted'] - rated['rating']).abs()
    return rated.loc[error.sort_values().index[len(error) // 2]]


def explained(held: HeldOut, why: Explanation, given: float) -> list[Any]:
    """A heading, the sum of a prediction, and tables of neighbours."""
    rows = [(name, f'{value:+.2f}') for name, value in why.parts.items()]
    rows = [row for row in rows if row[0] != 'clamped' or float(row[1])]
    total = 'predicted'
    rows += [(total, f'{why.rating:.2f}'), ('given', f'{given:g}')]
    parts: list[Any] = [
        Text(f'{user_name(held, why.user)}, {film_name(held, why.item)}', 'heading'),
        Table(
            ('part', 'stars'), rows, 'The prediction is the sum of its parts', (total,)
        ),
    ]
    for label, frame in (('Users', why.users), ('Films', why.items)):
        parts.append(_neighbours(held, frame, f'{label} alike that were drawn most'))
    return parts


def _neighbours(held: HeldOut, frame: pd.DataFrame, caption: str) -> Table:
    """Whatever columns an explanation has, with names for ids."""
    frame = frame.head(SHOWN)
    side, *figures = frame.columns
    name = film_name if side == 'item' else user_name
    means = held.known.groupby(side)['rating'].mean()
    rows = [
        (
            name(held, key),
            *(f'{value:.2f}' for value in frame.loc[row, figures]),
            f'{means[key]:.2f}' if key in means.index else 'new',
        )
        for row, key in frame[side].items()
    ]
    return Table((side, *figures, 'mean rating'), rows, caption)


def film_name(held: HeldOut, item: Any) -> str:
    """Title, year and genres, as far as the table has them."""
    row = held.tables.items.set_index('item').loc[item]
    year = row.get('year')
    dated = f' ({year:.0f})' if year is not None and pd.notna(year) else ''
    genres = ', '.join(row['genre']) if len(row.get('genre', ())) else ''
    title = row.get('title', f'film {item}')
    return f'{title}{dated}' + (f', {genres}' if genres else '')


def user_name(held: HeldOut, user: Any) -> str:
    """Number, age, gender and occupation."""
    row = held.tables.users.set_index('user').loc[user]
    words = [str(row[c]) for c in ('age', 'gender', 'occupation') if c in row]
    return f'user {user} ({", ".join(words)})'


def _means(films: pd.DataFrame) -> Any:
    figure, axes = new_figure(SIZE)
    low = films[['given', 'predicted']].min().min()
    axes.axline((low, low), slope=1, color=LINE_COLOR, lw=1, ls='--')
    size = 4 + 60 * films['count_'] / films['count_'].max()
    axes.scatter(
        films['predicted'], films['given'], s=size, color=MODEL_COLOR, alpha=0.55, lw=0
    )
    r = np.corrcoef(films['predicted'], films['given'])[0, 1]
    axes.set(xlabel=f'mean predicted (correlation {r:.2f})', ylabel='mean given')
    return figure


def _rmse(rating: pd.Series, predicted: float) -> float:
    return float(((rating - predicted) ** 2).mean() ** 0.5)
