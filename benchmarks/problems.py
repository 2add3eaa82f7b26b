"""What estimators are compared on: data, a split, and how predictions are scored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.scores import few_shot_scores, rating_scores
from data.lastfm import load_lastfm
from data.movielens import load_ml1m, load_ml100k, load_ml100k_split
from data.public import PUBLIC, load_public
from data.splits import Split, given_split, split
from data.synthetic import planted_tables, planted_tastes
from data.tables import RatingTables, read_tables
from tanp import split_episodes

Scores = Mapping[str, float]
# Data sets that are split by a seed. NAME@COUNT is a random sample of so many ratings.
SEEDED: dict[str, Callable[[], RatingTables]] = {
    'ml-100k': load_ml100k,
    'ml-1m': load_ml1m,
    'lastfm': load_lastfm,
    'planted': functools.partial(planted_tables, 120, 80),
    'planted-tastes': planted_tastes,
}
# Data sets with published splits: u1 to u5 of MovieLens-100K, and those of Monti et al.
DATA = (*SEEDED, 'ml-100k-u', *PUBLIC, 'files')
SUPPORTS = (1, 2, 5, 10, 20)


class RatingProblem:
    """Ratings of one split: selection by the RMSE on validation, test scored once."""

    criterion = 'rmse', False

    def __init__(self, tables: RatingTables, parts: Split) -> None:
        self.tables, self.parts = tables, parts

    def fit(self, estimator: Any) -> Any:
        """Fits an estimator on the training part; it may select its epoch."""
        nodes = self.tables.users, self.tables.items
        return estimator.fit(self.parts.train, *nodes, validation=self.parts.validation)

    def refit(self, estimator: Any, selected: Any) -> Any:
        """Fits once more on training and validation part, as far as was selected."""
        best = getattr(selected, 'best_epoch_', None)
        options = {} if best is None else {'stop_after': best + 1}
        nodes = self.tables.users, self.tables.items
        return estimator.fit(self.parts.fit, *nodes, **options)

    def validation(self, estimator: Any) -> Scores:
        """Scores the validation part."""
        part = self.parts.validation
        return rating_scores(np.asarray(estimator.predict(part)), part)

    def test(self, estimator: Any) -> Iterator[tuple[str, Scores]]:
        """Scores the test part."""
        part = self.parts.test
        yield 'test', rating_scores(np.asarray(estimator.predict(part)), part)


class FewShotProblem:
    """Episodes of one split: fitted on training users, who are not seen again."""

    def __init__(
        self, tables: RatingTables, relevant: float, seed: int, **options: Any
    ) -> None:
        users, items = tables.users['user'], tables.items['item']
        self.tables, self.relevant = tables, relevant
        self.episodes = split_episodes(
            tables.ratings, users, items, seed=seed, **options
        )
        self.frames = {
            part: getattr(self.episodes, part).to_frames(users, items)
            for part in ('warm', 'validation', 'test')
        }
        labels = set(tables.ratings['rating'])
        self.is_implicit = labels <= {0, 1}
        self.range = min(labels), max(labels)
        self.criterion = ('ndcg@10', True) if self.is_implicit else ('mse', False)

    def fit(self, estimator: Any) -> Any:
        """Fits an estimator on all interactions of training users."""
        nodes = self.tables.users, self.tables.items
        validation = self.frames['validation']
        return estimator.fit(self.frames['warm'][1], *nodes, validation=validation)

    def refit(self, estimator: Any, selected: Any) -> Any:
        """Keeps what was selected: validation users only choose."""
        return selected

    def validation(self, estimator: Any) -> Scores:
        """Scores the validation users."""
        return self._score(estimator, 'validation', self.frames['validation'][0])

    def test(self, estimator: Any) -> Iterator[tuple[str, Scores]]:
        """Scores the test users: after all of a support, parts of it, and others."""
        support, _ = self.frames['test']
        yield 'test', self._score(estimator, 'test', support)
        for part, changed in changed_supports(support, self.range):
            yield f'test/{part}', self._score(estimator, 'test', changed)

    def _score(self, estimator: Any, part: str, support: pd.DataFrame) -> Scores:
        query = self.frames[part][1]
        predicted = estimator.adapt(support, self.tables.users).predict(query)
        return few_shot_scores(
            getattr(self.episodes, part), predicted, self.relevant, self.is_implicit
        )


def changed_supports(
    support: pd.DataFrame, label_range: tuple[float, float]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The first interactions of each support, mirrored labels, another user's support.

    Args:
        support: Interactions of all users, of one number each, user after user.
        label_range: Lowest and highest label.
    """
    place = support.groupby('user', sort=False).cumcount()
    size = int(place.max()) + 1
    for count in (*(count for count in SUPPORTS if count < size), size):
        yield f'support={count}', support[place < count]
    yield 'flipped_labels', support.assign(rating=sum(label_range) - support['rating'])
    # Every user has the support of the one before.
    others = support['user'].unique()
    previous = dict(zip(np.roll(others, 1), others, strict=True))
    yield 'another_user', support.assign(user=support['user'].map(previous))


def make_problem(
    data: str, scenario: str, number: int, options: Mapping[str, Any], smoke: bool
) -> RatingProblem | FewShotProblem:
    """Loads data and makes the split that a number names.

    Args:
        data: One of :data:`DATA`.
        scenario: A scenario of :mod:`data.splits`, or ``'few_shot'``.
        number: Seed of a random split, or number of a published one.
        options: Those of the suite.
        smoke: Tiny planted data in place of the data set's.
    """
    options = dict(options)
    files = options.pop('files', None)
    if scenario == 'few_shot':
        if smoke:
            implicit = options['relevant'] < 1
            tables = planted_tastes() if implicit else planted_tables(120, density=0.4)
            options |= {'support_size': 5, 'min_size': 15}
            return FewShotProblem(tables, seed=number, **options)
        return FewShotProblem(_tables(data, number, files), seed=number, **options)
    if smoke:
        tables = planted_tables(120)
        return RatingProblem(tables, split(tables, scenario, seed=number))
    if data in PUBLIC:
        return RatingProblem(*load_public(data))
    tables = _tables(data, number, files)
    if data == 'ml-100k-u':
        parts = load_ml100k_split(number)
    elif files and 'test' in files:
        test = read_tables(files['test']).ratings
        parts = given_split(tables.ratings, test, scenario, seed=number)
    else:
        parts = split(tables, scenario, seed=number)
    return RatingProblem(tables, parts)


def _tables(data: str, number: int, files: Mapping[str, Any] | None) -> RatingTables:
    if data == 'files':
        named = dict(files or {})
        named.pop('test', None)
        return read_tables(**named)
    name, _, count = data.partition('@')
    tables = _loaded('ml-100k' if name == 'ml-100k-u' else name)
    if count:
        rated = tables.ratings.sample(int(count), random_state=number).sort_index()
        tables = tables.with_ratings(rated)
    return tables


@functools.cache
def _loaded(name: str) -> RatingTables:
    return SEEDED[name]()
