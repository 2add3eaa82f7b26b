import copy
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from agnn_pyg import recommender as module
from agnn_pyg.base.checks import TableWarning
from agnn_pyg.recommender import AGNNRecommender
from tests.agnn_pyg.base.test_frames import changed
from tests.agnn_pyg.conftest import SETTINGS, rmse


def test_new_users_and_items_are_rated_by_their_attributes(recommender, planted):
    later, users, items = planted.later, planted.new_users, planted.new_items
    predicted = recommender.predict(later, users, items)
    assert predicted.index.equals(later.index)
    assert predicted.name == 'rating'
    mean = rmse(planted.ratings['rating'].mean(), later)
    assert rmse(predicted, later) < 0.9 * mean
    # It does not matter who else is in the tables.
    pair = later[later['user'].isin(users['user']) & later['item'].isin(items['item'])]
    pair = pair[:1]
    tables = users.merge(pair[['user']]), items.merge(pair[['item']])
    alone = recommender.predict(pair, *tables)
    assert alone.item() == pytest.approx(predicted[pair.index].item(), abs=1e-5)


def test_recommended_are_the_highest_predicted(recommender, planted):
    users = pd.concat([planted.new_users.iloc[:2], planted.users.iloc[:2]])
    items = pd.concat([planted.items.iloc[:20], planted.new_items])
    top = recommender.recommend(users, k=5, items=items)
    assert list(top.columns) == ['user', 'item', 'rating', 'score', 'rank']
    assert top['user'].unique().tolist() == users['user'].tolist()
    seen = set(zip(planted.ratings['user'], planted.ratings['item'], strict=True))
    for user, mine in top.groupby('user', sort=False):
        assert mine['rank'].tolist() == [1, 2, 3, 4, 5]
        pairs = items[['item']].assign(user=user)
        pairs = pairs[[(user, i) not in seen for i in pairs['item']]]
        rating = recommender.predict(pairs, users, items)
        rating.index = pairs['item']
        assert mine['score'].is_monotonic_decreasing
        assert np.allclose(mine['rating'], rating[mine['item']], atol=1e-5)
        assert mine['rating'].min() >= rating.drop(mine['item']).max() - 1e-5


def test_items_are_ranked_by_unclipped_scores(recommender, planted):
    # With a lower end of the range, most predictions would be tied.
    model = copy.copy(recommender)
    fitted = recommender._fitted_
    model._fitted_ = replace(fitted, scale=replace(fitted.scale, high=2.5))
    top = model.recommend(planted.new_users)
    assert (top['rating'] == top['score'].clip(upper=2.5)).all()
    assert (top['rating'] == 2.5).sum() > 20
    score = model.predict(top, planted.new_users, clip=False)
    assert np.allclose(top['score'], score, atol=1e-5)
    assert top.groupby('user')['score'].apply(lambda s: s.is_monotonic_decreasing).all()
    expected = recommender.recommend(planted.new_users)
    assert top['item'].equals(expected['item'])


def test_a_few_ratings_of_new_users_move_their_predictions_alone(recommender, planted):
    new = planted.new_users
    one, other = new['user'].iloc[:2]
    items = planted.items['item']
    first = pd.DataFrame({'user': one, 'item': items[:6], 'rating': 5.0})
    pairs = pd.DataFrame({'user': [one] * 9 + [other] * 9, 'item': [*items[:9]] * 2})
    without = recommender.predict(pairs, new)
    high = recommender.predict(pairs, new, ratings=first)
    low = recommender.predict(pairs, new, ratings=first.assign(rating=1.0))
    assert (high[:9] > low[:9] + 0.3).all()
    # The other user is cold; the blend scores it as before.
    assert np.allclose(high[9:], without[9:], atol=1e-6)
    for item in (items[0], items[8]):  # an explanation adds up to the prediction
        parts = recommender.explain(one, item, users=new, ratings=first)
        assert parts.rating == pytest.approx(high[pairs['item'] == item].iloc[0])
    # Rated items are seen, and a table of users is not needed.
    best = recommender.recommend(new[:1], k=3, ratings=first)
    assert not set(best['item']) & set(first['item'])
    someone = first.assign(user='new user' if new['user'].dtype == object else 900)
    with pytest.warns(TableWarning, match="new users without .* 'users'"):
        expected = recommender.predict(someone, ratings=someone)
    assert expected.notna().all()
    best = {'k': 1000, 'ratings': someone, 'exclude_seen': False}
    best = recommender.recommend(someone[['user']][:1], **best).set_index('item')
    assert np.allclose(best['rating'][someone['item']], expected)
    with pytest.raises(ValueError, match=r'does not know.*instead of ids'):
        recommender.recommend([someone['user'].iloc[0]])
    known = first.assign(user=planted.users['user'].iloc[0])
    pair = rf'row 0 \({known["user"].iloc[0]}, {items.iloc[0]}, the first of 6\)'
    cases = (known, f"{pair}.*'update'"), (first.assign(item='q'), 'item')
    for bad, named in (*cases, (first[:1].assign(item=-5), r"-5\);.*'update'")):
        with pytest.raises(ValueError, match=named):
            recommender.predict(pairs, new, ratings=bad)


def test_seen_items_filters_and_short_lists(recommender, planted):
    user = planted.ratings['user'].iloc[0]
    seen = set(planted.ratings.loc[planted.ratings['user'] == user, 'item'])
    every = recommender.recommend([user], k=1000, exclude_seen=False)
    assert set(every['item']) == set(planted.items['item'])
    unseen = recommender.recommend([user], k=1000)
    assert set(unseen['item']) == set(every['item']) - seen

    other = planted.new_users['user'].iloc[0]
    users = pd.concat([planted.users.iloc[:3], planted.new_users.iloc[:1]])
    allowed = planted.items['item'].to_numpy()[:7]

    def mine(who, items):
        return np.isin(items, allowed) if who == other else np.ones(len(items), bool)

    top = recommender.recommend(users, k=10, filter=mine)
    assert set(top.loc[top['user'] == other, 'item']) == set(allowed)
    # A mask of pandas, which cannot be written to.
    series = {'filter': lambda *asked: pd.Series(mine(*asked))}
    masked = recommender.recommend(users, k=10, **series)
    pd.testing.assert_frame_equal(masked, top)
    with pytest.raises(ValueError, match="'filter'"):
        recommender.recommend([user], filter=lambda who, items: [1.0, 2.0])
    with pytest.raises(ValueError, match=r"'filter' must be a function .* Series"):
        recommender.recommend([user], filter=pd.Series(allowed > 0))
    with pytest.raises(ValueError, match=r"'k' must be .* .got 2.5"):
        recommender.recommend(planted.new_users, k=2.5)


def test_what_is_loaded_is_what_was_saved(recommender, planted, tmp_path):
    """With settings of the next fit, which change no model."""
    settings = {'channels': 3, 'rated_edges': False, 'generate': False}
    changed = clone_fitted(recommender, **settings)
    for _ in range(2):  # the second time in its own place
        changed.save(tmp_path / 'model')
    assert [p.name for p in tmp_path.iterdir()] == ['model']
    loaded = AGNNRecommender.load(tmp_path / 'model')
    assert settings.items() <= loaded.get_params().items()
    assert loaded.get_params() == changed.get_params()
    assert loaded.history_ == recommender.history_
    user, item = planted.ratings.iloc[0][['user', 'item']]
    assert str(loaded.explain(user, item)) == str(recommender.explain(user, item))
    tables = planted.later, planted.new_users, planted.new_items
    assert loaded.predict(*tables).equals(recommender.predict(*tables))
    with pytest.raises(ValueError, match="'rating'"):
        clone_fitted(recommender, rating=None).predict(planted.ratings)


def test_without_attributes(planted):
    model = AGNNRecommender(**SETTINGS).fit(planted.ratings)
    known = planted.ratings
    assert rmse(model.predict(known), known) < known['rating'].std()
    # Somebody of whom only the id is known is rated as the average.
    pairs = pd.DataFrame({'user': [10**6, 10**6 + 1], 'item': known['item'].iloc[0]})
    with pytest.raises(ValueError, match="'users'"):
        model.predict(pairs)
    rating = model.predict(pairs, users=pairs[['user']])
    again = model.explain(10**6, pairs['item'][0], pd.Series([10**6])).rating
    assert rating.tolist() == pytest.approx([again, again])
    assert len(model.recommend(pairs[['user']], k=3)) == 6


@pytest.mark.parametrize('weight', [0, 1])
def test_a_fit_with_all_weight_on_one_model_is_that_model_alone(
    recommender, planted, weight, tmp_path
):
    alone = AGNNRecommender(**SETTINGS, kernel_weight=weight)
    alone.fit(planted.ratings, planted.users, planted.items).save(tmp_path / 'model')
    scorers = alone.scorer_.kernel, alone.scorer_.network
    assert (scorers[weight] is None, len(alone.history_) > 0) == (True, weight == 0)
    tables = planted.later, planted.new_users, planted.new_items
    expected = clone_fitted(recommender, kernel_weight=float(weight)).predict(*tables)
    for model in (alone, AGNNRecommender.load(tmp_path / 'model')):
        assert (model.predict(*tables) == expected).all()
        for other in (0.5, 1 - weight):
            changed = clone_fitted(model, kernel_weight=other)
            with pytest.raises(ValueError, match=rf"'kernel_weight' .* {weight}\."):
                changed.predict(*tables)
    if weight:
        known, rest = planted.ratings[9:], planted.ratings[:9]
        tables = known, planted.users, planted.items, rest
        with pytest.warns(TableWarning, match="'validation' has no effect"):
            AGNNRecommender(**SETTINGS, kernel_weight=1).fit(*tables)
    else:
        with pytest.raises(ValueError, match=r"'kernel_weight'.* 0.*got 0\.0"):
            changed.embeddings('item')


def test_pairs_of_other_scenarios_are_scored_by_the_network(
    recommender, planted, tmp_path
):
    some = AGNNRecommender(**SETTINGS, scenarios=('item_cold',))
    some.fit(planted.ratings, planted.users, planted.items)
    some.save(tmp_path / 'model')
    loaded = AGNNRecommender.load(tmp_path / 'model')
    known_user = planted.later['user'].isin(planted.users['user'])
    cold = planted.later[known_user]
    both = [m.predict(cold, items=planted.new_items) for m in (loaded, recommender)]
    assert np.allclose(*both, atol=1e-6)
    warm = planted.ratings.iloc[:30]
    network = clone_fitted(recommender, kernel_weight=0.0).predict(warm)
    assert np.allclose(loaded.predict(warm), network, atol=1e-6)


def clone_fitted(recommender, **settings):
    """The same fit with settings that predictions use."""
    return copy.copy(recommender).set_params(**settings)


def test_read_calls_in_threads_equal_the_sequential_ones(recommender, planted):
    pairs, (users, items) = planted.later[:50], (planted.new_users, planted.new_items)
    user, item = planted.ratings.iloc[0][['user', 'item']]
    first = planted.ratings[:3].assign(user=900)
    own = recommender.explain(user, item).terms
    calls = [
        lambda: recommender.predict(pairs, users, items).tolist(),
        lambda: recommender.predict(first, [900], ratings=first).tolist(),
        lambda: recommender.recommend(users[::-1], 3).to_dict(),
        lambda: recommender.recommend([user], 4, items).to_dict(),
        lambda: recommender.explain(users['user'].iloc[-1], item, users[-1:]).terms,
        lambda: recommender.evaluate(pairs, users, items),
        lambda: recommender.embeddings('item').to_dict(),
        lambda: recommender.similar_items(item).to_dict(),
        lambda: recommender.similar_users(user).to_dict(),
    ]
    expected = [made for call in calls for made in (call(), own)] * 3
    with ThreadPoolExecutor(8) as pool:
        jobs = []
        for call in calls * 3:
            jobs += [pool.submit(call), pool.submit(recommender.explain, user, item)]
        found = [getattr(made := job.result(), 'terms', made) for job in jobs]
    assert found == expected


@pytest.mark.parametrize('kind', ['str', 'uuid', 'float', 'category'])
def test_ids_of_any_kind(kind, recommender, planted):
    def convert(ids):
        if kind == 'uuid':
            return [uuid.UUID(int=int(i)) for i in ids]
        if kind == 'str':
            return [f'№ {i:04}' for i in ids]
        return ids.astype(kind)

    def converted(frame):
        ids = frame.columns.intersection(['user', 'item'])
        return frame.assign(**{column: convert(frame[column]) for column in ids})

    model = AGNNRecommender(**SETTINGS)
    names = ('ratings', 'users', 'items', 'later', 'new_users', 'new_items')
    frames = [converted(getattr(planted, name)) for name in names]
    model.fit(*frames[:3])
    expected = recommender.predict(planted.later, planted.new_users, planted.new_items)
    assert (model.predict(*frames[3:]) == expected).all()
    top = model.recommend(frames[4], k=1)
    assert set(top['user']) == set(frames[4]['user'])


WRONG = {'epochs': 0, 'kernel_weight': 1.5, 'cv_folds': 1, 'user': ['id']}
WRONG |= {'scenarios': [], 'components': ['film'], 'item': 'score', 'seed': 2**63}
WRONG |= {'item_attributes': {'genre': 'words'}}
WRONG |= {'candidate_fraction': 0, 'patience': 2}  # without a validation


def test_wrong_settings_are_refused_before_tables_are_read(planted, monkeypatch):
    monkeypatch.setattr(module, 'read_tables', lambda *_: pytest.fail('late'))
    for name, value in WRONG.items():
        settings = SETTINGS | {'hold_out': False, name: value}
        with pytest.raises(ValueError, match=f"'{name}'"):
            AGNNRecommender(**settings).fit(planted.ratings)


def test_held_out_ratings_are_watched(planted):
    settings = SETTINGS | {'kernel_weight': 0, 'epochs': 12, 'patience': 1}
    tables = planted.ratings, planted.users, planted.items
    model = AGNNRecommender(**settings).fit(*tables)
    assert len(model.history_) == model.best_epoch_ + 2 < 12
    with pytest.raises(ValueError, match="'patience'"):
        model.fit(*tables, stop_after=3)


@pytest.mark.filterwarnings("ignore:'validation' repeats pairs")
def test_a_fit_resumes_on_the_same_tables_with_the_same_settings_alone(
    planted, tmp_path
):
    users, items, ratings = planted.users, planted.items, planted.ratings
    settings = SETTINGS | {'kernel_weight': 0, 'hold_out': False}
    folder = {'folder': tmp_path / 'run', 'resume': True}
    whole = AGNNRecommender(**settings).fit(ratings, users, items)
    AGNNRecommender(**settings).fit(ratings, users, items, stop_after=1, **folder)
    lower = ratings.assign(rating=ratings['rating'].clip(upper=4))
    edges = pd.DataFrame({'a': users['user'][:9], 'b': users['user'][9:18].to_numpy()})
    for wrong, tables, options in (
        ({'lr': 0.1}, (ratings, users, items), {}),
        ({'channels': 4}, (ratings, users, items), {}),
        ({}, (lower, users, items), {}),
        ({}, (ratings, users.assign(age=7), items), {}),
        ({}, (ratings, users, items, ratings[:9]), {}),
        ({}, (ratings, users, items), {'user_edges': edges}),
    ):
        model = AGNNRecommender(**settings | wrong)
        with pytest.raises(ValueError, match=r"in '.*run' belongs to other tables"):
            model.fit(*tables, **options, **folder)
    resumed = AGNNRecommender(**settings).fit(ratings, users, items, **folder)
    assert resumed.history_ == whole.history_
    pairs = planted.later, planted.new_users, planted.new_items
    assert resumed.predict(*pairs).equals(whole.predict(*pairs))


def test_settings_that_are_wrong_since_the_fit(recommender, planted):
    user, item = planted.ratings[['user', 'item']].iloc[0]
    arguments = {'predict': [planted.ratings], 'recommend': [[user]]}
    for setting in [{'num_neighbors': -1}, {'candidate_fraction': 2}, {'user': ['id']}]:
        model = copy.copy(recommender).set_params(**setting)
        for call, given in (arguments | {'explain': [user, item]}).items():
            with pytest.raises(ValueError, match=f"'{next(iter(setting))}'"):
                getattr(model, call)(*given)


# Tables as they come; test_frames has what is refused.


def test_a_single_item_has_no_neighbors(planted):
    one = planted.items.iloc[[0]]
    ratings = planted.ratings.merge(one[['item']])
    for items, match in ((one, "'items' has a single row"), (None, "'ratings' has a")):
        with pytest.raises(ValueError, match=match):
            AGNNRecommender(**SETTINGS).fit(ratings, planted.users, items)


def test_tables_without_new_rows(recommender, planted):
    empty = planted.later.iloc[:0]
    assert len(recommender.predict(empty)) == 0
    assert len(recommender.predict(empty, planted.new_users.iloc[:0])) == 0
    for nobody in (planted.new_users.iloc[:0], []):
        assert len(recommender.recommend(nobody)) == 0
    nothing = recommender.recommend(planted.new_users, items=planted.new_items[:0])
    assert list(nothing.columns) == ['user', 'item', 'rating', 'score', 'rank']
    assert len(nothing) == 0
    # Rows of known users are ignored.
    known = planted.ratings.iloc[:20]
    users, expected = planted.users.assign(age=-9.0), recommender.predict(known)
    with pytest.warns(UserWarning, match=r"'users' .* known .* 'age' in row"):
        assert (recommender.predict(known, users) == expected).all()


@pytest.mark.filterwarnings("ignore:.* outside of the fitted range.* 'age' in row 2")
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
    # The kernel model reads values of any number of rows.
    model = AGNNRecommender(**SETTINGS | {'kernel_weight': 1.0, 'min_count': 1000})
    model.fit(planted.ratings, planted.users, items)
    user, item = planted.ratings.iloc[0][['user', 'item']].astype(int)
    assert any('7 = ' in name for name in model.explain(user, item).terms)


def test_ratings_of_the_fit_and_ids_to_compare_with_are_named(recommender, planted):
    rows = pd.concat([planted.ratings.iloc[[5]], planted.later])
    with pytest.warns(UserWarning, match=rf"'ratings' .* row {rows.index[0]} \("):
        recommender.evaluate(rows, planted.new_users, planted.new_items)
    for side, call, wrong in (
        ('item', recommender.similar_items, (-5,)),
        ('user', recommender.similar_users, (-7,)),
        ('item', recommender.explain, (planted.users['user'].iloc[0], -5)),
    ):
        with pytest.raises(ValueError, match=rf"'{side}' .*{wrong[-1]}"):
            call(*wrong)
