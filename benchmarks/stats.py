r"""The one standard error of all tables, and paired differences.

Figures are means over splits of the mean over model seeds. Behind :math:`\pm` stands
the standard error of such a mean. Random splits of one data set share most of their
training ratings, so their scores are not independent: the variance has the factor
:math:`1/n + n_{test}/n_{train}` in place of :math:`1/n` (`"Inference for the
Generalization Error" <https://doi.org/10.1023/A:1024068626366>`_, Nadeau and Bengio,
2003). Of a single split there is no :math:`\pm`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

# Test ratings (or nodes) over those that are trained on. Of few-shot users, 70 % are
# trained on and 20 % tested on.
RATIO = {'few_shot': 2 / 7}
DEFAULT_RATIO = 1 / 4
# What rows that are compared must share.
GROUP = ['suite', 'data', 'scenario']


class Estimate(NamedTuple):
    """A mean over splits.

    Attributes:
        mean: The mean.
        error: Its corrected standard error; none of a single split.
        count: Number of splits.
        p: Two-sided p-value of the mean being zero, by Student's distribution.
        negative: On how many splits the value is below zero.
    """

    mean: float
    error: float | None
    count: int
    p: float | None
    negative: int


def estimate(values: Sequence[float], ratio: float = DEFAULT_RATIO) -> Estimate:
    """Returns mean and corrected standard error of a value a split.

    Args:
        values: A value a split, one at least.
        ratio: Test ratings over training ratings of a split.
    """
    count, mean = len(values), statistics.mean(values)
    negative = sum(value < 0 for value in values)
    if count < 2:
        return Estimate(mean, None, count, None, negative)
    error = math.sqrt((1 / count + ratio) * statistics.variance(values))
    return Estimate(mean, error, count, _p_value(mean, error, count), negative)


def newest(rows: pd.DataFrame) -> pd.DataFrame:
    """Keeps the rows of the newest settings of each estimator in a scenario.

    Rows are in the order in which they were made. What was run with other settings
    under one label must not be averaged.
    """
    last = rows.groupby([*GROUP, 'estimator'])['settings'].transform('last')
    return rows[rows['settings'] == last]


def by_split(
    rows: pd.DataFrame, estimator: str, metric: str, part: str = 'test'
) -> dict[str, float]:
    """Returns an estimator's score on each split, the mean over model seeds.

    Args:
        rows: Rows of one suite, data set and scenario.
        estimator: Its label.
        metric: Name of a column.
        part: The part that was scored.
    """
    if metric not in rows:
        return {}
    chosen = rows[(rows['estimator'] == estimator) & (rows['part'] == part)]
    scores = chosen.dropna(subset=[metric]).groupby('split', sort=False)[metric]
    return scores.mean().to_dict()


def score(
    rows: pd.DataFrame, estimator: str, metric: str, part: str = 'test'
) -> Estimate | None:
    """Returns the estimate of a score; none if it was not run. See :func:`by_split`."""
    values = list(by_split(rows, estimator, metric, part).values())
    return estimate(values, ratio_of(rows)) if values else None


def difference(
    rows: pd.DataFrame,
    estimator: str,
    other: str,
    metric: str,
    part: str = 'test',
    other_part: str | None = None,
) -> Estimate | None:
    """Returns an estimator's score minus another's, paired on the splits of both."""
    mine = by_split(rows, estimator, metric, part)
    theirs = by_split(rows, other, metric, other_part or part)
    gaps = [mine[split] - theirs[split] for split in mine if split in theirs]
    return estimate(gaps, ratio_of(rows)) if gaps else None


def ratio_of(rows: pd.DataFrame) -> float:
    """Test over training ratings of the scenario of some rows."""
    return RATIO.get(rows['scenario'].iloc[0], DEFAULT_RATIO)


def best(
    rows: pd.DataFrame,
    estimators: Sequence[str],
    metric: str,
    own: str,
    higher: bool = False,
) -> str | None:
    """Returns the best of some estimators in the mean over all splits of our own.

    One that was not run on all of them cannot be the best.
    """
    wanted = by_split(rows, own, metric).keys()
    means = {}
    for name in estimators:
        scores = by_split(rows, name, metric)
        if wanted and scores.keys() >= wanted:
            means[name] = statistics.mean(scores[split] for split in wanted)
    pick = max if higher else min
    return pick(means, key=means.get, default=None)


def _p_value(mean: float, error: float, count: int) -> float | None:
    if error == 0:
        return None
    from scipy.stats import t

    return 2 * float(t.sf(abs(mean) / error, count - 1))
