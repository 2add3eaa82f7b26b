"""Attribute cells of any kind: fitted, saved and loaded, or refused ahead of it."""

import datetime
import decimal
import uuid

import numpy as np
import pandas as pd
import pytest

from agnn_pyg import fitting
from agnn_pyg.base.columns import normalize_cells
from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.node_table import NodeTable
from agnn_pyg.recommender import AGNNRecommender
from tests.agnn_pyg.conftest import SETTINGS

pytest.importorskip('pytorch_lightning')
QUICK = SETTINGS | {'epochs': 1, 'message_share': 0}
DAYS = pd.date_range('1990-01-31', periods=5, freq='YE')
DAYS_OF_PYTHON = [day.date() for day in DAYS]
DECIMALS = [decimal.Decimal(n) for n in ('1.5', '2', '3', '4', '5')]

KEPT = {
    'bool': [True, False, True, True, False],
    'boolean': pd.array([True, None, True, True, False], 'boolean'),
    'int8': np.arange(5, dtype=np.int8),
    'Int64': pd.array([1, None, 3, 4, 5], 'Int64'),
    'float32': np.arange(5, dtype=np.float32),
    'sparse': pd.arrays.SparseArray([1.0, np.nan, 2.0, 3.0, 4.0]),
    'decimal': DECIMALS,
    'decimals and gaps': [*DECIMALS[:4], None],
    'string': pd.array(['a', 'b', None, 'd', ''], 'string'),
    'NumPy texts': [np.str_('a'), 'b', 'c', 'd', None],
    'category': pd.Categorical([3, 4, 4, None, 3]),
    'lists': [['a', 'b'], ['c'], [], None, ['a']],
    'arrays': [np.array([1, 2]), np.array([1]), np.array([]), None, np.array([3])],
    'sets': [{'a'}, {'a', 'b'}, set(), None, {'c'}],
    'mixed': ['a', 1, 2.5, True, None],
}
REFUSED = {
    'datetime64': DAYS,
    'datetime64 with gaps': [*DAYS[:4], pd.NaT],
    'time zone': DAYS.tz_localize('Europe/Prague'),
    'dates': DAYS_OF_PYTHON,
    'lists of dates': [[day] for day in DAYS_OF_PYTHON],
    'times': [datetime.time(hour) for hour in range(5)],
    'timedelta': pd.to_timedelta(range(5), 'D'),
    'period': pd.period_range('2020', periods=5, freq='D'),
    'categories of dates': pd.Categorical(DAYS),
    'interval': pd.arrays.IntervalArray.from_breaks(range(6)),
    'uuid': [uuid.UUID(int=n) for n in range(5)],
    'bytes': [b'a', b'b', b'c', b'd', b''],
    'complex': np.arange(5) + 1j,
    'lists of decimals': [[number] for number in DECIMALS],
    'decimals and texts': [*DECIMALS[:4], 'free'],
    'nested': [['a', ['b']]] * 5,
    'nested arrays': [np.array([np.arange(2), np.arange(3)], dtype=object)] * 5,
}


def with_cells(frame, cells):
    """A table with a column of cells, each of which occurs several times."""
    rows = np.arange(len(frame)) % 5
    return frame.assign(x=pd.Series(cells).iloc[rows].set_axis(frame.index))


@pytest.fixture
def no_training(monkeypatch):
    """Fails as soon as anything is trained."""
    monkeypatch.setattr(fitting, 'rating_graph', lambda *_, **__: pytest.fail('late'))


@pytest.mark.parametrize('cells', KEPT.values(), ids=KEPT)
def test_fitted_saved_and_loaded(cells, planted, tmp_path):
    users = with_cells(planted.users, cells)
    model = AGNNRecommender(user_attributes=['x'], **QUICK)
    model.fit(planted.ratings, users, planted.items)
    model.save(tmp_path / 'model')
    loaded = AGNNRecommender.load(tmp_path / 'model')
    new = with_cells(planted.new_users, cells)
    tables = planted.later, new, planted.new_items
    assert (loaded.predict(*tables) == model.predict(*tables)).all()


@pytest.mark.parametrize('kind', ['categorical', 'multi', 'numeric', None])
@pytest.mark.parametrize('cells', REFUSED.values(), ids=REFUSED)
def test_refused_ahead_of_training(cells, kind, planted, no_training):
    users = with_cells(planted.users, cells)
    model = AGNNRecommender(user_attributes={'x': kind}, **QUICK)
    first = planted.users.index[0]
    message = rf"'users': Column 'x' holds something else .* row {first} \(.*; make a"
    with pytest.raises(ValueError, match=message):
        model.fit(planted.ratings, users, planted.items)


@pytest.mark.parametrize('cells', REFUSED.values(), ids=REFUSED)
def test_left_out_unless_it_is_named(cells, planted, no_training):
    users = with_cells(planted.users, cells)
    with (
        pytest.warns(UserWarning, match=r"'users' left out: x \(neither numbers nor"),
        pytest.raises(pytest.fail.Exception),
    ):
        AGNNRecommender(**QUICK).fit(planted.ratings, users, planted.items)


@pytest.mark.parametrize('cells', REFUSED.values(), ids=REFUSED)
def test_refused_in_new_rows(cells, recommender, planted):
    for column in ('age', 'occupation'):
        cells_of = with_cells(planted.new_users, cells)['x']
        users = planted.new_users.assign(**{column: cells_of})
        with pytest.raises(ValueError, match=f"'users': Column '{column}' holds some"):
            recommender.predict(planted.later, users, planted.new_items)


def test_decimals_are_numbers():
    cells = normalize_cells(pd.Series([*DECIMALS[:2], None, 7]))
    assert cells.dtype == float
    assert cells.dropna().tolist() == [1.5, 2, 7]


def test_numbers_among_objects_are_numbers():
    mixed = pd.Series([1, 2.5, '', None, np.int64(7)], dtype=object, name='x')
    assert normalize_cells(mixed).dtype == float
    assert AttributeEncoder(['x']).fit(mixed.to_frame()).fields[0].kind == 'numeric'
    for cells in ([True, None, False], [1, 'a'], [[1], [2]]):
        kept = pd.Series(cells, dtype=object)
        assert normalize_cells(kept) is kept
    codes = pd.Series(pd.Categorical([3, 4, 3]), name='x').to_frame()
    assert AttributeEncoder(['x']).fit(codes).fields[0].kind == 'categorical'


def test_codes_among_objects_are_told_apart():
    codes = pd.Series([2**53, 2**53 + 1, None], dtype=object, name='x').to_frame()
    encoder = AttributeEncoder({'x': 'categorical'}, min_count=1).fit(codes)
    assert encoder.fields[0].values == [2**53, 2**53 + 1]
    assert len(encoder.transform(codes).index.unique()) == 3
    large = pd.Series([10**400, 1], dtype=object, name='x').to_frame()
    with pytest.raises(ValueError, match="Column 'x' holds a number that is too large"):
        AttributeEncoder(['x']).fit(large)


def test_missing_dates_are_no_numbers():
    users = pd.DataFrame({'user': [1, 2], 'x': pd.to_datetime([None, None])})
    ratings = pd.DataFrame({'user': [1, 2]})
    options = {'name': 'users', 'column': 'user', 'min_count': 1, 'num_knots': 2}
    with pytest.raises(ValueError, match="'x' holds no number to fit knots on"):
        NodeTable.fit(users, ratings, attributes={'x': 'numeric'}, **options)


@pytest.mark.parametrize('make', [pd.Index, np.array, tuple, pd.Series])
def test_columns_in_any_list(make, planted, tmp_path):
    names = [name for name in planted.users.columns if name != 'user']
    model = AGNNRecommender(user_attributes=make(names), **QUICK)
    model.fit(planted.ratings, planted.users, planted.items)
    assert repr(model).startswith('AGNNRecommender(user_attributes=')
    model.save(tmp_path / 'model')
    assert AGNNRecommender.load(tmp_path / 'model').user_attributes == names


def test_columns_that_are_there_twice(recommender, planted):
    users = planted.users.assign(town='x').rename(columns={'town': 'age'})
    for attributes in (None, ['age']):
        model = AGNNRecommender(user_attributes=attributes, **QUICK)
        with pytest.raises(ValueError, match="'users' has 2 columns called 'age'"):
            model.fit(planted.ratings, users, planted.items)
    users = planted.new_users.assign(town='x').rename(columns={'town': 'age'})
    message = "'users': The table has several columns called 'age'; drop or rename"
    with pytest.raises(ValueError, match=message):
        recommender.predict(planted.later, users, planted.new_items)
