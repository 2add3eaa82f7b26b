import math

import numpy as np
import pandas as pd
import pytest
import torch

from agnn_pyg.base.encoder import AttributeEncoder


def bags(attributes):
    """The bags as dictionaries from token to weight."""
    pairs = zip(attributes.index, attributes.weight, strict=True)
    return [
        {int(t): float(w) for t, w in zip(*row, strict=True) if w > 0} for row in pairs
    ]


def encode(fitted, cells, **kwargs):
    """Fits on one column and encodes the cells of another."""
    encoder = AttributeEncoder({'a': kwargs.pop('stype', None)}, **kwargs)
    encoder.fit(pd.DataFrame({'a': fitted}))
    return bags(encoder.transform(pd.DataFrame({'a': cells})))


def test_tokens_of_one_column():
    rare, gaps = ['x', 'x', 'y', 'y', 'z'], ['x', 'x', 'z', None]
    for fitted, cells, expected, options in (
        # A type that is given is kept.
        ([10, 20], [20, 10], [{2}, {1}], {'stype': 'categorical'}),
        (['1', '3'], ['3', '1'], [{2}, {1}], {'stype': 'numeric', 'num_knots': 2}),
        ([1, 2], [[1, 2], [2]], [{1, 2}, {2}], {'stype': 'multi'}),
        # Unseen counts as rare, of which there is a token where something was.
        (rare, ['x', 'z', 'new'], [{1}, {3}, {3}], {'min_count': 2}),
        (['x', 'y'], ['new', 'y', 'y'], [set(), {2}, {2}], {}),
        # Likewise a token of what is missing; its number is the last.
        (['x', 'y', None], [None, math.nan, 'x', ''], [{3}, {3}, {1}, {3}], {}),
        (gaps, ['new', 'x', None], [{2}, {1}, {3}], {'min_count': 2}),
        (['x', 'y'], [None, 'x'], [set(), {1}], {}),
        ([1.0, 2.0], [None, 1.0], [set(), {1}], {}),
        ([['x'], ['y']], [[], ['y'], None], [set(), {2}, set()], {}),
        # Rare counts rows, not repeats within one.
        ([['x'] * 3, ['y'], ['y']], [['x'], ['y']], [{2}, {1}], {'min_count': 2}),
    ):
        assert [set(bag) for bag in encode(fitted, cells, **options)] == expected
    # A bag is a set.
    assert encode([['x'], ['y']], [['x', 'x', 'y']]) == [{1: 1, 2: 1}]
    # Two rare values are one rare token: tokens x 1, rare 2.
    fitted = [['x', 'p'], ['x', 'q']]
    assert encode(fitted, [['p', 'q', 'new', 'x']], min_count=2) == [{1: 1, 2: 1}]


def test_weights_of_a_number_sum_to_one_and_interpolate_the_knots():
    rng = np.random.default_rng(0)
    fitted = rng.gamma(2, size=200)
    encoder = AttributeEncoder(['a'], num_knots=6)
    attributes = encoder.fit_transform(pd.DataFrame({'a': fitted}))
    knots = np.quantile(fitted, np.linspace(0, 1, 6))
    assert torch.allclose(attributes.weight.sum(1), torch.ones(200))
    for number, bag in zip(fitted, bags(attributes), strict=True):
        assert 1 <= len(bag) <= 2
        assert max(bag) - min(bag) == len(bag) - 1
        decoded = sum(knots[token - 1] * weight for token, weight in bag.items())
        assert decoded == pytest.approx(number, abs=1e-5)


def test_numbers_outside_the_fitted_range_are_clamped_and_equal_knots_are_one():
    assert encode([2, 4], [-4, 10], num_knots=2) == [{1: 1}, {2: 1}]
    with pytest.warns(UserWarning, match=r"outside .* column 'a' in row 1 \(10.1\)"):
        assert encode([2, 4], [-4, 10.1], num_knots=2) == [{1: 1}, {2: 1}]
    with pytest.warns(UserWarning, match=r'outside .* row 0 \(0.5, the first of 2\)'):
        assert encode([2, 4], [0.5, -0.6, 4], num_knots=2) == [{1: 1}, {1: 1}, {2: 1}]
    with pytest.warns(UserWarning, match=r'outside .* row 1 \(5.0, the first of 5\)'):
        encode([2, 4], [3.0, 5, 5, 5, 5, 5], num_knots=2)  # perhaps another unit
    assert encode([5, 5, 5], [5, 1, 9]) == [{1: 1}] * 3
    # Quantiles of 0, 0, 0, 0, 1: only two differ.
    assert encode([0, 0, 0, 0, 1], [0, 1], num_knots=3) == [{1: 1}, {2: 1}]


def test_multi_hot_holds_values_only():
    frame = pd.DataFrame({'a': ['x', 'x', 'z', None], 'b': [0.0, 1.0, 0.25, None]})
    encoder = AttributeEncoder(['a', 'b'], min_count=2, num_knots=2)
    attributes = encoder.fit_transform(frame)
    # Tokens: x 1, rare 2, missing 3; knots 4 and 5 and missing 6.
    assert attributes.is_value.tolist() == [False, True, *[False] * 2, *[True] * 2, 0]
    matrix = attributes.multi_hot()
    assert (matrix.shape, matrix.sum()) == ((4, 7), 5)
    values = matrix.toarray()[:, [1, 4, 5]].tolist()
    assert values == [[1, 1, 0], [1, 0, 1], [0, 0.75, 0.25], [0, 0, 0]]


def test_a_row_of_nothing_is_padding_or_missing_tokens():
    fitted = pd.DataFrame({'a': ['x', 'y'], 'b': [1.0, 2.0], 'c': [['p'], ['q']]})
    nothing = pd.DataFrame({'a': [None], 'b': [math.nan], 'c': [[]]})
    encoder = AttributeEncoder(list('abc'))
    attributes = encoder.fit(fitted).transform(nothing)
    assert attributes.index.tolist() == [[0]]
    assert attributes.weight.tolist() == [[0]]
    gaps = pd.concat([fitted, nothing], ignore_index=True)
    attributes = encoder.fit(gaps).transform(nothing)
    assert attributes.index.size() == (1, 3)
    assert not attributes.is_value[attributes.index].any()
    assert attributes.weight.tolist() == [[1, 1, 1]]


def test_bad_options_and_tables():
    for options, match in (
        ({'columns': []}, "'columns' must name at least one"),
        ({'columns': 'genre'}, "'columns' must name at least one"),
        ({'columns': {'a': 'words'}}, r"'a' must be one of .*'text'.*'words'"),
        ({'columns': ['a'], 'min_count': 0}, "'min_count' must .*0"),
        ({'columns': ['a'], 'num_knots': 1}, "'num_knots' must .*1"),
    ):
        with pytest.raises(ValueError, match=match):
            AttributeEncoder(**options)
    for cells, match in (([np.nan] * 2, "'a' holds no number"), ([], 'empty table')):
        with pytest.raises(ValueError, match=match):
            AttributeEncoder(['a']).fit(pd.DataFrame({'a': cells}))
    with pytest.raises(ValueError, match="Call 'fit'"):
        AttributeEncoder(['a']).transform(pd.DataFrame({'a': ['x']}))
