import re

import numpy as np
import pandas as pd
import pytest
import torch

from agnn_pyg.base.cells import CONSTANT
from agnn_pyg.explain import FACTORIZATION, Explanation, kernel_terms
from agnn_pyg.kernel.scenarios import KernelExplanation


@pytest.fixture(params=['warm', 'user_cold', 'item_cold', 'both_cold'])
def explained(request, recommender, planted):
    """An explanation, and what is predicted for its pair."""
    users = planted.new_users if request.param.startswith(('user', 'both')) else None
    items = planted.new_items if request.param.startswith(('item', 'both')) else None
    user = (planted.users if users is None else users)['user'].iloc[3]
    item = (planted.items if items is None else items)['item'].iloc[3]
    pair = pd.DataFrame({'user': [user], 'item': [item]})
    rating = recommender.predict(pair, users, items).iloc[0]
    return recommender.explain(user, item, users, items), rating


def test_terms_sum_to_the_score_and_come_largest_first(explained, planted):
    explanation, rating = explained
    terms = explanation.terms
    assert explanation.rating == pytest.approx(rating, abs=1e-5)
    assert sum(terms.values()) == pytest.approx(explanation.score, abs=1e-9)
    low, high = planted.ratings['rating'].agg(['min', 'max'])
    assert np.clip(explanation.score, low, high) == explanation.rating
    names = list(terms)
    assert names[0] == 'mean rating'
    assert terms['mean rating'] == pytest.approx(planted.ratings['rating'].mean())
    size = [abs(terms[name]) for name in names[1:]]
    assert size == sorted(size, reverse=True)
    assert 0 not in size


def test_ratings_add_up_to_the_kernel_terms(explained, planted):
    explanation, _ = explained
    frame = explanation.ratings
    assert list(frame.columns) == ['user', 'item', 'contribution']
    assert frame['contribution'].abs().is_monotonic_decreasing
    terms = pd.Series(explanation.terms).drop(
        ['mean rating', FACTORIZATION], errors='ignore'
    )
    kernel = terms[~terms.index.str.startswith('network: ')].sum()
    assert frame['contribution'].sum() == pytest.approx(kernel, abs=1e-4)
    assert len(frame.merge(planted.ratings, on=['user', 'item'])) == len(frame)


def test_kernel_terms_join_components_of_equal_names():
    kernel = KernelExplanation(
        3.5,
        torch.empty(0),
        torch.tensor([[0.125, 0.25, 0.5], [1.0, 2.0, 4.0]]).double(),
        ('constant', 'identity'),
        (CONSTANT, 'genre', 'genre × genre'),
    )
    terms = kernel_terms(kernel, {'user': {}, 'item': {'genre': 'war, sea'}})
    named = kernel_terms(kernel, {'user': {}, 'item': {'genre': 99 * 'a '}})
    assert max(map(len, named)) < 100
    alone = {'all users and items': 0.125, 'genre = war, sea': 0.75, 'this user': 1.0}
    assert terms == alone | {'this user, genre = war, sea': 6.0}


def test_lines_add_up_and_none_is_zero():
    terms = {'mean rating': 3.5, 'age = 7': 0.5, 'tiny': 0.003, 'less': -0.003}
    terms |= {f'land = {number}': -0.1 for number in range(9)}
    none = pd.DataFrame({'item': [], 'proximity': []})
    score = sum(terms.values())
    text = str(Explanation(1, 2, score, score, terms, none, none, none))
    shown = [float(n) for n in re.findall(r'^  (\S+)  ', text, re.MULTILINE)]
    assert shown == [3.5, 0.5, *7 * [-0.1], -0.2]  # the last of four smaller terms
    assert 'proximity' not in text


def test_titles_of_tables_are_shown_beside_ids(recommender, planted):
    items = planted.items.assign(Title=planted.items['item'].astype(str) + ' (1999)')
    explanation = recommender.explain(*planted.ratings.iloc[0, :2], items=items)
    for frame in (explanation.items, explanation.ratings):
        assert (frame['item Title'] == frame['item'].astype(str) + ' (1999)').all()
    assert 'user Title' not in explanation.ratings
    assert '(1999)' in str(explanation)
