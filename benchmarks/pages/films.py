"""Worked examples: films that nobody had rated, and who then did."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from agnn_pyg.explain import Explanation, cancel
from agnn_pyg.recommender import AGNNRecommender
from benchmarks.held_out import HeldOut
from benchmarks.pages.charts import SIZE
from benchmarks.pages.parts import Section, Table, Text, chart
from benchmarks.plots import LINE_COLOR, MODEL_COLOR, new_figure

ENOUGH = 30  # ratings that a mean is trusted from
FAMOUS = 3  # films that were rated most
SHOWN = 5  # neighbours of each side
FIFTHS = 5
# What the tables of an explanation are, by their names there.
CAPTIONS = {
    'users': 'Users alike that were drawn most',
    'items': 'Films alike that were drawn most',
    'rated_by': 'Users whose ratings carried the message',
    'rated': 'Films whose ratings carried it',
}


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
        chart(
            _fifths(rated),
            'fifths',
            'All new films, in fifths of the order that each user was predicted to '
            'like them in: what the users gave them.',
            SIZE,
        ),
        Table(
            ('film', 'ratings', 'given', 'predicted', 'RMSE', 'RMSE of the mean'),
            [
                (
                    film_name(held, row.Index),
                    f'{row.count_:,}',
                    f'{row.given:.2f}',
                    f'{row.predicted:.2f}',
                    f'{row.rmse:.2f}',
                    f'{_rmse(rated[rated["item"] == row.Index]["rating"], base):.2f}',
                )
                for row in chosen.itertuples()
            ],
            f'The {len(chosen) - 1} new films that were rated most, and, last, the one '
            f'whose mean is missed most. Means over the users who rated the film; the '
            f'last column answers the mean of all known ratings, {base:.2f}, to '
            f'everybody.',
        ),
        Text(
            'Of the ratings of each of these films, the one whose error is the middle '
            'one, explained. Proximity is the weight in the candidate pool, drawn the '
            'share of the draws, gate the mean of the aggregate gate; the mean rating '
            'is that of the fit. Ratings that carried a message are listed where they '
            'do not cancel.',
            'note',
        ),
    ]
    for item in chosen.index:
        user, given = typical(rated[rated['item'] == item])
        why = recommender.explain(user, item, items=held.new_films)
        parts += explained(held, why, given)
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


def typical(rated: pd.DataFrame) -> tuple[Any, float]:
    """The user and the rating whose error is the middle one."""
    error = (rated['predicted'] - rated['rating']).abs()
    row = error.sort_values(kind='stable').index[len(error) // 2]
    return rated.at[row, 'user'], rated.at[row, 'rating']


def explained(held: HeldOut, why: Explanation, given: float) -> list[Any]:
    """A heading, the sum of a prediction, and tables of neighbours."""
    rows = [(name, f'{value:+.2f}') for name, value in why.parts.items()]
    rows = [row for row in rows if row[0] != 'clamped' or float(row[1])]
    total = 'predicted'
    rows += [(total, f'{why.rating:.2f}'), ('given', f'{given:g}')]
    parts: list[Any] = [
        Text(
            f'{film_name(held, why.item, genres=False)}, for '
            f'{user_name(held, why.user)}',
            'heading',
        ),
        Table(
            ('part', 'stars'),
            rows,
            'The sum of its parts',
            (total,),
            beside=True,
        ),
    ]
    for name in (field.name for field in dataclasses.fields(why)):
        frame = getattr(why, name)
        if isinstance(frame, pd.DataFrame) and len(frame):
            if 'message' in frame and cancel(frame['message']):
                continue
            caption = CAPTIONS.get(name, name.replace('_', ' '))
            parts.append(_neighbours(held, frame, caption))
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
    head = {'item': 'film'}.get(side, side)
    return Table((head, *figures, 'mean rating'), rows, caption, beside=True)


def film_name(held: HeldOut, item: Any, genres: bool = True) -> str:
    """Title and year, and genres below, as far as the table has them."""
    row = held.tables.items.set_index('item').loc[item]
    year = row.get('year')
    dated = f' ({year:.0f})' if year is not None and pd.notna(year) else ''
    small = '\n' + ', '.join(row['genre']) if genres and len(row['genre']) else ''
    return f'{row.get("title", f"film {item}")}{dated}{small}'


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


def _fifths(rated: pd.DataFrame) -> Any:
    rank = rated.groupby('user')['predicted'].rank(method='first', pct=True)
    enough = rated.groupby('user')['rating'].transform('size') >= FIFTHS
    fifth = np.ceil(rank[enough] * FIFTHS).astype(int)
    given = rated['rating'][enough].groupby(fifth).mean()
    figure, axes = new_figure(SIZE)
    bars = axes.bar(given.index, given, color=MODEL_COLOR, width=0.65)
    axes.bar_label(bars, [f'{value:.2f}' for value in given], padding=3, fontsize=9)
    names = {1: 'lowest', FIFTHS: 'highest'}
    axes.set_xticks(given.index, [names.get(n, str(n)) for n in given.index])
    axes.set(xlabel='fifth of the predicted order', ylabel='mean given')
    axes.set_ylim(bottom=1)  # a rating is one star at least
    return figure


def _rmse(rating: pd.Series, predicted: float) -> float:
    return float(((rating - predicted) ** 2).mean() ** 0.5)
