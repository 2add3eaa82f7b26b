r"""The standard error of all tables, and paired differences.

Figures average first over model seeds, then over splits. The value after :math:`\pm`
is the standard error of this mean. Random splits of one data set share most of their
training ratings, so their scores are not independent: the variance has the factor
:math:`1/n + n_{test}/n_{train}` instead of :math:`1/n` (`"Inference for the
Generalization Error" <https://doi.org/10.1023/A:1024068626366>`_, Nadeau and Bengio,
2003). A single split has no :math:`\pm`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection
from typing import NamedTuple

import pandas as pd
from scipy.stats import t

# Test over training ratings (or nodes). Few-shot users are split 70 to 20 (and 10).
RATIO, FEW_SHOT_RATIO = 1 / 4, 2 / 7


class Estimate(NamedTuple):
    """A mean over splits."""

    mean: float
    error: float | None  # corrected standard error; None for a single split
    count: int  # of splits
    p: float | None  # two-sided, that the mean is zero, from Student's t distribution
    negative: int  # splits with a value below zero


def estimate(values: Collection[float], ratio: float = RATIO) -> Estimate:
    """Returns mean and corrected standard error of values, one per split."""
    count, mean, error, p = len(values), statistics.mean(values), None, None
    if count > 1:
        error = math.sqrt((1 / count + ratio) * statistics.variance(values))
    if error:
        p = 2 * float(t.sf(abs(mean) / error, count - 1))
    return Estimate(mean, error, count, p, sum(value < 0 for value in values))


def newest(rows: pd.DataFrame) -> pd.DataFrame:
    """Keeps the rows of the newest settings of each estimator in a scenario.

    Results of different settings under one label must not be averaged.
    """
    group = rows.groupby(['suite', 'data', 'scenario', 'estimator'])['settings']
    return rows[rows['settings'] == group.transform('last')]


def by_split(rows: pd.DataFrame, metric: str, part: str = 'test') -> pd.DataFrame:
    """Returns mean scores over model seeds, :obj:`[splits, estimators]`.

    The rows must have the same suite, data set and scenario.
    """
    rows = rows[rows['part'] == part].reindex(columns=['split', 'estimator', metric])
    return rows.pivot_table(metric, 'split', 'estimator', sort=False)


def score(rows: pd.DataFrame, estimator: str | None, metric: str) -> Estimate | None:
    """Returns the estimate of a test score; None if it was not run."""
    return _estimate(rows, _scores(rows, estimator, metric, 'test'))


def difference(
    rows: pd.DataFrame, estimator: str, other: str, metric: str, part: str = 'test'
) -> Estimate | None:
    """Returns a test score minus another score of a part, paired by common splits."""
    mine = _scores(rows, estimator, metric, 'test')
    return _estimate(rows, mine - _scores(rows, other, metric, part))


def _scores(rows: pd.DataFrame, label: str | None, *place: str) -> pd.Series:
    return by_split(rows, *place).get(label, pd.Series(dtype=float))


def _estimate(rows: pd.DataFrame, values: pd.Series) -> Estimate | None:
    ratio = FEW_SHOT_RATIO if (rows['scenario'] == 'few_shot').any() else RATIO
    values = values.dropna().tolist()
    return estimate(values, ratio) if values else None
