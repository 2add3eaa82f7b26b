import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from tanp import AttentiveTaNP, TaNPRecommender
from tanp.config import PAPER
from tanp.module import TaskModule
from tests.tanp.conftest import MEDIUM

LATENT = PAPER | MEDIUM | {'lr': 0.01}
QUICK = {'support_sizes': (1, 6), 'epochs': 2, 'batch_size': 8}


def halves(users, per_user=14):
    """Users who like the items of their own half of 40."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(40)[:per_user] for _ in users])
    frame = pd.DataFrame({'user': np.repeat(users, per_user), 'item': items})
    frame['rating'] = 2.0 + 3 * (frame['user'] % 2 == frame['item'] % 2)
    frame['item'] = frame['item'].map('film {}'.format)
    return frame


def films():
    frame = pd.DataFrame({'item': [f'film {i}' for i in range(40)]})
    frame['genre'] = [['war', 'sea'] if i % 2 else ['love'] for i in range(40)]
    return frame


def people(users):
    return pd.DataFrame({'user': users, 'town': [f'town {u // 2 % 3}' for u in users]})


@pytest.fixture(scope='module')
def later():
    """Interactions of users of the next day: support, then query."""
    frame = halves(np.arange(100, 112))
    first = frame.groupby('user').cumcount() < 5
    return frame[first], frame[~first]


@pytest.fixture(scope='module')
def paper():
    """The model of the paper on ratings, with item attributes."""
    made = TaNPRecommender(**LATENT | QUICK | {'epochs': 30})
    return made.fit(halves(np.arange(80)), items=films())


@pytest.fixture(scope='module')
def attentive():
    """Two models by default settings, on labels 0 and 1, with attributes."""
    ratings = halves(np.arange(80))
    ratings['rating'] = ratings['rating'] > 3
    settings = {'support_sizes': (1, 6), 'ensemble_size': 2, 'epochs': 4}
    made = TaNPRecommender(**settings, batch_size=16)
    return made.fit(ratings, people(np.arange(80)), films())


@pytest.fixture(scope='module')
def labelled(later):
    """The next day with labels 0 and 1, and its users."""
    support, query = (frame.assign(rating=frame['rating'] > 3) for frame in later)
    return support, query, people(support['user'].unique())


def accuracy(predicted, query):
    return ((predicted > 0.5) == query['rating']).mean()


def test_the_model_of_the_paper_uses_the_support(paper, later):
    support, query = later
    predicted = paper.adapt(support).predict(query)
    assert predicted.name == 'rating'
    assert predicted.index.equals(query.index)
    score = paper.adapt(support).predict(query, clip=False)
    assert predicted.equals(score.clip(2, 5))
    assert ((predicted > 3.5) == (query['rating'] == 5)).mean() > 0.85


def test_the_default_model_uses_the_support_and_popularity_does_not(
    attentive, labelled
):
    support, query, new = labelled
    assert all(isinstance(model, AttentiveTaNP) for model in attentive.models_)
    adapted = attentive.adapt(support, new)
    predicted, std = adapted.predict(query, return_std=True)
    assert predicted.equals(adapted.predict(query))
    assert accuracy(predicted, query) > 0.9
    assert (std > 0).all()
    # The item means say nothing here.
    popular = halves(np.arange(80)).groupby('item')['rating'].mean()
    assert ((popular[query['item']].to_numpy() > 3.5) == query['rating']).mean() < 0.7
    flipped = support.assign(rating=~support['rating'])
    assert accuracy(attentive.adapt(flipped, new).predict(query), query) < 0.1


@pytest.mark.parametrize('model', ['paper', 'attentive'])
def test_recommended_are_the_items_of_the_highest_scores(model, request, labelled):
    recommender, (support, _, new) = request.getfixturevalue(model), labelled
    if model == 'paper':
        support, new = support.assign(rating=2.0 + 3 * support['rating']), None
    adapted = recommender.adapt(support, new)
    top = adapted.recommend([103, 100], k=4)
    spread = ['std'] if model == 'attentive' else []
    assert list(top.columns) == ['user', 'item', 'rating', 'score', *spread, 'rank']
    assert top['user'].tolist() == [103] * 4 + [100] * 4
    assert top['rank'].tolist() == [1, 2, 3, 4] * 2
    for user, mine in top.groupby('user'):
        seen = support.loc[support['user'] == user, 'item']
        pairs = films()[['item']].assign(user=user)
        predicted = pairs.join(adapted.predict(pairs))
        predicted['score'] = adapted.predict(pairs, clip=False)
        if spread:
            predicted['std'] = adapted.predict(pairs, return_std=True)[1]
        best = predicted[~predicted['item'].isin(seen)].nlargest(4, 'score')
        columns = ['rating', 'score', *spread]
        assert np.allclose(mine[columns], best[columns], atol=1e-5)
        assert not set(mine['item']) & set(seen)
    assert len(adapted.recommend(k=1)) == 12
    # Not by ratings, which are nearly all equal at a lower end of the range.
    fit, low = adapted.fitted, adapted.fitted.scale.low
    narrow = replace(fit, scale=replace(fit.scale, high=low + 0.01))
    narrow = replace(adapted, fitted=narrow)
    found = narrow.recommend([103, 100], k=4)
    assert found.drop(columns='rating').equals(top.drop(columns='rating'))
    assert (
        narrow.predict(top).max() <= low + 0.01 < narrow.predict(top, clip=False).max()
    )
    again = adapted.recommend([100], k=40, exclude_seen=False)
    assert set(again['item']) == set(films()['item'])


def test_recommended_from_some_items(attentive, labelled):
    support, _, new = labelled
    adapted = attentive.adapt(support, new)
    listed = adapted.recommend([100], k=99, items=['film 3', 'film 4'])
    assert set(listed['item']) <= {'film 3', 'film 4'}
    tables = pd.DataFrame({'user': [100]}), films().iloc[3:5]
    found = adapted.recommend(tables[0], k=99, items=tables[1])
    pd.testing.assert_frame_equal(found, listed)
    for nothing in (adapted.recommend([]), adapted.recommend([100], items=[])):
        assert nothing.empty
        assert list(nothing.columns) == list(listed.columns)


def test_blocks_of_users_change_nothing(attentive, labelled, monkeypatch):
    support, query, new = labelled
    adapted = attentive.adapt(support, new)
    expected = adapted.recommend(k=3), adapted.predict(query)
    for module in ('recommender', 'fitting'):
        monkeypatch.setattr(f'tanp.{module}.BLOCK_PAIRS', 100)
    pd.testing.assert_frame_equal(adapted.recommend(k=3), expected[0], atol=1e-5)
    pd.testing.assert_series_equal(adapted.predict(query), expected[1], atol=1e-5)


def test_samples_of_the_latent_path_give_a_spread(paper, attentive, labelled, later):
    adapted = paper.adapt(later[0])
    sampled = {'samples': 16, 'return_std': True}
    predicted, std = adapted.predict(later[1], **sampled)
    assert (std > 0).all()
    again = adapted.predict(later[1], **sampled)
    assert predicted.equals(again[0])
    assert std.equals(again[1])
    top = adapted.recommend([100], k=2, samples=16)
    for expected in adapted.predict(top, **sampled):
        assert np.allclose(top[expected.name], expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"'return_std'.*'ensemble_size'"):
        adapted.predict(top, return_std=True)
    assert adapted.recommend([], samples=2).empty
    support, _, new = labelled
    with pytest.raises(ValueError, match=r"'samples' .* path \(got 2\).*'ensem"):
        attentive.adapt(support, new).recommend(samples=2)


def test_spreads_within_and_between_models_add_up(later):
    support, query = later
    settings = LATENT | QUICK | {'epochs': 1, 'ensemble_size': 2}
    fitted = TaNPRecommender(**settings).fit(halves(np.arange(30)))
    sampled = {'samples': 4, 'clip': False, 'return_std': True}
    _, std = fitted.adapt(support).predict(query, **sampled)
    alone = []
    for model in fitted.models_:
        one = copy.copy(fitted)
        one._fitted_ = replace(fitted._fitted_, models=[model])
        alone.append(one.adapt(support).predict(query, **sampled))
    between = np.var([score for score, _ in alone], axis=0, ddof=1)
    within = np.mean([part**2 for _, part in alone], axis=0)
    assert np.allclose(std, np.sqrt(between + within))


def test_users_of_the_fit_do_not_see_their_own_interactions(attentive):
    # So few that nothing is certain.
    known = halves(np.arange(4), per_user=1).assign(rating=lambda f: f['rating'] > 3)
    adapted = attentive.adapt(known)
    # The same labels of new users, with the same attributes.
    renamed = known.assign(user=known['user'] + 500)
    new = people(np.arange(4)).assign(user=range(500, 504))
    one, other = (a.recommend(k=5) for a in (adapted, attentive.adapt(renamed, new)))
    assert (one['score'] - other['score']).abs().max() > 1e-4
    predicted = adapted.predict(one[['user', 'item']], clip=False)
    assert np.allclose(predicted, one['score'], atol=1e-5)


def test_attributes_of_new_users(attentive, paper, labelled):
    support, query, new = labelled
    expected = attentive.adapt(support, new).predict(query)
    with pytest.warns(UserWarning, match="'town'"):
        elsewhere = attentive.adapt(support, new.assign(town='elsewhere'))
    assert not np.allclose(expected, elsewhere.predict(query), atol=1e-6)
    with pytest.warns(UserWarning, match="'town' of 'users' is empty"):
        missing = attentive.adapt(support, new.assign(town=None)).predict(query)
    with pytest.warns(UserWarning, match="'support' has new users without attributes"):
        bare = attentive.adapt(support)
    for alone in (bare, attentive.adapt(support, new[['user']])):
        pd.testing.assert_series_equal(alone.predict(query), missing)
    last = support[support['user'] == 111].index[0]
    with pytest.raises(ValueError, match=rf"row in 'users'.* row {last} \(111"):
        attentive.adapt(support, new[:-1])
    with pytest.raises(ValueError, match="'users' was not given to 'fit'"):
        paper.adapt(support.assign(rating=5.0), new)
    known = halves(np.arange(4)).assign(rating=lambda frame: frame['rating'] > 3)
    with pytest.warns(UserWarning, match=r"'users' .* 'town' in row 0 \('town 2', "):
        attentive.adapt(known, people(np.arange(4)).assign(town='town 2'))


def test_neither_other_users_nor_order_nor_threads_change_predictions(
    attentive, labelled
):
    support, query, new = labelled
    fresh = pickle.loads(pickle.dumps(attentive))
    users, whole = support['user'].unique(), fresh.adapt(support, new)

    def serve(user):
        mine, asked = (frame[frame['user'] == user] for frame in (support, query))
        adapted = fresh.adapt(mine, new)
        shared = [whole.explain(user, 'film 3').support, whole.recommend([user], k=3)]
        shared.append(pd.DataFrame([whole.evaluate(asked)]))
        return [adapted.recommend(k=3), adapted.predict(asked).to_frame(), *shared]

    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(serve, [*users] * 2)]
    expected = [serve(user) for user in users] * 2
    for one, other in zip(found, expected, strict=True):
        for pair in zip(one, other, strict=True):
            pd.testing.assert_frame_equal(*pair)
    shuffled = attentive.adapt(support.sample(frac=1, random_state=0), new[::-1])
    mixed = shuffled.predict(query.sample(frac=1, random_state=0)).loc[query.index]
    mixed = mixed.to_frame()
    alone = pd.concat([frames[1] for frames in expected[: len(users)]])
    pd.testing.assert_frame_equal(mixed, alone.loc[query.index], atol=1e-5)


def test_a_store_holds_settings_and_shares_counts(attentive, paper, tmp_path):
    for recommender in (paper, attentive):
        recommender.save(tmp_path / 'model')
        loaded = TaNPRecommender.load(tmp_path / 'model')
        assert loaded.get_params() == recommender.get_params()
        assert loaded.history_ == recommender.history_
    for made in (attentive, loaded):
        one, two = (model.statistics for model in made.models_)
        assert one.pair_total.data_ptr() == two.pair_total.data_ptr()
        assert not torch.equal(one.fold, two.fold)


def test_settings_that_are_changed_after_the_fit(paper, later, tmp_path):
    """A store has those of the model, too; names of columns count at once."""
    support, query = later
    changed = copy.copy(paper).set_params(rating='stars', task_channels=(3,))
    changed.save(tmp_path / 'model')
    renamed = {'rating': 'stars'}
    expected = paper.adapt(support).predict(query).rename('stars')
    for model in (changed, TaNPRecommender.load(tmp_path / 'model')):
        assert model.task_channels == (3,)
        found = model.adapt(support.rename(columns=renamed)).predict(query)
        pd.testing.assert_series_equal(found, expected)
    for name, value in (('batch_size', 0), ('progress', 'x'), ('rating', None)):
        changed = copy.copy(paper).set_params(**{name: value})
        with pytest.raises(ValueError, match=name):
            changed.adapt(support)


def test_adapted_users_outlive_another_fit(later):
    support, query = later
    model = TaNPRecommender(**QUICK).fit(halves(np.arange(30)))
    adapted = model.adapt(support)
    expected = adapted.predict(query), adapted.recommend(k=3)
    model.fit(halves(np.arange(20)).assign(rating=lambda f: 2 * f['rating']))
    pd.testing.assert_series_equal(adapted.predict(query), expected[0])
    pd.testing.assert_frame_equal(adapted.recommend(k=3), expected[1])


def test_validation_selects_the_epoch(later):
    ratings, others = halves(np.arange(80)), halves(np.arange(200, 210))
    for validation in (others, later):
        settings = LATENT | QUICK | {'epochs': 4}
        model = TaNPRecommender(**settings).fit(ratings, None, films(), validation)
        losses = [epoch['val_loss'] for epoch in model.history_]
        assert model.best_epoch_ == int(np.argmin(losses))
        assert 0 < model.history_[-1]['val_ndcg@5'] <= 1
    known = ratings.groupby('user').cumcount() < 10
    with pytest.warns(UserWarning, match="users of 'ratings'"):
        TaNPRecommender(**QUICK).fit(ratings[known], validation=ratings[~known])


@pytest.fixture
def steps(monkeypatch):
    """Users, largest task and items of the queries of each batch of training."""
    read, step = [], TaskModule.training_step

    def spy(self, batch, batch_idx):
        query = batch.query_item[batch.query_mask]
        size = batch.support_mask.sum(-1) + batch.query_mask.sum(-1)
        read.append((batch.user.tolist(), int(size.max()), query.tolist()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TaskModule, 'training_step', spy)
    return read


def test_all_interactions_are_counted_and_some_are_trained_on(steps):
    """Users with many interactions train on some of them, others with every epoch."""
    lonely = pd.DataFrame({'user': [50], 'item': ['film 3'], 'rating': [5]})
    ratings = pd.concat([halves(np.arange(4)), lonely])
    settings = {'support_sizes': (1, 3), 'query_sizes': (2, 2), 'epochs': 2}
    model = TaNPRecommender(**settings).fit(ratings)
    counts = model.models_[0].statistics.user_total[:, 1]
    assert counts.tolist() == [14, 14, 14, 14, 1, 0]
    assert all(sorted(users) == [0, 1, 2, 3] and size <= 5 for users, size, _ in steps)
    assert steps[0][2] != steps[1][2]


def test_users_with_few_interactions_are_trained_on_where_most_have_few(steps):
    few = halves(np.arange(30), per_user=4)
    ratings = pd.concat([few, halves(np.arange(30, 32))])
    for least, expected in ((None, 32), (5, 2)):
        steps.clear()
        TaNPRecommender(epochs=1, batch_size=8, min_interactions=least).fit(ratings)
        assert sum(len(users) for users, *_ in steps) == expected


def test_the_published_model_is_trained_as_published():
    model = TaNPRecommender.as_published(epochs=1, support_sizes=(5, None))
    model.fit(halves(np.arange(20)).assign(rating=lambda f: 1.0 * (f['rating'] > 3)))
    made = model.models_[0]
    assert (made.likelihood, made.config.predict_support) == ('gaussian', True)
    assert (model.rating_scale_.unit, model.rating_scale_.center) == (1.0, 0.0)
    assert made.statistics is None
    assert made.user is not None
    assert 'train_kl' in model.history_[0]


def test_supports_that_cannot_be_read_are_refused(paper, later):
    for change, match in [
        (lambda f: f.iloc[:0], "'support' has no rows"),
        (lambda f: f.iloc[4:].assign(item='new'), r"does not know.* row 4 \('new'\)"),
        (lambda f: f.assign(item=[*range(5)]), "'support' has int ids.*'item'"),
    ]:
        with pytest.raises(ValueError, match=match):
            paper.adapt(change(later[0].reset_index(drop=True).iloc[:5]))


def test_requests_that_cannot_be_served_are_refused(paper, later):
    adapted, query = paper.adapt(later[0]), later[1]
    for arguments, match in (
        ({'items': ['nothing']}, 'does not know'),
        ({'items': films().drop(columns='item')}, "'items' has no column 'item'"),
        ({'k': 2.5}, "'k'"),
        ({'users': [100, 101, 100]}, "'users' repeats"),
    ):
        with pytest.raises(ValueError, match=match):
            adapted.recommend(**arguments)
    # A list of new items has no attributes, and no choice to make.
    with pytest.raises(ValueError, match="'items' must be a pandas DataFrame"):
        adapted.predict(query, items=films()['item'].tolist())
    with pytest.raises(ValueError, match=r'was not adapted to .*row .* \(7, the'):
        adapted.predict(query.assign(user=7))
    with pytest.raises(ValueError, match="'samples'"):
        adapted.predict(query, samples=-1)
    for samples in (0, 4):
        assert adapted.predict(query.iloc[:0], samples=samples).empty


def test_fits_that_cannot_be_are_refused(later):
    ratings = later[0]
    for settings, frame, match in (
        ({'likelihood': 'bernoulli'}, ratings, r"'ratings'.*\[0, 1\]"),
        ({}, ratings.drop_duplicates('user'), 'two interactions'),
        ({}, ratings[ratings['user'] < 102], "'ratings' .*got 2 users"),
        ({'min_interactions': 30}, ratings, "'min_interactions'"),
        ({'patience': 2}, ratings, "'patience' needs 'validation'"),
        ({'query_sizes': (5, 3)}, ratings, "'query_sizes'"),
    ):
        with pytest.raises(ValueError, match=match):
            TaNPRecommender(**settings).fit(frame)
    for tables in ((later[0],), (later[0], later[1][:0]), (later[0], 0.2)):
        with pytest.raises(ValueError, match="'validation'"):
            TaNPRecommender(**QUICK).fit(ratings, validation=tables)
    few = ratings[ratings['user'] < 102]
    assert TaNPRecommender(**LATENT | QUICK).fit(few).models_[0].statistics is None
    with pytest.raises(ValueError, match="Call 'fit' first"):
        TaNPRecommender().adapt(ratings)


def test_a_score_is_of_the_second_half_of_each_user_and_searches_use_it(paper, later):
    rows = pd.concat(later)
    place, size = (
        rows.groupby('user')['item'].transform(f) for f in ('cumcount', 'size')
    )
    adapted, query = paper.adapt(rows[2 * place < size]), rows[2 * place >= size]
    error = adapted.predict(query) - query['rating']
    assert paper.score(rows) == pytest.approx(-np.sqrt((error**2).mean()))
    with pytest.raises(ValueError, match="'y' must be None"):
        paper.score(rows, people(rows['user'].unique()))
    # An item that is new to the fit cannot be in the support.
    moved = rows.reset_index(drop=True)
    moved.loc[0, 'item'] = 'new film'
    known = moved.drop(0)
    place = known.groupby('user')['item'].transform('cumcount')
    size = moved.groupby('user')['item'].transform('size')
    support = known[2 * place < size.drop(0)]
    query, new = moved.drop(support.index), films().tail(1).assign(item='new film')
    found = paper.adapt(support).evaluate(query, items=new)
    assert paper.evaluate(moved, items=new) == {'ratings': len(query), **found}
    alone = moved.tail(1).assign(user=9999)
    with pytest.warns(UserWarning, match='one row of each of 1 users'):
        found = paper.evaluate(pd.concat([moved, alone]), items=new)
    assert found['ratings'] == len(query)
    # A user with one row has no query.
    with pytest.raises(ValueError, match=r"'ratings' .*two rows.*support and.*query"):
        paper.evaluate(rows.drop_duplicates('user'))
    model, grid = TaNPRecommender(**QUICK | {'epochs': 1}), {'num_gps': [0, 2]}
    search = GridSearchCV(model, grid, cv=2, error_score='raise')
    search.fit(halves(np.arange(40)), items=films())
    assert len(search.best_estimator_.adapt(later[0]).recommend([100], k=2)) == 2
    with pytest.warns(UserWarning, match="'ratings' repeats pairs of the fit in row"):
        search.best_estimator_.evaluate(halves(np.arange(40)), items=films())
    for name in ('predict', 'update'):
        with pytest.raises(AttributeError, match=rf"'{name}'; .*'adapt"):
            getattr(search.best_estimator_, name)
