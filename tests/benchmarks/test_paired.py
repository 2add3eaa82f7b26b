import math

import pytest

from benchmarks.paired import by_split, corrected_error, p_value, paired_table

NAMES = {'ridge': 'ridge', 'biases': 'biases', 'agnn': 'AGNN'}


def report(split, agnn, ridge, biases=1.0, mode='warm', seed=0):
    return {
        'config': {'data': {'mode': mode}, 'split_seed': split, 'seed': seed},
        'metrics': {'test': {'rmse': agnn}},
        'peers': {
            'ridge': {'metrics': {'test': {'rmse': ridge}}},
            'biases': {'metrics': {'test': {'rmse': biases}}},
            'svd': {'not_run': 'it is not installed'},
        },
    }


def test_scores_are_means_over_seeds():
    scores = by_split([report(3, 0.8, 0.9), report(3, 0.9, 0.9, seed=1)])
    assert scores['warm']['agnn'][3] == pytest.approx(0.85)
    assert scores['warm']['ridge'] == {3: 0.9}
    assert 'svd' not in scores['warm']


def test_error_is_wider_than_that_of_independent_splits():
    gaps = [0.1, 0.2, 0.3, 0.4]
    plain = math.sqrt(sum((g - 0.25) ** 2 for g in gaps) / 3 / 4)
    assert corrected_error(gaps, 0.0) == pytest.approx(plain)
    # 1/4 + 0.2/0.8 is twice 1/4.
    assert corrected_error(gaps, 0.2) == pytest.approx(plain * math.sqrt(2))


def test_p_value():
    assert p_value(0.0, 1.0, 10) == '1.000'
    assert p_value(2.262, 1.0, 10) == '0.050'
    assert p_value(50.0, 1.0, 10) == '< 0.001'


def test_table_names_the_strongest_peer_and_what_was_not_run():
    reports = [report(s, 0.90 + s / 100, 0.91 + s / 50) for s in range(4)]
    table = paired_table(
        by_split(reports),
        ('ridge', 'biases', 'svd'),
        NAMES,
        {'warm': 'warm', 'item_cold': 'item cold'},
    )
    warm, cold = table.splitlines()[2:]
    for part in ('0.9150', 'ridge', '4 of 4'):
        assert part in warm
    # The gaps are -.01 -.02 -.03 -.04.
    assert '-0.0250 ± 0.0091' in warm
    assert cold.count('not run') == 6
