"""Settings of the recommender: refused before a table is read, kept when saved."""

import copy

import numpy as np
import pytest

from agnn_pyg import recommender as module
from agnn_pyg.recommender import AGNNRecommender
from tests.agnn_pyg.conftest import SETTINGS

WRONG = [
    {'epochs': 0},
    {'patience': 2},  # without a validation
    {'kernel_weight': 1.5},
    {'cv_folds': 1},
    {'scenarios': []},
    {'components': ['film']},
    {'seed': 2**63},
    {'candidate_fraction': 0},
    {'item_attributes': {'genre': 'words'}},
    {'accelerator': 'cpuu'},
    {'item': 'score'},
    {'user': ['id']},
]


def test_wrong_settings_are_refused_before_tables_are_read(planted, monkeypatch):
    monkeypatch.setattr(module, 'read_tables', lambda *_: pytest.fail('late'))
    for setting in WRONG:
        (name,) = setting
        with pytest.raises(ValueError, match=f"'{name}'"):
            AGNNRecommender(**SETTINGS | setting).fit(planted.ratings)


def test_settings_that_are_wrong_since_the_fit(recommender, planted):
    for setting in [{'num_neighbors': -1}, {'candidate_fraction': 2}, {'user': ['id']}]:
        model = copy.copy(recommender).set_params(**setting)
        user, item = planted.ratings[['user', 'item']].iloc[0]
        for call, arguments in (
            (model.predict, [planted.ratings]),
            (model.recommend, [[user]]),
            (model.explain, [user, item]),
        ):
            with pytest.raises(ValueError, match=f"'{next(iter(setting))}'"):
                call(*arguments)


def test_lengths_of_lists(recommender, planted):
    for k in [2.5, '3', None, True, 0]:
        with pytest.raises(ValueError, match=f"'k' must be .* .got {k!r}"):
            recommender.recommend(planted.new_users, k=k)
        top = recommender.recommend(planted.new_users, k=np.int64(2))
        assert len(top) == 2 * len(planted.new_users)
