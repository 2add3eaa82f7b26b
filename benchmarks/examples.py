"""A page of worked examples: real films and users that arrive after the fit.

    python -m benchmarks.examples

Fits AGNNRecommender and TaNPRecommender on MovieLens-100K without some users and films
(minutes; kept for the next time), and shows what is predicted for those, what they
really got, and why. Who is shown is chosen by rules, not by taste.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from agnn_pyg.recommender import AGNNRecommender
from benchmarks import plots
from benchmarks.pages import SIZE, Grid, Section, Text, chart, render
from benchmarks.records import write_text
from data.movielens import load_ml100k
from data.synthetic import planted_tables
from data.tables import RatingTables
from tanp import TaNPRecommender

USERS, FILMS = 0.15, 0.18  # fractions that are held out: 141 and 303 of ML-100K's
SUPPORTS = (1, 5, 20)
COUNT, TOP = 3, 10  # films that are shown, recommendations and terms
QUICK = {'epochs': 1, 'kernel_steps': 1, 'cv_folds': 2}
OF_USERS, OF_FILMS = ['age', 'gender', 'occupation'], ['genre', 'country', 'year']
LEAD = (
    'Films and users that arrive after the fit, chosen by rules: what is predicted for '
    'them, what they really got, and why.'
)


class HeldOut:
    """Tables of the fit, and users and films that arrive later."""

    def __init__(self, tables: RatingTables) -> None:
        users, films, rated = tables.users, tables.items, tables.ratings
        self.users = users.sample(frac=USERS, random_state=0).sort_index()
        self.films = films.sample(frac=FILMS, random_state=0).sort_index()
        by_new = rated['user'].isin(self.users['user'])
        of_new = rated['item'].isin(self.films['item'])
        known = users.drop(self.users.index), films.drop(self.films.index)
        self.known = rated[~by_new & ~of_new], *known
        self.of_films, self.of_users = rated[of_new & ~by_new], rated[by_new & ~of_new]
        columns = [name for name in OF_USERS if name in users]
        words = users[columns].astype(str).agg(', '.join, axis=1)
        names = 'user ' + users['user'].astype(str) + ' (' + words + ')'
        self.user = dict(zip(users['user'], names, strict=True))
        year = films['year'].map('{:.0f}'.format)
        title = films['title'] if 'title' in films else films['item'].map('{}'.format)
        names = title + ' (' + year + ')\n' + films['genre'].map(', '.join)
        self.film = dict(zip(films['item'], names, strict=True))

    def recommended(self, top: pd.DataFrame, caption: str) -> Grid:
        """Recommendations of a user, and what the user gave them, where it is known."""
        top = top.merge(
            self.of_users, 'left', ['user', 'item'], suffixes=('', '_given')
        )
        return grid(self.film, top, ['rating', 'rating_given'], caption)


def grid(
    films: dict[Any, str], frame: pd.DataFrame, columns: Sequence[str], caption: str
) -> Grid:
    """A table of films and figures, the last of which may be unknown."""
    header = 'film', 'predicted', 'given', 'ratings'
    figures = frame[columns].map(lambda x: '' if pd.isna(x) else f'{x:.4g}')
    rows = [
        (films[item], *row)
        for item, row in zip(frame['item'], figures.to_numpy(), strict=True)
    ]
    return Grid(header[: len(columns) + 1], rows, caption, beside=len(columns) == 2)


def films_section(held: HeldOut, agnn: AGNNRecommender) -> Section:
    """Predicted and real means of new films, and ratings explained."""
    rated = held.of_films
    rated = rated.assign(predicted=agnn.predict(rated, items=held.films))
    groups = rated.groupby('item')
    films = groups[['predicted', 'rating']].mean().assign(count=groups.size())
    films = films[films['count'] >= min(30, films['count'].median())].reset_index()
    figure, axes = plots.new_figure(SIZE)
    axes.axline((3, 3), slope=1, color=plots.LINE_COLOR, lw=1, ls='--')
    style = {'color': plots.OWN_COLOR, 'alpha': 0.55, 'lw': 0}
    axes.scatter(films['predicted'], films['rating'], s=films['count'] / 4, **style)
    axes.set(xlabel='mean predicted', ylabel='mean given')
    famous = films.nlargest(COUNT, 'count')
    error = (films['rating'] - films['predicted']).abs().drop(famous.index)
    shown = pd.concat([famous, films.loc[[error.idxmax()]]])
    text = (
        f'{len(held.films)} films were left out of the fit, with all their ratings. '
        'Then they arrive as rows of attributes (genre, year, country) and are rated '
        'for known users; nothing is trained again.'
    )
    caption = 'The new films with most ratings, and, last, that of the largest error.'
    parts: list[Any] = [
        Text(text),
        chart(figure, 'films', 'New films: what users gave, and the prediction.'),
        grid(held.film, shown, ['predicted', 'rating', 'count'], caption),
        Text('Of each, the rating of the median error, explained:', 'note'),
    ]
    for item in shown['item']:
        own = groups.get_group(item)
        order = (own['predicted'] - own['rating']).abs().sort_values(kind='stable')
        parts += explained(held, agnn, own.loc[order.index[len(order) // 2]])
    return Section('films', 'Films that nobody had rated', parts)


def explained(held: HeldOut, agnn: AGNNRecommender, row: pd.Series) -> Iterator[Any]:
    """A heading, the largest terms of a prediction, and ratings that it rests on."""
    why = agnn.explain(row['user'], row['item'], items=held.films)
    film = held.film[row['item']].partition('\n')[0]
    yield Text(f'{film}, for {held.user[row["user"]]}', 'heading')
    terms = list(why.terms.items())
    rest = sum(value for _, value in terms[TOP:])
    terms = [*terms[:TOP], (f'{len(terms[TOP:])} smaller terms', rest)]
    rows = [(name, f'{value:+.2f}') for name, value in terms]
    rows += [('predicted', f'{why.rating:.2f}'), ('given', f'{row["rating"]:g}')]
    caption = 'The mean rating, and what is added to it'
    yield Grid(('term', 'stars'), rows, caption, ('predicted',), beside=True)
    cells = why.ratings.head(COUNT + 2)[['user', 'item', 'contribution']].to_numpy()
    rows = [(held.user[u], held.film[i], f'{value:+.3f}') for u, i, value in cells]
    caption = 'Training ratings with the largest contributions'
    if rows:
        yield Grid(('user', 'film', 'stars'), rows, caption, words=(1,), beside=True)


def users_section(
    held: HeldOut, agnn: AGNNRecommender, tanp: TaNPRecommender
) -> Section:
    """New users by their attributes, and after a few ratings, without training."""
    rated = held.of_users
    if 'timestamp' in rated:
        rated = rated.sort_values('timestamp', kind='stable')
    place, most = rated.groupby('user').cumcount(), max(SUPPORTS)
    later = rated[place >= most]
    predicted = {'AGNN, from attributes': agnn.predict(later, users=held.users)}
    for size in SUPPORTS:
        support = rated[(place < size) & rated['user'].isin(later['user'])]
        found = tanp.adapt(support, held.users).predict(later)['rating']
        predicted[f'TaNP, after {size} rating{"s" * (size > 1)}'] = found
    errors = {name: values - later['rating'] for name, values in predicted.items()}
    rows = [(name, f'{(e**2).mean() ** 0.5:.3f}') for name, e in errors.items()]
    text = (
        f'{len(held.users)} users were left out of the fit. Their age, gender and '
        'occupation are known, later some ratings. “Given” is what they gave a film.'
    )
    caption = (
        f'{later["user"].nunique()} users with more than {most} ratings, on the '
        f'{len(later):,} ratings after those. One split and one seed.'
    )
    size = later.groupby('user').size().sort_values(kind='stable')
    user = size.index[len(size) // 2]  # of the median number of ratings
    top = agnn.recommend(held.users[held.users['user'] == user], k=TOP)
    support = rated[(place < most) & (rated['user'] == user)]
    adapted, name = tanp.adapt(support, held.users), f'For {held.user[user]}'
    parts: list[Any] = [Text(text), Grid(('', 'RMSE'), rows, caption)]
    parts.append(held.recommended(top, f'{name}, from attributes'))
    parts.append(
        held.recommended(adapted.recommend(k=TOP), f'{name}, after {most} ratings')
    )
    return Section('users', 'Users who are new', parts)


def kept(made: Any, folder: Path, *tables: pd.DataFrame) -> Any:
    """A recommender from a folder if it has these settings, else fitted and saved."""
    if folder.exists():
        found = type(made).load(folder)
        if found.get_params() == made.get_params():
            return found
    print(f'fitting {type(made).__name__}, to keep in {folder}', file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made.fit(*tables).save(folder)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.examples', description=__doc__.splitlines()[0]
    )
    parser.add_argument('--out', type=Path, default=Path('runs/examples.html'))
    parser.add_argument('--models', type=Path, default=Path('runs/examples'))
    parser.add_argument('--smoke', action='store_true', help='tiny planted data')
    args = parser.parse_args(argv)
    held = HeldOut(planted_tables(120, density=0.5) if args.smoke else load_ml100k())
    agnn = AGNNRecommender(user_attributes=OF_USERS, item_attributes=OF_FILMS)
    tanp = TaNPRecommender(item_attributes=['genre'])
    for made in (agnn, tanp) if args.smoke else ():
        made.set_params(**{k: v for k, v in QUICK.items() if k in made.get_params()})
    agnn = kept(agnn, args.models / 'agnn', *held.known)
    tanp = kept(tanp, args.models / 'tanp', *held.known)
    sections = [films_section(held, agnn), users_section(held, agnn, tanp)]
    page = render('Worked examples', LEAD, sections, ('report.html', 'Results'))
    write_text(args.out, page)
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
