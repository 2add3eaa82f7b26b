"""What both recommenders make of tables and settings that are not as they should be."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from agnn_pyg.__main__ import main as agnn
from agnn_pyg.base import encoder, frames, nodes
from agnn_pyg.base.checks import TableWarning
from agnn_pyg.base.columns import STYPES
from agnn_pyg.recommender import AGNNRecommender
from tanp.__main__ import main as tanp
from tanp.recommender import TaNPRecommender
from tests.agnn_pyg.test_command import shell
from tests.conftest import run_python

AGNN = {'epochs': 2, 'steps': 3, 'channels': 8, 'kernel_weight': 0.0}
TANP = {'epochs': 2, 'min_count': 2}


def recommender(name, **settings):
    if name == 'AGNN':
        return AGNNRecommender(**AGNN | settings)
    return TaNPRecommender(**TANP | settings)


def predicted(model, pairs, users=None, support=None):
    if isinstance(model, AGNNRecommender):
        return model.predict(pairs, users)
    return model.adapt(support, users).predict(pairs)


@pytest.fixture(scope='module')
def tables():
    """Cooks like war films and others like love films; ids are whole numbers."""
    rng = np.random.default_rng(0)
    users = pd.DataFrame({'user': range(40), 'zone': rng.choice(['1', '2'], 40)})
    items = pd.DataFrame({'item': range(30), 'genre': rng.choice(['war', 'love'], 30)})
    pairs = [(u, i) for u in range(40) for i in rng.choice(30, 15, replace=False)]
    ratings = pd.DataFrame(pairs, columns=['user', 'item'])
    likes = (users['zone'][ratings['user']].to_numpy() == '1') == (
        items['genre'][ratings['item']].to_numpy() == 'war'
    )
    ratings['rating'] = np.where(likes, 4.0, 2.0) + rng.integers(0, 2, len(ratings))
    return ratings, users, items


@pytest.fixture(scope='module', params=['AGNN', 'TaNP'])
def fitted(request, tables):
    """Each recommender in turn; no test changes it."""
    return recommender(request.param).fit(*tables)


both = pytest.mark.parametrize('name', ['AGNN', 'TaNP'])


@both
def test_the_range_of_ratings_is_a_setting(name, tables):
    with pytest.raises(ValueError, match=r"'rating_range'.*\(5.0, 1.0\)"):
        recommender(name, rating_range=(5.0, 1.0)).fit(*tables)
    with pytest.raises(ValueError, match=r"'rating_range'.*highest.*10"):
        recommender(name, rating_range=10).fit(*tables)
    with pytest.raises(ValueError, match=r"'rating_range'.*'rating' in row \d+ \(5.0"):
        recommender(name, rating_range=(1, 4)).fit(*tables)
    model = recommender(name, rating_range=(0, 5)).fit(*tables)
    # A rating that nobody gave in the fit, but that is in the range.
    support = pd.DataFrame({'user': [98, 99], 'item': [0, 1], 'rating': [0.0, 5]})
    new = pd.DataFrame({'user': [98, 99], 'zone': ['1', '2']})

    def serve(rows):
        if name == 'AGNN':
            return model.predict(rows, new, ratings=rows)
        return model.adapt(rows, new).predict(rows)

    assert serve(support).between(0, 5).all()
    with pytest.raises(ValueError, match=r"'(support|ratings)'.*row 0 \(-1"):
        serve(support.assign(rating=-1.0))
    model.set_params(rating_range=(1, 5))
    with pytest.raises(ValueError, match="'rating_range' must be that of the fit"):
        serve(support)


def test_ratings_of_another_scale_are_refused_when_served(fitted, tables):
    """Of a fit on 2 to 5, those beyond by more than half of that."""
    later = pd.DataFrame({'user': 98, 'item': [0, 1, 2], 'rating': [2.0, 3.0, 5.0]})
    new = pd.DataFrame({'user': [98], 'zone': ['1']})
    is_tanp = isinstance(fitted, TaNPRecommender)

    def serve(rows):
        if is_tanp:
            return fitted.adapt(rows, new)
        return fitted.predict(rows, new, ratings=rows)

    def validate(rows):
        ratings, *nodes = tables
        mine = ratings['user'] == 0
        held_out = ratings[mine][:3].assign(rating=rows['rating'])
        clone(fitted).fit(ratings[~mine], *nodes, validation=held_out)

    def evaluate(rows):
        if is_tanp:
            return fitted.adapt(later.assign(item=[3, 4, 5]), new).evaluate(rows)
        return fitted.evaluate(rows, new)

    for call in (serve, validate, evaluate):
        for value in (0.0, 7.0, 99.0):
            named = rf"\[0.5, 6.5\].*'rating' in row 2 \({value}\)"
            with pytest.raises(ValueError, match=named):
                call(later.assign(rating=[2.0, 3.0, value]))
        with pytest.warns(UserWarning, match=r"no whole .*'rating' in row 1 \(2.5\)"):
            call(later.assign(rating=[5.0, 2.5, 3.0]))
        for value in (1.0, 6.0):
            with pytest.warns(UserWarning, match=rf"'rating' in row 2 \({value}\)"):
                call(later.assign(rating=[5.0, 3.0, value]))


def test_requests_without_rows_or_a_choice_are_refused(fitted, tables):
    adapted = fitted
    if isinstance(fitted, TaNPRecommender):
        adapted = fitted.adapt(tables[0][:30], tables[1])
    with pytest.raises(ValueError, match=r"'exclude_seen' .*'no'"):
        adapted.recommend([0], exclude_seen='no')
    with pytest.raises(ValueError, match=r"'clip' .*'no'"):
        adapted.predict(tables[0][:3], clip='no')
    with pytest.raises(ValueError, match=r"'ratings' has no rows"):
        adapted.evaluate(tables[0][:0])
    rated = tables[0]['item'][tables[0]['user'] == 0]
    low = pd.DataFrame({'user': 0, 'item': [*{*range(30)} - {*rated}], 'rating': 2.0})
    with pytest.warns(UserWarning, match="'ratings' has no relevant .*upper quarter"):
        assert np.isnan(adapted.evaluate(low)['recall@20'])


@both
def test_a_validation_is_a_table_with_rows(name, tables):
    for wrong, match in ((tables[0][:0], 'has no rows'), (0.2, 'must .*got float')):
        with pytest.raises(ValueError, match=f"'validation' {match}"):
            recommender(name).fit(*tables, validation=wrong)


@both
def test_fits_in_threads_and_ids_with_spaces(name, tables):
    ratings = tables[0].assign(item=tables[0]['item'].map('film {}'.format))

    def fit(seed):
        model = recommender(name, seed=seed).fit(ratings)
        return predicted(model, ratings[:30], None, ratings[:30]).tolist()

    expected = [fit(seed) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(fit, (0, 1))] == expected
    ratings.loc[7, 'item'] += ' '
    with pytest.warns(UserWarning, match=r"spaces .*'item' in row 7"):
        fit(0)
    users = pd.DataFrame({'user': ['a', 'b '], 'age': [1, 2]})
    with pytest.warns(UserWarning, match=r"'users' .*spaces .*'user' in row 1"):
        nodes.read_nodes(recommender(name).config, 'user', users, None)
    if name == 'AGNN':
        model = recommender(name).fit(ratings.drop(index=7))
        with pytest.warns(UserWarning, match=r"spaces .*'item' in row 7"):
            model.update(ratings.loc[[7]])
        with pytest.warns(UserWarning, match=r"'items' .* case.* row 0 \('FILM 5'\)"):
            model.predict(ratings[:1], items=['FILM 5', 'film 2000'])
        with pytest.warns(UserWarning, match=r"'items' .*missing .* row 1 \('<NA>'\)"):
            model.predict(ratings[:1], items=['NA', '<NA>'])
    ratings.loc[7:10, 'item'] = ['null', 'NaT', 'Unknown', 'nan']
    with pytest.warns(UserWarning, match=r"missing .*'item' in row 8 \('NaT', .* of 3"):
        fit(0)
    with pytest.warns(UserWarning, match=r"missing .*'user' in row 0 \(-1, the"):
        recommender(name).fit(tables[0].replace({'user': {tables[0]['user'][2]: -1}}))


@both
def test_a_fit_reads_each_column_once(name, tables, monkeypatch):
    """Of ids and of attributes."""
    reads = Counter()

    def count(module, name):
        function = getattr(module, name)

        def counted(frame, column, *args, **kwargs):
            reads[id(frame), column] += 1
            return function(frame, column, *args, **kwargs)

        monkeypatch.setattr(module, name, counted)

    for module in (frames, nodes):
        count(module, 'read_ids')
    for module in (encoder, nodes):
        count(module, 'parse_column')
    rows, *sides = tables
    ratings, validation = rows[rows['user'] % 2 == 0], rows[rows['user'] % 2 == 1]
    few = {'kernel_weight': None, 'kernel_steps': 0, 'cv_folds': 2}
    few = few if name == 'AGNN' else {}
    recommender(name, **few).fit(ratings, *sides, validation)
    of_nodes = [(id(frame), c) for frame in sides for c in frame.columns]
    rated = [(id(f), c) for f in (ratings, validation) for c in ('user', 'item')]
    assert reads == Counter(of_nodes + rated)


def test_a_column_that_a_served_table_lacks_can_be_added_empty(fitted, tables):
    pairs = pd.DataFrame({'user': [99], 'item': [0], 'rating': [4.0]})
    new = pd.DataFrame({'user': [99], 'age': [7]})
    with pytest.raises(ValueError, match=r"'users' .*'zone'.* or add it, empty"):
        predicted(fitted, pairs, new, pairs)
    assert np.isfinite(predicted(fitted, pairs, new.assign(zone=None), pairs)).all()
    many = pd.concat(5 * [new.assign(zone=None)]).assign(user=range(99, 104))
    ratings, users, items = tables
    for known, share in ((users['user'] >= 0, '100'), (users['user'] >= 4, '90')):
        zone = users['zone'].where(known)
        model = clone(fitted).fit(ratings, users.assign(zone=zone), items)
        empty = rf"'zone' of 'users' is empty, .* {share}%"
        with pytest.warns(UserWarning, match=empty):
            predicted(model, pairs, many, pairs)


@both
def test_a_default_of_double_precision_is_no_obstacle(name, tables):
    model = recommender(name, **{'kernel_weight': 0.5} if name == 'AGNN' else {})
    first = pd.DataFrame({'user': [98, 99], 'item': [0, 1], 'rating': [2.0, 5.0]})
    new = pd.DataFrame({'user': [98, 99], 'zone': ['1', '2']})

    def served():
        if name == 'AGNN':
            return model.predict(first, new, ratings=first)
        return model.adapt(first, new).predict(first)

    before = model.fit(*tables) and served()
    torch.set_default_dtype(torch.double)
    try:
        assert np.allclose(served(), before, atol=1e-5)
        model.fit(*tables)
    finally:
        torch.set_default_dtype(torch.float)
    assert np.isfinite(served()).all()


@both
def test_settings_are_those_that_were_saved(name, tables, tmp_path):
    ratings, users, items = tables
    items = pd.DataFrame({'item': items['item'], 0: items['genre'], 1: 1.5})
    settings = {'item_attributes': {0: 'text', 1: None}}
    settings |= {'user_attributes': np.array(['zone']), 'lr': np.float32(0.5)}
    settings |= {'rating_range': [1, 5], 'progress': True, 'seed': np.int64(3)}
    settings |= (
        {'cold_dropout': [0, 0.5]} if name == 'AGNN' else {'query_sizes': [2, 9]}
    )
    model = recommender(name, **settings).fit(ratings, users, items)
    model.save(tmp_path / 'model')
    loaded = type(model).load(tmp_path / 'model')
    # How to run is nothing of the model.
    assert loaded.get_params() == model.get_params() | {'progress': False}
    rows = ratings[ratings['user'] < 3]
    again = loaded.fit(ratings, users, items)
    expected = predicted(model, rows, support=rows)
    assert predicted(again, rows, support=rows).tolist() == expected.tolist()


@both
def test_users_and_items_that_are_swapped_are_named(name, tables):
    ratings, users, items = tables
    with pytest.raises(ValueError, match=r"'users' .*'item'.* as 'items'"):
        recommender(name).fit(ratings, items, users)


@both
def test_types_of_columns_are_named(name):
    made = recommender(name, item_attributes={'genre': 'words'})
    with pytest.raises(ValueError, match="'item_attributes'") as caught:
        _ = made.config
    for text in (str(caught.value), type(made).__doc__):
        assert all(repr(stype) in text for stype in STYPES)


@both
def test_remarks_of_the_shell_are_the_warnings_of_python(name, tables, here, capsys):
    ratings, users, items = tables
    days = pd.date_range('1990-01-01', periods=30)
    items = items.assign(added=[*map(str, days.date[1:]), '1990-13-45'])
    items['shown'] = days.strftime('%d.%m.%Y')
    users = users.assign(code=users['user'] + 7000)
    with pytest.warns(TableWarning) as caught:
        recommender(name).fit(ratings, users, items)
    assert {w.filename for w in caught} == {__file__}
    for table, frame in (('ratings', ratings), ('users', users), ('items', items)):
        frame.to_csv(f'{table}.csv', index=False)
    main, settings = (agnn, AGNN) if name == 'AGNN' else (tanp, TANP)
    settings = ' '.join(f'--set {key}={value}' for key, value in settings.items())
    tables = 'ratings.csv --users users.csv --items items.csv'
    shell(main, f'fit {tables} --set progress=False {settings} --model model')
    texts = [str(w.message).replace('row 29', 'line 31') for w in caught]
    remarks = capsys.readouterr().err
    assert [text in remarks for text in texts] == 3 * [True]


@both
def test_one_scale_of_ratings_is_as_good_as_another(name, tables):
    """By a power of two, of which no digit is rounded."""
    ratings, *nodes = tables
    few = {'kernel_weight': None, 'kernel_steps': 1, 'cv_folds': 2}
    few = few if name == 'AGNN' else {'ensemble_size': 2}
    made = {}
    for scale in (1, 32):
        frame = ratings.assign(rating=scale * ratings['rating'])
        known, rows = frame[frame['user'] > 4], frame[frame['user'] <= 4]
        if name == 'AGNN':
            known, rows = frame.iloc[::2], frame.iloc[1::2]
        model = recommender(name, **few).fit(known, *nodes, rows)
        if name == 'AGNN':
            why = model.explain(0, 1)
            values = [why.rating, *why.terms.values(), *why.ratings['contribution']]
            values += [model.history_[-1]['val_rmse']]
        else:
            top = model.adapt(rows, nodes[0]).recommend(k=2)
            values = [*top['score'], *top['std']]
        rating = predicted(model, rows, nodes[0], support=rows)
        made[scale] = np.array([*values, *rating])
    assert np.array_equal(made[32], 32 * made[1])


FRESH = """
import pandas as pd, torch
torch.set_num_threads(1)
from tests.test_both_recommenders import AGNNRecommender, TaNPRecommender, predicted
rows = pd.read_pickle('rows')
for name, kind in (('AGNN', AGNNRecommender), ('TaNP', TaNPRecommender)):
    predicted(kind.load(name), rows, support=rows).to_pickle(f'{name} predicted')
"""


def test_a_seed_gives_the_same_digits_in_any_process(tables, tmp_path, monkeypatch):
    rows, expected = tables[0][tables[0]['user'] < 9], {}
    torch.manual_seed(7)
    state, seeds = torch.get_rng_state(), []
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', seeds.append)
    for name in ('AGNN', 'TaNP'):
        model, again = (recommender(name).fit(*tables) for _ in range(2))
        expected[name] = predicted(model, rows, support=rows)
        found = predicted(again, rows, support=rows)
        pd.testing.assert_series_equal(found, expected[name], check_exact=True)
        model.save(tmp_path / name)
    assert torch.equal(torch.get_rng_state(), state)  # that of others
    assert seeds == []
    rows.to_pickle(tmp_path / 'rows')
    run_python('-c', FRESH, cwd=tmp_path)
    for name, series in expected.items():
        found = pd.read_pickle(tmp_path / f'{name} predicted')
        pd.testing.assert_series_equal(found, series, check_exact=True)
