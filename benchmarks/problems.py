"""What estimators are compared on: data, a split, and how predictions are scored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

import data.splits
from benchmarks.scores import few_shot_scores, rating_scores
from data.lastfm import load_lastfm
from data.movielens import load_ml1m, load_ml100k, load_ml100k_split
from data.public import PUBLIC, load_public
from data.splits import Split, given_split, split
from data.synthetic import planted_tables, planted_tastes
from data.tables import RatingTables, read_tables
from tanp import split_episodes

Scores = Mapping[str, float]
# Data sets that are split by a seed.
SEEDED: dict[str, Callable[[], RatingTables]] = {
    'ml-100k': load_ml100k,
    'ml-1m': load_ml1m,
    'lastfm': load_lastfm,
    'planted': functools.partial(planted_tables, 120, density=0.4),
    'planted-tastes': planted_tastes,
}
# Data sets with published splits: u1 to u5 of MovieLens-100K, and those of Monti et al.
DATA = (*SEEDED, 'ml-100k-u', *PUBLIC, 'files')
SCENARIOS = (*data.splits.SCENARIOS, 'few_shot')
SUPPORTS = (1, 2, 5, 10, 20)


class RatingProblem:
    """Ratings of one split: selection by the RMSE on validation, test scored once."""

    criterion = 'rmse', False

    def __init__(self, tables: RatingTables, parts: Split) -> None:
        self.nodes, self.parts = (tables.users, tables.items), parts

    def fit(self, estimator: Any) -> Any:
        """Fits an estimator on the training part; it may select its epoch."""
        parts = self.parts
        return estimator.fit(parts.train, *self.nodes, validation=parts.validation)

    def refit(self, estimator: Any, selected: Any) -> Any:
        """Fits once more on training and validation part, as far as was selected."""
        best = getattr(selected, 'best_epoch_', None)
        options = {} if best is None else {'stop_after': best + 1}
        return estimator.fit(self.parts.fit, *self.nodes, **options)

    def validation(self, estimator: Any) -> Scores:
        """Scores the validation part."""
        return self._score(estimator, self.parts.validation)

    def test(self, estimator: Any) -> Iterator[tuple[str, Scores]]:
        """Scores the test part."""
        yield 'test', self._score(estimator, self.parts.test)

    def _score(self, estimator: Any, part: pd.DataFrame) -> Scores:
        return rating_scores(np.asarray(estimator.predict(part)), part)


class FewShotProblem:
    """Episodes of one split: fitted on training users, who are not seen again."""

    def __init__(
        self, tables: RatingTables, relevant: float, seed: int, **options: Any
    ) -> None:
        self.nodes, self.relevant = (tables.users, tables.items), relevant
        ids = tables.users['user'], tables.items['item']
        self.episodes = split_episodes(tables.ratings, *ids, seed=seed, **options)
        self.frames = {
            part: getattr(self.episodes, part).to_frames(*ids)
            for part in ('warm', 'validation', 'test')
        }
        labels = set(tables.ratings['rating'])
        self.is_implicit = labels <= {0, 1}
        self.range = min(labels), max(labels)
        self.criterion = ('ndcg@10', True) if self.is_implicit else ('mse', False)

    def fit(self, estimator: Any) -> Any:
        """Fits an estimator on all interactions of training users."""
        (_, warm), validation = self.frames['warm'], self.frames['validation']
        return estimator.fit(warm, *self.nodes, validation=validation)

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
        adapted, query = estimator.adapt(support, self.nodes[0]), self.frames[part][1]
        return few_shot_scores(
            getattr(self.episodes, part),
            adapted.predict(query),
            self.relevant,
            self.is_implicit,
        )


def changed_supports(
    support: pd.DataFrame, label_range: tuple[float, float]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The first interactions of each support, mirrored labels, another user's support.

    Args:
        support: Interactions of all users, as many of each.
        label_range: Lowest and highest label.
    """
    place = support.groupby('user', sort=False).cumcount()
    size = int(place.max()) + 1
    for count in sorted({*SUPPORTS, size}):
        if count <= size:
            yield f'support={count}', support[place < count]
    yield 'flipped_labels', support.assign(rating=sum(label_range) - support['rating'])
    # Every user has the support of the one before.
    others = support['user'].unique()
    previous = dict(zip(np.roll(others, 1), others, strict=True))
    yield 'another_user', support.assign(user=support['user'].map(previous))


def make_problem(
    name: str, scenario: str, number: int, options: Mapping[str, Any], smoke: bool
) -> RatingProblem | FewShotProblem:
    """Loads data and makes the split that a number names.

    Args:
        name: One of :data:`DATA`.
        scenario: One of :data:`SCENARIOS`.
        number: Seed of a random split, or number of a published one.
        options: Those of the suite.
        smoke: Tiny planted data in place of the data set's.
    """
    options = dict(options)
    files = options.pop('files', None)
    if smoke:
        is_implicit = options.get('relevant', 1) < 1
        name, files = 'planted-tastes' if is_implicit else 'planted', None
        options |= {'support_size': 5, 'min_size': 15}
    if name in PUBLIC:
        return RatingProblem(*load_public(name))
    tables = _tables(name, files)
    if scenario == 'few_shot':
        return FewShotProblem(tables, seed=number, **options)
    if name == 'ml-100k-u':
        parts = load_ml100k_split(number)
    elif files and 'test' in files:
        test = read_tables(files['test']).ratings
        parts = given_split(tables.ratings, test, scenario, seed=number)
    else:
        parts = split(tables, scenario, seed=number)
    return RatingProblem(tables, parts)


def _tables(name: str, files: Mapping[str, Any] | None) -> RatingTables:
    if name == 'files':
        return read_tables(**{k: v for k, v in (files or {}).items() if k != 'test'})
    return _loaded('ml-100k' if name == 'ml-100k-u' else name)


@functools.cache
def _loaded(name: str) -> RatingTables:
    return SEEDED[name]()
