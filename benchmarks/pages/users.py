"""Worked examples: users of whom nothing is known, and then a few ratings."""

from __future__ import annotations

from typing import Any

import pandas as pd

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.held_out import HeldOut
from benchmarks.pages.films import explained, film_name, user_name
from benchmarks.pages.parts import Section, Table, Text
from tanp.recommender import TaNPRecommender

SUPPORTS = (1, 5, 20)
ENOUGH = 40  # ratings of a user who is shown
SHOWN = 2  # users
TOP = 10  # recommendations
FIRST = 5  # of them that means are taken over
KNOWN = 50  # ratings of a film that is recommended after a few ratings


def users_section(held: HeldOut, recommender: AGNNRecommender) -> Section:
    """What is recommended to new users by their attributes, and what they gave it."""
    rated = held.of_new_users()
    users = shown_users(rated)
    parts: list[Any] = [
        Text(
            f'{len(held.new_users)} users were left out of the fit. All that is known '
            f'of them is age, gender and occupation. Shown are {SHOWN} of those with '
            f'the middle number of ratings; “given” is what they gave a film later, '
            f'where they rated it.'
        )
    ]
    for user in users:
        row = held.new_users[held.new_users['user'] == user]
        top = recommender.recommend(row, k=TOP)
        caption = f'For {user_name(held, user)}: {TOP} films, among all'
        parts.append(_recommended(held, top, rated, caption))
    user = users[0]
    own = rated[rated['user'] == user]
    row = held.new_users[held.new_users['user'] == user]
    best = recommender.recommend(row, k=1, items=list(own['item']))['item'].iloc[0]
    parts += explained(
        held,
        recommender.explain(user, best, users=row),
        own.set_index('item')['rating'][best],
    )
    return Section('users', 'Users who have rated nothing', parts)


def support_section(
    held: HeldOut, agnn: AGNNRecommender, tanp: TaNPRecommender
) -> Section:
    """The same users after a few ratings: TaNP adapts to them without training."""
    rated = in_time(held.of_new_users())
    later = rated[_parted(rated)[1]]
    parts: list[Any] = [
        Text(
            'The same users, of whom the first ratings become known one after '
            'another. TaNP reads them in one forward pass; what is rated later is '
            'what both are asked for. (Last.FM comes without names of artists, so '
            'these are films, too.)'
        ),
        _after_supports(held, rated, later, agnn, tanp),
    ]
    user = shown_users(later)[0]
    own = rated[rated['user'] == user]
    parts += [Text(user_name(held, user), 'heading'), *_one_user(held, own, tanp)]
    return Section('supports', 'After a few ratings', parts)


def _one_user(held: HeldOut, own: pd.DataFrame, tanp: TaNPRecommender) -> list[Table]:
    """A support, what is predicted as it grows, and recommendations after it."""
    support, later = (own[mask] for mask in _parted(own))
    columns = {}
    for size in SUPPORTS:
        adapted = tanp.adapt(support[support['place'] < size])
        columns[size] = adapted.predict(later)[tanp.rating]
    table = later.assign(**{str(size): column for size, column in columns.items()})
    table = table.sort_values(str(max(SUPPORTS)), ascending=False, kind='stable')
    ends = table if len(table) <= 2 * TOP else pd.concat([table[:TOP], table[-FIRST:]])
    rows = [
        (
            film_name(held, row['item']),
            f'{row["rating"]:g}',
            *(f'{row[str(size)]:.2f}' for size in SUPPORTS),
        )
        for row in ends.to_dict('records')
    ]
    header = ('film', 'given', *(f'after {size}' for size in SUPPORTS))
    best_first = support.sort_values('rating', ascending=False, kind='stable')
    first = [
        (film_name(held, row['item']), f'{row["rating"]:g}')
        for row in best_first.to_dict('records')
    ]
    count = held.known['item'].value_counts()
    often = count[count >= min(KNOWN, count.median())].index
    top = adapted.recommend(k=TOP, items=list(often))
    return [
        Table(
            ('film', 'given'),
            first,
            f'The support: the first {len(support)} ratings',
            beside=True,
        ),
        Table(
            header,
            rows,
            f'Of {len(later)} films that the user rated later: the {TOP} predicted '
            f'highest after {max(SUPPORTS)} ratings, and the {FIRST} predicted lowest',
            beside=True,
        ),
        _recommended(
            held,
            top,
            own,
            f'{TOP} recommendations after {max(SUPPORTS)} ratings, among '
            f'{len(often):,} films that were rated often',
        ),
    ]


def _parted(rated: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Which ratings are in the support, and which come later."""
    early = rated['place'] < max(SUPPORTS)
    return early, ~early


def shown_users(rated: pd.DataFrame) -> list[Any]:
    """By a rule and not by taste: the middle ones of those who rated enough."""
    count = rated.groupby('user').size().sort_values(kind='stable')
    enough = count[count >= min(ENOUGH, count.median())]
    middle = max(0, (len(enough) - SHOWN) // 2)
    return list(enough.index[middle : middle + SHOWN])


def in_time(rated: pd.DataFrame) -> pd.DataFrame:
    """Ratings with their place in the order in which a user gave them."""
    if 'timestamp' in rated:
        rated = rated.sort_values('timestamp', kind='stable')
    return rated.assign(place=rated.groupby('user').cumcount())


def _after_supports(
    held: HeldOut,
    rated: pd.DataFrame,
    later: pd.DataFrame,
    agnn: AGNNRecommender,
    tanp: TaNPRecommender,
) -> Table:
    predicted = {
        'AGNN, from attributes': agnn.predict(later, users=held.new_users).to_numpy()
    }
    for size in SUPPORTS:
        support = rated[rated['place'] < size]
        support = support[support['user'].isin(later['user'])]
        name = f'TaNP, after {size} rating{"s" * (size > 1)}'
        predicted[name] = tanp.adapt(support).predict(later)[tanp.rating].to_numpy()
    rows = [
        (
            name,
            f'{((values - later["rating"]) ** 2).mean() ** 0.5:.3f}',
            f'{_first(later, values):.2f}',
        )
        for name, values in predicted.items()
    ]
    rows.append(('all that they rated later', '', f'{_first(later, None):.2f}'))
    caption = (
        f'{later["user"].nunique()} users with more than {max(SUPPORTS)} ratings, on '
        f'the {len(later):,} ratings after those. One split and one seed; the tables '
        f'of the results have several.'
    )
    header = ('', 'RMSE', f'mean given to the {FIRST} films predicted highest')
    return Table(header, rows, caption)


def _first(later: pd.DataFrame, predicted: Any) -> float:
    """Mean over users of what they gave their highest predicted films, or all."""
    if predicted is not None:
        later = later.assign(predicted=predicted).sort_values(
            'predicted', ascending=False, kind='stable'
        )
        later = later.groupby('user').head(FIRST)
    return float(later.groupby('user')['rating'].mean().mean())


def _recommended(
    held: HeldOut, top: pd.DataFrame, rated: pd.DataFrame, caption: str
) -> Table:
    given = rated.set_index(['user', 'item'])['rating']
    rows = [
        (
            film_name(held, row.item),
            f'{row.rating:.2f}',
            f'{given[key]:g}' if (key := (row.user, row.item)) in given.index else '',
        )
        for row in top.itertuples(index=False)
    ]
    return Table(('film', 'predicted', 'given'), rows, caption, beside=True)
