"""Problems to compare estimators on: data, a split, and scores of predictions."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from agnn_pyg.base import metrics
from data.episode_split import split_episodes
from data.lastfm import load_lastfm
from data.movielens import load_ml1m, load_ml100k, load_ml100k_split
from data.public import PUBLIC, load_public
from data.splits import COLD_SIDES, Split, given_split, split
from data.synthetic import planted_tables, planted_tastes
from data.tables import RatingTables, read_tables

ml100k = functools.cache(load_ml100k)


def thinned(count: int) -> RatingTables:
    """MovieLens-100K reduced to a number of random ratings."""
    tables = ml100k()
    return tables.with_ratings(tables.ratings.sample(count, random_state=0))


def without_attributes() -> RatingTables:
    """Planted ratings with tables that have only ids."""
    tables = planted_tables(400, 600, density=0.1, noise=0.8)
    return RatingTables(tables.users[['user']], tables.items[['item']], tables.ratings)


# Data sets by name, besides those of Monti et al. and local files.
LOADED = {
    'ml-100k': ml100k,
    'ml-100k-u': ml100k,  # the published splits u1 to u5
    'ml-1m': functools.cache(load_ml1m),
    'lastfm': functools.cache(load_lastfm),
    'planted': functools.partial(planted_tables, 120, density=0.4),
    'planted-tastes': planted_tastes,
    **{f'ml-100k-{n}': functools.partial(thinned, n) for n in (1000, 5000, 20_000)},
    'few-items': functools.partial(planted_tables, 2000, 40, 0.2, 0.8),
    'few-ratings': functools.partial(planted_tables, 600, 800, 0.02, 0.8),
    'no-attributes': without_attributes,
}
DATA = (*LOADED, *PUBLIC, 'files')
SCENARIOS = (*COLD_SIDES, 'few_shot')
SUPPORTS = (1, 2, 5, 10, 20)
# Metrics of few-shot tasks; errors only for scores that estimate labels.
RANKING = ('auc', 'published_precision@5', 'published_ap@5', 'ndcg@5', 'precision@5')
RANKING += ('ndcg@10', 'ap@10', 'recall@10', 'rr@10')
ERRORS = ('mse', 'mae')


class RatingProblem:
    """Ratings of one split; RMSE on validation selects, the test is scored once."""

    criterion = 'rmse', False
    has_ratings = True

    def __init__(self, tables: RatingTables, parts: Split) -> None:
        self.nodes, self.parts = (tables.users, tables.items), parts

    def fit(self, estimator: Any) -> Any:
        """Fits on the training part; validation ratings may select the epoch."""
        options = {'validation': self.parts.validation} if self.has_ratings else {}
        return estimator.fit(self.parts.train, *self.nodes, **options)

    def refit(self, estimator: Any, selected: Any) -> Any:
        """Fits again on training and validation parts, up to the selected epoch."""
        best = getattr(selected, 'best_epoch_', None)
        options = {} if best is None else {'stop_after': best + 1}
        return estimator.fit(self.parts.fit, *self.nodes, **options)

    def validation(self, estimator: Any) -> dict[str, float]:
        return self._scores(estimator, self.parts.validation)

    def test(self, estimator: Any) -> Iterator[tuple[str, dict[str, float]]]:
        yield 'test', self._scores(estimator, self.parts.test)

    def _scores(self, estimator: Any, part: pd.DataFrame) -> dict[str, float]:
        """RMSE, MAE, and nDCG@10 of each user's rated items.

        nDCG is a mean over users with at least two ratings, of which at least one is in
        the upper quarter of the range: 4 or 5 in the range 1 to 5.
        """
        predicted = estimator.predict(part)
        mask, score, label = padded_lists(part, predicted)
        low, high = label[mask].aminmax()
        kept = (label >= low + 0.75 * (high - low)) & mask
        kept = kept.any(-1) & (mask.sum(-1) > 1)
        ndcg = metrics.ranking_metrics(score, label, mask, 10)['ndcg'][kept]
        scores = {'ndcg@10': float(ndcg.mean())} if kept.any() else {}
        return metrics.rating_metrics(predicted, part['rating']) | scores


class PositivesProblem(RatingProblem):
    """Positives of one split; ranks the whole catalogue or the cold items."""

    criterion = 'ndcg@20', True
    has_ratings = False

    def test(self, estimator: Any) -> Iterator[tuple[str, dict[str, float]]]:
        yield from super().test(estimator)
        if 'item' in COLD_SIDES[self.parts.scenario]:
            yield 'test/all_items', estimator.evaluate(self.parts.test)

    def _scores(self, estimator: Any, part: pd.DataFrame) -> dict[str, float]:
        """Ranks held-out cold items among themselves, other items among all."""
        is_cold = 'item' in COLD_SIDES[self.parts.scenario]
        among = part['item'].unique() if is_cold else None
        return estimator.evaluate(part, among=among)


class FewShotProblem(RatingProblem):
    """Few-shot episodes of one split; training and test users are disjoint.

    Parts are tables of all supports and all queries; the training part has no supports.
    """

    def __init__(self, tables: RatingTables, relevant: float, **options: Any) -> None:
        ids = tables.users['user'], tables.items['item']
        episodes = split_episodes(tables, **options)
        validation, test, (_, train) = (x.to_frames(*ids) for x in episodes[1:])
        parts = SimpleNamespace(train=train, validation=validation, test=test)
        super().__init__(tables, parts)
        labels, self.relevant = set(tables.ratings['rating']), relevant
        self.is_implicit, self.range = labels <= {0, 1}, (min(labels), max(labels))
        self.criterion = ('ndcg@10', True) if self.is_implicit else ('mse', False)

    def refit(self, estimator: Any, selected: Any) -> Any:
        """Returns the selected estimator: validation users are not trained on."""
        return selected

    def test(self, estimator: Any) -> Iterator[tuple[str, dict[str, float]]]:
        """Scores the test users given full, partial and changed supports."""
        yield from super().test(estimator)
        support, query = self.parts.test
        for name, changed in changed_supports(support, self.range):
            yield f'test/{name}', self._scores(estimator, (changed, query))

    def _scores(self, estimator: Any, part: Sequence) -> dict[str, float]:
        """Means of metrics over the tasks for which they are defined."""
        support, query = part
        predicted = estimator.adapt(support, self.nodes[0]).predict(query, clip=False)
        mask, score, label = padded_lists(query, predicted)
        lists = score, label, mask
        found = metrics.list_metrics(*lists, (5, 10), self.relevant)
        has_errors = predicted.name == 'rating'
        values = {name: found[name] for name in RANKING + ERRORS * has_errors}
        if self.is_implicit and has_errors:
            # Probabilities of exactly 0 or 1 are rounding errors.
            score = score.clamp(1e-7, 1 - 1e-7)
            loss = F.binary_cross_entropy(score, label, reduction='none') * mask
            values['log_loss'] = loss.sum(-1) / mask.sum(-1)
        means = {name: float(value.nanmean()) for name, value in values.items()}
        return {name: mean for name, mean in means.items() if mean == mean}


def padded_lists(part: pd.DataFrame, predicted: Any) -> tuple[torch.Tensor, ...]:
    """Mask, predictions and ratings as padded lists per user."""
    values = np.asarray(predicted, float), part['rating'].to_numpy(float)
    lists = pd.factorize(part['user'])[0], *values
    return metrics.pad_lists(*map(torch.tensor, lists))


def changed_supports(
    support: pd.DataFrame, label_range: tuple[float, float]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields changed supports: first interactions, flipped labels, another user's."""
    place = support.groupby('user', sort=False).cumcount()
    size = int(place.max()) + 1
    for count in sorted({*SUPPORTS, size}):
        if count <= size:
            yield f'support={count}', support[place < count]
    yield 'flipped_labels', support.assign(rating=sum(label_range) - support['rating'])
    # Give each user the support of the previous user.
    others = support['user'].unique()
    previous = dict(zip(np.roll(others, 1), others, strict=True))
    yield 'another_user', support.assign(user=support['user'].map(previous))


def make_problem(
    name: str, scenario: str, number: int, options: Mapping[str, Any], smoke: bool
) -> RatingProblem:
    """Loads a data set in :data:`DATA` and makes the split with a number or seed.

    Options are those of the suite; :obj:`smoke` uses tiny planted data instead.
    """
    options = dict(options)
    files, positive = dict(options.pop('files', {})), options.pop('positive', None)
    test = files.pop('test', None)
    if smoke:
        name = 'planted-tastes' if options.get('relevant', 1) < 1 else 'planted'
        options |= {'support_size': 5, 'min_size': 15}
    if name in PUBLIC:
        return RatingProblem(*load_public(name))
    tables = read_tables(**files) if name == 'files' else LOADED[name]()
    if positive is not None:
        tables = tables.with_ratings(tables.ratings.query('rating >= @positive'))
    if scenario == 'few_shot':
        return FewShotProblem(tables, seed=number, **options)
    if name == 'ml-100k-u':
        parts = load_ml100k_split(number)
    elif test is not None:
        held_out = read_tables(test).ratings
        parts = given_split(tables.ratings, held_out, scenario, seed=number)
    else:
        parts = split(tables, scenario, seed=number)
    return (RatingProblem if positive is None else PositivesProblem)(tables, parts)
