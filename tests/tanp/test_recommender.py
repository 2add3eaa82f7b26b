import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tanp import adapted as adapted_users
from tanp.frames import episodes_to_train
from tanp.recommender import TaNPRecommender

pytest.importorskip('pytorch_lightning')
from tanp.task_module import TaskModule

ROOT = Path(__file__).parents[2]
SMALL = {
    'embedding_channels': (8, 8),
    'latent_channels': (16, 16, 8, 8),
    'task_channels': (16, 8),
    'num_clusters': 2,
    'decoder_channels': (16, 16),
}
SETTINGS = {'support_size': 6, 'epochs': 12, 'lr': 0.01, 'batch_size': 8}
SETTINGS |= {'model_options': SMALL}


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
    return frame.assign(title=[f'Title {i}' for i in range(40)])


@pytest.fixture(scope='module')
def later():
    """Interactions of users of the next day: support, then query."""
    frame = halves(np.arange(100, 112))
    first = frame.groupby('user').cumcount() < 5
    return frame[first], frame[~first]


@pytest.fixture(scope='module')
def recommender():
    return TaNPRecommender(**SETTINGS).fit(halves(np.arange(80)), items=films())


@pytest.fixture(scope='module')
def adapted(recommender, later):
    return recommender.adapt(later[0])


def test_new_users_are_told_apart_by_their_support(adapted, later):
    query = later[1]
    rating = adapted.predict(query)
    assert list(rating.columns) == ['rating']
    assert rating.index.equals(query.index)
    assert rating['rating'].between(2, 5).all()
    hit = (rating['rating'] > 3.5) == (query['rating'] == 5)
    assert hit.mean() > 0.85


def test_no_gradient_step(recommender, later):
    state = {k: v.clone() for k, v in recommender.model_.state_dict().items()}
    recommender.adapt(later[0]).predict(later[1], samples=4)
    for key, value in recommender.model_.state_dict().items():
        assert torch.equal(value, state[key])


def test_a_prediction_does_not_depend_on_who_else_is_adapted_to(
    recommender, adapted, later
):
    support, query = (part[part['user'] == 107] for part in later)
    alone = recommender.adapt(support).predict(query)
    whole = adapted.predict(later[1]).loc[query.index]
    assert np.allclose(alone, whole, atol=1e-5)
    mixed = adapted.predict(later[1].sample(frac=1, random_state=0))
    assert np.allclose(mixed.loc[query.index], whole, atol=1e-5)


def test_spread(adapted, later):
    rating = adapted.predict(later[1], samples=16)
    assert list(rating.columns) == ['rating', 'std']
    assert (rating['std'] > 0).all()
    again = adapted.predict(later[1], samples=16)
    pd.testing.assert_frame_equal(rating, again)


def test_recommended_are_the_highest_predicted(adapted, later):
    top = adapted.recommend([103, 100], k=4)
    assert list(top.columns) == ['user', 'item', 'rating', 'rank']
    assert top['user'].tolist() == [103] * 4 + [100] * 4
    support = later[0]
    for user, mine in top.groupby('user'):
        seen = support.loc[support['user'] == user, 'item']
        every = pd.DataFrame({'user': user, 'item': [f'film {i}' for i in range(40)]})
        every = every[~every['item'].isin(seen)]
        rating = adapted.predict(every)['rating'].sort_values(ascending=False)
        assert np.allclose(mine['rating'], rating.iloc[:4], atol=1e-5)
        assert not set(mine['item']) & set(seen)
    assert len(adapted.recommend(k=1)) == 12
    some = adapted.recommend([100], k=99, items=['film 3', 'film 4'], samples=4)
    assert set(some['item']) <= {'film 3', 'film 4'}
    assert (some['std'] > 0).all()
    assert len(adapted.recommend([])) == 0
    tables = pd.DataFrame({'user': [100]}), films().iloc[3:5]
    listed = adapted.recommend([100], items=['film 3', 'film 4'])
    pd.testing.assert_frame_equal(
        adapted.recommend(*tables[:1], items=tables[1]), listed
    )


def test_blocks_of_users_change_nothing(adapted, monkeypatch):
    whole = adapted.recommend(k=3)
    monkeypatch.setattr('tanp.adapted.BLOCK_PAIRS', 100)
    blocked = adapted.recommend(k=3)
    assert blocked['user'].tolist() == whole['user'].tolist()
    assert np.allclose(blocked['rating'], whole['rating'], atol=1e-4)


def test_a_fresh_process_gives_the_same_digits(recommender, adapted, later, tmp_path):
    recommender.save(tmp_path / 'model')
    for name, frame in zip(('support', 'query'), later, strict=True):
        frame.to_pickle(tmp_path / name)
    code = """
import pandas as pd, torch
torch.set_num_threads(1)
from tanp.recommender import TaNPRecommender
loaded = TaNPRecommender.load('model')
adapted = loaded.adapt(pd.read_pickle('support'))
adapted.predict(pd.read_pickle('query'), samples=4).to_pickle('predicted')
"""
    subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env={'PYTHONPATH': str(ROOT), 'PATH': ''},
        check=True,
    )
    pd.testing.assert_frame_equal(
        pd.read_pickle(tmp_path / 'predicted'),
        adapted.predict(later[1], samples=4),
        check_exact=True,
    )


def test_a_pickle_gives_the_same_digits(attentive, labelled):
    support, query = labelled
    new = people(support['user'].unique())
    again = pickle.loads(pickle.dumps(attentive))
    expected = attentive.adapt(support, new).predict(query)
    found = again.adapt(support, new).predict(query)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def people(users):
    return pd.DataFrame({'user': users, 'town': [f'town {u // 2 % 3}' for u in users]})


@pytest.fixture(scope='module')
def attentive():
    """Two members by default settings, on labels 0 and 1, with users' attributes."""
    ratings = halves(np.arange(80))
    ratings['rating'] = ratings['rating'] > 3
    made = TaNPRecommender(support_size=6, members=2, epochs=4, batch_size=16)
    return made.fit(ratings, people(np.arange(80)), films())


@pytest.fixture(scope='module')
def labelled(later):
    return [frame.assign(rating=frame['rating'] > 3) for frame in later]


def accuracy(rating, query):
    return ((rating['rating'] > 0.5) == query['rating']).mean()


def test_the_default_uses_the_support_and_popularity_does_not(attentive, labelled):
    support, query = labelled
    assert attentive.model_.attention is not None
    new = people(support['user'].unique())
    rating = attentive.adapt(support, new).predict(query)
    assert accuracy(rating, query) > 0.9
    # What others like of an item says nothing here.
    popular = halves(np.arange(80)).groupby('item')['rating'].mean()
    assert ((popular[query['item']].to_numpy() > 3.5) == query['rating']).mean() < 0.7
    flipped = support.assign(rating=~support['rating'])
    assert accuracy(attentive.adapt(flipped, new).predict(query), query) < 0.1
    assert (rating['std'] > 0).all()


def test_new_users_need_the_attributes_that_others_have(
    attentive, recommender, labelled
):
    support, query = labelled
    new = people(support['user'].unique())
    with pytest.raises(ValueError, match=r"without a row in 'users'.*\(100, the first"):
        attentive.adapt(support)
    with pytest.raises(ValueError, match=r"'users' repeats an id"):
        attentive.adapt(support, pd.concat([new, new]))
    with pytest.raises(ValueError, match=r"'users' has str ids in column 'user'"):
        attentive.adapt(support, new.assign(user=new['user'].map(str)))
    with pytest.raises(ValueError, match=r"'users' was not given to 'fit'"):
        recommender.adapt(support, new)
    with pytest.raises(ValueError, match=r"'user_attributes' names columns, but"):
        TaNPRecommender(user_attributes=['town']).fit(support)
    # The order of a table means nothing, and a value never seen is no error.
    rating = attentive.adapt(support, new).predict(query)
    shuffled = attentive.adapt(support, new[::-1]).predict(query)
    assert np.allclose(rating, shuffled, atol=1e-6)
    moved = attentive.adapt(support, new.assign(town='elsewhere')).predict(query)
    assert not np.allclose(rating, moved, atol=1e-6)
    # The row that is named is the support's.
    few = support.iloc[3:].rename(lambda row: f'row {row}')
    lacks = new[new['user'] != support['user'].iloc[-1]]
    last = support.index[support['user'] == support['user'].iloc[-1]][0]
    with pytest.raises(ValueError, match=rf'in row row {last} \('):
        attentive.adapt(few, lacks)


def test_users_of_whom_only_the_id_is_known(attentive, labelled):
    support, query = labelled
    new = people(support['user'].unique())
    rating = attentive.adapt(support, new[['user']]).predict(query)
    missing = attentive.adapt(support, new.assign(town=None)).predict(query)
    pd.testing.assert_frame_equal(rating, missing)


def test_users_of_the_fit_are_not_told_of_themselves(attentive):
    # So few that nobody is sure of anything.
    known = halves(np.arange(4), per_user=1).assign(rating=lambda f: f['rating'] > 3)
    adapted = attentive.adapt(known)
    statistics = attentive.model_.inputs.statistics
    assert not statistics.strangers(torch.from_numpy(adapted._row)).any()
    # The same labels under another name are those of a stranger.
    renamed = known.assign(user=known['user'] + 500)
    new = people(np.arange(4)).assign(user=range(500, 504))
    stranger = attentive.adapt(renamed, new)
    one, other = (users.recommend(k=5) for users in (adapted, stranger))
    assert (one['rating'] - other['rating']).abs().max() > 1e-4
    pairs = one[['user', 'item']]
    assert np.allclose(adapted.predict(pairs)['rating'], one['rating'], atol=1e-5)


def test_a_catalogue_is_read_once_a_fit(recommender, later, monkeypatch):
    read = []
    scorer = adapted_users.CatalogueScorer.__init__
    monkeypatch.setattr(
        adapted_users.CatalogueScorer,
        '__init__',
        lambda self, model: read.append(model) or scorer(self, model),
    )
    copied = pickle.loads(pickle.dumps(recommender))
    for _ in range(2):
        top = copied.adapt(later[0]).recommend(k=3)
    assert len(read) == 1
    pd.testing.assert_frame_equal(top, recommender.adapt(later[0]).recommend(k=3))


def test_recommended_by_two_members(attentive, labelled, tmp_path):
    support, _ = labelled
    new = people(support['user'].unique())
    adapted = attentive.adapt(support, new)
    top = adapted.recommend([104, 101], k=3)
    assert list(top.columns) == ['user', 'item', 'rating', 'std', 'rank']
    rating = adapted.predict(top[['user', 'item']])
    assert np.allclose(rating, top[['rating', 'std']], atol=1e-5)
    attentive.save(tmp_path / 'model')
    loaded = TaNPRecommender.load(tmp_path / 'model').adapt(support, new)
    pd.testing.assert_frame_equal(loaded.recommend([104, 101], k=3), top)
    with pytest.raises(ValueError, match=r"'samples' needs a latent path.*'members'"):
        adapted.recommend(samples=2)


def test_too_few_users_for_statistics(later):
    few = later[0][later[0]['user'] < 102]
    with pytest.raises(ValueError, match=r'2 user.*of items need three users'):
        TaNPRecommender(epochs=1).fit(few)
    plain = TaNPRecommender(epochs=1, statistics=False, model_options=SMALL).fit(few)
    assert plain.model_.inputs.statistics is None


def test_validation_selects_the_epoch():
    validation = halves(np.arange(200, 210))
    model = TaNPRecommender(**SETTINGS | {'epochs': 4})
    model.fit(halves(np.arange(80)), items=films(), validation=validation)
    losses = [epoch['val_loss'] for epoch in model.history_]
    assert model.best_epoch_ == int(np.argmin(losses))


def test_validation_judges_small_supports_by_more_than_one_query():
    row = np.arange(30)
    episodes = episodes_to_train(row // 6, row, row * 1.0, support_size=20, seed=0)
    assert episodes.num_support.tolist() == episodes.num_query.tolist() == 5 * [3]


def test_all_is_counted_and_some_is_trained_on(monkeypatch):
    """Those with many interactions train on some of them, others with every epoch."""
    read = []
    step = TaskModule.training_step

    def spy(self, batch, batch_idx):
        query = batch.query_item[batch.query_mask]
        size = batch.support_mask.sum(-1) + batch.query_mask.sum(-1)
        read.append((batch.user.tolist(), int(size.max()), query.tolist()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TaskModule, 'training_step', spy)
    lonely = pd.DataFrame({'user': [50], 'item': ['film 3'], 'rating': [5]})
    ratings = pd.concat([halves(np.arange(4)), lonely])
    settings = {'support_size': 3, 'max_size': 5, 'epochs': 2, 'statistics': True}
    model = TaNPRecommender(**settings).fit(ratings)
    tally = model.model_.inputs.statistics.tally
    assert tally.user_size.tolist() == [14, 14, 14, 14, 1, 0]
    users, others = (users for users, *_ in read)
    assert sorted(users) == sorted(others) == [0, 1, 2, 3]
    assert max(size for _, size, _ in read) <= 5
    assert read[0][2] != read[1][2]


def test_members_share_what_is_counted(attentive, tmp_path):
    attentive.save(tmp_path / 'model')
    for made in (attentive, TaNPRecommender.load(tmp_path / 'model')):
        one, two = (model.inputs.statistics for model in made.models_)
        assert one.tally.pair.data_ptr() == two.tally.pair.data_ptr()
        assert not torch.equal(one.fold, two.fold)


def test_what_only_the_unrated_have_is_as_what_nobody_has(later):
    users = people(np.arange(32)).assign(
        town=lambda f: f['town'].where(f.index < 20, 'x')
    )
    model = TaNPRecommender(epochs=1, support_size=6, min_count=2)
    model.fit(halves(np.arange(20)), users, films())
    new = people(later[0]['user'].unique())
    found, expected, other = (
        model.adapt(later[0], new.assign(town=town)).predict(later[1])
        for town in ('x', 'nowhere', 'town 1')
    )
    assert found.equals(expected)
    assert not found.equals(other)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'members': 0}, r"'members' must be .*at least 1 \(got 0\)"),
        ({'epochs': 0}, r"'epochs' must be .*at least 1 \(got 0\)"),
        ({'epochs': 2.5}, r"'epochs' must .* \(got 2.5\)"),
        ({'epochs': True}, r"'epochs' must .* \(got True\)"),
        ({'seed': -1}, r"'seed' must be .* \(got -1\)"),
        ({'ema_decay': 1.5}, r"'ema_decay' must be .* \(got 1.5\)"),
        ({'user_attributes': 'age'}, r"'user_attributes' .*\['age'\].*\(got 'age'\)"),
        ({'item': 'user'}, r"'user', 'item' and 'rating' must be three columns"),
        ({'batch_size': '8'}, r"'batch_size' must .* \(got '8'\)"),
        ({'max_size': 20}, r"'max_size' must exceed 'support_size' \(20\).*got 20"),
        ({'patience': 0}, r"'patience' must be .* \(got 0\)"),
        ({'patience': 2}, r"'patience' needs 'validation' .*got 2 .*set it to None"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    ratings = halves(np.arange(6))
    with pytest.raises(ValueError, match=message):
        TaNPRecommender(**settings).fit(ratings, validation=ratings.iloc[:0])


def test_ratings_that_are_all_equal():
    ratings = halves(np.arange(6)).assign(rating=1)
    message = r"'ratings' are all 1, .* a lower rating such as 0"
    with pytest.raises(ValueError, match=message):
        TaNPRecommender().fit(ratings)


def test_whole_numbers_of_numpy(later, tmp_path):
    names = ('members', 'epochs', 'batch_size', 'support_size', 'max_size', 'seed')
    settings = dict(zip(names, np.array([2, 1, 8, 6, 50, 3]), strict=True))
    model = TaNPRecommender(**settings, statistics=False, model_options=SMALL)
    model.fit(halves(np.arange(20))).save(tmp_path / 'model')
    made = TaNPRecommender.load(tmp_path / 'model').adapt(later[0])
    assert len(made.recommend([np.int64(103)], k=np.int64(3))) == 3


def test_labels_are_probabilities(later):
    frames = [halves(np.arange(20)), *later]
    ratings, support, query = (f.assign(rating=f['rating'] > 3) for f in frames)
    model = TaNPRecommender(**SETTINGS | {'epochs': 2}).fit(ratings)
    assert model.model_.likelihood == 'bernoulli'
    assert model.adapt(support).predict(query)['rating'].between(0, 1).all()
    with pytest.raises(ValueError, match=r'must lie in \[0, 1\]'):
        model.adapt(support.assign(rating=5.0)).predict(query)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda f: f.iloc[:0], "'support' has no rows; adapting needs"),
        (
            lambda f: f.iloc[4:].assign(item='new'),
            r"does not know in .* row 4 \('new'\); drop",
        ),
        (
            lambda f: f.assign(item=[*range(5)]),
            "'support' has int ids in column 'item'",
        ),
        (lambda f: pd.concat([f, f]), 'rates a pair for the second time'),
        (lambda f: f.drop(columns='rating'), "'support' has no column 'rating'"),
        (lambda f: f.assign(user=None), "'support' misses the id in column 'user'"),
        (
            lambda f: f.assign(user=f['user'].map(str)),
            r"'support' has str ids in column 'user'.*are int .such as 0.*astype.int",
        ),
        (
            lambda f: f.assign(rating=[2, 5, 99, 2, 1]),
            r'a rating in row 2 \(99, the first of 2\) .* must lie in \[2, 5\]; bring',
        ),
    ],
)
def test_supports_that_cannot_be_read(change, message, recommender, later):
    support = change(later[0].reset_index(drop=True).iloc[:5])
    with pytest.raises(ValueError, match=message):
        recommender.adapt(support)


def test_pairs_that_cannot_be_rated(adapted, later):
    with pytest.raises(ValueError, match=r'was not adapted to in .*row .* \(7, the'):
        adapted.predict(later[1].assign(user=7))
    with pytest.raises(ValueError, match='names an item that the fit does not know'):
        adapted.recommend(items=['nothing'])
    for given, name in ((100, 'users'), ('film 3', 'items')):
        message = rf"'{name}' must be a table or a list .*; write \[{given!r}\]"
        with pytest.raises(ValueError, match=message):
            adapted.recommend(**{name: given})
    with pytest.raises(ValueError, match="'items' has no column 'item'"):
        adapted.recommend(items=films().drop(columns='item'))
    with pytest.raises(ValueError, match=r"'k' must be .*at least 1"):
        adapted.recommend(k=0)
    for k in (2.5, '3', None, True):
        with pytest.raises(ValueError, match=rf"'k' must .*got {k!r}"):
            adapted.recommend(k=k)
    with pytest.raises(ValueError, match=r"'samples' must be .*at least 0 .got -1"):
        adapted.predict(later[1], samples=-1)
    for asked, given in (('users', [100, 101, 100]), ('items', ['film 3'] * 2)):
        with pytest.raises(ValueError, match=rf"'{asked}' repeats an id of column"):
            adapted.recommend(**{asked: given})


def test_nothing_to_rate(adapted, later):
    nothing = later[1].iloc[:0]
    for samples, columns in ((0, ['rating']), (4, ['rating', 'std'])):
        made = adapted.predict(nothing, samples)
        assert made.empty
        assert list(made.columns) == columns
        assert made.dtypes.eq(float).all()


def test_settings_that_were_changed_since_the_fit(recommender, later):
    support = later[0]
    for name, value, message in (
        ('rating', 'std', "'rating' must not be"),
        ('progress', 'x', "'progress' must be True or False"),
        ('batch_size', 0, "'batch_size' must be .*at least 1"),
    ):
        changed = copy.copy(recommender).set_params(**{name: value})
        with pytest.raises(ValueError, match=message):
            changed.adapt(support.rename(columns={'rating': changed.rating}))
    # TaNP makes no such column, as AGNN does.
    renamed = {'rating': 'message'}
    changed = copy.copy(recommender).set_params(rating='message')
    made = changed.adapt(support.rename(columns=renamed)).predict(later[1])
    expected = recommender.adapt(support).predict(later[1])
    pd.testing.assert_frame_equal(made, expected.rename(columns=renamed))


def test_fits_that_cannot_be(later):
    settings = SETTINGS | {'likelihood': 'bernoulli'}
    with pytest.raises(
        ValueError, match=r"'ratings' has a rating .* under likelihood 'bernoulli'"
    ):
        TaNPRecommender(**settings).fit(later[0])
    with pytest.raises(ValueError, match="'likelihood' must be one of"):
        TaNPRecommender(likelihood='poisson').fit(later[0])
    with pytest.raises(ValueError, match="Call 'fit' first"):
        TaNPRecommender().adapt(later[0])
    lonely = later[0].drop_duplicates('user')
    with pytest.raises(ValueError, match="'ratings' has no user with two interactions"):
        TaNPRecommender().fit(lonely)
    with pytest.raises(ValueError, match="'ratings' has no rows; there is nothing"):
        TaNPRecommender().fit(lonely.iloc[:0])


def test_what_was_adapted_outlives_another_fit(later):
    first, later = later
    fit = TaNPRecommender(epochs=1, support_size=6).fit(halves(np.arange(30)))
    adapted = fit.adapt(first)
    expected = adapted.predict(later), adapted.recommend(k=3)
    other = halves(np.arange(20)).assign(rating=lambda f: 2 * f['rating'])
    fit.fit(other)
    for made, before in zip(
        (adapted.predict(later), adapted.recommend(k=3)), expected, strict=True
    ):
        pd.testing.assert_frame_equal(made, before)


def test_random_numbers_go_on_where_they_were():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    TaNPRecommender(epochs=1, support_size=6).fit(halves(np.arange(10)))
    assert torch.equal(torch.rand(3), expected)


def test_validation_ranks_labels_as_they_were_given():
    frames = halves(np.arange(20)), halves(np.arange(20, 30))
    fit = TaNPRecommender(epochs=1, support_size=4)
    fit.fit(frames[0], validation=frames[1])
    assert 0 < fit.history_[-1]['val_ndcg@5'] <= 1


def test_few_of_many_interactions_do_not_drop_the_others():
    few = halves(np.arange(30), per_user=4)
    ratings = pd.concat([few, halves(np.arange(30, 32))])
    fit = TaNPRecommender(epochs=1, support_size=4, batch_size=8)
    steps = []
    forward = TaskModule.training_step

    def seen(self, batch, index):
        steps.append(len(batch.user))
        return forward(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskModule, 'training_step', seen)
        fit.fit(ratings)
    assert sum(steps) == 32


def test_regression_alone_recommends_what_it_predicts(later):
    first, _ = later
    fit = TaNPRecommender(
        epochs=1, support_size=6, model_options={'attention_heads': 0}
    )
    adapted = fit.fit(halves(np.arange(30))).adapt(first)
    top = adapted.recommend(k=3)
    assert np.allclose(adapted.predict(top)['rating'], top['rating'], atol=1e-5)


@pytest.mark.parametrize(
    ('settings', 'match'),
    [
        ({'rating': 'std'}, "'rating' must not be .*'std'"),
        ({'user': ['user']}, r"'user' must be .* \(got \['user'\]\)"),
        ({'model_options': 'abc'}, "'model_options' must be a mapping"),
        (
            {'model_options': {'dropuot': 0.1}},
            "'model_options': .*'dropuot', did you mean 'dropout'",
        ),
        (
            {'model_options': {'user_ids': True}},
            "no setting 'user_ids'",
        ),
        (
            {'model_options': {'embedding_channels': {8, 16}}},
            r"'model_options': 'embedding_channels' must be a list",
        ),
        (
            {'model_options': {'attention_heads': -1}},
            r"'model_options': 'attention_heads' must be .*got -1",
        ),
    ],
)
def test_settings_that_no_model_has(settings, match):
    ratings = halves(np.arange(10))
    if settings.get('rating') == 'std':
        ratings = ratings.rename(columns={'rating': 'std'})
    with pytest.raises(ValueError, match=match):
        TaNPRecommender(**settings).fit(ratings)


def test_no_scale_of_ratings_is_better_than_another(later):
    """By a power of two, of which no digit is rounded."""
    frames = halves(np.arange(12)), halves(np.arange(50, 54)), *later
    made = {}
    for scale in (1, 32):
        train, held_out, support, query = (
            f.assign(rating=scale * f['rating']) for f in frames
        )
        model = TaNPRecommender(**SETTINGS | {'epochs': 1, 'members': 2})
        today = model.fit(train, validation=held_out).adapt(support)
        top = today.recommend(k=2)
        values = today.predict(query).to_numpy().ravel()
        made[scale] = [*values, *top['rating'], *top['std']]
    assert made[32] == [32 * value for value in made[1]]
