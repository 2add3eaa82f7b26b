"""What estimators are compared on: data, a split, and how predictions are scored."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from agnn_pyg.base.metrics import pad_lists, ranking_metrics, rating_metrics
from data.lastfm import load_lastfm
from data.movielens import load_ml1m, load_ml100k, load_ml100k_split
from data.public import PUBLIC, load_public
from data.splits import COLD_SIDES, Split, given_split, split
from data.synthetic import planted_tables, planted_tastes
from data.tables import RatingTables, read_tables
from tanp import evaluate, split_episodes


def thinned(count: int) -> RatingTables:
    """MovieLens-100K with so many of its ratings."""
    tables = load_ml100k()
    return tables.with_ratings(tables.ratings.sample(count, random_state=0))


def without_attributes() -> RatingTables:
    """Planted ratings, whose tables have nothing but ids."""
    tables = planted_tables(400, 600, density=0.1, noise=0.8)
    return RatingTables(tables.users[['user']], tables.items[['item']], tables.ratings)


# Data sets that are split by a seed.
SEEDED = {
    'ml-100k': functools.cache(load_ml100k),
    'ml-1m': functools.cache(load_ml1m),
    'lastfm': functools.cache(load_lastfm),
    'planted': functools.partial(planted_tables, 120, density=0.4),
    'planted-tastes': planted_tastes,
    **{f'ml-100k-{n}': functools.partial(thinned, n) for n in (1000, 5000, 20_000)},
    'few-items': functools.partial(planted_tables, 2000, 40, 0.2, 0.8),
    'few-ratings': functools.partial(planted_tables, 600, 800, 0.02, 0.8),
    'no-attributes': without_attributes,
}
# Data sets with published splits: u1 to u5 of MovieLens-100K, and those of Monti et al.
DATA = (*SEEDED, 'ml-100k-u', *PUBLIC, 'files')
SCENARIOS = (*COLD_SIDES, 'few_shot')
SUPPORTS = (1, 2, 5, 10, 20)
# Metrics of few-shot tasks that rows have, and of those whose scores estimate labels.
RANKING = ('auc', 'published_precision@5', 'published_ap@5', 'ndcg@5', 'precision@5')
RANKING += ('ndcg@10', 'ap@10', 'recall@10', 'rr@10')
ERRORS = ('mse', 'mae')


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

    def validation(self, estimator: Any) -> dict[str, float]:
        return self._scores(estimator, self.parts.validation)

    def test(self, estimator: Any) -> Iterator[tuple[str, dict[str, float]]]:
        yield 'test', self._scores(estimator, self.parts.test)

    def _scores(self, estimator: Any, part: pd.DataFrame) -> dict[str, float]:
        """RMSE, MAE and nDCG@10 of the items that each user rated.

        The last is the mean over users with two ratings or more, one of them at least
        in the upper quarter of the range: a 4 or a 5 of 1 to 5.
        """
        rating = part['rating'].to_numpy(float)
        predicted = np.asarray(estimator.predict(part), float)
        lists = pd.factorize(part['user'])[0], predicted, rating
        mask, score, label = pad_lists(*map(torch.tensor, lists))
        high = rating.min() + 0.75 * (rating.max() - rating.min())
        kept = ((label >= high) & mask).any(-1) & (mask.sum(-1) > 1)
        ndcg = ranking_metrics(score, label, mask, 10)['ndcg'][kept]
        scores = {'ndcg@10': float(ndcg.mean())} if kept.any() else {}
        return rating_metrics(predicted, rating) | scores


class PositivesProblem(RatingProblem):
    """Positives of one split: rankings of whole catalogues, or of the cold items."""

    criterion = 'ndcg@20', True

    def __init__(self, tables: RatingTables, parts: Split, is_item_cold: bool) -> None:
        super().__init__(tables, parts)
        self.is_item_cold = is_item_cold

    def test(self, estimator: Any) -> Iterator[tuple[str, dict[str, float]]]:
        yield 'test', self._scores(estimator, self.parts.test)
        if self.is_item_cold:
            yield 'test/all_items', estimator.evaluate(self.parts.test)

    def _scores(self, estimator: Any, part: pd.DataFrame) -> dict[str, float]:
        """Held-out cold items are ranked among themselves, others among all."""
        among = part['item'].unique() if self.is_item_cold else None
        return estimator.evaluate(part, among=among)


class FewShotProblem:
    """Episodes of one split: fitted on training users, who are not seen again."""

    def __init__(self, tables: RatingTables, relevant: float, **options: Any) -> None:
        self.nodes, self.relevant = (tables.users, tables.items), relevant
        ids = tables.users['user'], tables.items['item']
        self.episodes = split_episodes(tables.ratings, *ids, **options)
        self.frames = {
            part: getattr(self.episodes, part).to_frames(*ids)
            for part in ('warm', 'validation', 'test')
        }
        labels = set(tables.ratings['rating'])
        self.is_implicit, self.range = labels <= {0, 1}, (min(labels), max(labels))
        self.criterion = ('ndcg@10', True) if self.is_implicit else ('mse', False)

    def fit(self, estimator: Any) -> Any:
        """Fits an estimator on all interactions of training users."""
        (_, warm), validation = self.frames['warm'], self.frames['validation']
        return estimator.fit(warm, *self.nodes, validation=validation)

    def refit(self, estimator: Any, selected: Any) -> Any:
        """Keeps what was selected: validation users only choose."""
        return selected

    def validation(self, estimator: Any) -> dict[str, float]:
        return self._scores(estimator, 'validation')

    def test(self, estimator: Any) -> Iterator[tuple[str, dict[str, float]]]:
        """Scores the test users: after all of a support, parts of it, and others."""
        yield 'test', self._scores(estimator, 'test')
        for part, changed in changed_supports(self.frames['test'][0], self.range):
            yield f'test/{part}', self._scores(estimator, 'test', changed)

    def _scores(
        self, estimator: Any, part: str, changed: pd.DataFrame | None = None
    ) -> dict[str, float]:
        """Means over tasks of the metrics that each defines; supports may be others."""
        episodes, (support, query) = getattr(self.episodes, part), self.frames[part]
        adapted = estimator.adapt(
            support if changed is None else changed, self.nodes[0]
        )
        predicted = adapted.predict(query)
        score = torch.tensor(predicted['score'].to_numpy(float))
        has_errors = 'rating' in predicted
        metrics = evaluate(episodes, score, (5, 10), self.relevant)
        values = {name: metrics[name] for name in RANKING + ERRORS * has_errors}
        if self.is_implicit and has_errors:
            label = episodes.label[episodes.query_index()].double()
            # A probability of exactly 0 or 1 is a rounding, not a certainty.
            score = score.clamp(1e-7, 1 - 1e-7)
            loss = F.binary_cross_entropy(score, label, reduction='none')
            task = torch.repeat_interleave(episodes.num_query)
            values['log_loss'] = torch.bincount(task, loss) / episodes.num_query
        means = {name: float(value.nanmean()) for name, value in values.items()}
        return {name: mean for name, mean in means.items() if mean == mean}


def changed_supports(
    support: pd.DataFrame, label_range: tuple[float, float]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """First interactions of each support, mirrored labels, another user's support."""
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
    """Loads one of :data:`DATA` and makes the split that a number or a seed names.

    Options are those of the suite; :obj:`smoke` puts tiny planted data in its place.
    """
    options = dict(options)
    files, positive = options.pop('files', {}), options.pop('positive', None)
    if smoke:
        name = 'planted-tastes' if options.get('relevant', 1) < 1 else 'planted'
        options |= {'support_size': 5, 'min_size': 15}
    if name in PUBLIC:
        return RatingProblem(*load_public(name))
    if name == 'files':
        tables = read_tables(**{k: v for k, v in files.items() if k != 'test'})
    else:
        tables = SEEDED['ml-100k' if name == 'ml-100k-u' else name]()
    if positive is not None:
        tables = tables.with_ratings(tables.ratings.query('rating >= @positive'))
    if scenario == 'few_shot':
        return FewShotProblem(tables, seed=number, **options)
    if name == 'ml-100k-u':
        parts = load_ml100k_split(number)
    elif name == 'files' and 'test' in files:
        test = read_tables(files['test']).ratings
        parts = given_split(tables.ratings, test, scenario, seed=number)
    else:
        parts = split(tables, scenario, seed=number)
    if positive is not None:
        return PositivesProblem(tables, parts, 'item' in COLD_SIDES[scenario])
    return RatingProblem(tables, parts)
