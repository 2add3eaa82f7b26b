import math

import pandas as pd
import pytest

from benchmarks.stats import by_split, difference, estimate, newest, score


def rows(*entries, scenario='warm'):
    """Rows of (estimator, split, seed, rmse) in one suite."""
    made = pd.DataFrame(entries, columns=['estimator', 'split', 'seed', 'rmse'])
    return made.assign(
        suite='s', data='d', scenario=scenario, part='test', settings='a'
    )


def test_error_and_p_value_are_those_of_nadeau_and_bengio():
    found = estimate([1.0, 2.0, 4.0], ratio=0.25)
    variance = sum((v - 7 / 3) ** 2 for v in (1, 2, 4)) / 2
    assert found.mean == pytest.approx(7 / 3)
    assert found.error == pytest.approx(math.sqrt((1 / 3 + 0.25) * variance))
    assert (found.count, found.negative) == (3, 0)
    # t = mean / error = 2 with two degrees of freedom.
    found = estimate([1.0, 2.0, 3.0], ratio=2 / 3)
    assert found.mean / found.error == pytest.approx(2)
    assert found.p == pytest.approx(0.1835, abs=1e-4)
    assert estimate([1.0, 1.0]).p is None
    # A single split has no error.
    assert estimate([-0.5]) == (-0.5, None, 1, None, 1)


def test_scores_are_means_over_splits_of_means_over_seeds():
    made = rows(('a', '0', '0', 1.0), ('a', '0', '1', 3.0), ('a', '1', '0', 5.0))
    assert by_split(made, 'rmse')['a'].to_dict() == {'0': 2.0, '1': 5.0}
    assert score(made, 'a', 'rmse').mean == 3.5
    assert score(made, 'b', 'rmse') is None
    assert score(made, 'a', 'mae') is None


def test_few_shot_users_have_their_own_ratio():
    entries = ('a', '0', '0', 1.0), ('a', '1', '0', 2.0)
    for scenario, ratio in (('warm', 1 / 4), ('few_shot', 2 / 7)):
        found = score(rows(*entries, scenario=scenario), 'a', 'rmse')
        assert found.error == pytest.approx(math.sqrt((1 / 2 + ratio) / 2))


def test_differences_are_paired_on_common_splits():
    made = rows(
        *(('a', '0', '0', 1.0), ('a', '1', '0', 2.0), ('a', '2', '0', 9.0)),
        *(('b', '0', '', 1.5), ('b', '1', '', 2.5)),
    )
    gap = difference(made, 'a', 'b', 'rmse')
    assert (gap.mean, gap.error, gap.count, gap.negative) == (-0.5, 0, 2, 2)
    assert difference(made, 'a', 'c', 'rmse') is None


def test_runs_with_other_settings_under_one_label_are_not_averaged():
    made = rows(*(('a', str(split), '0', float(split)) for split in range(4)))
    made['settings'] = ['old', 'old', 'new', 'new']
    assert newest(made)['split'].tolist() == ['2', '3']
