"""A page of worked examples: real films and users that arrive after the fit.

    python -m benchmarks.examples

Fits AGNNRecommender and TaNPRecommender on MovieLens-100K without some users and films
(minutes; kept for the next time), and shows what is predicted for those, what they
really got, and why. Who is shown is chosen by rules, not by taste.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.pages import render
from benchmarks.records import write_text
from benchmarks.tables import Table
from data.movielens import load_ml100k
from data.tables import RatingTables
from tanp import TaNPRecommender

USERS, FILMS = 0.15, 0.18  # fractions that are held out: 141 and 303 of ML-100K's
SUPPORTS = (1, 5, 20)
COUNT, TOP = 3, 10  # films that are shown, recommendations and terms
OF_USERS, OF_FILMS = ['age', 'gender', 'occupation'], ['genre', 'country', 'year']


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
        words = users.filter(OF_USERS).astype(str).agg(', '.join, axis=1)
        names = 'user ' + users['user'].astype(str) + ' (' + words + ')'
        self.user = dict(zip(users['user'], names, strict=True))
        title = films['title'] if 'title' in films else films['item'].map('{}'.format)
        names = title + films['year'].map(' ({:.0f})\n'.format)
        names += films['genre'].map(', '.join)
        self.film = dict(zip(films['item'], names, strict=True))

    def table(self, frame: pd.DataFrame, columns: list[str], caption: str) -> Table:
        """Films and figures, the last of which may be unknown."""
        figures = frame[columns].map(lambda x: '' if pd.isna(x) else f'{x:.4g}')
        rows = zip(frame['item'].map(self.film), *figures.to_numpy().T, strict=True)
        header = ('film', 'predicted', 'given', 'ratings')[: len(columns) + 1]
        return Table(header, [*rows], caption)


def of_films(held: HeldOut, agnn: AGNNRecommender) -> dict[str, Any]:
    """Predicted and real means of new films, and ratings explained."""
    rated = held.of_films
    rated = rated.assign(predicted=agnn.predict(rated, items=held.films))
    groups = rated.groupby('item')
    films = groups[['predicted', 'rating']].mean().assign(count=groups.size())
    films = films[films['count'] >= min(30, films['count'].median())].reset_index()
    famous = films.nlargest(COUNT, 'count')
    error = (films['rating'] - films['predicted']).abs().drop(famous.index)
    shown = pd.concat([famous, films.loc[[error.idxmax()]]])
    caption = 'The new films with most ratings, and, last, that of the largest error.'
    table = held.table(shown, ['predicted', 'rating', 'count'], caption)
    own = [groups.get_group(item) for item in shown['item']]
    return {'films': table, 'explained': [explained(held, agnn, x) for x in own]}


def explained(
    held: HeldOut, agnn: AGNNRecommender, rated: pd.DataFrame
) -> tuple[str, Table, Table]:
    """Of a film's ratings, that of the median error: its terms, and known ratings."""
    order = (rated['predicted'] - rated['rating']).abs().sort_values(kind='stable')
    row = rated.loc[order.index[len(order) // 2]]
    why = agnn.explain(row['user'], row['item'], items=held.films)
    film = held.film[row['item']].partition('\n')[0]
    terms = list(why.terms.items())
    rest = f'{len(terms[TOP:])} smaller terms', sum(x for _, x in terms[TOP:])
    rows = [(name, f'{value:+.2f}') for name, value in (*terms[:TOP], rest)]
    rows += [('predicted', f'{why.rating:.2f}'), ('given', f'{row["rating"]:g}')]
    terms = Table(('term', 'stars'), rows, 'The mean rating, and what is added to it')
    cells = why.ratings.head(COUNT + 2)[['user', 'item', 'contribution']].to_numpy()
    rows = [(held.user[u], held.film[i], f'{value:+.3f}') for u, i, value in cells]
    caption = 'Training ratings with the largest contributions'
    ratings = Table(('user', 'film', 'stars'), rows, caption)
    return f'{film}, for {held.user[row["user"]]}', terms, ratings


def of_users(
    held: HeldOut, agnn: AGNNRecommender, tanp: TaNPRecommender
) -> dict[str, Any]:
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
    caption = (
        f'{later["user"].nunique()} users with more than {most} ratings, on the '
        f'{len(later):,} ratings after those. One split and one seed.'
    )
    size = later.groupby('user').size().sort_values(kind='stable')
    user = size.index[len(size) // 2]  # of the median number of ratings
    one = held.users[held.users['user'] == user]
    adapted = tanp.adapt(rated[(place < most) & (rated['user'] == user)], held.users)
    tops = {
        'from attributes': agnn.recommend(one, k=TOP),
        f'after {most} ratings': adapted.recommend(k=TOP),
    }
    shown = []
    for words, top in tops.items():
        top = top.merge(rated, 'left', ['user', 'item'], suffixes=('', '_given'))
        caption_of_top = f'For {held.user[user]}, {words}'
        shown.append(held.table(top, ['rating', 'rating_given'], caption_of_top))
    return {'errors': Table(('', 'RMSE'), rows, caption), 'tops': shown}


def examples(held: HeldOut, agnn: AGNNRecommender, tanp: TaNPRecommender) -> str:
    """The page, of two recommenders that were fitted on the known part."""
    films, users = of_films(held, agnn), of_users(held, agnn, tanp)
    return render('examples.html', **films, **users)


def kept(made: Any, folder: Path, *tables: pd.DataFrame) -> Any:
    """A recommender from a folder if it has these settings, else fitted and saved."""
    found = type(made).load(folder) if folder.exists() else None
    if found is None or found.get_params() != made.get_params():
        print(f'fitting {type(made).__name__}, to keep in {folder}', file=sys.stderr)
        folder.parent.mkdir(parents=True, exist_ok=True)
        found = made.fit(*tables)
        found.save(folder)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.examples', description=__doc__.splitlines()[0]
    )
    parser.add_argument('--out', type=Path, default=Path('runs/examples.html'))
    parser.add_argument('--models', type=Path, default=Path('runs/examples'))
    args, held = parser.parse_args(argv), HeldOut(load_ml100k())
    agnn = AGNNRecommender(user_attributes=OF_USERS, item_attributes=OF_FILMS)
    tanp = TaNPRecommender(item_attributes=['genre'])
    agnn = kept(agnn, args.models / 'agnn', *held.known)
    tanp = kept(tanp, args.models / 'tanp', *held.known)
    write_text(args.out, examples(held, agnn, tanp))
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
