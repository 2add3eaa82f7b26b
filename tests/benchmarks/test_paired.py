import math

import pytest

from benchmarks.paired import corrected_error, p_value, paired_table


def report(split, agnn, ridge, biases=1.0, mode='warm'):
    return {
        'config': {'data': {'mode': mode}, 'split_seed': split, 'seed': 0},
        'metrics': {'test': {'rmse': agnn}},
        'peers': {
            'ridge': {'metrics': {'test': {'rmse': ridge}}},
            'damped_biases': {'metrics': {'test': {'rmse': biases}}},
            'svdpp': {'not_run': 'it is not installed'},
        },
    }


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
    table = paired_table([report(s, 0.90 + s / 100, 0.91 + s / 50) for s in range(4)])
    cold, *_, warm = table.splitlines()[2:]
    # The gaps are -.01 -.02 -.03 -.04.
    for part in ('0.9150', 'ridge', '0.9400', '-0.0250 ± 0.0091', '4 of 4'):
        assert part in warm
    assert cold.count('not run') == 6


def test_one_split_is_no_test():
    assert '±' not in paired_table([report(0, 0.9, 0.91)])
