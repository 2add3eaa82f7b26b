"""Tables as they come, through the recommender; test_frames has what is refused."""

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.recommender import AGNNRecommender
from tests.agnn_pyg.base.test_frames import changed
from tests.agnn_pyg.conftest import SETTINGS

QUICK = SETTINGS | {'epochs': 1, 'kernel_weight': 0}


def test_a_single_item_has_no_neighbors(planted):
    one = planted.items.iloc[[0]]
    ratings = planted.ratings.merge(one[['item']])
    with pytest.raises(ValueError, match="'items' has a single row"):
        AGNNRecommender(**QUICK).fit(ratings, planted.users, one)


def test_nobody_and_nothing(recommender, planted):
    empty = planted.later.iloc[:0]
    assert len(recommender.predict(empty)) == 0
    assert len(recommender.predict(empty, planted.new_users.iloc[:0])) == 0
    assert len(recommender.recommend(planted.new_users.iloc[:0])) == 0
    assert len(recommender.recommend([])) == 0
    nothing = recommender.recommend(planted.new_users, items=planted.new_items[:0])
    assert list(nothing.columns) == ['user', 'item', 'rating', 'score', 'rank']
    assert len(nothing) == 0


def test_known_rows_in_a_new_table_are_ignored(recommender, planted):
    known = planted.ratings.iloc[:20]
    users = planted.users.assign(age=99)
    assert (recommender.predict(known, users) == recommender.predict(known)).all()


def test_missing_and_unseen_attributes(recommender, planted):
    column = planted.new_users.columns.drop(['user', 'age'])[0]
    users = planted.new_users.reset_index(drop=True)
    users = changed(0, **{column: None, 'age': None})(users)
    users = changed(1, **{column: 'Löwenbändigerin'})(users)
    users = changed(2, age=1000.0)(users).astype({'age': float})
    items = planted.new_items.copy().reset_index(drop=True)
    items.at[0, 'genre'] = []
    items.at[1, 'genre'] = ['чёрно-белое']
    rating = recommender.predict(planted.later, users, items)
    low, high = planted.ratings['rating'].agg(['min', 'max'])
    assert rating.between(low, high).all()
    # An unseen value counts as a missing one.
    blank = changed(1, **{column: ''})(users)
    unseen = planted.later['user'] == users['user'][1]
    again = recommender.predict(planted.later[unseen], blank, items)
    assert np.allclose(again, rating[unseen], atol=1e-5)


def test_whole_numbers_as_names_of_columns(planted):
    items = planted.items.rename(columns={'genre': 7, 'year': 8})
    model = AGNNRecommender(**SETTINGS | {'kernel_weight': 1.0})
    model.fit(planted.ratings, planted.users, items)
    user, item = planted.ratings.iloc[0][['user', 'item']].astype(int)
    assert any('7 = ' in name for name in model.explain(user, item).terms)


def test_ratings_of_the_fit_are_named(recommender, planted):
    rows = pd.concat([planted.ratings.iloc[[5]], planted.later])
    nodes = planted.new_users, planted.new_items
    with pytest.warns(UserWarning, match=rf"'ratings' .* row {rows.index[0]} \("):
        recommender.evaluate(rows, *nodes)


def test_nodes_to_compare_with(recommender, planted):
    for call, wrong in (('similar_items', -5), ('similar_users', -7)):
        with pytest.raises(ValueError, match=rf"'(user|item)' .* row 0 \({wrong}\)"):
            getattr(recommender, call)(wrong)
