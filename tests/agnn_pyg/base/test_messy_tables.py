"""Own tables as they come: each works, or says which row is wrong and what to do."""

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.recommender import AGNNRecommender
from tests.agnn_pyg.conftest import SETTINGS

pytest.importorskip('pytorch_lightning')
QUICK = SETTINGS | {'epochs': 1}


def changed(frame, row, **cells):
    """A frame with other cells in one row, by position."""
    frame = frame.astype(dict.fromkeys(cells, object)).reset_index(drop=True)
    for column, value in cells.items():
        frame.at[row, column] = value
    return frame


def twice(frame):
    return pd.concat([frame, frame.iloc[[1]]], ignore_index=True)


FIT = [
    ({'ratings': lambda f: f.to_dict()}, r"'ratings' must be a pandas DataFrame"),
    (
        {'ratings': lambda f: f.rename(columns={'user': 'User'})},
        r"no column 'user', did you mean 'User'\? \(it has User, item, rating\)",
    ),
    (
        {'ratings': lambda f: f.assign(x=1).rename(columns={'x': 'item'})},
        r"'ratings' has 2 columns called 'item'; drop or rename",
    ),
    ({'ratings': lambda f: f.iloc[:0]}, r"'ratings' has no rows; there is nothing"),
    (
        {'ratings': lambda f: f.assign(rating=1)},
        r"'ratings' are all 1, .*; add what users did not choose or like",
    ),
    (
        {'ratings': lambda f: changed(f, 3, rating=np.nan)},
        r"'ratings' has no finite number in column 'rating' in row 3 \(nan\)",
    ),
    (
        {'ratings': lambda f: changed(f, 3, rating='good')},
        r"in row 3 \('good'\); correct or drop it",
    ),
    ({'ratings': lambda f: changed(f, 3, rating=np.inf)}, r'in row 3 \(inf\)'),
    (
        {'ratings': twice},
        r'rates a pair for the second time in row \d+ \(\d+, \d+\); keep one',
    ),
    (
        {'ratings': lambda f: changed(f, 2, user=None)},
        r"'ratings' misses the id in column 'user' in row 2 \(None\)",
    ),
    (
        {'ratings': lambda f: changed(f, 2, user='7')},
        r"'ratings' mixes int ids and others in column 'user', as in row 2 \('7'\)",
    ),
    (
        {'ratings': lambda f: f.astype({'user': str})},
        r"'ratings' has str ids in column 'user' .* convert them with .astype\(int\)",
    ),
    (
        {'ratings': lambda f: changed(f, 4, user=999)},
        r"without a row in 'users': column 'user' in row 4 \(999\); add what is known",
    ),
    (
        {'ratings': lambda f: changed(f, 2, user=[7])},
        r"something else than a whole number, .* in column 'user' in row 2 \(\[7\]\)",
    ),
    (
        {'ratings': lambda f: f.assign(rating=pd.to_timedelta(f['rating'], 'D'))},
        r"no finite number in column 'rating' in row \d+ \(Timedelta",
    ),
    (
        {n: lambda f: f[f['item'] == 2001] for n in ('ratings', 'items')},
        r"'items' has a single row, which leaves no neighbours to draw; add another",
    ),
    ({'users': twice}, r"'users' repeats an id of column 'user' in row \d+ \(\d+\)"),
    ({'users': lambda f: f.iloc[:0]}, r"'users' has no rows; leave it out"),
    ({'items': lambda f: f.drop(columns='item')}, r"'items' has no column 'item'"),
    (
        {'validation': lambda f: changed(f, 0, item=12345)},
        r"'validation' names somebody or something without a row in 'items'",
    ),
]


@pytest.mark.parametrize(('change', 'message'), FIT)
def test_what_cannot_be_fitted(change, message, planted):
    frames = {
        'ratings': planted.ratings,
        'users': planted.users,
        'items': planted.items,
        'validation': planted.ratings.iloc[:5],
    }
    frames |= {name: make(frames[name]) for name, make in change.items()}
    with pytest.raises(ValueError, match=message):
        AGNNRecommender(**QUICK).fit(**frames)


def test_a_setting_that_names_no_column(planted):
    model = AGNNRecommender(user_attributes=['jobb', 'age'], **QUICK)
    with pytest.raises(ValueError, match="'users' has no column 'jobb'"):
        model.fit(planted.ratings, planted.users, planted.items)


def test_before_a_fit(planted):
    with pytest.raises(ValueError, match="Call 'fit' first, or 'load'"):
        AGNNRecommender().predict(planted.ratings)


def test_a_pair_without_a_row(recommender, planted):
    pairs = planted.later
    message = r"'pairs' names .* without a row in 'users': column 'user' in row \d+"
    with pytest.raises(ValueError, match=message):
        recommender.predict(pairs, items=planted.new_items)
    with pytest.raises(ValueError, match="without a row in 'items'"):
        recommender.predict(pairs, users=planted.new_users)
    message = r"'the pair to explain' names .* without a row in 'users'.*\(-1\)"
    with pytest.raises(ValueError, match=message):
        recommender.explain(-1, planted.items['item'].iloc[0])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (twice, r"'users' repeats an id of column 'user'"),
        (lambda f: f.drop(columns='age'), r"'users': No attribute column 'age'"),
        (lambda f: f.astype({'user': str}), r"'users' has str ids in column 'user'"),
        (
            lambda f: changed(f, 1, age='old'),
            r"'users': Column 'age' is numeric, but holds .*old. at position 1",
        ),
    ],
)
def test_new_users_that_cannot_be_read(change, message, recommender, planted):
    with pytest.raises(ValueError, match=message):
        recommender.predict(planted.later, change(planted.new_users), planted.new_items)


def test_users_to_recommend_for(recommender, planted):
    with pytest.raises(ValueError, match=r"'users' lists an id .* in row 1 \(-5\)"):
        recommender.recommend([planted.users['user'].iloc[0], -5])
    with pytest.raises(ValueError, match=r'a table or a list of ids \(got 7\); write'):
        recommender.recommend(7)
    with pytest.raises(ValueError, match="'k' must be at least 1"):
        recommender.recommend(planted.new_users, k=0)
    with pytest.raises(ValueError, match="'users' repeats an id"):
        recommender.recommend([planted.users['user'].iloc[0]] * 2)


def test_nobody_and_nothing(recommender, planted):
    empty = planted.later.iloc[:0]
    assert len(recommender.predict(empty)) == 0
    assert len(recommender.predict(empty, planted.new_users.iloc[:0])) == 0
    assert len(recommender.recommend(planted.new_users.iloc[:0])) == 0
    assert len(recommender.recommend([])) == 0
    nothing = recommender.recommend(planted.new_users, items=planted.new_items[:0])
    assert list(nothing.columns) == ['user', 'item', 'rating', 'rank']
    assert len(nothing) == 0


def test_orders_of_rows_and_columns_do_not_matter(recommender, planted):
    expected = recommender.predict(planted.later, planted.new_users, planted.new_items)
    mixed = planted.later.sample(frac=1, random_state=0)[['rating', 'item', 'user']]
    users = planted.new_users[planted.new_users.columns[::-1]].iloc[::-1]
    again = recommender.predict(mixed.assign(timestamp=0), users, planted.new_items)
    assert np.allclose(again[expected.index], expected, atol=1e-5)


def test_pairs_may_repeat(recommender, planted):
    pairs = planted.ratings.iloc[[4, 4, 5]]
    rating = recommender.predict(pairs)
    assert rating.iloc[0] == pytest.approx(rating.iloc[1], abs=1e-6)


def test_known_rows_in_a_new_table_are_what_they_were(recommender, planted):
    known = planted.ratings.iloc[:20]
    users = planted.users.assign(age=99)
    assert (recommender.predict(known, users) == recommender.predict(known)).all()


def test_missing_and_unseen_attributes(recommender, planted):
    column = planted.new_users.columns.drop(['user', 'age'])[0]
    users = changed(planted.new_users, 0, **{column: None, 'age': None})
    users = changed(users, 1, **{column: 'Löwenbändigerin'})
    users = changed(users.astype({'age': float}), 2, age=1000.0)
    users = users.astype({'age': float})
    items = planted.new_items.copy().reset_index(drop=True)
    items.at[0, 'genre'] = []
    items.at[1, 'genre'] = ['чёрно-белое']
    rating = recommender.predict(planted.later, users, items)
    low, high = planted.ratings['rating'].agg(['min', 'max'])
    assert rating.between(low, high).all()
    # An unseen value counts as one of which nothing is known.
    blank = changed(users, 1, **{column: ''}).astype({'age': float})
    unseen = planted.later['user'] == users['user'][1]
    again = recommender.predict(planted.later[unseen], blank, items)
    assert np.allclose(again, rating[unseen], atol=1e-5)


def test_of_whom_only_the_id_is_known(recommender, planted):
    blank = {c: None for c in planted.new_users if c != 'user'}
    known = planted.later['item'].isin(planted.items['item'])
    later, ids = planted.later[known], planted.new_users[['user']]
    rating = recommender.predict(later, ids)
    expected = recommender.predict(later, ids.assign(**blank))
    assert (rating == expected).all()
    top = recommender.recommend(ids, k=2, items=planted.new_items[['item']])
    assert len(top) == 2 * len(ids)
    assert top['rating'].notna().all()
    # The message that asks for a row is of help then.
    with pytest.raises(ValueError, match='if only the id'):
        recommender.predict(later)


def test_no_name_of_ours_in_messages(planted):
    model = AGNNRecommender(**QUICK, item_attributes=['genre'])
    model.fit(planted.ratings, items=planted.items)
    items = planted.new_items.rename(columns={'genre': 'Genre'})
    with pytest.raises(ValueError, match="did you mean 'Genre'") as raised:
        model.predict(planted.later, planted.new_users, items)
    assert 'constant' not in str(raised.value)


def test_names_are_no_attributes(planted):
    items = planted.items.assign(title=[f'Film {i}' for i in planted.items['item']])
    message = r"'items' left out: title \(most .*name it in 'item_attributes'"
    with pytest.warns(UserWarning, match=message):
        model = AGNNRecommender(**QUICK).fit(planted.ratings, planted.users, items)
    columns = model.fitted_.tables['item'].embedded.columns
    assert 'title' not in columns
    assert set(columns) == set(planted.items.columns) - {'item'}


def test_columns_of_other_names(planted, recommender):
    names = {'user': 'userId', 'item': 'movieId', 'rating': 'stars'}
    model = AGNNRecommender('userId', 'movieId', 'stars', **SETTINGS)
    frames = [planted.ratings, planted.users, planted.items]
    model.fit(*(frame.rename(columns=names) for frame in frames))
    known = planted.ratings.iloc[:9]
    rating = model.predict(known.rename(columns=names))
    assert rating.name == 'stars'
    assert (rating == recommender.predict(known)).all()
    users = planted.new_users.rename(columns=names)
    top = model.recommend(users, k=1)
    assert list(top.columns) == ['userId', 'movieId', 'stars', 'rank']
    # Tables of later may have others again.
    model.set_params(user='reader')
    again = model.recommend(users.rename(columns={'userId': 'reader'}), k=1)
    assert again['stars'].tolist() == top['stars'].tolist()


def test_ratings_as_text_and_unrated_users(planted):
    ratings = planted.ratings.astype({'rating': str})
    users = pd.concat([planted.users, planted.new_users])
    model = AGNNRecommender(**QUICK).fit(ratings, users, planted.items)
    assert model.fitted_.graph['user'].cold[-8:].all()
    pairs = planted.later[~planted.later['item'].isin(planted.new_items['item'])]
    assert model.predict(pairs).notna().all()


def test_predictions_stay_in_the_range_of_the_fit(planted):
    ratings = planted.ratings.assign(rating=lambda f: f['rating'].clip(2.9, 3.1))
    validation = planted.ratings.iloc[:30].assign(rating=100.0)
    model = AGNNRecommender(**QUICK)
    model.fit(ratings, planted.users, planted.items, validation)
    assert model.fitted_.rating_range == pytest.approx((2.9, 3.1))
    rating = model.predict(planted.later, planted.new_users, planted.new_items)
    assert rating.between(2.9 - 1e-6, 3.1 + 1e-6).all()
